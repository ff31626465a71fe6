"""A conversation in the terminal: every turn and every answer stay in the context, token for token."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tabagent.cli.generation import GenerationOptions, generate
from tabagent.cli.output import is_terminal, write_note, write_text
from tabagent.cli.prompt_source import decode_utf8
from tabagent.errors import ContextFullError

if TYPE_CHECKING:
    from tabagent import Completion, Model

__all__ = ["Conversation", "LineReader", "converse"]

PROMPT: Final = "> "


class Conversation:
    """The transcript as token ids.

    Answers are kept as the tokens that were generated, not as text that is tokenized again, so that the model's memory of them is
    found again and only what is new is decoded.
    """

    def __init__(self, model: "Model") -> None:
        self._model = model
        self._tokens: list[int] = []

    def __len__(self) -> int:
        """The number of tokens so far."""
        return len(self._tokens)

    def with_turn(self, text: str) -> list[int]:
        """The tokens of the transcript and of a new turn, which begins a line."""
        begins = not self._tokens
        return self._tokens + self._model.tokenize(text if begins else f"\n{text}", add_special=begins, parse_special=True)

    def keep(self, tokens: list[int]) -> None:
        """Make `tokens` the transcript."""
        self._tokens = tokens

    def clear(self) -> None:
        """Forget everything."""
        self._tokens = []


class LineReader:
    """Reads the turns: with a prompt and line editing from a terminal, plainly from a pipe."""

    def __init__(self) -> None:
        self.is_terminal = is_terminal(sys.stdin)
        self._edits = self.is_terminal and is_terminal(sys.stdout)
        if self._edits:
            try:
                import readline  # noqa: F401, PLC0415 (gives `input` its history and keys)
            except ImportError:
                self._edits = True  # `input` works without

    def read(self, prompt: str = PROMPT) -> str | None:
        """The next line without its end; None at the end of the input."""
        if self._edits:
            try:
                return input(prompt)
            except EOFError:
                write_text("\n")
                return None
        line = sys.stdin.buffer.readline()
        if not line:
            return None
        return decode_utf8(line.rstrip(b"\r\n"), "standard input")


def converse(model: "Model", first: str | None, options: GenerationOptions, *, show: Callable[["Completion"], None]) -> int:
    """Answer turns until the input ends, and return the exit code. `show` gets every finished answer.

    Ctrl-C ends the answer that is being generated; at the prompt it ends the conversation.
    """
    reader = LineReader()
    conversation = Conversation(model)
    if reader.is_terminal:
        write_note("a conversation of plain text; Ctrl-C stops an answer, Ctrl-D leaves")
    turn = first
    while True:
        if turn is None:
            try:
                turn = reader.read()
            except KeyboardInterrupt:
                if not reader.is_terminal:
                    raise
                write_text("\n")
                return 0
            if turn is None:
                return 0
        if turn:
            again = _answer(conversation, model, turn, options, reader, show)
            if again is not None:
                return again
        turn = None


def _answer(
    conversation: Conversation,
    model: "Model",
    turn: str,
    options: GenerationOptions,
    reader: LineReader,
    show: Callable[["Completion"], None],
) -> int | None:
    """One turn; the exit code if the conversation cannot go on."""
    written = _Written()
    try:
        prompt = conversation.with_turn(turn)
        stream_tokens: list[int] = []
        completion = generate(model, prompt, options, written, stream_tokens)
        conversation.keep(prompt + stream_tokens)
    except KeyboardInterrupt:
        conversation.keep(prompt + stream_tokens)
        written.end_line()
        return None
    except ContextFullError as error:
        if len(conversation) == 0:
            raise
        return _start_afresh(conversation, error, reader)
    written.end_line()
    show(completion)
    return None
