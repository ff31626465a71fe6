"""llama-server's `/infill`, budgets for thoughts, and forms of content beside tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from server.http import ask
from tabagent import Server

if TYPE_CHECKING:
    from tabagent import Model

pytestmark = pytest.mark.model

HELLO: list[Any] = [{"role": "user", "content": "Say hello to the sea."}]
PREFIX = 'def area(width, height):\n    """The area of a rectangle."""\n    '
SUFFIX = "\n\nprint(area(2, 3))  # 6\n"
THINKING = """{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
<think>
{% endif %}"""
COLOUR = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}


@pytest.fixture(scope="module")
def coding(coder: Model) -> Iterator[Server]:
    with Server(coder, port=0, name="coder") as server:
        yield server


def test_prompts_are_those_of_llama_server(coding: Server) -> None:
    body = {
        "input_prefix": "pre",
        "input_suffix": "suf",
        "prompt": "begin",
        "input_extra": [{"filename": "a.py", "text": "one"}],
        "n_predict": 2,
        "ignore_eos": True,
    }
    made = ask(coding, "POST", "/infill", body).json()
    assert made["prompt"] == (
        "<|repo_name|>myproject\n<|file_sep|>a.py\none<|file_sep|>filename\n<|fim_prefix|>prebegin<|fim_suffix|>suf<|fim_middle|>"
    )
    assert made["tokens_predicted"] == 2


def test_the_middle_is_streamed(coding: Server) -> None:
    body = {"input_prefix": PREFIX, "input_suffix": SUFFIX, "n_predict": 12, "temperature": 0, "stop": ["\n"]}
    whole = ask(coding, "POST", "/infill", body).json()
    events = ask(coding, "POST", "/infill", {**body, "stream": True}).events()
    assert "".join(event["content"] for event in events) == whole["content"]
    assert whole["content"]
    assert events[-1]["stop"] is True


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"input_suffix": "x"}, "input_prefix"),
        ({"input_prefix": "x"}, "input_suffix"),
        ({"input_prefix": "x", "input_suffix": "y", "input_extra": [{"filename": "a"}]}, "input_extra[0]"),
        ({"input_prefix": "x", "input_suffix": "y", "prompt": 1}, "prompt"),
    ],
)
def test_wrong_bodies_are_named(coding: Server, body: dict[str, Any], text: str) -> None:
    reply = ask(coding, "POST", "/infill", body)
    assert reply.status == 400
    assert text in reply.json()["error"]["message"]


def test_models_without_tokens_for_it_say_so(server: Server) -> None:
    reply = ask(server, "POST", "/infill", {"input_prefix": "x", "input_suffix": "y"})
    assert (reply.status, reply.json()["error"]["type"]) == (501, "not_supported_error")


def test_thoughts_end_with_their_budget(coder: Model) -> None:
    with Server(coder, port=0, chat_template=THINKING) as server:
        body = {"messages": HELLO, "max_tokens": 40, "temperature": 0, "ignore_eos": True}
        limits = {"reasoning_budget_tokens": 5, "reasoning_budget_message": " Enough."}
        message = ask(server, "POST", "/v1/chat/completions", {**body, **limits}).json()["choices"][0]["message"]
        assert message["reasoning_content"].endswith(" Enough.")
        thought = message["reasoning_content"].removesuffix(" Enough.")
        assert len(coder.tokenize(thought, add_special=False)) == 5
        assert message["content"]
        none = ask(server, "POST", "/v1/chat/completions", {**body, "thinking_budget_tokens": 0}).json()["choices"][0]["message"]
        assert "reasoning_content" not in none


@pytest.mark.parametrize("thinking", [True, False])
def test_every_client_is_answered_as_the_server_was_told_to_think(coder: Model, thinking: bool) -> None:  # noqa: FBT001 (a case)
    told = THINKING.replace("<think>\n{% endif %}", "{% if enable_thinking %}<think>\n{% endif %}{% endif %}")
    turn = f"<|im_start|>user\n{HELLO[0]['content']}<|im_end|>\n<|im_start|>assistant\n"
    wanted = len(coder.tokenize(turn + ("<think>\n" if thinking else ""), parse_special=True))
    with Server(coder, port=0, name="coder", chat_template=told, thinking=thinking) as server:

        def answered(path: str, **body: Any) -> Any:
            reply = ask(server, "POST", path, {"model": "coder", **body})
            assert reply.status == 200
            return reply.json()

        assert answered("/v1/messages", messages=HELLO, max_tokens=1)["usage"]["input_tokens"] == wanted
        assert answered("/v1/messages/count_tokens", messages=HELLO)["input_tokens"] == wanted
        assert answered("/v1/responses", input=HELLO, max_output_tokens=1)["usage"]["input_tokens"] == wanted
        assert answered("/api/chat", messages=HELLO, stream=False, options={"num_predict": 1})["prompt_eval_count"] == wanted
        assert answered("/v1/chat/completions", messages=HELLO, max_tokens=1)["usage"]["prompt_tokens"] == wanted


def test_forms_stand_beside_tools(coding: Server) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "c", "schema": COLOUR}}
    body = {"messages": HELLO, "max_tokens": 200, "temperature": 0, "tools": [TOOL], "response_format": form, "parallel_tool_calls": False}
    message = ask(coding, "POST", "/v1/chat/completions", {**body, "tool_choice": "required"}).json()["choices"][0]["message"]
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["weather"]
    message = ask(coding, "POST", "/v1/chat/completions", body).json()["choices"][0]["message"]
    assert message.get("tool_calls") or json.loads(message["content"])["colour"] in {"red", "blue"}
