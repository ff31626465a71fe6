"""Requests with adapters and control vectors: what each computes, beside whom, and what ends with what."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

import child
from near_ties import assert_alike
from support.gguf_image import U32, array
from support.tiny_lora import tiny_adapter, tiny_adapters, untied_llama
from support.tiny_models import WIDTH
from tabagent import Adapter, AdapterError, ClosedError, Model, SamplerConfig, StateError

GREEDY: Final = SamplerConfig.greedy()
PROMPT: Final = [1, *range(40, 72)]
CONTINUATION: Final = [100, 140, 200, 259, 77]
LENGTH: Final = 24
#: Logits of tiny models in F32 differ by less between batches of different shapes (keys and values are F16); other adapters change them by far more.
NOISE: Final = 0.02


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(untied_llama().to_bytes())
    return path


@pytest.fixture
def model(base: Path) -> Iterator[Model]:
    with Model.load(base, context_size=1024, threads=1, max_sequences=8) as made:
        yield made


@pytest.fixture
def exact(base: Path) -> Iterator[Model]:
    with Model.load(base, context_size=1024, threads=1, deterministic=True) as made:
        yield made


def changes_of(model: Model, folder: Path) -> dict[str, dict[str, Any]]:
    """Options of requests, each of which changes the model in another way."""
    for name, image in tiny_adapters(untied_llama()).items():
        (folder / f"{name}.gguf").write_bytes(image.to_bytes())
    one, two, three = (model.load_adapter(folder / f"{name}.gguf") for name in ("blocks", "more", "embeddings"))
    vector = model.load_control_vector(np.full((1, WIDTH), 0.7, np.float32))
    return {
        "base": {},
        "one": {"adapters": one},
        "half": {"adapters": [(one, 0.5)]},
        "two": {"adapters": [two]},
        "both": {"adapters": {one: 1.0, two: -1.5}},
        "embeddings": {"adapters": {three: 2.0}},
        "vector": {"control_vector": vector},
        "vector back": {"control_vector": {vector: -1}, "control_layers": (1, 1)},
        "one and vector": {"adapters": one, "control_vector": (vector,)},
    }


def write_named(folder: Path, seed: int) -> Path:
    """An adapter whose file has the same name in each folder."""
    folder.mkdir()
    path = folder / "adapter.gguf"
    path.write_bytes(tiny_adapter(untied_llama(), seed=seed).to_bytes())
    return path


def by_hand(model: Model, changes: dict[str, Any]) -> list[int]:
    """The greedy continuation, decoded in a context of its own."""
    tokens: list[int] = []
    with model.create_context(context_size=256, threads=1, adapters=changes.get("adapters")) as context:
        context.set_control_vector(changes.get("control_vector"), layers=changes.get("control_layers"))
        context.decode(PROMPT)
        while len(tokens) < LENGTH:
            logits = context.logits()
            logits[model.token_eos()] = -np.inf
            tokens.append(int(logits.argmax()))
            context.decode(tokens[-1:])
    return tokens


def tokens_of(model: Model, changes: dict[str, Any], **options: Any) -> list[int]:
    done = model.generate(PROMPT, max_tokens=LENGTH, sampling=GREEDY, ignore_eos=True, **changes, **options).result()
    return list(done.tokens)


def scores_of(model: Model, changes: dict[str, Any], **options: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    (score,) = model.score(PROMPT, [CONTINUATION], **changes, **options)
    return np.array(score.logprobs)


def all_at_once(work: Callable[[str], object], names: Sequence[str]) -> None:
    """Call `work` with each name at the same time; what one raises is raised here."""
    errors: list[BaseException] = []

    def run(name: str) -> None:
        try:
            work(name)
        except BaseException as error:  # noqa: BLE001 (raised below)
            errors.append(error)

    threads = [threading.Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def test_each_request_gets_the_text_of_its_own_adapters(exact: Model, tmp_path: Path) -> None:
    changes = changes_of(exact, tmp_path)
    alone = {name: by_hand(exact, changes[name]) for name in changes}
    assert len({tuple(tokens) for tokens in alone.values()}) == len(changes), "each changes the text"
    assert {name: tokens_of(exact, changes[name]) for name in changes} == alone

    def check(name: str) -> None:
        for _ in range(3):
            assert tokens_of(exact, changes[name], cache_prompt=True) == alone[name]

    all_at_once(check, [*changes, *changes])


def test_requests_with_different_adapters_run_at_the_same_time(model: Model, tmp_path: Path) -> None:
    changes = changes_of(model, tmp_path)
    alone = {name: scores_of(model, changes[name]) for name in changes}
    for name, scores in alone.items():
        for other in set(alone) - {name}:
            assert np.abs(scores - alone[other]).max() > 4 * NOISE, f"{name} is not {other}"

    def check(name: str) -> None:
        for _ in range(5):
            stream = model.generate(PROMPT, max_tokens=LENGTH, sampling=GREEDY, ignore_eos=True, **changes[name])
            assert np.abs(scores_of(model, changes[name]) - alone[name]).max() < NOISE
            assert len(stream.result().tokens) == LENGTH

    all_at_once(check, [*changes, *changes])
    assert model.metrics().requests_per_step > 1, "those of equal adapters share steps"


def test_open_streams_of_all_kinds_go_on_together(model: Model, tmp_path: Path) -> None:
    changes = changes_of(model, tmp_path)
    names = list(changes)[:8]
    streams = {name: model.generate(PROMPT, max_tokens=200, ignore_eos=True, sampling=GREEDY, **changes[name]) for name in names}
    for stream in streams.values():
        next(stream)
    assert model.stats.active == len(names), "all have begun, and none has ended"
    for stream in streams.values():
        assert len(stream.result().tokens) == 200


@pytest.mark.parametrize("context_size", [1024, 80])
def test_beginnings_are_shared_within_equal_adapters_alone(context_size: int, base: Path, tmp_path: Path) -> None:
    # With 80 tokens of context, what requests leave goes to host memory.
    with Model.load(base, context_size=context_size, threads=1, max_sequences=2) as model:
        changes = changes_of(model, tmp_path)
        alone = {name: scores_of(model, changes[name]) for name in changes}
        seen = set()
        for name in ["base", "one", "base", "half", "one", "both", "vector", "vector back", "one and vector", "base", "vector", "both", "half"]:
            done = model.generate(PROMPT, max_tokens=2, cache_prompt=True, sampling=GREEDY, ignore_eos=True, **changes[name]).result()
            assert done.usage.cached_tokens == (len(PROMPT) - 1 if name in seen else 0), name
            seen.add(name)
            assert np.abs(scores_of(model, changes[name], cache_prompt=True) - alone[name]).max() < NOISE, name


def test_adapters_are_equal_in_any_form_and_order(model: Model, tmp_path: Path) -> None:
    changes = changes_of(model, tmp_path)
    one, two = changes["one"]["adapters"], changes["two"]["adapters"][0]
    forms: list[Any] = [{one: 1.0, two: 0.5}, [(two, 0.5), one], iter([(one, 1), (two, np.float32(0.5))]), [[one, 1.0], (two, 0.5)]]
    cached = [model.generate(PROMPT, max_tokens=1, cache_prompt=True, adapters=form).result().usage.cached_tokens for form in forms]
    assert cached == [0, *[len(PROMPT) - 1] * 3]
    assert tokens_of(model, {}, cache_prompt=True) == tokens_of(model, {"adapters": {one: 0}}, cache_prompt=True)
    nothings: list[Any] = [None, [], {}, {one: 0.0}]
    for nothing in nothings:
        usage = model.generate(PROMPT, max_tokens=1, cache_prompt=True, adapters=nothing).result().usage
        assert usage.cached_tokens == len(PROMPT) - 1, "no adapters are the model as it is"


def test_base_is_the_same_after_adapters(exact: Model, tmp_path: Path) -> None:
    before, scores = tokens_of(exact, {}), scores_of(exact, {})
    for changes in changes_of(exact, tmp_path).values():
        tokens_of(exact, changes)
        assert tokens_of(exact, {}) == before
        assert np.array_equal(scores_of(exact, {}), scores)


def test_guesses_ahead_change_no_text(model: Model, tmp_path: Path) -> None:
    prompt = PROMPT[:12] * 2

    def text(changes: dict[str, Any], **options: Any) -> tuple[int, ...]:
        return model.generate(prompt, max_tokens=LENGTH, sampling=GREEDY, ignore_eos=True, **changes, **options).result().tokens

    changes = changes_of(model, tmp_path)
    plain = {name: text(changes[name]) for name in changes}

    def check(name: str) -> None:
        assert_alike(model, prompt, text(changes[name], speculative="lookup"), plain[name], **changes[name])

    all_at_once(check, [*changes, *changes])


def test_texts_go_on_where_the_memory_is_arranged_anew(base: Path, tmp_path: Path) -> None:
    with Model.load(base, context_size=4096, threads=1, max_sequences=8) as model:
        changes = changes_of(model, tmp_path)
        prompts = {name: [1, *np.random.default_rng(index).integers(40, 250, 150).tolist()] for index, name in enumerate(changes)}

        def text(name: str) -> tuple[int, ...]:
            return model.generate(prompts[name], max_tokens=80, sampling=GREEDY, ignore_eos=True, **changes[name]).result().tokens

        alone = {name: text(name) for name in changes}

        def check(name: str) -> None:
            # With more than 256 tokens in memory and two texts that generate, each gets a part of it.
            assert_alike(model, prompts[name], text(name), alone[name], **changes[name])

        all_at_once(check, list(changes))


def test_other_calls_take_adapters_too(exact: Model, tmp_path: Path) -> None:
    changes = changes_of(exact, tmp_path)
    one = changes["one"]["adapters"]
    alone = tokens_of(exact, changes["both"])
    batch = exact.generate_batch(
        [PROMPT] * 6, max_tokens=LENGTH, sampling=GREEDY, ignore_eos=True, adapters=iter(changes["both"]["adapters"].items())
    )
    assert [list(done.tokens) for done in batch] == [alone] * 6, "what is given once counts for each prompt"

    async def at_once() -> list[list[int]]:
        streams = [exact.generate(PROMPT, max_tokens=LENGTH, sampling=GREEDY, ignore_eos=True, **changes[name]) for name in changes]
        return [list((await stream.aresult()).tokens) for stream in streams]

    assert asyncio.run(at_once()) == [tokens_of(exact, changes[name]) for name in changes]
    text = PROMPT + CONTINUATION * 5
    assert exact.perplexity(text, adapters=one).nll != exact.perplexity(text).nll
    assert exact.perplexity(text, adapters={one: 0}) == exact.perplexity(text)
    (score,) = exact.score(PROMPT, [CONTINUATION], **changes["vector"])
    assert score.logprobs != exact.score(PROMPT, [CONTINUATION])[0].logprobs


@pytest.mark.parametrize(
    ("make", "kind", "part"),
    [
        (lambda a: {"adapters": [a, a]}, ValueError, "given twice"),
        (lambda a: {"adapters": {a: float("nan")}}, ValueError, "scale `NaN`"),
        (lambda a: {"adapters": {a: 1e39}}, ValueError, "scale `inf`"),
        (lambda a: {"adapters": {a: "1"}}, TypeError, "must be a number"),
        (lambda a: {"adapters": a.path}, TypeError, "one Adapter"),
        (lambda a: {"adapters": [Path(a.path)]}, TypeError, "load it first"),
        (lambda a: {"adapters": 7}, TypeError, "got int"),
        (lambda a: {"adapters": [(a, 1, 2)]}, TypeError, r"adapters\[0\]"),
        (lambda a: {"control_vector": a}, TypeError, "ControlVector"),
        (lambda a: {"adapters": a, "control_layers": (1, 1)}, ValueError, "give `control_vector`"),
        (lambda _: {"control_layers": 3, "control_vector": []}, TypeError, "pair of the first and the last layer"),
    ],
)
def test_wrong_adapters_are_refused(
    make: Callable[[Adapter], dict[str, Any]], kind: type[Exception], part: str, model: Model, tmp_path: Path
) -> None:
    adapter = changes_of(model, tmp_path)["one"]["adapters"]
    wrong = make(adapter)
    for call in (
        lambda: model.generate(PROMPT, **wrong),
        lambda: model.score(PROMPT, [CONTINUATION], **wrong),
        lambda: model.perplexity(PROMPT, **wrong),
    ):
        with pytest.raises(kind, match=part):
            call()
    with pytest.raises(kind, match=rf"prompts\[0\].*{part}"):
        model.generate_batch([PROMPT], **wrong).results()
    assert len(tokens_of(model, {"adapters": adapter})) == LENGTH


@pytest.mark.parametrize("layers", [(0, 1), (1, 2), (2, 1)])
def test_layers_that_cannot_be_moved_are_refused(layers: tuple[int, int], model: Model, tmp_path: Path) -> None:
    vector = changes_of(model, tmp_path)["vector"]["control_vector"]
    with pytest.raises(ValueError, match="range of the layers"):
        model.generate(PROMPT, control_vector=vector, control_layers=layers)
    with pytest.raises(ValueError, match="not finite"):
        model.generate(PROMPT, control_vector={vector: float("inf")})


def test_adapters_of_another_model_are_refused(model: Model, exact: Model, tmp_path: Path) -> None:
    adapter = changes_of(exact, tmp_path)["one"]["adapters"]
    with pytest.raises(AdapterError, match="belongs to another model"):
        model.generate(PROMPT, adapters=adapter)
    with pytest.raises(AdapterError, match="belongs to another model"):
        model.score(PROMPT, [CONTINUATION], adapters=adapter)
    assert len(tokens_of(exact, {"adapters": adapter})) == LENGTH


def test_activated_adapters_are_refused(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "activated.gguf"
    path.write_bytes(tiny_adapter(untied_llama()).set("adapter.alora.invocation_tokens", array(U32, [7, 8])).to_bytes())
    adapter = model.load_adapter(path)
    with pytest.raises(AdapterError, match="works from its invocation tokens on"):
        model.generate(PROMPT, adapters=adapter)
    assert len(tokens_of(model, {"adapters": {adapter: 0}})) == LENGTH, "at scale 0 it is not there"


def test_requests_go_on_with_an_adapter_that_is_closed(exact: Model, tmp_path: Path) -> None:
    changes = changes_of(exact, tmp_path)
    alone = {name: tokens_of(exact, changes[name]) for name in ("one", "two")}
    adapter = changes["one"]["adapters"]
    running, queued = (exact.generate(PROMPT, max_tokens=LENGTH, sampling=GREEDY, ignore_eos=True, adapters=adapter) for _ in range(2))
    next(running)
    adapter.close()
    with pytest.raises(ClosedError, match=r"blocks\.gguf"):
        exact.generate(PROMPT, adapters=adapter)
    with pytest.raises(ClosedError, match=r"blocks\.gguf"):
        exact.score(PROMPT, [CONTINUATION], adapters=[adapter])
    assert list(queued.result().tokens) == alone["one"]
    assert list(running.result().tokens) == alone["one"]
    # Nothing refers to the other one while a request uses it.
    stream = exact.generate(PROMPT, max_tokens=LENGTH, sampling=GREEDY, ignore_eos=True, **changes["two"])
    changes.clear()
    del adapter
    gc.collect()
    assert list(stream.result().tokens) == alone["two"]


def test_the_same_file_loaded_again_is_another_adapter(model: Model, tmp_path: Path) -> None:
    first = changes_of(model, tmp_path)["one"]["adapters"]
    for _ in range(3):
        done = model.generate(PROMPT, max_tokens=1, cache_prompt=True, adapters=first).result()
        assert done.usage.cached_tokens == 0, "what was computed with a closed adapter is of no use to others"
        first.close()
        first = model.load_adapter(first.path)


def test_closing_the_model_ends_requests_with_adapters(base: Path, tmp_path: Path) -> None:
    model = Model.load(base, context_size=1024, threads=1, max_sequences=4)
    changes = changes_of(model, tmp_path)
    streams = [model.generate(PROMPT, ignore_eos=True, **changes[name]) for name in changes]
    next(streams[1])
    model.close()
    for stream in streams:
        with pytest.raises(ClosedError):
            stream.result()
    with pytest.raises(ClosedError):
        model.generate(PROMPT, **changes["one"])
    changes["one"]["adapters"].close()


def test_hundreds_of_adapters_and_scales_are_told_apart(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(tiny_adapter(untied_llama()).to_bytes())
    adapters = [model.load_adapter(path) for _ in range(150)]
    alone = scores_of(model, {"adapters": adapters[0]})
    streams = [model.generate(PROMPT, max_tokens=2, cache_prompt=True, adapters=adapter, ignore_eos=True) for adapter in adapters]
    assert {stream.result().usage.cached_tokens for stream in streams} == {0}, "each is one of its own"
    assert np.abs(scores_of(model, {"adapters": [(adapter, 1 / 150) for adapter in adapters]}) - alone).max() < NOISE
    for index in range(300):
        scale = 1 + index * 1e-4
        done = model.generate(PROMPT, max_tokens=1, cache_prompt=True, adapters={adapters[0]: scale}).result()
        assert done.usage.cached_tokens == (len(PROMPT) - 1 if index == 0 else 0)
    assert np.abs(scores_of(model, {"adapters": adapters[0]}, cache_prompt=True) - alone).max() < NOISE


def test_adapters_that_come_and_go_keep_memory_flat(base: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "a.gguf"
    adapter.write_bytes(tiny_adapter(untied_llama()).to_bytes())
    program = """
        import resource, sys
        from tabagent import Model
        def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with Model.load(sys.argv[1], context_size=256, threads=1, max_sequences=4, cache_bytes=1 << 16) as model:
            def cycle(index):
                with model.load_adapter(sys.argv[2]) as adapter:
                    changes = [{adapter: 1}, {adapter: index}, None]
                    streams = [model.generate([1, *range(40, 80)], max_tokens=3, cache_prompt=True, adapters=each) for each in changes]
                for stream in streams: stream.result()
            for index in range(2, 200): cycle(index)
            before = peak()
            for index in range(1000): cycle(index + 2)
            print(peak() - before)
    """
    assert int(child.check(program, base, adapter, timeout_s=600)) < 4096, "KiB"


def test_sessions_have_adapters_of_their_own(model: Model, tmp_path: Path) -> None:
    changes = changes_of(model, tmp_path)
    for name in ("base", "one", "vector", "one and vector"):
        with model.session(sampling=GREEDY, **changes[name]) as session:
            session.append(PROMPT, add_special=False)
            parts = [session.generate(max_tokens=LENGTH // 2, ignore_eos=True).result() for _ in range(2)]
            assert [token for part in parts for token in part.tokens] == by_hand(model, changes[name])
            assert parts[1].usage.cached_tokens == len(PROMPT) + LENGTH // 2 - 1
            with pytest.raises(ValueError, match="a session has its own adapters"):
                model.generate(session, **(changes["half"] | {"max_tokens": 1}))


def test_saved_sessions_go_on_with_their_adapters(model: Model, tmp_path: Path) -> None:
    changes = changes_of(model, tmp_path)
    path = tmp_path / "a.session"
    for name in ("base", "one", "vector", "one and vector"):
        with model.session(sampling=GREEDY, **changes[name]) as session:
            session.append(PROMPT, add_special=False)
            first = session.generate(max_tokens=LENGTH // 2, ignore_eos=True).result()
            session.save(path)
        with model.load_session(path, **changes[name]) as loaded:
            second = loaded.generate(max_tokens=LENGTH // 2, ignore_eos=True).result()
            assert [*first.tokens, *second.tokens] == by_hand(model, changes[name])
            assert second.usage.cached_tokens == len(PROMPT) + LENGTH // 2 - 1
        for other in changes.keys() - {name}:
            with pytest.raises(StateError, match="the saved session was computed with"):
                model.load_session(path, **changes[other])


def test_adapters_of_a_saved_session_are_told_apart_by_what_they_are(model: Model, tmp_path: Path) -> None:
    """Not by their names, and in another load of the model as well."""
    file = write_named(tmp_path / "one", seed=1)
    with model.load_adapter(file) as one, model.session(sampling=GREEDY, adapters={one: 0.5}) as session:
        session.append(PROMPT, add_special=False)
        session.save(tmp_path / "a.session")
    again = write_named(tmp_path / "two", seed=1)
    with model.load_adapter(again) as same:
        model.load_session(tmp_path / "a.session", adapters=[(same, 0.5)]).close()
        with pytest.raises(StateError, match=r"`adapter\.gguf` at scale 0\.5, and `adapter\.gguf` at scale 1 is given; give `load_session` the same"):
            model.load_session(tmp_path / "a.session", adapters=same)
    other = write_named(tmp_path / "three", seed=2)
    with model.load_adapter(other) as different, pytest.raises(StateError, match="give `load_session` the same adapters"):
        model.load_session(tmp_path / "a.session", adapters=[(different, 0.5)])
    with pytest.raises(StateError, match="and nothing that changes the model is given"):
        model.load_session(tmp_path / "a.session")
