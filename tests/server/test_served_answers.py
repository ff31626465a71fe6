"""What a server was told to give requests that do not say otherwise."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from near_ties import assert_alike
from server.http import ask
from support.tiny_control_vectors import tiny_control_vector
from tabagent import Model, SamplerConfig, Server, SpeculativeConfig

pytestmark = pytest.mark.model

PROMPT: Final = "Once upon a time"
THINKER: Final = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if mood is defined %}({{ mood }}){% endif %}{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    "{# <think> </think> #}"
)
"""A template after which the model thinks."""


@pytest.fixture(scope="module")
def model(smollm2_path: Path) -> Iterator[Model]:
    with Model.load(smollm2_path, context_size=512, max_sequences=2, threads=1, deterministic=True) as model:
        yield model


@contextmanager
def serving(model: Any, **options: Any) -> Iterator[Server]:
    with Server(model, port=0, **options) as server:
        yield server


def complete(server: Server, **more: Any) -> Any:
    reply = ask(server, "POST", "/completion", {"prompt": PROMPT, "n_predict": 24, "temperature": 0, **more})
    assert reply.status == 200, reply.body
    return reply.json()


def chat(server: Server, **more: Any) -> Any:
    body = {"messages": [{"role": "user", "content": "Count to ten."}], "max_tokens": 24, "temperature": 0, **more}
    reply = ask(server, "POST", "/v1/chat/completions", body)
    assert reply.status == 200, reply.body
    return reply.json()


def test_texts_end_where_the_server_was_told(model: Model) -> None:
    with serving(model) as plain, serving(model, stop=[","], ignore_eos=True) as told:
        whole = complete(plain)["content"]
        assert "," in whole
        answer = complete(told)
        assert (answer["content"], answer["stopping_word"]) == (whole.split(",")[0], ",")
        assert answer["generation_settings"]["ignore_eos"] is True
        # A request that says otherwise has its own.
        assert complete(told, stop=["\0"])["content"] == whole


def test_a_mapping_has_its_own_for_each_model(smollm2_path: Path) -> None:
    load = {"path": smollm2_path, "context_size": 512, "threads": 1}
    with serving({"cut": {**load, "stop": [","]}, "whole": load}, max_tokens=20) as server:
        cut, whole = (complete(server, model=name, n_predict=-1)["content"] for name in ("cut", "whole"))
        assert whole.startswith(cut)
        assert "," in whole
        assert "," not in cut


def test_thoughts_end_when_their_budget_is_used_up(model: Model) -> None:
    with serving(model, chat_template=THINKER, reasoning_budget=4, reasoning_budget_message="Enough.") as server:
        message = chat(server)["choices"][0]["message"]
        assert message["reasoning_content"].endswith("Enough.")
        own = chat(server, reasoning_budget_tokens=2)["choices"][0]["message"]
        assert own["reasoning_content"].endswith("Enough.")
        assert len(own["reasoning_content"]) < len(message["reasoning_content"])
        free = chat(server, thinking_budget_tokens=-1)["choices"][0]["message"]
        assert "Enough." not in json.dumps(free)


def test_templates_get_variables_of_the_server_and_of_the_request(model: Model) -> None:
    def prompt(server: Server, **variables: Any) -> str:
        body = {"messages": [{"role": "user", "content": "Hi"}], "chat_template_kwargs": variables}
        text: str = ask(server, "POST", "/apply-template", body).json()["prompt"]
        return text

    with serving(model, chat_template=THINKER, template_variables={"mood": "calm"}) as server:
        assert "(calm)" in prompt(server)
        assert "(wild)" in prompt(server, mood="wild")
        ollama = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": False, "options": {"num_predict": 1}}
        calm = ask(server, "POST", "/api/chat", ollama).json()["prompt_eval_count"]
    with serving(model, chat_template=THINKER) as server:
        assert ask(server, "POST", "/api/chat", ollama).json()["prompt_eval_count"] < calm


@pytest.mark.parametrize("how", ["lookup", "loaded", "file"])
def test_tokens_are_guessed_ahead_for_all_requests(smollm2_path: Path, smollm2: Model, how: str) -> None:
    repeating = "one two three four five six seven eight nine ten " * 6
    with (
        Model.load(smollm2_path, context_size=512, max_sequences=2, threads=1) as model,
        Model.load(smollm2_path, context_size=256, max_sequences=1, threads=1) as draft,
    ):
        ways: dict[str, dict[str, Any]] = {
            "lookup": {"speculative": "lookup"},
            "loaded": {"speculative": SpeculativeConfig(draft_model=draft, min_draft=4, max_draft=6)},
            "file": {"draft_model": {"path": smollm2_path, "threads": 1}, "speculative": SpeculativeConfig(min_draft=4, max_draft=6)},
        }
        body = {"prompt": repeating, "n_predict": 24, "return_tokens": True, "ignore_eos": True}
        with serving(model) as plain:
            expected = complete(plain, **body)
            assert "draft_n" not in expected["timings"]
        with serving(model, **ways[how]) as server:
            guessed = complete(server, **body)
            assert guessed["timings"]["draft_n"] >= guessed["timings"]["draft_n_accepted"] > 0
            assert_alike(smollm2, repeating, guessed["tokens"], expected["tokens"])
            unguessed = complete(server, **body, **{"speculative.n_max": 0})
            assert "draft_n" not in unguessed["timings"]


def test_a_draft_model_that_cannot_be_loaded_is_told_to_the_request(model: Model, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    with serving(model, draft_model=broken) as server:
        reply = ask(server, "POST", "/completion", {"prompt": PROMPT, "n_predict": 1})
        assert reply.status == 400
        assert "the draft model cannot be loaded" in reply.json()["error"]["message"]
        assert str(tmp_path) not in reply.json()["error"]["message"]


def test_control_vectors_change_all_requests(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "vector.gguf"
    file.write_bytes(tiny_control_vector(width=model.info.embedding_dim, layers=model.info.layers).to_bytes())
    with serving(model) as plain, serving(model, control_vectors=[file]) as changed, serving(model, control_vectors=[(file, 0.0)]) as nothing:
        expected = complete(plain)["content"]
        assert complete(changed)["content"] != expected
        assert complete(nothing)["content"] == expected
    with serving(model, control_vectors={file: 1.0}, control_layers=(1, 2)) as few:
        assert complete(few)["content"]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"stop": "a"}, TypeError, "`stop` must be a sequence of str, got str"),
        ({"reasoning_budget": -1}, ValueError, "`reasoning_budget` must be at least 0, got `-1`"),
        ({"template_variables": ["a"]}, TypeError, "`template_variables` must be a mapping of names to values, got list"),
        ({"template_variables": {"a": object()}}, TypeError, "`template_variables` has a value that is none of JSON"),
        ({"template_variables": {"a": float("nan")}}, ValueError, "`template_variables` has a value that is none of JSON"),
        ({"speculative": "guess"}, ValueError, "`speculative` must be 'lookup', a Model"),
        ({"draft_model": 1}, TypeError, "`draft_model` must be a path"),
        ({"draft_model": "x.gguf", "speculative": "lookup"}, ValueError, "`draft_model` and `speculative` both say who guesses"),
        ({"control_layers": (1, 2)}, ValueError, "there are none; give `control_vectors`"),
        ({"control_vectors": "x.gguf"}, TypeError, "`control_vectors` must be a list of files"),
        ({"embedding_norm": -2}, ValueError, "`embedding_norm` must be at least -1, got `-2`"),
        ({"pooling": "max"}, ValueError, "`pooling` must be"),
        ({"health_route": "/a"}, ValueError, "`predict_route` must be given together with `health_route`"),
        ({"predict_route": "/v1/models"}, ValueError, "no other route's, got `/v1/models`"),
    ],
)
def test_wrong_values_are_told_at_the_start(model: Model, options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        Server(model, port=0, **options)


def test_sampling_and_the_others_go_together(model: Model) -> None:
    with serving(model, sampling=SamplerConfig.greedy(), stop=["."], cache_prompt=False) as server:
        settings = ask(server, "GET", "/props").json()["default_generation_settings"]["params"]
        assert settings["stop"] == ["."]
        assert settings["temperature"] == 0


def test_vertex_ai_sends_several_requests_in_one(model: Model) -> None:
    with serving(model, predict_route="/predict", health_route="/alive", api_keys=["key"]) as server:
        instances = [{"@requestFormat": "tokenize", "content": "Hello"}, {"@requestFormat": "nothing"}]
        assert ask(server, "POST", "/predict", {"instances": instances}).status == 401
        reply = ask(server, "POST", "/predict", {"instances": instances}, headers={"x-api-key": "key"})
        tokens, wrong = reply.json()["predictions"]
        assert tokens["tokens"] == model.tokenize("Hello", add_special=False)
        assert "names no path" in wrong["error"]["message"]
        assert ask(server, "GET", "/alive", headers={"x-api-key": "key"}).status == 200
