"""What a `SamplerConfig` accepts."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
import typing
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from typer.models import OptionInfo

import tabagent
from tabagent import SamplerConfig, SamplingError, Step, _native
from tabagent.cli.sampler_options import SamplerOptions
from tabagent.sampling import Stage


def test_fields_and_defaults_are_the_cores() -> None:
    settings, stages, order, llama_cpp, breakers = _native.sampler_facts()
    fields = {field.name: field for field in dataclasses.fields(SamplerConfig)}
    others = {"dry_breakers", "logit_bias", "banned_tokens", "allowed_tokens", "seed", "order"}
    assert {name for name, *_ in settings} == fields.keys() - others
    for name, default, _, integers in settings:
        given = fields[name].default
        assert (given, type(given)) == (default, float if integers is None else int), name
    assert fields["dry_breakers"].default == tuple(breakers)
    assert SamplerConfig().order == tuple(order)
    assert SamplerConfig.llama_cpp().order == tuple(llama_cpp)
    named = [typing.get_args(literal)[0] for literal in typing.get_args(Stage)]
    assert sorted(named) == sorted(name for name, _ in stages)
    assert {name for _, read in stages for name in read} <= fields.keys()


def test_ranges_are_the_cores() -> None:
    for name, _, words, integers in _native.sampler_facts()[0]:
        outside: Any = math.nan if integers is None else integers[0] - 1
        with pytest.raises(ValueError, match=f"`{name}` must be ") as caught:
            SamplerConfig(**{name: outside})
        if integers is None:
            assert words in str(caught.value)


def test_help_of_the_command_line_has_the_cores_defaults() -> None:
    defaults = {name: default for name, default, *_ in _native.sampler_facts()[0]}
    told = {}
    for name, annotation in typing.get_type_hints(SamplerOptions, vars(tabagent) | vars(tabagent.sampling), include_extras=True).items():
        texts = [info.help or "" for info in getattr(annotation, "__metadata__", ()) if isinstance(info, OptionInfo)]
        found = re.search(r"\(default (-?[0-9.]+)\)", "".join(texts))
        if name in defaults and found is not None:
            told[name] = float(found[1])
    assert len(told) > 20
    assert told == {name: defaults[name] for name in told}


def test_defaults_are_those_documented() -> None:
    config = SamplerConfig()
    assert (config.temperature, config.top_k, config.top_p, config.min_p, config.typical_p, config.min_keep) == (0.8, 40, 0.95, 0.05, 1.0, 1)
    assert (config.repeat_penalty, config.repeat_window, config.frequency_penalty, config.presence_penalty) == (1.0, 64, 0.0, 0.0)
    assert (config.mirostat, config.mirostat_tau, config.mirostat_eta, config.seed) == (0, 5.0, 0.1, None)
    assert (config.dynatemp_range, config.dynatemp_exponent, config.top_n_sigma) == (0.0, 1.0, -1.0)
    assert (config.xtc_probability, config.xtc_threshold, config.adaptive_target, config.adaptive_decay) == (0.0, 0.1, -1.0, 0.9)
    assert (config.dry_multiplier, config.dry_base, config.dry_allowed_length, config.dry_window) == (0.0, 1.75, 2, 64)
    assert (config.dry_breakers, config.banned_tokens, config.allowed_tokens) == (("\n", ":", '"', "*"), (), None)
    assert [stage for stage in config.order if stage in {"penalties", "temperature", "top_k", "top_p", "min_p", "typical_p", "mirostat"}] == [
        "penalties",
        "temperature",
        "top_k",
        "top_p",
        "min_p",
        "typical_p",
        "mirostat",
    ]


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
        ("order", ("nothing",)),
        ("order", ("top_k", {"stage": "top_k", "top_k": -1})),
        ("dynatemp_range", -0.1),
        ("dynatemp_exponent", math.inf),
        ("top_n_sigma", math.nan),
        ("xtc_probability", 1.01),
        ("xtc_threshold", -0.1),
        ("dry_multiplier", -1),
        ("dry_base", math.nan),
        ("dry_allowed_length", -1),
        ("dry_window", -2),
        ("dry_breakers", ("a", "")),
        ("dry_breakers", ([],)),
        ("dry_breakers", ([-1],)),
        ("adaptive_target", 1.1),
        ("adaptive_decay", 0.999),
        ("banned_tokens", [-1]),
        ("allowed_tokens", []),
        ("allowed_tokens", [2**31]),
    ],
)
def test_value_out_of_range_names_its_field(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"`?{field}" if field != "order" else "order|stage|top_k"):
        make(field, value)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(SamplerConfig)])
@pytest.mark.parametrize("value", ["text", b"bytes", True, object(), 1.5, [1.5], [[1, 2, 3]], np.array([1.0]), 1j])
def test_value_of_wrong_type_names_its_field(field: str, value: Any) -> None:
    if isinstance(value, float) and isinstance(getattr(SamplerConfig(), field), float):
        with pytest.raises(ValueError, match=field) if field in BELOW_ONE else contextlib.nullcontext():
            make(field, value)
        return
    if field == "dry_breakers" and isinstance(value, list) and value == [[1, 2, 3]]:
        assert make(field, value).dry_breakers == ((1, 2, 3),)
        return
    with pytest.raises(TypeError, match=field):
        make(field, value)


BELOW_ONE = {"top_p", "min_p", "typical_p", "xtc_probability", "xtc_threshold", "adaptive_target", "adaptive_decay"}


def make(field: str, value: Any) -> SamplerConfig:
    return SamplerConfig(**{field: value})


def test_none_is_only_for_the_seed_and_the_allowed_tokens() -> None:
    assert (SamplerConfig(seed=None).seed, SamplerConfig(allowed_tokens=None).allowed_tokens) == (None, None)
    for field in dataclasses.fields(SamplerConfig):
        if field.name not in {"seed", "allowed_tokens"}:
            with pytest.raises(TypeError, match=field.name):
                make(field.name, None)


@pytest.mark.parametrize("field", ["dry_breakers", "logit_bias", "banned_tokens", "allowed_tokens", "order"])
def test_arrays_without_dimensions_are_no_sequences(field: str) -> None:
    with pytest.raises(TypeError, match=f"`{field}` must be"):
        make(field, np.array(1))


@pytest.mark.parametrize(
    ("field", "value", "error", "text"),
    [
        ("top_p", np.complex64(0.5), TypeError, "`top_p` must be a number, got numpy.complex64"),
        pytest.param("top_k", 10**5000, ValueError, "`top_k` must be at most 4294967295, got an integer of 16,610 bits", id="digits"),
        pytest.param("banned_tokens", [-(10**5000)], ValueError, r"`banned_tokens\[0\]` must be at least 0", id="digits_of_tokens"),
        ("dry_breakers", ["a", "\ud800"], ValueError, r"`dry_breakers\[1\]` holds the lone surrogate U\+D800"),
        ("dry_breakers", [3], TypeError, r"`dry_breakers\[0\]` must be a sequence of token ids"),
        ("order", {"top_k", "top_p"}, TypeError, "`order` must be a sequence of stage names"),
    ],
)
def test_unusual_values_are_named_too(field: str, value: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make(field, value)


@pytest.mark.parametrize("fields", [{"banned_tokens": [1, 2]}, {"banned_tokens": [1], "logit_bias": {2: -math.inf}}])
def test_allowed_tokens_cannot_all_be_banned(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="`allowed_tokens` names no token that"):
        SamplerConfig(allowed_tokens=[1, 2], **fields)
    assert SamplerConfig(allowed_tokens=[1, 2, 3], **fields).allowed_tokens == (1, 2, 3)


def test_numpy_numbers_become_plain() -> None:
    config = SamplerConfig(temperature=np.float32(0.5), top_k=np.int64(3), seed=np.uint64(7), logit_bias={np.int32(5): np.float64(1)})
    assert (config.temperature, config.top_k, config.seed, config.logit_bias) == (0.5, 3, 7, ((5, 1.0),))
    assert (type(config.temperature), type(config.top_k)) == (float, int)


def test_config_is_a_value() -> None:
    one, two = SamplerConfig(logit_bias={3: -1}, order=["top_k"]), SamplerConfig(logit_bias=[(3, -1.0)], order=("top_k",))
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
    assert SamplerConfig.llama_cpp().order == ("penalties", "dry", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p", "xtc", "temperature")


def test_steps_are_values_and_survive_the_dict() -> None:
    step = Step("top_p", top_p=np.float32(0.5), min_keep=2)
    assert (repr(step), step) == ("Step('top_p', top_p=0.5, min_keep=2)", Step("top_p", top_p=0.5, min_keep=2))
    config = SamplerConfig(order=["top_k", step, "top_k"], dry_breakers=["x", [1, 2]], banned_tokens=[3], allowed_tokens=range(9))
    assert SamplerConfig(**config.to_dict()) == config
    assert hash(SamplerConfig(**config.to_dict())) == hash(config)


@pytest.mark.parametrize(
    ("make_step", "text"),
    [
        (lambda: Step("mirostat"), "`mirostat` is no stage with parameters of its own"),  # the stage makes the choice
        (lambda: Step("topk", top_k=1), "`topk` is no stage"),  # type: ignore[arg-type]
        (lambda: Step("top_k", top_p=0.5), "stage `top_k` has no parameter `top_p`; it has `top_k`"),
        (lambda: Step("infill", top_p=0.5), "it has none"),
        (lambda: SamplerConfig(order=[Step("top_p", top_p=1.5)]), r"`top_p` must be in \(0, 1\], got `1.5`"),
    ],
)
def test_wrong_steps_say_what_is_wrong(make_step: Callable[[], object], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make_step()


def test_probabilities_follow_the_stages() -> None:
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1]))
    plain = SamplerConfig(order=())
    np.testing.assert_allclose(plain.probabilities(logits), [0.4, 0.3, 0.2, 0.1], rtol=1e-6)
    np.testing.assert_allclose(plain.replace(order=[Step("top_k", top_k=2)]).probabilities(logits), [4 / 7, 3 / 7, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(SamplerConfig.greedy().probabilities(logits), [1, 0, 0, 0])
    np.testing.assert_allclose(plain.replace(banned_tokens=[0], allowed_tokens=[0, 1, 3]).probabilities(logits), [0, 0.75, 0, 0.25], rtol=1e-6)
    penalised = plain.replace(order=["penalties"], presence_penalty=math.log(2)).probabilities(logits, history=[0])
    np.testing.assert_allclose(penalised, np.array([0.2, 0.3, 0.2, 0.1]) / 0.8, rtol=1e-6)
    assert plain.probabilities(logits).dtype == np.float32


def test_repeated_stages_work_one_after_another() -> None:
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1]))
    config = SamplerConfig(order=[Step("top_k", top_k=3), Step("temperature", temperature=0.5), Step("temperature", temperature=2), "top_k"], top_k=2)
    np.testing.assert_allclose(config.probabilities(logits), [4 / 7, 3 / 7, 0, 0], rtol=1e-6)


def test_explanations_tell_what_each_stage_kept() -> None:
    logits = np.log(np.array([0.4, 0.3, 0.2, 0.1]))
    config = SamplerConfig(order=["top_k", "temperature", "top_p"], top_k=3, temperature=0.5, top_p=0.99, logit_bias={3: 0.0})
    found, reports = config.probabilities(logits, explain=True)
    assert [report.name for report in reports] == ["logit_bias", "top_k", "temperature", "top_p", "dist"]
    assert [report.kept for report in reports] == [4, 3, 3, 3, 3]
    top_k = reports[1]
    assert top_k.parameters == {"top_k": 3}
    assert top_k.mass == pytest.approx(0.9)
    assert [token for token, _, _ in top_k.top] == [0, 1, 2, 3]
    assert top_k.top[0][1:] == pytest.approx((0.4, 0.4 / 0.9))
    assert top_k.top[3][2] == 0
    assert found[0] == pytest.approx(16 / 29)
    assert [report.name for report in SamplerConfig.greedy().probabilities(logits, explain=True)[1]] == ["greedy"]


def test_masked_logits_cannot_be_chosen() -> None:
    config = SamplerConfig(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0)
    for dtype in (np.float32, np.int64):
        masked: Any = np.ma.masked_array(np.array([2, 9, 1], dtype=dtype), mask=[False, True, False])
        assert np.array_equal(config.probabilities(masked), config.probabilities([2.0, -np.inf, 1.0]))
    unmasked: Any = np.ma.masked_array([2.0, 1.0])
    assert np.array_equal(config.probabilities(unmasked), config.probabilities([2.0, 1.0]))
    with pytest.raises(SamplingError):
        config.probabilities(np.ma.masked_array([1.0, 2.0], mask=True))


def test_probabilities_refuse_what_they_cannot_use() -> None:
    config = SamplerConfig(seed=1)
    shapes: list[Any] = [[[1.0]], 1.0, [], [[1.0], [1.0, 2.0]]]
    for given in shapes:
        with pytest.raises(ValueError, match=r"`logits` must be one number for each token of the vocabulary, of the shape \(n_vocab,\)"):
            config.probabilities(given)
    kinds: list[Any] = ["abc", None, [None, 1.0], [object()], [1j, 2.0]]
    for given in kinds:
        with pytest.raises(TypeError, match="`logits` must be one number for each token"):
            config.probabilities(given)
    with pytest.raises(TypeError, match="`explain` must be True or False"):
        config.probabilities([1.0, 2.0], explain=1)  # type: ignore[call-overload]
    with pytest.raises(SamplingError, match="none of the `2` tokens can be chosen"):
        config.probabilities([math.nan, -math.inf])
    with pytest.raises(ValueError, match="`dry_breakers` has texts"):
        config.replace(dry_multiplier=1).probabilities([1.0, 2.0])
    orders: list[Any] = [["infill"], ["top_k", Step("infill")]]
    for order in orders:
        with pytest.raises(ValueError, match="`order` names `infill`, which needs the vocabulary; give `model`"):
            config.replace(order=order).probabilities([1.0, 2.0])
    with pytest.raises(ValueError, match="`banned_tokens` names token `5`"):
        config.replace(banned_tokens=[5]).probabilities([1.0, 2.0])
    with pytest.raises(TypeError, match="`model` must be a Model"):
        config.probabilities([1.0], model=3)  # type: ignore[call-overload]


@pytest.mark.filterwarnings("error")
def test_logits_that_are_not_finite_follow_a_rule() -> None:
    config = SamplerConfig(order=())
    assert config.probabilities([math.nan, 1.0, -math.inf]).tolist() == [0, 1, 0]
    assert config.probabilities([0.0, math.inf, math.inf]).tolist() == [0, 1, 0]
    assert config.probabilities([0.0, 1e300]).tolist() == [0, 1]


class FileModel:
    """A model that has nothing but metadata."""

    def __init__(self, **values: str) -> None:
        self.metadata = {f"general.sampling.{key}": value for key, value in values.items()} | {"general.name": "x"}


def test_recommendations_are_a_models() -> None:
    with pytest.raises(TypeError, match="`model` must be a Model, got str; load it first"):
        SamplerConfig.from_model("demo")  # type: ignore[arg-type]


def test_model_files_recommend_values() -> None:
    model: Any = FileModel(
        temp="0.6", top_k="20", top_p="0.95", penalty_last_n="-1", xtc_probability="0.5", sequence="penalties;typ_p;top-k;minp;temp"
    )
    config = SamplerConfig.from_model(model)
    assert (config.temperature, config.top_k, config.top_p, config.repeat_window, config.xtc_probability) == (0.6, 20, 0.95, 0, 0.5)
    assert config.order == ("penalties", "typical_p", "top_k", "min_p", "temperature")
    assert SamplerConfig.from_model(FileModel()) == SamplerConfig()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "text"), [({"top_p": "2"}, "`top_p` must be in"), ({"temp": "hot"}, "general.sampling.temp.*`hot`"), ({"sequence": "best"}, "`best`")]
)
def test_unusable_recommendations_are_named(values: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        SamplerConfig.from_model(FileModel(**values))  # type: ignore[arg-type]
