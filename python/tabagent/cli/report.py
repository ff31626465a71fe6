"""What a generation came to: as JSON for programs, and as one line for people."""

import dataclasses
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tabagent import Completion, ModelInfo

__all__ = ["completion_json", "timings_line"]


def completion_json(completion: "Completion", info: "ModelInfo", load_s: float) -> dict[str, Any]:
    """The completion, its counts and times, and what it was computed with."""
    stop = completion.stop_match
    return {
        "text": completion.text,
        "tokens": list(completion.tokens),
        "finish_reason": completion.finish_reason,
        "stop_match": None if stop is None else dataclasses.asdict(stop),
        "usage": {**dataclasses.asdict(completion.usage), "total_tokens": completion.usage.total_tokens},
        "timings": {"load_s": load_s, **dataclasses.asdict(completion.timings)},
        "model": {
            "path": info.path,
            "description": info.description,
            "context_size": info.context_size,
            "threads": info.threads,
            "layers_on_gpu": info.layers_on_gpu,
            "variant": dataclasses.asdict(info.variant),
        },
    }


def timings_line(completion: "Completion", load_s: float | None) -> str:
    """`load 0.10 s; prompt 5 tokens in 0.03 s (161.3/s); answer 64 tokens in 0.42 s (152.4/s); first token after 0.03 s; length`."""
    usage, timings = completion.usage, completion.timings
    cached = f", {usage.cached_tokens:,} of them cached" if usage.cached_tokens else ""
    parts = [
        f"prompt {usage.prompt_tokens:,} tokens{cached} in {timings.prompt_s:.2f} s{_rate(timings.prompt_tokens_per_s)}",
        f"answer {usage.completion_tokens:,} tokens in {timings.decode_s:.2f} s{_rate(timings.decode_tokens_per_s)}",
    ]
    if load_s is not None:
        parts.insert(0, f"load {load_s:.2f} s")
    if timings.first_token_s is not None:
        parts.append(f"first token after {timings.first_token_s:.2f} s")
    return "; ".join([*parts, f"ended by {completion.finish_reason}"])


def _rate(per_s: float | None) -> str:
    return "" if per_s is None else f" ({per_s:.1f}/s)"
