"""Finished folders in the cache: built once, whole or not at all, by one process at a time."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from tabagent_build.file_lock import lock, try_lock

__all__ = ["finished_folder", "locked"]

WORK_PREFIX = ".unfinished-"


@contextlib.contextmanager
def locked(folder: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold the lock of `folder` (a file beside it) for the block.

    If another process holds it, calls `waiting` once and waits; the system releases the lock when that process ends, however it ends.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder.parent / f".{folder.name}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not try_lock(handle):
            if waiting is not None:
                waiting()
            lock(handle)
        yield
    finally:
        os.close(handle)


def finished_folder(folder: Path, make: Callable[[Path], None], waiting: Callable[[], None] | None = None) -> Path:
    """Return `folder`, made by `make` first if it is not there.

    `make` gets an empty working folder beside it, which is renamed into place when `make` returns. If it raises, or the process dies,
    nothing appears under the name, and what is left is removed by the next one to come.
    """
    if folder.is_dir():
        return folder
    with locked(folder, waiting):
        if folder.is_dir():
            return folder
        prefix = f"{WORK_PREFIX}{folder.name}-"
        for abandoned in folder.parent.glob(f"{prefix}*"):
            shutil.rmtree(abandoned, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
        try:
            make(work)
            work.chmod(0o755)
            work.rename(folder)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
    return folder
