"""`tabagent gguf`: changing, splitting, merging, hashing, comparing and verifying model files. No engine is loaded."""

import json as json_format
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tabagent.cli.arguments import argument_text, text_argument
from tabagent.cli.examples import ExamplesCommand
from tabagent.cli.failure import UsageError, explained, one_line
from tabagent.cli.merge_lora import merge_lora
from tabagent.cli.options import Verbose
from tabagent.cli.output import write_error, write_json, write_line, write_note
from tabagent.cli.progress import ProgressBar
from tabagent.cli.prompt_source import decode_utf8
from tabagent.cli.size import parse_size
from tabagent.cli.units import bytes_text, counted
from tabagent.errors import GgufError

__all__ = ["gguf_app", "parse_assignment", "parse_size"]

gguf_app = typer.Typer(
    name="gguf",
    help="Change, split, merge, hash, compare and verify GGUF files.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

ORDERS: Final = ("little", "big", "native")
LEVELS: Final = ("format", "model", "data", "full")
MANIFEST_LINE: Final = re.compile(r"(sha256|sha256-file) +([0-9a-f]{64})  (.+)")

FilePath = Annotated[str, typer.Argument(metavar="FILE", help="A GGUF file; of a split model any part.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object.", show_default=False)]


def _option(*names: str, text: str, metavar: str = "") -> Any:
    return typer.Option(*names, metavar=metavar, help=text, show_default=False, parser=text_argument if metavar == "KEY" else None)


@explained
def set_metadata(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A GGUF file; of a split model the first part.", show_default=False)],
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="A value to set; `KEY:TYPE=VALUE` gives its type, `KEY=@FILE` takes a text from a file.", show_default=False
        ),
    ] = None,
    *,
    remove: Annotated[list[str] | None, _option("--remove", metavar="KEY", text="A key to remove. May be given several times.")] = None,
    output: Annotated[str | None, _option("-o", "--output", metavar="FILE", text="Write a changed copy and leave FILE as it is.")] = None,
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Change metadata; tensors are not rewritten where they need not move.

    A value keeps the type that it has. New ones are numbers, true or false,
    or text, by how they look; arrays are written as JSON.
    """
    from tabagent import gguf  # noqa: PLC0415 (not needed for `--help`)
    from tabagent.gguf.editing import first_part  # noqa: PLC0415 (not needed for `--help`)

    if not values and not remove:
        message = "there is nothing to change; give `KEY=VALUE` or `--remove KEY`"
        raise UsageError(message)
    metadata = first_part(file).metadata
    changes: dict[str, Any] = {}
    types: dict[str, str] = {}
    for text in values or ():
        key, kind, value = parse_assignment(text)
        kind = kind or (metadata.type(key) if key in metadata else None)
        changes[key] = _value(key, value, kind)
        if kind is not None:
            types[key] = kind
    for key in remove or ():
        if key not in metadata:
            message = f"`{file}` has no metadata `{key}`, so it cannot be removed"
            raise ValueError(message)
    with ProgressBar("writing", in_bytes=True) as bar:
        done = gguf.edit_metadata(file, changes, remove=remove or (), types=types, output=output, progress=bar.bytes)
    target = file if output is None else output
    write_note({"unchanged": f"`{target}` said so already", "in place": f"changed `{target}` in place", "rewritten": f"wrote `{target}`"}[done])
    return 0


@explained
def split(
    file: FilePath,
    prefix: Annotated[str, typer.Argument(metavar="PREFIX", help="The parts are PREFIX-00001-of-0000N.gguf and so on.", show_default=False)],
    *,
    max_size: Annotated[str | None, _option("--max-size", metavar="SIZE", text="Bytes of tensors in a part, such as 500M, 2G or 2GiB.")] = None,
    max_tensors: Annotated[int | None, _option("--max-tensors", metavar="N", text="Tensors in a part.")] = None,
    no_tensor_first_split: Annotated[bool, _option("--no-tensor-first-split", text="Put nothing but metadata into the first part.")] = False,
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Write a model as several files, which llama.cpp loads by the first."""
    from tabagent import gguf  # noqa: PLC0415 (not needed for `--help`)

    if (max_size is None) == (max_tensors is None):
        message = "give either `--max-size` or `--max-tensors`"
        raise UsageError(message)
    if max_tensors is not None and max_tensors < 1:
        message = "`--max-tensors` must be at least 1"
        raise UsageError(message)
    size = None if max_size is None else parse_size(max_size)
    with ProgressBar("splitting", in_bytes=True) as bar:
        paths = gguf.split(file, prefix, max_bytes=size, max_tensors=max_tensors, first_without_tensors=no_tensor_first_split, progress=bar.bytes)
    for path in paths:
        write_line(str(path))
    return 0


@explained
def merge(
    file: Annotated[str, typer.Argument(metavar="PART", help="Any part of the model; all are read.", show_default=False)],
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="The file to write.", show_default=False)],
    *,
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Write a model in several files as one."""
    from tabagent import gguf  # noqa: PLC0415 (not needed for `--help`)

    source = gguf.open(file)
    with ProgressBar("merging", in_bytes=True) as bar:
        gguf.merge(source, output, progress=bar.bytes)
    write_note(f"wrote `{output}` of {counted(len(source.parts), 'part')}, {bytes_text(Path(output).stat().st_size)}")
    return 0


@explained
def convert_endian(
    file: FilePath,
    output: Annotated[str, typer.Argument(metavar="OUTPUT", help="The file to write.", show_default=False)],
    *,
    to: Annotated[str, _option("--to", metavar="ORDER", text="little, big or native, which is the default.")] = "native",
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Write a model in the other byte order, as one file.

    llama.cpp loads only files of its machine's own order. All numbers are
    turned, those in blocks of quantized weights too.
    """
    from tabagent import gguf  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    if to not in ORDERS:
        message = f"`--to {to}` is none of `little`, `big` and `native`"
        raise UsageError(message)
    with ProgressBar("converting", in_bytes=True) as bar:
        gguf.convert_byte_order(file, output, to, progress=bar.bytes)  # type: ignore[arg-type]  # looked up above
    write_note(f"wrote `{output}`, {bytes_text(Path(output).stat().st_size)}")
    return 0


@explained
def hash_(
    file: FilePath,
    *,
    json: Json = False,
    no_tensors: Annotated[bool, _option("--no-tensors", text="Leave out the single tensors.")] = False,
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Print SHA-256 of each tensor, of all weights and of the files.

    The weights' hash stays the same when metadata changes or the model is
    split. Lines are those of llama.cpp's `gguf-hash --sha256`, and those
    starting with `sha256-file` are what `sha256sum` computes.
    """
    from tabagent import gguf  # noqa: PLC0415 (not needed for `--help`)

    source = gguf.open(file)
    with ProgressBar("hashing", in_bytes=True) as bar:
        found = source.hashes(progress=bar.bytes)
    if json:
        tensors = {} if no_tensors else {"tensors": found.tensors}
        write_json({"file": file, "weights": found.weights, "files": found.files, **tensors})
        return 0
    name = source.parts[0]
    lines = [] if no_tensors else [("sha256", digest, f"{name}:{tensor}") for tensor, digest in found.tensors.items()]
    lines += [("sha256", found.weights, name), *(("sha256-file", digest, part) for part, digest in found.files.items())]
    for kind, digest, what in lines:
        write_line(f"{kind:<11} {digest}  {what}")
    return 0


@explained
def diff(
    first: Annotated[str, typer.Argument(metavar="FIRST", help="A GGUF file.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="Another one.", show_default=False)],
    *,
    json: Json = False,
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Say in words what is different between two files.

    Exit code 0 if they hold the same, 1 if not.
    """
    from tabagent import gguf  # noqa: PLC0415 (not needed for `--help`)

    found = gguf.diff(first, second)
    if json:
        write_json({"first": first, "second": second, "differences": found})
    else:
        for line in found:
            write_line(line)
        if not found:
            write_note("both files hold the same")
    return 1 if found else 0


@explained
def verify(
    file: FilePath,
    *,
    level: Annotated[
        str, _option("--level", metavar="LEVEL", text="format, model (llama.cpp's rules), data (no NaN, no infinity) or full, which is the default.")
    ] = "full",
    manifest: Annotated[str | None, _option("--manifest", metavar="FILE", text="Compare with what `tabagent gguf hash` printed.")] = None,
    json: Json = False,
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Check that a file is whole and that llama.cpp can load it.

    Exit code 1 if not; the message says where and which rule is broken.
    """
    from tabagent import gguf  # noqa: PLC0415 (not needed for `--help`)

    if level not in LEVELS:
        message = f"`--level {level}` is none of `format`, `model`, `data` and `full`"
        raise UsageError(message)
    expected = None if manifest is None else _manifest(manifest)
    problems: list[str] = []
    try:
        with ProgressBar("checking", in_bytes=True) as bar:
            source = gguf.open(file, check=level, progress=bar.bytes)  # type: ignore[arg-type]  # looked up above
        if expected is not None:
            with ProgressBar("hashing", in_bytes=True) as bar:
                problems += _mismatches(expected, source.hashes(progress=bar.bytes))
    except GgufError as error:
        problems.append(one_line(error))
    if json:
        write_json({"file": file, "level": level, "ok": not problems, "problems": problems})
    else:
        for problem in problems:
            write_error(problem)
        if not problems:
            write_note(f"`{file}` is in order")
    return 1 if problems else 0


def _mismatches(expected: Mapping[tuple[str, str], str], found: Any) -> list[str]:
    """The lines of a manifest that do not match. Names of files are ignored, because a copy may have another name."""
    known = {("tensor", name): digest for name, digest in found.tensors.items()} | {("weights", ""): found.weights}
    digests = set(found.files.values())
    problems = []
    for (kind, name), digest in expected.items():
        what = {"tensor": f"tensor `{name}`", "weights": "the weights", "file": f"file `{name}`"}[kind]
        if kind == "file":
            if digest not in digests:
                problems.append(f"{what} has another content than the manifest says")
        elif (kind, name) not in known:
            problems.append(f"{what} of the manifest is missing")
        elif known[kind, name] != digest:
            problems.append(f"{what} has sha256 `{known[kind, name]}`, but the manifest says `{digest}`")
    listed = {name for kind, name in expected if kind == "tensor"}
    if listed:
        problems += [f"tensor `{name}` is not in the manifest" for name in found.tensors if name not in listed]
    return problems


def _manifest(path: str) -> dict[tuple[str, str], str]:
    """What a manifest says: digests by kind and tensor's or file's name."""
    found: dict[tuple[str, str], str] = {}
    for line in decode_utf8(Path(path).read_bytes(), f"`{path}`").splitlines():
        match = MANIFEST_LINE.fullmatch(line.rstrip())
        if match is None:
            continue
        kind, digest, name = match.groups()
        if kind == "sha256-file":
            found["file", name] = digest
        elif ".gguf:" in name:
            found["tensor", name.partition(".gguf:")[2]] = digest
        else:
            found["weights", ""] = digest
    if not found:
        message = f"`{path}` has no SHA-256 of a GGUF file; make it with `tabagent gguf hash FILE > {path}`"
        raise ValueError(message)
    return found


def parse_assignment(text: str) -> tuple[str, str | None, str]:
    """The key, the type if there is one, and the value of `KEY=VALUE` or `KEY:TYPE=VALUE`.

    Raises:
        UsageError: there is no `=`, or no key.
    """
    key, equals, value = text.partition("=")
    key, _, kind = argument_text(key, "a key").partition(":")
    if not equals or not key:
        message = f"`{text}` sets nothing; write `KEY=VALUE` or `KEY:TYPE=VALUE`"
        raise UsageError(message)
    return key, kind or None, value


def _value(key: str, text: str, kind: str | None) -> Any:
    """The value that a text on the command line stands for."""
    if text.startswith("@") and kind in {None, "str"}:
        return decode_utf8(Path(text[1:]).read_bytes(), f"`{text[1:]}`")
    text = argument_text(text, f"the value of `{key}`")
    if kind == "str":
        return text
    try:
        # JSON gives 12, 1.5, true and [1, 2]; anything else is text, also `null`, because `--remove` is what removes a key.
        value = json_format.loads(text)
    except ValueError:
        value = text
    if kind is None:
        return text if value is None or isinstance(value, (dict, str)) else value
    if value is None or isinstance(value, (dict, str)):
        message = f"`{text}` is no value of type `{kind}`, which `{key}` has; write `{key}:TYPE=VALUE` to give it another type"
        raise UsageError(message)
    return value


COMMANDS: Final[Mapping[str, Callable[..., None]]] = {
    "set-metadata": set_metadata,
    "split": split,
    "merge": merge,
    "merge-lora": merge_lora,
    "convert-endian": convert_endian,
    "hash": hash_,
    "diff": diff,
    "verify": verify,
}
for _name, _command in COMMANDS.items():
    gguf_app.command(_name, cls=ExamplesCommand)(_command)
