"""An environment with other programs' clients and frameworks, which the tests run beside this package: one for each `requirements-clients.txt`.

They are many and heavy, and some want other versions of what this package's tests use; so they have an environment of their own, in the cache
folder. `python tests/clients.py` makes it if it is not there, and prints its interpreter; `--where` prints where that is, or would be.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tabagent._fetch import cache_folder

REQUIREMENTS: Final = Path(__file__).parent.parent / "requirements-clients.txt"
MARKER: Final = "complete"
"""The file that is there once everything is."""


def environment() -> Path:
    """The folder of the environment, which need not be there."""
    asked = REQUIREMENTS.read_bytes() + sys.version.encode()
    return cache_folder() / "clients" / hashlib.sha256(asked).hexdigest()[:20]


def interpreter(folder: Path) -> Path:
    """The environment's Python."""
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def make() -> Path:
    """Make the environment unless it is there, and give its interpreter.

    Raises:
        subprocess.CalledProcessError: pip failed, and has said why.
    """
    folder = environment()
    python = interpreter(folder)
    if not (folder / MARKER).exists():
        sys.stderr.write("installing the clients of requirements-clients.txt: about a minute\n")
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        # The file names every package that is needed, with those that they need.
        pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r", REQUIREMENTS]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        (folder / MARKER).touch()
    return python


if __name__ == "__main__":
    sys.stdout.write(f"{interpreter(environment()) if '--where' in sys.argv else make()}\n")
