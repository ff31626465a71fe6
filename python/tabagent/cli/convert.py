"""`tabagent convert`: Hugging Face folders and BitNet files to GGUF. No engine is loaded."""

from pathlib import Path
from typing import Annotated

import typer

from tabagent.cli.failure import UsageError, explained
from tabagent.cli.options import Verbose
from tabagent.cli.output import write_note
from tabagent.cli.progress import ProgressBar
from tabagent.cli.units import bytes_text, count_text

__all__ = ["convert"]

TYPES = ("auto", "f32", "f16", "bf16", "q8_0", "tq1_0", "tq2_0")


@explained
def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="DIR", help="A folder with config.json and safetensors files, or a GGUF file with I2_S tensors.", show_default=False),
    ],
    output: Annotated[str, typer.Argument(metavar="OUT", help="The GGUF file to write.", show_default=False)],
    *,
    out_type: Annotated[
        str, typer.Option("--outtype", metavar="TYPE", help=f"Type of the matrices: {', '.join(TYPES)}.", show_default="auto")
    ] = "auto",
    pre_tokenizer: Annotated[
        str | None,
        typer.Option("--pre", metavar="NAME", help="llama.cpp's name of how text is split, where it is not recognized.", show_default=False),
    ] = None,
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Convert a Hugging Face model to a GGUF file.

    Nothing in the folder is executed. The file appears whole or not at all,
    also after Ctrl-C.
    """
    from tabagent import gguf  # noqa: PLC0415 (not needed for `--help`)

    if out_type.lower() not in TYPES:
        message = f"`{out_type}` is no output type; choose one of {', '.join(TYPES)}"
        raise UsageError(message)
    with ProgressBar("converting", in_bytes=True) as bar:

        def show(done: int, total: int) -> bool:
            bar.bytes(done, total)
            return True

        done = gguf.convert(source, output, out_type=out_type, pre_tokenizer=pre_tokenizer, progress=show)
    facts = f"{done.architecture}, {count_text(done.parameters)} parameters, {done.type}, {bytes_text(Path(output).stat().st_size)}"
    write_note(f"wrote `{output}`: {facts}")
    return 0
