"""Contexts that several threads share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tabagent import ClosedError, Context, ContextPool, Model

TOKENS = [1, 2, 3, 4]


def logits_of(context: Context) -> Any:
    context.decode(TOKENS)
    return context.logits()


def test_contexts_are_made_when_needed_and_used_again(smollm2: Model) -> None:
    with ContextPool(smollm2, 2, context_size=64, threads=1) as pool:
        assert (pool.made, pool.size) == (0, 2)
        with pool.get() as one:
            expected = logits_of(one)
            with pool.get() as two:
                assert two is not one
                assert np.array_equal(logits_of(two), expected)
                assert pool.made == 2
                with pytest.raises(TimeoutError, match=r"all 2 contexts of the pool are in use, and none came back in 0\.01 seconds"), pool.get(0.01):
                    pass
        # What was decoded is gone.
        with pool.get() as again:
            assert again in {one, two}
            assert again.next_position() == 0
            assert np.array_equal(logits_of(again), expected)
        assert pool.made == 2
    assert one.closed
    assert two.closed
    assert pool.made == 0


def test_threads_share_a_pool(smollm2: Model) -> None:
    with ContextPool(smollm2, 2, context_size=64, threads=1) as pool, ThreadPoolExecutor(6) as threads:
        with pool.get() as context:
            expected = logits_of(context)

        def work(_: int) -> bool:
            with pool.get() as context:
                return np.array_equal(logits_of(context), expected)

        assert all(threads.map(work, range(24)))
        assert pool.made <= 2


def test_errors_leave_the_pool_whole(smollm2: Model) -> None:
    pool = ContextPool(smollm2, 1, context_size=64, threads=1)
    with pytest.raises(ZeroDivisionError), pool.get():
        _ = 1 // 0
    with pool.get() as context:
        context.close()
    assert pool.made == 0
    with pool.get() as context:
        assert len(logits_of(context)) == smollm2.vocab_size()
    pool.close()
    pool.close()
    with pytest.raises(ClosedError, match="the pool is closed"), pool.get():
        pass
    wrong = ContextPool(smollm2, 1, context_size=0)
    for _ in range(2):
        with pytest.raises(ValueError, match="`context_size`"), wrong.get():
            pass
    assert wrong.made == 0


def test_closing_ends_waiting_and_takes_what_comes_back(smollm2: Model) -> None:
    pool = ContextPool(smollm2, 1, context_size=64, threads=1)
    failed: list[BaseException] = []
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        try:
            with pool.get():
                pass
        except ClosedError as error:
            failed.append(error)

    with pool.get() as context:
        thread = threading.Thread(target=wait)
        thread.start()
        waits.wait()
        pool.close()
        thread.join(30)
        assert len(failed) == 1
        assert not context.closed
    assert context.closed
    assert repr(pool) == "<ContextPool closed>"


def test_wrong_arguments_are_named(smollm2: Model, smollm2_path: Path) -> None:
    with pytest.raises(TypeError, match="`model` must be a Model, got str"):
        ContextPool("model.gguf", 1)  # type: ignore[arg-type]
    for size, error in ((0, ValueError), ("2", TypeError)):
        with pytest.raises(error, match="`size`"):
            ContextPool(smollm2, size)  # type: ignore[arg-type]
    with Model.load(smollm2_path, threads=1, context_size=256) as model:
        pool = ContextPool(model, 1)
    with pytest.raises(ClosedError), pool.get():
        pass
