"""Tiny random Hugging Face folders of the families that `tabagent convert` knows, the same bytes on every machine."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from support.tiny_tokenizers import (
    LLAMA3_PATTERN,
    QWEN2_PATTERN,
    added,
    bpe_files,
    digits_then_bytes,
    sentence_piece_files,
    split_then_bytes,
)

Json = dict[str, Any]
Tensors = dict[str, tuple[str, tuple[int, ...]]]
"""Types and shapes by name."""


@dataclass
class Checkpoint:
    """A folder to be written: JSON files, other files, and tensors with their types."""

    config: Json
    tensors: Tensors
    files: dict[str, Json | list[Any] | str | bytes] = field(default_factory=dict)
    seed: int = 0
    shards: int = 1

    def write(self, folder: Path) -> Path:
        """Write everything into `folder`, which is made."""
        folder.mkdir(parents=True)
        for name, content in {"config.json": self.config, **self.files}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        generator = random.Random(self.seed)  # noqa: S311 (numbers for a test)
        blobs = {name: (kind, shape, numbers(generator, kind, shape)) for name, (kind, shape) in self.tensors.items()}
        if self.shards == 1:
            write_safetensors(folder / "model.safetensors", blobs)
            return folder
        weight_map: dict[str, str] = {}
        for index in range(self.shards):
            part = {name: blob for number, (name, blob) in enumerate(blobs.items()) if number % self.shards == index}
            file_name = f"model-{index + 1:05}-of-{self.shards:05}.safetensors"
            write_safetensors(folder / file_name, part)
            weight_map.update(dict.fromkeys(part, file_name))
        index_file: Json = {"metadata": {"total_size": 0}, "weight_map": weight_map}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index_file), encoding="utf-8")
        return folder


def numbers(generator: random.Random, kind: str, shape: tuple[int, ...]) -> bytes:
    """Random numbers of type `kind`, little-endian: bytes of four ternary weights for `U8`, else between -0.5 and 0.5."""
    count = int(np.prod(shape))
    if kind == "U8":
        return bytes(sum(generator.randrange(3) << shift for shift in (0, 2, 4, 6)) for _ in range(count))
    values = np.array([generator.random() - 0.5 for _ in range(count)], dtype="<f4")
    if kind == "F32":
        return values.tobytes()
    if kind == "F16":
        return values.astype("<f2").tobytes()
    assert kind == "BF16"
    return (values.view("<u4") >> 16).astype("<u2").tobytes()


def write_safetensors(path: Path, blobs: dict[str, tuple[str, tuple[int, ...], bytes]]) -> None:
    """Write tensors in the safetensors format: the length of a JSON header, the header, the data."""
    header: Json = {"__metadata__": {"format": "pt"}}
    start = 0
    for name, (kind, shape, data) in blobs.items():
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, start + len(data)]}
        start += len(data)
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + b"".join(data for _, _, data in blobs.values()))


def decoder_tensors(
    kind: str,
    sizes: dict[str, int],
    *,
    block: Callable[[dict[str, int]], dict[str, tuple[int, ...]]],
    tied: bool = False,
) -> Tensors:
    """Embeddings, blocks, final norm and head."""
    tensors: Tensors = {"model.embed_tokens.weight": (kind, (sizes["vocab"], sizes["width"]))}
    for layer in range(sizes["layers"]):
        tensors |= {f"model.layers.{layer}.{name}": (kind, shape) for name, shape in block(sizes).items()}
    tensors["model.norm.weight"] = (kind, (sizes["width"],))
    if not tied:
        tensors["lm_head.weight"] = (kind, (sizes["vocab"], sizes["width"]))
    return tensors


def llama_block(sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Norms, attention and gated feed-forward."""
    width, ffn, q, kv = sizes["width"], sizes["ffn"], sizes["heads"] * sizes["head"], sizes["kv"] * sizes["head"]
    return {
        "input_layernorm.weight": (width,),
        "self_attn.q_proj.weight": (q, width),
        "self_attn.k_proj.weight": (kv, width),
        "self_attn.v_proj.weight": (kv, width),
        "self_attn.o_proj.weight": (width, q),
        "post_attention_layernorm.weight": (width,),
        "mlp.gate_proj.weight": (ffn, width),
        "mlp.up_proj.weight": (ffn, width),
        "mlp.down_proj.weight": (width, ffn),
    }


