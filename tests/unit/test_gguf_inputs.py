"""No writer replaces a file that it reads, whatever name leads there; and no edit leaves a file worse than it was."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from support.tiny_adapters import write_peft
from support.tiny_checkpoints import smollm
from support.tiny_lora import tiny_adapter, untied_llama
from support.tiny_models import tiny_llama
from tabagent import GgufError, gguf
from tabagent.cli import main
from unit.test_imatrix import write_gguf as write_imatrix

Write = Callable[[Path], object]
Link = Callable[[Path, Path], Path]


@dataclass
class Case:
    """A writer, told where to write, and the files that it reads."""

    write: Write
    inputs: list[Path]


def _convert(folder: Path) -> Case:
    source = smollm()
    source.shards = 2
    source.files["chat_template.jinja"] = "{{ messages }}"
    source.files["additional_chat_templates/tool_use.jinja"] = "{{ tools }}"
    source.write(folder / "hf")
    return Case(lambda out: gguf.convert(folder / "hf", out), sorted(path for path in (folder / "hf").rglob("*") if path.is_file()))


def _parts(folder: Path) -> list[Path]:
    whole = folder / "whole.gguf"
    whole.write_bytes(untied_llama().to_bytes())
    return gguf.split(whole, folder / "m", max_tensors=8)


def _merge(folder: Path) -> Case:
    parts = _parts(folder)
    return Case(lambda out: gguf.merge(parts[0], out), parts)


def _edit_copy(folder: Path) -> Case:
    parts = _parts(folder)
    return Case(lambda out: gguf.edit_metadata(parts[0], {"general.name": "x"}, output=out), parts)


def _byte_order(folder: Path) -> Case:
    model = folder / "model.gguf"
    model.write_bytes(untied_llama().to_bytes())
    return Case(lambda out: gguf.convert_byte_order(model, out, "big"), [model])


def _writer(folder: Path) -> Case:
    model = folder / "model.gguf"
    model.write_bytes(untied_llama().to_bytes())
    return Case(lambda out: gguf.GgufWriter.of(gguf.open(model)).set("general.name", "x").write(out), [model])


def _writer_of_views(folder: Path) -> Case:
    model, mapped = folder / "model.gguf", folder / "mapped.bin"
    model.write_bytes(untied_llama().to_bytes())
    np.arange(64, dtype=np.float32).tofile(mapped)

    def write(out: Path) -> None:
        writer = gguf.GgufWriter()
        writer.add_tensor("a", gguf.open(model).tensors[0].numpy()[:1])
        writer.add_tensor("b", np.memmap(mapped, dtype=np.float32, mode="r")[8:16].reshape(2, 4))
        writer.add_tensor("c", memoryview(gguf.open(model).tensors[0].raw)[:32].cast("B"), type="F32", shape=(8,))  # type: ignore[arg-type]
        writer.write(out)

    return Case(write, [model, mapped])


def _quantize(folder: Path) -> Case:
    model, matrix = folder / "model.gguf", write_imatrix(folder / "matrix.gguf")
    model.write_bytes(untied_llama().to_bytes())
    return Case(lambda out: gguf.quantize_model(model, out, "Q8_0", imatrix=matrix), [model, matrix])


def _quantize_parts(folder: Path) -> Case:
    parts = _parts(folder)
    return Case(lambda out: gguf.quantize_model(parts[1], out, "F16"), parts)


def _merge_lora(folder: Path) -> Case:
    model, adapter, matrix = folder / "model.gguf", folder / "adapter.gguf", write_imatrix(folder / "matrix.gguf")
    image = untied_llama()
    model.write_bytes(image.to_bytes())
    adapter.write_bytes(tiny_adapter(image).to_bytes())
    return Case(lambda out: gguf.merge_lora(model, adapter, out, imatrix=matrix), [model, adapter, matrix])


def _peft(folder: Path) -> tuple[Path, Path, Path]:
    checkpoint = smollm()
    base = checkpoint.write(folder / "hf")
    adapter = write_peft(folder / "peft", checkpoint)
    gguf.convert(base, folder / "model.gguf")
    return base, adapter, folder / "model.gguf"


def _merge_peft(folder: Path) -> Case:
    _, adapter, model = _peft(folder)
    return Case(lambda out: gguf.merge_lora(model, adapter, out), [model, *adapter.iterdir()])


def _merge_peft_file(folder: Path) -> Case:
    _, adapter, model = _peft(folder)
    return Case(lambda out: gguf.merge_lora(model, adapter / "adapter_model.safetensors", out), [model, *adapter.iterdir()])


def _convert_lora(folder: Path) -> Case:
    base, adapter, _ = _peft(folder)
    return Case(lambda out: gguf.convert_lora(adapter, out, base=base), [*adapter.iterdir(), base / "config.json"])


def _imatrix(folder: Path) -> Case:
    matrix = write_imatrix(folder / "matrix.gguf")
    return Case(lambda out: gguf.Imatrix(matrix).write(out), [matrix])


CASES = {
    make.__name__: make
    for make in (
        _convert,
        _merge,
        _edit_copy,
        _byte_order,
        _writer,
        _writer_of_views,
        _quantize,
        _quantize_parts,
        _merge_lora,
        _merge_peft,
        _merge_peft_file,
        _convert_lora,
        _imatrix,
    )
}


def _symbolic(path: Path, folder: Path) -> Path:
    (folder / "symbolic.out").symlink_to(path)
    return folder / "symbolic.out"


def _hard(path: Path, folder: Path) -> Path:
    os.link(path, folder / "hard.out")
    return folder / "hard.out"


def _through_folder_link(path: Path, folder: Path) -> Path:
    (folder / "linked").symlink_to(path.parent, target_is_directory=True)
    return folder / "linked" / path.name


LINKS: dict[str, Link] = {
    "itself": lambda path, _: path,
    "symbolic link": _symbolic,
    "hard link": _hard,
    "link to the folder": _through_folder_link,
    "other spelling": lambda path, _: path.parent / "." / ".." / path.parent.name / path.name,
    "relative": lambda path, _: Path(os.path.relpath(path)),
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()}


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("case", CASES)
def test_no_writer_replaces_what_it_reads(case: str, link: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    made = CASES[case](tmp_path / "in")
    before = contents(tmp_path / "in")
    for number, path in enumerate(made.inputs):
        aside = tmp_path / f"aside{number}"
        aside.mkdir()
        out = LINKS[link](path, aside)
        with pytest.raises(ValueError, match="give another name for the result"):
            made.write(out)
        assert contents(tmp_path / "in") == before
    # With another name it works: what is refused is the name alone.
    made.write(tmp_path / made.inputs[0].name if case == "_edit_copy" else tmp_path / "in" / "out.gguf")


def test_a_folder_with_earlier_results_may_take_another(tmp_path: Path) -> None:
    folder = smollm().write(tmp_path / "hf")
    for _ in range(2):
        gguf.convert(folder, folder / "model.gguf")
    assert gguf.open(folder / "model.gguf", check="full").architecture == "llama"


def test_parts_replace_neither_the_model_nor_each_other(tmp_path: Path) -> None:
    parts = _parts(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="give another name for the result"):
        gguf.split(parts[1], tmp_path / "m", max_tensors=8)
    with pytest.raises(ValueError, match="give another name for the result"):
        gguf.quantize_model(parts[0], tmp_path / "m", "F16", keep_split=True)
    assert contents(tmp_path) == before
    (tmp_path / "x-00001-of-00003.gguf").write_bytes(b"")
    os.link(tmp_path / "x-00001-of-00003.gguf", tmp_path / "x-00002-of-00003.gguf")
    n_tensors = len(gguf.open(parts[0]).tensors)
    with pytest.raises(ValueError, match="x-00002-of-00003"):
        gguf.split(parts[0], tmp_path / "x", max_tensors=-(-n_tensors // 3))
    assert (tmp_path / "x-00001-of-00003.gguf").read_bytes() == b""


@pytest.mark.parametrize(
    ("arguments", "inputs"),
    [
        (["gguf", "merge", "m-00001-of-00003.gguf", "m-00002-of-00003.gguf"], "m-00002-of-00003.gguf"),
        (["gguf", "convert-endian", "whole.gguf", "whole.gguf", "--to", "big"], "whole.gguf"),
        (["gguf", "set-metadata", "whole.gguf", "general.name=x", "-o", "whole.gguf"], "whole.gguf"),
        (["quantize", "whole.gguf", "./whole.gguf", "Q8_0"], "whole.gguf"),
        (["convert", "hf", "hf/model.safetensors"], "hf/model.safetensors"),
    ],
)
def test_commands_name_the_output_that_they_refuse(
    arguments: list[str], inputs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _parts(tmp_path)
    smollm().write(tmp_path / "hf")
    monkeypatch.chdir(tmp_path)
    before = contents(tmp_path)
    assert main(arguments) == 1
    assert f"{inputs}`" in capsys.readouterr().err
    assert contents(tmp_path) == before


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    gguf.open(path, check="full")
    yield path
    gguf.open(path, check="full")


@pytest.mark.parametrize(
    ("values", "types", "remove", "text"),
    [
        ({"split.count": 5}, {}, [], "`split.count` says which files are one model"),
        ({"split.count": 5}, {"split.count": "u16"}, [], "`split.count` says which files are one model"),
        ({}, {}, ["general.architecture"], "`general.architecture` must stay"),
        ({"general.architecture": ""}, {}, [], "`general.architecture` must stay"),
        ({"general.architecture": 5}, {"general.architecture": "u32"}, [], "must have type `str`, not `u32`"),
        ({"general.architecture": "nonsense"}, {}, [], "which llama.cpp does not know"),
        ({"general.alignment": 3}, {}, [], "power of two"),
        ({"general.alignment": 8}, {}, [], "multiples of `32`"),
        ({"general.alignment": 32}, {"general.alignment": "u64"}, [], "must be a `u32`"),
        ({"general.name": 5}, {"general.name": "i32"}, [], "must have type `str`"),
        ({"tokenizer.ggml.tokens": ["a", "b"]}, {}, [], "beside `2` tokens"),
        ({"tokenizer.ggml.scores": [0.5]}, {}, [], "`1` items beside"),
        ({"tokenizer.ggml.token_type": [1]}, {}, [], "`1` items beside"),
        ({}, {}, ["tokenizer.ggml.tokens"], "tokens"),
        ({}, {}, ["llama.block_count"], "`llama.block_count` is missing"),
        ({"llama.block_count": 2}, {"llama.block_count": "f32"}, [], "reads it as `u32`"),
        ({"tokenizer.chat_template": ["x"]}, {}, [], "must have type `str`"),
        ({"": 5}, {}, [], "empty"),
    ],
)
def test_edits_that_would_break_the_file_are_refused(
    values: dict[str, object], types: dict[str, str], remove: list[str], text: str, model: Path
) -> None:
    before = model.read_bytes()
    for output in (None, model.with_name("copy.gguf")):
        with pytest.raises(GgufError, match=text):
            gguf.edit_metadata(model, values, types=types, remove=remove, output=output)
    assert model.read_bytes() == before
    assert not model.with_name("copy.gguf").exists()


def test_a_file_that_wrongly_says_it_is_a_part_can_be_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tiny_llama()
    writer = gguf.GgufWriter.of(gguf.open(image.to_bytes()))
    writer.set("split.count", 5, type="u16").write(tmp_path / "m.gguf")
    with pytest.raises(GgufError, match="the name does not say so"):
        gguf.open(tmp_path / "m.gguf")
    shutil.copy(tmp_path / "m.gguf", tmp_path / "n.gguf")
    gguf.edit_metadata(tmp_path / "m.gguf", remove=["split.count"])
    assert gguf.open(tmp_path / "m.gguf", check="full").parts == ["m.gguf"]
    assert main(["gguf", "set-metadata", str(tmp_path / "n.gguf"), "--remove", "split.count"]) == 0, capsys.readouterr().err
    gguf.open(tmp_path / "n.gguf", check="full")


def test_the_copy_of_a_part_keeps_the_name_of_a_part(tmp_path: Path) -> None:
    parts = _parts(tmp_path)
    with pytest.raises(GgufError, match=r"found only as `NAME-00001-of-0000\d\.gguf`"):
        gguf.edit_metadata(parts[0], {"general.name": "x"}, output=tmp_path / "copy.gguf")
    (tmp_path / "new").mkdir()
    for part in parts[1:]:
        shutil.copy(part, tmp_path / "new")
    gguf.edit_metadata(parts[0], {"general.name": "x"}, output=tmp_path / "new" / parts[0].name)
    assert gguf.open(tmp_path / "new" / parts[2].name, check="full").metadata["general.name"] == "x"
    with pytest.raises(GgufError, match=r"split\.count"):
        gguf.edit_metadata(parts[0], remove=["split.count"])


def test_overrides_of_a_quantized_file_do_not_break_it(tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    model.write_bytes(tiny_llama().to_bytes())
    for overrides, text in (
        ({"split.count": 5}, "says which files are one model"),
        ({"general.name": 5}, "must have type `str`"),
        ({"tokenizer.ggml.tokens": "x"}, r"must have type `arr\[str\]`"),
        ({"general.alignment": 3}, "power of two"),
    ):
        with pytest.raises(ValueError, match=text):
            gguf.quantize_model(model, tmp_path / "out.gguf", "Q8_0", metadata_overrides=overrides)
    assert not (tmp_path / "out.gguf").exists()
    assert json.dumps(sorted(path.name for path in tmp_path.iterdir())) == '["model.gguf"]'
