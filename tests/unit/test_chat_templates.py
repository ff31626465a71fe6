"""Every template of the pinned llama.cpp tree, on every kind of conversation, as transformers renders it."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest

import needs
from support.conversations import CONVERSATIONS
from support.jinja_reference import PINNED, render
from tabagent import ChatTemplate, ChatTemplateError

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def names() -> list[str]:
    """The templates of the tree; without a tree one that no test finds, so that each says what it lacks."""
    folder = Path(os.environ.get("TABAGENT_LLAMA_CPP_TREE", "")) / "models" / "templates"
    return sorted(path.name for path in folder.glob("*.jinja")) or ["none"]


def source(name: str) -> str:
    # Line ends are the template's own.
    return (needs.tree() / "models" / "templates" / name).read_bytes().decode()


def test_there_are_as_many_templates_and_conversations_as_were_promised() -> None:
    assert len(list((needs.tree() / "models" / "templates").glob("*.jinja"))) >= 70
    assert len(CONVERSATIONS) >= 40


def ours(template: ChatTemplate, messages: list[dict[str, Any]], **arguments: Any) -> str:
    return template.render(messages, adapt=False, now=PINNED, **arguments)


@pytest.mark.parametrize("name", names())
def test_prompts_are_those_of_transformers(name: str) -> None:
    text = source(name)
    template = ChatTemplate(text, **TOKENS)
    for title, messages, arguments in CONVERSATIONS:
        expected = render(text, messages, **arguments, **TOKENS)
        if expected.error is None:
            assert ours(template, messages, **arguments) == expected.text, title
            continue
        with pytest.raises(ChatTemplateError) as caught:
            ours(template, messages, **arguments)
        if isinstance(expected.error, RecursionError):
            assert caught.value.fault == "limit", title
            continue
        assert caught.value.line == expected.line, title
        assert (caught.value.fault == "refused") is expected.refused, title
        if expected.refused:
            assert caught.value.message == str(expected.error), title


@pytest.mark.parametrize("name", names())
def test_parts_of_a_prompt_are_the_prompt(name: str) -> None:
    template = ChatTemplate(source(name), **TOKENS)
    for title, messages, arguments in CONVERSATIONS:
        for adapt in (False, True):
            options = {**arguments, "adapt": adapt, "now": PINNED}
            try:
                whole = template.render(messages, **options)
            except ChatTemplateError:
                continue
            parts = template.render_segments(messages, **options)
            assert "".join(part.text for part in parts) == whole, title
            assert all(part.text for part in parts), title


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("field", ["content", "reasoning_content"])
def test_continued_messages_end_as_in_transformers(name: str, field: str) -> None:
    text = source(name)
    template = ChatTemplate(text, **TOKENS)
    endings: list[Any] = ["It is", "It is \n", "", [{"type": "text", "text": "It is"}]]
    for content in endings:
        fields = {"content": content} if field == "content" else {"content": "", "reasoning_content": content}
        messages: list[dict[str, Any]] = [{"role": "user", "content": "What is it?"}, {"role": "assistant", **fields}]
        expected = render(text, messages, add_generation_prompt=False, continue_final_message=field, **TOKENS)
        if field == "reasoning_content" and not isinstance(content, str):
            continue
        if expected.error is None:
            found = ours(template, messages, add_generation_prompt=False, continue_final_message=field)
            assert found == expected.text, content
        else:
            with pytest.raises(ChatTemplateError):
                ours(template, messages, add_generation_prompt=False, continue_final_message=field)


def test_the_date_is_the_one_that_is_given() -> None:
    template = ChatTemplate("{{ strftime_now('%d %b %Y, %A %-d/%m/%y %H:%M:%S %j %U %W %V %G %p %I %%') }}")
    for day in range(0, 4000, 13):
        moment = dt.datetime(2019, 12, 25, 13, 4, 5) + dt.timedelta(days=day, hours=day)  # noqa: DTZ001
        assert template.render([], now=moment) == moment.strftime("%d %b %Y, %A %-d/%m/%y %H:%M:%S %j %U %W %V %G %p %I %%")
    assert ChatTemplate("{{ strftime_now('%Y-%m-%d %H') }}").render([], now=dt.date(2024, 2, 29)) == "2024-02-29 00"
    today = ChatTemplate("{{ strftime_now('%Y') }}").render([])
    assert abs(int(today) - dt.datetime.now().year) <= 1  # noqa: DTZ005
