"""`tabagent quantize`: models to other number formats, with the arguments of llama.cpp's `llama-quantize`. No engine is loaded."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from tabagent.cli.arguments import text_argument
from tabagent.cli.failure import UsageError, explained
from tabagent.cli.options import Verbose, in_groups
from tabagent.cli.output import printable, write_error, write_json, write_note, write_tables
from tabagent.cli.progress import ProgressBar
from tabagent.cli.prompt_source import decode_utf8
from tabagent.cli.size import parse_size
from tabagent.cli.units import bytes_text, counted

if TYPE_CHECKING:
    from tabagent.gguf import QuantizedModel

__all__ = ["Job", "parse_override", "parse_rules", "quantize"]

MIB: Final = 1024**2
TRUTH: Final = {"true": True, "false": False}


def _option(*names: str, text: str, metavar: str = "") -> Any:
    parser = text_argument if metavar in {"NAME", "PATTERN=TYPE"} else None
    return typer.Option(*names, metavar=metavar, help=text, show_default=False, parser=parser)


@dataclass(frozen=True, kw_only=True)
class QuantizeOptions:
    """How a model is quantized, but for the type."""

    target_size: Annotated[
        str | None, _option("--target-size", metavar="SIZE", text="Instead of TYPE: the file's most bytes, such as 90MB; types by measured error.")
    ] = None
    target_bpw: Annotated[float | None, _option("--target-bpw", metavar="BITS", text="Instead of TYPE: most bits per weight, such as 4.5.")] = None
    dry_run: Annotated[bool, _option("--dry-run", text="Write nothing; show what would become of each tensor, and why.")] = False
    imatrix: Annotated[str | None, _option("--imatrix", metavar="FILE", text="Importance matrix; needed below 2.5 bits.")] = None
    include_weights: Annotated[
        list[str] | None, _option("--include-weights", metavar="NAME", text="Use it only for tensors with NAME in theirs. May be repeated.")
    ] = None
    exclude_weights: Annotated[
        list[str] | None, _option("--exclude-weights", metavar="NAME", text="Do not use it for tensors with NAME in theirs. May be repeated.")
    ] = None
    pure: Annotated[bool, _option("--pure", text="No mixture: the type's default for all tensors that can be quantized.")] = False
    leave_output_tensor: Annotated[bool, _option("--leave-output-tensor", text="Keep the type of output.weight.")] = False
    output_tensor_type: Annotated[str | None, _option("--output-tensor-type", metavar="TYPE", text="Type of output.weight, such as q8_0.")] = None
    token_embedding_type: Annotated[str | None, _option("--token-embedding-type", metavar="TYPE", text="Type of the token embeddings.")] = None
    tensor_type: Annotated[
        list[str] | None,
        _option("--tensor-type", metavar="PATTERN=TYPE", text="Type of tensors with the regular expression in their names; the first counts."),
    ] = None
    tensor_type_file: Annotated[
        str | None, _option("--tensor-type-file", metavar="FILE", text="Such rules from a file, separated by white space.")
    ] = None
    allow_requantize: Annotated[bool, _option("--allow-requantize", text="Take tensors that are quantized already; loses quality.")] = False
    keep_split: Annotated[bool, _option("--keep-split", text="Write the same parts as IN has; OUT is the beginning of their names.")] = False
    override_kv: Annotated[
        list[str] | None, _option("--override-kv", metavar="KEY=TYPE:VALUE", text="New metadata; TYPE is int, float, bool or str. May be repeated.")
    ] = None
    prune_layers: Annotated[str | None, _option("--prune-layers", metavar="N,N,...", text="Layers to leave out.")] = None
    threads: Annotated[int | None, _option("-t", "--threads", metavar="N", text="Threads; all that the process may use if not given.")] = None
    max_buffer_size: Annotated[int | None, _option("--max-buffer-size", metavar="MIB", text="Most of a tensor that is in memory at a time.")] = None

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            UsageError: they do not.
        """
        if self.include_weights and self.exclude_weights:
            message = "`--include-weights` and `--exclude-weights` cannot be used together"
            raise UsageError(message)
        if self.target_size is not None and self.target_bpw is not None:
            message = "`--target-size` and `--target-bpw` cannot be used together"
            raise UsageError(message)

    @property
    def is_typed(self) -> bool:
        """Whether a type is to be given, as opposed to a size."""
        return self.target_size is None and self.target_bpw is None

    def arguments(self) -> dict[str, Any]:
        """The arguments of `gguf.quantize_model` that they stand for, but for the threads.

        Raises:
            UsageError: a value cannot be read.
            OSError: the file of rules cannot be read.
        """
        texts = list(self.tensor_type or ())
        if self.tensor_type_file is not None:
            texts += decode_utf8(Path(self.tensor_type_file).read_bytes(), f"`{self.tensor_type_file}`").split()
        return {
            "target_size": None if self.target_size is None else parse_size(self.target_size),
            "target_bits_per_weight": self.target_bpw,
            "imatrix": self.imatrix,
            "include_weights": self.include_weights or (),
            "exclude_weights": self.exclude_weights or (),
            "pure": self.pure,
            "leave_output_tensor": self.leave_output_tensor,
            "output_tensor_type": self.output_tensor_type,
            "token_embedding_type": self.token_embedding_type,
            "tensor_types": parse_rules(texts),
            "allow_requantize": self.allow_requantize,
            "keep_split": self.keep_split,
            "metadata_overrides": dict(parse_override(text) for text in self.override_kv or ()),
            "prune_layers": () if self.prune_layers is None else _layers(self.prune_layers),
            "max_buffer_bytes": None if self.max_buffer_size is None else _buffer_bytes(self.max_buffer_size),
            "dry_run": self.dry_run,
        }


