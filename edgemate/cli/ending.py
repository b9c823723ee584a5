"""How a command that is interrupted or terminated ends: one line that says how to go on, and its exit code."""

from __future__ import annotations

from edgemate import stopping
from edgemate.cli.screen import say

# What to do about a command that ended before it was done. All others leave things as they were.
_RESUME = {
    "train": "the same command with --resume continues from the last checkpoint",
    "compare": "the same command continues; finished runs are kept",
    "build": "the same command continues with the engines that are finished",
}
_UNCHANGED = "nothing was left half-written; run the same command again"


def end_stopped(arguments: list[str]) -> int:
    """Print the line and return the exit code, 130 after Ctrl-C and 143 after SIGTERM."""
    if not stopping.terminated():
        say("stopped", err=True)
        return stopping.INTERRUPTED
    say(f"terminated: {how_to_continue(arguments)}", err=True)
    return stopping.TERMINATED


def how_to_continue(arguments: list[str]) -> str:
    """What to do about the command with these arguments, after it was stopped."""
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    advice = _RESUME.get(command, _UNCHANGED)
    return advice.replace("--resume", "--resume instead of --force") if "--force" in arguments else advice
