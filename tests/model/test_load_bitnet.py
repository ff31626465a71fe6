"""`Model.load` of BitNet files with `I2_S` tensors, which it rewrites into the cache, and of ternary files on every CPU module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.tiny_bitnet import MATRICES, write_f32, write_i2_s
from support.tiny_checkpoints import packed_llama
from tabagent import Model, SamplerConfig, gguf, list_available_variants
from tabagent.errors import InvalidModelError, ModelLoadError

pytestmark = pytest.mark.model

PROMPT = [1, 260, 262, 263, 264]


@pytest.fixture(scope="module")
def f32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_f32(tmp_path_factory.mktemp("bitnet"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABAGENT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rewritten"


@pytest.fixture
def i2_s(f32: Path, tmp_path: Path) -> Path:
    return write_i2_s(f32, tmp_path / "model-i2_s.gguf")


def results(path: Path, **options: Any) -> tuple[np.ndarray[Any, Any], list[int]]:
    """The logits after a prompt, and the tokens of a greedy text."""
    with Model.load(path, threads=1, **options) as model:
        done = model.generate(PROMPT, max_tokens=12, sampling=SamplerConfig.greedy(), ignore_eos=True).result()
        with model.create_context(context_size=64, threads=1) as context:
            context.decode(PROMPT)
            return context.logits(), list(done.tokens)


def cosine(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> float:
    return float(np.dot(expected, found) / np.linalg.norm(expected) / np.linalg.norm(found))


def assert_alike(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    """llama.cpp rounds activations to 8 bits before it multiplies them with ternary weights; nothing else may differ."""
    assert cosine(found, expected) > 0.999
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_files_of_the_fork_load_through_a_rewritten_file(i2_s: Path, f32: Path, cache: Path) -> None:
    parts: list[float] = []
    with pytest.warns(RuntimeWarning, match="is loaded from the exactly rewritten"):
        first, tokens = results(i2_s, progress=parts.append)
    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    [file] = cache.iterdir()
    assert file.name.startswith("model-i2_s-")
    written = file.stat().st_mtime_ns
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        second, again = results(i2_s)
        with Model.load(i2_s) as model:
            assert any(str(file) in sentence for sentence in model.info.adjustments)
    assert file.stat().st_mtime_ns == written
    assert np.array_equal(first, second)
    assert tokens == again
    expected, greedy = results(f32)
    assert_alike(first, expected)
    assert first.argmax() == expected.argmax()
    assert tokens[0] == greedy[0]


def test_ternary_llamas_load_too(cache: Path, tmp_path: Path) -> None:
    f32 = write_f32(tmp_path, packed_llama())
    with pytest.warns(RuntimeWarning, match="exactly rewritten"):
        found, _ = results(write_i2_s(f32, tmp_path / "llama-i2_s.gguf"))
    [file] = cache.iterdir()
    rewritten = gguf.open(file).tensors
    source = gguf.open(f32).tensors
    for name in MATRICES:
        weights = rewritten[f"blk.0.{name}.weight"].dequantize() * rewritten[f"blk.0.{name}.scale"].numpy()
        assert np.array_equal(weights, source[f"blk.0.{name}.weight"].numpy()), name
    # The same rounding of activations, and block scales that are off by 2^-12 at most; without norms before the last projections, as BitNet has
    # them, activations differ more in size, so that rounding them to 8 bits costs more.
    gguf.quantize_model(f32, tmp_path / "tq2_0.gguf", "TQ2_0", token_embedding_type="F32", output_tensor_type="F32")  # noqa: S106 (a type of numbers)
    assert cosine(found, results(tmp_path / "tq2_0.gguf")[0]) > 0.9999
    assert cosine(found, results(f32)[0]) > 0.998


def test_a_process_of_its_own_loads_it_too(i2_s: Path, cache: Path) -> None:
    with pytest.warns(RuntimeWarning, match="exactly rewritten"), Model.load(i2_s, isolation="process") as model:
        assert len(model.generate(PROMPT, max_tokens=4, ignore_eos=True).result().tokens) == 4
    assert len(list(cache.iterdir())) == 1


def test_a_changed_file_is_rewritten_again(i2_s: Path, cache: Path) -> None:
    with pytest.warns(RuntimeWarning, match="exactly rewritten"):
        Model.load(i2_s).close()
    os.utime(i2_s, (0, 0))
    with pytest.warns(RuntimeWarning, match="exactly rewritten"):
        Model.load(i2_s).close()
    # A file of the cache that is no model any more is written anew.
    for file in cache.iterdir():
        file.write_bytes(b"GGUF")
    with pytest.warns(RuntimeWarning, match="exactly rewritten"):
        Model.load(i2_s).close()


def test_several_loads_at_once_rewrite_it_once(i2_s: Path, cache: Path) -> None:
    news: list[bool] = []

    def load() -> None:
        with Model.load(i2_s, trial=False) as model:
            news.append(any("is used from now on" in sentence for sentence in model.info.adjustments))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(news) == [False, False, False, True]
    assert len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_used_is_an_error(i2_s: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("TABAGENT_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelLoadError, match=r"cannot be rewritten into `.*`: .*set `TABAGENT_CACHE` to another folder"):
        Model.load(i2_s, trial=False)
    monkeypatch.setenv("TABAGENT_CACHE", "~nobody-has-this-name/x")
    with pytest.raises(ModelLoadError, match=r"there is no cache folder .*`tabagent convert"):
        Model.load(i2_s, trial=False)


def test_a_full_disk_is_an_error_and_leaves_nothing(i2_s: Path, cache: Path) -> None:
    code = f"""
