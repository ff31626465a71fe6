"""The texts of streams and scores are those of their tokens, with every kind of vocabulary."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from conftest import THREADS
from support.vocabulary_models import CONTEXT, FILES, SMALL, write_model
from tabagent import Model, SamplerConfig


@pytest.fixture(scope="module", params=[*FILES, *SMALL])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("texts") / "model.gguf"
    write_model(request.param, path)
    with Model.load(path, context_size=CONTEXT, threads=THREADS) as model:
        yield model
    path.unlink()


def test_stream_is_the_text_of_its_tokens(model: Model) -> None:
    wild = [SamplerConfig(temperature=3.0, top_k=0, top_p=1.0, min_p=0.0, seed=seed) for seed in range(4)]
    # The special tokens, of which a stream shows nothing, and those around them.
    likely = SamplerConfig(seed=1, temperature=1.0, top_k=0, logit_bias=dict.fromkeys(range(min(12, model.vocab_size())), 20.0))
    for sampling in (*wild, likely):
        stream = model.generate("a b", max_tokens=40, sampling=sampling, ignore_eos=True, logprobs=1)
        done = stream.result()
        assert done.text == model.detokenize(done.tokens, continuation=True, unparse_special=False)
        assert done.text == b"".join(model.token_to_bytes(token, special=False) for token in done.tokens).decode(errors="replace")
        assert done.logprobs is not None
        assert [entry.bytes for entry in done.logprobs] == [model.token_to_bytes(token) for token in done.tokens]
        assert [entry.text for entry in done.logprobs] == [model.detokenize([token], continuation=True) for token in done.tokens]
        # What a prompt's text and the stream show one after another is the text of all tokens together, if the prompt ends in text.
        prompt = model.tokenize("a b", add_special=False)
        whole = model.detokenize(prompt + list(done.tokens), unparse_special=False)
        if not any({"control", "unknown", "user_defined"} & set(model.token_attributes(token)) for token in done.tokens):
            assert whole == model.detokenize(prompt) + done.text


def test_scores_name_the_text_of_token_choices(model: Model) -> None:
    choices = [model.tokenize("b", add_special=False), [3, 4], [model.vocab_size() - 1]]
    scores = model.score("a", choices)
    assert [score.tokens for score in scores] == [tuple(choice) for choice in choices]
    for score in scores:
        assert score.text == b"".join(model.token_to_bytes(token) for token in score.tokens).decode(errors="replace")
