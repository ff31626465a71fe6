"""`/v1/completions` and `/v1/embeddings`, by OpenAI's own client."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from server.http import ask

if TYPE_CHECKING:
    from openai import OpenAI

    from tabagent import Model, Server

pytestmark = pytest.mark.model

PROMPT = "The capital of France is"


@pytest.fixture(name="server")
def compared_server(steady_server: Server) -> Server:
    """These tests compare texts."""
    return steady_server


def test_a_text_is_continued_as_in_process(client: OpenAI, server: Server) -> None:
    from tabagent import SamplerConfig

    here = server.model.generate(PROMPT, max_tokens=12, sampling=SamplerConfig.greedy()).result()
    there = client.completions.create(model="any", prompt=PROMPT, max_tokens=12, temperature=0)
    (choice,) = there.choices
    assert choice.text == here.text
    assert there.object == "text_completion"
    assert there.usage is not None
    assert (there.usage.prompt_tokens, there.usage.completion_tokens) == (here.usage.prompt_tokens, 12)
    stream = client.completions.create(model="any", prompt=PROMPT, max_tokens=12, temperature=0, stream=True)
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == here.text
    assert chunks[-1].choices[0].finish_reason == "length"


def test_prompts_come_as_texts_and_as_tokens_and_several_at_once(client: OpenAI, server: Server) -> None:
    tokens = server.model.tokenize(PROMPT, add_special=True)
    alone = client.completions.create(model="any", prompt=PROMPT, max_tokens=6, temperature=0).choices[0].text
    forms: list[Any] = [tokens, [PROMPT], [tokens], [PROMPT, PROMPT], [tokens, tokens]]
    for prompt in forms:
        made = client.completions.create(model="any", prompt=prompt, max_tokens=6, temperature=0)
        assert [choice.text for choice in made.choices] == [alone] * len(made.choices)
        assert [choice.index for choice in made.choices] == list(range(len(made.choices)))
    made = client.completions.create(model="any", prompt=[PROMPT, "One, two, three,"], max_tokens=6, n=2, seed=1, temperature=1.0)
    assert len(made.choices) == 4
    assert made.usage is not None
    assert made.usage.prompt_tokens == len(tokens) + len(server.model.tokenize("One, two, three,", add_special=True))


def test_echo_with_logprobs_scores_the_prompt(steady_server: Server) -> None:
    body = {"prompt": PROMPT, "max_tokens": 3, "temperature": 0, "echo": True, "logprobs": 1}
    choice = ask(steady_server, "POST", "/v1/completions", body).json()["choices"][0]
    given = choice["logprobs"]
    model = steady_server.model
    tokens = model.tokenize(PROMPT)
    scored = model.score(tokens[:1], [tokens[1:]])[0].logprobs
    assert given["token_logprobs"][0] is None
    assert given["top_logprobs"][0] is None
    assert given["token_logprobs"][1 : len(tokens)] == pytest.approx(scored, abs=1e-3)
    assert len(given["tokens"]) == len(tokens) + 3
    assert "".join(given["tokens"]) == choice["text"]
    assert all(choice["text"][at:].startswith(token) for at, token in zip(given["text_offset"], given["tokens"], strict=True))
    alone = ask(steady_server, "POST", "/v1/completions", {**body, "max_tokens": 0}).json()["choices"][0]
    assert alone["logprobs"]["token_logprobs"][1:] == pytest.approx(scored, abs=1e-3)
    pieces = [event["choices"][0] for event in ask(steady_server, "POST", "/v1/completions", {**body, "stream": True}).events()]
    streamed = [value for piece in pieces if piece["logprobs"] for value in piece["logprobs"]["token_logprobs"]]
    assert streamed[1:] == pytest.approx(given["token_logprobs"][1:], abs=1e-3)


def test_echo_begins_with_the_prompt(client: OpenAI) -> None:
    plain = client.completions.create(model="any", prompt=PROMPT, max_tokens=4, temperature=0).choices[0].text
    assert client.completions.create(model="any", prompt=PROMPT, max_tokens=4, temperature=0, echo=True).choices[0].text == PROMPT + plain
    stream = client.completions.create(model="any", prompt=PROMPT, max_tokens=4, temperature=0, echo=True, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == PROMPT + plain


def test_a_middle_is_filled_in(qwen: OpenAI) -> None:
    made = qwen.completions.create(model="any", prompt="def add(a, b):\n    return ", suffix="\n\nprint(add(1, 2))\n", max_tokens=8, temperature=0)
    assert made.choices[0].text.strip().startswith("a + b")


def test_a_model_without_tokens_for_middles_refuses_a_suffix(server: Server) -> None:
    reply = ask(server, "POST", "/v1/completions", {"prompt": "a", "suffix": "b"})
    assert (reply.status, reply.json()["error"]["type"]) in {(400, "invalid_request_error"), (501, "not_supported_error")}, reply.body
    reply = ask(server, "POST", "/v1/completions", {"prompt": [1], "suffix": "b"})
    assert (reply.status, reply.json()["error"]["param"]) == (400, "suffix")


def test_the_best_of_several_is_the_most_probable(client: OpenAI, server: Server) -> None:
    options: dict[str, Any] = {"model": "any", "prompt": PROMPT, "max_tokens": 6, "seed": 3, "temperature": 1.5}
    every = client.completions.create(**options, n=4, logprobs=0)

    def mean(choice: Any) -> float:
        return float(np.mean(choice.logprobs.token_logprobs))

    best = max(every.choices, key=mean)
    (chosen,) = client.completions.create(**options, best_of=4).choices
    assert chosen.text == best.text
    assert chosen.logprobs is None
    reply = ask(server, "POST", "/v1/completions", {**options, "n": 2, "best_of": 1})
    assert (reply.status, reply.json()["error"]["param"]) == (400, "best_of")


def test_probabilities_come_in_openais_form(client: OpenAI) -> None:
    choice = client.completions.create(model="any", prompt=PROMPT, max_tokens=5, temperature=0, logprobs=2).choices[0]
    logprobs = choice.logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.top_logprobs is not None
    assert "".join(logprobs.tokens) == choice.text
    assert logprobs.text_offset == [sum(map(len, logprobs.tokens[:at])) for at in range(5)]
    assert all(len(top) == 2 for top in logprobs.top_logprobs)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": {"a": 1}}, "prompt"),
        ({"prompt": [[1.5]]}, "prompt[0][0]"),
        ({"prompt": "a", "best_of": 2, "stream": True}, "best_of"),
        ({"prompt": "a", "logprobs": "x"}, "logprobs"),
        ({"prompt": "a", "json_schema": {}, "grammar": 'root ::= "a"'}, "grammar"),
    ],
)
def test_a_wrong_field_is_named(server: Server, body: dict[str, Any], field: str) -> None:
    reply = ask(server, "POST", "/v1/completions", body)
    assert (reply.status, reply.json()["error"]["param"]) == (400, field), reply.body


def test_tokens_that_do_not_exist_are_refused(server: Server) -> None:
    for prompt in ([10**9], [-1], [2**31]):
        reply = ask(server, "POST", "/v1/completions", {"prompt": prompt, "max_tokens": 1})
        assert reply.status == 400, reply.body


def test_vectors_are_those_of_the_model(embedder: OpenAI, minilm: Model, minilm_server: Server) -> None:
    texts = ["How many people live in Berlin?", "A cat sits on the mat."]
    here = minilm.embed(texts)
    there = embedder.embeddings.create(model="any", input=texts)  # the client asks for base64
    assert np.allclose([entry.embedding for entry in there.data], here, atol=1e-6)
    plain = embedder.embeddings.create(model="any", input=texts[0], encoding_format="float")
    assert np.allclose(plain.data[0].embedding, here[0], atol=1e-6)
    reply = ask(minilm_server, "POST", "/v1/embeddings", {"input": texts, "encoding_format": "base64"})
    raw = [np.frombuffer(base64.b64decode(entry["embedding"]), dtype="<f4") for entry in reply.json()["data"]]
    assert np.allclose(raw, here, atol=1e-6)
    tokens = [minilm.tokenize(text, add_special=True) for text in texts]
    assert np.allclose([entry.embedding for entry in embedder.embeddings.create(model="any", input=tokens).data], here, atol=1e-6)
    assert there.usage.prompt_tokens == sum(map(len, tokens))
    short = embedder.embeddings.create(model="any", input=texts[0], dimensions=64)
    assert len(short.data[0].embedding) == 64


@pytest.mark.parametrize("body", [{}, {"input": []}, {"input": "a", "encoding_format": "hex"}, {"input": "a", "dimensions": 100000}])
def test_a_wrong_request_for_vectors_is_refused(minilm_server: Server, body: dict[str, Any]) -> None:
    reply = ask(minilm_server, "POST", "/v1/embeddings", body)
    assert (reply.status, reply.json()["error"]["type"]) == (400, "invalid_request_error"), reply.body


def test_a_model_that_only_embeds_says_so(minilm_server: Server) -> None:
    reply = ask(minilm_server, "POST", "/v1/completions", {"prompt": "a"})
    assert (reply.status, reply.json()["error"]["type"]) == (501, "not_supported_error"), reply.body
    assert json.loads(reply.body)["error"]["message"]
