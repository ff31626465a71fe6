"""How much memory models take: predicted before they are loaded, compared with what llama.cpp counts, and fitted to what there is."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import needs
from child import check
from support.tiny_architectures import KINDS, tiny_context
from support.tiny_models import tiny_llama
from support.wide_models import wide_llama
from tabagent import Model, ModelNotFoundError, OutOfMemoryError, gguf, predict_memory

MIB = 1 << 20
PARTS = ("cache", "compute", "vocabulary")
ROUNDING = 16 * 1024
"""llama.cpp tells sizes in hundredths of a MiB."""


def compare(path: Path, options: dict[str, Any]) -> tuple[Any, Any]:
    """What is predicted, and what llama.cpp counts of the model once it is loaded."""
    predicted = predict_memory(path, **options)
    with Model.load(path, threads=1, **options) as model:
        return predicted, model.info.memory


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"context_size": 65536, "kv_type": "f32"},
        {"context_size": 4096, "max_sequences": 4, "kv_unified": False, "batch_size": 256},
        {"context_size": 8192, "flash_attention": "off", "micro_batch_size": 64},
        {"context_size": 1 << 19, "max_sequences": 1},
    ],
)
@pytest.mark.parametrize("kind", [*KINDS, "full"])
def test_predictions_are_what_llama_cpp_counts(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes((tiny_llama() if kind == "full" else tiny_context(kind)).to_bytes())
    predicted, counted = compare(path, options)
    for part in PARTS:
        found, wanted = getattr(predicted, part), getattr(counted, part)
        # Contexts above 2^17 tokens are extrapolated.
        assert abs(found - wanted) <= ROUNDING + wanted * (options.get("context_size", 0) > 1 << 17) * 0.02, part
    assert abs(predicted.mapped - counted.mapped) <= ROUNDING
    assert predicted.weights == counted.weights == 0


@pytest.mark.parametrize("use_mmap", [True, False])
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "Q4_K", "Q6_K", "Q2_K", "IQ4_NL", "Q4_1", "F16"])
def test_packed_weights_are_never_predicted_too_low(tmp_path: Path, kind: str, use_mmap: bool) -> None:  # noqa: FBT001 (a parameter of the test)
    source, path = tmp_path / "f32.gguf", tmp_path / "model.gguf"
    wide_llama().write(source)
    writer = gguf.GgufWriter()
    file = gguf.open(source)
    for key, value in file.metadata.items():
        writer.set(key, value, type=file.metadata.type(key))
    for tensor in file.tensors:
        values = np.asarray(tensor.dequantize())
        if values.ndim == 2:
            writer.add_tensor(tensor.name, gguf.quantize(values, kind), type=kind, shape=values.shape)
        else:
            writer.add_tensor(tensor.name, values)
    writer.write(path)
    predicted, counted = compare(path, {"use_mmap": use_mmap})
    assert predicted.weights + ROUNDING >= counted.weights
    # Every matrix that may be packed counts.
    assert predicted.weights <= counted.weights + path.stat().st_size
    assert (predicted.mapped == 0) == (not use_mmap)


def test_weights_that_are_locked_must_be_free(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    free, locked = predict_memory(path), predict_memory(path, mlock=True)
    assert (locked.mapped, locked.weights) == (0, free.mapped)
    assert locked.total == free.total


@pytest.mark.model
@pytest.mark.parametrize("options", [{}, {"context_size": 8192, "kv_type": "q8_0"}, {"use_mmap": False}, {"flash_attention": "off"}])
@pytest.mark.parametrize("name", ["smollm2-135m-instruct-q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"])
def test_predictions_for_real_models_are_close(name: str, options: dict[str, Any]) -> None:
    predicted, counted = compare(needs.model(name), options)
    for part in PARTS:
        assert abs(getattr(predicted, part) - getattr(counted, part)) <= ROUNDING, part
    assert 0.98 <= predicted.total / counted.total <= 1.1


@pytest.mark.model
def test_a_process_grows_by_less_than_was_predicted() -> None:
    program = """
    import sys
    from tabagent import Model, predict_memory
    from tabagent.loading import open_library

    def private():
        with open("/proc/self/smaps_rollup") as lines:
            return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Anonymous:"))

    open_library("auto")
    before = private()
    model = Model.load(sys.argv[1], threads=1)
    model.generate([5] * 1000, max_tokens=4, ignore_eos=True).result()
    print(private() - before, model.info.memory.allocated)
    """
    for name in ("smollm2-135m-instruct-q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"):
        grown, counted = map(int, check(program, needs.model(name)).split())
        assert counted * 0.6 <= grown <= counted * 1.05 + 16 * MIB, name


def test_a_prediction_says_what_is_free_and_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    small, large = predict_memory(path), predict_memory(path, context_size=1 << 24, kv_type="f32", max_sequences=1)
    assert small.fits
    assert (small.context_size, small.kv_types) == (64, ("f16", "f16"))
    assert small.available is not None
    assert small.available > 64 * MIB
    assert (large.context_size, large.kv_types) == (1 << 24, ("f32", "f32"))
    assert large.allocated > 1 << 30
    assert large.total == large.allocated + large.mapped
    with pytest.raises(ModelNotFoundError):
        predict_memory(tmp_path / "none.gguf")
    with pytest.raises(ValueError, match="`context_size`"):
        predict_memory(path, context_size=0)
    with pytest.raises(ValueError, match="needs fused attention"):
        predict_memory(path, kv_type="q8_0", flash_attention="off")


LIMITED = """
import resource, sys, warnings
from tabagent import Model, OutOfMemoryError
from tabagent.loading import open_library
open_library("auto")
with open("/proc/self/statm") as pages:
    used = int(pages.read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (used + (int(sys.argv[1]) << 20), resource.RLIM_INFINITY))
