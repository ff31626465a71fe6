"""llama.cpp's log and the core's, handed on to `logging`. Nothing is ever printed.

llama.cpp's lines go to the logger `tabagent.llama`, those of the core to `tabagent.engine`: a request when it is over (level `DEBUG`), what became
of it on its way, each step (level 5), and what broke. They are kept in memory and handed on after a load, at the end of a stream and with every
error, because the threads that write them must not wait for Python.
"""

from __future__ import annotations

import logging
from typing import Final

from tabagent import _native

__all__ = ["engine_log", "follow_level", "forward", "llama_log", "package_log"]

package_log: Final = logging.getLogger("tabagent")
llama_log: Final = logging.getLogger("tabagent.llama")
engine_log: Final = logging.getLogger("tabagent.engine")
# Without a handler `logging` would print warnings to stderr.
package_log.addHandler(logging.NullHandler())


def follow_level() -> None:
    """Have the core keep only those lines that somebody listens to."""
    _native.set_log_levels(llama_log.getEffectiveLevel(), engine_log.getEffectiveLevel())


def forward() -> None:
    """Hand on the lines that have come since the last call, and follow the levels of the loggers from now on."""
    for name, level, line in _native.drain_log():
        logging.getLogger(name).log(level, "%s", line)
    follow_level()
