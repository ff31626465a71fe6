"""Texts of models as messages, by templates."""

from __future__ import annotations

import pytest

from tabagent import ChatMessage, ChatTemplate, ToolCall

HERMES = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}"
    '{% for c in m.tool_calls %}{{ "\n<tool_call>\n" }}{"name": "{{ c.function.name }}", '
    '"arguments": {{ c.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = '<think>\nHm.\n</think>\n\nLet me see.\n<tool_call>\n{"name": "weather", "arguments": {"city": "Rome"}}\n</tool_call>'


def weather(city: str) -> str:
    """The weather."""
    return city


def test_a_text_becomes_a_message() -> None:
    template = ChatTemplate(HERMES)
    message = template.parse(TEXT, tools=[weather])
    call = ToolCall(name="weather", arguments={"city": "Rome"}, arguments_json='{"city": "Rome"}')
    assert message == ChatMessage(content="Let me see.", reasoning="Hm.", tool_calls=(call,))
    assert (message.role, message.warnings) == ("assistant", ())
    turns = [{"role": "user", "content": "Hello"}, message.as_dict()]
    assert template.render(turns, add_generation_prompt=False).endswith(f"<|im_start|>assistant\n{TEXT}<|im_end|>\n")


def test_every_beginning_of_a_text_is_a_beginning_of_its_message() -> None:
    template = ChatTemplate(HERMES)
    whole = template.parse(TEXT, tools=[weather])
    for end in range(len(TEXT) + 1):
        part = template.parse(TEXT[:end], tools=[weather], partial=True)
        assert whole.content.startswith(part.content)
        assert (whole.reasoning or "").startswith(part.reasoning or "")
        for call in part.tool_calls:
            assert call.name == "weather"
            assert "Rome".startswith(call.arguments.get("city", ""))
            assert '{"city": "Rome"}'.startswith(call.arguments_json)


def test_what_cannot_be_read_is_content() -> None:
    message = ChatTemplate(HERMES).parse("<tool_call>\n{oh}\n</tool_call>", tools=[weather])
    assert (message.content, message.tool_calls) == ("<tool_call>\n{oh}\n</tool_call>", ())
    assert message.warnings[0].startswith("a call could not be read: ")


def test_tools_and_prompts_decide() -> None:
    template = ChatTemplate(HERMES)
    assert template.parse(TEXT, tools=[]).tool_calls == ()
    assert len(template.parse(TEXT).tool_calls) == 1
    assert template.parse("So</think>Yes", prompt="<|im_start|>assistant\n<think>\n").reasoning == "So"
    with pytest.raises(TypeError, match="`text` must be a str"):
        template.parse(b"x")  # type: ignore[arg-type] # wrong on purpose
    with pytest.raises(TypeError, match="`tools` must be a sequence"):
        template.parse("x", tools=weather)  # type: ignore[arg-type] # wrong on purpose
