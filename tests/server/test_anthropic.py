"""Anthropic's own client against the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import needs
from tabagent import Model, Server

pytestmark = pytest.mark.model


@pytest.fixture(scope="module", name="anthropic")
def anthropic_package() -> Any:
    return needs.package("anthropic")


HELLO: list[Any] = [{"role": "user", "content": "Say hello to the sea."}]
WEATHER: dict[str, Any] = {
    "name": "weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
}
THINKING = """{% for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>
{{ message.reasoning_content }}
</think>

{% endif %}{{ message.content }}{% for call in message.tool_calls or [] %}{% set call = call.function or call %}<tool_call>
{"name": "{{ call.name }}", "arguments": {{ call.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if enable_thinking is not defined or enable_thinking %}<think>
{% endif %}{% endif %}"""


@pytest.fixture(scope="module")
def client(anthropic: Any, coder: Model) -> Iterator[Any]:
    with Server(coder, port=0, name="coder") as server, anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def thinker(anthropic: Any, coder: Model) -> Iterator[Any]:
    with (
        Server(coder, port=0, name="coder", chat_template=THINKING) as server,
        anthropic.Anthropic(base_url=server.url, api_key="x", max_retries=0) as made,
    ):
        yield made


def test_messages_are_answered(client: Any) -> None:
    message = client.messages.create(model="any", max_tokens=12, extra_body={"temperature": 0}, system="Be brief.", messages=HELLO)
    assert (message.type, message.role, message.model) == ("message", "assistant", "coder")
    assert message.id.startswith("msg_")
    (block,) = message.content
    assert block.type == "text"
    assert block.text
    assert message.stop_reason in {"end_turn", "max_tokens"}
    assert message.usage.output_tokens <= 12
    again = client.messages.create(model="any", max_tokens=12, extra_body={"temperature": 0}, system="Be brief.", messages=HELLO)
    assert again.content[0].text == block.text


def test_what_was_decoded_before_is_counted_apart(batching_server: Server) -> None:
    anthropic = needs.package("anthropic")
    with anthropic.Anthropic(base_url=batching_server.url, api_key="x", max_retries=0) as client:
        usages = [client.messages.create(model="any", max_tokens=4, system="Be brief.", messages=HELLO).usage for _ in range(2)]
    assert usages[1].cache_read_input_tokens > 0
    assert len({usage.input_tokens + usage.cache_read_input_tokens for usage in usages}) == 1


def test_streams_say_the_same(client: Any) -> None:
    options: dict[str, Any] = {"model": "any", "max_tokens": 12, "extra_body": {"temperature": 0}, "messages": HELLO}
    whole = client.messages.create(**options)
    names = [event.type for event in client.messages.create(**options, stream=True)]
    assert names[:1] == ["message_start"]
    assert names[1] == "content_block_start"
    assert names[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert set(names[2:-3]) == {"content_block_delta"}
    with client.messages.stream(**options) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text == final.content[0].text
    assert (final.stop_reason, final.usage.output_tokens) == (whole.stop_reason, whole.usage.output_tokens)


def test_stop_sequences_and_lengths_are_told(client: Any) -> None:
    count = [{"role": "user", "content": "Count from one to nine: 1, 2, 3"}]
    message = client.messages.create(model="any", max_tokens=2, extra_body={"temperature": 0}, messages=count)
    assert message.stop_reason == "max_tokens"
    prefilled = [*count, {"role": "assistant", "content": "1, 2, 3,"}]
    message = client.messages.create(model="any", max_tokens=30, extra_body={"temperature": 0}, messages=prefilled, stop_sequences=["6"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "6")
    assert "6" not in message.content[0].text
    assert "5" in message.content[0].text


@pytest.mark.parametrize(
    "choice", [{"type": "any", "disable_parallel_tool_use": True}, {"type": "tool", "name": "weather", "disable_parallel_tool_use": True}]
)
def test_tools_are_called_and_answered(client: Any, choice: dict[str, Any]) -> None:
    messages: list[Any] = [{"role": "user", "content": "What is the weather in Rome?"}]
    options: dict[str, Any] = {"model": "any", "max_tokens": 200, "extra_body": {"temperature": 0}, "tools": [WEATHER]}
    message = client.messages.create(messages=messages, tool_choice=choice, **options)
    (call,) = message.content
    assert (message.stop_reason, call.type, call.name) == ("tool_use", "tool_use", "weather")
    assert set(call.input) == {"city"}
    with client.messages.stream(messages=messages, tool_choice=choice, **options) as stream:
        parts = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    assert json.loads("".join(parts)) == call.input == final.content[0].input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "Sunny, 30 degrees."}]}
    messages += [{"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    answer = client.messages.create(messages=messages, **{**options, "max_tokens": 30})
    assert answer.content


def test_thoughts_have_blocks_of_their_own(thinker: Any) -> None:
    options: dict[str, Any] = {"model": "any", "max_tokens": 60, "extra_body": {"temperature": 0}, "messages": HELLO}
    thinking = {"type": "enabled", "budget_tokens": 8}
    message = thinker.messages.create(thinking=thinking, **options)
    assert message.content[0].type == "thinking"
    assert message.content[0].thinking
    assert message.content[0].signature
    events = list(thinker.messages.create(thinking=thinking, stream=True, **options))
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    assert "".join(delta.thinking for delta in deltas if delta.type == "thinking_delta") == message.content[0].thinking
    assert sum(delta.type == "signature_delta" for delta in deltas) == 1
    hidden = thinker.messages.create(thinking={**thinking, "display": "omitted"}, **options)
    assert hidden.content[0].thinking == ""
    without = thinker.messages.create(thinking={"type": "disabled"}, **options)
    assert [block.type for block in without.content] == ["text"]


def test_forms_are_held_to(client: Any) -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}
    form = {"format": {"type": "json_schema", "schema": schema}}
    message = client.messages.create(model="any", max_tokens=100, extra_body={"temperature": 0}, messages=HELLO, output_config=form)
    assert json.loads(message.content[0].text)["colour"] in {"red", "blue"}


def test_tokens_are_counted(client: Any, coder: Model) -> None:
    counted = client.messages.count_tokens(model="any", messages=HELLO)
    assert counted.input_tokens == len(coder.apply_chat_template(HELLO, tokenize=True))
    more = client.messages.count_tokens(
        model="any", messages=HELLO, system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}], tools=[WEATHER]
    )
    assert more.input_tokens > counted.input_tokens


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "robot", "content": "x"}]}, r"messages.0.role"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "x"}}]}]}, "reads texts only"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "run on Anthropic's servers"),
        ({"tool_choice": {"type": "any"}}, "give `tools`"),
        ({"thinking": {"type": "enabled"}}, "budget_tokens: Field required"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"messages": [{"role": "user", "content": "word " * 3000}]}, "prompt is too long"),
    ],
)
def test_wrong_requests_are_named(anthropic: Any, client: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(anthropic.BadRequestError, match=text) as caught:
        client.messages.create(**{"model": "any", "max_tokens": 4, "messages": HELLO, **options})
    assert caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] == "invalid_request_error"


def test_what_must_be_there_is_asked_for(anthropic: Any, client: Any) -> None:
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: Field required"):
        client.post("/v1/messages", body={"model": "x", "messages": HELLO}, cast_to=object)
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.post("/v1/messages/nothing", body={}, cast_to=object)
    assert caught.value.body["error"]["type"] == "not_found_error"


def test_keys_are_asked_for(anthropic: Any, coder: Model) -> None:
    with Server(coder, port=0, api_keys=["secret"]) as server:
        with (
            anthropic.Anthropic(base_url=server.url, api_key="wrong", max_retries=0) as wrong,
            pytest.raises(anthropic.AuthenticationError) as caught,
        ):
            wrong.messages.create(model="any", max_tokens=1, messages=HELLO)
        assert caught.value.body["error"]["type"] == "authentication_error"
        with anthropic.Anthropic(base_url=server.url, api_key="secret", max_retries=0) as right:
            assert right.messages.create(model="any", max_tokens=1, messages=HELLO).usage.output_tokens == 1
