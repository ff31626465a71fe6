"""A summary of a GGUF file, from its metadata and tensors."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["GgufSummary", "TypeShare", "describe", "element_count", "summarize"]

# Arrays with one number for each layer are read whole; the largest models have some hundred layers.
SUMMARY_ITEMS: Final = 512


@dataclass(frozen=True, kw_only=True)
class TypeShare:
    """The tensors of one type."""

    type: str
    tensors: int
    parameters: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class GgufSummary:
    """The facts that people ask a model file for. None where the file does not say."""

    file: str
    size: int
    version: int
    alignment: int
    architecture: str | None
    name: str | None
    license: str | None
    file_type: str | None
    parameters: int
    weight_bytes: int
    bits_per_weight: float | None
    types: tuple[TypeShare, ...]
    context_length: int | None
    embedding_length: int | None
    layers: int | None
    heads: int | str | None
    kv_heads: int | str | None
    vocabulary: int | None
    tokenizer: str | None
    pre_tokenizer: str | None
    chat_template: bool
    chat_template_characters: int | None
    parts: tuple[str, ...]
    byte_order: str
    split: tuple[int, int] | None
    problem: str | None

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> "GgufSummary":
        """The summary of what `gguf_info_json` returned."""
        entries = {entry["key"]: entry for entry in description["metadata"]}
        architecture = description["architecture"]
        types = _types(description["tensors"])
        parameters = sum(share.parameters for share in types)
        weight_bytes = sum(share.bytes for share in types)
        template = _text(entries, "tokenizer.chat_template")
        split = description["split"]
        return cls(
            file=description["file"],
            size=description["size"],
            version=description["version"],
            alignment=description["alignment"],
            architecture=architecture,
            name=_text(entries, "general.name"),
            license=_text(entries, "general.license"),
            file_type=_file_type(_number(entries, "general.file_type")),
            parameters=parameters,
            weight_bytes=weight_bytes,
            bits_per_weight=weight_bytes * 8 / parameters if parameters else None,
            types=types,
            context_length=_number(entries, f"{architecture}.context_length"),
            embedding_length=_number(entries, f"{architecture}.embedding_length"),
            layers=_number(entries, f"{architecture}.block_count"),
            heads=_per_layer(entries, f"{architecture}.attention.head_count"),
            kv_heads=_per_layer(entries, f"{architecture}.attention.head_count_kv"),
            vocabulary=_length(entries, "tokenizer.ggml.tokens") or _number(entries, f"{architecture}.vocab_size"),
            tokenizer=_text(entries, "tokenizer.ggml.model"),
            pre_tokenizer=_text(entries, "tokenizer.ggml.pre"),
            chat_template=template is not None,
            chat_template_characters=None if template is None else len(template),
            parts=tuple(description.get("parts", ())),
            byte_order=description.get("byte_order", "little"),
            split=None if split is None else (split[0], split[1]),
            problem=description["problem"],
        )


def describe(path: str, array_items: int = SUMMARY_ITEMS) -> dict[str, Any]:
    """The contents of a file, local or at an address, with arrays cut to so many items.

    Raises:
        GgufError: it is no intact GGUF file.
        OSError: it cannot be read.
    """
    from tabagent import _native  # noqa: PLC0415 (not needed for `--help`)
    from tabagent.cli.remote import is_remote, read_header  # noqa: PLC0415 (brings the code for downloads)

    text = read_header(path).describe(path, array_items) if is_remote(path) else _native.gguf_info_json(path, array_items)
    description: dict[str, Any] = json.loads(text)
    return description


def summarize(path: str) -> GgufSummary:
    """The summary of a file; raises as `describe`."""
    return GgufSummary.of(describe(path))


def element_count(shape: Sequence[int]) -> int:
    """How many values a tensor of this shape has."""
    count = 1
    for extent in shape:
        count *= extent
    return count


def _types(tensors: Sequence[Mapping[str, Any]]) -> tuple[TypeShare, ...]:
    """Tensors by type, the type with the most bytes first."""
    found: dict[str, list[int]] = {}
    for tensor in tensors:
        counts = found.setdefault(tensor["type"], [0, 0, 0])
        counts[0] += 1
        counts[1] += element_count(tensor["shape"])
        counts[2] += tensor["bytes"]
    shares = [TypeShare(type=name, tensors=counts[0], parameters=counts[1], bytes=counts[2]) for name, counts in found.items()]
    return tuple(sorted(shares, key=lambda share: -share.bytes))


def _number(entries: Mapping[str, Any], key: str) -> int | None:
    value = entries[key]["value"] if key in entries else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(entries: Mapping[str, Any], key: str) -> str | None:
    value = entries[key]["value"] if key in entries else None
    return value if isinstance(value, str) else None


def _length(entries: Mapping[str, Any], key: str) -> int | None:
    length = entries[key]["length"] if key in entries else None
    return length if isinstance(length, int) else None


def _per_layer(entries: Mapping[str, Any], key: str) -> int | str | None:
    """A number, or the range of one that differs by layer."""
    value = entries[key]["value"] if key in entries else None
    if isinstance(value, list):
        numbers = sorted({number for number in value if isinstance(number, int)})
        if not numbers:
            return None
        return numbers[0] if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    return _number(entries, key)


def _file_type(number: int | None) -> str | None:
    if number is None:
        return None
    # Bit 10 says that the number was guessed from the tensors (`LLAMA_FTYPE_GUESSED`).
    from tabagent import _native  # noqa: PLC0415 (not needed for `--help`)

    kind = number & ~1024
    return (_native.gguf_file_type_name(kind) if 0 <= kind < 2**32 else None) or f"type {kind}"
