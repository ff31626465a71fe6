"""Texts that continue prompts."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from tabagent._arguments import (
    INT32_MAX,
    INT32_MIN,
    Tokens,
    as_bool,
    as_float,
    as_int,
    as_path,
    as_text,
    as_texts,
    as_tokens,
    check_encodable,
    surrogate_error,
    type_name,
)
from tabagent.adapters import Adapters, ControlVectors, as_changes
from tabagent.errors import GrammarError
from tabagent.grammar import Grammar, Trigger, compile_source, parser_of, source_of, trigger_of
from tabagent.overflow import ContextShift, Overflow, overflow_options
from tabagent.reasoning import ReasoningBudget, TemplateBudget, budget_options
from tabagent.samples import Samples
from tabagent.sampling import SamplerConfig
from tabagent.session import Session, load
from tabagent.speculation import SpeculativeConfig, speculation
from tabagent.stream import TokenStream
from tabagent.vocabulary import Vocabulary

if TYPE_CHECKING:
    from tabagent import _native
    from tabagent._native import TokenEvent
    from tabagent.batch import CompletionBatch
    from tabagent.hooks import LogitsProcessor
    from tabagent.info import ModelInfo
    from tabagent.model import Model

__all__ = ["Generator"]

MAX_TOKENS: Final = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A text that was asked for, to ask for another one alike."""

    prompt: str | Sequence[int]
    options: dict[str, Any]
    given: dict[str, Any]
    config: SamplerConfig
    compiled: Grammar | None
    processors: Sequence[LogitsProcessor]


