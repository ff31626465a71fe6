"""Markdown in the terminal, as it comes."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabagent.cli.markdown import MarkdownStyler

STYLE = re.compile(r"\x1b\[(\d+)m")
NAMES = {"1": "<b>", "3": "<i>", "36": "<code>", "2": "<dim>", "22": "</>", "23": "</i>", "39": "</code>"}


def shown(*pieces: str) -> str:
    styler = MarkdownStyler()
    return "".join(styler.feed(piece) for piece in pieces) + styler.finish()


def named(text: str) -> str:
    return STYLE.sub(lambda found: NAMES[found[1]], shown(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text\n", "plain text\n"),
        ("a **b** c", "a <b>b</> c"),
        ("a *b* c", "a <i>b</i> c"),
        ("__a__ _b_", "<b>a</> <i>b</i>"),
        ("***a*** b", "<b><i>a</i></> b"),
        ("**a *b* c**", "<b>a <i>b</i> c</>"),
        ("# Title *x*\ntext", "<b>Title <i>x</i></>\ntext"),
        ("## A **b** c\n", "<b>A <b>b</><b> c</>\n"),
        ("- a\n* b\n  + c\n", "• a\n• b\n  • c\n"),
        ("1. a\n2. b", "1. a\n2. b"),
        ("> a **b** c\nd", "<dim>> a <b>b</><dim> c</>\nd"),
        ("`a*b*` c", "<code>a*b*</code> c"),
        ("``a`b`` c", "<code>a`b</code> c"),
        ("```py\n*a* = `b`\n# c\n```\n*d*", "<code>```py\n*a* = `b`\n# c\n```</code>\n<i>d</i>"),
        ("~~~\n```\n~~~\nx", "<code>~~~\n```\n~~~</code>\nx"),
        ("```\nopen", "<code>```\nopen</code>"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("2*3*4 a_b_c", "2*3*4 a_b_c"),
        ("a ** b", "a ** b"),
        ("f(*args, **kwargs)", "f(<i>args, <b>kwargs)</></i>"),
        ("*open\n\nnext", "<i>open\n</i>\nnext"),
        ("`open\nnext", "<code>open</code>\nnext"),
        ("---\n***\n___", "---\n***\n___"),
        ("| a | b |\n|---|---|\n", "| a | b |\n|---|---|\n"),
        ("#hashtag and C#", "#hashtag and C#"),
        ("-5 is less than +3", "-5 is less than +3"),
        ("*", "*"),
        ("", ""),
    ],
)
def test_marks_become_styles(text: str, expected: str) -> None:
    assert named(text) == expected


@given(
    st.lists(
        st.sampled_from(["*", "**", "_", "__", "`", "``", "```", "#", " ", "\n", "- ", "> ", "a", "b c", "~~~", "1. ", "\n\n", "é"]), max_size=40
    ),
    st.data(),
)
def test_what_is_shown_does_not_depend_on_how_it_came(parts: list[str], data: st.DataObject) -> None:
    text = "".join(parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    ends = [0, *cuts, len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(ends)]
    assert shown(*pieces) == shown(text) == shown(*text)


@given(st.text(alphabet="*_`#>-~ab \n", max_size=60))
def test_every_style_ends_and_no_letter_is_lost(text: str) -> None:
    result = shown(text)
    styles: set[str] = set()
    for code in STYLE.findall(result):
        if code in {"22", "23", "39"}:
            styles -= {"22": {"1", "2"}, "23": {"3"}, "39": {"36"}}[code]
        else:
            styles.add(code)
    assert styles == set()
    letters = [char for char in STYLE.sub("", result) if char in "ab\n"]
    assert letters == [char for char in text if char in "ab\n"]


def test_text_is_shown_as_soon_as_it_is_certain() -> None:
    styler = MarkdownStyler()
    assert styler.feed("Hello") == "Hello"
    assert styler.feed(" **wor") == " \x1b[1mwor"
    assert styler.feed("ld*") == "ld"
    assert styler.feed("*!") == "\x1b[22m!"
    assert styler.feed("\n#") == "\n"
    assert styler.feed(" Ti") == "\x1b[1mTi"
