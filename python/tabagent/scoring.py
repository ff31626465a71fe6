"""How probable given texts are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from tabagent import exit as at_exit
from tabagent import log
from tabagent._arguments import INT32_MAX, Tokens, as_bool, as_int, as_text, as_tokens, type_name
from tabagent.adapters import as_changes
from tabagent.errors import TabagentError
from tabagent.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tabagent import _native
    from tabagent.adapters import Adapters, ControlVectors

__all__ = ["ChoiceScore", "Perplexity", "Scorer"]

DEFAULT_WINDOW: Final = 512
"""Tokens in a window of `perplexity`, as in llama.cpp's own tool; fewer if the context is smaller."""


@dataclass(frozen=True, kw_only=True)
class ChoiceScore:
    """How probable a choice is after a prompt. All logarithms are natural."""

    text: str
    """The choice; of one given as tokens, their text."""
    tokens: tuple[int, ...]
    """The tokens that were scored. They begin earlier than the choice where it changes how the prompt's end is cut into tokens."""
    logprobs: tuple[float, ...]
    """The log-probability of each token after the prompt and the tokens before it."""
    logprob: float
    """Their sum: the logarithm of the choice's probability."""
    mean_logprob: float
    """Their mean, which is fair to longer choices."""
    probability: float
    """The choice's share of the probability of all choices given: `exp(logprob)` divided by the sum of all of them."""


@dataclass(frozen=True, kw_only=True)
class Perplexity:
    """How well a model predicts a text."""

    nll: float
    """The negative log-likelihood of the scored tokens together, in nats."""
    tokens: int
    """How many tokens were scored."""
    perplexity: float
    """`exp(nll / tokens)`."""
    windows: int
    """How many windows the text was read in."""


class Scorer(Vocabulary):
    """The part of `Model` that says how probable texts are. Its requests take their turns with all others."""

    __slots__ = ()

    def score(
        self,
        prompt: str | Tokens,
        choices: Sequence[str | Tokens],
        *,
        add_special: bool = True,
        parse_special: bool = True,
        cache_prompt: bool = False,
        adapters: Adapters = None,
        control_vector: ControlVectors = None,
        control_layers: tuple[int, int] | None = None,
    ) -> list[ChoiceScore]:
        """How probable each of several texts is after a prompt, in their order. Blocks; Ctrl-C stops it.

        The prompt is decoded once, each choice alone after it. A choice is read together with the prompt's end, as one text is: where that cuts
        the prompt's last characters into other tokens, these are scored with every choice. Choices given as tokens are scored as they are. The
        options are those of `generate`; `parse_special` is about the prompt and the choices.

        Raises:
            TypeError, ValueError: an argument is wrong, there is no choice, or an empty one.
            ContextFullError: prompt and choice together have more tokens than the context holds.
            AdapterError: an adapter is of another model, or is an activated one.
            UnsupportedModelError: the model cannot generate.
            ClosedError, ForkedError: the model or an adapter is closed, or the model was loaded before a fork.
        """
        options = (as_bool(add_special, "add_special"), as_bool(parse_special, "parse_special"))
        wanted, changes = as_choices(choices), as_changes(adapters, control_vector, control_layers)
        for index, choice in enumerate(wanted):
            if not isinstance(choice, str):
                self._known(choice, f"choices[{index}]")
        given = as_text(prompt, "prompt") if isinstance(prompt, str) else self._known(as_tokens(prompt, "prompt"), "prompt")
        before = self._native.prompt(given, *options, "prompt")
        whole = []
        for choice in wanted:
            if isinstance(prompt, str) and isinstance(choice, str):
                whole.append(self._native.prompt(prompt + choice, *options, None))
            else:
                after = self._native.tokenize_after(before[-1] if before else None, choice, options[1]) if isinstance(choice, str) else choice
                whole.append(before + after)
        shared, rest = split_at_common(before, whole)
        texts = [choice if isinstance(choice, str) else self.detokenize(choice, continuation=True) for choice in wanted]
        try:
            stream = self._native.score(shared, rest, as_bool(cache_prompt, "cache_prompt"), changes)
        except ValueError as error:
            if shared or isinstance(error, TabagentError):
                raise
            why = "changes its first token with a choice after it" if before else "has no tokens"
            message = f"`prompt` {why}, so that nothing tells how probable the first one is; give a longer text, or the beginning-of-text token"
            raise ValueError(message) from None
        return choice_scores(texts, list(read_scores(stream)))

    def perplexity(
        self,
        text: str | Tokens,
        *,
        context_size: int | None = None,
        stride: int | None = None,
        adapters: Adapters = None,
        control_vector: ControlVectors = None,
        control_layers: tuple[int, int] | None = None,
    ) -> Perplexity:
        """How well the model predicts a text: `exp` of the mean negative log-likelihood of its tokens. Blocks; Ctrl-C stops it.

        The text is read in windows of `context_size` tokens (None: 512, or the model's context if that is smaller), each by itself and with the
        beginning-of-text token, if the model has one, in the place of its first. Without `stride` it is measured as llama.cpp's `perplexity`
        does: windows side by side, of each the second half scored, and what does not fill a window left out; a text shorter than a window is
        one window, of which all tokens but the first are scored. With `stride` each window begins so many tokens after the one before, and
        every token but the first is scored, with at least `context_size - stride` tokens before it. `adapters`, `control_vector` and `control_layers`
        are those of `generate`.

        Raises:
            TypeError, ValueError: an argument is wrong, or the text has less than two tokens.
            AdapterError: an adapter is of another model, or is an activated one.
            UnsupportedModelError: the model cannot generate.
            ClosedError, ForkedError: the model or an adapter is closed, or the model was loaded before a fork.
        """
        most = self._context_size or INT32_MAX
        size = min(DEFAULT_WINDOW, most) if context_size is None else as_int(context_size, "context_size", 4, most)
        step = None if stride is None else as_int(stride, "stride", 1, size - 1)
        if isinstance(text, str):
            tokens = self.tokenize(text)
        else:
            tokens = self._native.prompt(self._known(as_tokens(text, "text"), "text"), True, False, "text")
        if len(tokens) < 2:
            message = f"`text` has {len(tokens)} tokens, and one is predicted from those before it; give a longer text"
            raise ValueError(message)
        bos = self.token_bos() if self.adds_bos else None
        changes = as_changes(adapters, control_vector, control_layers)
        found: list[float] = []
        count = 0
        for before, scored in windows(tokens, size, step, bos):
            count += 1
            for _, logprobs in read_scores(self._native.score(before, [scored], False, changes)):
                found.extend(logprobs)
        nll = -math.fsum(found)
        return Perplexity(nll=nll, tokens=len(found), perplexity=_exp(nll / len(found)), windows=count)

    @property
    def _context_size(self) -> int:
        """How many tokens the model's context holds; 0 without one."""
        return self._number("context_size")


