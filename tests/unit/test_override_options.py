"""Options that replace metadata, and those of guessing ahead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from support.gguf_image import Image, text
from tabagent.cli.failure import UsageError
from tabagent.cli.guess_options import GuessOptions
from tabagent.cli.override_options import OverrideOptions, with_architecture


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["a.b=int:4"], {"a.b": 4}),
        (["a=float:0.5,b=bool:true", "c=str:x=y:z"], {"a": 0.5, "b": True, "c": "x=y:z"}),
        (["a=str:1\\,2,b=bool:false"], {"a": "1,2", "b": False}),
        (["a=str:"], {"a": ""}),
    ],
)
def test_metadata_is_replaced_as_llama_cpp_writes_it(given: list[str], expected: dict[str, Any]) -> None:
    found = OverrideOptions(override_kv=given).overrides()
    assert found == expected
    assert found is not None
    assert {key: type(value) for key, value in found.items()} == {key: type(value) for key, value in expected.items()}


@pytest.mark.parametrize("given", ["a", "a=4", "a=int:4.5", "a=bool:1", "a=u8:4", "=int:4", "a=int:4,b"])
def test_other_words_are_refused(given: str) -> None:
    with pytest.raises(UsageError, match=r"is no `KEY=TYPE:VALUE`"):
        OverrideOptions(override_kv=[given]).overrides()


def test_positions_get_the_keys_of_the_architecture(tmp_path: Path) -> None:
    image = Image()
    image.set("general.architecture", text("qwen2"))
    file = tmp_path / "model.gguf"
    file.write_bytes(image.to_bytes())
    options = OverrideOptions(rope_scaling="yarn", rope_freq_scale=0.25, rope_freq_base=1e6, yarn_orig_ctx=32768, override_kv=["a=int:1"])
    settings = with_architecture({"threads": 1, "metadata_overrides": options.overrides()}, str(file))
    assert settings == {
        "threads": 1,
        "metadata_overrides": {
            "qwen2.rope.scaling.type": "yarn",
            "qwen2.rope.scaling.factor": 4.0,
            "qwen2.rope.freq_base": 1e6,
            "qwen2.rope.scaling.original_context_length": 32768,
            "a": 1,
        },
    }
    assert OverrideOptions().overrides() is None
    # 0 is llama.cpp's word for what the file says.
    assert OverrideOptions(rope_freq_base=0.0, rope_scale=0.0, yarn_orig_ctx=0).overrides() is None


def test_positions_of_a_file_without_architecture_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(Image().to_bytes())
    with pytest.raises(UsageError, match="names no architecture"):
        with_architecture({"metadata_overrides": OverrideOptions(rope_scale=2.0).overrides()}, str(file))


def test_guesses_have_the_limits_that_are_given() -> None:
    assert GuessOptions().of_model() == {"draft_model": None, "speculative": None}
    assert GuessOptions(spec_type="none", max_draft=4).of_model() == {"draft_model": None, "speculative": None}
    looked_up = GuessOptions(spec_type="ngram-simple", ngram_size=3, max_draft=20).of_model()["speculative"]
    assert (looked_up.min_match, looked_up.max_match, looked_up.max_draft) == (3, 3, 20)
    drafted = GuessOptions(draft_hf="owner/name", min_draft=2, min_probability=0.5, draft_gpu_layers="all", draft_devices="none").of_model()
    assert drafted["draft_model"] == {"path": "hf:owner/name/*.gguf", "gpu_layers": 2**31 - 1, "devices": ["cpu"]}
    limits = drafted["speculative"]
    assert (limits.min_draft, limits.max_draft, limits.min_probability) == (2, 8, 0.5)
    assert GuessOptions(draft_hf="owner/name", min_draft=12).of_model()["speculative"].max_draft == 12
