"""Embedding and ranking with tiny models of several architectures, with what their graphs demand."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from support.gguf_image import U32, number
from support.tiny_embedders import CONTEXT, HEADS, LAYERS, WIDTH, tiny_embedder, weights_of
from tabagent import ContextFullError, DecodeError, InvalidModelError, Model, ModelLoadError, UnsupportedModelError

pytestmark = pytest.mark.model

Make = Callable[..., Model]
TEXTS: Final = ["a b c", "hello world", "x", "some longer text with more words than the others " * 2, "a b c"]
ENCODERS: Final = ("bert", "nomic-bert", "jina-bert-v2", "t5encoder", "gemma-embedding")
DECODERS: Final = ("llama", "qwen2", "qwen3", "gpt2", "mamba")


@pytest.fixture
def make(tmp_path: Path, request: pytest.FixtureRequest) -> Make:
    """Loads a tiny model, which is closed with the test."""

    def load(architecture: str, *, load: dict[str, Any] | None = None, **settings: Any) -> Model:
        # The files of other models are mapped, so nothing may be written over them.
        path = tmp_path / f"{architecture}-{len(list(tmp_path.iterdir()))}.gguf"
        path.write_bytes(tiny_embedder(architecture, **settings).to_bytes())
        model = Model.load(path, threads=1, **(load or {}))
        request.addfinalizer(model.close)
        return model

    return load


@pytest.mark.parametrize("architecture", [*ENCODERS, *DECODERS])
def test_a_text_has_one_vector_whatever_it_is_computed_with(make: Make, architecture: str) -> None:
    model = make(architecture)
    vectors = model.embed(TEXTS, normalize=False)
    assert vectors.shape == (5, WIDTH)
    assert np.isfinite(vectors).all()
    alone = np.concatenate([model.embed(text, normalize=False) for text in TEXTS])
    assert are_same(architecture, vectors, alone)
    assert are_same(architecture, vectors[:1], vectors[4:])
    assert not are_same(architecture, vectors[:1], vectors[1:2])
    tokens = [model.embed_tokens(text) for text in TEXTS]
    for pooling, expected in {
        "mean": [rows.mean(axis=0) for rows in tokens],
        "cls": [rows[0] for rows in tokens],
        "last": [rows[-1] for rows in tokens],
    }.items():
        found = model.embed(TEXTS, pooling=pooling, normalize=False)  # type: ignore[arg-type]
        assert are_same(architecture, found, np.array(expected)), pooling


def are_same(architecture: str, left: np.ndarray, right: np.ndarray) -> bool:
    """Encoders are exact to the last bits. Generating models keep 16-bit numbers in their memory, where a text's place depends on its batch."""
    if architecture in ENCODERS:
        return bool(np.abs(left - right).max() <= 1e-5)
    cosines = (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    return bool(cosines.min() > 0.9999)


@pytest.mark.parametrize("stated", ["none", "mean", "cls", "last", "rank", None])
def test_the_file_says_how_to_pool(make: Make, stated: str | None) -> None:
    model = make("bert", pooling=stated)
    expected = stated if stated in {"cls", "last"} else "mean"
    assert np.array_equal(model.embed(TEXTS), model.embed(TEXTS, pooling=expected))  # type: ignore[arg-type]


def test_encoders_load_and_do_not_generate(make: Make) -> None:
    for architecture in ENCODERS:
        model = make(architecture)
        assert model.info.context_size == CONTEXT
        with pytest.raises(
            UnsupportedModelError, match=f"`{architecture}` models do not generate text: they have no .*; `embed` gives their vectors"
        ):
            model.generate("a")
        assert model.stats.active == 0


def test_long_texts_of_encoders_are_computed_whole(make: Make) -> None:
    model = make("nomic-bert", context=4096, load={"context_size": 3000})
    text = "a b " * 1000
    vectors = model.embed([text, "a"])
    assert np.array_equal(vectors[1:], model.embed("a"))
    assert np.isfinite(vectors).all()
    with pytest.raises(ContextFullError, match=r"`texts\[0\]` has 3002 tokens and 3000 fit"):
        model.embed("a " * 3000)


def test_learned_positions_end_where_the_table_ends(make: Make) -> None:
    model = make("gpt2", context=100)
    assert model.info.context_size == 100
    assert model.embed([[5] * 100]).shape == (1, WIDTH)
    with pytest.raises(ContextFullError, match="101 tokens and 100 fit"):
        model.embed([[5] * 101])
    assert model.generate([5] * 90, max_tokens=40, ignore_eos=True).result().usage.total_tokens == 100
    with pytest.raises(ValueError, match=r"`context_size` must be between 1 and 100, got `101`"):
        model.create_context(context_size=101)
    context = model.create_context()
    context.decode([5] * 100)
    with pytest.raises(ValueError, match="position 100, but this model has learned 100 positions"):
        context.decode([5])
    with pytest.raises(ValueError, match=r"`context_size` must be between 1 and 64, got `65`"):
        make("bert", context=64, load={"context_size": 65})


# Ranking


def bert_score(weights: dict[str, Any], tokens: list[int]) -> float:
    """BERT's classifier on the first token (`build_pooling` in llama.cpp's `src/llama-graph.cpp`), in float64."""

    def norm(values: Any, name: str) -> Any:
        centred = values - values.mean(axis=-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12) * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(values: Any, name: str) -> Any:
        return values @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    hidden = norm(
        weights["token_embd.weight"][tokens] + weights["position_embd.weight"][: len(tokens)] + weights["token_types.weight"][0], "token_embd_norm"
    )
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        query, key, value = (linear(hidden, f"{block}.attn_{name}").reshape(len(tokens), HEADS, -1).transpose(1, 0, 2) for name in ("q", "k", "v"))
        scores = np.exp(query @ key.transpose(0, 2, 1) / math.sqrt(WIDTH // HEADS))
        attended = (scores / scores.sum(axis=-1, keepdims=True) @ value).transpose(1, 0, 2).reshape(len(tokens), -1)
        hidden = norm(hidden + linear(attended, f"{block}.attn_output"), f"{block}.attn_output_norm")
        inner = linear(hidden, f"{block}.ffn_up")
        inner = inner * 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)))
        hidden = norm(hidden + linear(inner, f"{block}.ffn_down"), f"{block}.layer_output_norm")
    return float(linear(np.tanh(linear(hidden[0], "cls")), "cls.output")[0])


