"""What `gguf.convert` takes from a folder, beside tensors: templates, the vocabulary's size, the model card; and what it refuses."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFWriter, Metadata

from support.tiny_adapters import write_peft
from support.tiny_checkpoints import Checkpoint, bert, llama3, smollm
from tabagent import GgufError, gguf

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"


def converted(checkpoint: Checkpoint, folder: Path) -> gguf.GgufFile:
    gguf.convert(checkpoint.write(folder / "model"), folder / "out.gguf")
    return gguf.open(folder / "out.gguf", check="model")


def templates(file: gguf.GgufFile) -> dict[str, str]:
    start = "tokenizer.chat_template"
    return {key.removeprefix(start).removeprefix("."): value for key, value in file.metadata.items() if key == start or key.startswith(f"{start}.")}


NAMED = [{"name": "default", "template": "old"}, {"name": "rag", "template": "old rag"}]


@pytest.mark.parametrize(
    ("config", "files", "expected"),
    [
        ("old", {}, {"": "old"}),
        ("old", {"chat_template.jinja": "new"}, {"": "new"}),
        ("old", {"chat_template.json": {"chat_template": "new"}}, {"": "new"}),
        ("old", {"chat_template.json": {"other": 1}}, {"": "old"}),
        (None, {"chat_template.json": {"chat_template": {"default": "new", "tools": "t"}}}, {"": "new", "tools": "t"}),
        ("old", {"chat_template.jinja": "newest", "chat_template.json": {"chat_template": "new"}}, {"": "newest"}),
        (NAMED, {}, {"": "old", "rag": "old rag"}),
        (NAMED, {"chat_template.jinja": "new"}, {"": "new"}),
        (
            "old",
            {"chat_template.jinja": "new", "additional_chat_templates/tool_use.jinja": "t", "additional_chat_templates/a-b.jinja": "ab"},
            {"": "new", "tool_use": "t", "a_b": "ab"},
        ),
        ("old", {"additional_chat_templates/rag.jinja": "r", "additional_chat_templates/notes.txt": "no"}, {"": "old", "rag": "r"}),
    ],
)
def test_templates_are_found_as_transformers_finds_them(config: Any, files: dict[str, Any], expected: dict[str, str], tmp_path: Path) -> None:
    checkpoint = smollm()
    settings: Any = checkpoint.files["tokenizer_config.json"]
    checkpoint.files["tokenizer_config.json"] = {**settings, "chat_template": config}
    checkpoint.files.pop("chat_template.jinja", None)
    checkpoint.files |= files
    file = converted(checkpoint, tmp_path)
    assert templates(file) == expected
    names = sorted(name for name in expected if name)
    assert ("tokenizer.chat_templates" in file.metadata) == bool(names)
    if names:
        assert file.metadata["tokenizer.chat_templates"].tolist() == names


@pytest.mark.parametrize(
    ("config", "files", "message"),
    [
        (5, {}, "`chat_template` must be a template"),
        ([{"name": "a"}], {}, "`chat_template` must be a template"),
        (["x"], {}, "`chat_template` must be a template"),
        ([{"name": "a-b", "template": "1"}, {"name": "a.b", "template": "2"}], {}, "`a-b` and `a.b` would both be called `a_b`"),
        (None, {"chat_template.jinja": b"\xff"}, "not text in UTF-8"),
    ],
)
def test_templates_that_cannot_be_kept_are_refused(config: Any, files: dict[str, Any], message: str, tmp_path: Path) -> None:
    checkpoint = smollm()
    settings: Any = checkpoint.files["tokenizer_config.json"]
    checkpoint.files["tokenizer_config.json"] = {**settings, "chat_template": config}
    checkpoint.files.pop("chat_template.jinja", None)
    checkpoint.files |= files
    with pytest.raises(GgufError, match=message):
        converted(checkpoint, tmp_path)


def resized(checkpoint: Checkpoint, rows: int) -> Checkpoint:
    """The checkpoint with embeddings, and an output if it has one, of so many tokens."""
    for name, (kind, shape) in checkpoint.tensors.items():
        if name.endswith(("embed_tokens.weight", "word_embeddings.weight", "lm_head.weight")):
            checkpoint.tensors[name] = (kind, (rows, *shape[1:]))
    return checkpoint


@pytest.mark.parametrize("make", [smollm, llama3, bert])
@pytest.mark.parametrize("change", [-1, 1, 64])
def test_embeddings_have_a_row_for_each_token(make: Callable[[], Checkpoint], change: int, tmp_path: Path) -> None:
    checkpoint = make()
    n_tokens = checkpoint.config["vocab_size"]
    with pytest.raises(GgufError, match=f"has `{n_tokens + change}` rows, but the vocabulary has `{n_tokens}` tokens"):
        converted(resized(checkpoint, n_tokens + change), tmp_path)
    assert not (tmp_path / "out.gguf").exists()
    if change > 0:
        # As the pinned converter has it, ids up to `vocab_size` without a token get one.
        padded = make()
        padded.config["vocab_size"] = n_tokens + change
        file = converted(resized(padded, n_tokens + change), tmp_path / "padded")
        assert file.metadata["tokenizer.ggml.tokens"][-1].removeprefix("▁") == f"[PAD{n_tokens + change - 1}]"


def test_output_and_embeddings_agree(tmp_path: Path) -> None:
    checkpoint = llama3()
    name = "lm_head.weight"
    shape = checkpoint.tensors["model.embed_tokens.weight"][1]
    checkpoint.tensors[name] = ("BF16", (shape[0] + 1, shape[1]))
    with pytest.raises(GgufError, match=f"tensor `{name}` has `{shape[0] + 1}` rows"):
        converted(checkpoint, tmp_path)


def test_a_model_without_a_tensor_is_refused(tmp_path: Path) -> None:
    checkpoint = smollm()
    del checkpoint.tensors["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(GgufError, match=r"no tensor for `blk\.1\.ffn_up\.weight`"):
        converted(checkpoint, tmp_path)


CARDS = {
    "mappings": """
