"""Files that are mapped or open while somebody changes, replaces or deletes them, which Windows refuses in most cases."""

from __future__ import annotations

import contextlib
import gc
import mmap
import shutil
from pathlib import Path

import pytest

from tabagent import Model, SamplerConfig, gguf
from tabagent._fetch import FetchError, atomic_file

KEY = "general.name"


@pytest.fixture
def path(model_path: Path, tmp_path: Path) -> Path:
    """A copy of the model."""
    return Path(shutil.copyfile(model_path, tmp_path / "model.gguf"))


@pytest.fixture
def other(path: Path) -> Path:
    """Another copy, to take the first one's place."""
    return Path(shutil.copyfile(path, path.with_name("other.gguf")))


def text(model: Model) -> str:
    return model.generate("Once upon a time", max_tokens=4, sampling=SamplerConfig.greedy()).result().text


def name_of(path: Path) -> object:
    return gguf.open(path).metadata[KEY]


def test_a_file_that_is_mapped_cannot_be_cut(path: Path) -> None:
    file = gguf.open(path)
    before = file.tensors[0].dequantize()
    with pytest.raises(OSError, match=r"model\.gguf|Invalid argument|1224"), path.open("r+b") as handle:
        handle.truncate(1000)
    assert (file.tensors[0].dequantize() == before).all()


def test_a_file_that_is_mapped_stays_readable_when_its_name_goes(path: Path, other: Path) -> None:
    file = gguf.open(path)
    before = file.tensors[0].dequantize()
    # Some versions of Windows refuse, in which case nothing has changed.
    with contextlib.suppress(PermissionError):
        other.replace(path)
    with contextlib.suppress(PermissionError):
        path.unlink()
    assert (file.tensors[0].dequantize() == before).all()


def test_a_file_is_edited_in_place_while_it_is_mapped(path: Path) -> None:
    file = gguf.open(path)
    before = str(file.metadata[KEY])
    assert gguf.edit_metadata(path, {KEY: before[::-1]}) == "in place"
    assert name_of(path) == before[::-1]
    assert file.tensors[0].dequantize().size


def test_a_file_that_only_the_edit_reads_is_rewritten(path: Path) -> None:
    assert gguf.edit_metadata(path, {KEY: "x" * 5000}) == "rewritten"
    assert name_of(path) == "x" * 5000
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_an_edit_leaves_the_other_names_of_a_file_alone(path: Path) -> None:
    second = path.with_name("second.gguf")
    second.hardlink_to(path)
    before = str(name_of(path))
    assert gguf.edit_metadata(path, {KEY: before[::-1]}) == "rewritten"
    assert (name_of(path), name_of(second)) == (before[::-1], before)


def test_a_file_that_is_open_is_not_replaced_and_the_error_says_what_to_do(path: Path, other: Path) -> None:
    file = gguf.open(path)
    with pytest.raises(PermissionError, match="close it there first") as caught:
        gguf.edit_metadata(path, {KEY: "x" * 5000})
    assert caught.value.filename == str(path)
    with pytest.raises(PermissionError, match="close it there first"):
        gguf.merge(other, path)
    assert file.tensors[0].dequantize().size
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.gguf", "other.gguf"]
    del file
    gc.collect()
    assert gguf.edit_metadata(path, {KEY: "x" * 5000}) == "rewritten"


def test_the_file_of_a_model_is_free_when_the_model_is_closed(path: Path, other: Path) -> None:
    with Model.load(path) as model:
        assert text(model)
        with pytest.raises(PermissionError):
            other.replace(path)
    other.replace(path)
    path.unlink()


def test_the_file_of_a_model_that_was_read_is_free_at_once(path: Path, other: Path) -> None:
    with Model.load(path, use_mmap=False) as model:
        other.replace(path)
        path.unlink()
        assert text(model)


def test_a_fetched_file_that_another_process_put_there_first_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "fetched.bin"
    path.write_bytes(b"content")
    with path.open("rb") as used, mmap.mmap(used.fileno(), 0, access=mmap.ACCESS_READ) as view:
        with atomic_file(path) as file:
            file.write(b"content")
        with pytest.raises(FetchError, match="close it there first"), atomic_file(path) as file:
            file.write(b"another")
        assert view[:] == b"content"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_what_the_system_refuses_has_windows_number_and_pythons_class(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        gguf.open(tmp_path / "no folder" / "model.gguf")
    assert str(caught.value).startswith("[WinError 3]")
    assert "(os error" not in str(caught.value.strerror)
