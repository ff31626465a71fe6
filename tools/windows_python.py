"""An official CPython for Windows in the cache folder, with the packages that the tests import there (`windows.toml`)."""

from __future__ import annotations

import hashlib
import os
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Final

from cross_cargo import run
from cross_rust import ROOT
from tabagent_build.cache import finished_folder
from tabagent_build.errors import BuildError
from tabagent_build.fetching import fetching
from tabagent_build.progress import say

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["WindowsPython", "windows_python"]

PINS: Final = ROOT / "tools" / "windows.toml"


class WindowsPython:
    """The unpacked interpreter."""

    def __init__(self, folder: Path) -> None:
        (self.program,) = folder.glob("*/python.exe")
        """It looks for modules in its own folder alone, whatever the environment says."""

    def with_package(self, wheel: Path, folder: Path) -> Path:
        """A copy of this interpreter in `folder` that has the wheel, too. Returns its program."""
        source = self.program.parent
        for path in source.rglob("*"):
            target = folder / path.relative_to(source)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.hardlink_to(path)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "packages")  # noqa: S202 (a zip archive of our own)
        return folder / "python.exe"


def windows_python() -> WindowsPython:
    """The interpreter; fetched first if it is not in the cache.

    Raises:
        BuildError: a package is not to be had.
        FetchError: the interpreter is not.
    """
    pins = tomllib.loads(PINS.read_text(encoding="utf-8"))
    key = hashlib.sha256(PINS.read_bytes()).hexdigest()[:16]

    def make(work: Path) -> None:
        say("fetching CPython for Windows and its packages (40 MB)")
        _unpack(pins["python"], work)
        (listed,) = work.glob("*/python*._pth")
        packages = listed.parent / "packages"
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--target", str(packages)]
        command += ["--platform", "win_amd64", "--implementation", "cp", "--python-version", pins["python"]["version"], "--only-binary", ":all:"]
        run([*command, *pins["packages"]["requirements"]], os.environ)
        # The file that makes the interpreter isolated lists where it looks for modules.
        listed.write_text(listed.read_text(encoding="utf-8") + "packages\n", encoding="utf-8")

    return WindowsPython(finished_folder(fetching.cache_folder() / "windows-python" / key, make))


def _unpack(pin: dict[str, str], work: Path) -> None:
    archive = work / pin["file_name"]
    fetching.fetch(fetching.IndexFile(pin["project"], pin["file_name"], pin["sha256"]), archive)
    with tarfile.open(archive) as tar:
        members = [member for member in tar if PurePosixPath(member.name).match(f"*/{pin['member']}")]
        inner = tar.extractfile(members[0]) if members else None
        if inner is None:
            message = f"`{pin['file_name']}` holds no `{pin['member']}`; correct `{PINS.relative_to(ROOT)}`"
            raise BuildError(message)
        with inner, zipfile.ZipFile(inner) as files:
            files.extractall(work)  # noqa: S202 (a zip archive whose hash is known)
    archive.unlink()
