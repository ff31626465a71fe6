"""An exclusive lock on an open file, by what the operating system offers; it ends with the file, however the process ends."""

from __future__ import annotations

import sys

__all__ = ["lock", "try_lock"]

if sys.platform == "win32":
    import errno
    import msvcrt
    import os

    def try_lock(handle: int) -> bool:
        """Take the lock if no other process has it; says whether it was taken."""
        # The lock is on the byte at the file's position, which may lie behind its end.
        os.lseek(handle, 0, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno not in {errno.EACCES, errno.EDEADLK}:
                raise
            return False
        return True

    def lock(handle: int) -> None:
        """Wait for the lock and take it."""
        while True:
            os.lseek(handle, 0, os.SEEK_SET)
            try:
                # Waits for ten seconds, then gives up.
                msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
            except OSError as error:
                if error.errno not in {errno.EACCES, errno.EDEADLK}:
                    raise
            else:
                return

else:
    import fcntl

    def try_lock(handle: int) -> bool:
        """Take the lock if no other process has it; says whether it was taken."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def lock(handle: int) -> None:
        """Wait for the lock and take it."""
        fcntl.flock(handle, fcntl.LOCK_EX)
