"""A model that answers from a script, for tests of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from tabagent import Completion, ContextFullError, Timings, Usage, VariantInfo

CONTEXT = 64
VARIANT = VariantInfo(requested="auto", name="haswell", library="/lib", source="bundled", reason="best", build="llama.cpp", cpu_module="haswell")


@dataclass
class FakeStream:
    """Gives the answer a character at a time; a token is a code point. An exception in the script is raised in its place."""

    script: Sequence[str | BaseException]
    prompt_tokens: int
    closed: bool = False
    seen: list[str] = field(default_factory=list)

    def __enter__(self) -> FakeStream:  # noqa: PYI034 (`Self` is in `typing` from Python 3.11 on)
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def events(self) -> Iterator[Any]:
        for item in self.script:
            if isinstance(item, BaseException):
                raise item
            self.seen.append(item)
            yield SimpleNamespace(text=item, token_ids=[ord(item)])

    def result(self) -> Completion:
        text = "".join(self.seen)
        return Completion(
            text=text,
            tokens=tuple(ord(character) for character in text),
            finish_reason="stop",
            stop_match=None,
            usage=Usage(prompt_tokens=self.prompt_tokens, completion_tokens=len(text), cached_tokens=0),
            timings=Timings(queued_s=0.0, prompt_s=0.5, decode_s=0.25, first_token_s=0.5, prompt_tokens_per_s=2.0, decode_tokens_per_s=8.0),
            logprobs=None,
        )


class FakeModel:
    """Tokens are code points; a beginning-of-text token is 0."""

    def __init__(self, answers: Sequence[Sequence[str | BaseException]]) -> None:
        self.answers = list(answers)
        self.prompts: list[list[int]] = []
        self.options: list[dict[str, Any]] = []
        self.streams: list[FakeStream] = []
        self.closed = False
        self.metadata: dict[str, str] = {}
        self.loaded: tuple[str, dict[str, Any]] | None = None
        self.info = SimpleNamespace(path="m.gguf", description="fake", context_size=CONTEXT, threads=1, layers_on_gpu=0, variant=VARIANT)

    def __enter__(self) -> FakeModel:  # noqa: PYI034 (`Self` is in `typing` from Python 3.11 on)
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        return [0] * add_special + [ord(character) for character in text]

    def detokenize(self, tokens: Sequence[int], **_: bool) -> str:
        return "".join(chr(token) for token in tokens if token)

    def apply_chat_template(self, messages: Sequence[dict[str, str]], *, tokenize: bool) -> list[int]:
        assert tokenize
        return self.tokenize("".join(f"<{message['role']}>{message['content']}" for message in messages) + "<assistant>")

    def generate(self, tokens: list[int], **options: Any) -> FakeStream:
        if len(tokens) >= CONTEXT:
            message = f"prompt has {len(tokens)} tokens but the context holds {CONTEXT}; raise `context_size` or shorten the prompt"
            raise ContextFullError(message)
        self.prompts.append(list(tokens))
        self.options.append(options)
        stream = FakeStream(self.answers.pop(0), len(tokens))
        self.streams.append(stream)
        return stream

    def text_of(self, index: int) -> str:
        """A prompt as text."""
        return "".join(chr(token) for token in self.prompts[index] if token)


def loader(model: FakeModel) -> Callable[..., FakeModel]:
    """A stand-in for `Model.load`."""

    def load(path: str, **options: Any) -> FakeModel:
        model.loaded = (path, options)
        return model

    return load
