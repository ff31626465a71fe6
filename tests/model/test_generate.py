"""Generating with real models."""

from __future__ import annotations

import itertools
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import needs
import tabagent
from near_ties import assert_alike
from tabagent import ClosedError, Completion, ContextFullError, Model, SamplerConfig

GREEDY = SamplerConfig.greedy()
PROMPT = "Once upon a time"


def text_of(model: Model, prompt: str, **options: Any) -> str:
    return model.generate(prompt, **{"max_tokens": 24, "sampling": GREEDY, **options}).result().text


def test_joined_stream_is_the_result(smollm2: Model) -> None:
    stream = smollm2.generate(PROMPT, max_tokens=24, sampling=GREEDY)
    pieces = list(stream)
    result = stream.result()
    assert len(pieces) > 10, "the text must come in pieces"
    assert "".join(pieces) == result.text
    assert (result.finish_reason, result.usage.completion_tokens, len(result.tokens)) == ("length", 24, 24)
    assert result.usage.prompt_tokens == len(smollm2.tokenize(PROMPT))
    assert smollm2.detokenize(result.tokens) == result.text


async def test_async_stream_gives_the_same(smollm2: Model) -> None:
    wanted = text_of(smollm2, PROMPT)
    assert "".join([text async for text in smollm2.generate(PROMPT, max_tokens=24, sampling=GREEDY)]) == wanted
    assert (await smollm2.generate(PROMPT, max_tokens=24, sampling=GREEDY).aresult()).text == wanted


def test_events_carry_every_token_once(smollm2: Model) -> None:
    stream = smollm2.generate("Emoji: 🎉🚀 数学", max_tokens=48, sampling=GREEDY)
    events = list(stream.events())
    result = stream.result()
    assert tuple(token for event in events for token in event.token_ids) == result.tokens
    assert "".join(event.text for event in events) == result.text


def test_prompt_may_be_tokens_of_any_kind(smollm2: Model) -> None:
    tokens = smollm2.tokenize(PROMPT)
    wanted = text_of(smollm2, PROMPT)
    for prompt in (tokens, tuple(tokens), np.array(tokens), np.array(tokens, np.uint32)):
        assert smollm2.generate(prompt, max_tokens=24, sampling=GREEDY).result().text == wanted


def test_markers_in_a_prompt_are_tokens_unless_turned_off(smollm2: Model) -> None:
    counts = [smollm2.generate("<|im_start|>", max_tokens=0, parse_special=flag).result().usage.prompt_tokens for flag in (True, False)]
    assert counts[0] == 1
    assert counts[1] > 1


@pytest.mark.parametrize("count", [0, 1, 2])
def test_max_tokens_is_exact(smollm2: Model, count: int) -> None:
    result = smollm2.generate(PROMPT, max_tokens=count, sampling=GREEDY).result()
    assert (len(result.tokens), result.finish_reason) == (count, "length")
    assert result.text == smollm2.detokenize(result.tokens)


def test_stop_string_across_tokens_never_leaks(smollm2: Model) -> None:
    whole = text_of(smollm2, PROMPT)
    for start in range(2, len(whole) - 6, 7):
        stop = whole[start : start + 5]
        stream = smollm2.generate(PROMPT, max_tokens=24, sampling=GREEDY, stop=stop)
        text = "".join(stream)
        result = stream.result()
        assert text == whole[: whole.index(stop)]
        assert result.text == text
        assert result.finish_reason == "stop"
        assert result.stop_match is not None
        assert (result.stop_match.kind, result.stop_match.value) == ("string", stop)


def test_first_of_several_stop_strings_wins(smollm2: Model) -> None:
    whole = text_of(smollm2, PROMPT)
    stops = [whole[20:24], whole[8:12]]
    assert text_of(smollm2, PROMPT, stop=stops) == whole[: min(whole.index(stop) for stop in stops)]


def test_stop_token_is_not_part_of_the_result(smollm2: Model) -> None:
    tokens = smollm2.generate(PROMPT, max_tokens=24, sampling=GREEDY).result().tokens
    result = smollm2.generate(PROMPT, max_tokens=24, sampling=GREEDY, stop_tokens=[tokens[5]]).result()
    assert result.tokens == tokens[: tokens.index(tokens[5])]
    assert result.stop_match is not None
    assert (result.stop_match.kind, result.stop_match.value) == ("token", tokens[5])


def test_end_of_generation_stops_unless_ignored(smollm2: Model) -> None:
    prompt = "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\n"
    result = smollm2.generate(prompt, max_tokens=200, sampling=GREEDY).result()
    assert result.finish_reason == "stop"
    assert result.stop_match is not None
    assert result.stop_match.kind == "eog"
    assert isinstance(result.stop_match.value, int)
    assert smollm2.is_eog(result.stop_match.value)
    longer = smollm2.generate(prompt, max_tokens=len(result.tokens) + 8, sampling=GREEDY, ignore_eos=True).result()
    assert len(longer.tokens) == len(result.tokens) + 8
    assert longer.tokens[: len(result.tokens)] == result.tokens


def test_logprobs_carry_the_bytes_of_their_tokens(smollm2: Model) -> None:
    result = smollm2.generate(PROMPT, max_tokens=6, sampling=GREEDY, logprobs=20).result()
    assert result.logprobs is not None
    assert b"".join(entry.bytes for entry in result.logprobs).decode() == result.text
    for entry in result.logprobs:
        assert len(entry.top) == 20
        assert all(top.bytes == smollm2.token_to_bytes(top.token) and top.text == top.bytes.decode(errors="replace") for top in entry.top)


def test_sampled_logprobs_are_of_what_the_token_was_drawn_from(smollm2: Model) -> None:
    config = SamplerConfig(temperature=1.5, top_k=5, top_p=1.0, min_p=0.0, seed=3)
    result = smollm2.generate(PROMPT, max_tokens=4, sampling=config, logprobs=9, logprobs_mode="sampled").result()
    assert result.logprobs is not None
    for entry in result.logprobs:
        assert len(entry.top) == 5
        assert math.isclose(sum(math.exp(top.logprob) for top in entry.top), 1.0, rel_tol=1e-5)
        assert entry.logprob in [top.logprob for top in entry.top if top.token == entry.token]
    prompt = smollm2.tokenize(PROMPT)
    with smollm2.create_context(context_size=64) as context:
        context.decode(prompt)
        expected = config.probabilities(context.logits(), prompt)
    first = result.logprobs[0]
    assert np.allclose([math.exp(top.logprob) for top in first.top], [expected[top.token] for top in first.top], atol=1e-2)
    greedy = smollm2.generate(PROMPT, max_tokens=2, sampling=GREEDY, logprobs=3, logprobs_mode="sampled").result()
    assert greedy.logprobs is not None
    assert [(entry.logprob, len(entry.top)) for entry in greedy.logprobs] == [(0.0, 1)] * 2
    with pytest.raises(ValueError, match="`logprobs_mode` must be `raw` or `sampled`"):
        smollm2.generate(PROMPT, logprobs=1, logprobs_mode="both")  # type: ignore[arg-type]


def test_prompt_too_long_names_both_numbers(smollm2: Model) -> None:
    with pytest.raises(ContextFullError, match=r"prompt has 2,000 tokens but the context holds 512"):
        smollm2.generate([5] * 2000)


def test_very_long_prompt_is_refused_before_it_is_tokenized(gemma: Model) -> None:
    """Characters that the vocabulary does not have take llama.cpp time that grows with their square."""
    with pytest.raises(ContextFullError, match=r"prompt has at least \d+ tokens but the context holds 512"):
        gemma.generate("\U00013000" * 1_000_000)


def test_full_context_ends_with_length(smollm2: Model) -> None:
    result = smollm2.generate([5] * 508, sampling=GREEDY, ignore_eos=True).result()
    assert result.finish_reason == "length"
    assert 1 <= len(result.tokens) <= 5


def test_seed_makes_a_text_reproducible(smollm2: Model) -> None:
    hot = SamplerConfig(temperature=1.5, top_k=0, top_p=1, min_p=0)
    one, again = (text_of(smollm2, PROMPT, sampling=hot.replace(seed=7)) for _ in range(2))
    others = {text_of(smollm2, PROMPT, sampling=hot.replace(seed=seed)) for seed in range(8, 12)}
    assert one == again
    assert len(others | {one}) >= 4


def test_logprobs_are_those_of_the_logits(smollm2: Model) -> None:
    result = smollm2.generate(PROMPT, max_tokens=4, sampling=GREEDY, logprobs=3).result()
    assert result.logprobs is not None
    assert [entry.token for entry in result.logprobs] == list(result.tokens)
    with smollm2.create_context(context_size=64, threads=1) as context:
        context.decode(smollm2.tokenize(PROMPT))
        logits = context.logits().astype(np.float64)
    expected = logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())
    best = np.argsort(-expected)[:3]
    first = result.logprobs[0]
    assert [entry.token for entry in first.top] == best.tolist()
    assert np.allclose([entry.logprob for entry in first.top], expected[best], atol=2e-2)
    assert math.isclose(first.logprob, first.top[0].logprob)
    assert smollm2.generate(PROMPT, max_tokens=2, logprobs=0).result().logprobs is not None
    assert smollm2.generate(PROMPT, max_tokens=2).result().logprobs is None


def test_bias_bans_and_forces_tokens(smollm2: Model) -> None:
    first = smollm2.generate(PROMPT, max_tokens=1, sampling=GREEDY).result().tokens[0]
    banned = smollm2.generate(PROMPT, max_tokens=8, sampling=GREEDY.replace(logit_bias={first: -math.inf})).result()
    assert first not in banned.tokens
    forced = smollm2.generate(PROMPT, max_tokens=3, sampling=GREEDY.replace(logit_bias={123: 1e4})).result()
    assert forced.tokens == (123, 123, 123)


def test_bias_of_a_token_out_of_range_is_refused(smollm2: Model) -> None:
    with pytest.raises(ValueError, match="logit_bias"):
        smollm2.generate(PROMPT, sampling=SamplerConfig(logit_bias={smollm2.vocab_size(): 1})).result()


