"""Results and settings as values: each can be compared, hashed, pickled and copied."""

from __future__ import annotations

import copy
import dataclasses
import enum
import inspect
import pickle
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest

import tabagent
from cli_fakes import VARIANT
from tabagent import (
    ChoiceScore,
    Completion,
    DeviceInfo,
    Limitation,
    ModelInfo,
    ModelStats,
    Perplexity,
    PromptSegment,
    ReasoningBudget,
    SamplerConfig,
    StageReport,
    Step,
    StopMatch,
    Timings,
    TokenEvent,
    TokenLogprob,
    ToolCall,
    ToolResult,
    TopLogprob,
    Trigger,
    Usage,
    Variant,
    gguf,
    hardware,
    list_available_variants,
)

# Handles: of a running engine, an open file or a text that is being made. Their copies would be other ones.
HANDLES = {
    "Adapter",
    "ChatEvents",
    "ChatStream",
    "ChatTemplate",
    "CompletionBatch",
    "Constraint",
    "Context",
    "ContextPool",
    "ControlVector",
    "Conversation",
    "GgufFile",
    "GgufWriter",
    "Grammar",
    "Lease",
    "Model",
    "ModelPool",
    "Server",
    "Session",
    "TokenEvents",
    "TokenStream",
    "Tokenizer",
    "Tool",
    "Turn",
}
VIEWS = {"GgufArray", "GgufMetadata", "GgufTensor", "GgufTensors", "Imatrix"}
TIMINGS = Timings(queued_s=0.5, prompt_s=1.0, decode_s=2.0, first_token_s=None, prompt_tokens_per_s=3.0, decode_tokens_per_s=None)
USAGE = Usage(prompt_tokens=3, completion_tokens=2, cached_tokens=1, forced_tokens=1)
DEVICE = DeviceInfo(name="CPU", description="a CPU", kind="cpu", memory_free=1, memory_total=2)


def logprob(token: int) -> TokenLogprob:
    return TokenLogprob(token, -0.25, b"\xc3", [TopLogprob(token, -0.25, b"\xc3"), TopLogprob(5, float("-inf"), b"a")])


def completion(**changes: Any) -> Completion:
    values: dict[str, Any] = {
        "text": "é",
        "tokens": (1, 2),
        "finish_reason": "stop",
        "stop_match": StopMatch("eog", 2),
        "usage": USAGE,
        "timings": TIMINGS,
        "logprobs": (logprob(1), logprob(2)),
        "constraint_complete": True,
    }
    return Completion(**values | changes)


def value_of(kind: Any) -> Any:
    """Something for a field of that type."""
    text = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    first = text.split("|")[0].strip()
    known: dict[str, Any] = {"int": 7, "float": 0.5, "str": "x", "bool": True, "None": None, "bytes": b"x"}
    if first in known:
        return known[first]
    if first.startswith("tuple["):
        return ()
    return {} if first.startswith(("dict[", "Mapping[")) else None


def made(kind: Any) -> Any:
    """An object of a dataclass with something in each field."""
    return kind(**{entry.name: value_of(entry.type) for entry in dataclasses.fields(kind) if entry.init})


SAMPLES: dict[str, Callable[[], Any]] = {
    "ChoiceScore": lambda: ChoiceScore(text="a", tokens=(1,), logprobs=(-1.0,), logprob=-1.0, mean_logprob=-1.0, probability=1.0),
    "Completion": completion,
    "DeviceInfo": lambda: DEVICE,
    "Hardware": hardware,
    "Limitation": lambda: Limitation("/a", "not", "is not enforced"),
    "ModelInfo": lambda: made(ModelInfo),
    "ModelStats": lambda: made(ModelStats),
    "Perplexity": lambda: Perplexity(nll=1.0, tokens=2, perplexity=3.0, windows=1),
    "ReasoningBudget": lambda: ReasoningBudget(3, message="enough"),
    "PromptSegment": lambda: PromptSegment("a", parse_special=True),
    "SamplerConfig": lambda: SamplerConfig(
        temperature=0.5, logit_bias={3: 1.0}, banned_tokens=[4], dry_breakers=["a", (1, 2)], order=["top_k", Step("top_p", top_p=0.5)]
    ),
    "StageReport": lambda: StageReport(name="top_k", parameters={"top_k": 4}, kept=4, mass=0.5, top=((1, 0.5, 0.5),)),
    "Step": lambda: Step("top_k", top_k=4),
    "StopMatch": lambda: StopMatch("string", "x"),
    "Timings": lambda: TIMINGS,
    "TokenEvent": lambda: TokenEvent("é", [1, 2], [logprob(1), logprob(2)]),
    "TokenLogprob": lambda: logprob(3),
    "ToolResult": lambda: ToolResult(ToolCall(name="a", arguments={}, arguments_json="{}"), "x"),
    "TopLogprob": lambda: TopLogprob(3, -0.25, b"\xc3"),
    "Trigger": lambda: Trigger(("a", 7), then="free"),
    "Usage": lambda: USAGE,
    "Variant": lambda: next(iter(list_available_variants()), made(Variant)),
    "VariantInfo": lambda: VARIANT,
}


def public(module: ModuleType) -> Iterator[tuple[str, type]]:
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) and not issubclass(value, (BaseException, enum.Enum)):
            yield name, value


def samples() -> Iterator[Any]:
    for name, kind in (*public(tabagent), *public(gguf)):
        if name in HANDLES | VIEWS:
            continue
        make = SAMPLES.get(name, lambda kind=kind: made(kind) if dataclasses.is_dataclass(kind) else None)
        yield pytest.param(name, make, id=name)


@pytest.mark.parametrize(("name", "make"), list(samples()))
def test_public_values_are_pickled_copied_and_compared(name: str, make: Callable[[], Any]) -> None:
    value = make()
    assert type(value).__name__ == name
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(value, protocol))  # noqa: S301 (what was pickled here)
        assert type(again) is type(value)
        assert again == value
        assert repr(again) == repr(value)
    assert copy.copy(value) == value
    assert copy.deepcopy(value) == value
    assert value != object()
    if name not in {"SamplerConfig", "StageReport", "ModelInfo", "ModelStats", "Hardware", "Hashes", "ToolCall", "ToolResult"}:
        assert hash(copy.deepcopy(value)) == hash(value)


def test_logprobs_differ_by_each_part() -> None:
    base = logprob(3)
    others = [
        TokenLogprob(4, base.logprob, base.bytes, base.top),
        TokenLogprob(3, -0.5, base.bytes, base.top),
        TokenLogprob(3, base.logprob, b"x", base.top),
        TokenLogprob(3, base.logprob, base.bytes, base.top[:1]),
    ]
    assert all(other != base for other in others)
    assert len({base, logprob(3), *others}) == 5
    assert hash(TopLogprob(1, 0.0, b"")) == hash(TopLogprob(1, -0.0, b""))
    assert TokenEvent("a", [1], []) != TokenEvent("a", [2], [])
    assert completion() != completion(logprobs=(logprob(1),))


def test_copies_of_results_with_logprobs_keep_them() -> None:
    found = copy.deepcopy(completion()).logprobs
    assert found is not None
    assert [entry.token for entry in found] == [1, 2]
    assert found[0].top[1].logprob == float("-inf")
    assert (found[0].bytes, found[0].text) == (b"\xc3", "\ufffd")
