"""Escape sequences on a Windows console, which prints them as text unless a program tells it to obey them."""

import sys
from typing import Final, TextIO

__all__ = ["END_OF_INPUT", "obeys_escapes"]

END_OF_INPUT: Final = "Ctrl-Z and Enter" if sys.platform == "win32" else "Ctrl-D"
"""What a person types to end the input."""

if sys.platform == "win32":
    import atexit
    import ctypes
    import msvcrt
    from ctypes import wintypes

    ENABLE_VIRTUAL_TERMINAL_PROCESSING: Final = 0x0004
    """Of `SetConsoleMode`, since Windows 10."""

    def obeys_escapes(stream: TextIO) -> bool:
        """Tell the console that a stream leads to to obey escape sequences until this process ends; whether it does.

        It does not before Windows 10, and a stream that leads elsewhere has no console.
        """
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        mode = wintypes.DWORD()
        try:
            handle = wintypes.HANDLE(msvcrt.get_osfhandle(stream.fileno()))
        except (OSError, ValueError):
            return False
        if not kernel.GetConsoleMode(handle, ctypes.byref(mode)):
            return False
        before = mode.value
        if before & ENABLE_VIRTUAL_TERMINAL_PROCESSING:
            return True
        if not kernel.SetConsoleMode(handle, before | ENABLE_VIRTUAL_TERMINAL_PROCESSING):
            return False
        atexit.register(kernel.SetConsoleMode, handle, before)
        return True

else:

    def obeys_escapes(stream: TextIO) -> bool:  # noqa: ARG001 (as on Windows)
        """Whether the terminal that a stream leads to obeys escape sequences: all do but those of Windows, which must be told."""
        return True