class Generator(Vocabulary):
    """The part of `Model` that generates."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def info(self) -> ModelInfo:
            """Of the model."""

    def generate(
        self,
        prompt: str | Tokens | Session,
        *,
        max_tokens: int | None = None,
        sampling: SamplerConfig | None = None,
        stop: str | Sequence[str] = (),
        ban: str | Sequence[str] = (),
        stop_tokens: Sequence[int] = (),
        ignore_eos: bool = False,
        logprobs: int | None = None,
        logprobs_mode: Literal["raw", "sampled"] = "raw",
        json_schema: object = None,
        json_mode: bool = False,
        regex: str | None = None,
        choices: Sequence[str] | None = None,
        grammar: str | Grammar | None = None,
        grammar_format: Literal["lark", "gbnf"] | None = None,
        trigger: str | int | Sequence[str | int] | Trigger | None = None,
        compact_json: bool = False,
        logits_processors: Sequence[LogitsProcessor] = (),
        adapters: Adapters = None,
        control_vector: ControlVectors = None,
        control_layers: tuple[int, int] | None = None,
        add_special: bool = True,
        parse_special: bool = True,
        reasoning_budget: ReasoningBudget | TemplateBudget | None = None,
        speculative: Literal["lookup"] | Model | SpeculativeConfig | None = None,
        overflow: Overflow | ContextShift = "error",
        cache_prompt: bool | None = None,
        show_special: bool = False,
        collect: bool = False,
        progress: Callable[[int, int], object] | bool = False,
        priority: int = 0,
        timeout: float | None = None,
        n: int | None = None,
        best_of: int | None = None,
    ) -> TokenStream:
        r"""Continue a text or a list of tokens. Returns at once; the text comes through the stream, which is also where it can be cancelled.

        A schema or grammar that was not used before is compiled first, which blocks for some milliseconds, and longer for the first one of a model.

        Args:
            prompt: the text, or its token ids (a list, or a numpy integer array); or a session, which is continued, as by `Session.generate`.
            max_tokens: most tokens to generate; None until the model ends the text or the context is full.
            sampling: how to choose tokens; None for `SamplerConfig()`.
            stop: a string or strings that end the text; none of them is ever part of it.
            ban: a string or strings that must not come, in just this spelling (`"Sorry"` does not ban `"sorry"`), wherever they begin and end
                within tokens. Where one comes, the generation goes back to before its first token, makes another choice there and goes on; text that
                may still become one is held back, so none is ever shown. Each way back decodes a token again. `stop` comes first where a stop
                string begins before a banned one ends. Processors see the tokens that were gone back to.
            stop_tokens: tokens that end the text, besides the model's own.
            ignore_eos: go on where the model would end.
            logprobs: give each token's log-probability and those of so many most probable ones (0: its own alone).
            logprobs_mode: what they are of: `raw`, the model's own distribution before anything changes it, or `sampled`, the one that the
                token was drawn from, after processors, grammar and sampling.
            json_schema: make the text JSON that fits a schema: a mapping, its JSON text, a bool, a pydantic model, or (if pydantic is installed)
                a dataclass, a TypedDict or another type. `Completion.parse` then gives the value. Properties come in the schema's order; names are
                written without needless escapes, numbers with at most 308 digits before the point and 324 after it, so that every reader of JSON
                can read them. In a `pattern`, `\d` is `[0-9]` and `\w` is `[0-9A-Za-z_]`, as in JavaScript.
            json_mode: make the text a JSON object. Its names may come more than once: what parses it keeps the last value, as other readers do.
            regex: make the whole text match a regular expression of Rust's `regex` crate, without anchors and look-around. `\d`, `\w` and `\s` are
                the digits, word characters and white space of all of Unicode, as in Python; `(?-u:\d)` is `[0-9]`.
            choices: make the text one of these.
            grammar: make the text follow a grammar: Lark as llguidance reads it, GBNF, or what `compile_grammar` made.
            grammar_format: which of the two it is; None for GBNF if it defines `root ::=`, else Lark.
            trigger: let the model write freely until this text (or token, or one of several) has come, and constrain what follows.
            compact_json: no white space in JSON.
            logits_processors: functions `f(tokens, logits)` that change the logits in place before each token is chosen: `tokens` are all so
                far (int32, read-only), `logits` one float32 for each token of the vocabulary. They run in a thread of their own, one after
                another, before sampling and grammar, while the model serves other requests. What one raises ends this stream alone.
            adapters: what `load_adapter` gave: one adapter, several, pairs (adapter, scale), or a mapping to scales. Requests with other adapters run
                at the same time, but each step is for those of equal ones alone, so that they take turns.
            control_vector: what `load_control_vector` gave, in the same forms; it counts like an adapter.
            control_layers: the first and the last layer that control vectors may move; None for all from 1 on.
            add_special: add the tokens that the model wants at the beginning and the end of a text, such as its beginning-of-text token. A
                prompt that has such a token there already, by its marker or as a token, does not get a second one, and a warning says so. False
                takes the prompt as it is.
            parse_special: read markers like `<|im_start|>` in a text as the tokens they name. It is on, other than in `tokenize`, because a
                prompt is mostly written for its model; turn it off for text from outside, which could otherwise forge such markers.
            reasoning_budget: how many tokens the model may spend on its thoughts, and what ends one that takes longer. Markers count as text does,
                control tokens or not. A grammar may put the end off. `chat` has it as `reasoning`.
            speculative: guess tokens ahead and decode them together, where that is faster: the text stays the one that it would be without, up to
                the last bits of logits that batches of other sizes may change. `"lookup"` guesses that what followed the last few tokens when they
                came before, in prompt, text or earlier texts, follows again, as in edits, summaries and code; on other texts it turns itself off. A
                smaller model of the same family guesses what it would say; it pays where it is several times as fast and mostly right, and turns
                itself off elsewhere. A `SpeculativeConfig` sets limits. Without effect with processors, with `deterministic`, on recurrent models,
                and where a draft model already guesses for four texts. `usage` counts the guesses.
            overflow: what to do when the text does not fit the context. `"error"`: a prompt that does not fit raises, and a text that fills the
                context ends with `finish_reason` `length`. `"stop"`: a prompt that does not fit ends so too, with nothing generated. `"shift"`:
                the text goes on, as the tokens after the first four leave, half of them at a time; a `ContextShift` says which. It is refused
                where the model has a sliding window or a recurrent state, with `ban`, and in sessions; such a text cannot be forked, and
                without `max_tokens` it ends only where the model ends it.
            cache_prompt: begin with what other requests that do so, and have equal adapters and control vectors, have decoded, running ones
                included, and leave this one's tokens for others. Prompts that begin alike are then decoded once; the last bits of logits may differ
                from a run alone, so that a seed may lead to another text. None: where that saves at least 64 tokens. A model that was loaded with
                `deterministic=True` never does.
            show_special: show control tokens, such as `<|im_end|>`, as their text; they are left out otherwise.
            collect: hand the whole text over in one piece at the end, which costs least where nobody reads before that.
            progress: a function that is told how many tokens of the prompt are in memory, and how many it has, while it is read: by the thread or
                task that waits for the text. Returning False cancels the stream. True gives the same as events (`TokenEvent.prompt_progress`).
            priority: requests of higher priority are served first, also before those that run already; among equals the older ones.
            timeout: seconds that it may take from now on, in the queue and at work; then it ends with `finish_reason` `timeout` and what came so far.
            n: generate so many texts of the prompt, which is decoded once (as with `cache_prompt`): `stream.results()` gives all, `stream.streams`
                the stream of each; the stream itself is that of the first. With a seed, text `i` has `seed + i`.
            best_of: generate so many, of which `stream.results()` gives the `n` whose tokens are the most probable, by their mean log-probability.

        Raises:
            TypeError, ValueError: an argument is wrong, or the draft model has another vocabulary.
            ContextFullError: the prompt has more tokens than the context holds, and `overflow` is `error`.
            GrammarError: the schema or grammar cannot be compiled.
            AdapterError: an adapter is of another model, or is an activated one (aLoRA), which works from some token of a text on.
            UnsupportedModelError: the model cannot generate.
            QueueFullError: as many requests wait as `max_queue` allows.
            OutOfMemoryError: the draft model's context does not fit.
            ClosedError, ForkedError: the model, a draft model or an adapter is closed, or the model was loaded before a fork.
        """
        compiled = self._grammar(
            json_schema=json_schema,
            json_mode=json_mode,
            regex=regex,
            choices=choices,
            grammar=grammar,
            grammar_format=grammar_format,
            trigger=trigger,
            compact_json=compact_json,
        )
        processors = _processors(logits_processors)
        if not (sampling is None or isinstance(sampling, SamplerConfig)):
            message = f"`sampling` must be a SamplerConfig, got {type_name(sampling)}"
            raise TypeError(message)
        samples = Samples.of(n, best_of, keep_logprobs=logprobs is not None)
        text = prompt if isinstance(prompt, (str, Session)) else as_tokens(prompt, "prompt")
        changes = as_changes(adapters, control_vector, control_layers)
        lookup, draft = speculation(speculative)
        options: dict[str, Any] = {
            "max_tokens": None if max_tokens is None else as_int(max_tokens, "max_tokens", 0, MAX_TOKENS),
            "stop": strings_of(stop, "stop"),
            "ban": strings_of(ban, "ban"),
            "stop_tokens": as_tokens(stop_tokens, "stop_tokens"),
            "ignore_eos": as_bool(ignore_eos, "ignore_eos"),
            "logprobs": None if logprobs is None else as_int(logprobs, "logprobs", 0, INT32_MAX),
            "logprobs_mode": check_encodable(as_text(logprobs_mode, "logprobs_mode"), "logprobs_mode"),
            "reasoning_budget": budget_options(reasoning_budget),
            "speculative": lookup,
            "overflow": overflow_options(overflow),
            "cache_prompt": None if cache_prompt is None else as_bool(cache_prompt, "cache_prompt"),
            "show_special": as_bool(show_special, "show_special"),
            "collect": as_bool(collect, "collect"),
            "progress": callable(progress) or as_bool(progress, "progress"),
            "priority": as_int(priority, "priority", INT32_MIN, INT32_MAX),
            "timeout": None if timeout is None else as_float(timeout, "timeout"),
        }
        if samples.generated > 1:
            options["cache_prompt"] = True
        if samples.are_ranked and logprobs is None:
            options["logprobs"] = 0

        told = progress if callable(progress) else None
        if isinstance(text, Session):
            if changes is not None or samples.generated > 1:
                message = "a session has its own adapters and control vectors, and one text at a time; leave them, `n` and `best_of` out"
                raise ValueError(message)
            native = text._continue(self, options, sampling, None if compiled is None else compiled._native, hooked=bool(processors), draft=draft)  # noqa: SLF001 (its own other half)
            return self._stream(native, compiled, processors, has_logprobs=logprobs is not None, progress=told)
        given: dict[str, Any] = {
            "add_special": as_bool(add_special, "add_special"),
            "parse_special": as_bool(parse_special, "parse_special"),
            "grammar": None if compiled is None else compiled._native,  # noqa: SLF001 (its own other half)
            "hooked": bool(processors),
            "changes": changes,
            "draft": draft,
        }
        streams: list[TokenStream] = []
        try:
            for config in samples.configs(sampling or SamplerConfig()):
                # Called here, not in a function of its own: its warnings are about the line that called `generate`.
                native = self._native.generate(text, options=options | {"sampling": config.to_dict()}, **given)
                again = functools.partial(self._fork, _Asked(text, options, given, config, compiled, processors))
                has_logprobs = options["logprobs"] is not None
                streams.append(self._stream(native, compiled, processors, has_logprobs=has_logprobs, again=again, progress=told))
        except BaseException as error:
            for stream in streams:
                stream.cancel()
            if isinstance(error, UnicodeEncodeError):
                raise surrogate_error(error, "prompt") from None
            raise
        first, *others = streams
        return first.beside(others, samples) if others else first

    def _fork(self, asked: _Asked, of: TokenStream, seen: Sequence[TokenEvent], choose: Callable[[SamplerConfig], SamplerConfig]) -> TokenStream:
        """Another text that was asked for like this one, after events that were read of it."""
        asked = dataclasses.replace(asked, config=choose(asked.config))
        tokens = [token for event in seen for token in event.token_ids]
        options = asked.options | {"sampling": asked.config.to_dict()}
        native = self._native.generate(asked.prompt, options=options, fork=(of._native, tokens), **asked.given)  # noqa: SLF001 (its own other half)
        again = functools.partial(self._fork, asked)
        has_logprobs = asked.options["logprobs"] is not None
        return self._stream(native, asked.compiled, asked.processors, has_logprobs=has_logprobs, again=again, seen=seen)

    def _stream(
        self,
        native: _native.Stream,
        compiled: Grammar | None,
        processors: Sequence[LogitsProcessor],
        *,
        has_logprobs: bool,
        again: Callable[..., TokenStream] | None = None,
        seen: Sequence[TokenEvent] = (),
        progress: Callable[[int, int], object] | None = None,
    ) -> TokenStream:
        """The Python half of a stream."""
        hooks = None
        if processors:
            from tabagent.hooks import Hooks  # noqa: PLC0415 (needed here alone)

            hooks = Hooks(native, processors)
        parser = None if compiled is None else compiled._parser  # noqa: SLF001 (its own other half)
        return TokenStream(native, model=self, has_logprobs=has_logprobs, parser=parser, hooks=hooks, again=again, seen=seen, progress=progress)

    def session(
        self,
        *,
        sampling: SamplerConfig | None = None,
        adapters: Adapters = None,
        control_vector: ControlVectors = None,
        control_layers: tuple[int, int] | None = None,
    ) -> Session:
        """A text that is continued again and again, whose tokens are decoded once: its cells are kept until the session is closed.

            with model.session() as session:
                session.append("Once upon a time")
                for text in session.generate(max_tokens=32):
                    print(text, end="", flush=True)

        Args:
            sampling: how to choose its tokens; None for `SamplerConfig()`.
            adapters: what all its texts are computed with, as in `generate`.
            control_vector: the same.
            control_layers: the layers that it moves, as in `generate`.

        Raises:
            TypeError, ValueError: an argument is wrong.
            AdapterError: an adapter is of another model, or is an activated one.
            UnsupportedModelError: the model cannot generate.
            ClosedError, ForkedError: the model or an adapter is closed, or the model was loaded before a fork.
        """
        if not (sampling is None or isinstance(sampling, SamplerConfig)):
            message = f"`sampling` must be a SamplerConfig, got {type_name(sampling)}"
            raise TypeError(message)
        config = sampling or SamplerConfig()
        changes = as_changes(adapters, control_vector, control_layers)
        return Session(self, self._native.session(config.to_dict(), changes), config)

    def load_session(
        self,
        path: str | os.PathLike[str],
        *,
        adapters: Adapters = None,
        control_vector: ControlVectors = None,
        control_layers: tuple[int, int] | None = None,
    ) -> Session:
        """The session of a file that `Session.save` wrote, in this process or another one: it goes on as if it had never been saved.

        With a seed, its text is the same as that of the session that was saved, to the last bit of every logit, where both models are loaded
        alike (with the same `threads`, too) and nothing else runs beside them. The file may come from anywhere: it is checked as a whole before
        anything of it is used. The adapters and control vectors of the session must be given again: the same ones, with the same scales.

        Raises:
            TypeError, ValueError: an adapter or a control vector is none.
            OSError: the file cannot be read.
            StateError: it is none, is damaged, or belongs to another model, to another build of llama.cpp, to other options of `load` or to
                other adapters; the text says which.
            ContextFullError: it has more tokens than this model's context holds.
            ValueError: it has tokens that this model's vocabulary does not have.
            ClosedError, ForkedError, UnsupportedModelError: as `session`.
        """
        changes = as_changes(adapters, control_vector, control_layers)
        return load(self, self._native.load_session(as_path(path, "path"), changes))

    def generate_batch(
        self,
        prompts: Iterable[str | Tokens],
        *,
        progress: Callable[[int, int | None], object] | None = None,
        return_errors: bool = False,
        **options: Any,
    ) -> CompletionBatch:
        """Continue many prompts, as fast as the model can, and give their completions in order. Returns at once.

            for done in model.generate_batch(["One", "Two", "Three"], max_tokens=8):
                print(done.text)

        `prompts` is any iterable, also an endless one: four times `max_sequences` are begun at a time. All other options are those of `generate`.
        `progress` is called with the number of prompts done, and of all if it is known, each time one is done.

        Raises:
            TypeError: `prompts` is no iterable of prompts. What is wrong with one of them, or with an option, is raised in its place.
        """
        from tabagent.batch import CompletionBatch  # noqa: PLC0415 (needed here alone)

        known = inspect.signature(self.generate).parameters
        for name in options:
            if name not in known or name in {"prompt", "n", "best_of"}:
                message = f"`generate_batch` has no option `{name}`; it takes those of `generate` for one text, `progress` and `return_errors`"
                raise TypeError(message)
        ahead = 4 * max(self.info.max_sequences, 1)
        options.setdefault("collect", True)
        # Each prompt needs them, and an iterator gives them once.
        options |= {name: list(value) for name, value in options.items() if isinstance(value, Iterator)}
        submit = functools.partial(self.generate, **options)
        return CompletionBatch(submit, prompts, ahead=ahead, return_errors=return_errors, progress=progress)

    def compile_grammar(
        self,
        *,
        json_schema: object = None,
        json_mode: bool = False,
        regex: str | None = None,
        choices: Sequence[str] | None = None,
        grammar: str | None = None,
        grammar_format: Literal["lark", "gbnf"] | None = None,
        trigger: str | int | Sequence[str | int] | Trigger | None = None,
        compact_json: bool = False,
    ) -> Grammar:
        """Compile what a text must look like, for `generate(grammar=...)` or for decoding by hand. The arguments are those of `generate`.

        The grammars used last are kept, so that neither this nor `generate` compiles one twice. A model's first one takes longer, because the
        vocabulary is prepared for it.

        Raises:
            TypeError, ValueError: an argument is wrong, or not exactly one grammar is given.
            GrammarError: it cannot be compiled.
        """
        compiled = self._grammar(
            json_schema=json_schema,
            json_mode=json_mode,
            regex=regex,
            choices=choices,
            grammar=grammar,
            grammar_format=grammar_format,
            trigger=trigger,
            compact_json=compact_json,
        )
        if compiled is None:
            message = "there is nothing to compile; give one of `json_schema`, `json_mode`, `regex`, `choices` and `grammar`"
            raise ValueError(message)
        return compiled

    def _grammar(self, *, trigger: object, compact_json: bool, **given: Any) -> Grammar | None:
        """The grammar that was asked for, compiled; None if there is none."""
        compact = as_bool(compact_json, "compact_json")
        if isinstance(given["grammar"], Grammar):
            compiled: Grammar = given.pop("grammar")
            has_more = trigger is not None or compact or given["grammar_format"] is not None
            if has_more or source_of(**{**given, "grammar_format": None}) is not None:
                message = "a compiled `grammar` has all its settings; give nothing else with it"
                raise ValueError(message)
            return compiled
        source = source_of(**given)
        start = trigger_of(trigger)
        if source is None:
            if start is not None:
                message = "`trigger` says when a schema or grammar begins, and there is none; give one of those"
                raise ValueError(message)
            if compact:
                message = "`compact_json` says how JSON is written, and none was asked for; give `json_schema` or `json_mode`"
                raise ValueError(message)
            return None
        for begin in () if start is None else tuple(start.starts):  # type: ignore[arg-type] # a tuple from its construction on
            if isinstance(begin, int) and begin >= self.vocab_size():
                message = f"`trigger` names token `{begin}`; the vocabulary has tokens `0` to `{self.vocab_size() - 1}`"
                raise GrammarError(message)
        try:
            native = compile_source(self._native, source, start, compact=compact)
        except UnicodeEncodeError as error:
            raise surrogate_error(error, source.argument) from None
        except GrammarError as error:
            message = f"`{source.argument}`: {error}"
            raise GrammarError(message) from None
        return Grammar(native, vocab_size=self.vocab_size(), parser=parser_of(source, start))


def strings_of(value: object, name: str) -> list[str]:
    """One string or several, as a list.

    Raises:
        TypeError, ValueError: it is something else, or no text.
    """
    strings = [value] if isinstance(value, str) else as_texts(value, name)
    for index, string in enumerate(strings):
        check_encodable(string, f"{name}[{index}]")
    return strings


def _processors(value: object) -> Sequence[LogitsProcessor]:
    if isinstance(value, tuple) and not value:
        return ()
    from tabagent.hooks import as_processors  # noqa: PLC0415 (needed here alone)

    return as_processors(value)