base_model:
- name: Base
  author: someone
  version: v1.0
  organization: Org
  description: the base
  url: https://example.org/base
  doi: 10.1000/1
  uuid: 123e4567-e89b-12d3-a456-426614174000
  repo_url: https://example.org/repo
- org/Other-7B-v2
datasets:
- name: Data
  url: https://example.org/data
- org/data
- https://huggingface.co/org/more
- ssh://git@example.org/x
""",
    "nothing": "base_model: []\ndatasets:\n",
    "one": "base_models: org/Model-1B\ndataset: plain\n",
    "source": """
url: https://example.org
doi: 10.1000/2
uuid: 123e4567-e89b-12d3-a456-426614174001
repo_url: https://example.org/git
license: [mit, apache-2.0]
license_name: both
license_link: https://example.org/licence
""",
    "source, other names": """
model_url: https://example.org
model_doi: 10.1000/2
model_uuid: 123e4567-e89b-12d3-a456-426614174001
model_repo_url: https://example.org/git
""",
    "texts": """
model_name: My Model
model_creator: Me
model_type: kind
description: >
  A long text
  in lines
language: [en, de]
languages: fr
tags:
  - a
pipeline_tag: text-generation
dataset_sources: [a/b]
base_model_sources: c/d
""",
    "anchors": "tags: &t [a, b]\nlanguages: *t\n",
}


class Keys(GGUFWriter):
    """What llama.cpp's converter would write, without a file."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    def add_key_value(self, key: str, val: Any, vtype: Any, sub_type: Any = None) -> None:
        self.found[key] = val


@pytest.mark.parametrize("card", CARDS)
def test_cards_say_what_they_say_to_llama_cpps_converter(card: str, tmp_path: Path) -> None:
    checkpoint = smollm()
    checkpoint.files["README.md"] = f"---{CARDS[card] if CARDS[card][0] == chr(10) else chr(10) + CARDS[card]}---\n# Model\n"
    checkpoint.files["generation_config.json"] = {"temperature": 0.5, "top_k": 7, "sequence": "kp", "penalty_repeat": 1.5}
    file = converted(checkpoint, tmp_path)
    n_params = sum(tensor.size for tensor in file.tensors)
    keys = Keys()
    Metadata.load(None, tmp_path / "model", None, n_params).set_gguf_meta_model(keys)
    own = {"general.architecture", "general.type", "general.file_type", "general.quantization_version", "general.size_label"}
    found = {
        key: value.tolist() if isinstance(value, gguf.GgufArray) else value
        for key, value in file.metadata.items()
        if key.startswith("general.") and key not in own
    }
    assert found == {key: value for key, value in keys.found.items() if key not in own}


def test_a_card_that_is_no_yaml_says_nothing(tmp_path: Path) -> None:
    checkpoint = smollm()
    checkpoint.files["README.md"] = "---\ntags: [a\n---\n"
    assert "general.tags" not in converted(checkpoint, tmp_path).metadata


def twice(text: str, key: str) -> str:
    """A JSON object with a key repeated at its end."""
    value = json.loads(text)[key]
    return f"{text.rstrip()[:-1]}, {json.dumps(key)}: {json.dumps(value)}}}"


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("config.json", "hidden_size"),
        ("tokenizer.json", "model"),
        ("tokenizer_config.json", "bos_token"),
        ("model.safetensors.index.json", "weight_map"),
    ],
)
def test_keys_that_are_there_twice_are_refused(name: str, key: str, tmp_path: Path) -> None:
    checkpoint = smollm()
    checkpoint.shards = 2
    settings: Any = checkpoint.files["tokenizer_config.json"]
    settings.setdefault("bos_token", "<|im_start|>")
    folder = checkpoint.write(tmp_path / "model")
    path = folder / name
    path.write_text(twice(path.read_text(encoding="utf-8"), key), encoding="utf-8")
    with pytest.raises(GgufError, match=rf"{name}`: it is not valid JSON: key `{key}` is there twice"):
        gguf.convert(folder, tmp_path / "out.gguf")


