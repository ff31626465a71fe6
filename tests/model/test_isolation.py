"""`Model.load(isolation="process")`: the same answers as from a model in this process."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import child
import needs
from support.isolated import child_of, children, is_running, wait_for_end, zombies
from support.real_adapters import write_adapter, write_control_vector
from support.tiny_embedders import tiny_embedder
from support.tiny_models import tiny_llama
from tabagent import Model, ModelLoadCancelledError, ModelLoadError, ModelNotFoundError, SamplerConfig, SpeculativeConfig, UnsupportedModelError
from tabagent.errors import AdapterError, ClosedError, InvalidModelError

PROMPT = "Once upon a time"
SEEDED = SamplerConfig(temperature=0.8, seed=7)


@pytest.fixture(scope="module")
def apart(smollm2_path: Path) -> Iterator[Model]:
    """SmolLM2 in a process of its own."""
    with Model.load(smollm2_path, context_size=512, threads=1, isolation="process") as model:
        yield model


def text(model: Model, prompt: str = PROMPT, **options: Any) -> str:
    return model.generate(prompt, **{"max_tokens": 24, "sampling": SEEDED, **options}).result().text


def test_facts_metadata_and_vocabulary_are_those_of_the_model(apart: Model, smollm2: Model) -> None:
    theirs, ours = apart.info, smollm2.info
    for name in ("architecture", "parameters", "size", "quantization", "vocab_size", "layers", "memory", "kv_types", "devices", "description"):
        if name != "devices":
            assert getattr(theirs, name) == getattr(ours, name), name
    assert [device.name for device in theirs.devices] == [device.name for device in ours.devices]
    assert theirs.variant.build == ours.variant.build
    assert theirs.variant.library == ours.variant.library
    assert apart.metadata == smollm2.metadata
    assert apart.chat_template() == smollm2.chat_template()
    assert all(apart.token_to_bytes(token) == smollm2.token_to_bytes(token) for token in range(smollm2.vocab_size()))
    assert all(apart.is_eog(token) == smollm2.is_eog(token) for token in range(smollm2.vocab_size()))
    assert (apart.token_bos(), apart.token_eos(), apart.token_nl()) == (smollm2.token_bos(), smollm2.token_eos(), smollm2.token_nl())


@pytest.mark.parametrize("words", ["", "Hello, wörld! 🙂", "<|im_start|>user\nHi<|im_end|>", "a\x00b" + " " * 300, "x" * 20_000], ids=len)
def test_texts_and_tokens(apart: Model, smollm2: Model, words: str) -> None:
    for special in (False, True):
        tokens = apart.tokenize(words, parse_special=special)
        assert tokens == smollm2.tokenize(words, parse_special=special)
        assert apart.detokenize(tokens) == smollm2.detokenize(tokens) == words


def test_a_stream_is_the_same(apart: Model, smollm2: Model) -> None:
    for options in (
        {},
        {"stop": ["."]},
        {"ban": [" was"]},
        {"json_schema": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 8}}, "required": ["name"]}},
        {"grammar": 'root ::= "yes" | "no"'},
        {"logits_processors": [lambda _, logits: logits[:1000].fill(-np.inf)]},
        {"speculative": SpeculativeConfig()},
    ):
        assert text(apart, **options) == text(smollm2, **options), options


def test_events_have_their_probabilities(apart: Model, smollm2: Model) -> None:
    def events(model: Model) -> list[Any]:
        return list(model.generate(PROMPT, max_tokens=8, sampling=SamplerConfig.greedy(), logprobs=3).events())

    assert events(apart) == events(smollm2)


def test_async_streams_and_many_at_once(apart: Model, smollm2: Model) -> None:
    prompts = [f"{index} men went to" for index in range(8)]

    async def read(prompt: str) -> str:
        return "".join([piece async for piece in apart.generate(prompt, max_tokens=16, sampling=SamplerConfig.greedy())])

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*map(read, prompts))

    alone = [text(smollm2, prompt, max_tokens=16, sampling=SamplerConfig.greedy()) for prompt in prompts]
    assert asyncio.run(all_of_them()) == alone


def test_chat_scores_batches_and_sessions(apart: Model, smollm2: Model, tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "Name a colour."}]
    greedy = SamplerConfig.greedy()
    ours, theirs = (model.chat(messages, max_tokens=12, sampling=greedy).result().content for model in (smollm2, apart))
    assert ours == theirs
    assert apart.perplexity(PROMPT * 4) == smollm2.perplexity(PROMPT * 4)
    batches = [[done.text for done in model.generate_batch([PROMPT, "Two"], max_tokens=6, sampling=greedy)] for model in (smollm2, apart)]
    assert batches[0] == batches[1]
    with apart.session() as session:
        session.append(PROMPT)
        begun = session.generate(max_tokens=8, sampling=greedy).result().text
        session.save(tmp_path / "session")
    # Files of both are the same.
    for model in (apart, smollm2):
        with model.load_session(tmp_path / "session") as session:
            rest = session.generate(max_tokens=8, sampling=greedy).result()
            assert begun + rest.text == text(smollm2, max_tokens=16, sampling=greedy)
            assert rest.usage.cached_tokens > 0


def test_adapters_and_control_vectors(apart: Model, smollm2: Model, smollm2_path: Path, tmp_path: Path) -> None:
    greedy = SamplerConfig.greedy()
    path, vector = write_adapter(tmp_path / "a.gguf", smollm2_path), write_control_vector(tmp_path / "v.gguf", smollm2_path)
    texts = []
    for model in (smollm2, apart):
        adapter, control = model.load_adapter(path), model.load_control_vector(vector)
        texts.append([text(model, sampling=greedy, **change) for change in ({}, {"adapters": {adapter: 6.0}}, {"control_vector": {control: 6.0}})])
        adapter.close()
    assert texts[0] == texts[1]
    assert len(set(texts[0])) == 3, "they do something"
    refusals = []
    for model in (smollm2, apart):
        with pytest.raises(AdapterError) as refused:
            model.load_adapter(smollm2_path)
        refusals.append(str(refused.value))
    assert refusals[0] == refusals[1]
    with pytest.raises(FileNotFoundError) as missing:
        apart.load_adapter(tmp_path / "nothing.gguf")
    assert missing.value.filename == str(tmp_path / "nothing.gguf")


def test_cancel_time_limits_and_metrics(apart: Model) -> None:
    stream = apart.generate(PROMPT, max_tokens=400, ignore_eos=True)
    next(stream)
    stream.cancel()
    assert stream.result().finish_reason == "cancelled"
    assert apart.generate(PROMPT, max_tokens=400, ignore_eos=True, timeout=0.05).result().finish_reason == "timeout"
    assert apart.metrics().steps > 0
    assert apart.stats.threads == 1


def test_vectors(minilm_file: Path, minilm: Model) -> None:
    texts = ["a cat", "the dog sleeps", "x " * 700, "é"]
    with Model.load(minilm_file, threads=1, isolation="process") as apart:
        assert np.array_equal(apart.embed(texts, truncate=True), minilm.embed(texts, truncate=True))
        assert np.array_equal(apart.embed_tokens("a cat"), minilm.embed_tokens("a cat"))
        with pytest.raises(UnsupportedModelError, match=r"do not generate text"):
            apart.generate("a", max_tokens=1)


def test_ranks(tmp_path: Path) -> None:
    path = tmp_path / "ranks.gguf"
    path.write_bytes(tiny_embedder("bert", labels=1).to_bytes())
    scores = []
    for isolation in (None, "process"):
        with Model.load(path, threads=1, isolation=isolation) as model:
            scores.append([(found.index, found.score) for found in model.rerank("ab", ["ab a", "b", "aab"])])
    assert scores[0] == scores[1]


def test_vocabulary_alone(smollm2_path: Path, smollm2: Model) -> None:
    with Model.load(smollm2_path, vocab_only=True, isolation="process") as apart:
        assert apart.tokenize(PROMPT) == smollm2.tokenize(PROMPT)


def test_what_needs_the_model_here_is_refused_by_name(apart: Model, smollm2: Model) -> None:
    with pytest.raises(UnsupportedModelError, match=r"`create_context`.*load it without `isolation`"):
        apart.create_context()
    with pytest.raises(UnsupportedModelError, match="isolation"):
        smollm2.generate(PROMPT, max_tokens=2, speculative=SpeculativeConfig(draft_model=apart)).result()
    # Others may draft for it.
    with_drafts = apart.generate(PROMPT, max_tokens=12, sampling=SamplerConfig.greedy(), speculative=SpeculativeConfig(draft_model=smollm2))
    assert with_drafts.result().text == text(smollm2, max_tokens=12, sampling=SamplerConfig.greedy())


def test_two_libraries_side_by_side(smollm2_path: Path, tmp_path: Path, smollm2: Model) -> None:
    other = tmp_path / "lib"
    shutil.copytree(needs.library(), other)
    with (
        Model.load(smollm2_path, context_size=128, threads=1, isolation="process", variant=other) as first,
        Model.load(smollm2_path, context_size=128, threads=1, isolation="process") as second,
    ):
        assert (first.info.variant.library, second.info.variant.library) == (str(other), smollm2.info.variant.library)
        assert len(children()) >= 2
        assert text(first) == text(second) == text(smollm2)


def test_errors_of_a_load_are_those_of_this_process(tmp_path: Path, smollm2_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        Model.load(tmp_path / "nothing.gguf", isolation="process")
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(tiny_llama().to_bytes()[:2000])
    errors: list[InvalidModelError] = []
    for isolation in (None, "process"):
        with pytest.raises(InvalidModelError) as refused:
            Model.load(damaged, isolation=isolation, trial=False)
        errors.append(refused.value)
    assert str(errors[0]) == str(errors[1])
    assert [(error.file, error.offset, error.key, error.tensor, error.rule) for error in errors[:1]] == [
        (error.file, error.offset, error.key, error.tensor, error.rule) for error in errors[1:]
    ]
    with pytest.raises(ValueError, match="`threads` must be between 1 and"):
        Model.load(_tiny(tmp_path), isolation="process", threads=4096)
    with pytest.raises(ModelLoadCancelledError):
        Model.load(smollm2_path, isolation="process", progress=lambda _: False)
    assert zombies() == set()


def test_metadata_overrides_reach_it(tmp_path: Path) -> None:
    texts, path = [], _tiny(tmp_path)
    for isolation in (None, "process"):
        for changed in ({}, {"llama.rope.freq_base": 5.0}, {"tokenizer.ggml.eos_token_id": 7}):
            with Model.load(path, isolation=isolation, threads=1, metadata_overrides=changed) as model:
                texts.append((model.token_eos(), model.perplexity([5, 6, 7, 8, 9, 10, 11, 12]).perplexity))
    assert texts[:3] == texts[3:]
    assert len(set(texts[:3])) == 3, "they do something"


def test_wrong_arguments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _tiny(tmp_path)
    with pytest.raises(ValueError, match="`isolation` must be None or \"process\", got 'thread'"):
        Model.load(path, isolation="thread")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match='`on_crash` must be "error" or "replay"'):
        Model.load(path, isolation="process", on_crash="retry")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`on_crash='replay'` needs `isolation=\"process\"`"):
        Model.load(path, on_crash="replay")
    with pytest.raises(TypeError, match="`isolation` must be a str"):
        Model.load(path, isolation=True)  # type: ignore[arg-type]
    monkeypatch.setattr("tabagent._trial.CHILD", str(tmp_path / "nothing"))
    with pytest.raises(ModelLoadError, match=r"`.*/nothing` does not start"):
        Model.load(path, isolation="process")


def test_closing_ends_the_process_and_running_streams(smollm2_path: Path) -> None:
    model, process = child_of(lambda: Model.load(smollm2_path, context_size=512, threads=1, isolation="process"))
    stream = model.generate(PROMPT, max_tokens=400, ignore_eos=True)
    next(stream)
    model.close()
    assert not is_running(process)
    assert zombies() == set()
    with pytest.raises(ClosedError):
        stream.result()
    with pytest.raises(ClosedError):
        model.tokenize("a")


def test_a_model_that_nobody_has_ends_its_process(tmp_path: Path) -> None:
    model, process = child_of(lambda: Model.load(_tiny(tmp_path), threads=1, isolation="process"))
    del model
    wait_for_end(process)


def test_the_interpreter_ends_with_live_streams(smollm2_path: Path) -> None:
    program = """
        import sys
        from support.isolated import children
        from tabagent import Model
        model = Model.load(sys.argv[1], context_size=512, threads=1, isolation="process")
        streams = [model.generate("Once", max_tokens=400, ignore_eos=True) for _ in range(3)]
        next(streams[0])
        print(*children())
    """
    (process,) = child.check(program, smollm2_path, environment={"PYTHONPATH": str(Path(__file__).parent.parent)}).split()
    wait_for_end(int(process))


def test_a_process_does_not_outlive_a_parent_that_is_killed_and_has_forked(smollm2_path: Path) -> None:
    program = """
        import os, signal, sys, time
        from support.isolated import children
        from tabagent import Model
        model = Model.load(sys.argv[1], context_size=512, threads=1, isolation="process")
        (process,) = children()
        if (fork := os.fork()) == 0:
            # It has copies of the sockets.
            os.close(1)
            os.close(2)
            signal.pause()
        print(process, fork, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    ended = child.run(program, smollm2_path, environment={"PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONWARNINGS": "ignore"})
    process, fork = map(int, ended.out.split())
    try:
        wait_for_end(process)
    finally:
        os.kill(fork, signal.SIGKILL)


def test_a_fork_leaves_the_model_to_its_parent(smollm2_path: Path) -> None:
    program = """
        import os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from tabagent import Model, ForkedError, SamplerConfig
        model = Model.load(sys.argv[1], context_size=512, threads=1, isolation="process")
        ask = {"max_tokens": 8, "sampling": SamplerConfig.greedy()}
        first = model.generate("Once", **ask).result().text
        if (fork := os.fork()) == 0:
            try:
                model.tokenize("a")
            except ForkedError:
                model.close()
                del model
                os._exit(7)
            os._exit(1)
        _, status = os.waitpid(fork, 0)
        assert os.waitstatus_to_exitcode(status) == 7
        assert model.generate("Once", **ask).result().text == first
        model.close()
    """
    child.check(program, smollm2_path)


def _tiny(folder: Path) -> Path:
    path = folder / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    return path
