"""`tabagent info`: what a model file holds. No engine is loaded."""

import dataclasses
import difflib
import fnmatch
import json as json_format
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from tabagent.cli.arguments import text_argument
from tabagent.cli.failure import UsageError, explained
from tabagent.cli.gguf_summary import GgufSummary, describe, element_count
from tabagent.cli.model_source import model_path
from tabagent.cli.options import Verbose, in_groups, option
from tabagent.cli.output import printable, write_json, write_line, write_tables
from tabagent.cli.units import bytes_text, count_text, counted

__all__ = ["info"]

if TYPE_CHECKING:
    from tabagent import MemoryPrediction

MEMORY: Final = "Memory"
SHOWN_ITEMS: Final = 6
ALL_ITEMS: Final = 2**32 - 1

GgufPath = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="A GGUF file (any part of a split one), `demo`, an https address, or `hf://OWNER/REPO/FILE`.", show_default=False
    ),
]
Tensors = Annotated[bool, typer.Option("--tensors", metavar="", help="List all tensors too.", show_default=False)]
Metadata = Annotated[
    list[str] | None,
    typer.Option(
        "--metadata",
        metavar="KEY",
        parser=text_argument,
        help="Print only this value, in full; with `*`: all keys that match. May be given several times.",
        show_default=False,
    ),
]
Json = Annotated[
    bool,
    typer.Option(
        "--json", metavar="", help="Print one JSON object: the facts, the metadata (long arrays cut), with --tensors the tensors.", show_default=False
    ),
]


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """For which context memory is predicted."""

    memory: Annotated[
        bool, option(MEMORY, "--memory", text="Show what loading it would take of memory, and what is free; llama.cpp counts, nothing is loaded.")
    ] = False
    context_size: Annotated[
        int | None, option(MEMORY, "-c", "--ctx-size", metavar="N", min=1, text="Tokens of context (default: the model's, up to 4,096).")
    ] = None
    max_sequences: Annotated[int | None, option(MEMORY, "-np", "--parallel", metavar="N", min=1, text="Requests at a time (default 8).")] = None
    micro_batch_size: Annotated[
        int | None, option(MEMORY, "-ub", "--ubatch-size", metavar="N", min=1, text="Tokens computed at once (default 512).")
    ] = None
    key_type: Annotated[str, option(MEMORY, "-ctk", "--cache-type-k", metavar="TYPE", text="The type of keys (default f16).")] = "f16"
    value_type: Annotated[str, option(MEMORY, "-ctv", "--cache-type-v", metavar="TYPE", text="The type of values (default f16).")] = "f16"
    use_mmap: Annotated[bool, option(MEMORY, "--mmap/--no-mmap", text="With the file mapped into memory (default), or not.")] = True