@explained
@in_groups
def quantize(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IN [OUT] TYPE [THREADS]",
            help="A GGUF file (of a split model any part), the file to write, the type in any case or by number. Without OUT it is "
            "ggml-model-TYPE.gguf beside IN.",
            show_default=False,
        ),
    ] = None,
    *,
    list_types: Annotated[bool, _option("--list", text="List the types and exit.")] = False,
    options: QuantizeOptions,
    json: Annotated[bool, _option("--json", text="Print one JSON object with all tensors.")] = False,
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Quantize a model: the types and bytes are those of llama-quantize.

    The file appears whole or not at all, also after Ctrl-C. Memory is taken
    for some rows of one tensor, whatever the size of the model.
    """
    if list_types:
        return _list_types(as_json=json)
    options.check()
    from tabagent import gguf  # noqa: PLC0415 (not needed for `--help`)

    job = Job.parse(arguments or [], typed=options.is_typed, dry_run=options.dry_run, keep_split=options.keep_split, threads=options.threads)
    settings = options.arguments()
    with ProgressBar("quantizing", in_bytes=True) as bar:
        done = gguf.quantize_model(job.source, job.destination, job.type, threads=job.threads, progress=bar.bytes, **settings)
    _report(job, done, as_json=json, dry_run=options.dry_run)
    return 0


@dataclass(frozen=True)
class Job:
    """What the positional arguments ask for."""

    source: str
    destination: str | None
    type: str | None
    threads: int | None

    @classmethod
    def parse(cls, arguments: Sequence[str], *, typed: bool = True, dry_run: bool, keep_split: bool, threads: int | None) -> "Job":
        """Read `IN [OUT] TYPE [THREADS]`: the second is OUT if it is no type; or if not `typed`, `IN OUT [THREADS]`.

        Raises:
            UsageError: there are too few or too many, the type or the number of threads is none.
        """
        if not typed:
            return cls._untyped(arguments, dry_run=dry_run, threads=threads)
        if len(arguments) < 2:
            message = "give a model and a type: `tabagent quantize IN [OUT] TYPE`; `--list` shows the types"
            raise UsageError(message)
        source, *rest = arguments
        name = _type_name(rest[0])
        destination: str | None
        if name is not None:
            suffix = "" if keep_split else ".gguf"
            destination = None if dry_run else str(Path(source).parent / f"ggml-model-{name}{suffix}")
            kind, rest = rest[0], rest[1:]
        else:
            destination, *rest = rest
            if not rest:
                message = f"`{destination}` is no type; give one after the file to write, `--list` shows them"
                raise UsageError(message)
            kind, *rest = rest
            if _type_name(kind) is None:
                message = f"`{kind}` is no type to quantize a model to; `--list` shows them"
                raise UsageError(message)
        return cls(source, destination, kind, _threads(rest, threads))

    @classmethod
    def _untyped(cls, arguments: Sequence[str], *, dry_run: bool, threads: int | None) -> "Job":
        if not arguments or (len(arguments) < 2 and not dry_run):
            message = "give a model and the file to write: `tabagent quantize IN OUT`"
            raise UsageError(message)
        source, *rest = arguments
        if rest and _type_name(rest[0]) is not None and not rest[0].isdigit():
            message = f"`{rest[0]}` is a type; give a type or a size, not both"
            raise UsageError(message)
        return cls(source, rest[0] if rest else None, None, _threads(rest[1:], threads))


def _threads(rest: Sequence[str], given: int | None) -> int | None:
    """The number of threads from what follows the type, or as an option gave it; None for all."""
    if len(rest) > 1:
        message = f"`{rest[1]}` is one argument too many; they are `IN [OUT] TYPE [THREADS]`"
        raise UsageError(message)
    if rest and not (rest[0].isascii() and rest[0].isdigit()):
        message = f"`{rest[0]}` is no number of threads"
        raise UsageError(message)
    # 0 stands for all, as in llama-quantize.
    return given or (int(rest[0]) if rest else None) or None


def _type_name(text: str) -> str | None:
    """The name of the type that a text stands for, as llama-quantize writes it into names of files; None for another text."""
    from tabagent.gguf import FILE_TYPES  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    if text.upper() in FILE_TYPES:
        return text.upper()
    return next((name for name, kind in FILE_TYPES.items() if text.isascii() and text.isdigit() and kind.id == int(text)), None)


def parse_rules(texts: Sequence[str]) -> dict[str, str]:
    """Types by pattern from `PATTERN=TYPE`; of two with the same pattern the first counts.

    Raises:
        UsageError: there is no `=`, no pattern or no type.
    """
    rules: dict[str, str] = {}
    for text in texts:
        pattern, _, kind = text.partition("=")
        if not pattern or not kind:
            message = f"`{text}` is no rule for tensors; write `PATTERN=TYPE`, such as `attn_v=q8_0`"
            raise UsageError(message)
        rules.setdefault(pattern, kind)
    return rules


def parse_override(text: str) -> tuple[str, int | float | bool | str]:
    """Key and value from `KEY=TYPE:VALUE`.

    Raises:
        UsageError: it is not written so, or the value is none of the type.
    """
    key, equals, rest = text.partition("=")
    kind, colon, value = rest.partition(":")
    if not (key and equals and colon) or kind not in {"int", "float", "bool", "str"}:
        message = f"`{text}` is no override; write `KEY=TYPE:VALUE`, where TYPE is `int`, `float`, `bool` or `str`"
        raise UsageError(message)
    readers: dict[str, Callable[[str], int | float | bool | str]] = {"int": int, "float": float, "bool": TRUTH.__getitem__, "str": str}
    try:
        return key, readers[kind](value)
    except (ValueError, KeyError):
        message = f"`{value}` in `{text}` is no {kind}"
        raise UsageError(message) from None


def _layers(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() for part in parts):
        message = f"`--prune-layers {text}` is no list of layers; write `0,5,6`"
        raise UsageError(message)
    return [int(part) for part in parts]


def _buffer_bytes(mib: int) -> int:
    if mib < 1:
        message = f"`--max-buffer-size {mib}` must be at least 1"
        raise UsageError(message)
    return mib * MIB


def _list_types(*, as_json: bool) -> int:
    from tabagent.gguf import FILE_TYPES  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    if as_json:
        write_json([asdict(kind) for kind in FILE_TYPES.values()])
        return 0
    table = _table()
    table.add_column("type", style="bold")
    table.add_column("number", justify="right")
    table.add_column("bits", justify="right")
    table.add_column("what it is")
    for kind in FILE_TYPES.values():
        bits = f"{kind.bits_per_weight:.2f}" if kind.bits_per_weight else ""
        table.add_row(kind.name, "" if kind.id is None else str(kind.id), bits, kind.note)
    write_tables(table)
    return 0


def _report(job: Job, done: "QuantizedModel", *, as_json: bool, dry_run: bool) -> None:
    if as_json:
        facts = {"source": job.source, "paths": [str(path) for path in done.paths], "dry_run": dry_run, "problem": done.problem}
        # `reason` says in words that rows do not fit.
        tensors = [{name: value for name, value in asdict(tensor).items() if name != "is_misfit"} for tensor in done.tensors]
        sizes = {"bytes_before": done.bytes_before, "bytes": done.bytes, "weights": done.weights, "bits_per_weight": done.bits_per_weight}
        write_json({**facts, "file_type": done.file_type, **sizes, "tensors": tensors})
        return
    before = f"{bytes_text(done.bytes_before)} ({done.bits_per_weight_before:.2f} bits per weight)"
    sizes_text = f"{before} -> {bytes_text(done.bytes)} ({done.bits_per_weight:.2f})"
    if dry_run:
        write_tables(_tensors_table(done))
        if done.problem is not None:
            write_error(f"this would be refused: {done.problem}")
    misfits = sum(tensor.is_misfit for tensor in done.tensors)
    if misfits:
        write_note(f"{counted(misfits, 'tensor')} of {len(done.tensors)} with rows that do not fit their type's blocks: another type is taken")
    where = "would write" if dry_run else "wrote " + ", ".join(f"`{path}`" for path in done.paths)
    write_note(f"{where}: {sizes_text}")


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)


def _tensors_table(done: "QuantizedModel") -> Table:
    table = _table()
    table.add_column("tensor", overflow="fold")
    table.add_column("shape", justify="right")
    table.add_column("type")
    table.add_column("why", overflow="fold")
    table.add_column("size", justify="right")
    for tensor in done.tensors:
        shape = " x ".join(str(size) for size in tensor.shape)
        kind = tensor.type if tensor.type == tensor.type_before else f"{tensor.type_before} -> {tensor.type}"
        table.add_row(Text(printable(tensor.name)), shape, kind, Text(printable(tensor.reason)), bytes_text(tensor.bytes))
    return table
