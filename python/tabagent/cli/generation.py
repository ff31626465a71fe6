"""One generation: its options, and the text that is passed on as it comes."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from tabagent.cli.failure import UsageError
from tabagent.cli.load_options import load
from tabagent.cli.model_source import ModelSource
from tabagent.cli.options import option

if TYPE_CHECKING:
    from tabagent import Completion, ContextShift, LogitsProcessor, Model, SamplerConfig, SpeculativeConfig
    from tabagent.overflow import Overflow

__all__ = ["Answer", "GenerationOptions", "LengthOptions", "OverflowOptions", "SpeedOptions", "generate"]

LENGTH: Final = "Length"
SPEED: Final = "Speed"


@dataclass(frozen=True, kw_only=True)
class LengthOptions:
    """Where the text ends."""

    max_tokens: Annotated[
        int,
        option(
            LENGTH,
            "-n",
            "--n-predict",
            metavar="N",
            min=-2,
            text="How many tokens to generate at most; -1: until the model ends or the context is full (default).",
        ),
    ] = -1
    stop: Annotated[list[str] | None, option(LENGTH, "--stop", metavar="TEXT", text="End before this text; may be given several times.")] = None
    ban: Annotated[
        list[str] | None,
        option(LENGTH, "--ban", metavar="TEXT", text="Never write this text, in just this spelling; may be given several times."),
    ] = None
    ignore_eos: Annotated[bool, option(LENGTH, "--ignore-eos", text="Go on when the model ends its text.")] = False


@dataclass(frozen=True, kw_only=True)
class OverflowOptions:
    """What to do when the text does not fit the context."""

    context_shift: Annotated[
        bool, option(LENGTH, "--context-shift", text="When the context is full, go on without the older half of what comes after the first tokens.")
    ] = False
    keep: Annotated[
        int | None,
        option(LENGTH, "--keep", metavar="N", min=-1, text="How many of the first tokens stay when the context shifts; -1: the prompt. Default: 4."),
    ] = None

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            UsageError: they do not.
        """
        if self.keep is not None and not self.context_shift:
            message = "`--keep` says what stays when the context shifts; give `--context-shift` too"
            raise UsageError(message)

    def overflow(self, n_prompt: int) -> "Overflow | ContextShift":
        """As `generate` takes it, for a prompt of so many tokens."""
        if not self.context_shift:
            return "error"
        if self.keep is None:
            return "shift"
        from tabagent import ContextShift  # noqa: PLC0415 (not for --help)

        return ContextShift(keep=n_prompt if self.keep < 0 else self.keep)


@dataclass(frozen=True, kw_only=True)
class SpeedOptions:
    """How tokens are guessed ahead."""

    speculative: Annotated[
        Literal["lookup"] | None,
        option(SPEED, "--speculative", metavar="HOW", text="Guess tokens ahead: lookup, what followed the last few when they came before."),
    ] = None
    draft_max: Annotated[
        int | None,
        option(
            SPEED, "--draft-max", metavar="N", min=1, max=64, text="How many tokens to guess at most in one step; default: 16, of a draft model 8."
        ),
    ] = None
    model_draft: Annotated[
        str | None,
        option(SPEED, "-md", "--model-draft", metavar="MODEL", text="Guess tokens ahead with this smaller model of the same vocabulary."),
    ] = None

    def check(self) -> None:
        """Refuse options that do not go together.

        Raises:
            UsageError: they do not.
        """
        if self.draft_max is not None and self.speculative is None and self.model_draft is None:
            message = "`--draft-max` limits what `--speculative lookup` or `--model-draft` guesses; give one of them too"
            raise UsageError(message)
        if self.speculative is not None and self.model_draft is not None:
            message = "`--speculative` and `--model-draft` both say who guesses; give one of them"
            raise UsageError(message)

    @contextlib.contextmanager
    def config(self, settings: Mapping[str, Any]) -> Iterator["SpeculativeConfig | None"]:
        """As `generate` takes it, with the draft model loaded as `settings` say."""
        from tabagent import SpeculativeConfig  # noqa: PLC0415 (not for --help)

        if self.model_draft is not None:
            with load(ModelSource.parse(self.model_draft, None, None), settings) as draft_model:
                yield SpeculativeConfig(max_draft=self.draft_max, draft_model=draft_model)
        elif self.speculative is not None:
            yield SpeculativeConfig(max_draft=self.draft_max)
        else:
            yield None


@dataclass(frozen=True, kw_only=True)
class GenerationOptions:
    """What stays the same for all generations of one command."""

    max_tokens: int | None
    sampling: "SamplerConfig"
    stop: Sequence[str] = ()
    ban: Sequence[str] = ()
    ignore_eos: bool = False
    structure: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Adapters and control vectors, as `Model.generate` takes them."""
    logprobs: int | None = None
    speculative: "SpeculativeConfig | None" = None
    overflow: "Callable[[int], Overflow | ContextShift]" = lambda _: "error"
    """What to do when the text does not fit the context, by the number of tokens of the prompt."""


class Answer:
    """Receives a text piece by piece; knows what came so far, also when it ends early."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self.tokens: list[int] = []
        self.last = ""

    def add(self, text: str, tokens: Sequence[int]) -> None:
        """Take the next piece."""
        self.tokens.extend(tokens)
        if text:
            self._write(text)
            self.last = text

    def end_line(self) -> None:
        """End the line, unless the text did so itself."""
        if not self.last.endswith("\n"):
            self._write("\n")


def generate(
    model: "Model", tokens: Sequence[int], options: GenerationOptions, answer: Answer, processors: "Sequence[LogitsProcessor]" = ()
) -> "Completion":
    """Generate after `tokens`, giving every piece to `answer` when it comes.

    Whatever ends it early, Ctrl-C and a broken pipe among them, stops the model too.
    """
    asked: dict[str, Any] = {**options.structure, **options.changes}
    if options.logprobs is not None:
        asked["logprobs"] = options.logprobs
    if options.ban:
        asked["ban"] = list(options.ban)
    if options.speculative is not None:
        asked["speculative"] = options.speculative
    if (overflow := options.overflow(len(tokens))) != "error":
        asked["overflow"] = overflow
    if processors:
        asked["logits_processors"] = processors
    stream = model.generate(
        tokens,
        max_tokens=options.max_tokens,
        sampling=options.sampling,
        stop=list(options.stop),
        ignore_eos=options.ignore_eos,
        cache_prompt=True,
        **asked,
    )
    with stream:
        for event in stream.events():
            answer.add(event.text, event.token_ids)
        return stream.result()
