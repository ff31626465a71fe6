"""`tabagent embed`: vectors of texts."""

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tabagent.cli.arguments import argument_text
from tabagent.cli.failure import UsageError, explained, one_line
from tabagent.cli.load_options import LoadOptions, load
from tabagent.cli.options import OUTPUT, Verbose, in_groups, naming_options, option
from tabagent.cli.output import is_terminal, write_line, write_note
from tabagent.cli.progress import ProgressBar
from tabagent.cli.prompt_source import decode_utf8, standard_input_bytes
from tabagent.cli.units import counted
from tabagent.errors import TabagentError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["embed"]

VECTORS: Final = "Vectors"
POOLINGS: Final = ("mean", "cls", "last")

ModelName = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="A GGUF file, `demo`, or `hf:OWNER/REPO/FILE` with a name or pattern.", show_default=False),
]
Texts = Annotated[list[str] | None, typer.Argument(metavar="TEXT...", help="The texts. Without them and -f: the lines of standard input.")]


@dataclass(frozen=True, kw_only=True)
class VectorOptions:
    """How texts become vectors."""

    pooling: Annotated[
        str | None,
        option(VECTORS, "--pooling", metavar="NAME", text=f"How one vector is made of a text's: {', '.join(POOLINGS)} (default: the model's way)."),
    ] = None
    normalize: Annotated[bool, option(VECTORS, "--normalize/--no-normalize", text="Give vectors the length 1 (default), or not.")] = True
    truncate: Annotated[bool, option(VECTORS, "--truncate", text="Cut texts that are too long, which are an error otherwise.")] = False
    dimensions: Annotated[
        int | None, option(VECTORS, "--dimensions", metavar="N", min=1, text="Keep the first N numbers of each vector (Matryoshka models).")
    ] = None

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Model.embed`.

        Raises:
            UsageError: a value is none that there is.
        """
        if self.pooling is not None and self.pooling not in POOLINGS:
            message = f"`--pooling {self.pooling}` is not known; there are {', '.join(f'`{name}`' for name in POOLINGS)}"
            raise UsageError(message)
        return {"pooling": self.pooling, "normalize": self.normalize, "truncate": self.truncate, "dimensions": self.dimensions}


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Where texts come from, and where vectors go."""

    file: Annotated[
        str | None, option(OUTPUT, "-f", "--file", metavar="FILE", text="A file with a text in each line, in UTF-8; `-` is standard input.")
    ] = None
    output: Annotated[
        str | None,
        option(OUTPUT, "-o", "--output", metavar="FILE", text="Write to a file: an array of numpy if it ends in `.npy`, else lines of JSON."),
    ] = None


GROUPS: Final = (VectorOptions, SourceOptions, LoadOptions)


@explained
@in_groups
def embed(
    model: ModelName = None,
    texts: Texts = None,
    *,
    vectors: VectorOptions,
    source: SourceOptions,
    machine: LoadOptions,
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Turn texts into vectors.

    Prints a line of JSON for each text, with its place among the texts and
    its vector; -o writes them to a file. In files and on standard input,
    each line is a text.
    """
    where = machine.source(model)
    arguments, settings = vectors.arguments(), machine.settings()
    given = _texts(texts, source.file)
    try:
        with load(where, settings) as loaded, ProgressBar("embedding") as bar:
            found = loaded.embed(given, progress=bar.part, **arguments)
    except (TabagentError, ValueError) as error:
        raise _in_options(error) from error
    _write(found, source.output)
    return 0


def _texts(texts: list[str] | None, file: str | None) -> list[str]:
    """The texts, from the first of the arguments, `-f` and a piped standard input that there is.

    Raises:
        UsageError: they are there twice, or not at all.
        ValueError: they are not UTF-8.
        OSError: the file cannot be read.
    """
    if texts and file is not None:
        message = "texts are given as arguments and with `-f`; give them in one way"
        raise UsageError(message)
    if texts:
        return [argument_text(text, "a text") for text in texts]
    if file is not None and file != "-":
        return _lines(decode_utf8(Path(file).read_bytes(), f"`{file}`"))
    if file is None and (sys.stdin is None or is_terminal(sys.stdin)):
        message = "there are no texts; give them after the model, with `-f FILE`, or pipe them in"
        raise UsageError(message)
    return _lines(decode_utf8(standard_input_bytes(), "standard input"))


def _lines(text: str) -> list[str]:
    """The lines of a text, which may end in a newline. Other characters that separate lines are part of them."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if lines[-1] == "" else lines


def _write(vectors: "NDArray[np.float32]", output: str | None) -> None:
    if output is None:
        for line in _json_lines(vectors):
            write_line(line)
        return
    path = Path(output)
    # The file appears under its name when all of it is there.
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            if output.endswith(".npy"):
                import numpy as np  # noqa: PLC0415 (loaded with the vectors)

                np.save(file, vectors, allow_pickle=False)
            else:
                file.writelines(f"{line}\n".encode("ascii") for line in _json_lines(vectors))
            file.close()
            Path(file.name).chmod(0o644)
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
    write_note(f"wrote `{output}`: {counted(len(vectors), 'vector')} of {vectors.shape[1]:,} numbers")


def _json_lines(vectors: "NDArray[np.float32]") -> Iterator[str]:
    for index, row in enumerate(vectors):
        # `str` gives the shortest decimal that is the same float32.
        yield json.dumps({"index": index, "embedding": [float(str(value)) for value in row]})


def _in_options(error: Exception) -> Exception:
    """The error with the package's parameters named as the options that set them."""
    text = one_line(error)
    renamed = naming_options(text.replace("`truncate=True`", "`truncate`"), VectorOptions, LoadOptions)
    return error if renamed == text else type(error)(renamed)
