"""Python functions that change logits."""

from __future__ import annotations

import gc
import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from child import run
from near_ties import assert_alike
from tabagent import ClosedError, Model, SamplerConfig, SamplingError

GREEDY = SamplerConfig.greedy()
PROMPT = "Once upon a time"
Tokens = NDArray[np.int32]
Logits = NDArray[np.float32]


def test_processors_see_all_tokens_and_decide(smollm2: Model) -> None:
    prompt = smollm2.tokenize(PROMPT)
    seen: list[list[int]] = []

    def count_up(tokens: Tokens, logits: Logits) -> None:
        assert tokens.dtype == np.int32
        assert logits.dtype == np.float32
        assert logits.shape == (smollm2.vocab_size(),)
        assert not tokens.flags.writeable
        seen.append(tokens.tolist())
        logits[:] = -np.inf
        logits[100 + len(tokens)] = 0

    result = smollm2.generate(PROMPT, max_tokens=5, logits_processors=[count_up]).result()
    assert list(result.tokens) == [100 + len(prompt) + i for i in range(5)]
    assert seen == [prompt + list(result.tokens[:i]) for i in range(5)]


def test_processors_run_in_order_on_the_models_logits(smollm2: Model) -> None:
    with smollm2.create_context(context_size=64) as context:
        context.decode(smollm2.tokenize(PROMPT))
        expected = context.logits()
    rows: list[Logits] = []

    def first(_: Tokens, logits: Logits) -> None:
        rows.append(logits.copy())
        logits += 1

    def second(_: Tokens, logits: Logits) -> None:
        rows.append(logits.copy())

    plain = smollm2.generate(PROMPT, max_tokens=8, sampling=GREEDY).result()
    assert smollm2.generate(PROMPT, max_tokens=8, sampling=GREEDY, logits_processors=[first, second]).result().text == plain.text
    assert np.allclose(rows[0], expected, atol=3e-2)
    assert np.array_equal(rows[1], rows[0] + 1)
    assert len(rows) == 16


def test_kept_arrays_stay_valid(smollm2: Model) -> None:
    kept: list[tuple[Tokens, Logits, Logits]] = []

    def keep(tokens: Tokens, logits: Logits) -> None:
        kept.append((tokens, logits, logits.copy()))

    smollm2.generate(PROMPT, max_tokens=12, sampling=GREEDY, logits_processors=[keep]).result()
    smollm2.generate(PROMPT, max_tokens=12, sampling=GREEDY).result()
    for tokens, logits, copy in kept:
        assert np.array_equal(logits, copy)
        logits[:] = 0
        assert tokens[-1] >= 0


def test_changes_of_shape_and_type_change_nothing(smollm2: Model) -> None:
    wanted = smollm2.generate(PROMPT, max_tokens=6, sampling=GREEDY).result().text

    def reshape(_: Tokens, logits: Logits) -> None:
        logits.shape = (2, -1)
        logits.flags.writeable = False

    assert smollm2.generate(PROMPT, max_tokens=6, sampling=GREEDY, logits_processors=[reshape]).result().text == wanted


def boom(_: Tokens, __: Logits) -> None:
    message = "boom"
    raise LookupError(message)


def resize(_: Tokens, logits: Logits) -> None:
    logits.resize(10)


def returns(_: Tokens, logits: Logits) -> Any:
    return logits * 2


def all_nan(_: Tokens, logits: Logits) -> None:
    logits[:] = np.nan


@pytest.mark.parametrize(
    ("processor", "cause", "text"),
    [
        (boom, LookupError, r"`logits_processors\[1\]` raised LookupError: boom"),
        (resize, ValueError, "raised ValueError"),
        (returns, TypeError, "must change `logits` in place and return None"),
        (all_nan, None, "none of the `49152` tokens can be chosen"),
    ],
)
def test_processor_that_fails_ends_its_stream_alone(smollm2: Model, processor: Any, cause: type[Exception] | None, text: str) -> None:
    wanted = smollm2.generate(PROMPT, max_tokens=24, sampling=GREEDY, ignore_eos=True).result().tokens
    other = smollm2.generate(PROMPT, max_tokens=24, sampling=GREEDY, ignore_eos=True)
    stream = smollm2.generate(PROMPT, max_tokens=24, logits_processors=[lambda *_: None, processor])
    for _ in range(2):
        with pytest.raises(SamplingError, match=text) as caught:
            stream.result()
        if cause is None:
            assert caught.value.__cause__ is None
        else:
            assert isinstance(caught.value.__cause__, cause)
            assert caught.value.__cause__.__traceback__ is not None
    assert stream.finish_reason == "error"
    assert_alike(smollm2, PROMPT, other.result().tokens, wanted)


async def test_async_readers_get_the_cause_too(smollm2: Model) -> None:
    stream = smollm2.generate(PROMPT, max_tokens=8, logits_processors=[boom])
    with pytest.raises(SamplingError, match="boom") as caught:
        await stream.aresult()
    assert isinstance(caught.value.__cause__, LookupError)


def test_single_nan_is_a_token_that_cannot_be(smollm2: Model) -> None:
    wanted = smollm2.generate(PROMPT, max_tokens=6, sampling=GREEDY).result()

    def nan_of_the_best(_: Tokens, logits: Logits) -> None:
        logits[logits.argmax()] = np.nan

    result = smollm2.generate(PROMPT, max_tokens=6, sampling=GREEDY, logits_processors=[nan_of_the_best]).result()
    assert result.tokens[0] != wanted.tokens[0]


