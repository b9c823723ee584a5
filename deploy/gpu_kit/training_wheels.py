"""Collect and install the packages that training needs besides torch, for a machine with torch but no network.

    python deploy/gpu_kit/training_wheels.py collect WHEELS --python 3.12     locally
    python3 deploy/gpu_kit/training_wheels.py install WHEELS SITE             on that machine

`collect` downloads the locally installed versions, so that the versions that run are those that were tested. torch is
never included. torchvision must match that machine's torch, so it is expected to be installed there; `--torchvision
0.26.0` includes that version. `--installed FILE`, the machine's `pip list --format=freeze`, leaves out packages that
satisfy the requirements already.

`install` keeps installed packages whose versions satisfy the requirements, and puts the others into a folder for
PYTHONPATH. (A virtual environment with --system-site-packages would not see a torch that is itself installed in a
virtual environment.)
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

# Imported by `edgemate train` and `profile`. Not scikit-learn, used for the digits only, nor matplotlib, for plots.
NEEDED = (
    "fvcore",
    "lightning",
    "numpy",
    "pillow",
    "pydantic",
    "pyyaml",
    "rich",
    "safetensors",
    "tensorboard",
    "typer",
)
WITH_TORCH = ("torch", "torchvision")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
MANIFEST = "wheels.json"


@dataclass
class Package:
    """A package of the kit.

    Attributes:
        specifiers: version specifiers, one per package that requires it, such as `>=2.6`.
        pinned: packages tied to it by an exact version, in either direction; all of them are included, or none.
        wheel: file name of its wheel.
    """

    specifiers: list[str] = field(default_factory=list)
    pinned: list[str] = field(default_factory=list)
    wheel: str = ""


def main() -> None:
    options = _options()
    if options.command == "collect":
        collect(options.wheels, options.python, options.torchvision, options.installed)
    else:
        install(options.wheels, options.site)


def collect(folder: Path, python: str, torchvision: str | None, installed: Path | None) -> None:
    """Download the wheels into `folder`, and write a manifest with the version specifiers of each."""
    packages = requirements(NEEDED, python)
    if installed:
        present = _freeze(installed)
        wanted = missing(packages, {name: present.get(name) for name in packages})
        packages = {name: packages[name] for name in wanted}
    versions = {name: metadata.version(name) for name in packages}
    if torchvision:
        packages["torchvision"] = Package([f"=={torchvision}"])
        versions["torchvision"] = torchvision
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    for name, package in packages.items():
        package.wheel = _download(f"{name}=={versions[name]}", folder, python)
    manifest = {name: asdict(packages[name]) for name in sorted(packages)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    size = sum(wheel.stat().st_size for wheel in folder.glob("*.whl"))
    print(f"{len(manifest)} wheels for Python {python}, {size / 2**20:.1f} MiB")


def install(wheels: Path, site: Path) -> None:
    """Install missing or too old packages into `site`, and check that torch and torchvision can be imported."""
    manifest = json.loads((wheels / MANIFEST).read_text(encoding="utf-8"))
    packages = {name: Package(**entry) for name, entry in manifest.items()}
    wanted = missing(packages, {name: _installed(name) for name in packages})
    print(f"installed already: {', '.join(name for name in packages if name not in wanted) or 'nothing'}")
    print(f"installed from wheels: {', '.join(wanted) or 'nothing'}")
    if wanted:
        files = [str(wheels / packages[name].wheel) for name in wanted]
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile"]
        subprocess.run([*pip, "--disable-pip-version-check", "--upgrade", "--target", str(site), *files], check=True)
    program = (
        f"import sys; sys.path.insert(0, {str(site)!r});"
        "import torch, torchvision, lightning, fvcore.nn, pydantic, typer, safetensors, tensorboard;"
        "print('torch', torch.__version__, 'torchvision', torchvision.__version__, 'GPU', torch.cuda.is_available())"
    )
    if subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=False).returncode:
        raise SystemExit(
            f"an import failed (see above); if it is torchvision {_installed('torchvision')} with torch "
            f"{_installed('torch')}, collect again with --torchvision and the version that matches that torch"
        )


def missing(packages: dict[str, Package], present: dict[str, str | None]) -> list[str]:
    """Names of packages that are absent or of an unsuitable version, and of those pinned to them, sorted."""
    wanted = {name for name, package in packages.items() if not _satisfies(present[name], package.specifiers)}
    waiting = list(wanted)
    while waiting:
        for partner in packages[waiting.pop()].pinned:
            if partner in packages and partner not in wanted:
                wanted.add(partner)
                waiting.append(partner)
    return sorted(wanted)


def requirements(names: tuple[str, ...], python: str) -> dict[str, Package]:
    """`names` and their dependencies on x86-64 Linux, from the metadata of edgemate and of the local packages.

    Raises:
        SystemExit: edgemate does not require one of the names.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    environment = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    environment |= {"platform_system": "Linux", "platform_machine": "x86_64"}
    own = [Requirement(line) for line in metadata.requires("edgemate") or []]
    waiting = [(requirement, "") for requirement in own if canonicalize_name(requirement.name) in names]
    found: dict[str, Package] = {}
    seen = set()
    while waiting:
        requirement, parent = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in WITH_TORCH:
            continue
        package = found.setdefault(name, Package())
        specifier = str(requirement.specifier)
        if specifier and specifier not in package.specifiers:
            package.specifiers.append(specifier)
        if specifier.startswith("==") and parent:
            package.pinned.append(parent)
            found[parent].pinned.append(name)
        extras = frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or any(
                needed.marker.evaluate(environment | {"extra": extra}) for extra in ("", *extras)
            ):
                waiting.append((needed, name))
    absent = sorted(set(names) - set(found))
    if absent:
        raise SystemExit(f"{', '.join(absent)}: edgemate does not require it; remove it from NEEDED")
    return found


def _download(requirement: str, folder: Path, python: str) -> str:
    before = set(folder.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    fetch = [*pip, "download", "--no-deps", "--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    fetch += [word for platform in PLATFORMS for word in ("--platform", platform)]
    if subprocess.run([*fetch, "--dest", str(folder), requirement], capture_output=True, check=False).returncode:
        # Published as source only. If it is pure Python, a wheel built locally works on the other machine.
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), requirement], check=True)
        [made] = set(folder.glob("*.whl")) - before
        if not made.name.endswith("-none-any.whl"):
            raise SystemExit(f"{requirement}: no wheel for Python {python}, and {made.name} works on this machine only")
    [wheel] = set(folder.glob("*.whl")) - before
    return wheel.name


def _freeze(path: Path) -> dict[str, str]:
    lines = (line.strip().partition("==") for line in path.read_text(encoding="utf-8").splitlines())
    return {name.lower().replace("_", "-"): version for name, _, version in lines if version}


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _satisfies(version: str | None, specifiers: list[str]) -> bool:
    if version is None:
        return False
    specifier_set = _specifier_set()
    return all(specifier_set(specifier).contains(version, prereleases=True) for specifier in specifiers)


def _specifier_set() -> Any:
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # pip vendors a copy
        from pip._vendor.packaging.specifiers import SpecifierSet
    return SpecifierSet


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    collecting = commands.add_parser("collect")
    collecting.add_argument("wheels", type=Path)
    collecting.add_argument("--python", default="3.12", help="Python version of the other machine")
    collecting.add_argument("--torchvision", help="include this version")
    collecting.add_argument("--installed", type=Path, help="the other machine's `pip list --format=freeze`")
    installing = commands.add_parser("install")
    installing.add_argument("wheels", type=Path)
    installing.add_argument("site", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
