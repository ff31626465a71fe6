"""One generation: its options, and the stream that is printed as it comes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tabagent import Completion, Model, SamplerConfig

__all__ = ["GenerationOptions", "generate"]


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """What stays the same for all turns."""

    max_tokens: int | None
    sampling: "SamplerConfig"
    stop: Sequence[str]
    ignore_eos: bool


def generate(model: "Model", tokens: Sequence[int], options: GenerationOptions, write: Callable[[str], None]) -> "Completion":
    """Generate after `tokens`, giving every piece of text to `write` when it comes.

    Whatever stops it, Ctrl-C and a broken pipe among them, also stops the model.
    """
    stream = model.generate(
        tokens,
        max_tokens=options.max_tokens,
        sampling=options.sampling,
        stop=list(options.stop),
        ignore_eos=options.ignore_eos,
        cache_prompt=True,
    )
    with stream:
        for text in stream:
            write(text)
        return stream.result()
