"""`tabagent gguf merge-lora`: adapters into models. No engine is loaded."""

from pathlib import Path
from typing import Annotated

import typer

from tabagent import _native
from tabagent.cli.adapter_options import parse_scaled
from tabagent.cli.failure import UsageError, explained
from tabagent.cli.options import Verbose
from tabagent.cli.output import write_note
from tabagent.cli.progress import ProgressBar
from tabagent.cli.units import bytes_text, counted

__all__ = ["merge_lora"]

_, TYPES, _ = _native.gguf_out_types()


@explained
def merge_lora(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model; of a split one any part.", show_default=False)],
    output: Annotated[str, typer.Argument(metavar="OUT", help="The GGUF file to write.", show_default=False)],
    *,
    lora: Annotated[
        list[str] | None,
        typer.Option("--lora", metavar="FILE[=SCALE]", help="A GGUF adapter or a PEFT folder. May be given several times.", show_default=False),
    ] = None,
    lora_scaled: Annotated[
        list[str] | None, typer.Option("--lora-scaled", metavar="FILE:SCALE", help="The same, as llama.cpp writes it.", show_default=False)
    ] = None,
    out_type: Annotated[
        str, typer.Option("--outtype", metavar="TYPE", help=f"Type of changed tensors: {', '.join(TYPES)}.", show_default="keep")
    ] = "keep",
    imatrix: Annotated[
        str | None, typer.Option("--imatrix", metavar="FILE", help="An importance matrix, for packing tensors again.", show_default=False)
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option("-t", "--threads", metavar="N", min=1, help="How many threads to compute with (default: all cores).", show_default=False),
    ] = None,
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Merge LoRA adapters into a model of any type.

    Tensors that change are unpacked, changed and packed again; all else
    stays as it is. The file appears whole or not at all, also after Ctrl-C.
    """
    from tabagent import gguf  # noqa: PLC0415 (not needed for `--help`)

    adapters = [parse_scaled(text, "=") for text in lora or ()] + [parse_scaled(text, ":") for text in lora_scaled or ()]
    if not adapters:
        message = "there is no adapter to merge; give `--lora FILE`"
        raise UsageError(message)
    if out_type.lower() not in TYPES:
        message = f"`{out_type}` is no output type; choose one of {', '.join(TYPES)}"
        raise UsageError(message)
    with ProgressBar("merging", in_bytes=True) as bar:
        done = gguf.merge_lora(
            base,
            [path for path, _ in adapters],
            output,
            scales=[scale for _, scale in adapters],
            out_type=out_type,
            imatrix=imatrix,
            threads=threads,
            progress=bar.bytes,
        )
    write_note(f"wrote `{output}`: {done.changed} of {counted(done.tensors, 'tensor')} changed, {bytes_text(Path(output).stat().st_size)}")
    if done.ignored:
        write_note(f"passed over {counted(len(done.ignored), 'tensor')} that llama.cpp does not take from adapters, such as `{done.ignored[0]}`")
    return 0
