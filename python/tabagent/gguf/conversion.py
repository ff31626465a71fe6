"""Converts models of other formats to GGUF."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tabagent import _native
from tabagent._arguments import as_callback, as_path, as_text

if TYPE_CHECKING:
    from tabagent.gguf.file import Progress

__all__ = ["OUT_TYPES", "Converted", "convert"]

OUT_TYPES: Final = tuple(_native.gguf_out_types()[0])
"""Types that the matrices of a converted model can have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Converted:
    """What was converted: llama.cpp's name of the architecture, the type of most matrices, and how many tensors and parameters there are."""

    architecture: str
    type: str
    tensors: int
    parameters: int


def convert(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    out_type: str = "auto",
    pre_tokenizer: str | None = None,
    progress: Progress | None = None,
) -> Converted:
    """Convert a Hugging Face folder with safetensors files to a GGUF file, which appears whole or not at all.

        from tabagent import gguf

        gguf.convert("SmolLM2-135M-Instruct", "smollm2.gguf", out_type="q8_0")

    Nothing in the folder is executed, and memory is taken for a piece of one tensor at a time. `auto` keeps BF16, and makes F16 of anything
    else. Norms, biases and other vectors are always F32, and rows that are no whole blocks of `q8_0`, `tq1_0` or `tq2_0` become F16.
    `pre_tokenizer` is llama.cpp's name of the pre-tokenizer, which splits text before byte-pair encoding, for folders whose own is not recognized.

    `source` may also be a GGUF file of Microsoft's BitNet fork: its `I2_S` tensors become `TQ2_0` with their scales kept exactly, which an
    unmodified llama.cpp can use.

    Raises:
        GgufError: the architecture is not supported, or a file breaks a rule; the message names file, key or tensor, and rule.
        ValueError: there is no such type.
        OSError: the system refuses.
        GgufCancelledError: `progress` returned False.
    """
    found = _native.gguf_convert(
        as_path(source, "source"),
        as_path(output, "output"),
        as_text(out_type, "out_type"),
        None if pre_tokenizer is None else as_text(pre_tokenizer, "pre_tokenizer"),
        as_callback(progress, "progress"),
    )
    architecture, kind, tensors, parameters = found
    return Converted(architecture=architecture, type=kind, tensors=tensors, parameters=parameters)
