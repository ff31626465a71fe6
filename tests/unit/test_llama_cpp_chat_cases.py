"""The cases of llama.cpp's own tests of its parsers, read from the pinned tree: what is read otherwise here, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pytest

import needs
from support.llama_cpp_cases import Case, cases
from tabagent import ChatMessage, ChatTemplate, ChatTemplateError

SPACE = "white space around reasoning and content says nothing: templates write it and models do not keep to it"
SPLIT = "reasoning always comes apart; there is no format in which it stays in the content"
FENCE = "a text that was asked for by schema is constrained and cannot be in a fence or have a line break after it"
PROMPT = "what the prompt wrote of the reasoning is the prompt's"
DROPPED = "the template drops the reasoning of messages, so one cannot be continued in its reasoning; llama.cpp writes it behind the prompt by itself"
WHOLE = "a list of calls as Python writes them is given when it is whole: until then it may turn out to be text"
KEPT = "nothing is lost: what is no call of a tool stays content"

DIFFERENCES: dict[str, str] = {
    "Qwen3.5-4B.jinja:2377": "the model begins its reasoning once more after the prompt has; the marker is no thought",
    "Qwen3.5-4B.jinja:2426": SPACE,
    "Qwen3.5-4B.jinja:2447": SPACE,
    "Qwen3.5-4B.jinja:2469": SPACE,
    "Qwen3.5-4B.jinja:2156": SPLIT,
    "Qwen3.5-4B.jinja:2553": SPACE,
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16.jinja:2704": SPLIT,
    "google-gemma-4-31B-it.jinja:3011": SPLIT,
    "openai-gpt-oss-120b.jinja:6442": SPLIT,
    "muse-glimmer.jinja:6391": "what is written as a call is one, also in a part that is for the user; llama.cpp drops it",
    "muse-glimmer.jinja:6414": KEPT,
    "Qwen3-Coder.jinja:3581": SPACE,
    "deepseek-ai-DeepSeek-V3.1.jinja:3983": SPACE,
    "inclusionai-ling-3.0-flash.jinja:4666": SPACE,
    "inclusionai-ling-3.0-flash.jinja:4674": SPACE,
    "inclusionai-ling-3.0-flash.jinja:4683": SPACE,
    "inclusionai-ling-3.0-flash.jinja:4703": SPACE,
    "inclusionai-ling-3.0-flash.jinja:4716": SPLIT,
    "mistralai-Ministral-3-14B-Reasoning-2512.jinja:2606": SPLIT,
    "CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja:2831": SPLIT,
    "Cohere2MoE.jinja:2883": SPLIT,
    "mistralai-Ministral-3-14B-Reasoning-2512.jinja:2648": FENCE,
    "meta-llama-Llama-3.1-8B-Instruct.jinja:6302": FENCE,
    "meta-llama-Llama-3.1-8B-Instruct.jinja:6309": FENCE,
    "google-gemma-4-31B-it.jinja:3173": KEPT,
    "openai-gpt-oss-120b.jinja:6547": KEPT,
    "openai-gpt-oss-120b.jinja:6556": KEPT,
    "openai-gpt-oss-120b.jinja:6567": KEPT,
    "openai-gpt-oss-120b.jinja:6575": KEPT,
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja:6107": KEPT,
    "MiniMax-M3.jinja:5793": "elements in an argument that may be a text or an object are an object",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja:6066": "the prompt has ended the reasoning, so the text begins after it",
    "LFM2-8B-A1B.jinja:2116": WHOLE,
    "LFM2.5-Instruct.jinja:2116": WHOLE,
    "LFM2.5-8B-A1B.jinja:2116": WHOLE,
    "Reka-Edge.jinja:6159": "the name of an argument is given when it is complete",
    "Apriel-1.6-15b-Thinker-fixed.jinja:6211": PROMPT,
    "Apriel-1.6-15b-Thinker-fixed.jinja:6219": PROMPT,
}
"""Where ours differs, by template and line of the case."""

REFUSED: dict[str, str] = {
    "mistralai-Ministral-3-14B-Reasoning-2512.jinja:2684": "the template wants content beside the reasoning",
    "google-gemma-4-31B-it.jinja:3190": DROPPED,
    "Qwen-QwQ-32B.jinja:3318": DROPPED,
    "ibm-granite-granite-3.3-2B-Instruct.jinja:3393": DROPPED,
    "deepseek-ai-DeepSeek-V3.1.jinja:3940": DROPPED,
    "Kimi-K2-Thinking.jinja:5168": DROPPED,
    "Kimi-K2-Instruct.jinja:5216": DROPPED,
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja:6011": DROPPED,
    "llama-cpp-deepseek-r1.jinja:6049": DROPPED,
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja:6090": DROPPED,
}
"""Messages that cannot be continued by what their templates write."""

UNRENDERED = {"fireworks-ai-llama-3-firefunction-v2.jinja", "CohereForAI-c4ai-command-r-plus-tool_use.jinja"}
"""Templates whose prompt needs more than a message and tools: variables of their own, or tools in any case."""


@lru_cache
def template(name: str) -> ChatTemplate:
    text = (needs.tree() / "models/templates" / name).read_text(encoding="utf-8")
    return ChatTemplate(text, bos_token="<BOS>", eos_token="<EOS>")  # noqa: S106 (no password)


def prompt_of(case: Case) -> str | None:
    if case.template in UNRENDERED:
        return None
    begins: dict[str, Any] = {"add_generation_prompt": False, "continue_final_message": case.continued} if case.continued else {}
    return template(case.template).render(case.messages, tools=case.tools, **begins, **case.variables)


def prompted(case: Case) -> dict[str, Any]:
    return {"prompt": prompt_of(case), "continue_final_message": case.continued or False}


def read(case: Case) -> ChatMessage:
    return template(case.template).parse(case.text, tools=case.tools, partial=case.partial, **prompted(case))


def plain(arguments: str) -> Any:
    try:
        return json.loads(arguments or "{}")
    except ValueError:
        return arguments


def agrees(case: Case, message: ChatMessage) -> bool:
    calls = [(call.name, plain(call.arguments_json)) for call in message.tool_calls]
    expected = [(name, plain(arguments)) for name, arguments, _ in case.calls]
    # What the message began with is the caller's; llama.cpp gives it back with the rest.
    given: dict[str, Any] = case.messages[-1] if case.continued else {}
    content, reasoning = given.get("content", "") + message.content, given.get("reasoning_content", "") + (message.reasoning or "")
    if not case.reasoning:
        # llama.cpp leaves out what the message began with where the template has no reasoning.
        reasoning = message.reasoning or ""
    return (content, reasoning, calls) == (case.content, case.reasoning, expected)


def comparable() -> Iterator[Case]:
    return (case for case in cases(needs.tree()) if case.name not in REFUSED)


def test_cases_are_read_as_llama_cpp_reads_them_but_for_the_differences() -> None:
    found = list(comparable())
    assert len(found) > 390
    wrong = {case.name: read(case) for case in found if not agrees(case, read(case))}
    unknown = {name: message for name, message in wrong.items() if name not in DIFFERENCES}
    assert unknown == {}
    assert DIFFERENCES.keys() - wrong.keys() == set()


def test_beginnings_of_cases_are_beginnings_of_their_messages() -> None:
    for case in comparable():
        whole = read(case)
        if whole.warnings:
            continue
        step = max(1, len(case.text) // 12)
        prompt = prompted(case)
        for end in range(0, len(case.text), step):
            part = template(case.template).parse(case.text[:end], tools=case.tools, partial=True, **prompt)
            assert whole.content.startswith(part.content), case.name
            assert (whole.reasoning or "").startswith(part.reasoning or ""), case.name
            for call, other in zip(part.tool_calls, whole.tool_calls, strict=False):
                assert call.name == other.name, case.name
                assert other.arguments_json.startswith(call.arguments_json), case.name


def test_messages_that_cannot_be_continued_are_refused() -> None:
    refused = [case for case in cases(needs.tree()) if case.name in REFUSED]
    assert len(refused) == len(REFUSED)
    for case in refused:
        with pytest.raises(ChatTemplateError, match=r"cannot continue the last message|must have a string or a list of chunks"):
            prompt_of(case)


@pytest.mark.parametrize("reason", sorted({*DIFFERENCES.values(), *REFUSED.values()}))
def test_each_difference_has_a_reason(reason: str) -> None:
    assert len(reason.split()) > 5