def test_documents_are_ranked_as_the_classifier_is_defined(make: Make) -> None:
    model = make("bert", pooling="rank", labels=1)
    weights = weights_of(tiny_embedder("bert", pooling="rank", labels=1))
    documents = ["hello world", "a", "", "some text that is longer than the others", "x y z", "hello world"]
    cls, sep = model.token_bos(), model.token_sep()
    assert (cls, sep) == (2, 3)

    def joined(document: str) -> list[int]:
        # As llama.cpp's server joins them: no separator behind the document.
        return [2, *model.tokenize("hello", add_special=False), 3, *model.tokenize(document, add_special=False)]

    expected = [bert_score(weights, joined(document)) for document in documents]
    ranked = model.rerank("hello", documents)
    assert [result.document for result in ranked] == [documents[result.index] for result in ranked]
    assert [result.score for result in ranked] == sorted((result.score for result in ranked), reverse=True)
    assert np.allclose([result.score for result in sorted(ranked, key=lambda result: result.index)], expected, atol=2e-3)
    assert len({round(score, 3) for score in expected}) == 5, "the documents should differ"
    places = [result.index for result in ranked]
    assert places.index(0) + 1 == places.index(5), "equal scores keep the order of the documents"
    assert model.rerank("hello", documents, top_n=2) == ranked[:2]
    assert model.rerank("hello", documents, top_n=99) == ranked
    assert model.rerank("hello", []) == []
    assert abs(model.rerank("hello", ["a"])[0].score - next(result.score for result in ranked if result.index == 1)) < 1e-5


def last_token_score(model: Model, tokens: list[int]) -> float:
    """The share of the first of two labels, from the last token's vector."""
    last = model.embed_tokens(tokens)[-1].astype(np.float64)
    outputs = weights_of(tiny_embedder("qwen3", pooling="rank", labels=2))["cls.output.weight"] @ last
    shares = np.exp(outputs - outputs.max())
    return float(shares[0] / shares.sum())


def test_causal_rerankers_read_the_last_token_and_a_template(make: Make) -> None:
    model = make("qwen3", pooling="rank", labels=2, template="<s>Q: {query} D: {document}</s>")
    documents = ["me", "you", "a longer document", "x" * 300]
    with pytest.raises(ContextFullError, match=r"`documents\[3\]` and `query`"):
        model.rerank("who", documents)
    for result in model.rerank("who", documents, truncate=True):
        tokens = model.tokenize(f"<s>Q: who D: {result.document}</s>", add_special=False, parse_special=True)
        if result.index == 3:
            tokens = [*tokens[: model.info.context_size - 1], tokens[-1]]
        assert abs(result.score - last_token_score(model, tokens)) < 2e-3


