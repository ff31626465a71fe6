"""Budgets for the thoughts of real models."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tabagent import ContentDelta, Model, ReasoningBudget, ReasoningDelta, SamplerConfig

pytestmark = pytest.mark.model

GREEDY = SamplerConfig.greedy()
GOES_ON: dict[str, Any] = {"sampling": GREEDY, "ignore_eos": True}
"""This model was not trained to think, and often ends with its thought."""
QUESTION = [{"role": "user", "content": "Which is larger, 9 or 11? Explain your answer in one long sentence."}]
TOOLS = """{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}Call one as <tool_call>{...}</tool_call><|im_end|>
{% endif %}"""
TURNS = """{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}{% for call in message.tool_calls or [] %}{% set call = call.function or call %}<tool_call>
{"name": "{{ call.name }}", "arguments": {{ call.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}"""
THINKING = (
    TOOLS
    + TURNS
    + "{% if add_generation_prompt %}<|im_start|>assistant\n{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}{% endif %}"
)
"""A template whose prompt begins a thought, unless it is told not to."""
ALWAYS = TOOLS + TURNS + "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
"""A template whose prompt begins a thought whatever it is told."""


def n_tokens(model: Model, text: str) -> int:
    return len(model.tokenize(text, add_special=False))


def weather(city: str) -> str:
    """The weather in a city."""
    return city


@pytest.mark.parametrize("budget", [1, 7, 12])
def test_a_thought_ends_with_its_budget_and_the_answer_follows(coder: Model, budget: int) -> None:
    stream = coder.chat(QUESTION, chat_template=THINKING, reasoning=budget, max_tokens=budget + 24, **GOES_ON)
    kinds = [type(delta) for delta in stream.events() if isinstance(delta, (ContentDelta, ReasoningDelta))]
    message = stream.result()
    assert message.reasoning
    assert n_tokens(coder, message.reasoning) == budget
    assert message.content
    assert "think>" not in message.content
    assert kinds == sorted(kinds, key=lambda kind: kind is ContentDelta)
    assert message.usage is not None
    assert message.usage.forced_tokens == len(coder.tokenize("</think>", parse_special=True))


def test_the_message_comes_before_the_end(coder: Model) -> None:
    text = " That is enough."
    options: dict[str, Any] = {"chat_template": THINKING, "max_tokens": 48, **GOES_ON}
    message = coder.chat(QUESTION, reasoning=6, reasoning_budget_message=text, **options).result()
    assert message.reasoning is not None
    assert message.reasoning.endswith(text)
    assert n_tokens(coder, message.reasoning.removesuffix(text)) <= 6
    assert message.content


def test_no_budget_is_no_thought(coder: Model) -> None:
    options: dict[str, Any] = {"reasoning_budget_message": "Enough.", "max_tokens": 24, **GOES_ON}
    told = coder.chat(QUESTION, chat_template=THINKING, reasoning=0, **options).result()
    assert told.reasoning is None
    assert told.content
    forced = coder.chat(QUESTION, chat_template=ALWAYS, reasoning=0, **options).result()
    assert forced.reasoning is None
    assert forced.content
    assert "Enough." not in forced.content


def test_a_budget_that_is_not_used_up_changes_nothing(coder: Model) -> None:
    options: dict[str, Any] = {"chat_template": THINKING, "max_tokens": 20, "sampling": GREEDY, "cache_prompt": False}
    assert coder.chat(QUESTION, reasoning=1000, **options).result().reasoning == coder.chat(QUESTION, reasoning="on", **options).result().reasoning


def test_templates_without_thoughts_have_nothing_to_limit(smollm2: Model) -> None:
    options: dict[str, Any] = {"max_tokens": 12, "sampling": GREEDY}
    plain = smollm2.chat(QUESTION, **options).result()
    for budget in (0, 3):
        assert smollm2.chat(QUESTION, reasoning=budget, **options).result().content == plain.content


def test_forms_and_calls_begin_after_the_thought(coder: Model) -> None:
    schema = {"type": "object", "properties": {"larger": {"enum": [9, 11]}}, "required": ["larger"], "additionalProperties": False}
    options: dict[str, Any] = {"chat_template": ALWAYS, "reasoning": 9, "reasoning_budget_message": " So:", "max_tokens": 80, "sampling": GREEDY}
    message = coder.chat(QUESTION, json_schema=schema, **options).result()
    assert message.reasoning is not None
    assert message.reasoning.endswith(" So:")
    assert message.parsed == json.loads(message.content)
    assert message.parsed["larger"] in {9, 11}
    asked = [{"role": "user", "content": "What is the weather in Rome?"}]
    options["max_tokens"] = 200  # it may write much white space
    called = coder.chat(asked, tools=[weather], tool_choice="required", parallel_tool_calls=False, **options).result()
    assert called.reasoning is not None
    assert called.reasoning.endswith(" So:")
    assert [call.name for call in called.tool_calls] == ["weather"]
    assert called.finish_reason == "stop"


def test_generate_takes_budgets_with_their_markers(coder: Model) -> None:
    budget = ReasoningBudget(5, start="", end="\n[end]\n", message="...", inside=True)
    text = coder.generate("Once upon a time", reasoning_budget=budget, max_tokens=24, sampling=GREEDY).result().text
    thought, rest = text.split("...\n[end]\n")
    assert n_tokens(coder, thought) == 5
    assert rest


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"reasoning": -1}, ValueError, "`reasoning`"),
        ({"reasoning": True}, TypeError, "`reasoning` must be 'auto', 'on', 'off' or a number of tokens, got bool"),
        ({"reasoning": 1.5}, TypeError, "`reasoning`"),
        ({"reasoning": 3, "reasoning_budget_message": 1}, TypeError, "`reasoning_budget_message`"),
        ({"reasoning": 3, "reasoning_budget_message": "a</think>"}, ValueError, "a text without `</think>`"),
        ({"reasoning_budget": ReasoningBudget(1)}, TypeError, "`chat` has no option `reasoning_budget`"),
    ],
)
def test_wrong_budgets_are_named(coder: Model, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        coder.chat(QUESTION, chat_template=THINKING, **options)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"max_tokens": -1}, ValueError, "`max_tokens`"),
        ({"max_tokens": "1"}, TypeError, "`max_tokens`"),
        ({"max_tokens": 1, "end": ""}, ValueError, "`end` is empty"),
        ({"max_tokens": 1, "message": "a</think>"}, ValueError, "`message` contains `</think>`"),
        ({"max_tokens": 1, "inside": 1}, TypeError, "`inside`"),
    ],
)
def test_wrong_settings_are_named(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        ReasoningBudget(**options)
