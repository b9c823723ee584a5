"""Screenshots of a report for the documents: `python screenshots.py REPORT.html docs/profile`.

It writes `docs/profile-light.png`, a wide window, and `docs/profile-phone.png`, 360 pixels wide and as long as
the first sections.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from browser import browser, open_page, screenshot
from PIL import Image

SIZES = {"light": (1100, 1400), "phone": (360, 1900)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("stem", type=Path)
    given = parser.parse_args()
    for name, (width, height) in SIZES.items():
        path = given.stem.with_name(f"{given.stem.name}-{name}.png")
        with browser(width, height) as driver:
            open_page(driver, given.report)
            driver.execute_async_script("setTimeout(arguments[0], 1000)")  # until the charts have their final size
            screenshot(driver, path)
        shot = Image.open(io.BytesIO(path.read_bytes())).convert("RGB").quantize(128)
        shot.save(path, optimize=True)
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
