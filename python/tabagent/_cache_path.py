"""Where the cache is. Imported when a model is loaded, so it needs next to nothing itself."""

from __future__ import annotations

import os

__all__ = ["cache_path", "in_cache"]


def cache_path() -> str:
    r"""The folder for everything that is fetched, built or found out once.

    `TABAGENT_CACHE` if set, else `$XDG_CACHE_HOME/tabagent`, else `~/.cache/tabagent`; on Windows `%LOCALAPPDATA%\tabagent` before the last.
    It need not exist.

    Raises:
        LookupError: a `~` in it stands for no home directory; the text says what to do.
    """
    variables = (("TABAGENT_CACHE", ""), ("XDG_CACHE_HOME", "tabagent"), *((("LOCALAPPDATA", "tabagent"),) if os.name == "nt" else ()))
    for name, below in variables:
        if chosen := os.environ.get(name):
            whole = os.path.expanduser(chosen)  # noqa: PTH111 (`pathlib` takes longer to import than all of this)
            if whole.startswith("~"):
                message = f"`{name}` is `{chosen}`, but there is no such home directory; give a whole path"
                raise LookupError(message)
            whole = os.path.join(os.getcwd(), whole)  # noqa: PTH109, PTH118 (as above)
            return os.path.join(whole, below) if below else whole  # noqa: PTH118 (as above)
    home = os.path.expanduser("~")  # noqa: PTH111 (as above)
    if home.startswith("~"):
        message = "there is no home directory for the cache; set `TABAGENT_CACHE` to a folder"
        raise LookupError(message)
    return os.path.join(home, ".cache", "tabagent")  # noqa: PTH118 (as above)


def in_cache(name: str) -> str | None:
    """The path of something in the cache folder; None where there is no such folder."""
    try:
        return os.path.join(cache_path(), name)  # noqa: PTH118 (light)
    except LookupError:
        return None