def with_biases(sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Qwen 2: biases on queries, keys and values."""
    block = llama_block(sizes)
    return block | {f"self_attn.{name}_proj.bias": block[f"self_attn.{name}_proj.weight"][:1] for name in ("q", "k", "v")}


def with_head_norms(sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Qwen 3: norms on the heads' queries and keys."""
    return llama_block(sizes) | {f"self_attn.{name}_norm.weight": (sizes["head"],) for name in ("q", "k")}


def gemma2_block(sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Gemma 2: two more norms."""
    norms = ("pre_feedforward_layernorm", "post_feedforward_layernorm")
    return llama_block(sizes) | {f"{name}.weight": (sizes["width"],) for name in norms}


def gemma3_block(sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Gemma 3: those, and norms on the heads."""
    return gemma2_block(sizes) | {f"self_attn.{name}_norm.weight": (sizes["head"],) for name in ("q", "k")}


def phi3_block(sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Phi-3: fused projections."""
    width, ffn, q, kv = sizes["width"], sizes["ffn"], sizes["heads"] * sizes["head"], sizes["kv"] * sizes["head"]
    return {
        "input_layernorm.weight": (width,),
        "self_attn.qkv_proj.weight": (q + 2 * kv, width),
        "self_attn.o_proj.weight": (width, q),
        "post_attention_layernorm.weight": (width,),
        "mlp.gate_up_proj.weight": (2 * ffn, width),
        "mlp.down_proj.weight": (width, ffn),
    }


def bitnet_block(sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """BitNet: norms before the last projections."""
    return llama_block(sizes) | {
        "self_attn.inner_attn_ln.weight": (sizes["width"],),
        "mlp.ffn_layernorm.weight": (sizes["ffn"],),
    }


def packed(tensors: Tensors) -> Tensors:
    """The blocks' matrices with four rows in one of bytes, and a scale each."""
    result: Tensors = {}
    for name, (kind, shape) in tensors.items():
        if "layers" in name and len(shape) == 2:
            result[name] = ("U8", (shape[0] // 4, shape[1]))
            result[f"{name}_scale"] = (kind, (1,))
        else:
            result[name] = (kind, shape)
    return result


SIZES: Final = {"vocab": 264, "width": 64, "ffn": 96, "heads": 4, "kv": 2, "head": 16, "layers": 2}
COMMON: Final[Json] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def llama3() -> Checkpoint:
    """Llama 3.2: grouped heads, factors for the frequencies, tied embeddings, two files."""
    scaling: Json = {"factor": 32.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 64}
    special = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    config: Json = {
        "bos_token": special[0],
        "eos_token": special[2],
        "chat_template": "{% for m in messages %}{{ m['content'] }}{% endfor %}",
    }
    files = bpe_files(split_then_bytes(LLAMA3_PATTERN), special=special, ignore_merges=True, bos=special[0], config=config)
    files["generation_config.json"] = {"temperature": 0.6, "top_p": 0.9, "top_k": 20, "eos_token_id": [259, 260]}
    model: Json = COMMON | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": 262,
        "head_dim": 16,
        "rope_theta": 500_000.0,
        "rope_scaling": {"rope_type": "llama3", **scaling},
        "tie_word_embeddings": True,
        "bos_token_id": 258,
        "eos_token_id": [259, 260],
    }
    tensors = decoder_tensors("BF16", SIZES | {"vocab": 262}, block=llama_block, tied=True)
    return Checkpoint(model, tensors, files, seed=1, shards=2)


def smollm() -> Checkpoint:
    """SmolLM2: GPT-2's special tokens, spare rows in the vocabulary."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    config = {"bos_token": special[1], "eos_token": special[2], "unk_token": special[0], "add_prefix_space": False}
    files = bpe_files(digits_then_bytes(), special=special, ignore_merges=False, bos=None, config=config)
    files["chat_template.jinja"] = "{{ messages[0]['content'] }}"
    model = COMMON | {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 264, "rope_theta": 1e5}
    return Checkpoint(model, decoder_tensors("F32", SIZES, block=llama_block), files, seed=2)


def mistral() -> Checkpoint:
    """Mistral: SentencePiece, half precision."""
    files = sentence_piece_files({"unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False}, {267: ("[INST]", True)})
    model = COMMON | {
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "vocab_size": 272,
        "rope_theta": 1e6,
        "sliding_window": None,
        "head_dim": 16,
    }
    return Checkpoint(model, decoder_tensors("F16", SIZES | {"vocab": 272}, block=llama_block), files, seed=3)


def qwen2() -> Checkpoint:
    """Qwen 2.5: biases, extended context by YaRN."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    config = {"bos_token": None, "eos_token": special[2], "pad_token": special[0], "add_bos_token": False}
    files = bpe_files(split_then_bytes(QWEN2_PATTERN), special=special, ignore_merges=False, bos=None, config=config)
    model = COMMON | {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "vocab_size": 264,
        "rope_theta": 1e6,
        "rope_scaling": {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        "bos_token_id": 258,
        "eos_token_id": 260,
    }
    return Checkpoint(model, decoder_tensors("BF16", SIZES, block=with_biases), files, seed=4)


def qwen3() -> Checkpoint:
    """Qwen 3: norms on the heads, heads that are wider than their share."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    config: Json = {"bos_token": None, "eos_token": special[2], "pad_token": special[0], "add_bos_token": False}
    files = bpe_files(split_then_bytes(QWEN2_PATTERN), special=special, ignore_merges=False, bos=None, config=config)
    model = COMMON | {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "vocab_size": 264,
        "rope_theta": 1e6,
        "head_dim": 32,
        "bos_token_id": 258,
        "eos_token_id": 260,
    }
    return Checkpoint(model, decoder_tensors("BF16", SIZES | {"head": 32}, block=with_head_norms), files, seed=5)


def gemma2() -> Checkpoint:
    """Gemma 2: norms less 1, soft caps."""
    files = sentence_piece_files({"pad_token": "<unk>"}, {267: ("<start_of_turn>", True), 268: ("▁▁▁", False)})
    model = COMMON | {
        "architectures": ["Gemma2ForCausalLM"],
        "model_type": "gemma2",
        "vocab_size": 272,
        "head_dim": 16,
        "attn_logit_softcapping": 50.0,
        "final_logit_softcapping": 30.0,
        "sliding_window": 64,
        "query_pre_attn_scalar": 16,
        "hidden_activation": "gelu_pytorch_tanh",
    }
    return Checkpoint(model, decoder_tensors("F16", SIZES | {"vocab": 272}, block=gemma2_block, tied=True), files, seed=6)


def gemma3() -> Checkpoint:
    """Gemma 3 with images: a text part inside, tensors of the other part beside it."""
    files = sentence_piece_files({"pad_token": "<unk>"}, {267: ("<start_of_turn>", True), 268: ("<unused0>", False)})
    text: Json = {key: value for key, value in COMMON.items() if not key.endswith("token_id")} | {
        "model_type": "gemma3_text",
        "vocab_size": 272,
        "head_dim": 16,
        "sliding_window": 64,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "query_pre_attn_scalar": 16,
    }
    model: Json = {
        "architectures": ["Gemma3ForConditionalGeneration"],
        "model_type": "gemma3",
        "text_config": text,
        "vision_config": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32},
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    tensors = decoder_tensors("BF16", SIZES | {"vocab": 272}, block=gemma3_block, tied=True)
    tensors = {f"language_model.{name}": tensor for name, tensor in tensors.items()}
    tensors["vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight"] = ("BF16", (4, 4))
    return Checkpoint(model, tensors, files, seed=7)


def phi3() -> Checkpoint:
    """Phi-3 with a long context: two lists of factors."""
    files = sentence_piece_files({"tokenizer_class": "LlamaTokenizer", "unk_token": "<unk>"}, {267: ("<|end|>", True), 268: ("<|x|>", False)})
    model = COMMON | {
        "architectures": ["Phi3ForCausalLM"],
        "model_type": "phi3",
        "vocab_size": 272,
        "original_max_position_embeddings": 64,
        "rope_theta": 1e4,
        "rope_scaling": {"type": "longrope", "long_factor": [1.5 + i for i in range(8)], "short_factor": [1.0 + i / 8 for i in range(8)]},
        "sliding_window": 128,
        "pad_token_id": 0,
    }
    return Checkpoint(model, decoder_tensors("BF16", SIZES | {"vocab": 272}, block=phi3_block), files, seed=8)


def bert() -> Checkpoint:
    """BERT: WordPiece, embeddings of positions and of sentences, mean pooling."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [chr(code) for code in range(97, 123)]
    texts = [*special, *letters, *(f"##{letter}" for letter in letters)]

    def step(text: str, kind: int) -> Json:
        return {"SpecialToken": {"id": text, "type_id": kind}}

    a: Json = {"Sequence": {"id": "A", "type_id": 0}}
    b: Json = {"Sequence": {"id": "B", "type_id": 1}}
    tokenizer: Json = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added(special),
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [step("[CLS]", 0), a, step("[SEP]", 0)],
            "pair": [step("[CLS]", 0), a, step("[SEP]", 0), b, step("[SEP]", 1)],
            "special_tokens": {text: {"id": text, "ids": [texts.index(text)], "tokens": [text]} for text in ("[CLS]", "[SEP]")},
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {text: index for index, text in enumerate(texts)},
        },
    }
    names = ("unk", "sep", "pad", "cls", "mask")
    config: Json = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    config |= {f"{name}_token": f"[{name.upper()}]" for name in names}
    files: dict[str, Any] = {
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": config,
        "modules.json": [{"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}],
        "1_Pooling/config.json": {"word_embedding_dimension": 64, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True},
        "README.md": "---\nlicense: mit\ntags:\n- a\n- b\nlanguage: en\nbase_model: org/base-7B-v2\n---\n# Text\n",
    }
    model: Json = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "max_position_embeddings": 128,
        "layer_norm_eps": 1e-12,
        "type_vocab_size": 2,
        "vocab_size": len(texts),
        "pad_token_id": 0,
    }
    tensors: Tensors = {
        "embeddings.word_embeddings.weight": ("F32", (len(texts), 64)),
        "embeddings.position_embeddings.weight": ("F32", (128, 64)),
        "embeddings.token_type_embeddings.weight": ("F32", (2, 64)),
        "embeddings.LayerNorm.weight": ("F32", (64,)),
        "embeddings.LayerNorm.bias": ("F32", (64,)),
        "pooler.dense.weight": ("F32", (64, 64)),
        "pooler.dense.bias": ("F32", (64,)),
    }
    shapes = {
        "attention.self.query": (64, 64),
        "attention.self.key": (64, 64),
        "attention.self.value": (64, 64),
        "attention.output.dense": (64, 64),
        "attention.output.LayerNorm": (64,),
        "intermediate.dense": (96, 64),
        "output.dense": (64, 96),
        "output.LayerNorm": (64,),
    }
    for layer in range(2):
        for name, shape in shapes.items():
            tensors[f"encoder.layer.{layer}.{name}.weight"] = ("F32", shape)
            tensors[f"encoder.layer.{layer}.{name}.bias"] = ("F32", shape[:1])
    return Checkpoint(model, tensors, files, seed=9)


WIDE: Final = {"vocab": 272, "width": 256, "ffn": 256, "heads": 4, "kv": 4, "head": 64, "layers": 1}
WIDE_CONFIG: Final[Json] = COMMON | {
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_key_value_heads": 4,
    "num_hidden_layers": 1,
    "vocab_size": 272,
    "rope_theta": 1e4,
}


def bitnet() -> Checkpoint:
    """BitNet b1.58: ternary weights that are stored as they were trained."""
    model = WIDE_CONFIG | {"architectures": ["BitnetForCausalLM"], "model_type": "bitnet_158"}
    files = sentence_piece_files({"unk_token": "<unk>"}, {})
    return Checkpoint(model, decoder_tensors("F32", WIDE, block=bitnet_block, tied=True), files, seed=10)


def packed_llama() -> Checkpoint:
    """A Llama with ternary weights, packed."""
    model = WIDE_CONFIG | {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "head_dim": 64,
        "quantization_config": {"quant_method": "bitnet", "modules_to_not_convert": None},
    }
    files = sentence_piece_files({"unk_token": "<unk>"}, {})
    return Checkpoint(model, packed(decoder_tensors("BF16", WIDE, block=llama_block)), files, seed=11)


FAMILIES: Final[dict[str, tuple[Callable[[], Checkpoint], str]]] = {
    "llama3-1B-Instruct": (llama3, "auto"),
    "smollm-tiny": (smollm, "f16"),
    "mistral-v0.3": (mistral, "q8_0"),
    "qwen2.5-0.5b": (qwen2, "bf16"),
    "qwen3-tiny": (qwen3, "f32"),
    "gemma-2-2b-it": (gemma2, "f16"),
    "gemma-3-4b-it": (gemma3, "auto"),
    "phi-3-mini-128k": (phi3, "f16"),
    "bert-small": (bert, "f16"),
    "bitnet-tq2": (bitnet, "tq2_0"),
    "bitnet-tq1": (bitnet, "tq1_0"),
    "packed-llama": (packed_llama, "tq2_0"),
}
"""Families by the name of the folder, with the output type that they are converted to."""