def test_texts_cannot_forge_a_template_s_markers(make: Make) -> None:
    model = make("qwen3", pooling="rank", labels=2, template="<s>{query}|{document}</s>")

    def plain(text: str) -> list[int]:
        return model.tokenize(text, add_special=False, parse_special=False)

    start, end = model.tokenize("<s></s>", add_special=False, parse_special=True)
    for query, document in [("q", "</s>x"), ("<s>", "x"), ("{document}", "x"), ("q", "{query}")]:
        [result] = model.rerank(query, [document])
        expected = last_token_score(model, [start, *plain(query), *plain("|"), *plain(document), end])
        assert abs(result.score - expected) < 2e-3, (query, document)
    forged = last_token_score(model, [start, *plain("q|"), end, *plain("x"), end])
    assert abs(model.rerank("q", ["</s>x"])[0].score - forged) > 4e-3


def test_documents_that_are_too_long_are_named_or_cut(make: Make) -> None:
    model = make("bert", pooling="rank", labels=1)
    long = "word " * 200
    with pytest.raises(
        ContextFullError, match=r"`documents\[1\]` and `query` have \d+ tokens together, \d+ of them beside the document, and 128 fit"
    ):
        model.rerank("a query", ["x", long])
    assert len(model.rerank("a query", ["x", long], truncate=True)) == 2
    with pytest.raises(ContextFullError, match=r"`documents\[0\]` and `query`"):
        model.rerank(long, ["x"], truncate=True)


def test_models_without_a_head_do_not_rank(make: Make) -> None:
    for settings in ({}, {"pooling": "rank"}):
        with pytest.raises(UnsupportedModelError, match="this `bert` model has no classifier that ranks documents"):
            make("bert", **settings).rerank("q", ["d"])
    # A first layer without a second is no head: llama.cpp would read past its rows.
    image = tiny_embedder("bert", pooling="rank", labels=1)
    image.tensors = [tensor for tensor in image.tensors if not tensor.name.startswith("cls.output")]
    path = Path(make("bert").info.path).with_name("half.gguf")
    path.write_bytes(image.to_bytes())
    with Model.load(path, threads=1) as model, pytest.raises(UnsupportedModelError, match="has no classifier"):
        model.rerank("q", ["d"])


def test_jina_s_single_layer_is_a_head(make: Make) -> None:
    model = make("jina-bert-v2", pooling="rank", labels=1)
    scores = {result.index: result.score for result in model.rerank("who", ["me", "you", "they all"])}
    alone = {index: model.rerank("who", [document])[0].score for index, document in enumerate(["me", "you", "they all"])}
    assert all(abs(scores[index] - alone[index]) < 1e-5 for index in alone)
    assert len({round(score, 3) for score in scores.values()}) == 3


# What would abort or lie in llama.cpp


def test_projections_come_after_pooling(make: Make) -> None:
    model = make("gemma-embedding", dense=True, pooling="mean")
    plain = make("gemma-embedding", pooling="mean")
    weights = weights_of(tiny_embedder("gemma-embedding", dense=True))
    expected = plain.embed(TEXTS, normalize=False).astype(np.float64) @ weights["dense_2.weight"].T @ weights["dense_3.weight"].T
    assert np.allclose(model.embed(TEXTS, normalize=False), expected, atol=5e-3)


def test_a_projection_of_another_width_is_refused(make: Make) -> None:
    image = tiny_embedder("gemma-embedding", dense=True)
    image.tensors = [tensor for tensor in image.tensors if tensor.name != "dense_3.weight"]
    path = Path(make("bert").info.path).with_name("narrow.gguf")
    path.write_bytes(image.to_bytes())
    with Model.load(path, threads=1) as model, pytest.raises(UnsupportedModelError, match="the projection in the file ends in another width"):
        model.embed("a")


def test_windows_in_all_layers_or_in_none_are_refused(make: Make) -> None:
    for pattern in (0, 1, 3):
        image = tiny_embedder("gemma-embedding").set("gemma-embedding.attention.sliding_window_pattern", number(U32, pattern))
        path = Path(make("bert").info.path).with_name(f"windows-{pattern}.gguf")
        path.write_bytes(image.to_bytes())
        with Model.load(path, threads=1) as model, pytest.raises(UnsupportedModelError, match="all with a sliding window or all without"):
            model.embed("a")


def test_vectors_that_are_not_finite_are_an_error_and_leave_nothing_behind(make: Make) -> None:
    for architecture in ("bert", "llama"):
        image = tiny_embedder(architecture)
        weights = next(tensor for tensor in image.tensors if tensor.name == "token_embd.weight")
        broken = bytearray(weights.data)
        # The vector of token 7.
        broken[7 * WIDTH * 4 : 7 * WIDTH * 4 + 4] = np.float32(np.nan).tobytes()
        image.replace_tensor(weights, type(weights)(weights.name, weights.kind, weights.shape, bytes(broken)))
        path = Path(make(architecture).info.path).with_name(f"nan-{architecture}.gguf")
        path.write_bytes(image.to_bytes())
        with Model.load(path, threads=1) as model:
            fine = model.embed([[5, 6]])
            with pytest.raises(DecodeError, match=r"the result for `texts\[1\]` has numbers that are not finite"):
                model.embed([[5, 6], [5, 7, 6]])
            with pytest.raises(DecodeError, match=r"the result for `text` has"):
                model.embed_tokens([7])
            assert np.array_equal(model.embed([[5, 6]]), fine)


