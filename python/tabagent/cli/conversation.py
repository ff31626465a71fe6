"""A conversation in the terminal: every turn and every answer stay in the context."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tabagent.cli.generation import Answer, GenerationOptions, generate
from tabagent.cli.line_reader import LineReader
from tabagent.cli.output import write_line, write_note, write_text
from tabagent.cli.transcript import ChatTranscript, Transcript
from tabagent.cli.windows_console import END_OF_INPUT
from tabagent.errors import ContextFullError

if TYPE_CHECKING:
    from tabagent import Completion, Model

__all__ = ["Conversation"]


class Conversation:
    """Reads turns and prints answers. `show` gets every answer that was not interrupted."""

    def __init__(
        self,
        model: "Model",
        options: GenerationOptions,
        reader: LineReader,
        show: Callable[["Completion"], None],
        transcript: Transcript | None = None,
    ) -> None:
        self._model = model
        self._options = options
        self._reader = reader
        self._show = show
        self._transcript = transcript or Transcript(model)

    def run(self, first: str | None) -> None:
        """Answer turns, `first` before those that are read, until the input ends.

        Ctrl-C ends the answer that is being generated; at a terminal's prompt it ends the conversation.

        Raises:
            ContextFullError: the context is full and nobody is there to begin another conversation.
        """
        if self._reader.is_terminal:
            is_chat = isinstance(self._transcript, ChatTranscript)
            how = "what you type is said by the model's chat template" if is_chat else "what you type is continued as plain text"
            write_note(f"a conversation: {how}; Ctrl-C stops an answer, {END_OF_INPUT} leaves")
        turn = first if first is not None else self._next_turn()
        while turn is not None:
            if turn and not self._take_turn(turn):
                return
            turn = self._next_turn()

    def _next_turn(self) -> str | None:
        try:
            return self._reader.read()
        except KeyboardInterrupt:
            if not self._reader.is_terminal:
                raise
            write_line()
            return None

    def _take_turn(self, turn: str) -> bool:
        """Answer one turn; False if the conversation ends with it."""
        try:
            self._answer(turn)
        except ContextFullError as error:
            if self._transcript.is_empty:
                raise
            message = f"the context is full: {error}"
            if not self._reader.is_terminal:
                raise ContextFullError(message) from error
            write_note(message.replace("`context_size`", "`-c`"))
            try:
                if not self._reader.confirm("start a new conversation with this turn?"):
                    return False
            except KeyboardInterrupt:
                write_line()
                return False
            self._transcript = self._transcript.cleared()
            return self._take_turn(turn)
        return True

    def _answer(self, turn: str) -> None:
        answer = Answer(write_text)
        prompt: list[int] = []
        try:
            prompt = self._transcript.with_turn(turn)
            completion = generate(self._model, prompt, self._options, answer)
        except KeyboardInterrupt:
            if prompt:
                self._transcript.keep(turn, prompt, answer.tokens)
            answer.end_line()
            return
        self._transcript.keep(turn, prompt, completion.tokens)
        answer.end_line()
        self._show(completion)
