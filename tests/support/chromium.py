"""A browser for the tests of the dashboard: the one that is installed. ``--install`` gets Debian's where it may."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

CHOSEN: Final = "CHROMIUM"
"""Variable that names the browser to use."""
REQUIRED: Final = "BROWSER_TESTS"
"""Variable that turns a missing browser from a reason to skip into a failure, where it says ``required``."""
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PLACES: Final = (
    Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"),
    Path("/Applications/Chromium.app/Contents/MacOS/Chromium"),
)
HOW: Final = (
    "no Chromium or Chrome is installed: `apt-get install chromium` on Debian, or name one by the variable CHROMIUM"
)


def find_chromium() -> Path | None:
    """The browser to use, if there is one."""
    chosen = os.environ.get(CHOSEN)
    if chosen:
        return Path(chosen)
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    return Path(found) if found else next((path for path in _PLACES if path.exists()), None)


def required() -> bool:
    """Whether the tests must not do without one."""
    return os.environ.get(REQUIRED) == "required"


def main() -> int:
    """Install Debian's where there is none and this may; answers 0, as tests that need one say so themselves."""
    if find_chromium() is not None:
        return 0
    if sys.argv[1:] != ["--install"] or os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.stderr.write(f"The tests in a browser will be skipped: {HOW}\n")
        return 0
    sys.stderr.write("Installing Debian's chromium for the tests of the dashboard ...\n")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core"]):
        done = subprocess.run(["apt-get", "-qq", *command], env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.stderr.write(f"It could not be installed, so they will be skipped: {done.stderr.strip()[-300:]}\n")
            return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