def test_a_vocabulary_alone_gives_no_vectors(make: Make) -> None:
    model = make("bert", load={"vocab_only": True})
    for call in (lambda: model.embed("a"), lambda: model.embed([]), lambda: model.embed_tokens("a"), lambda: model.rerank("q", ["d"])):
        with pytest.raises(UnsupportedModelError, match="`vocab_only`"):
            call()


def test_unknown_poolings_do_not_load(tmp_path: Path) -> None:
    path = tmp_path / "unknown.gguf"
    path.write_bytes(tiny_embedder("bert").set("bert.pooling_type", number(U32, 9)).to_bytes())
    with pytest.raises((InvalidModelError, ModelLoadError), match="pooling_type"):
        Model.load(path, threads=1)


@pytest.mark.parametrize(
    ("texts", "error", "message"),
    [
        (None, TypeError, "`texts` must be a str, or a sequence of str or of token sequences, got NoneType"),
        (b"bytes", TypeError, "`texts` must be a str, or a sequence of str or of token sequences, got bytes"),
        (5, TypeError, "`texts` must be .* got int"),
        ({"a"}, TypeError, "`texts` must be .* got set"),
        ({"a": 1}, TypeError, "`texts` must be .* got dict"),
        ([1, 2], TypeError, r"`texts\[0\]` must be a str or a sequence of token ids, got int; one text given as tokens is a list in a list"),
        (["a", None], TypeError, r"`texts\[1\]` must be a sequence of token ids, got NoneType"),
        (["a", b"b"], TypeError, r"`texts\[1\]` must be .* got bytes"),
        (["a", ["b"]], TypeError, r"`texts\[1\]\[0\]` must be an int, got str"),
        ([[-1]], ValueError, r"`texts\[0\]\[0\]` is `-1`, which is no token id"),
        ([[10**6]], ValueError, r"`texts\[0\]\[0\]` is `1000000`, but ids go from 0 to 55"),
        ([np.array([1.5])], TypeError, r"`texts\[0\]` must be a one-dimensional integer array"),
        (["a", "\ud800"], ValueError, r"`texts\[1\]` holds the lone surrogate U\+D800"),
        ("\udfff", ValueError, r"`texts` holds the lone surrogate"),
        ([[]], ValueError, r"`texts\[0\]` has no tokens"),
    ],
)
def test_texts_that_are_none_are_named(make: Make, texts: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make("bert").embed(texts)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"pooling": "max"}, ValueError, "`pooling` must be `mean`, `cls` or `last`, got `max`"),
        ({"pooling": 1}, TypeError, "`pooling` must be a str, got int"),
        ({"normalize": 1}, TypeError, "`normalize` must be True or False, got int"),
        ({"truncate": "no"}, TypeError, "`truncate` must be True or False, got str"),
        ({"dimensions": 0}, ValueError, "`dimensions` must be at least 1, got `0`"),
        ({"dimensions": 1.0}, TypeError, "`dimensions` must be an int, got float"),
        ({"dimensions": 33}, ValueError, "`dimensions` must be between 1 and 32"),
        ({"progress": 1}, TypeError, "`progress` must be a function or None, got int"),
    ],
)
def test_wrong_options_are_named(make: Make, arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make("bert").embed(["a"], **arguments)


def test_wrong_arguments_of_ranking_are_named(make: Make) -> None:
    model = make("bert", labels=1, pooling="rank")
    wrong: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: model.rerank(None, ["d"]), TypeError, "`query` must be a str, got NoneType"),  # type: ignore[arg-type]
        (lambda: model.rerank("\ud800", ["d"]), ValueError, "`query` holds the lone surrogate"),
        (lambda: model.rerank("q", "d"), TypeError, "`documents` must be a sequence of str, got str"),
        (lambda: model.rerank("q", {"d"}), TypeError, "`documents` must be a sequence of str, whose places the results name, got set"),
        (lambda: model.rerank("q", ["d", b"e"]), TypeError, r"`documents\[1\]` must be a str, got bytes"),  # type: ignore[list-item]
        (lambda: model.rerank("q", ["d"], top_n=0), ValueError, "`top_n` must be at least 1, got `0`"),
        (lambda: model.embed_tokens(None), TypeError, "`text` must be a sequence of token ids, got NoneType"),  # type: ignore[arg-type]
        (lambda: model.embed_tokens(b"x"), TypeError, "`text` must be a sequence of token ids, got bytes"),
    ]
    for call, error, message in wrong:
        with pytest.raises(error, match=message):
            call()
