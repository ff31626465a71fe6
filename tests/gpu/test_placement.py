"""Which parts of a model go to a GPU, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from near_ties import assert_alike
from tabagent import Model, OutOfMemoryError, SamplerConfig, list_available_variants, predict_memory

LAYERS = 30
PROMPT = "The capital of France is"


def load(path: Path, backend: str, **options: Any) -> Model:
    return Model.load(path, variant=backend, **{"context_size": 512, "max_sequences": 1, **options})


def greedy(model: Model) -> list[int]:
    return list(model.generate(PROMPT, max_tokens=24, sampling=SamplerConfig.greedy(), ignore_eos=True).result().tokens)


@pytest.mark.parametrize(("asked", "got"), [(0, 0), (1, 1), (12, 12), (LAYERS + 1, LAYERS), ("auto", LAYERS)])
def test_as_many_layers_as_asked_for_are_on_the_gpu(smollm2_path: Path, device: str, on_cpu: Model, asked: Any, got: int) -> None:
    with load(smollm2_path, device.partition(":")[0], devices=[device], gpu_layers=asked) as model:
        info = model.info
        assert (info.layers_on_gpu, info.layers) == (got, LAYERS)
        assert info.used_devices == (device,)
        assert info.adjustments == ()
        assert_alike(on_cpu, PROMPT, greedy(model), greedy(on_cpu))


def test_memory_is_counted_where_it_is(smollm2_path: Path, backend: str, device: str) -> None:
    options: dict[str, Any] = {"variant": backend, "devices": [device], "context_size": 2048, "max_sequences": 1}
    nothing, some, everything = (predict_memory(smollm2_path, gpu_layers=count, **options) for count in (0, 12, LAYERS + 1))
    assert [need.device for need in everything.devices] == [device]
    on = [prediction.devices[0] for prediction in (nothing, some, everything)]
    assert [need.layers for need in on] == [0, 11, LAYERS]
    assert on[0].total == 0
    assert 0 < on[1].weights < on[2].weights <= smollm2_path.stat().st_size
    # 2,048 tokens of 3 heads of 64 keys and 64 values in 16 bits, in 30 layers.
    assert on[2].cache == pytest.approx(45 << 20, rel=0.1)
    assert on[2].free > on[2].total
    assert everything.allocated < nothing.allocated
    assert predict_memory(smollm2_path, **options).gpu_layers == LAYERS + 1


def test_auto_puts_fewer_layers_there_where_not_all_fit(smollm2_path: Path, backend: str, device: str) -> None:
    free = predict_memory(smollm2_path, variant=backend, devices=[device], context_size=512).devices[0].free
    per_token = 2 * 2 * 3 * 64 * LAYERS
    large = predict_memory(smollm2_path, variant=backend, devices=[device], context_size=int(1.5 * free / per_token), max_sequences=1)
    assert 0 < large.gpu_layers < LAYERS
    need = large.devices[0]
    assert need.total + need.margin <= need.free


def test_a_context_that_does_not_fit_is_an_error_and_a_smaller_one_works(smollm2_path: Path, backend: str, device: str, on_gpu: Model) -> None:
    free = predict_memory(smollm2_path, variant=backend, devices=[device], context_size=512).devices[0].free
    tokens = int(1.5 * free / (2 * 2 * 3 * 64 * LAYERS))
    with pytest.raises(OutOfMemoryError, match=rf"on `{device}`"):
        load(smollm2_path, backend, devices=[device], gpu_layers=LAYERS + 1, context_size=tokens)
    (variant,) = [variant for variant in list_available_variants() if variant.name == backend]
    if not variant.only_named:
        # Past the prediction, the device itself says no. Software takes the machine's memory, more than it says it has.
        with pytest.raises(OutOfMemoryError, match=rf"no memory on `{device}` for a context of "):
            on_gpu.create_context(context_size=tokens)
    assert greedy(on_gpu)
    with load(smollm2_path, backend, devices=[device]) as model:
        assert greedy(model)


def test_the_cpu_alone_can_be_asked_for(on_cpu: Model) -> None:
    assert on_cpu.info.used_devices == ()
    assert on_cpu.info.layers_on_gpu == 0


@pytest.mark.parametrize("name", ["nonsense", "{backend}:99", "{backend}0x"])
def test_devices_that_do_not_exist_are_named(smollm2_path: Path, backend: str, device: str, name: str) -> None:
    wrong = name.format(backend=backend)
    with pytest.raises(ValueError, match=rf"unknown device `{wrong}`; here are .*`{device}`"):
        load(smollm2_path, backend, devices=[wrong])


@pytest.mark.parametrize(
    "options", [{"override_tensors": {r"ffn_(up|down)": "CPU"}}, {"cpu_moe": True}, {"tensor_split": [1.0]}, {"main_gpu": 0, "split_mode": "none"}]
)
def test_placements_do_not_change_the_text(smollm2_path: Path, backend: str, device: str, on_cpu: Model, options: dict[str, Any]) -> None:
    with load(smollm2_path, backend, devices=[device], **options) as model:
        assert_alike(on_cpu, PROMPT, greedy(model), greedy(on_cpu))


def test_placements_that_cannot_be_are_refused(smollm2_path: Path, backend: str, device: str) -> None:
    for options, words in (
        ({"override_tensors": {"ffn": "Nowhere9"}}, "unknown memory `Nowhere9`"),
        ({"tensor_split": [1.0, 1.0]}, "`tensor_split` must be one number for each device"),
        ({"tensor_split": [0.0]}, "`tensor_split` must be numbers of at least 0"),
        ({"main_gpu": 1}, "`main_gpu` must be the place of one of the devices"),
        ({"split_mode": "rows"}, "`split_mode` must be"),
    ):
        with pytest.raises(ValueError, match=words):
            load(smollm2_path, backend, devices=[device], **options)
