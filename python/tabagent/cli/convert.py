"""`tabagent convert`: Hugging Face folders, adapters and BitNet files to GGUF. No engine is loaded."""

from pathlib import Path
from typing import Annotated

import typer

from tabagent import _native
from tabagent.cli.arguments import text_argument
from tabagent.cli.failure import UsageError, explained
from tabagent.cli.options import Verbose
from tabagent.cli.output import write_note
from tabagent.cli.progress import ProgressBar
from tabagent.cli.units import bytes_text, count_text, counted

__all__ = ["convert"]

TYPES, _, _ADAPTERS = _native.gguf_out_types()
ADAPTER_TYPES = {"auto": _ADAPTERS[0]} | {name.lower(): name for name in _ADAPTERS}


@explained
def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="DIR", help="A folder of a model or of a PEFT adapter, or a GGUF file with I2_S tensors.", show_default=False),
    ],
    output: Annotated[str, typer.Argument(metavar="OUT", help="The GGUF file to write.", show_default=False)],
    *,
    out_type: Annotated[
        str, typer.Option("--outtype", metavar="TYPE", help=f"Type of the matrices: {', '.join(TYPES)}.", show_default="auto")
    ] = "auto",
    pre_tokenizer: Annotated[
        str | None,
        typer.Option(
            "--pre",
            metavar="NAME",
            parser=text_argument,
            help="llama.cpp's name of how text is split, where it is not recognized.",
            show_default=False,
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="DIR", help="Of an adapter: the folder with config.json of its model.", show_default=False)
    ] = None,
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Convert a Hugging Face model or adapter to a GGUF file.

    Nothing in the folder is executed. The file appears whole or not at all,
    also after Ctrl-C.
    """
    from tabagent import gguf  # noqa: PLC0415 (not needed for `--help`)

    if out_type.lower() not in TYPES:
        message = f"`{out_type}` is no output type; choose one of {', '.join(TYPES)}"
        raise UsageError(message)
    is_adapter = (Path(source) / "adapter_config.json").is_file()
    if is_adapter and out_type.lower() not in ADAPTER_TYPES:
        message = f"`{source}` is an adapter, which can be {', '.join(ADAPTER_TYPES)}, but not `{out_type}`"
        raise UsageError(message)
    if base is not None and not is_adapter:
        message = f"`{source}` is no adapter, so `--base` makes no sense"
        raise UsageError(message)
    with ProgressBar("converting", in_bytes=True) as bar:
        if is_adapter:
            adapter = gguf.convert_lora(source, output, base=base, out_type=ADAPTER_TYPES[out_type.lower()], progress=bar.bytes)
            facts = f"adapter for {adapter.architecture}, {counted(adapter.tensors, 'tensor')}, {count_text(adapter.parameters)} parameters"
        else:
            done = gguf.convert(source, output, out_type=out_type, pre_tokenizer=pre_tokenizer, progress=bar.bytes)
            facts = f"{done.architecture}, {count_text(done.parameters)} parameters, {done.type}"
    facts = f"{facts}, {bytes_text(Path(output).stat().st_size)}"
    write_note(f"wrote `{output}`: {facts}")
    return 0
