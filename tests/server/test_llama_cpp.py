"""llama-server's own routes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from server.http import ask
from tabagent import Server

if TYPE_CHECKING:
    from tabagent import Model

pytestmark = pytest.mark.model

PROMPT = "The capital of France is"


def complete(server: Server, **body: Any) -> Any:
    reply = ask(server, "POST", "/completion", {"prompt": PROMPT, "n_predict": 8, "temperature": 0, **body})
    assert reply.status == 200, reply.body
    return reply.json()


def test_a_completion_has_everything_that_llama_server_gives(server: Server) -> None:
    made = complete(server, return_tokens=True)
    assert made["content"].startswith(" Paris")
    assert server.model.detokenize(made["tokens"]) == made["content"]
    assert (made["stop"], made["stop_type"], made["tokens_predicted"], made["index"]) == (True, "limit", 8, 0)
    assert made["tokens_evaluated"] == len(server.model.tokenize(PROMPT, add_special=True))
    assert made["prompt"] == PROMPT
    assert made["model"] == "smollm2"
    assert made["generation_settings"]["n_predict"] == 8
    assert made["generation_settings"]["samplers"][0] == "penalties"
    assert made["timings"]["predicted_n"] == 8
    assert made["timings"]["predicted_per_second"] > 0
    assert complete(server)["tokens"] == []


def test_a_streamed_completion_is_the_whole_one(server: Server) -> None:
    whole = complete(server)
    reply = ask(server, "POST", "/completions", {"prompt": PROMPT, "n_predict": 8, "temperature": 0, "stream": True, "return_tokens": True})
    events = reply.events()
    assert "".join(event["content"] for event in events) == whole["content"]
    assert [event["stop"] for event in events] == [False] * (len(events) - 1) + [True]
    assert sum(len(event["tokens"]) for event in events) == 8
    assert events[-1]["stop_type"] == "limit"
    assert b"[DONE]" not in reply.body


def test_stopping_words_are_told(server: Server) -> None:
    made = complete(server, stop=["aris"])
    assert (made["content"], made["stop_type"], made["stopping_word"]) == (" P", "word", "aris")


def test_probabilities_before_and_after_sampling(server: Server) -> None:
    made = complete(server, n_probs=3)
    assert len(made["completion_probabilities"]) == 8
    first = made["completion_probabilities"][0]
    assert first["top_logprobs"][0]["id"] == first["id"]
    assert len(first["top_logprobs"]) == 3
    assert first["logprob"] <= 0
    assert bytes(first["bytes"]).decode() == first["token"]
    after = complete(server, n_probs=3, post_sampling_probs=True)["completion_probabilities"][0]
    assert after["prob"] == pytest.approx(1)
    assert after["top_probs"][0]["prob"] == pytest.approx(1)


def test_several_prompts_are_a_list(server: Server) -> None:
    made = complete(server, prompt=[PROMPT, [1, 2, 3]])
    assert [entry["index"] for entry in made] == [0, 1]
    assert made[0]["content"].startswith(" Paris")


def test_only_the_fields_that_are_wanted(server: Server) -> None:
    made = complete(server, response_fields=["content", "generation_settings/n_predict", "nothing/here"])
    assert set(made) == {"content", "generation_settings/n_predict"}


def test_a_schema_and_a_grammar_hold(server: Server) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], "additionalProperties": False}
    made = complete(server, json_schema=schema, n_predict=40)
    assert set(json.loads(made["content"])) == {"a"}
    assert complete(server, grammar='root ::= "yes" | "no"')["content"] in {"yes", "no"}
    reply = ask(server, "POST", "/completion", {"prompt": PROMPT, "grammar": "root ::= nothing"})
    assert (reply.status, reply.json()["error"]["type"]) == (400, "invalid_request_error")


def test_a_time_limit_ends_after_a_line(server: Server) -> None:
    (newline,) = server.model.tokenize("\n")
    made = complete(server, n_predict=1500, t_max_predict_ms=1, logit_bias=[[newline, 100]])
    assert (made["stop_type"], made["tokens_predicted"] < 1400) == ("limit", True)


def test_sampler_fields_have_their_effect(server: Server) -> None:
    def text(**body: Any) -> str:
        return str(complete(server, **{"temperature": 2.0, "seed": 5, **body})["content"])

    assert text() == text()
    assert text(seed=6) != text()
    assert text(top_k=1) == text(samplers=["top_k"], top_k=1) == text(samplers="k", top_k=1) == text(top_p=0) == complete(server)["content"]
    settings = complete(server, samplers="kpt", min_p=0.2, repeat_last_n=7, typical_p=0.5)["generation_settings"]
    assert settings["samplers"] == ["top_k", "top_p", "temperature"]
    assert (settings["repeat_last_n"], settings["typical_p"], round(settings["min_p"], 3)) == (7, 0.5, 0.2)


def test_tokens_and_back(server: Server) -> None:
    text = "Hello <|im_start|> wörld 🦙"
    tokens = ask(server, "POST", "/tokenize", {"content": text}).json()["tokens"]
    assert tokens == server.model.tokenize(text, parse_special=True)
    assert ask(server, "POST", "/detokenize", {"tokens": tokens}).json() == {"content": text}
    plain = ask(server, "POST", "/tokenize", {"content": text, "parse_special": False}).json()["tokens"]
    assert plain == server.model.tokenize(text)
    pieces = ask(server, "POST", "/tokenize", {"content": "🦙", "with_pieces": True}).json()["tokens"]
    raw = b"".join(bytes(piece["piece"]) if isinstance(piece["piece"], list) else piece["piece"].encode() for piece in pieces)
    assert raw == "🦙".encode()
    mixed = ask(server, "POST", "/tokenize", {"content": [1, "Hello"]}).json()["tokens"]
    assert mixed == [1, *server.model.tokenize("Hello")]
    assert ask(server, "POST", "/tokenize", {}).json() == {"tokens": []}
    assert ask(server, "POST", "/detokenize", {"tokens": [10**7]}).status == 400


def test_a_template_is_applied(server: Server) -> None:
    messages = [{"role": "user", "content": "Hello"}]
    reply = ask(server, "POST", "/apply-template", {"messages": messages})
    assert reply.json() == {"prompt": server.model.apply_chat_template(messages)}


def test_what_the_server_is(server: Server) -> None:
    props = ask(server, "GET", "/props").json()
    assert props["default_generation_settings"]["n_ctx"] == 2048
    assert props["total_slots"] == server.model.info.max_sequences
    assert props["chat_template"]
    assert "/" not in props["model_path"], "no path of the machine"
    assert ask(server, "POST", "/props", {}).status == 501
    slots = ask(server, "GET", "/slots").json()
    assert len(slots) == server.model.info.max_sequences
    assert not any(slot["is_processing"] for slot in slots)
    assert ask(server, "GET", "/slots?fail_on_no_slot=1").status == 200
    assert ask(server, "GET", "/lora-adapters").json() == []


def test_figures_for_prometheus(server: Server) -> None:
    complete(server)
    reply = ask(server, "GET", "/metrics")
    assert reply.headers["content-type"].startswith("text/plain")
    text = reply.body.decode()
    values = dict(re.findall(r"^(llamacpp:\w+) (\S+)$", text, re.MULTILINE))
    assert float(values["llamacpp:tokens_predicted_total"]) >= 8
    assert "tabagent_first_token_seconds_count" in text


def test_what_is_off_says_how_to_turn_it_on(minilm_server: Server) -> None:
    for path, flag in (("/metrics", "--metrics"), ("/slots", "--slots")):
        reply = ask(minilm_server, "GET", path)
        assert (reply.status, flag in reply.json()["error"]["message"]) == (501, True)


def test_vectors_in_llama_cpps_form(minilm_server: Server, minilm: Model) -> None:
    reply = ask(minilm_server, "POST", "/embedding", {"content": ["Hello", "Goodbye"]}).json()
    here = minilm.embed(["Hello", "Goodbye"])
    assert [entry["index"] for entry in reply] == [0, 1]
    assert np.allclose([entry["embedding"][0] for entry in reply], here, atol=1e-6)
    raw = ask(minilm_server, "POST", "/embeddings", {"content": "Hello", "embd_normalize": -1}).json()[0]["embedding"][0]
    assert np.allclose(raw, minilm.embed(["Hello"], normalize=False)[0], atol=1e-5)
    assert ask(minilm_server, "POST", "/embedding", {"content": "Hello", "embd_normalize": -2}).status == 400


@pytest.mark.parametrize("norm", [-1, 0, 1, 2, 3])
def test_vectors_have_the_length_that_is_asked_for(minilm_server: Server, minilm: Model, norm: int) -> None:
    plain = minilm.embed(["Hello"], normalize=False)[0].astype(np.float64)
    length = {-1: 1.0, 0: np.abs(plain).max() / 32760, 1: np.abs(plain).sum(), 2: np.linalg.norm(plain), 3: np.linalg.norm(plain, 3)}[norm]
    body = {"content": "Hello", "embd_normalize": norm}
    assert np.allclose(ask(minilm_server, "POST", "/embeddings", body).json()[0]["embedding"][0], plain / length, rtol=1e-4, atol=1e-6)
    openai = ask(minilm_server, "POST", "/v1/embeddings", {"input": "Hello", "embd_normalize": norm}).json()
    assert np.allclose(openai["data"][0]["embedding"], plain / length, rtol=1e-4, atol=1e-6)
    with Server(minilm, port=0, embedding_norm=norm) as server:
        assert np.allclose(ask(server, "POST", "/embedding", {"content": "Hello"}).json()[0]["embedding"][0], plain / length, rtol=1e-4, atol=1e-6)


def test_an_empty_text_has_the_vector_of_its_special_tokens(minilm_server: Server, minilm: Model) -> None:
    expected = minilm.embed([minilm.tokenize("")])[0]
    for path, body in (("/v1/embeddings", {"input": ["", "Hello"]}), ("/v1/embeddings", {"input": ""})):
        data = ask(minilm_server, "POST", path, body).json()["data"]
        assert np.allclose(data[0]["embedding"], expected, atol=1e-5)


def test_without_pooling_there_is_a_vector_for_each_token(minilm: Model) -> None:
    with Server(minilm, port=0, pooling="none") as server:
        both = ask(server, "POST", "/embeddings", {"input": ["Hello there", "Hello"], "embd_normalize": 2}).json()
        for answer, text in zip(both, ("Hello there", "Hello"), strict=True):
            assert np.allclose(answer["embedding"], minilm.embed_tokens(text, normalize=False), atol=1e-4)
        refused = ask(server, "POST", "/v1/embeddings", {"input": "Hello"})
        assert refused.status == 400
        assert "`/embeddings`" in refused.json()["error"]["message"]


def test_ranking_needs_a_model_for_it(minilm_server: Server) -> None:
    reply = ask(minilm_server, "POST", "/v1/rerank", {"query": "a", "documents": ["b"]})
    assert (reply.status, reply.json()["error"]["type"]) == (501, "not_supported_error")
    for body in ({"documents": ["b"]}, {"query": "a"}, {"query": "a", "documents": []}, {"query": 1, "documents": ["b"]}):
        assert ask(minilm_server, "POST", "/rerank", body).status == 400


def test_ignored_ends_are_shown_as_biases(server: Server) -> None:
    shown = complete(server, ignore_eos=True)["generation_settings"]["logit_bias"]
    assert {entry["token"] for entry in shown} >= {server.model.token_eos()}
    assert all(entry["bias"] is None for entry in shown)
    assert complete(server)["generation_settings"]["logit_bias"] == []


def test_adapters_that_are_not_there_are_no_silent_wish(server: Server) -> None:
    assert ask(server, "GET", "/lora-adapters").json() == []
    complete(server, lora=[])
    reply = ask(server, "POST", "/completion", {"prompt": PROMPT, "n_predict": 1, "lora": [{"id": 0, "scale": 1.0}]})
    assert reply.status == 400
    assert reply.json()["error"]["message"] == "`lora` names adapters, and this model has none; start the server with `--lora`"
