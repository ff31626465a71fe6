"""The sampler options of `tabagent run` whose values are more than a number, and the table of what stages did."""

import io
import math

import pytest
from rich.console import Console

from tabagent import SamplerConfig, StageReport
from tabagent.cli.explain import stages_table
from tabagent.cli.failure import UsageError
from tabagent.cli.sampler_options import parse_biases, parse_breakers, parse_order


def test_biases_are_read_as_llama_cpp_writes_them() -> None:
    assert parse_biases(["15043+1", "7-0.5", "3-inf", "4+.5"]) == [(15043, 1.0), (7, -0.5), (3, -math.inf), (4, 0.5)]
    assert parse_biases([]) is None


@pytest.mark.parametrize("text", ["15043", "+1", "1*2", "1+", "1+one", "-1+1", "1+nan"])
def test_other_biases_are_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="logit-bias"):
        parse_biases([text])


def test_breakers_are_unescaped_and_none_is_nothing() -> None:
    assert parse_breakers(["\\n", "a"]) == ["\n", "a"]
    assert parse_breakers(["none"]) == []
    assert parse_breakers(None) is None


def test_samplers_are_named_in_any_spelling() -> None:
    assert parse_order("penalties;top-k;typ_p;NUCLEUS;minp;xtc;temp") == ("penalties", "top_k", "typical_p", "top_p", "min_p", "xtc", "temperature")
    assert parse_order("top_n_sigma, adaptive-p") == ("top_n_sigma", "adaptive_p")
    assert parse_order("") == ()
    assert parse_order(None) is None
    with pytest.raises(UsageError, match="`best` is no sampling stage"):
        parse_order("top_k;best")


def rendered(reports: list[StageReport], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(stages_table(reports, {0: " the", 1: "\n", 2: "x" * 40}.__getitem__, title="token 1"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_table_tells_what_each_stage_kept_and_changed() -> None:
    config = SamplerConfig(order=["top_k", "temperature"], top_k=2, temperature=0.5)
    text = rendered(config.probabilities([3.0, 2.0, 1.0], explain=True)[1])
    lines = [line.rstrip() for line in text.splitlines()]
    assert lines[0] == "token 1"
    top_k = next(line for line in lines if line.startswith("top_k"))
    assert top_k.split()[:3] == ["top_k", "2", "91.0%"]
    assert '" the" 66.5% > 73.1%' in top_k
    assert '"xxxxxxxxxxxxx…" 9.0% > removed' in text
    assert '"\\n"' in text
    assert any(line.strip().startswith("top_k 2") for line in lines)
    assert max(map(len, lines)) <= 80