def test_others_are_served_while_a_processor_is_slow(smollm2: Model) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(_: Tokens, __: Logits) -> None:
        entered.set()
        assert leave.wait(30)

    stream = smollm2.generate(PROMPT, max_tokens=2, sampling=GREEDY, logits_processors=[slow])
    assert entered.wait(30)
    assert smollm2.generate(PROMPT, max_tokens=4, sampling=GREEDY).result().finish_reason == "length"
    assert stream.finish_reason is None
    leave.set()
    assert len(stream.result().tokens) == 2


def test_cancel_and_close_do_not_wait_for_a_processor(smollm2_path: Any) -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow(_: Tokens, __: Logits) -> None:
        entered.set()
        assert leave.wait(30)

    with Model.load(smollm2_path, context_size=64, threads=1) as model:
        stream = model.generate(PROMPT, logits_processors=[slow])
        assert entered.wait(30)
        stream.cancel()
        assert stream.result().finish_reason == "cancelled"
        entered.clear()
        stream = model.generate(PROMPT, logits_processors=[slow])
        assert entered.wait(30)
    with pytest.raises(ClosedError):
        stream.result()
    leave.set()


def test_threads_of_processors_end_with_their_streams(smollm2: Model) -> None:
    for _ in range(3):
        smollm2.generate(PROMPT, max_tokens=3, logits_processors=[lambda *_: None]).result()
    stream = smollm2.generate(PROMPT, logits_processors=[lambda *_: None])
    next(stream)
    del stream
    for thread in threading.enumerate():
        if thread.name == "tabagent-processors":
            thread.join(30)
            assert not thread.is_alive()


def test_raw_logprobs_are_those_before_the_processors(smollm2: Model) -> None:
    def force(_: Tokens, logits: Logits) -> None:
        logits[:] = -np.inf
        logits[7] = 0

    result = smollm2.generate(PROMPT, max_tokens=1, sampling=GREEDY, logits_processors=[force], logprobs=1).result()
    plain = smollm2.generate(PROMPT, max_tokens=1, sampling=GREEDY, logprobs=1).result()
    assert result.logprobs is not None
    assert plain.logprobs is not None
    assert (result.logprobs[0].token, result.logprobs[0].top[0].token) == (7, plain.logprobs[0].token)
    assert result.logprobs[0].logprob < plain.logprobs[0].logprob


@pytest.mark.filterwarnings("error")
def test_async_processors_are_refused_without_a_warning(smollm2: Model) -> None:
    async def wait(*_: Any) -> None: ...

    later: Any = wait

    with pytest.raises(SamplingError, match="must be a plain function, and this one is async; write it with `def`"):
        smollm2.generate(PROMPT, max_tokens=1, logits_processors=[later]).result()
    gc.collect()


@pytest.mark.parametrize(
    ("value", "named"),
    [(boom, "put the function into a list"), ("ab", "must be a sequence"), ([boom, 3], r"`logits_processors\[1\]`"), (3, "must be a sequence")],
)
def test_wrong_processors_are_named(smollm2: Model, value: Any, named: str) -> None:
    with pytest.raises(TypeError, match=named):
        smollm2.generate(PROMPT, logits_processors=value)


@pytest.mark.parametrize("ending", ["pass", "stream = None", "model.close()", "import sys; sys.exit(0)"])
def test_exit_with_a_processor_at_work_is_clean(smollm2_path: Any, ending: str) -> None:
    ended = run(
        f"""
        import threading
        from tabagent import Model
        entered = threading.Event()
        def slow(tokens, logits):
            entered.set()
            threading.Event().wait()  # for ever
        model = Model.load({str(smollm2_path)!r}, context_size=64, threads=1)
        stream = model.generate("Once", logits_processors=[slow])
        waiting = model.generate("Once", logits_processors=[lambda *_: None])
        entered.wait()
        {ending}
        """
    )
    assert (ended.code, ended.err) == (0, "")


def test_what_becomes_of_the_array_is_no_matter(smollm2: Model, capfd: pytest.CaptureFixture[str]) -> None:
    plain = smollm2.generate(PROMPT, max_tokens=6, sampling=GREEDY).result()
    kept: list[Logits] = []

    def reshape(_: Tokens, logits: Logits) -> None:
        logits.shape = (2, -1)
        kept.append(logits)

    def retype(_: Tokens, logits: Logits) -> None:
        kept.append(logits.view(np.int32).view(np.float32))
        logits.setflags(write=False)
        for old in kept:
            old.setflags(write=False)

    def swap(_: Tokens, logits: Logits) -> None:
        kept.append(logits)
        logits = np.zeros(3, dtype=np.float32)
        logits[:] = 1

    for sabotage in ([reshape], [retype], [swap], [reshape, retype, swap]):
        done = smollm2.generate(PROMPT, max_tokens=6, sampling=GREEDY, logits_processors=sabotage).result()
        assert done.tokens == plain.tokens
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "name",
    ["base_shape", "base_dtype", "resize", "base_resize"],
)
def test_processor_that_goes_for_the_memory_is_an_error_and_prints_nothing(smollm2: Model, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    def sabotage(_: Tokens, logits: Any) -> None:
        if name == "base_shape":
            logits.base.shape = (2, -1)
        elif name == "base_dtype":
            logits.base.dtype = np.int32
        elif name == "resize":
            logits.resize(7)
        else:
            logits.base.resize(7)

    with pytest.raises(SamplingError, match=r"`logits_processors\[0\]` raised"):
        smollm2.generate(PROMPT, max_tokens=6, logits_processors=[sabotage]).result()
    assert capfd.readouterr().err == ""
    assert smollm2.generate(PROMPT, max_tokens=3, sampling=GREEDY).result().tokens
