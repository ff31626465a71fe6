"""What a stream came to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeAlias

from tabagent._native import TokenLogprob
from tabagent.errors import GrammarError

__all__ = ["Completion", "FinishReason", "StopMatch", "Timings", "Usage"]

FinishReason: TypeAlias = Literal["stop"] | Literal["length"] | Literal["cancelled"] | Literal["timeout"] | Literal["error"]  # noqa: PYI030 (stubtest cannot read the short form)
"""Why a stream ended: `stop` by the model, a stop string or token, or the end of what a grammar allows; `length` when `max_tokens` or the
context was used up; cancelled; its time was up; failed."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens counted."""

    prompt_tokens: int
    """Tokens of the prompt."""
    completion_tokens: int
    """Tokens generated; a stop token or end-of-generation token is not among them."""
    cached_tokens: int
    """Tokens of the prompt that were in memory already and were not decoded again."""
    forced_tokens: int = 0
    """Tokens of the completion that its grammar left no choice about: taken without asking the model, and decoded together."""
    drafted_tokens: int = 0
    """Tokens that were guessed and decoded before it was known whether they come; 0 without `speculative`."""
    accepted_tokens: int = 0
    """Those of them that came."""
    dropped_tokens: int = 0
    """Tokens of the prompt or the completion that left a context that was too small for both; 0 without `overflow`."""

    @property
    def total_tokens(self) -> int:
        """Tokens of the prompt and of the completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, kw_only=True)
class Timings:
    """Where the time went."""

    queued_s: float
    """Seconds from the request to its first batch."""
    prompt_s: float
    """Seconds of the steps with tokens of the prompt, which other requests may have shared."""
    decode_s: float
    """Seconds of the steps with generated tokens, which other requests may have shared."""
    first_token_s: float | None
    """Seconds from the request to its first token; None without one."""
    prompt_tokens_per_s: float | None
    """Speed of the prompt without its cached tokens; None if nothing of it was decoded."""
    decode_tokens_per_s: float | None
    """Speed of all tokens after the first, which the prompt brings; None with fewer than two."""
    token_gaps_s: tuple[float, float, float] | None = None
    """The seconds between two tokens that a half, nine tenths and ninety-nine hundredths of them do not exceed; None with fewer than two tokens."""
    requests_per_step: float = 0.0
    """How many requests shared its steps, itself included, on average; 0 without a step."""


@dataclass(frozen=True)
class StopMatch:
    """What ended a completion with the reason `stop`."""

    kind: Literal["string", "token", "eog", "constraint"]
    """A stop string, a stop token, an end-of-generation token of the model, or the end of what the schema or grammar allows."""
    value: str | int | None
    """The string or the token; it is not part of the text. None with `constraint`."""


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A whole generated text, from its first token on."""

    text: str
    """The text; the same as all pieces of the stream joined."""
    tokens: tuple[int, ...]
    """Its tokens."""
    finish_reason: FinishReason
    """Why it ended."""
    stop_match: StopMatch | None
    """What was matched if the reason is `stop`."""
    usage: Usage
    """Tokens counted."""
    timings: Timings
    """Where the time went."""
    logprobs: tuple[TokenLogprob, ...] | None
    """One entry for each token if `logprobs` was asked for, else None."""
    constraint_complete: bool | None = None
    """Whether the text is a complete one by its schema or grammar: not so where `max_tokens`, the context, a stop string or `cancel` cut it.
    None without a schema or grammar."""
    parser: Callable[[str], Any] | None = field(default=None, repr=False, compare=False)
    """What `parse` calls; None if the text is not JSON."""

    def parse(self) -> Any:
        """What the JSON text stands for: an object of the type that was given as `json_schema` (validated by pydantic), else plain values.

        Raises:
            GrammarError: the text is not complete, or no JSON was asked for.
            ValueError: the text breaks a rule of the type that the grammar does not enforce (pydantic's `ValidationError` is one).
        """
        if self.parser is None:
            message = "there is nothing to parse: the text was not asked for with `json_schema` or `json_mode`"
            raise GrammarError(message)
        if not self.constraint_complete:
            message = f"the text is not complete (it ended by `{self.finish_reason}`); raise `max_tokens`, or read it from `text`"
            raise GrammarError(message)
        return self.parser(self.text)

    def __copy__(self) -> Completion:
        """The same: nothing of it changes."""
        return self

    def __deepcopy__(self, memo: object) -> Completion:
        """The same: nothing of it changes."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """A parser that cannot be pickled, such as one of a class that was defined in a function, stays behind; `parse` then says so."""
        values = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        if self.parser is not None and not _can_be_pickled(self.parser):
            values["parser"] = LostParser(getattr(self.parser, "__qualname__", str(self.parser)))
        return (_restored, (values,))

    @property
    def parsed(self) -> Any:
        """As `parse`, each time anew; None if the text is not complete or no JSON was asked for."""
        return self.parse() if self.parser is not None and self.constraint_complete else None


@dataclass(frozen=True)
class LostParser:
    """Stands for a parser that could not be pickled."""

    name: str

    def __call__(self, _: str) -> Any:
        """Says what was lost.

        Raises:
            GrammarError: always.
        """
        message = f"what reads this text, `{self.name}`, could not be pickled with it; read `text` with the type that it was asked for with"
        raise GrammarError(message)


def _can_be_pickled(parser: object) -> bool:
    import pickle  # noqa: PLC0415 (needed here alone)

    try:
        pickle.loads(pickle.dumps(parser))  # noqa: S301 (what was pickled here)
    except Exception:  # noqa: BLE001 (each type fails in its own way)
        return False
    return True


def _restored(values: dict[str, Any]) -> Completion:
    return Completion(**values)


def usage_of(summary: Mapping[str, Any]) -> Usage:
    """The counts in the core's summary of a stream."""
    return Usage(
        prompt_tokens=summary["prompt_tokens"],
        completion_tokens=summary["completion_tokens"],
        cached_tokens=summary["cached_tokens"],
        forced_tokens=summary["forced_tokens"],
        drafted_tokens=summary["drafted_tokens"],
        accepted_tokens=summary["accepted_tokens"],
        dropped_tokens=summary["dropped_tokens"],
    )


def timings_of(summary: Mapping[str, Any]) -> Timings:
    """The times in the core's summary of a stream, and the speeds that follow from them."""
    return Timings(
        queued_s=summary["queued_s"],
        prompt_s=summary["prompt_s"],
        decode_s=summary["decode_s"],
        first_token_s=summary["first_token_s"],
        token_gaps_s=summary["token_gaps_s"],
        requests_per_step=summary["step_requests"],
        prompt_tokens_per_s=_rate(summary["prompt_tokens"] - summary["cached_tokens"], summary["prompt_s"]),
        decode_tokens_per_s=_rate(summary["completion_tokens"] - 1, summary["decode_s"]),
    )


def stop_match_of(summary: Mapping[str, Any]) -> StopMatch | None:
    """What the core's summary of a stream says was matched."""
    match = summary["stop_match"]
    return None if match is None else StopMatch(match["kind"], match["value"])


def _rate(tokens: int, seconds: float) -> float | None:
    return tokens / seconds if tokens > 0 and seconds > 0 else None