def test_sixteen_threads_get_the_texts_of_being_alone(smollm2: Model) -> None:
    prompts = [f"Story number {number}:" for number in range(64)]
    options: dict[str, Any] = {"max_tokens": 4, "sampling": GREEDY, "cache_prompt": False}
    alone = {prompt: smollm2.generate(prompt, **options).result() for prompt in prompts}
    together: dict[str, Completion] = {}
    errors: list[BaseException] = []

    def work(own: list[str]) -> None:
        try:
            for prompt in own:
                stream = smollm2.generate(prompt, **options)
                pieces = list(stream)
                together[prompt] = stream.result()
                assert "".join(pieces) == together[prompt].text
        except BaseException as error:  # noqa: BLE001 (shown by the main thread)
            errors.append(error)

    threads = [threading.Thread(target=work, args=(prompts[first : first + 4],)) for first in range(0, 64, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert set(together) == set(alone)
    for prompt, want in alone.items():
        assert_alike(smollm2, prompt, together[prompt].tokens, want.tokens)


def test_two_models_work_at_once(smollm2: Model, gemma: Model) -> None:
    wanted = text_of(smollm2, PROMPT), text_of(gemma, PROMPT)
    one, two = (model.generate(PROMPT, max_tokens=24, sampling=GREEDY) for model in (smollm2, gemma))
    pairs = list(itertools.zip_longest(one, two, fillvalue=""))
    assert tuple("".join(side) for side in zip(*pairs, strict=True)) == wanted


def test_closing_the_model_ends_its_streams(smollm2_path: Path) -> None:
    model = Model.load(smollm2_path, context_size=512, threads=1)
    stream = model.generate(PROMPT, sampling=GREEDY, ignore_eos=True)
    assert next(stream)
    model.close()
    model.close()
    with pytest.raises(ClosedError):
        list(stream)
    with pytest.raises(ClosedError):
        model.generate(PROMPT)
    with pytest.raises(ClosedError):
        model.tokenize(PROMPT)
    with pytest.raises(ClosedError), model:
        pass
    assert model.info.architecture == "llama"
    assert "closed" in repr(model)


def test_stream_keeps_its_model_alive(smollm2_path: Path) -> None:
    stream = Model.load(smollm2_path, context_size=256, threads=1).generate(PROMPT, max_tokens=8, sampling=GREEDY)
    assert len(stream.result().tokens) == 8


def test_vocabulary_alone_cannot_generate(smollm2_vocabulary: Model) -> None:
    with pytest.raises(tabagent.UnsupportedModelError):
        smollm2_vocabulary.generate(PROMPT)
    with pytest.raises(tabagent.UnsupportedModelError):
        smollm2_vocabulary.create_context()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"prompt": b"bytes"}, TypeError),
        ({"prompt": None}, TypeError),
        ({"prompt": 5}, TypeError),
        ({"prompt": [1.0]}, TypeError),
        ({"prompt": [True]}, TypeError),
        ({"prompt": []}, ValueError),
        ({"prompt": ""}, ValueError),
        ({"prompt": "\ud800"}, ValueError),
        ({"prompt": [10**6]}, ValueError),
        ({"prompt": [-1]}, ValueError),
        ({"prompt": np.array([1.0])}, TypeError),
        ({"max_tokens": -1}, ValueError),
        ({"max_tokens": 1.5}, TypeError),
        ({"max_tokens": True}, TypeError),
        ({"sampling": {"temperature": 1}}, TypeError),
        ({"stop": b"x"}, TypeError),
        ({"stop": 5}, TypeError),
        ({"stop": ["a", 5]}, TypeError),
        ({"stop": ""}, ValueError),
        ({"stop": ["a", ""]}, ValueError),
        ({"stop": "\udfff"}, ValueError),
        ({"stop_tokens": "a"}, TypeError),
        ({"stop_tokens": [10**6]}, ValueError),
        ({"ignore_eos": 1}, TypeError),
        ({"logprobs": -1}, ValueError),
        ({"logprobs": True}, TypeError),
        ({"add_special": "yes"}, TypeError),
        ({"parse_special": None}, TypeError),
        ({"cache_prompt": 0}, TypeError),
    ],
)
def test_wrong_argument_names_itself(smollm2: Model, change: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        smollm2.generate(**{"prompt": PROMPT, **change})
    (name,) = change
    assert name in str(caught.value)
    assert not isinstance(caught.value, UnicodeError)


def test_embedded_nul_is_text(smollm2: Model) -> None:
    result = smollm2.generate("a\0b", max_tokens=1, sampling=GREEDY).result()
    assert result.usage.prompt_tokens == len(smollm2.tokenize("a\0b"))


def test_no_gpu_warns_when_layers_were_asked_for(smollm2: Model, smollm2_path: Path) -> None:
    needs.machine(not any(device.is_gpu for device in smollm2.info.devices), "this machine has a GPU")
    with pytest.warns(RuntimeWarning, match="gpu_layers=5"):
        Model.load(smollm2_path, gpu_layers=5, context_size=64, threads=1).close()


def test_info_says_what_was_asked_and_got(smollm2: Model, smollm2_path: Path) -> None:
    info = smollm2.info
    assert info.path == str(smollm2_path)
    assert (info.architecture, info.vocab_size, info.embedding_dim, info.layers, info.layers_on_gpu) == ("llama", 49152, 576, 30, 0)
    assert info.quantization == "Q4_1"
    assert (info.context_size, info.max_sequences) == (512, 8)
    assert info.variant.requested == "auto"
    assert info.variant.name == info.variant.cpu_module
    assert Path(info.variant.library).is_dir()
    assert info.variant.reason
    assert "0.5.0" in info.variant.build
    assert [device.kind for device in info.devices if device.name == "CPU"] == ["cpu"]
    assert smollm2.metadata["general.architecture"] == "llama"
    assert "<|im_start|>" in (smollm2.chat_template() or "")


def test_other_library_module_in_the_same_process_is_refused(smollm2: Model, smollm2_path: Path) -> None:
    other = "x64" if smollm2.info.variant.name != "x64" else "sse42"
    with pytest.raises(tabagent.LibraryAlreadyLoadedError):
        Model.load(smollm2_path, variant=other)
    Model.load(smollm2_path, variant=smollm2.info.variant.name, vocab_only=True).close()


def test_missing_and_damaged_files(tmp_path: Path, smollm2: Model) -> None:
    with pytest.raises(tabagent.ModelNotFoundError, match=r"nothing\.gguf"):
        Model.load(tmp_path / "nothing.gguf")
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(tabagent.InvalidModelError, match=r"damaged\.gguf"):
        Model.load(damaged)
    with pytest.raises(tabagent.ModelLoadError):
        Model.load(tmp_path)


def test_progress_can_stop_the_load(smollm2_path: Path) -> None:
    parts: list[float] = []
    Model.load(smollm2_path, progress=parts.append, context_size=64, threads=1).close()
    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    with pytest.raises(tabagent.ModelLoadCancelledError):
        Model.load(smollm2_path, progress=lambda _: False)

    def fails(_: float) -> None:
        raise KeyError(_)

    with pytest.raises(KeyError):
        Model.load(smollm2_path, progress=fails)
