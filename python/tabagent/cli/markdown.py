"""Markdown as it comes, with the terminal's styles in place of its marks."""

import re
from typing import Final

__all__ = ["MarkdownStyler"]

BOLD: Final = ("\x1b[1m", "\x1b[22m")
ITALIC: Final = ("\x1b[3m", "\x1b[23m")
CODE: Final = ("\x1b[36m", "\x1b[39m")
QUOTE: Final = ("\x1b[2m", "\x1b[22m")

FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})([^`\n]*)")
HEADING: Final = re.compile(r" {0,3}#{1,6} +")
RULE: Final = re.compile(r"\s*([-*_])(\s*\1){2,}\s*")
BULLET: Final = re.compile(r"(\s*)[-*+] +")
LONGEST_RUN: Final = 3
"""`***` is strong emphasis in emphasis; more is a rule or a decoration."""
MAY_BEGIN_BLOCK: Final = re.compile(r"\s*(#{1,6} *|[-*+] *|`{1,}[^`\n]*|~{1,}[^\n]*|>)?\Z")
"""The beginning of a line that may still become more than text."""
MARKS: Final = {"**": BOLD, "__": BOLD, "*": ITALIC, "_": ITALIC}


class MarkdownStyler:
    """Turns pieces of Markdown into what a terminal shows: emphasis, headings, quotes, code and lists.

    What comes out does not depend on how the text was cut, and nothing is held back but the few characters that may still become a mark. A mark is
    one only where CommonMark could take it for one (`2 * 3` and `a_b_c` stay), and everything in code stays as it is. Tables and links are shown as
    they are written.
    """

    def __init__(self) -> None:
        self._held = ""
        self._at_start = True
        self._fence = ""
        self._before = ""
        """The character before."""
        self._ticks = ""
        """The backticks that the code in this line began with."""
        self._open: list[str] = []
        """The marks of emphasis that are open."""
        self._line: tuple[str, str] | None = None
        """The style of this line."""

    def feed(self, text: str) -> str:
        """What can be shown of the text so far and was not yet."""
        self._held += text
        return self._take(at_end=False)

    def finish(self) -> str:
        """What was held back, and the end of all styles."""
        shown = self._take(at_end=True) + self._end_line(paragraph=True)
        if self._fence:
            self._fence = ""
            shown += CODE[1]
        return shown

    def _take(self, *, at_end: bool) -> str:
        shown = []
        while self._held:
            piece = self._begin_line(at_end=at_end) if self._at_start else self._step(at_end=at_end)
            if piece is None:
                break
            shown.append(piece)
        return "".join(shown)

    def _begin_line(self, *, at_end: bool) -> str | None:
        """What a line begins with; None if more of it must come first."""
        line, newline, _ = self._held.partition("\n")
        complete = bool(newline) or at_end
        if self._fence:
            return self._begin_code_line(line, complete=complete)
        if not complete and (MAY_BEGIN_BLOCK.match(line) or set(line) <= set("-*_ \t")):
            return None
        self._at_start = False
        fence = FENCE.fullmatch(line) if complete else None
        if fence:
            self._fence = fence[1]
            return self._end_emphasis() + CODE[0] + self._cut(len(line))
        return self._begin_text_line(line) if line.strip() else self._end_emphasis()

    def _begin_code_line(self, line: str, *, complete: bool) -> str | None:
        """The same within a fence, which the line may end."""
        words = line.strip()
        if not complete and self._fence.startswith(words[: len(self._fence)]):
            return None
        self._at_start = False
        if complete and words.startswith(self._fence) and not words.strip(self._fence[0]):
            self._fence = ""
            return self._cut(len(line)) + CODE[1]
        return ""

    def _begin_text_line(self, line: str) -> str:
        shown = ""
        if heading := HEADING.match(line):
            self._line = BOLD
            self._drop(heading.end())
            shown = BOLD[0]
        elif line.startswith(">"):
            self._line = QUOTE
            shown = QUOTE[0] + self._cut(1)
        elif (bullet := BULLET.match(line)) and not RULE.fullmatch(line):
            self._drop(bullet.end())
            self._before = " "
            shown = f"{bullet[1]}• "
        return shown

    def _step(self, *, at_end: bool) -> str | None:
        """The next piece of a line; None if more must come first."""
        held, first = self._held, self._held[0]
        if first == "\n":
            self._at_start = True
            end = "" if self._fence else self._end_line(paragraph=False)
            return end + self._cut(1)
        if self._fence:
            return self._cut(len(held.partition("\n")[0]))
        if first == "`" or (first in "*_" and not self._ticks):
            run = len(held) - len(held.lstrip(first))
            if run == len(held) and not at_end:
                return None
            return self._backticks(run) if first == "`" else self._emphasis(first * run, held[run : run + 1])
        marks = "`\n" if self._ticks else "`\n*_"
        return self._cut(next((at for at, char in enumerate(held) if at and char in marks), len(held)))

    def _backticks(self, run: int) -> str:
        ticks = "`" * run
        if not self._ticks:
            self._ticks = ticks
            self._drop(run)
            return CODE[0]
        if ticks == self._ticks:
            self._ticks = ""
            self._drop(run)
            return CODE[1]
        return self._cut(run)

    def _emphasis(self, run: str, after: str) -> str:
        """Marks of emphasis, or characters like them: what they close, what they open, and the rest as it is."""
        before, is_under = self._before, run[0] == "_"
        closes = bool(before.strip()) and not (is_under and after.isalnum())
        opens = bool(after.strip()) and not before.isalnum()
        self._drop(len(run))
        shown = ""
        while closes and self._open and run.startswith(self._open[-1]):
            mark = self._open.pop()
            run = run[len(mark) :]
            shown += self._ended(MARKS[mark])
        while opens and 0 < len(run) <= LONGEST_RUN and (mark := run[:2]) not in self._open:
            self._open.append(mark)
            run = run[len(mark) :]
            shown += MARKS[mark][0]
        self._before = run[-1:] or before
        return shown + run

    def _ended(self, style: tuple[str, str]) -> str:
        """The end of a style within a line, whose own style goes on."""
        goes_on = self._line is not None and self._line[1] == style[1]
        return style[1] + (self._line[0] if goes_on and self._line is not None else "")

    def _end_line(self, *, paragraph: bool) -> str:
        """The end of the styles that end with a line, or with a paragraph."""
        shown = ""
        if self._ticks:
            self._ticks = ""
            shown += CODE[1]
        if self._line is not None:
            shown += self._line[1]
            self._line = None
            paragraph = True
        return (self._end_emphasis() if paragraph else "") + shown

    def _end_emphasis(self) -> str:
        shown = "".join(MARKS[mark][1] for mark in reversed(self._open))
        self._open.clear()
        return shown

    def _cut(self, length: int) -> str:
        """Takes so many characters off, to be shown."""
        piece = self._held[:length]
        self._drop(length)
        self._before = piece[-1:] or self._before
        return piece

    def _drop(self, length: int) -> None:
        self._held = self._held[length:]
