"""`/v1/chat/completions`, by OpenAI's own client."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

import pytest

import near_ties
import needs
from server.conftest import client_of
from server.http import ask

if TYPE_CHECKING:
    from openai import OpenAI

    from tabagent import Server

pytestmark = pytest.mark.model

HELLO: Final[Any] = [{"role": "user", "content": "Say hello."}]
WEATHER: Final[Any] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
PARIS: Final[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]


@pytest.fixture(name="server")
def compared_server(steady_server: Server) -> Server:
    """These tests compare texts."""
    return steady_server


def test_an_answer_has_everything_that_openai_names(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="any", messages=HELLO, max_tokens=8, temperature=0)
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "smollm2"
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content
    assert choice.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 8
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 8


def test_a_stream_says_what_the_whole_answer_says(client: OpenAI, server: Server) -> None:
    whole = client.chat.completions.create(model="any", messages=HELLO, max_tokens=24, temperature=0)
    chunks = list(
        client.chat.completions.create(model="any", messages=HELLO, max_tokens=24, temperature=0, stream=True, stream_options={"include_usage": True})
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == whole.choices[0].finish_reason
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    reply = ask(server, "POST", "/chat/completions", {"messages": HELLO, "max_tokens": 2, "stream": True})
    assert reply.headers["content-type"] == "text/event-stream"
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert not any("usage" in event for event in reply.events())


def test_the_answer_is_what_the_model_gives_in_process(client: OpenAI, server: Server) -> None:
    here = server.model.chat(HELLO, max_tokens=24, sampling=needs_greedy()).result()
    there = client.chat.completions.create(model="any", messages=HELLO, max_tokens=24, temperature=0)
    assert there.choices[0].message.content == here.content


def needs_greedy() -> Any:
    from tabagent import SamplerConfig

    return SamplerConfig.greedy()


def test_several_choices_differ_and_their_seed_repeats_them(client: OpenAI) -> None:
    def ask_three() -> list[str | None]:
        answer = client.chat.completions.create(model="any", messages=HELLO, max_tokens=12, n=3, seed=7, temperature=1.5)
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        return [choice.message.content for choice in answer.choices]

    first = ask_three()
    assert len(set(first)) > 1
    assert ask_three() == first
    stream = client.chat.completions.create(model="any", messages=HELLO, max_tokens=12, n=3, seed=7, temperature=1.5, stream=True)
    texts = ["", "", ""]
    for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == first


def test_stop_strings_end_the_answer_and_are_not_in_it(client: OpenAI) -> None:
    whole = client.chat.completions.create(model="any", messages=HELLO, max_tokens=24, temperature=0).choices[0].message.content
    assert whole is not None
    stop = whole[6:9]
    cut = client.chat.completions.create(model="any", messages=HELLO, max_tokens=24, temperature=0, stop=[stop]).choices[0]
    assert cut.message.content == whole[: whole.index(stop)]
    assert cut.finish_reason == "stop"


def test_probabilities_of_tokens(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="any", messages=HELLO, max_tokens=4, temperature=0, logprobs=True, top_logprobs=3)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content) == 4
    for token in logprobs.content:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token
    assert "".join(token.token for token in logprobs.content) == answer.choices[0].message.content
    stream = client.chat.completions.create(model="any", messages=HELLO, max_tokens=4, temperature=0, logprobs=True, stream=True)
    streamed = [token for chunk in stream for token in ((chunk.choices[0].logprobs and chunk.choices[0].logprobs.content) or [])]
    assert [token.token for token in streamed] == [token.token for token in logprobs.content]
    assert all(token.top_logprobs == [] for token in streamed)


def test_logit_bias_bans_and_forces(client: OpenAI, server: Server) -> None:
    (token,) = server.model.tokenize("!")
    forced = client.chat.completions.create(model="any", messages=HELLO, max_tokens=3, logit_bias={str(token): 100})
    assert forced.choices[0].message.content == "!!!"
    other = ask(server, "POST", "/v1/chat/completions", {"messages": HELLO, "max_tokens": 3, "logit_bias": [["!", 100]]})
    assert other.json()["choices"][0]["message"]["content"] == "!!!"


def test_structured_output_fits_its_schema(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model="any",
        messages=[{"role": "user", "content": "Invent a person."}],
        max_tokens=120,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}},
    )
    made = json.loads(answer.choices[0].message.content or "")
    assert set(made) == {"name", "age"}
    assert answer.choices[0].finish_reason == "stop"
    answer = client.chat.completions.create(
        model="any", messages=HELLO, max_tokens=200, seed=1, response_format={"type": "json_object"}, logit_bias={}
    )
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_a_demanded_tool_is_called(qwen: OpenAI) -> None:
    choices: tuple[Any, ...] = ("required", {"type": "function", "function": {"name": "get_weather"}})
    for choice in choices:
        answer = qwen.chat.completions.create(
            model="any",
            messages=PARIS,
            tools=WEATHER,
            tool_choice=choice,
            max_tokens=100,
            temperature=0,
        )
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "get_weather"
        assert "city" in json.loads(call.function.arguments)
        assert answer.choices[0].finish_reason == "tool_calls"
        assert call.id


def test_a_streamed_call_is_the_whole_one(qwen: OpenAI) -> None:
    options: dict[str, Any] = {"model": "any", "messages": PARIS, "tools": WEATHER, "tool_choice": "required", "max_tokens": 100, "temperature": 0}
    whole = qwen.chat.completions.create(**options).choices[0].message.tool_calls
    assert whole
    name, arguments, ids = "", "", set()
    for chunk in qwen.chat.completions.create(**options, stream=True):
        for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            assert call.index == 0
            if call.id:
                ids.add(call.id)
            assert call.function is not None
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert (name, arguments) == (whole[0].function.name, whole[0].function.arguments)
    assert len(ids) == 1


def test_the_result_of_a_call_is_answered(qwen: OpenAI) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
    messages: Any = [
        *PARIS,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"weather": "sunny", "celsius": 21}'},
    ]
    answer = qwen.chat.completions.create(model="any", messages=messages, tools=WEATHER, max_tokens=60, temperature=0)
    assert answer.choices[0].message.content
    assert "21" in answer.choices[0].message.content or "sunny" in answer.choices[0].message.content


def test_tools_that_may_not_be_called_are_not(qwen: OpenAI) -> None:
    answer = qwen.chat.completions.create(model="any", messages=PARIS, tools=WEATHER, tool_choice="none", max_tokens=30, temperature=0)
    assert not answer.choices[0].message.tool_calls
    assert answer.choices[0].message.content


def test_the_last_message_of_the_assistant_is_continued(client: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Count from one to five."}, {"role": "assistant", "content": "One, two,"}]
    answer = client.chat.completions.create(model="any", messages=messages, max_tokens=6, temperature=0)
    assert "three" in (answer.choices[0].message.content or "").lower()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"messages": "hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [0]}, "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages[0]"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": -5}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"tools": [{"type": "web_search"}]}, "tools[0]"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0]"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias"),
        ({"functions": []}, "functions"),
        ({"stop": [1]}, "stop[0]"),
        ({"samplers": ["magic"]}, "samplers"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_a_wrong_field_is_named(server: Server, change: dict[str, Any], field: str) -> None:
    reply = ask(server, "POST", "/v1/chat/completions", {"messages": HELLO, "max_tokens": 1, **change})
    assert reply.status == 400, reply.body
    error = reply.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == field, error
    assert "`" + re.split(r"[.\[]", field)[0] in error["message"]


def test_errors_are_the_clients_own(client: OpenAI, server: Server) -> None:
    openai = needs.package("openai")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="any", messages=[{"role": "user", "content": "word " * 3000}], max_tokens=1)
    body = caught.value.body
    assert body["type"] == "exceed_context_size_error"
    assert body["n_ctx"] == 2048 < body["n_prompt_tokens"]
    with pytest.raises(openai.BadRequestError, match="schema"):
        client.chat.completions.create(
            model="any", messages=HELLO, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "thing"}}}
        )
    with pytest.raises(openai.NotFoundError, match="no model `other`"):
        client.models.retrieve("other")
    assert ask(server, "GET", "/v1/nothing").json()["error"]["type"] == "not_found_error"
    reply = ask(server, "GET", "/v1/chat/completions")
    assert (reply.status, reply.json()["error"]["type"]) == (405, "invalid_request_error")


def test_models_are_listed(client: OpenAI, server: Server) -> None:
    (model,) = client.models.list().data
    assert model.id == "smollm2"
    assert client.models.retrieve("smollm2").id == "smollm2"
    entry = ask(server, "GET", "/models").json()["data"][0]
    assert entry["meta"]["n_ctx"] == 2048


def test_eight_at_once_are_answered_as_one_by_one(batching_server: Server) -> None:
    model = batching_server.model
    prompts = [f"Say the number {number}." for number in range(8)]
    together = threading.Barrier(8)

    def answer(prompt: str) -> str:
        together.wait()
        with client_of(batching_server) as client:
            asked: Any = [{"role": "user", "content": prompt}]
            made = client.chat.completions.create(model="any", messages=asked, max_tokens=16, temperature=0, extra_body={"ignore_eos": True})
        return made.choices[0].message.content or ""

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(answer, prompts))
    for prompt, text in zip(prompts, answers, strict=True):
        alone = model.chat([{"role": "user", "content": prompt}], max_tokens=16, sampling=needs_greedy(), ignore_eos=True).result()
        tokens = model.apply_chat_template([{"role": "user", "content": prompt}], tokenize=True)
        got, want = (model.tokenize(part, add_special=False) for part in (text, alone.content))
        near_ties.assert_alike(model, tokens, got, want)
    assert model.stats.active == 0
