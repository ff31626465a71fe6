"""The program that child processes run, built by Cargo and put beside the package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tabagent_build.errors import BuildError
from tabagent_build.fetching import ROOT
from tabagent_build.platforms import Platform, host_platform

__all__ = ["CHILD_FOLDER", "child_name", "install_child"]

CHILD_FOLDER = ROOT / "python" / "tabagent" / "bin"
"""Where the package looks for it."""

CHILD: Final = "tabagent-child"
"""What Cargo calls it."""

EXTENSION: Final = "tabagent-python"
"""The package of the extension that lies beside it."""


def child_name(platform: Platform | None = None) -> str:
    """Its file's name on a platform (None: this one)."""
    return CHILD + (platform or host_platform()).system.program


def install_child(profile: str) -> Path:
    """Build the program with a profile of Cargo and make `CHILD_FOLDER` hold it.

    Raises:
        BuildError: there is no Cargo, or it fails; it says why on stderr.
    """
    # Cargo unites the features of the packages that one command names. With the extension among them both programs share each crate between
    # them; without it, those whose features differ, and all above them, would be compiled twice.
    command = ["cargo", "build", "--locked", "--profile", profile, "--package", EXTENSION, "--package", "tabagent-model", "--bin", CHILD]
    command += ["--message-format", "json-render-diagnostics"]
    try:
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        message = f"`cargo` does not start ({error}); install Rust (https://rustup.rs)"
        raise BuildError(message) from error
    if done.returncode != 0:
        message = f"`{' '.join(command)}` failed with exit status {done.returncode}"
        raise BuildError(message)
    built = [Path(program) for line in done.stdout.splitlines() if (program := json.loads(line).get("executable"))]
    CHILD_FOLDER.mkdir(parents=True, exist_ok=True)
    # Written beside it and renamed: a child may be running it.
    handle, fresh = tempfile.mkstemp(prefix=f".{CHILD}-", dir=CHILD_FOLDER)
    os.close(handle)
    try:
        shutil.copyfile(built[-1], fresh)
        Path(fresh).chmod(0o755)
        Path(fresh).replace(CHILD_FOLDER / child_name())
    except BaseException:
        Path(fresh).unlink(missing_ok=True)
        raise
    return CHILD_FOLDER
