"""Runs a command again and again, killed at one file-system call more each time, and looks at what is left.

    python kill_sweep.py SCENARIO FOLDER [--act kill|full] [--sample N --seed S] [--share I/N]

Every run is a fork of this process, which has imported what the commands need, on a copy of the scenario's folder.
Prints a JSON object: how many calls there are, at which the command was killed, in which states that left it, and every
problem found.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from kill_points import Act, KillPoints
from kill_scenarios import SCENARIOS, Scenario

_SECONDS = 300.0
KILLED = -9


def run(work: Callable[[], int], output: Path, seconds: float = _SECONDS) -> int:
    """The exit code of `work` in a fork, what it prints in `output`.out and `output`.err; negative: killed by a signal.

    Raises:
        TimeoutError: it has not ended.
    """
    sys.stdout.flush()
    child = os.fork()
    if not child:
        code = 99
        try:
            for number, suffix in ((1, "out"), (2, "err")):
                handle = os.open(f"{output}.{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
                os.dup2(handle, number)
            code = work()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise TimeoutError(f"has not ended within {seconds:.0f} s")


def command(arguments: list[str], folder: Path) -> int:
    """Run the command line in `folder`."""
    from edgemate.cli.main import main

    os.chdir(folder)
    os.environ["XDG_CACHE_HOME"] = str(folder.parent / "cache")
    sys.argv = ["edgemate", *arguments]
    main()
    return 0


class Sweep:
    """The runs of one scenario.

    Args:
        scenario: what is run and what must hold.
        folder: an empty folder.
        act: what happens at the call.
    """

    def __init__(self, scenario: Scenario, folder: Path, act: Act) -> None:
        self.scenario, self.folder, self.act = scenario, folder.resolve(), act
        self.template, self.work = self.folder / "template", self.folder / "work"
        self.states: Counter[str] = Counter()
        self.problems: list[str] = []
        self.tested: list[int] = []

    def prepare(self) -> int:
        """Make the state before the command, and the one after it; the number of calls of the command."""
        self.template.mkdir(parents=True)
        self._must(lambda: self.scenario.prepare(self.template) or 0, "prepare")
        self._reset()
        counted = self.folder / "calls"

        def count() -> int:
            self.scenario.patch()
            points = KillPoints(self.work, log=counted)
            points.install()
            return command(self.scenario.command, self.work)

        self._must(count, "whole")
        self._must(lambda: self.scenario.reference(self.work) or 0, "reference")
        shutil.copytree(self.work, self.folder / "whole")
        return len(counted.read_text(encoding="utf-8").splitlines())

    def at(self, number: int) -> bool:
        """Run the command until its call of this number; whether it got there."""
        self._reset()
        log = self.folder / "calls"

        def work() -> int:
            self.scenario.patch()
            KillPoints(self.work, number, self.act, log).install()
            return command(self.scenario.command, self.work)

        try:
            code = run(work, self.folder / "killed")
        except TimeoutError as error:
            self._problem(number, f"the command {error}")
            return True
        lines = log.read_text(encoding="utf-8").splitlines()
        calls = [line for line in lines if line != "refused"]
        if len(calls) < number:
            return False
        self.tested.append(number)
        where = f"{number}, {calls[number - 1].partition(' ')[2]}"
        if self.act == "full":
            if "refused" in lines or code:
                self._look_at_error(where, code)
            if any(self._hidden(self.work)):
                self._problem(where, f"left {sorted(map(str, self._hidden(self.work)))}")
        elif code != KILLED:
            self._problem(where, f"was not killed: {code}")
        try:
            self._look(where)
        except TimeoutError as error:
            self._problem(where, f"a command {error}")
        return True

    def _look_at_error(self, where: str, code: int) -> None:
        error = (self.folder / "killed.err").read_text(encoding="utf-8", errors="replace")
        last = [line for line in error.splitlines() if line.startswith("error: ")]
        if code != 2 or len(last) != 1 or "Traceback" in error:
            self._problem(where, f"a full disk ended with {code}: {error[-1500:]}")

    def _look(self, where: str) -> None:
        readers = self.scenario.readers
        for number, reader in enumerate(readers):
            self._read(where, reader, self.folder / f"reader{number}")
        found = self.folder / "state"
        found.unlink(missing_ok=True)

        def look() -> int:
            found.write_text(self.scenario.state(self.work), encoding="utf-8")
            return 0

        if run(look, self.folder / "look"):
            self._problem(where, "neither old nor new: " + self._error("look"))
            return
        state = found.read_text(encoding="utf-8")
        self.states[state] += 1
        again = self.scenario.again(state)

        def repeat() -> int:
            self.scenario.patch()
            return command(again, self.work)

        if run(repeat, self.folder / "again"):
            self._problem(where, f"{state}: again ({' '.join(again)}): " + self._error("again"))
            return

        def check() -> int:
            self.scenario.check(self.work, self.folder / "whole")
            return 0

        if run(check, self.folder / "check"):
            self._problem(where, f"{state}: after running it again: " + self._error("check"))
        hidden = sorted(str(path.relative_to(self.work)) for path in self._hidden(self.work))
        if hidden:
            self._problem(where, f"{state}: leftovers after running it again: {hidden}")

    def _read(self, where: str, arguments: list[str], output: Path) -> None:
        def work() -> int:
            self.scenario.patch()
            return command(arguments, self.work)

        code = run(work, output)
        error = Path(f"{output}.err").read_text(encoding="utf-8", errors="replace")
        lines = [line for line in error.splitlines() if not line.startswith("[")]
        one_line = code == 2 and len(lines) == 1 and lines[0].startswith("error: ")
        if (code != 0 and not one_line) or "Traceback" in error:
            self._problem(where, f"{' '.join(arguments)}: {code}: {error[-1500:]}")

    def _hidden(self, folder: Path) -> list[Path]:
        from edgemate.durable import is_leftover

        return [path for path in folder.rglob("*") if is_leftover(path) or path.name.endswith(".committed")]

    def _reset(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)
        shutil.copytree(self.template, self.work, symlinks=True)

    def _must(self, work: Callable[[], int], name: str) -> None:
        code = run(work, self.folder / name)
        if code:
            raise RuntimeError(f"{name} ended with {code}: {self._error(name)}")

    def _error(self, name: str) -> str:
        return (self.folder / f"{name}.err").read_text(encoding="utf-8", errors="replace")[-1500:]

    def _problem(self, where: Any, what: str) -> None:
        self.problems.append(f"at call {where}: {what}")


def sweep(
    name: str,
    folder: Path,
    act: Act = "kill",
    sample: int | None = None,
    seed: int = 0,
    share: tuple[int, int] = (1, 1),
) -> dict[str, Any]:
    """Run a scenario, at every call or at a sample of them that always has the first and the last.

    Share (I, N) takes every N-th call from call I on, so that N processes together try all.
    """
    started = time.monotonic()
    scenario = SCENARIOS[name]
    scenario.load()
    runs = Sweep(scenario, folder, act)
    calls = runs.prepare()
    if sample is None:
        number, step = share
        while runs.at(number):
            number += step
    else:
        inner = range(2, calls)
        chosen = {1, calls, *random.Random(seed).sample(inner, min(max(0, sample - 2), len(inner)))}
        for number in sorted(chosen):
            runs.at(number)
    return {
        "scenario": name,
        "act": act,
        "calls": calls,
        "tested": len(runs.tested),
        "states": dict(runs.states),
        "problems": runs.problems,
        "seconds": round(time.monotonic() - started, 1),
    }


def _share(given: str) -> tuple[int, int]:
    first, step = map(int, given.split("/"))
    if not 1 <= first <= step:
        raise argparse.ArgumentTypeError(f"{given} is not I/N with I from 1 to N")
    return first, step


def main(arguments: list[str] | None = None) -> None:
    """Print what a sweep has found, as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario", choices=sorted(SCENARIOS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--act", choices=("kill", "full"), default="kill")
    parser.add_argument("--sample", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--share", type=_share, default=(1, 1), help="I/N: every N-th call from call I on")
    given = parser.parse_args(arguments)
    found = sweep(given.scenario, given.folder, given.act, given.sample, given.seed, given.share)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