def read_scores(stream: _native.Stream) -> Iterator[tuple[list[int], list[float]]]:
    """The tokens and log-probabilities of each continuation of a scoring stream. Ctrl-C, and leaving early, cancels it."""
    watched = _Watched(stream)
    try:
        while (event := stream.next_event()) is not None:
            yield event.token_ids, [entry.logprob for entry in event.logprobs]
    finally:
        watched.cancel()
        log.forward()


class _Watched:
    """A scoring stream that is cancelled at exit."""

    __slots__ = ("__weakref__", "_stream")

    def __init__(self, stream: _native.Stream) -> None:
        self._stream = stream
        at_exit.watch_stream(self)

    def cancel(self) -> None:
        self._stream.cancel()


def split_at_common(prompt: Sequence[int], whole: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """The tokens that the prompt and all texts begin with, at least one and less than any text, and the rest of each text."""
    shortest = min(len(tokens) for tokens in whole)
    candidates = zip(prompt, *whole, strict=False)
    common = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, candidates))
    common = min(common, shortest - 1)
    return list(whole[0][:common]), [list(tokens[common:]) for tokens in whole]


def choice_scores(texts: Sequence[str], found: Sequence[tuple[Sequence[int], Sequence[float]]]) -> list[ChoiceScore]:
    """Scores out of the tokens' log-probabilities."""
    sums = [math.fsum(logprobs) for _, logprobs in found]
    best = max(sums)
    # All may be impossible, such as choices of banned tokens; none is then more probable than another.
    weights = [math.exp(value - best) if math.isfinite(best) else 1.0 for value in sums]
    total = math.fsum(weights)
    return [
        ChoiceScore(
            text=text,
            tokens=tuple(tokens),
            logprobs=tuple(logprobs),
            logprob=logprob,
            mean_logprob=logprob / len(logprobs),
            probability=weight / total,
        )
        for text, (tokens, logprobs), logprob, weight in zip(texts, found, sums, weights, strict=True)
    ]


def as_choices(value: object) -> list[str | list[int]]:
    """A list of texts and token lists."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        message = f"`choices` must be a sequence of str or of token sequences, got {type_name(value)}"
        raise TypeError(message)
    if not value:
        message = "`choices` is empty; give at least one"
        raise ValueError(message)
    choices: list[str | list[int]] = []
    for index, item in enumerate(value):
        choice = as_text(item, f"choices[{index}]") if isinstance(item, str) else as_tokens(item, f"choices[{index}]")
        choices.append(choice)
        if not choice:
            message = f"`choices[{index}]` is empty; give it text"
            raise ValueError(message)
    return choices


def windows(tokens: Sequence[int], size: int, stride: int | None, bos: int | None) -> Iterator[tuple[list[int], list[int]]]:
    """What to read before, and what to score, window by window; `bos` takes the place of each window's first token.

    Without `stride` llama.cpp's way (`perplexity` in tools/perplexity/perplexity.cpp): windows side by side, whose second half is scored; what
    does not fill a window is left out. A text shorter than a window is one window, scored from its second token on. With `stride` each window
    begins that many tokens after the one before and scores what that one had not reached, so that every token but the first is scored once.
    """
    if len(tokens) < size:
        ranges = [(0, 1, len(tokens))]
    elif stride is None:
        ranges = [(start, start + size // 2 + 1, start + size) for start in range(0, len(tokens) - size + 1, size)]
    else:
        ranges = []
        scored = 1
        for start in range(0, len(tokens), stride):
            end = min(start + size, len(tokens))
            ranges.append((start, scored, end))
            scored = end
            if end == len(tokens):
                break
    for start, first, end in ranges:
        before = list(tokens[start:first])
        if bos is not None:
            before[0] = bos
        yield before, list(tokens[first:end])


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf
