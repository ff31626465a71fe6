"""What a `SamplerConfig` accepts."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from tabagent import SamplerConfig


def test_defaults_are_those_documented() -> None:
    config = SamplerConfig()
    assert (config.temperature, config.top_k, config.top_p, config.min_p, config.typical_p, config.min_keep) == (0.8, 40, 0.95, 0.05, 1.0, 1)
    assert (config.repeat_penalty, config.repeat_window, config.frequency_penalty, config.presence_penalty) == (1.0, 64, 0.0, 0.0)
    assert (config.mirostat, config.mirostat_tau, config.mirostat_eta, config.seed) == (0, 5.0, 0.1, None)
    assert config.order == ("penalties", "temperature", "top_k", "top_p", "min_p", "typical_p", "mirostat")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", 1e300),
        ("top_k", -1),
        ("top_k", 2**40),
        ("top_p", 0),
        ("top_p", 1.5),
        ("min_p", -0.01),
        ("min_p", 1.01),
        ("typical_p", 0),
        ("min_keep", 0),
        ("repeat_penalty", 0),
        ("repeat_window", -2),
        ("frequency_penalty", math.inf),
        ("presence_penalty", math.nan),
        ("mirostat", 3),
        ("mirostat_tau", -1),
        ("mirostat_eta", math.nan),
        ("logit_bias", {1: math.nan}),
        ("logit_bias", {1: math.inf}),
        ("logit_bias", {-1: 1.0}),
        ("logit_bias", {2**31: 1.0}),
        ("seed", -1),
        ("seed", 2**64),
        ("order", ("top_k", "top_k")),
        ("order", ("nothing",)),
    ],
)
def test_value_out_of_range_names_its_field(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`?{field}" if field != "order" else "order|stage|top_k"):
        make(field, value)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(SamplerConfig)])
@pytest.mark.parametrize("value", ["text", b"bytes", True, object(), 1.5, [1.5], [[1, 2, 3]], np.array([1.0]), 1j])
def test_value_of_wrong_type_names_its_field(field: str, value: Any) -> None:
    if isinstance(value, float) and isinstance(getattr(SamplerConfig(), field), float):
        with pytest.raises(ValueError, match=field) if field in {"top_p", "min_p", "typical_p"} else contextlib.nullcontext():
            make(field, value)
        return
    with pytest.raises(TypeError, match=field):
        make(field, value)


def make(field: str, value: Any) -> SamplerConfig:
    return SamplerConfig(**{field: value})


def test_none_is_only_for_the_seed() -> None:
    assert SamplerConfig(seed=None).seed is None
    for field in dataclasses.fields(SamplerConfig):
        if field.name != "seed":
            with pytest.raises(TypeError, match=field.name):
                make(field.name, None)


def test_numpy_numbers_become_plain() -> None:
    config = SamplerConfig(temperature=np.float32(0.5), top_k=np.int64(3), seed=np.uint64(7), logit_bias={np.int32(5): np.float64(1)})
    assert (config.temperature, config.top_k, config.seed, config.logit_bias) == (0.5, 3, 7, ((5, 1.0),))
    assert (type(config.temperature), type(config.top_k)) == (float, int)


def test_config_is_a_value() -> None:
    one, two = SamplerConfig(logit_bias={3: -1}, order=["top_k"]), SamplerConfig(logit_bias=[(3, -1.0)], order=("top_k",))  # type: ignore[arg-type]
    assert one == two
    assert hash(one) == hash(two)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.top_k = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        SamplerConfig(0.5)  # type: ignore[call-arg]


def test_replace_checks_and_keeps_the_rest() -> None:
    config = SamplerConfig(seed=1).replace(top_p=0.5)
    assert (config.seed, config.top_p) == (1, 0.5)
    with pytest.raises(ValueError, match="top_p"):
        config.replace(top_p=2)
    with pytest.raises(TypeError, match="no field `topp`"):
        config.replace(topp=2)


def test_dict_round_trip() -> None:
    config = SamplerConfig(seed=3, logit_bias={1: -math.inf, 2: 0.5}, order=("top_k", "temperature"))
    assert SamplerConfig(**config.to_dict()) == config


def test_presets() -> None:
    assert SamplerConfig.greedy().temperature == 0
    assert SamplerConfig.llama_cpp().order == ("penalties", "top_k", "typical_p", "top_p", "min_p", "temperature")
