"""A conversation with a chat model in the terminal: what is typed, what is answered, and the commands."""

import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from tabagent.cli.failure import one_line
from tabagent.cli.line_reader import LineReader
from tabagent.cli.markdown import MarkdownStyler
from tabagent.cli.output import printable, takes_styles, write_line, write_note, write_text
from tabagent.cli.talk_settings import describe, read_setting
from tabagent.cli.windows_console import END_OF_INPUT
from tabagent.errors import ContextFullError, TabagentError

if TYPE_CHECKING:
    from tabagent import ChatMessage
    from tabagent.conversation import Conversation

__all__ = ["Talk"]

COMMANDS: Final = {
    "/help": "these commands",
    "/system TEXT": "another system message; without a text, none",
    "/set NAME VALUE": "change how answers come: temperature, top_k, seed, max_tokens, reasoning and so on; alone, show it",
    "/undo": "take the last turn back",
    "/clear": "begin anew, with the same system message",
    "/save FILE": "write the messages to a file",
    "/load FILE": "go on with the messages of a file",
    "/stats": "tokens and speed of the last answer",
    "/bye": f"leave, as {END_OF_INPUT} does",
}
QUOTES: Final = '"""'
DIM, PLAIN = "\x1b[2m", "\x1b[22m"


class Talk:
    """Reads turns and commands, and prints answers."""

    def __init__(
        self, conversation: "Conversation", reader: LineReader, report: "Callable[[ChatMessage], str]", options: Mapping[str, Any] | None = None
    ) -> None:
        self._conversation = conversation
        self._options = dict(options or {})
        """Those of each turn, which `/set` changes."""
        self._reader = reader
        self._report = report
        self._last: ChatMessage | None = None
        self._dims = takes_styles(sys.stdout) and not os.environ.get("NO_COLOR")

    def run(self, first: str | None) -> None:
        """Answer turns, `first` before those that are read, until the input ends or `/bye`.

        Ctrl-C ends the answer that is being written, never the conversation.

        Raises:
            TabagentError: an answer failed and nobody is there to go on.
        """
        if self._reader.is_terminal:
            write_note(f"Ctrl-C stops an answer, /help lists commands, /bye or {END_OF_INPUT} leaves")
        turn = first if first is not None else self._next()
        while turn is not None:
            if turn.strip() and not self._take(turn):
                return
            turn = self._next()

    def _next(self) -> str | None:
        """The next turn: a line, lines that end with a backslash and the one after, or all between two lines with three quotation marks."""
        try:
            line = self._reader.read()
            if line is None:
                return None
            if line.strip() == QUOTES:
                return self._quoted()
            lines = [line]
            while lines[-1].endswith("\\") and (line := self._reader.read("… ")) is not None:
                lines[-1] = lines[-1][:-1]
                lines.append(line)
            return "\n".join(lines)
        except KeyboardInterrupt:
            if not self._reader.is_terminal:
                raise
            write_line()
            write_note(f"/bye or {END_OF_INPUT} leaves")
            return ""

    def _quoted(self) -> str:
        lines: list[str] = []
        while (line := self._reader.read("… ")) is not None and line.strip() != QUOTES:
            lines.append(line)
        return "\n".join(lines)

    def _take(self, turn: str) -> bool:
        """Answer a turn or obey a command; False if the conversation ends with it."""
        if turn.startswith("/") and "\n" not in turn:
            return self._obey(turn)
        try:
            self._answer(turn)
        except (TabagentError, ValueError) as error:
            if not self._reader.is_terminal:
                raise
            full = isinstance(error, ContextFullError)
            write_note(f"{one_line(error)}{'; /undo takes turns back, /clear begins anew' if full else ''}")
        return True

    def _answer(self, turn: str) -> None:
        from tabagent import ContentDelta, ReasoningDelta  # noqa: PLC0415 (not for --help)

        answer = self._conversation.send(turn, **self._options)
        last = "\n"
        thinks = False
        styler = MarkdownStyler()
        try:
            for delta in answer.events():
                if not isinstance(delta, (ContentDelta, ReasoningDelta)):
                    continue
                if isinstance(delta, ReasoningDelta) != thinks:
                    if not thinks:
                        self._write_styled(styler.finish())
                    thinks = not thinks
                    self._style(dim=thinks)
                if thinks or not self._dims:
                    write_text(delta.text)
                else:
                    self._write_styled(styler.feed(printable(delta.text)))
                last = delta.text or last
        except KeyboardInterrupt:
            # What came stays in the conversation.
            answer.cancel()
        finally:
            if thinks:
                self._style(dim=False)
            self._write_styled(styler.finish())
        if not last.endswith("\n"):
            write_line()
        self._last = answer.message or self._last
        if answer.message is not None and answer.message.finish_reason == "length" and self._reader.is_terminal:
            write_note("the answer was cut: `-n` tokens were written, or the context is full")

    def _write_styled(self, text: str) -> None:
        """Write text with styles of ours, whose own control characters are gone."""
        if text:
            sys.stdout.write(text)
            sys.stdout.flush()

    def _style(self, *, dim: bool) -> None:
        """Dim what the model thinks."""
        if self._dims:
            sys.stdout.write(DIM if dim else PLAIN)
        elif not dim:
            write_line()

    def _obey(self, command: str) -> bool:
        """Do what a command says; False if the conversation ends with it."""
        name, _, rest = command.partition(" ")
        if name in {"/bye", "/exit", "/quit"}:
            return False
        obey = {
            "/help": self._help,
            "/?": self._help,
            "/system": self._system,
            "/set": self._set,
            "/undo": self._undo,
            "/clear": self._clear,
            "/save": self._save,
            "/load": self._load,
            "/stats": self._stats,
        }.get(name)
        if obey is None:
            write_note(f"there is no command `{name}`; `/help` lists them")
            return True
        try:
            obey(rest.strip())
        except (OSError, ValueError) as error:
            write_note(one_line(error))
        return True

    def _help(self, _: str) -> None:
        for words, text in COMMANDS.items():
            write_note(f"{words:14} {text}")
        write_note('a line that ends with \\ goes on in the next; """ begins and ends several lines')

    def _system(self, text: str) -> None:
        rest = [message for message in self._conversation.messages if message.get("role") != "system"]
        self._conversation.messages = [{"role": "system", "content": text}, *rest] if text else rest

    def _set(self, words: str) -> None:
        if words:
            name, _, value = words.partition(" ")
            self._options |= read_setting(name, value.strip(), self._options)
        else:
            for line in describe(self._options):
                write_note(line)

    def _undo(self, _: str) -> None:
        said = self._conversation.undo()
        write_note("there is no turn to take back" if said is None else f"taken back: {said}")

    def _clear(self, _: str) -> None:
        self._conversation.messages = [message for message in self._conversation.messages if message.get("role") == "system"]

    def _save(self, path: str) -> None:
        self._conversation.save(_named(path, "/save"))

    def _load(self, path: str) -> None:
        self._conversation.load(_named(path, "/load"))

    def _stats(self, _: str) -> None:
        write_note("there is no answer yet" if self._last is None else self._report(self._last))


def _named(path: str, command: str) -> str:
    """The file that a command is about.

    Raises:
        ValueError: none was named.
    """
    if not path:
        message = f"`{command}` needs the name of a file"
        raise ValueError(message)
    return path