@explained
@in_groups
def info(
    file: GgufPath,
    memory: MemoryOptions,
    *,
    json: Json = False,
    tensors: Tensors = False,
    metadata: Metadata = None,
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Show what a GGUF file holds: size, types, context, metadata, tensors.

    Only the file is read; no engine is needed but for `--memory`. Of a file on
    a server only the beginning is fetched. A damaged file is an error that says
    where and why.
    """
    file = model_path(file)
    if memory != MemoryOptions(memory=memory.memory) and not memory.memory:
        message = "options of the context say what `--memory` counts; add it"
        raise UsageError(message)
    if memory.memory:
        from tabagent.cli.remote import is_remote  # noqa: PLC0415 (brings the code for downloads)

        if is_remote(file):
            message = f"`--memory` needs the file on this machine, and `{file}` is not"
            raise UsageError(message)
    if metadata:
        if tensors or memory.memory:
            message = "`--metadata` prints nothing but metadata; leave out `--tensors` and `--memory`"
            raise UsageError(message)
        whole = not any(_is_pattern(key) for key in metadata) or json
        return _show_metadata(describe(file, ALL_ITEMS if whole else SHOWN_ITEMS), metadata, as_json=json)
    description = describe(file)
    summary = GgufSummary.of(description)
    if json:
        values = {entry["key"]: _shortened(entry) for entry in description["metadata"]}
        listed = {"tensors": description["tensors"]} if tensors else {}
        predicted = {"memory": _memory_json(_predicted(file, memory))} if memory.memory else {}
        write_json({**dataclasses.asdict(summary), "tensor_count": len(description["tensors"]), "metadata": values, **listed, **predicted})
        return 0
    tables = [_facts_table(summary, len(description["tensors"])), _types_table(summary)]
    if memory.memory:
        tables.append(_memory_table(_predicted(file, memory)))
    write_tables(*tables, *([_tensors_table(description["tensors"])] if tensors else []))
    return 0


def _predicted(file: str, options: MemoryOptions) -> "MemoryPrediction":
    from tabagent import predict_memory  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    return predict_memory(
        file,
        context_size=options.context_size,
        max_sequences=options.max_sequences,
        micro_batch_size=options.micro_batch_size,
        kv_type=(options.key_type.lower(), options.value_type.lower()),
        use_mmap=options.use_mmap,
    )


def _memory_json(predicted: "MemoryPrediction") -> dict[str, Any]:
    return {**dataclasses.asdict(predicted), "allocated": predicted.allocated, "total": predicted.total, "fits": predicted.fits}


def _memory_table(predicted: "MemoryPrediction") -> Table:
    """What each part takes, and whether there is so much."""
    table = _table()
    table.add_column("memory", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    types = " and ".join(dict.fromkeys(predicted.kv_types))
    rows = [
        ("weights, mapped", predicted.mapped),
        ("weights", predicted.weights),
        (f"context of {predicted.context_size:,} tokens in {types}", predicted.cache),
        ("computation", predicted.compute),
        ("vocabulary", predicted.vocabulary),
        ("must be free", predicted.allocated),
    ]
    for name, count in rows:
        table.add_row(name, bytes_text(count))
    if predicted.available is not None:
        table.add_row("is free", Text(bytes_text(predicted.available), style="" if predicted.fits else "red"))
    table.add_row("fits", "yes" if predicted.fits else Text("no", style="red"))
    return table


def _is_pattern(key: str) -> bool:
    return any(character in key for character in "*?[")


def _show_metadata(description: Mapping[str, Any], wanted: Sequence[str], *, as_json: bool) -> int:
    """Print the values asked for: one alone as it is, several as a table."""
    entries = {entry["key"]: entry for entry in description["metadata"]}
    chosen: dict[str, Mapping[str, Any]] = {}
    for key in wanted:
        matching = [key] if key in entries else fnmatch.filter(entries, key) if _is_pattern(key) else []
        if not matching:
            nearest = difflib.get_close_matches(key, entries, n=1, cutoff=0.4)
            hint = f"did you mean `{nearest[0]}`?" if nearest else "`--metadata '*'` lists them all"
            message = f"`{description['file']}` has no metadata `{key}`; {hint}"
            raise ValueError(message)
        chosen.update((name, entries[name]) for name in matching)
    if as_json:
        write_json({key: entry["value"] for key, entry in chosen.items()})
    elif len(wanted) == 1 and wanted[0] in chosen and len(chosen) == 1:
        value = chosen[wanted[0]]["value"]
        for item in value if isinstance(value, list) else [value]:
            write_line(_value_text(item))
    else:
        write_tables(_metadata_table(chosen))
    return 0


def _shortened(entry: Mapping[str, Any]) -> Any:
    """A value for JSON; of a long array, its beginning and its length."""
    if entry["length"] is not None and entry["length"] > len(entry["value"]):
        return {"type": entry["type"], "length": entry["length"], "first": entry["value"][:SHOWN_ITEMS]}
    return entry["value"]


def _table(**settings: Any) -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, **settings)


def _facts_table(summary: GgufSummary, tensor_count: int) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _facts(summary, tensor_count):
        table.add_row(name, Text(printable(value), style="red" if name == "problem" else ""))
    return table


def _facts(summary: GgufSummary, tensor_count: int) -> list[tuple[str, str]]:
    """The rows of the table: what is not known is left out."""
    split = summary.split
    here = " in this part" if split is not None and split[1] > 1 else ""
    heads = None if summary.heads is None else f"{summary.heads}" + ("" if summary.kv_heads is None else f" ({summary.kv_heads} for keys and values)")
    tokenizer = " ".join(part for part in (summary.tokenizer, f"({summary.pre_tokenizer})" if summary.pre_tokenizer else None) if part)
    vocabulary = None if summary.vocabulary is None else f"{summary.vocabulary:,} tokens" + (f", {tokenizer}" if tokenizer else "")
    template = f"yes, {summary.chat_template_characters:,} characters" if summary.chat_template else "no"
    rows: list[tuple[str, str | None]] = [
        ("file", summary.file),
        ("size", f"{bytes_text(summary.size)} ({summary.size:,} bytes)"),
        ("format", f"GGUF version {summary.version}, {summary.byte_order}-endian, alignment {summary.alignment}"),
        (
            "split",
            f"{len(summary.parts)} parts" if len(summary.parts) > 1 else "no" if not here or split is None else f"part {split[0] + 1} of {split[1]}",
        ),
        ("architecture", summary.architecture),
        ("name", summary.name),
        ("license", summary.license),
        ("parameters", f"{count_text(summary.parameters)} ({summary.parameters:,}) in {counted(tensor_count, 'tensor')}{here}"),
        ("quantization", summary.file_type),
        ("bits per weight", None if summary.bits_per_weight is None else f"{summary.bits_per_weight:.2f}"),
        ("context", None if summary.context_length is None else f"{summary.context_length:,} tokens"),
        ("embedding", None if summary.embedding_length is None else f"{summary.embedding_length:,}"),
        ("layers", None if summary.layers is None else f"{summary.layers:,}"),
        ("heads", heads),
        ("vocabulary", vocabulary),
        ("chat template", template),
        ("problem", summary.problem),
    ]
    return [(name, value) for name, value in rows if value is not None]


def _types_table(summary: GgufSummary) -> Table:
    table = _table()
    table.add_column("type", no_wrap=True)
    for name in ("tensors", "parameters", "bytes", "share", "bits per weight"):
        table.add_column(name, justify="right", no_wrap=True)
    for share in summary.types:
        part = f"{share.bytes / summary.weight_bytes:.1%}" if summary.weight_bytes else "-"
        bits = f"{share.bytes * 8 / share.parameters:.2f}" if share.parameters else "-"
        table.add_row(share.type, f"{share.tensors:,}", f"{share.parameters:,}", f"{share.bytes:,}", part, bits)
    return table


def _tensors_table(tensors: Sequence[Mapping[str, Any]]) -> Table:
    table = _table()
    table.add_column("tensor", overflow="fold")
    table.add_column("type", no_wrap=True)
    for name in ("shape", "parameters", "bytes", "offset"):
        table.add_column(name, justify="right", no_wrap=True)
    for tensor in tensors:
        shape = " x ".join(str(extent) for extent in tensor["shape"])
        numbers = (f"{element_count(tensor['shape']):,}", f"{tensor['bytes']:,}", f"{tensor['offset']:,}")
        table.add_row(printable(tensor["name"]), tensor["type"], shape, *numbers)
    return table


def _metadata_table(entries: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table()
    table.add_column("key", overflow="fold", min_width=24)
    table.add_column("type", no_wrap=True)
    table.add_column("value", overflow="fold")
    for key, entry in entries.items():
        value = entry["value"]
        if isinstance(value, list):
            items = ", ".join(json_format.dumps(item, ensure_ascii=False) for item in value[:SHOWN_ITEMS])
            text = f"[{items}{', ...' if entry['length'] > SHOWN_ITEMS else ''}] ({entry['length']:,} in all)"
        else:
            text = _cut(_value_text(value).replace("\n", "\\n"))
        table.add_row(printable(key), entry["type"], printable(text))
    return table


def _cut(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text):,} characters)"


def _value_text(value: Any) -> str:
    return value if isinstance(value, str) else json_format.dumps(value, ensure_ascii=False)
