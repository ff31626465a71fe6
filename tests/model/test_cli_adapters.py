"""`tabagent run` with adapters and control vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from support.real_adapters import write_adapter, write_control_vector
from tabagent import Model, SamplerConfig
from tabagent.cli import main

PROMPT: Final = "Once upon a time"
Out = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, smollm2_path: Path) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    write_adapter(folder / "a.gguf", smollm2_path, size=0.05)
    write_adapter(folder / "b=1.gguf", smollm2_path, size=0.05, seed=1)
    write_control_vector(folder / "v.gguf", smollm2_path)
    return folder


def run(smollm2_path: Path, *arguments: str) -> int:
    return main(["run", "--raw", str(smollm2_path), "-t", "1", "-c", "256", "-p", PROMPT, "--temp", "0", "-n", "8", *arguments])


def test_each_option_does_what_the_package_does(smollm2: Model, smollm2_path: Path, folder: Path, capsys: Out) -> None:
    a, b, v = (str(folder / name) for name in ("a.gguf", "b=1.gguf", "v.gguf"))
    one, two, vector = smollm2.load_adapter(a), smollm2.load_adapter(b), smollm2.load_control_vector(v)
    cases: list[tuple[list[str], dict[str, Any]]] = [
        ([], {}),
        (["--lora", a], {"adapters": one}),
        (["--lora", b], {"adapters": two}),
        (["--lora", f"{a}=0.5", "--lora-scaled", f"{b}:-2"], {"adapters": {one: 0.5, two: -2}}),
        (["--lora-scaled", f"{a}:2,{b}:0.25"], {"adapters": {one: 2, two: 0.25}}),
        (["--control-vector", v], {"control_vector": vector}),
        (["--control-vector", f"{v}=-3"], {"control_vector": {vector: -3}}),
        (
            ["--control-vector-scaled", f"{v}:-4", "--control-vector-layer-range", "5", "20"],
            {"control_vector": {vector: -4}, "control_layers": (5, 20)},
        ),
        (["--lora", a, "--control-vector", v], {"adapters": one, "control_vector": vector}),
    ]
    texts = []
    for arguments, options in cases:
        assert run(smollm2_path, *arguments) == 0
        out = capsys.readouterr()
        assert out.err == ""
        done = smollm2.generate(PROMPT, max_tokens=8, sampling=SamplerConfig.greedy(), **options).result()
        assert out.out.rstrip("\n") == done.text.rstrip("\n"), arguments
        texts.append(done.text)
    assert len(set(texts)) > 5, "they change the text"


def test_conversations_and_explanations_have_them_too(smollm2_path: Path, folder: Path, capsys: Out) -> None:
    assert run(smollm2_path, "--lora", str(folder / "a.gguf")) == 0
    text = capsys.readouterr().out
    assert run(smollm2_path, "--lora", str(folder / "a.gguf"), "--explain") == 0
    assert capsys.readouterr().out.endswith(text)


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["--lora", "none.gguf"], 1, "none.gguf`: no such file"),
        (["--lora", "{v}"], 1, "cannot use adapter"),
        (["--lora", "{a}=loud"], 2, "scale `loud`, which is no number; write `FILE=SCALE`"),
        (["--lora", "{a}=nan"], 1, "scale `NaN` of adapter `a.gguf`"),
        (["--lora-scaled", "{a}:"], 2, "scale ``, which is no number; write `FILE:SCALE`"),
        (["--lora", "{model}"], 1, "must be `adapter`"),
        (["--control-vector", "{a}"], 1, "it is no control vector"),
        (["--control-vector-scaled", "{v}:inf"], 1, "makes numbers that are not finite"),
        (["--control-vector-layer-range", "1", "2"], 2, "give `--control-vector FILE`"),
        (["--control-vector", "{v}", "--control-vector-layer-range", "1", "30"], 1, "layers 1 to 30 are no range"),
        (["--control-vector", "{v}", "--control-vector-layer-range", "-1", "3"], 1, "`--control-vector-layer-range`"),
        (["--control-vector", "{v}", "--control-vector-layer-range", "one", "3"], 2, "--control-vector-layer-range"),
    ],
)
def test_what_is_wrong_is_named(arguments: list[str], code: int, part: str, *, smollm2_path: Path, folder: Path, capsys: Out) -> None:
    places = {"a": folder / "a.gguf", "v": folder / "v.gguf", "model": smollm2_path}
    assert run(smollm2_path, *(argument.format(**places) for argument in arguments)) == code
    out = capsys.readouterr()
    assert part in out.err
    assert out.err.count("\n") == 1
    assert out.out == ""
