"""From a name to a file, and the options of a load that are refused before anything happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tabagent import Model, ModelNotFoundError
from tabagent.loading import resolve_model_path


def test_demo_is_the_demo_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabagent._demo.find_demo_model", lambda: Path("/there/demo.gguf"))
    assert resolve_model_path("demo") == "/there/demo.gguf"
    assert resolve_model_path(Path("demo")) == "demo"


def test_demo_that_cannot_be_fetched_is_a_model_not_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> Path:
        message = "no network"
        raise OSError(message)

    monkeypatch.setattr("tabagent._demo.find_demo_model", fails)
    with pytest.raises(ModelNotFoundError, match="no network"):
        resolve_model_path("demo")


def test_home_directory_is_expanded() -> None:
    assert resolve_model_path("~/m.gguf") == str(Path.home() / "m.gguf")


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("path", "", ValueError),
        ("path", b"m.gguf", TypeError),
        ("path", 5, TypeError),
        ("path", "a\0b", ValueError),
        ("devices", ["CPU"], ValueError),
        ("gpu_layers", -1, ValueError),
        ("gpu_layers", "many", TypeError),
        ("gpu_layers", 1.0, TypeError),
        ("gpu_layers", True, TypeError),
        ("context_size", 0, ValueError),
        ("context_size", 2**40, ValueError),
        ("context_size", "1024", TypeError),
        ("max_sequences", 0, ValueError),
        ("max_sequences", 1.5, TypeError),
        ("threads", 0, ValueError),
        ("threads", 1.5, TypeError),
        ("batch_size", 0, ValueError),
        ("kv_type", None, TypeError),
        ("use_mmap", 1, TypeError),
        ("mlock", "yes", TypeError),
        ("vocab_only", None, TypeError),
        ("check_tensors", 0, TypeError),
        ("progress", 5, TypeError),
        ("metadata_overrides", [("a", 1)], TypeError),
        ("metadata_overrides", {"a": None}, TypeError),
        ("metadata_overrides", {"a": b"b"}, TypeError),
        ("metadata_overrides", {5: 1}, TypeError),
        ("metadata_overrides", {"a": 2**70}, ValueError),
    ],
)
def test_wrong_option_is_named_before_anything_is_loaded(option: str, value: Any, error: type[Exception]) -> None:
    options: dict[str, Any] = {"path": "/there/is/no/such.gguf", option: value}
    with pytest.raises(error, match=f"`{option}"):
        Model.load(**options)
