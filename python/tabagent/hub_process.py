"""A program that fetches one model of the hub for a server: `python -m tabagent.hub_process NAME`.

It writes lines of JSON: `{"status": …, "completed": …, "total": …}` while it goes on, and `{"path": …}` or `{"error": …, "missing": …}` at the end.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tabagent.errors import ModelNotFoundError, TabagentError

__all__ = ["main", "repository_of"]

SIGN_OF_LIFE_S: Final = 1.0
PREFIXES: Final = ("hf:", "hf.co/", "huggingface.co/", "https://huggingface.co/", "https://hf.co/")
ANY_FILE: Final = "*.gguf"


def repository_of(name: str) -> tuple[str, str]:
    """The repository that a name means, and the file in it or a pattern for that.

    A name is `OWNER/REPO`, `OWNER/REPO:Q4_K_M` or `OWNER/REPO/FILE`, with or without what stands before names of the hub.

    Raises:
        ValueError: it is none.
    """
    plain = name
    for prefix in PREFIXES:
        plain = plain.removeprefix(prefix)
    owner, _, rest = plain.partition("/")
    repository, _, file = rest.partition("/")
    repository, _, tag = repository.partition(":")
    if not owner or not repository:
        message = f"`{name}` is no name of a model on the hub; write `OWNER/REPO`, `OWNER/REPO:Q4_K_M` or `OWNER/REPO/FILE`"
        raise ValueError(message)
    if file:
        return f"{owner}/{repository}", file
    return f"{owner}/{repository}", f"*{tag}*.gguf" if tag and tag != "latest" else ANY_FILE


def main(arguments: list[str]) -> int:
    """Fetch the model of that name."""
    try:
        repository, file = repository_of(arguments[0])
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
        from tabagent.hub import fetch_model  # noqa: PLC0415 (its imports are slow)

        with _signs_of_life(f"pulling {repository}"):
            path = fetch_model(repository, file)
    except (TabagentError, ValueError, OSError) as error:
        _tell({"error": str(error), "missing": isinstance(error, (ModelNotFoundError, ValueError))})
        return 1
    _tell({"path": path})
    return 0


@contextmanager
def _signs_of_life(status: str) -> Iterator[None]:
    """Say now and then that the work goes on."""
    done = threading.Event()

    def say() -> None:
        _tell({"status": status})
        while not done.wait(SIGN_OF_LIFE_S):
            _tell({"status": status})

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _tell(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
