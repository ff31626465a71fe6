"""From a name to a file, and the options of a load that are refused before anything happens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import child
from support.gguf_image import text
from support.tiny_models import tiny_llama
from tabagent import Model, ModelNotFoundError, VariantError, list_available_variants
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
        ("path", "a\ud800", ValueError),
        ("variant", "a\0b", ValueError),
        ("variant", "a\ud800", ValueError),
        ("devices", [" "], ValueError),
        ("devices", "cuda:0", TypeError),
        ("gpu_layers", -1, ValueError),
        ("gpu_layers", "many", TypeError),
        ("gpu_layers", np.array([1, 2]), TypeError),
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
        ("kv_type", "a\ud800", ValueError),
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
        ("metadata_overrides", {10**5000: 1}, TypeError),
        ("metadata_overrides", {"a": "\ud800"}, ValueError),
        ("metadata_overrides", {"\udcff": 1}, ValueError),
    ],
)
def test_wrong_option_is_named_before_anything_is_loaded(option: str, value: Any, error: type[Exception]) -> None:
    options: dict[str, Any] = {"path": "/there/is/no/such.gguf", option: value}
    with pytest.raises(error, match=f"`{option}"):
        Model.load(**options)


@pytest.mark.parametrize("name", ["\udcff", "x\udcff/lib"])
def test_library_path_that_is_no_unicode_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(VariantError, match=r"`variant` leads to .*not valid UTF-8"):
        Model.load("m.gguf", variant=tmp_path / name)
    monkeypatch.setenv("TABAGENT_LIBRARY_PATH", str(tmp_path / name))
    with pytest.raises(VariantError, match=r"`TABAGENT_LIBRARY_PATH` leads to .*not valid UTF-8"):
        list_available_variants()


def test_overrides_are_of_the_type_that_they_replace(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    for overrides, kind in (
        ({"general.name": 5}, "str"),
        ({"llama.context_length": "64"}, "u32"),
        ({"llama.context_length": True}, "u32"),
        ({"llama.context_length": 64.0}, "u32"),
        ({"llama.rope.freq_base": "1"}, "f32"),
        ({"tokenizer.ggml.add_bos_token": 1}, "bool"),
    ):
        with pytest.raises(ValueError, match=rf"`{next(iter(overrides))}`: the file has a value of type `{kind}`"):
            Model.load(path, vocab_only=True, metadata_overrides=overrides)
    fitting = {"llama.context_length": 32, "tokenizer.ggml.add_bos_token": False}
    with Model.load(path, context_size=8, max_sequences=1, threads=1, metadata_overrides=fitting) as model:
        assert model.context_train_size() == 32
        assert not model.adds_bos
    # An integer will do for a float: with another epsilon the model computes other values.
    logits = []
    for epsilon in (1, 1.0, 1e-5):
        with (
            Model.load(
                path, context_size=8, max_sequences=1, threads=1, metadata_overrides={"llama.attention.layer_norm_rms_epsilon": epsilon}
            ) as model,
            model.create_context() as context,
        ):
            context.decode([5, 6])
            logits.append(context.logits().tolist())
    assert logits[0] == logits[1] != logits[2]


def test_what_a_model_knows_does_not_need_its_file(tmp_path: Path) -> None:
    """A file that is cut after the load takes the weights with it, but no facts: those are copies."""
    path = tmp_path / "model.gguf"
    image = tiny_llama()
    image.set("tokenizer.chat_template", text("{{ messages }}"))
    image.set("tokenizer.chat_template.tools", text("{{ tools }}"))
    path.write_bytes(image.to_bytes())
    program = """
        import os, sys
        from tabagent import Model, gguf

        def facts(model):
            tokens = range(model.vocab_size())
            special = [getattr(model, f"token_{name}")() for name in ("bos", "eos", "eot", "nl", "pad", "sep", "mask", "fim_pre", "fim_rep")]
            return [
                model.info, model.metadata, model.chat_template(), model.chat_template("tools"), model.chat_template("none"), special,
                model.adds_bos, model.adds_eos, model.vocab_size(), model.context_train_size(), model.embedding_dim(), model.stats,
                [(model.token_text(t), model.token_score(t), model.token_attributes(t), model.token_to_bytes(t), model.is_eog(t)) for t in tokens],
                model.tokenize("a </s> b", parse_special=True), model.detokenize([1, 261, 5]), repr(model),
            ]

        kinds = [(only, mapped) for only in (True, False) for mapped in (True, False)]
        models = [Model.load(sys.argv[1], context_size=64, threads=1, vocab_only=only, use_mmap=mapped) for only, mapped in kinds]
        before = [facts(model) for model in models]
        assert before[0][2] == "{{ messages }}" and before[0][3] == "{{ tools }}"
        os.truncate(sys.argv[1], 0)
        assert [facts(model) for model in models] == before
    """
    assert child.check(program, path) == ""
