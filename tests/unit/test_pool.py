"""Pools of models: loaded once, shared, closed when their memory is needed, never while they are in use."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.tiny_models import tiny_llama
from tabagent import ClosedError, ForkedError, Model, ModelNotFoundError, ModelPool, OutOfMemoryError, predict_memory
from waiting import until

OPTIONS: dict[str, Any] = {"threads": 1, "context_size": 64, "max_sequences": 1}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    found = {}
    for seed, name in enumerate("abc"):
        found[name] = tmp_path / f"{name}.gguf"
        found[name].write_bytes(tiny_llama(seed=seed).to_bytes())
    return found


@pytest.fixture
def one(files: dict[str, Path]) -> int:
    """Bytes of one of the models: enough for it, not for two."""
    needed = predict_memory(files["a"], context_size=64, max_sequences=1).total
    return needed + needed // 2


def sources(files: dict[str, Path]) -> dict[str, Any]:
    return {name: {"path": path, **OPTIONS} for name, path in files.items()}


@pytest.fixture
def pool(files: dict[str, Path]) -> Iterator[ModelPool]:
    with ModelPool(sources(files)) as made:
        yield made


@pytest.fixture
def narrow(files: dict[str, Path], one: int) -> Iterator[ModelPool]:
    with ModelPool(sources(files), memory_limit=one) as made:
        yield made


def states(pool: ModelPool) -> dict[str, str]:
    return {model.name: model.state for model in pool.stats().models}


def test_a_model_is_loaded_once_and_shared(pool: ModelPool) -> None:
    assert states(pool) == {"a": "unloaded", "b": "unloaded", "c": "unloaded"}
    with pool.get("a") as first, pool.get("a") as second:
        assert first is second
        assert states(pool)["a"] == "busy"
        assert len(first.generate([5], max_tokens=3, ignore_eos=True).result().tokens) == 3
    with pool.get("a") as third:
        assert third is first
    stats = pool.stats()
    assert (stats.loads, stats.evictions, stats.models[0].loads, stats.models[0].borrowed) == (1, 0, 1, 0)
    assert stats.memory_used == stats.models[0].memory == first.info.memory.total
    assert states(pool)["a"] == "idle"


def test_threads_that_ask_at_once_share_one_load(files: dict[str, Path]) -> None:
    calls = []
    begun = threading.Barrier(4)

    def load() -> Model:
        calls.append(threading.get_ident())
        return Model.load(files["a"], **OPTIONS)

    def ask(pool: ModelPool) -> Model:
        begun.wait()
        with pool.get("a") as model:
            model.generate([5], max_tokens=2).result()
            return model

    with ModelPool({"a": load}) as pool, ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ask, pool) for _ in range(4)]
        assert len({id(future.result()) for future in asked}) == 1
    assert len(calls) == 1


def test_the_model_that_was_used_least_recently_gives_way(files: dict[str, Path], one: int) -> None:
    with ModelPool(sources(files), memory_limit=one * 2) as pool:
        held = {}
        for name in ("a", "b", "a", "c"):
            with pool.get(name) as held[name]:
                pass
        assert states(pool) == {"a": "idle", "b": "unloaded", "c": "idle"}
        assert (held["a"].closed, held["b"].closed, held["c"].closed) == (False, True, False)
        assert pool.stats().evictions == 1
        assert pool.stats().memory_used <= one * 2


def test_a_borrowed_model_is_waited_for(narrow: ModelPool) -> None:
    with ThreadPoolExecutor(1) as threads:
        with narrow.get("a") as model:
            with pytest.raises(OutOfMemoryError, match="no memory for model `b`: the models in its way are in use"):
                threads.submit(borrow, narrow, "b", 0.1).result()
            assert not model.closed
            waiting = threads.submit(borrow, narrow, "b", None)
            until(lambda: states(narrow)["b"] == "loading")
            assert not model.closed
        assert waiting.result() == "b"
    assert model.closed
    assert states(narrow) == {"a": "unloaded", "b": "idle", "c": "unloaded"}


def borrow(pool: ModelPool, name: str, timeout: float | None) -> str:
    with pool.get(name, timeout=timeout) as model:
        model.generate([5], max_tokens=1).result()
    return name


def test_a_thread_does_not_wait_for_itself(narrow: ModelPool) -> None:
    with narrow.get("a") as model:
        with pytest.raises(OutOfMemoryError, match="does not fit beside those that this thread has borrowed"), narrow.get("b"):
            pass
        assert not model.closed
        assert states(narrow) == {"a": "busy", "b": "unloaded", "c": "unloaded"}
    assert borrow(narrow, "b", 0) == "b"


def test_a_running_stream_keeps_its_model(narrow: ModelPool) -> None:
    with narrow.get("a") as model:
        stream = model.generate([5], max_tokens=40, ignore_eos=True, logits_processors=[Gate()])
    gate = Gate.last
    assert states(narrow)["a"] == "busy"
    assert not narrow.unload("a")
    with ThreadPoolExecutor(1) as threads:
        with pytest.raises(OutOfMemoryError, match="in use"):
            threads.submit(borrow, narrow, "b", 0.1).result()
        waiting = threads.submit(borrow, narrow, "b", None)
        gate.open.set()
        assert len(stream.result().tokens) == 40
        assert waiting.result() == "b"
    assert model.closed


class Gate:
    """A logits processor that holds a stream until it is opened."""

    last: Gate

    def __init__(self) -> None:
        self.open = threading.Event()
        Gate.last = self

    def __call__(self, tokens: object, logits: object) -> None:
        self.open.wait()


def test_what_does_not_fit_alone_is_refused_and_closes_nothing(files: dict[str, Path], one: int) -> None:
    models = sources(files) | {"big": {"path": files["b"], "threads": 1, "context_size": 1 << 20, "max_sequences": 1}}
    with ModelPool(models, memory_limit=one) as pool:
        assert borrow(pool, "a", 0) == "a"
        with pytest.raises(OutOfMemoryError, match=r"model `big` needs about .* MiB and the pool's `memory_limit` is"), pool.get("big"):
            pass
        assert states(pool) == {"a": "idle", "b": "unloaded", "c": "unloaded", "big": "unloaded"}


def test_what_a_function_loads_counts_too(files: dict[str, Path], one: int) -> None:
    loaded: list[Model] = []

    def load(name: str) -> Model:
        loaded.append(Model.load(files[name], **OPTIONS))
        return loaded[-1]

    with ModelPool(load, memory_limit=one) as pool:
        for name in ("a", "b"):
            assert borrow(pool, name, 0) == name
        assert [model.closed for model in loaded] == [True, False]
    with ModelPool(load, memory_limit=1000) as pool, pytest.raises(OutOfMemoryError, match="raise it"), pool.get("a"):
        pass
    assert all(model.closed for model in loaded)


def test_a_file_that_two_models_map_counts_once(files: dict[str, Path]) -> None:
    models = {"short": {"path": files["a"], **OPTIONS}, "long": {"path": str(files["a"]), **OPTIONS, "context_size": 256}}
    with ModelPool(models) as pool, pool.get("short") as short, pool.get("long") as long:
        assert short is not long
        memory = [model.info.memory for model in (short, long)]
        assert memory[0].mapped == memory[1].mapped > 0
        assert pool.stats().memory_used == memory[0].total + memory[1].allocated


def test_the_machines_memory_is_a_limit_too(files: dict[str, Path]) -> None:
    def load(name: str) -> Model:
        if name == "b" and not first.closed:
            message = "no memory"
            raise OutOfMemoryError(message)
        return Model.load(files[name], **OPTIONS)

    with ModelPool(load) as pool:
        with pool.get("a") as first, pytest.raises(OutOfMemoryError, match="no memory"), pool.get("b"):
            pass
        assert borrow(pool, "b", 0) == "b"
        assert first.closed


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("gone"), ValueError("wrong")])
def test_a_load_that_fails_leaves_nothing_behind(files: dict[str, Path], error: Any) -> None:
    failures = [error]

    def load(name: str) -> Model:
        if failures:
            raise failures.pop()
        return Model.load(files[name], **OPTIONS)

    with ModelPool(load, memory_limit="1GiB") as pool:
        with pytest.raises(type(error) if isinstance(error, Exception) else error), pool.get("a"):
            pass
        assert (states(pool), pool.stats().memory_used) == ({"a": "unloaded"}, 0)
        assert borrow(pool, "a", 0) == "a"


def test_a_failure_is_told_to_one_and_the_next_tries_again(files: dict[str, Path]) -> None:
    entered, go = threading.Event(), threading.Event()

    def load(name: str) -> Model:
        if not go.is_set():
            entered.set()
            go.wait()
            message = "first"
            raise OSError(message)
        return Model.load(files[name], **OPTIONS)

    with ModelPool(load) as pool, ThreadPoolExecutor(2) as threads:
        first = threads.submit(borrow, pool, "a", None)
        entered.wait()
        second = threads.submit(borrow, pool, "a", None)
        with pytest.raises(OutOfMemoryError, match="model `a` is still being loaded"), pool.get("a", timeout=0):
            pass
        go.set()
        with pytest.raises(OSError, match="first"):
            first.result()
        assert second.result() == "a"


def test_idle_models_are_closed_after_their_time(files: dict[str, Path]) -> None:
    with ModelPool(sources(files), keep_alive=0) as pool:
        with pool.get("a") as a, pool.get("a"):
            pass
        assert a.closed
        with pool.get("b", keep_alive=0.05) as b:
            pass
        until(lambda: states(pool) == {"a": "unloaded", "b": "unloaded", "c": "unloaded"})
        assert b.closed
        with pool.get("c", keep_alive=-1) as c:
            pass
        with pool.get("c"):
            pass
        assert not c.closed
        assert pool.stats().evictions == 2


def test_a_stream_that_outlives_its_lease_is_not_cut_off_by_time(files: dict[str, Path]) -> None:
    with ModelPool(sources(files), keep_alive=0) as pool:
        with pool.get("a") as model:
            stream = model.generate([5], max_tokens=30, ignore_eos=True, logits_processors=[Gate()])
        assert not model.closed
        Gate.last.open.set()
        assert len(stream.result().tokens) == 30
        until(lambda: model.closed)


def test_a_model_that_its_user_closed_is_loaded_again(pool: ModelPool) -> None:
    with pool.get("a") as model:
        model.close()
    with pool.get("a") as again:
        assert again is not model
        assert not again.closed


def test_closing_closes_all_and_lends_no_more(files: dict[str, Path]) -> None:
    pool = ModelPool(sources(files))
    with pool.get("a") as idle:
        pass
    with pool.get("b") as busy:
        pool.close()
        assert (idle.closed, busy.closed, pool.closed) == (True, True, True)
    pool.close()
    with pytest.raises(ClosedError, match="the pool is closed"), pool.get("a"):
        pass


def test_closing_while_a_model_loads_closes_it(files: dict[str, Path]) -> None:
    entered, go = threading.Event(), threading.Event()
    loaded = []

    def load(name: str) -> Model:
        entered.set()
        go.wait()
        loaded.append(Model.load(files[name], **OPTIONS))
        return loaded[0]

    pool = ModelPool(load)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(borrow, pool, "a", None)
        entered.wait()
        pool.close()
        go.set()
        with pytest.raises(ClosedError):
            asked.result()
    assert loaded[0].closed


def test_unloading_by_name(pool: ModelPool) -> None:
    with pool.get("a") as model:
        assert not pool.unload("a")
    assert pool.unload("a")
    assert model.closed
    assert pool.unload("a")
    assert pool.unload("nothing")


def test_tasks_borrow_without_blocking_the_loop(narrow: ModelPool) -> None:
    async def use(name: str) -> str:
        async with narrow.get(name) as model:
            return (await model.generate([5], max_tokens=2).aresult()).finish_reason

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*(use(name) for name in "abcabcabc"))

    assert asyncio.run(all_of_them()) == ["length"] * 9
    assert sum(model.borrowed for model in narrow.stats().models) == 0


def test_a_cancelled_task_gives_back_what_it_was_about_to_get(files: dict[str, Path]) -> None:
    entered, go = threading.Event(), threading.Event()

    def load(name: str) -> Model:
        entered.set()
        go.wait()
        return Model.load(files[name], **OPTIONS)

    async def use(pool: ModelPool) -> None:
        async with pool.get("a"):
            pass

    async def cancel(pool: ModelPool) -> None:
        task = asyncio.ensure_future(use(pool))
        await asyncio.get_running_loop().run_in_executor(None, entered.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go.set()

    with ModelPool(load) as pool:
        asyncio.run(cancel(pool))
        until(lambda: states(pool)["a"] != "loading")
        assert pool.stats().models[0].borrowed == 0
        assert borrow(pool, "a", None) == "a"


def test_a_pool_made_before_a_fork_says_so(pool: ModelPool) -> None:
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with pool.get("a"):
                pass
        except ForkedError:
            pool.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def test_names_that_the_pool_does_not_have(pool: ModelPool, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="the pool has no model `x`; it has `a`, `b`, `c`"), pool.get("x"):
        pass
    with ModelPool({"gone": tmp_path / "gone.gguf"}) as other, pytest.raises(ModelNotFoundError), other.get("gone"):
        pass
    with ModelPool({"gone": tmp_path / "gone.gguf"}, memory_limit="1GiB") as other, pytest.raises(ModelNotFoundError), other.get("gone"):
        pass


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: ModelPool(["a"]), TypeError, "`models` must be a mapping"),  # type: ignore[arg-type] # what is tested
        (lambda: ModelPool({"a": 5}), TypeError, r"`models\[a\]` must be a path"),  # type: ignore[dict-item] # what is tested
        (lambda: ModelPool({"a": {"context_size": 8}}), ValueError, r"`models\[a\]` has no `path`"),
        (lambda: ModelPool({"a": {"path": "m", "ctx": 8}}), TypeError, r"`models\[a\]` has `ctx`, which `Model.load` does not take"),
        (lambda: ModelPool({"a": "m"}, memory_limit=0), ValueError, "must be positive"),
        (lambda: ModelPool({"a": "m"}, memory_limit=1.5), TypeError, "`memory_limit` must be"),  # type: ignore[arg-type] # what is tested
        (lambda: ModelPool({"a": "m"}, memory_limit="much"), ValueError, "much"),
        (lambda: ModelPool({"a": "m"}, keep_alive=float("nan")), ValueError, "`keep_alive`"),
        (lambda: ModelPool({"a": "m"}, keep_alive="5m"), TypeError, "`keep_alive`"),  # type: ignore[arg-type] # what is tested
        (lambda: ModelPool({"a": "m"}).get("a", timeout=-1), ValueError, "`timeout` must not be negative"),
        (lambda: ModelPool({"a": "m"}).get(5), TypeError, "`name` must be a str"),  # type: ignore[arg-type] # what is tested
    ],
)
def test_wrong_arguments_are_refused(make: Callable[[], object], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make()


def test_a_function_must_return_a_model() -> None:
    with ModelPool({"a": lambda: 5}) as pool, pytest.raises(TypeError, match="must return a Model, got int"), pool.get("a"):  # type: ignore[dict-item,return-value] # what is tested
        pass


def test_a_lease_serves_for_one_block(pool: ModelPool) -> None:
    lease = pool.get("a")
    with lease, pytest.raises(RuntimeError, match="a lease serves for one block"), lease:
        pass
    assert pool.stats().models[0].borrowed == 0
