"""Vectors of real models: those of the definition, one by one and together, and how the call behaves."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from support.bert_reference import bert_vectors, read_safetensors, vocabulary_of, word_pieces
from tabagent import ClosedError, ContextFullError, EmbeddingCancelledError, Model, SamplerConfig, UnsupportedModelError
from waiting import until

pytestmark = pytest.mark.model

TEXTS: Final = [
    "the quick brown fox jumps over the lazy dog",
    "Paris is the capital of France.",
    "embeddings, pooled by their mean",
    "a",
    "One text is longer than the others, because texts of several lengths share a batch, and each must be alone in its own attention. " * 3,
]
WORDS: Final = (
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
)


def many(count: int, seed: int = 0, longest: int = 200) -> list[str]:
    source = random.Random(seed)  # noqa: S311 (texts, not secrets)
    return [" ".join(source.choices(WORDS, k=source.randint(5, longest))) for _ in range(count)]


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    found: np.ndarray = (left * right).sum(axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    return found


def test_vectors_are_those_of_the_definition(minilm: Model, minilm_path: Path) -> None:
    weights, vocabulary = read_safetensors(minilm_path / "model.safetensors"), vocabulary_of(minilm_path)
    layers = [bert_vectors(word_pieces(text, vocabulary), weights, heads=12, layers=6) for text in TEXTS]
    for pooling, expected in {
        None: [vectors.mean(axis=0) for vectors in layers],
        "mean": [vectors.mean(axis=0) for vectors in layers],
        "cls": [vectors[0] for vectors in layers],
        "last": [vectors[-1] for vectors in layers],
    }.items():
        found = minilm.embed(TEXTS, pooling=pooling, normalize=False)  # type: ignore[arg-type]
        assert found.shape == (5, 384)
        assert cosines(np.array(expected), found.astype(np.float64)).min() > 0.9999, pooling
        lengths = np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
        assert np.allclose(lengths, 1, atol=0.01)
    for text, expected_tokens in zip(TEXTS, layers, strict=True):
        tokens = minilm.embed_tokens(text)
        assert tokens.shape == expected_tokens.shape
        assert cosines(expected_tokens, tokens.astype(np.float64)).min() > 0.9999


def test_texts_together_have_the_vectors_that_they_have_alone(minilm: Model) -> None:
    texts = [*many(40), *TEXTS]
    together = minilm.embed(texts)
    assert together.dtype == np.float32
    assert together.flags.c_contiguous
    alone = np.concatenate([minilm.embed(text) for text in texts])
    assert np.array_equal(together, alone)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_the_mean_of_token_vectors_is_the_text_s(minilm: Model, smollm2: Model) -> None:
    for model in (minilm, smollm2):
        for text in TEXTS:
            tokens = model.embed_tokens(text)
            assert len(tokens) == len(model.tokenize(text))
            assert np.allclose(tokens.mean(axis=0), model.embed(text, normalize=False)[0], atol=2e-4)


def test_similar_texts_are_near(minilm: Model) -> None:
    query, near, far = minilm.embed(["How many people live in Berlin?", "Berlin has 3.7 million inhabitants.", "The cat sleeps on the sofa."])
    assert query @ near > 0.5
    assert query @ far < 0.2


def test_shapes_whatever_is_given(minilm: Model) -> None:
    assert minilm.embed([]).shape == (0, 384)
    assert minilm.embed("one").shape == (1, 384)
    assert minilm.embed(["one"]).shape == (1, 384)
    assert minilm.embed(iter(["one", "two"])).shape == (2, 384)
    assert minilm.embed(np.array(["one", "two"])).shape == (2, 384)
    assert minilm.embed([minilm.tokenize("one"), np.array(minilm.tokenize("two words"))]).shape == (2, 384)
    assert np.array_equal(minilm.embed([minilm.tokenize("the same")]), minilm.embed("the same"))
    assert minilm.embed("").shape == (1, 384)
    assert np.array_equal(minilm.embed(""), minilm.embed([minilm.tokenize("")]))


def test_dimensions_cut_and_normalize_again(minilm: Model) -> None:
    whole, cut = minilm.embed(TEXTS), minilm.embed(TEXTS, dimensions=64)
    assert cut.shape == (5, 64)
    assert np.allclose(cut, whole[:, :64] / np.linalg.norm(whole[:, :64], axis=1, keepdims=True), atol=1e-6)
    raw = minilm.embed(TEXTS, normalize=False)
    assert np.array_equal(minilm.embed(TEXTS, normalize=False, dimensions=64), raw[:, :64])
    with pytest.raises(ValueError, match=r"`dimensions` must be between 1 and 384, the width of this model's vectors, got 385"):
        minilm.embed(TEXTS, dimensions=385)


def test_texts_that_are_too_long_are_named_or_cut(minilm: Model) -> None:
    long = "word " * 600
    with pytest.raises(ContextFullError, match=r"`texts\[1\]` has 602 tokens and 512 fit; .*`truncate=True`.*`context_size`"):
        minilm.embed(["fine", long, "fine"])
    cut = minilm.embed(["fine", long], truncate=True)
    assert np.array_equal(cut[1], minilm.embed([minilm.tokenize(long)[:511] + minilm.tokenize(long)[-1:]])[0])
    with pytest.raises(ContextFullError, match=r"`text` has 602 tokens"):
        minilm.embed_tokens(long)
    assert minilm.embed_tokens(long, truncate=True).shape == (512, 384)


def test_an_encoder_loads_and_does_not_generate(minilm: Model) -> None:
    assert (minilm.info.architecture, minilm.info.context_size) == ("bert", 512)
    for call in (lambda: minilm.generate("x"), lambda: minilm.score("x", ["y"]), minilm.create_context):
        with pytest.raises(UnsupportedModelError, match="`bert` models do not generate text: they have no KV cache; `embed` gives their vectors"):
            call()


def test_a_longer_context_than_the_model_has_positions_is_refused(minilm_file: Path) -> None:
    with pytest.raises(ValueError, match=r"`context_size` must be between 1 and 512, got `513`"):
        Model.load(minilm_file, context_size=513, threads=1)
    with Model.load(minilm_file, context_size=8, threads=1) as model, pytest.raises(ContextFullError, match="9 tokens and 8 fit"):
        model.embed("one two three four five six seven")


def test_generating_models_embed_beside_generating(smollm2: Model, gemma: Model) -> None:
    for model in (smollm2, gemma):
        wanted = model.generate("Once upon a time", max_tokens=12, sampling=SamplerConfig.greedy()).result().text
        stream = model.generate("Once upon a time", max_tokens=12, sampling=SamplerConfig.greedy())
        vectors = model.embed([*TEXTS, *many(8, longest=30)])
        assert stream.result().text == wanted
        assert vectors.shape == (13, model.embedding_dim())
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        alone = np.concatenate([model.embed(text) for text in TEXTS])
        assert cosines(vectors[:5], alone).min() > 0.999
        last = model.embed(TEXTS[0], pooling="last", normalize=False)[0]
        assert np.allclose(model.embed_tokens(TEXTS[0])[-1], last)


def test_texts_longer_than_a_batch_are_computed_in_parts(smollm2_path: Path) -> None:
    text = " ".join(many(12, longest=200))
    with Model.load(smollm2_path, context_size=2048, threads=1) as model:
        tokens = model.tokenize(text)
        assert len(tokens) > 600
        whole = model.embed_tokens(tokens)
        assert whole.shape == (len(tokens), 576)
        # A causal model has the same vectors for the beginning, whatever comes after it.
        first = model.embed_tokens(tokens[:600])
        assert cosines(whole[:600], first).min() > 0.9999
        assert np.allclose(model.embed(text, normalize=False)[0], whole.mean(axis=0), atol=1e-3)
        with pytest.raises(ContextFullError, match=r"`texts\[0\]` has 2049 tokens and 2048 fit"):
            model.embed([[5] * 2049])


def test_an_empty_text_without_tokens_is_named(smollm2: Model, gemma: Model) -> None:
    with pytest.raises(ValueError, match=r"`texts\[1\]` has no tokens, and this model adds none to a text; give it some text"):
        smollm2.embed(["x", ""])
    with pytest.raises(ValueError, match=r"`text` has no tokens"):
        smollm2.embed_tokens("")
    with pytest.raises(ValueError, match=r"`texts\[0\]` has no tokens"):
        smollm2.embed([[]])
    # Gemma adds its beginning-of-text token.
    assert gemma.embed("").shape == (1, 640)


def test_models_without_a_classifier_do_not_rank(minilm: Model, smollm2: Model) -> None:
    for model in (minilm, smollm2):
        with pytest.raises(UnsupportedModelError, match="has no classifier that ranks documents; load a reranking model, or `embed`"):
            model.rerank("query", ["document"])


def test_progress_goes_from_nothing_to_all_and_may_stop(minilm: Model) -> None:
    parts: list[float] = []
    minilm.embed(many(60), progress=parts.append)
    assert parts == sorted(set(parts))
    assert parts[-1] == 1.0
    with pytest.raises(EmbeddingCancelledError, match="the work was stopped before it was done"):
        minilm.embed(many(2000), progress=lambda part: part < 0.01)
    with pytest.raises(ZeroDivisionError):
        minilm.embed(many(2000), progress=lambda _: 1 / 0)
    assert minilm.embed("still works").shape == (1, 384)


def test_threads_take_turns(minilm: Model) -> None:
    texts = many(400, seed=3)
    wanted = minilm.embed(texts)
    done: dict[str, float] = {}
    results: dict[str, np.ndarray] = {}
    begun = threading.Event()

    def work(name: str, mine: list[str]) -> None:
        results[name] = minilm.embed(mine, progress=lambda part: begun.set() if name == "long" and part > 0 else None)
        done[name] = time.monotonic()

    long = threading.Thread(target=work, args=("long", texts))
    long.start()
    begun.wait()
    short = threading.Thread(target=work, args=("short", texts[:1]))
    short.start()
    short.join()
    assert long.is_alive(), "the short request waited for the whole long one"
    long.join()
    assert done["short"] < done["long"]
    assert np.abs(results["long"] - wanted).max() < 1e-5
    assert np.abs(results["short"] - wanted[:1]).max() < 1e-5


def test_close_ends_what_runs_and_what_waits(minilm_file: Path) -> None:
    model = Model.load(minilm_file, threads=1)
    errors: list[BaseException] = []
    parts: list[float] = []

    def work() -> None:
        try:
            model.embed(many(3000), progress=parts.append)
        except ClosedError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: any(part > 0 for part in parts))
    before = time.monotonic()
    model.close()
    assert time.monotonic() - before < 1
    for thread in threads:
        thread.join()
    assert len(errors) == 3
    with pytest.raises(ClosedError):
        model.embed("x")


def test_a_cancelled_task_ends_the_work(minilm: Model) -> None:
    async def main() -> None:
        vectors, tokens = await asyncio.gather(minilm.aembed(TEXTS), minilm.aembed_tokens(TEXTS[0]))
        assert np.array_equal(vectors, minilm.embed(TEXTS))
        assert np.array_equal(tokens, minilm.embed_tokens(TEXTS[0]))
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        parts: list[float] = []

        def report(part: float) -> None:
            parts.append(part)
            if part > 0:
                loop.call_soon_threadsafe(begun.set)

        task = asyncio.create_task(minilm.aembed(many(3000), progress=report))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        before = time.monotonic()
        await minilm.aembed("free again")
        assert time.monotonic() - before < 1
        assert parts[-1] < 0.5

    asyncio.run(main())


def test_a_hundred_thousand_texts_take_the_memory_of_their_vectors(minilm: Model) -> None:
    def resident() -> int:
        fields = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in fields if line.startswith("VmRSS")).split()[1]) * 1024

    texts = [f"{index % 100}" for index in range(100_000)]
    minilm.embed(texts[:2000])
    before = resident()
    vectors = minilm.embed(texts, dimensions=8)
    assert vectors.shape == (100_000, 8)
    assert np.abs(vectors - vectors[:100][np.arange(100_000) % 100]).max() < 1e-5
    assert resident() - before < 40 << 20
