"""llama.cpp's own log, handed on to `logging`. Nothing is ever printed.

Lines go to the logger `tabagent.llama`. What the library writes is kept in memory and handed on after a load, at the end of a stream and
with every error, because llama.cpp's threads must not wait for Python.
"""

from __future__ import annotations

import logging
from typing import Final

from tabagent import _native

__all__ = ["follow_level", "forward", "llama_log", "package_log"]

package_log: Final = logging.getLogger("tabagent")
llama_log: Final = logging.getLogger("tabagent.llama")
# Without a handler `logging` would print warnings to stderr.
package_log.addHandler(logging.NullHandler())


def follow_level() -> None:
    """Have the core keep only those lines that somebody listens to."""
    _native.set_log_level(llama_log.getEffectiveLevel())


def forward() -> None:
    """Hand on the lines that have come since the last call."""
    for level, line in _native.drain_log():
        llama_log.log(level, "%s", line)
