# ruff: noqa: E501 (templates are shown whole)
"""Conversations made to fit templates that lack a role."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydantic
import pytest

import needs
from support.conversations import CONVERSATIONS, PRAGUE, PRAGUE_TEXT, TOOLS, assistant, call, result, system, text_part, user
from support.jinja_reference import PINNED
from tabagent import ChatTemplate, ChatTemplateError

# Each knows less than the one before.
FULL = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls %}({{ c.function.name }} {{ c.function.arguments | tojson }})"
    "{% endfor %}{{ '\n' }}{% endfor %}{% if tools %}{{ tools | tojson }}{% endif %}"
)
TEXT_ONLY = (
    "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('Only user and assistant') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{{ '\n' }}{% endfor %}"
)
ALTERNATING = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{{ '\n' }}{% endfor %}"
)
PARTS_ONLY = "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }}{% endfor %}{{ '\n' }}{% endfor %}"
TEXT_ARGUMENTS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls %}{{ c.function.name + c.function.arguments }}{% endfor %}{% endfor %}"


def render(template: str, messages: list[Any], **arguments: Any) -> str:
    return ChatTemplate(template).render(messages, now=PINNED, **arguments)


def test_a_template_that_knows_all_gets_the_conversation_as_it_is() -> None:
    template = ChatTemplate(FULL)
    for title, messages, arguments in CONVERSATIONS:
        if not any(isinstance(m.get("content"), list) or m.get("content") is None or m.get("tool_calls") == [PRAGUE_TEXT] for m in messages):
            options = {**arguments, "now": PINNED}
            if options.get("tools") != []:
                assert template.render(messages, **options) == template.render(messages, adapt=False, **options), title


def test_capabilities_say_what_templates_know() -> None:
    full = ChatTemplate(FULL).capabilities
    assert (full.system, full.developer, full.tools, full.tool_calls, full.parallel_tool_calls, full.tool_results) == (True,) * 6
    assert (full.object_arguments, full.text_arguments, full.text_content, full.part_content) == (True, False, True, False)
    text = ChatTemplate(TEXT_ONLY).capabilities
    assert (text.system, text.developer, text.tools, text.tool_calls, text.tool_results, text.repeated_roles) == (*(False,) * 5, True)
    assert not ChatTemplate(ALTERNATING).capabilities.repeated_roles
    parts = ChatTemplate(PARTS_ONLY).capabilities
    assert (parts.text_content, parts.part_content) == (False, True)
    arguments = ChatTemplate(TEXT_ARGUMENTS).capabilities
    assert (arguments.object_arguments, arguments.text_arguments) == (False, True)
    assert ChatTemplate("{{ bos_token }}{{ messages[0].content }}", bos_token="<s>").capabilities.writes_bos  # noqa: S106 (a token)
    assert not ChatTemplate(FULL, bos_token="<s>").capabilities.writes_bos  # noqa: S106 (a token)
    assert ChatTemplate("{{ enable_thinking }}").capabilities.thinking_switch


def test_the_system_goes_into_the_users_first_message() -> None:
    assert render(TEXT_ONLY, [system("Be kind."), user("Hi")]) == "<user>Be kind.\n\nHi\n"
    assert render(TEXT_ONLY, [system("Be kind.")]) == "<user>Be kind.\n"
    assert render(TEXT_ONLY, [system(""), user("Hi")]) == "<user>Hi\n"
    assert render(TEXT_ONLY, [user("a"), assistant("b"), system("c"), user("d")]) == "<user>a\n<assistant>b\n<user>c\n\nd\n"
    assert render(TEXT_ONLY, [{"role": "developer", "content": "c"}, user("d")]) == "<user>c\n\nd\n"
    assert render(FULL, [{"role": "developer", "content": "c"}]) == "<developer>c\n"


def test_tools_are_described_and_their_results_are_the_users() -> None:
    messages = [user("Weather?"), assistant("I look.", tool_calls=[PRAGUE]), result("12 °C"), assistant("12 °C.")]
    rendered = render(TEXT_ONLY, messages, tools=TOOLS)
    assert rendered.startswith("<user>You can call these functions.")
    assert '{"type": "function", "function": {"name": "get_weather"' in rendered
    assert rendered.index("get_weather") < rendered.index("Weather?")
    assert '<assistant>I look.\n\n[{"name":"get_weather","arguments":{"place":"Prague, CZ"}}]\n' in rendered
    assert "<user>Result of `get_weather`:\n12 °C\n<assistant>12 °C.\n" in rendered
    assert render(TEXT_ONLY, [user("a")], tools=[]) == "<user>a\n"


def test_messages_of_the_user_become_one_where_roles_must_alternate() -> None:
    messages = [user("W?"), assistant("", tool_calls=[PRAGUE]), result("12"), result("13", 2), user("And?"), assistant("x"), user("y")]
    rendered = render(ALTERNATING, messages)
    expected = "<user>Result of `get_weather`:\n12\n\nResult of `get_weather`:\n13\n\nAnd?\n<assistant>x\n<user>y\n"
    assert rendered.endswith(expected)
    assert render(ALTERNATING, [system("s"), user("a"), user("b")]) == "<user>s\n\na\n\nb\n"


def test_contents_get_the_shape_that_the_template_reads() -> None:
    assert render(PARTS_ONLY, [user("a"), assistant([text_part("b"), text_part("c")])]) == "<user>a\n<assistant>bc\n"
    assert render(FULL, [user([text_part("b"), text_part("c")])]) == "<user>bc\n"
    assert render(FULL, [{"role": "assistant", "content": None}]) == "<assistant>\n"
    assert render(FULL, [{"role": "assistant"}]) == "<assistant>\n"


def test_arguments_get_the_shape_that_the_template_reads() -> None:
    expected = '<assistant>(get_weather {"place": "Prague, CZ"})\n'
    assert render(FULL, [assistant("", tool_calls=[PRAGUE_TEXT])]) == expected
    assert render(FULL, [assistant("", tool_calls=[PRAGUE])]) == expected
    assert render(TEXT_ARGUMENTS, [assistant("", tool_calls=[PRAGUE])]) == '<assistant>get_weather{"place": "Prague, CZ"}'
    # What is no JSON is given on as it is.
    assert render(FULL, [assistant("", tool_calls=[call("f", "not json")])]) == '<assistant>(f "not json")\n'
    assert render(FULL, [assistant("", tool_calls=[call("f", "")])]) == "<assistant>(f {})\n"


def test_images_are_an_error_that_says_so() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    with pytest.raises(ValueError, match=r"message 1: `content\[1\]` is of type `image_url`; only `text` can be used"):
        render(FULL, [user("a"), user([text_part("b"), image])])


@pytest.mark.parametrize(
    ("messages", "kind", "text"),
    [
        ([user("a"), {"content": "b"}], ValueError, "message 1: `role` is missing"),
        ([{"role": 7, "content": "b"}], TypeError, "message 0: `role` must be a string, not a number"),
        ([{"role": "", "content": "b"}], ValueError, "message 0: `role` must not be empty"),
        ([{"role": "user", "content": 5}], TypeError, "message 0: `content` must be a string, a list of parts or null, not a number"),
        ([{"role": "user", "content": ["b"]}], TypeError, "message 0: `content[0]` must be an object, not a string"),
        ([{"role": "user", "content": [{"text": "b"}]}], ValueError, "message 0: `content[0].type` is missing"),
        ([{"role": "user", "content": [{"type": "text", "text": 1}]}], TypeError, "message 0: `content[0].text` must be a string, not a number"),
        ([{"role": "user", "content": "a", "tool_calls": {}}], TypeError, "message 0: `tool_calls` must be a list, not an object"),
        ([{"role": "user", "content": "a", "tool_calls": [{}]}], ValueError, "message 0: `tool_calls[0]`: `function.name` is missing"),
        ([assistant("", tool_calls=[call("f", 5)])], TypeError, "message 0: `tool_calls[0]`: `function.arguments` must be an object or its text"),
        ([assistant("", reasoning_content=5)], TypeError, "message 0: `reasoning_content` must be a string, not a number"),
        (["hello"], TypeError, "message 0: it must be an object, not a string"),
        ("hello", TypeError, "`messages` must be a sequence of objects, got str"),
        (7, TypeError, "`messages` must be a sequence of objects, got int"),
        ({"role": "user"}, TypeError, "`messages` must be a sequence of objects, got dict"),
        ([{"role": "user", "content": object()}], TypeError, "`messages[0].content` must be a dict, list, str, number, bool, None"),
        ([{"role": "user", "content": "a", "x": float("nan")}], ValueError, "`messages[0].x` is not a finite number"),
        ([{"role": "user", "content": "a", "x": 2**70}], ValueError, "`messages[0].x` is a whole number of more than 64 bits"),
        ([{"role": "user", "content": "a", 5: 6}], TypeError, "the keys of `messages[0]` must be str, got int"),
    ],
)
def test_wrong_messages_name_the_index_and_the_field(messages: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        render(FULL, messages)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("tools", "kind", "text"),
    [
        ([{}], ValueError, "tool 0: `function.name` is missing"),
        ([TOOLS[0], {"function": 5}], TypeError, "tool 1: `function` must be an object, not a number"),
        ([{"function": {"name": ""}}], ValueError, "tool 0: `function.name` must not be empty"),
        ([{"function": {"name": "f", "parameters": []}}], TypeError, "tool 0: `function.parameters` must be an object, not a list"),
        ("f", TypeError, "`tools` must be a sequence of objects, got str"),
    ],
)
def test_wrong_tools_name_the_index_and_the_field(tools: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        render(FULL, [user()], tools=tools)
    assert text in str(caught.value)


def test_messages_may_be_objects() -> None:
    @dataclasses.dataclass
    class Plain:
        role: str
        content: str

    class Typed(pydantic.BaseModel):
        role: str
        content: str

    expected = "<user>Hi\n"
    assert render(FULL, [Plain("user", "Hi")]) == expected
    assert render(FULL, [Typed(role="user", content="Hi")]) == expected
    assert render(FULL, (m for m in [Plain("user", "Hi")])) == expected  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        render(FULL, [SimpleNamespace(role="user", content="Hi")])
    endless: dict[str, Any] = {"role": "user", "content": "a"}
    endless["self"] = endless
    with pytest.raises(RecursionError):
        render(FULL, [endless])


def test_other_arguments_are_checked() -> None:
    template = ChatTemplate(FULL)
    with pytest.raises(TypeError, match="`adapt` must be True or False"):
        template.render([], adapt=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="`now` must be a datetime, a date or None, got str"):
        template.render([], now="today")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`add_generation_prompt` must be False"):
        template.render([assistant("a")], continue_final_message=True)
    with pytest.raises(ChatTemplateError, match="cannot continue the last message: the conversation is empty"):
        template.render([], continue_final_message=True, add_generation_prompt=False)
    with pytest.raises(ChatTemplateError, match="cannot continue the last message: the template does not read `thoughts`"):
        template.render([assistant("a", thoughts="b")], continue_final_message="thoughts", add_generation_prompt=False)
    with pytest.raises(TypeError, match="`text` must be a str"):
        ChatTemplate(7)  # type: ignore[arg-type]
    assert repr(template).startswith("ChatTemplate('{% for m in messages %}")
    assert repr(ChatTemplate("x")) == "ChatTemplate('x')"
    assert (ChatTemplate("x", bos_token="b", eos_token="e").bos_token, template.eos_token, template.text) == ("b", "", FULL)  # noqa: S106 (tokens)


TEMPLATES = sorted(path.name for path in (Path(os.environ.get("TABAGENT_LLAMA_CPP_TREE", "")) / "models" / "templates").glob("*.jinja")) or ["none"]
# Conversations that no template has a reason to refuse once they are adapted.
SOUND = {
    *("one turn", "system", "three turns", "three turns and a system", "unicode", "content parts", "developer", "two users", "white space"),
    *("a call and the answer", "thinking off", "reasoning", "a call with text arguments", "a result in parts"),
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_renders_sound_conversations_when_adapted(name: str) -> None:
    text = (needs.tree() / "models" / "templates" / name).read_bytes().decode()
    template = ChatTemplate(text, bos_token="<s>", eos_token="</s>")  # noqa: S106 (tokens)
    for title, messages, arguments in CONVERSATIONS:
        # The templates of Hermes call themselves without end for lists of types, and Command R+ wants each argument described.
        if title not in SOUND or (arguments.get("tools") and ("Hermes" in name or "command-r-plus" in name)):
            continue
        rendered = template.render(messages, now=PINNED, **arguments)
        last = messages[-1]["content"]
        shown = last if isinstance(last, str) else last[-1]["text"]
        assert shown.strip() in rendered, title
        if messages[0]["role"] in {"system", "developer"}:
            assert messages[0]["content"].strip() in rendered, title
