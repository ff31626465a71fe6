"""The fastest settings of this machine for a kind of model, as `tabagent variants --benchmark` measured and kept them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from tabagent import _native
from tabagent._cache_path import in_cache

__all__ = ["ModelKind", "Tuning", "keep", "kind_of", "known_tuning", "tuned_options"]

FOLDER: Final = "tunings"
"""Where they are in the cache folder."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Settings that were faster than the defaults; None where nothing was."""

    variant: str | None = None
    """The name of the llama.cpp variant."""
    threads: int | None = None
    """How many threads; without it the count adapts to what else the machine does."""
    micro_batch_size: int | None = None
    """How many tokens are computed at once."""

    def __str__(self) -> str:
        parts = {"variant": self.variant, "threads": self.threads, "micro-batch": self.micro_batch_size}
        return ", ".join(f"{name} {value}" for name, value in parts.items() if value is not None) or "the defaults"

    def said(self) -> list[str]:
        """What a load says of it, in a sentence; nothing where it changes nothing."""
        if self == Tuning():
            return []
        return [f"`tabagent variants --benchmark` measured what is fastest for such models here, and that is used: {self}"]


@dataclass(frozen=True, kw_only=True)
class ModelKind:
    """Models that take as long as each other on one machine: of one architecture, one type of weights and about one size."""

    architecture: str
    """`general.architecture`."""
    file_type: int | None
    """`general.file_type`, llama.cpp's number for the type of most weights; None where the file has none."""
    size_class: int
    """The logarithm of the file's bytes to base 2, rounded down."""
    cpu: str | None
    """The machine's processor."""
    cores: int
    """Its cores that may be used."""

    def __str__(self) -> str:
        return f"`{self.architecture}` models of {1 << max(self.size_class - 20, 0):,} to {2 << max(self.size_class - 20, 0):,} MiB and of this type"


def kind_of(path: str) -> ModelKind:
    """The kind of a model on this machine. Reads the file's header.

    Raises:
        GgufError: it is no GGUF file.
        OSError: it cannot be read.
    """
    from tabagent import gguf  # noqa: PLC0415 (not needed where nothing is kept)
    from tabagent.machine import hardware  # noqa: PLC0415 (as above)

    file, machine = gguf.open(path), hardware()
    kind = file.metadata.get("general.file_type")
    return ModelKind(
        architecture=file.architecture or "",
        file_type=kind if isinstance(kind, int) else None,
        size_class=file.size.bit_length() - 1,
        cpu=machine.cpu.model,
        cores=machine.budget.usable,
    )


def keep(kind: ModelKind, tuning: Tuning) -> str | None:
    """Keep it for all models of a kind, in place of an older one. Returns the file; None where there is no cache folder.

    Raises:
        FetchError: the cache folder cannot be written; says what to do.
    """
    place = _place(kind)
    if place is None:
        return None
    from pathlib import Path  # noqa: PLC0415 (a model is loaded without it)

    from tabagent._fetch import atomic_file  # noqa: PLC0415 (as above)

    with atomic_file(Path(place)) as file:
        file.write(json.dumps({"kind": asdict(kind), "tuning": asdict(tuning)}, indent=1).encode())
    return place


def known_tuning(path: str) -> Tuning:
    """What is kept for a model's kind; the defaults where nothing is. Never fails: what is wrong with the file, its load says better."""
    folder = in_cache(FOLDER)
    if folder is None or not os.path.isdir(folder):  # noqa: PTH112 (light)
        return Tuning()
    from tabagent.errors import TabagentError  # noqa: PLC0415 (needed here alone)

    try:
        kind = kind_of(path)
    except (TabagentError, OSError, ValueError):
        return Tuning()
    return _read(_place(kind), kind)


def tuned_options(path: str, variant: object, options: dict[str, Any]) -> tuple[Tuning, dict[str, Any]]:
    """What is kept for a model and was not asked for otherwise, and a load's options with it: nothing where the variant or devices are named."""
    if variant != "auto" or options["devices"] is not None or options["vocab_only"]:
        return Tuning(), options
    # A process has one llama.cpp; once that is loaded, all its models use it.
    is_free = options["isolation"] is not None or _native.loaded_library() is None
    known = known_tuning(path)
    used = Tuning(
        variant=known.variant if is_free and _runs(known.variant) else None,
        threads=known.threads if options["threads"] is None else None,
        micro_batch_size=known.micro_batch_size if options["micro_batch_size"] is options["batch_size"] is None else None,
    )
    given = {name: value for name, value in asdict(used).items() if name != "variant" and value is not None}
    return used, {**options, **given}


def _runs(variant: str | None) -> bool:
    """Whether the variant is still there, and usable."""
    if variant is None:
        return False
    from tabagent.errors import VariantError  # noqa: PLC0415 (needed here alone)
    from tabagent.variants import choose_variant  # noqa: PLC0415 (as above)

    try:
        choose_variant(variant)
    except VariantError:
        return False
    return True


def _place(kind: ModelKind) -> str | None:
    import hashlib  # noqa: PLC0415 (it takes longer to import than a load without a tuning has for all of this)

    return in_cache(f"{FOLDER}/{hashlib.sha256(json.dumps(asdict(kind)).encode()).hexdigest()[:20]}.json")


def _read(place: str | None, kind: ModelKind) -> Tuning:
    """The tuning in a file. One that is not there, or that somebody changed into something else, is none."""
    if place is None:
        return Tuning()
    try:
        with open(place, "rb") as file:  # noqa: PTH123 (light)
            found = json.load(file)
    except (OSError, ValueError):
        return Tuning()
    if not isinstance(found, Mapping) or found.get("kind") != asdict(kind) or not isinstance(found.get("tuning"), Mapping):
        return Tuning()
    values = found["tuning"]
    variant = values.get("variant")
    return Tuning(
        variant=variant if isinstance(variant, str) else None,
        threads=_count(values.get("threads"), kind.cores),
        micro_batch_size=_count(values.get("micro_batch_size"), 1 << 16),
    )


def _count(value: object, most: int) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most else None
