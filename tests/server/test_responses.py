"""OpenAI's own client and its Responses against the server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import needs
from tabagent import Model, Server

pytestmark = pytest.mark.model


@pytest.fixture(scope="module", name="openai")
def openai_package() -> Any:
    return needs.package("openai")


HELLO = "Say hello to the sea."
MESSAGES: list[Any] = [{"role": "user", "content": HELLO}]
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False},
    "strict": True,
}


@pytest.fixture(scope="module")
def client(openai: Any, coder: Model) -> Iterator[Any]:
    with Server(coder, port=0, name="coder") as server, openai.OpenAI(base_url=f"{server.url}/v1", api_key="x", max_retries=0) as made:
        yield made


def test_texts_are_answered(client: Any, coder: Model) -> None:
    response = client.responses.create(model="any", input=HELLO, max_output_tokens=12, temperature=0)
    assert (response.object, response.model) == ("response", "coder")
    assert response.status in {"completed", "incomplete"}
    assert response.output_text
    assert response.usage.input_tokens == len(coder.apply_chat_template(MESSAGES, tokenize=True))
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    (item,) = response.output
    assert (item.type, item.role) == ("message", "assistant")
    listed = client.responses.create(model="any", input=MESSAGES, max_output_tokens=12, temperature=0)
    assert listed.output_text == response.output_text
    cut = client.responses.create(model="any", input="Count to one hundred.", max_output_tokens=2, temperature=0)
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_streams_say_the_same(client: Any) -> None:
    options: dict[str, Any] = {"model": "any", "input": HELLO, "max_output_tokens": 12, "temperature": 0}
    whole = client.responses.create(**options)
    events = list(client.responses.create(**options, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    names = [event.type.removeprefix("response.") for event in events]
    assert names[:4] == ["created", "in_progress", "output_item.added", "content_part.added"]
    assert names[-4:-1] == ["output_text.done", "content_part.done", "output_item.done"]
    assert names[-1] == whole.status
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert events[-1].response.output_text == whole.output_text
    with client.responses.stream(**options) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == whole.output_text


def test_responses_are_gone_on_from(openai: Any, client: Any) -> None:
    options: dict[str, Any] = {"model": "any", "max_output_tokens": 16, "temperature": 0}
    first = client.responses.create(input="My name is Ada.", **options)
    second = client.responses.create(input="What is my name?", previous_response_id=first.id, **options)
    history = [{"role": "user", "content": "My name is Ada."}, *first.output, {"role": "user", "content": "What is my name?"}]
    spelled = client.responses.create(input=history, **options)
    assert second.usage.input_tokens == spelled.usage.input_tokens
    assert second.output_text == spelled.output_text
    assert second.previous_response_id == first.id
    assert client.responses.retrieve(first.id).output_text == first.output_text
    (item,) = client.responses.input_items.list(first.id).data
    assert item.content[0].text == "My name is Ada."
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError, match="not found"):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError, match="not found") as caught:
        client.responses.create(input="x", previous_response_id=first.id, **options)
    assert caught.value.param == "previous_response_id"
    unkept = client.responses.create(input="x", store=False, **options)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unkept.id)


def test_tools_are_called_and_answered(client: Any) -> None:
    options: dict[str, Any] = {"model": "any", "tools": [WEATHER], "temperature": 0, "max_output_tokens": 200}
    asked = "What is the weather in Rome?"
    response = client.responses.create(input=asked, tool_choice="required", parallel_tool_calls=False, **options)
    (call,) = response.output
    assert (call.type, call.name, call.status) == ("function_call", "weather", "completed")
    assert set(json.loads(call.arguments)) == {"city"}
    events = list(
        client.responses.create(input=asked, tool_choice={"type": "function", "name": "weather"}, parallel_tool_calls=False, stream=True, **options)
    )
    parts = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert json.loads("".join(parts)) == json.loads(call.arguments)
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny, 30 degrees."}
    answer = client.responses.create(input=[result], previous_response_id=response.id, **{**options, "max_output_tokens": 30})
    assert answer.output


def test_forms_are_held_to(client: Any) -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}
    form = {"format": {"type": "json_schema", "name": "colour", "schema": schema, "strict": True}}
    response = client.responses.create(model="any", input=HELLO, text=form, temperature=0, max_output_tokens=100)
    assert json.loads(response.output_text)["colour"] in {"red", "blue"}
    assert response.text.format.name == "colour"


def test_instructions_come_first_and_are_not_kept(client: Any) -> None:
    options: dict[str, Any] = {"model": "any", "max_output_tokens": 4, "temperature": 0}
    plain = client.responses.create(input="Hi", instructions="x", **options)
    told = client.responses.create(input="Hi", instructions="Speak like a pirate of the seven seas.", **options)
    assert told.usage.input_tokens > plain.usage.input_tokens
    assert told.instructions == "Speak like a pirate of the seven seas."
    after = client.responses.create(input="And?", previous_response_id=told.id, instructions="x", **options)
    other = client.responses.create(input="And?", previous_response_id=plain.id, instructions="x", **options)
    assert abs(after.usage.input_tokens - other.usage.input_tokens) <= 4


def test_tokens_are_counted(client: Any, coder: Model) -> None:
    counted = client.responses.input_tokens.count(model="any", input=HELLO)
    assert counted.input_tokens == len(coder.apply_chat_template(MESSAGES, tokenize=True))


def test_probabilities_come_with_texts(client: Any) -> None:
    response = client.responses.create(
        model="any", input=HELLO, max_output_tokens=4, temperature=0, include=["message.output_text.logprobs"], top_logprobs=2
    )
    probabilities = response.output[0].content[0].logprobs
    assert len(probabilities) == 4
    assert all(len(entry.top_logprobs) == 2 for entry in probabilities)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"input": []}, "`input` must not be empty"),
        ({"input": [{"type": "computer_call_output"}]}, "no items of the type"),
        ({"tools": [{"type": "web_search"}]}, "functions only"),
        ({"tool_choice": "required"}, "give `tools`"),
        ({"background": True}, "`background` is not supported"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "`text.format.schema` is missing"),
        ({"input": "word " * 3000}, "exceeds the available context size"),
    ],
)
def test_wrong_requests_are_named(openai: Any, client: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(openai.BadRequestError, match=text):
        client.responses.create(**{"model": "any", "input": HELLO, "max_output_tokens": 2, **options})
