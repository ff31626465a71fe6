"""What every peer is asked to do, and how it answers."""

import json
import resource
from dataclasses import dataclass

SHORT_PROMPT = "Write a short story about a fox who learns how to read the stars:"

_PARAGRAPH = (
    "The harbour was quiet when the first boats came back. Nets lay drying on the stones, and the old women who mended them "
    "spoke of the winter of 1963, when the sea froze as far as the lighthouse and people walked to the island for bread. "
    "Nobody believed it any more, but everybody liked to hear it told, and the price of fish was always part of the story. "
)
LONG_TEXT = _PARAGRAPH * 24
"""English prose of more than 1,500 tokens with any vocabulary."""

TOKENIZE_BYTES = 1_000_000
"""Size of the text that is tokenized, in bytes."""


@dataclass(frozen=True)
class Job:
    """One measurement: a model file, how to run it, and how much."""

    model: str
    threads: int
    library: str
    context_size: int = 1024
    prompt_tokens: int = 512
    new_tokens: int = 128
    engine: str = "auto"


def print_figures(*, imported: float, loaded: float, first_token: float, prompt_rate: float, decode_rate: float, tokenize_rate: float) -> None:
    """Prints one JSON object: times (given in seconds) in ms, rates in tokens or MB a second, this process's peak memory in MiB.

    `ready_ms` is from nothing imported to a loaded model.
    """
    figures = {
        "import_ms": imported * 1e3,
        "load_ms": loaded * 1e3,
        "ready_ms": (imported + loaded) * 1e3,
        "first_token_ms": first_token * 1e3,
        "prompt_tok_s": prompt_rate,
        "decode_tok_s": decode_rate,
        "tokenize_mb_s": tokenize_rate,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print(json.dumps(figures))