import resource, signal
from tabagent import Model
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    Model.load({str(i2_s)!r}, trial=False)
except Exception as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "ModelLoadError" in done.stdout
    assert "free some space" in done.stdout
    assert not [file for file in cache.iterdir() if not file.name.endswith(".lock")]


def test_what_cannot_be_rewritten_says_why(f32: Path, i2_s: Path, cache: Path, tmp_path: Path) -> None:
    newer = write_i2_s(f32, tmp_path / "newer.gguf", architecture="bitnet-b1.58")
    with pytest.raises(InvalidModelError, match=r"architecture `bitnet-b1.58` is not supported.*squared ReLU.*bitnet\.cpp"):
        Model.load(newer)
    whole = i2_s.read_bytes()
    tensor = gguf.open(i2_s).tensors["blk.0.attn_q.weight"]
    at = whole.index(bytes(tensor.raw))
    n_packed = len(tensor.raw) - 32
    for damaged, why in [
        (whole[: at + 10], "cut off"),
        (whole[:at] + b"\xff" + whole[at + 1 :], "a weight that is none of -1, 0 and 1"),
        (whole[: at + n_packed] + np.float32(np.nan).tobytes() + whole[at + n_packed + 4 :], "must be finite"),
    ]:
        i2_s.write_bytes(damaged)
        with pytest.raises(InvalidModelError, match=why):
            Model.load(i2_s)
    assert not cache.exists() or not [file for file in cache.iterdir() if not file.name.endswith(".lock")]


CHILD = """
import json, sys
from tabagent import Model
with Model.load(sys.argv[1], variant=sys.argv[2], threads=1, trial=False) as model, model.create_context(context_size=64, threads=1) as context:
    context.decode(json.loads(sys.argv[3]))
    print(json.dumps([model.info.variant.cpu_module, context.logits().tolist()]))
"""


@pytest.mark.parametrize("kind", ["TQ1_0", "TQ2_0"])
def test_ternary_files_compute_on_every_cpu_module(f32: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ternary.gguf"
    gguf.quantize_model(f32, path, kind)
    assert gguf.open(path).tensors["blk.0.attn_q.weight"].type == kind
    expected, _ = results(f32)
    modules = [found.name for found in list_available_variants() if found.usable and found.cpu_module]
    assert modules
    for name in modules:
        done = subprocess.run([sys.executable, "-c", CHILD, str(path), name, json.dumps(PROMPT)], capture_output=True, text=True, check=True)
        module, logits = json.loads(done.stdout)
        assert module == name
        assert_alike(np.array(logits, dtype=np.float32), expected)
