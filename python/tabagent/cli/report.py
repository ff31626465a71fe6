"""What a generation came to: as JSON for programs, and as one line for people."""

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tabagent.cli.explain import percent, visible

if TYPE_CHECKING:
    from rich.table import Table

    from tabagent import Completion, ModelInfo, TokenLogprob

__all__ = ["completion_json", "logprobs_table", "timings_line"]


def completion_json(completion: "Completion", info: "ModelInfo", load_s: float) -> dict[str, Any]:
    """The completion, its counts and times, and what it was computed with."""
    stop = completion.stop_match
    more: dict[str, Any] = {}
    if completion.constraint_complete is not None:
        more["constraint_complete"] = completion.constraint_complete
    if completion.logprobs is not None:
        more["logprobs"] = logprobs_json(completion.logprobs)
    return {
        "text": completion.text,
        "tokens": list(completion.tokens),
        "finish_reason": completion.finish_reason,
        "stop_match": None if stop is None else dataclasses.asdict(stop),
        "usage": {**dataclasses.asdict(completion.usage), "total_tokens": completion.usage.total_tokens},
        **more,
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


def timings_line(completion: "Completion", info: "ModelInfo", load_s: float | None) -> str:
    """What came out and how fast, and what computed it.

    `load 0.10 s; prompt 5 tokens in 0.03 s (161.3/s); answer 64 tokens in 0.42 s (152.4/s); first token after 0.03 s; ended by length; CPU module
    haswell, 2 threads`.
    """
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
    module, threads = info.variant.cpu_module, info.threads
    computed = f"CPU module {module}" if module else f"variant {info.variant.name}"
    return "; ".join([*parts, f"ended by {completion.finish_reason}", f"{computed}, {threads} thread{'' if threads == 1 else 's'}"])


def _rate(per_s: float | None) -> str:
    return "" if per_s is None else f" ({per_s:.1f}/s)"


def logprobs_table(entries: Sequence["TokenLogprob"]) -> "Table":
    """A table with one line a token: its probability, and the most probable tokens there."""
    from rich import box  # noqa: PLC0415 (needed for this option alone)
    from rich.table import Table  # noqa: PLC0415 (only needed where a table is printed)
    from rich.text import Text  # noqa: PLC0415 (only needed where a table is printed)

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("token", no_wrap=True)
    table.add_column("logprob", justify="right", no_wrap=True)
    table.add_column("probability", justify="right", no_wrap=True)
    table.add_column("most probable")
    for entry in entries:
        best = ", ".join(f"{visible(top.text)} {percent(math.exp(top.logprob))}" for top in entry.top)
        table.add_row(Text(visible(entry.text)), f"{entry.logprob:.4f}", percent(math.exp(entry.logprob)), Text(best))
    return table


def logprobs_json(entries: Sequence["TokenLogprob"]) -> list[dict[str, Any]]:
    """Log-probabilities in the shape of OpenAI's `logprobs.content`, with the token's id besides; minus infinity is null."""

    def one(entry: Any) -> dict[str, Any]:
        logprob = entry.logprob if entry.logprob > float("-inf") else None
        return {"token": entry.text, "id": entry.token, "logprob": logprob, "bytes": list(entry.bytes)}

    return [{**one(entry), "top_logprobs": [one(top) for top in entry.top]} for entry in entries]
