"""Environments with other programs' clients and frameworks, which the tests run beside this package: `requirements-clients.txt` and `-ray.txt`.

They are many and heavy, and some want other versions of what this package's tests use; so they have environments of their own, in the cache
folder. `python tests/clients.py NAME` makes the one for `requirements-NAME.txt` if it is not there, and prints its interpreter; `--where` prints
where that is, or would be.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tabagent._fetch import cache_folder

NAMES: Final = ("clients", "ray")
MARKER: Final = "complete"
"""The file that is there once everything is."""


def requirements(name: str) -> Path:
    """What an environment has."""
    return Path(__file__).parent.parent / f"requirements-{name}.txt"


def environment(name: str) -> Path:
    """The folder of an environment, which need not be there."""
    asked = requirements(name).read_bytes() + sys.version.encode()
    return cache_folder() / "clients" / hashlib.sha256(asked).hexdigest()[:20]


def interpreter(folder: Path) -> Path:
    """The environment's Python."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def make(name: str) -> Path:
    """Make an environment unless it is there, and give its interpreter.

    Raises:
        subprocess.CalledProcessError: pip failed, and has said why.
    """
    folder = environment(name)
    python = interpreter(folder)
    if not (folder / MARKER).exists():
        sys.stderr.write(f"installing what {requirements(name).name} lists: about a minute\n")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        # The file names every package that is needed, with those that they need.
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", requirements(name)]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        (folder / MARKER).touch()
    return python


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--where", action="store_true")
    given = parser.parse_args()
    sys.stdout.write(f"{interpreter(environment(given.name)) if given.where else make(given.name)}\n")
