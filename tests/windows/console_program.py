"""What a console is to our command line: `make test-windows` runs this on one.

It writes to the console, and tells of it in the file that its argument names.
"""

from __future__ import annotations

import ctypes
import json
import msvcrt
import sys
from ctypes import wintypes
from pathlib import Path
from typing import Final

from rich.table import Table

from tabagent.cli.output import is_terminal, prepare_streams, takes_styles, write_line, write_tables

assert sys.platform == "win32"

TEXT: Final = "日本語 ☃ ñ"


def mode() -> int:
    """The mode of the console that stdout leads to."""
    value = wintypes.DWORD()
    ctypes.WinDLL("kernel32").GetConsoleMode(wintypes.HANDLE(msvcrt.get_osfhandle(sys.stdout.fileno())), ctypes.byref(value))
    return value.value


def main() -> None:
    """Write to the console, and tell."""
    prepare_streams()
    before = mode()
    facts = {"terminal": is_terminal(sys.stdout), "before": before, "styles": takes_styles(sys.stdout), "after": mode()}
    write_line(TEXT)
    table = Table(title="a table")
    table.add_column("a column")
    write_tables(table)
    Path(sys.argv[1]).write_text(json.dumps({**facts, "text": TEXT}), encoding="utf-8")


if __name__ == "__main__":
    main()
