"""What edgemate needs: its known vulnerabilities, where they can be looked up, and its licenses: `python audit.py`.

Exit code 1: a package has a known vulnerability, or a license that is not allowed for what it is used for.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# What is shipped to a device, what else can be installed, and the tools of edgemate's own development.
DEVICE, OPTIONAL, TOOLS = (
    ("", "ort"),
    ("report", "train", "export", "cluster", "tune", "parquet", "serve", "rtx"),
    ("dev",),
)

PERMISSIVE = {
    *("0BSD", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0"),
    *("CC0-1.0", "HPND", "ISC", "MIT", "MIT-0", "MIT-CMU", "PSF-2.0", "Unlicense", "Zlib"),
}
# Its files stay under it; what only uses them does not.
FILE_COPYLEFT = {"MPL-2.0"}
ALLOWED = {
    "device": PERMISSIVE,
    "optional": PERMISSIVE | FILE_COPYLEFT,
    "tools": PERMISSIVE | FILE_COPYLEFT | {"GPL-2.0-only"},  # run, and never distributed
}
# CUDA and TensorRT are NVIDIA's, and come with PyTorch or by the extra `rtx`, never to a device by edgemate.
PROPRIETARY = re.compile(r"nvidia-|cuda-toolkit$|tensorrt-")

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD",
    "Historical Permission Notice and Disclaimer (HPND)": "HPND",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
}
# Where there is neither an expression nor a classifier: what the free text begins with.
_TEXTS = (
    (r"apache[- ]?(license,? )?(version |v)?2", "Apache-2.0"),
    (r"mpl-2.0 and mit", "MPL-2.0 AND MIT"),
    (r"mit\b", "MIT"),
    (r"(3-clause bsd|bsd[- ]3)", "BSD-3-Clause"),
    (r"bsd", "BSD"),
    (r"psf", "PSF-2.0"),
    (r"isc", "ISC"),
)


def packages(extras: Iterable[str], root: str = "edgemate") -> set[str]:
    """The installed packages that `root` needs with these extras, with all that they need themselves."""
    found: set[str] = set()
    waiting = [(root, frozenset(extras))]
    seen = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # of another platform
            continue
        found.add(canonicalize_name(name))
        for line in lines:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in wanted or ("",)):
                waiting.append((canonicalize_name(needed.name), frozenset({"", *needed.extras})))
    return found - {root}


def license_of(metadata: importlib.metadata.PackageMetadata) -> str:
    """The license as an SPDX expression, as far as the package says; `unknown` otherwise."""
    if metadata.get("License-Expression"):
        return str(metadata["License-Expression"])
    classifiers = [
        text.split(" :: ")[-1] for text in metadata.get_all("Classifier") or [] if text.startswith("License ::")
    ]
    named = [_CLASSIFIERS[text] for text in classifiers if text in _CLASSIFIERS]
    if named:
        return " OR ".join(named)
    text = str(metadata.get("License") or "").strip().lower()
    return next((name for pattern, name in _TEXTS if re.match(pattern, text)), "unknown")


def is_allowed(expression: str, allowed: set[str]) -> bool:
    """Whether one alternative of an expression has allowed licenses only."""
    flat = expression.replace("(", "").replace(")", "")
    return any(all(part.strip() in allowed for part in one.split(" AND ")) for one in flat.split(" OR "))


def license_problems(uses: Mapping[str, set[str]]) -> list[str]:
    """A line for every package whose license is not allowed for its use: use → packages."""
    problems = []
    for use, names in uses.items():
        for name in sorted(names):
            found = license_of(importlib.metadata.metadata(name))
            if is_allowed(found, ALLOWED[use]) or (use != "device" and PROPRIETARY.match(name)):
                continue
            problems.append(f"{name}: license {found} is not allowed for {use}")
    return problems


def used_packages() -> dict[str, set[str]]:
    """Use → packages. A package counts for the strictest of its uses."""
    device = packages(DEVICE)
    optional = packages((*DEVICE, *OPTIONAL)) - device
    return {"device": device, "optional": optional, "tools": packages((*DEVICE, *OPTIONAL, *TOOLS)) - device - optional}


def vulnerabilities() -> list[str] | None:
    """A line for every known vulnerability of what is installed; None where they cannot be looked up."""
    if importlib.util.find_spec("pip_audit") is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip_audit", "--format", "json", "--output", str(report), "--skip-editable"]
        subprocess.run(command, capture_output=True, check=False)
        try:
            found = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
        except (OSError, ValueError, KeyError):  # the database was not reached
            return None
    return [_described(package, one) for package in found for one in package.get("vulns", ())]


def _described(package: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    fixed = ", ".join(found["fix_versions"]) or "no version"
    return f"{package['name']} {package['version']}: {found['id']}; fixed in {fixed}"


def main() -> int:
    """Print what was found; the exit code."""
    known = vulnerabilities()
    if known is None:
        print("vulnerabilities: not looked up: pip-audit is not installed, or its database cannot be reached")
    else:
        print(f"vulnerabilities: {len(known)} known")
    uses = used_packages()
    problems = license_problems(uses)
    counts = ", ".join(f"{len(names)} {use}" for use, names in uses.items())
    print(f"licenses: {sum(map(len, uses.values()))} packages ({counts}), {len(problems)} not allowed")
    for line in [*(known or ()), *problems]:
        print(f"  {line}")
    return 1 if known or problems else 0


if __name__ == "__main__":
    sys.exit(main())
