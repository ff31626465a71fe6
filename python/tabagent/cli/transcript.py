"""What was said so far, as the tokens that the model reads."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tabagent.cli.failure import UsageError

if TYPE_CHECKING:
    from tabagent import Model

__all__ = ["ChatTranscript", "Transcript", "transcript_of"]


class Transcript:
    """A plain text that goes on and on.

    Answers are kept as the tokens that were generated, not as text that is tokenized again, so that the model finds them in its memory
    and decodes only what is new.
    """

    def __init__(self, model: "Model") -> None:
        self.model = model
        self._tokens: list[int] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing was said yet."""
        return not self._tokens

    def with_turn(self, text: str) -> list[int]:
        """The tokens of the transcript and of a new turn. Every turn but the first begins a new line."""
        begins = not self._tokens
        return self._tokens + self.model.tokenize(text if begins else f"\n{text}", add_special=begins, parse_special=True)

    def keep(self, text: str, prompt: Sequence[int], answer: Sequence[int]) -> None:  # noqa: ARG002 (conversations keep the text)
        """Keep a turn and the tokens of its answer; `prompt` are those that `with_turn` gave."""
        self._tokens = [*prompt, *answer]

    def shown(self, text: str, prompt: Sequence[int]) -> str:  # noqa: ARG002 (conversations show the tokens)
        """The prompt of the first turn as it is shown."""
        return text

    def cleared(self) -> "Transcript":
        """A new one of its kind."""
        return Transcript(self.model)


class ChatTranscript(Transcript):
    """A conversation, written by the model's chat template."""

    def __init__(self, model: "Model", system: str | None) -> None:
        super().__init__(model)
        self._system = system
        self._messages: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]

    def with_turn(self, text: str) -> list[int]:
        """The tokens of the conversation, of a message of the user, and of what begins the answer."""
        return self.model.apply_chat_template([*self._messages, {"role": "user", "content": text}], tokenize=True)

    def keep(self, text: str, prompt: Sequence[int], answer: Sequence[int]) -> None:
        """Keep a message of the user and its answer."""
        super().keep(text, prompt, answer)
        said = self.model.detokenize(answer, remove_special=True, unparse_special=False)
        self._messages += [{"role": "user", "content": text}, {"role": "assistant", "content": said}]

    def shown(self, text: str, prompt: Sequence[int]) -> str:  # noqa: ARG002 (a plain text is shown itself)
        """All that the template wrote."""
        return self.model.detokenize(prompt, unparse_special=True)

    def cleared(self) -> "Transcript":
        """A new conversation with the same system message."""
        return ChatTranscript(self.model, self._system)


def transcript_of(model: "Model", *, raw: bool, system: str | None) -> Transcript:
    """A conversation if the model's file has a chat template and a plain text is not asked for, else a plain text.

    Raises:
        UsageError: there is a system message, and it has no place.
    """
    if not raw and "tokenizer.chat_template" in model.metadata:
        return ChatTranscript(model, system)
    if system is not None:
        message = "`-sys` gives a system message, which a plain text has no place for: "
        message += "leave `--raw` out" if raw else "this model's file has no chat template; `tabagent chat` takes one with `--chat-template`"
        raise UsageError(message)
    return Transcript(model)