def rewrite_header(path: Path, change: Callable[[str], str]) -> None:
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = change(data[8 : 8 + length].decode()).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])


def test_a_tensor_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    folder = smollm().write(tmp_path / "model")
    rewrite_header(folder / "model.safetensors", lambda text: twice(text, "model.norm.weight"))
    with pytest.raises(GgufError, match=r"key `model\.norm\.weight` is there twice"):
        gguf.convert(folder, tmp_path / "out.gguf")
    adapter = write_peft(tmp_path / "peft", smollm())
    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    rewrite_header(adapter / "adapter_model.safetensors", lambda text: twice(text, name))
    with pytest.raises(GgufError, match="is there twice"):
        gguf.convert_lora(adapter, tmp_path / "lora.gguf", base=folder)


def index_of(folder: Path) -> tuple[Path, dict[str, str]]:
    path = folder / "model.safetensors.index.json"
    return path, json.loads(path.read_text(encoding="utf-8"))["weight_map"]


def test_an_index_that_disagrees_with_the_files_is_refused(tmp_path: Path) -> None:
    checkpoint = smollm()
    checkpoint.shards = 2
    folder = checkpoint.write(tmp_path / "model")
    path, places = index_of(folder)
    names = list(places)
    other = {name: places[name] for name in names}
    other[names[0]], other[names[-1]] = places[names[-1]], places[names[0]]
    for changed, message in (
        (other, 'is not in `?"?model-0000'),
        ({name: places[name] for name in names[1:]}, f"tensor `{names[0]}` of the files is not listed"),
        (places | {"more.weight": places[names[0]]}, r"tensor `more\.weight` is not in"),
    ):
        path.write_text(json.dumps({"weight_map": changed}), encoding="utf-8")
        with pytest.raises(GgufError, match=message):
            gguf.convert(folder, tmp_path / "out.gguf")
    path.write_text(json.dumps({"weight_map": places}), encoding="utf-8")
    gguf.convert(folder, tmp_path / "out.gguf")
    (folder / "model.safetensors").write_bytes((folder / places[names[0]]).read_bytes())
    with pytest.raises(GgufError, match=r"does not name `model\.safetensors`"):
        gguf.convert(folder, tmp_path / "out.gguf")
    path.unlink()
    with pytest.raises(GgufError, match=r"is in `model-0000.*`, too|is in `model\.safetensors`, too"):
        gguf.convert(folder, tmp_path / "out.gguf")
    (folder / "model.safetensors").unlink()
    (folder / places[names[0]]).unlink()
    with pytest.raises(GgufError, match=f"{places[names[0]]}`: it is missing"):
        gguf.convert(folder, tmp_path / "out.gguf")


@pytest.mark.parametrize(
    "name",
    [
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "model.safetensors",
        "generation_config.json",
        "chat_template.jinja",
        "tokenizer.model",
    ],
)
def test_pointers_of_git_lfs_are_named(name: str, tmp_path: Path) -> None:
    folder = smollm().write(tmp_path / "model")
    (folder / name).write_bytes(POINTER)
    with pytest.raises(GgufError, match=rf"{name}`: it is a pointer of Git LFS.*git lfs pull"):
        gguf.convert(folder, tmp_path / "out.gguf")


def test_pointers_in_the_place_of_other_files_are_named(tmp_path: Path) -> None:
    pointer = tmp_path / "model.gguf"
    pointer.write_bytes(POINTER)
    folder = smollm().write(tmp_path / "hf")
    gguf.convert(folder, tmp_path / "real.gguf")
    adapter = write_peft(tmp_path / "peft", smollm())
    (adapter / "adapter_model.safetensors").write_bytes(POINTER)
    calls: list[Callable[[], object]] = [
        lambda: gguf.open(pointer),
        lambda: gguf.open(POINTER),
        lambda: gguf.Imatrix(pointer),
        lambda: gguf.quantize_model(pointer, tmp_path / "out.gguf", "Q8_0"),
        lambda: gguf.merge_lora(tmp_path / "real.gguf", pointer, tmp_path / "out.gguf"),
        lambda: gguf.merge_lora(tmp_path / "real.gguf", adapter, tmp_path / "out.gguf"),
        lambda: gguf.edit_metadata(pointer, {"a": 1}),
        lambda: gguf.convert(pointer, tmp_path / "out.gguf"),
    ]
    for call in calls:
        with pytest.raises(GgufError, match=r"is a pointer of Git LFS and not the file itself.*`git lfs pull`"):
            call()
