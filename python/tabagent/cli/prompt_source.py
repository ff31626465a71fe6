"""Where the prompt comes from: `-p`, `-f`, or standard input."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from tabagent.cli.arguments import argument_text
from tabagent.cli.escapes import unescape
from tabagent.cli.failure import UsageError
from tabagent.cli.options import option
from tabagent.cli.output import is_terminal

__all__ = ["PromptOptions", "decode_utf8", "read_prompt", "standard_input_bytes"]

PROMPT: Final = "Prompt"


@dataclass(frozen=True, kw_only=True)
class PromptOptions:
    """The text to answer or to continue, and whether it is the first of many turns."""

    prompt: Annotated[
        str | None, option(PROMPT, "-p", "--prompt", metavar="TEXT", text="What to answer, or to continue. Without it and -f: standard input.")
    ] = None
    file: Annotated[str | None, option(PROMPT, "-f", "--file", metavar="FILE", text="A file with that text, in UTF-8; `-` is standard input.")] = None
    escape: Annotated[bool, option(PROMPT, "-e", "--escape", text="Replace \\n, \\t, \\xHH and the like in the prompt and in stop texts.")] = False
    raw: Annotated[
        bool,
        option(
            PROMPT,
            "--raw",
            "-no-cnv",
            "--no-conversation",
            text="Continue the text as it is, also of a model whose file has a chat template. Markers such as <|im_start|> in it count then.",
        ),
    ] = False
    system: Annotated[
        str | None, option(PROMPT, "-sys", "--system-prompt", metavar="TEXT", text="The system message, for models with a chat template.")
    ] = None
    interactive: Annotated[
        bool, option(PROMPT, "-i", "--interactive", text="A conversation: each line is a turn, and all turns stay in the context.")
    ] = False

    def read(self) -> str | None:
        """The prompt; see `read_prompt`."""
        return read_prompt(self.prompt, self.file, escape=self.escape, interactive=self.interactive)


def read_prompt(text: str | None, file: str | None, *, escape: bool, interactive: bool) -> str | None:
    """The prompt, from the first of `-p`, `-f` and a piped standard input that there is; None to ask for it (`-i` only).

    One newline at the end of a file or of standard input is not part of the prompt. Both are UTF-8 in every locale.

    Raises:
        UsageError: there are two prompts, or none.
        ValueError: the prompt is not UTF-8.
        OSError: the file cannot be read.
    """
    if text is not None and file is not None:
        message = "`-p` and `-f` both give a prompt; give one of them"
        raise UsageError(message)
    prompt: str | None = None
    if text is not None:
        prompt = argument_text(text, "the prompt")
    elif file == "-":
        if interactive:
            message = "`-i` reads its turns from standard input, which `-f -` would use up; give the first turn with `-p` or `-f FILE`"
            raise UsageError(message)
        prompt = _without_last_newline(decode_utf8(standard_input_bytes(), "standard input"))
    elif file is not None:
        prompt = _without_last_newline(decode_utf8(Path(file).read_bytes(), f"`{file}`"))
    elif not interactive:
        if sys.stdin is None or is_terminal(sys.stdin):
            message = "there is no prompt; give one with `-p TEXT` or `-f FILE`, pipe it in, or start a conversation with `-i`"
            raise UsageError(message)
        prompt = _without_last_newline(decode_utf8(standard_input_bytes(), "standard input"))
    return unescape(prompt) if escape and prompt is not None else prompt


def standard_input_bytes() -> bytes:
    """All of standard input."""
    return sys.stdin.buffer.read()


def decode_utf8(data: bytes, what: str) -> str:
    """The text of UTF-8 bytes, without a byte order mark.

    Raises:
        ValueError: they are no UTF-8; says where.
    """
    try:
        return data.decode("utf-8").removeprefix("\N{ZERO WIDTH NO-BREAK SPACE}")
    except UnicodeDecodeError as error:
        message = f"{what} is not UTF-8 (byte {error.start:,} is 0x{data[error.start]:02x}); convert it, for example with `iconv -t utf-8`"
        raise ValueError(message) from error


def _without_last_newline(text: str) -> str:
    return text[:-2] if text.endswith("\r\n") else text.removesuffix("\n")