path = sys.argv[2:]
"""


@pytest.fixture
def wide(tmp_path: Path) -> Path:
    path = tmp_path / "wide.gguf"
    wide_llama().write(path)
    return path


def test_what_does_not_fit_is_refused_with_what_it_needs_by_kind(wide: Path) -> None:
    program = """
    try:
        Model.load(path[0], threads=1, context_size=65536)
    except OutOfMemoryError as error:
        print(error)
    """
    said = limited(200, program, wide)
    assert "model and context need about" in said
    assert "context of 65536 tokens in f16 2" in said
    assert "MiB are free; lower `context_size`, take a smaller model, or load with `fit=True`" in said


def test_a_context_is_fitted_to_the_memory(wide: Path) -> None:
    program = """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Model.load(path[0], threads=1, context_size=int(path[1]), fit=True, min_context_size=1024) as model:
            model.generate([5] * 600, max_tokens=3, ignore_eos=True).result()
            assert [str(w.message) for w in caught] == list(model.info.adjustments), caught
            print(model.info.context_size, model.info.kv_types, *model.info.adjustments, sep="|")
    """
    assert limited(150, program, wide, "1024") == "1024|('f16', 'f16')"
    # With its masks, 250 MiB in f16 and 160 in q8_0; a part of the limit goes to threads.
    size, types, said_text = limited(260, program, wide, "49152").split("|")
    assert (size, types) == ("49152", "('q8_0', 'q8_0')")
    assert "is loaded with a context of 49,152 tokens in q8_0" in said_text
    assert "not with a context of 49,152 tokens in f16" in said_text
    size, types, said_text = limited(150, program, wide, "131072").split("|")
    assert types == "('q8_0', 'q8_0')"
    assert 1024 < int(size) < 49152
    assert int(size) % 256 == 0
    assert f"a context of {int(size):,} tokens in q8_0" in said_text


def test_no_less_is_taken_than_the_minimum(wide: Path) -> None:
    program = """
    try:
        Model.load(path[0], threads=1, context_size=131072, fit=True, min_context_size=65536)
    except OutOfMemoryError as error:
        print(error)
    """
    said = limited(150, program, wide)
    assert "context of 65536 tokens in q8_0" in said
    assert "this is the least that `fit` may take; take a smaller model, or lower `min_context_size`" in said


def test_the_first_model_that_fits_is_taken(wide: Path, tmp_path: Path) -> None:
    small = tmp_path / "small.gguf"
    small.write_bytes(tiny_llama().to_bytes())
    program = """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with Model.load(path[0], threads=1, context_size=65536, fallback=path[1:]) as model:
            assert [str(w.message) for w in caught] == list(model.info.adjustments), caught
            print(model.info.path, *model.info.adjustments, sep="|")
    """
    path, *said = limited(200, program, wide, wide, small).split("|")
    assert path == str(small)
    assert len(said) == 2
    assert f"`{wide}` does not fit, so `{wide}` is loaded: model and context need about" in said[0]
    assert f"`{wide}` does not fit, so `{small}` is loaded" in said[1]


def limited(mib: int, program: str, *arguments: Path | str) -> str:
    """The output of a program that may take so much more memory."""
    from textwrap import dedent

    return check(LIMITED + dedent(program), str(mib), *map(str, arguments)).strip()


def test_what_fits_is_loaded_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Model.load(path, threads=1, fit=True, fallback=[tmp_path / "none.gguf"]) as model:
            assert (model.info.adjustments, model.info.kv_types, model.info.path) == ((), ("f16", "f16"), str(path))
            assert model.info.memory.total > 0
    with Model.load(path, vocab_only=True) as model:
        assert model.info.memory.total == 0


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"fit": 1}, TypeError, "`fit` must be"),
        ({"min_context_size": 0}, ValueError, "`min_context_size`"),
        ({"fallback": "m.gguf"}, TypeError, "`fallback` must be a sequence of paths"),
        ({"fallback": [5]}, TypeError, r"`fallback\[0\]`"),
        ({"fallback": ["a\0b"]}, ValueError, r"`fallback\[0\]`"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        Model.load(tmp_path / "none.gguf", **options)


def test_memory_that_is_short_is_an_error_of_memory() -> None:
    assert issubclass(OutOfMemoryError, MemoryError)
