"""Hostile model files: deterministic cases by name, each one way to spoil a file that loads."""

from __future__ import annotations

import functools
import random
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from support.every_architecture import spoiled
from support.gguf_image import (
    ARRAY,
    BOOL,
    CODES,
    F32,
    F64,
    I32,
    I64,
    STRING,
    U8,
    U32,
    U64,
    Header,
    Image,
    Tensor,
    Value,
    array,
    number,
    read_header,
    text,
)
from support.tiny_models import VOCABULARIES, tiny_llama

NUMBERS: Final[dict[str, float]] = {
    "0": 0,
    "1": 1,
    "2": 2,
    "3": 3,
    "7": 7,
    "-1": -1,
    "512": 512,
    "65536": 65536,
    "2^31-1": 2**31 - 1,
    "2^31": 2**31,
    "2^32-1": 2**32 - 1,
}
FLOATS: Final[dict[str, float]] = {
    "0.0": 0.0,
    "-1.0": -1.0,
    "1e-30": 1e-30,
    "1e38": 1e38,
    "nan": float("nan"),
    "inf": float("inf"),
    "-inf": float("-inf"),
}

#: Keys that the tiny model does not have and llama.cpp reads, without the architecture: whole numbers, then others.
WHOLE_KEYS: Final = [
    "attention.key_length",
    "attention.value_length",
    "attention.key_length_mla",
    "attention.value_length_mla",
    "attention.key_length_swa",
    "attention.value_length_swa",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attention.q_lora_rank",
    "attention.kv_lora_rank",
    "attention.group_norm_groups",
    "attention.indexer.head_count",
    "attention.indexer.key_length",
    "attention.indexer.top_k",
    "attention.shared_kv_layers",
    "attention.relative_buckets_count",
    "attention.chunk_size",
    "expert_count",
    "expert_used_count",
    "expert_feed_forward_length",
    "expert_shared_count",
    "expert_shared_feed_forward_length",
    "expert_group_count",
    "expert_group_used_count",
    "expert_gating_func",
    "leading_dense_block_count",
    "interleave_moe_layer_step",
    "moe_every_n_layers",
    "nextn_predict_layers",
    "pooling_type",
    "rope.dimension_count_swa",
    "rope.dimension_sections",
    "rope.scaling.original_context_length",
    "ssm.conv_kernel",
    "ssm.inner_size",
    "ssm.state_size",
    "ssm.time_step_rank",
    "ssm.group_count",
    "wkv.head_size",
    "rescale_every_n_layers",
    "time_mix_extra_dim",
    "time_decay_extra_dim",
    "token_shift_count",
    "full_attention_interval",
    "altup.num_inputs",
    "altup.active_idx",
    "embedding_length_per_layer_input",
    "embedding_length_out",
    "features_length",
    "posnet.embedding_length",
    "posnet.block_count",
    "convnext.embedding_length",
    "convnext.block_count",
    "shortconv.l_cache",
    "kda.head_dim",
    "decoder_start_token_id",
    "decoder_block_count",
    "classifier.output_labels",
    "n_deepstack_layers",
    "dense_2_feat_in",
    "dense_2_feat_out",
    "xielu.alpha_n",
    "swiglu_clamp_exp",
]
FLOAT_KEYS: Final = [
    "attention.layer_norm_epsilon",
    "attention.group_norm_epsilon",
    "attention.clamp_kqv",
    "attention.max_alibi_bias",
    "attention.scale",
    "attention.temperature_length",
    "attention.temperature_scale",
    "attention.output_scale",
    "attention.value_scale",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "router_logit_softcapping",
    "logit_scale",
    "residual_scale",
    "embedding_scale",
    "expert_weights_scale",
    "expert_group_scale",
    "rope.freq_base_swa",
    "rope.scaling.factor",
    "rope.scale_linear",
    "rope.scaling.attn_factor",
    "rope.scaling.yarn_log_multiplier",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor",
]
BOOL_KEYS: Final = [
    "attention.causal",
    "use_parallel_residual",
    "expert_weights_norm",
    "ssm.dt_b_c_rms",
    "rope.scaling.finetuned",
    "swin_norm",
    "interleaved_patterns",
]
TOKENIZER_IDS: Final = [
    "bos",
    "eos",
    "eot",
    "eom",
    "unknown",
    "seperator",
    "padding",
    "cls",
    "mask",
    "fim_pre",
    "fim_suf",
    "fim_mid",
    "fim_pad",
    "fim_rep",
    "fim_sep",
]
ROPE_SCALINGS: Final = ("none", "linear", "yarn", "longrope", "other", "")

#: Types that a key should not have, and odd values of the type that it has.
ODD_VALUES: Final[dict[str, Value]] = {
    "empty-string": text(""),
    "huge-string": text(b"x" * 1_000_000),
    "bytes-string": text(b"\xff\xfe\x00\x80" * 20),
    "empty-strings": array(STRING, []),
    "empty-u32s": array(U32, []),
    "empty-f32s": array(F32, []),
    "empty-nested": Value(ARRAY, struct.pack("<IQ", ARRAY, 0)),
    "u32s": array(U32, [0, 1, 2**32 - 1]),
    "i32s": array(I32, [-1, 0, 2**31 - 1]),
    "strings": array(STRING, [b"", b"a", b"\xff" * 300]),
    "bool": number(BOOL, 1),
    "u8": number(U8, 255),
    "i32": number(I32, -1),
    "i64": number(I64, -(2**63)),
    "u64": number(U64, 2**64 - 1),
    "f64": number(F64, float("nan")),
}


def extremes(value: Value) -> Iterator[tuple[str, Value]]:
    """Other values for a key: extreme ones of its own type, then other types."""
    if value.kind in {F32, F64}:
        yield from ((name, number(value.kind, wild)) for name, wild in FLOATS.items())
    elif value.kind == BOOL:
        yield from ((name, number(BOOL, wild)) for name, wild in (("false", 0), ("true", 1), ("255", 255)))
    elif value.kind in CODES:
        yield from ((name, number(value.kind, wild)) for name, wild in NUMBERS.items())
    elif value.kind == ARRAY:
        yield from _odd_arrays(value)
    yield from ODD_VALUES.items()


def _odd_arrays(value: Value) -> Iterator[tuple[str, Value]]:
    kind, count = struct.unpack_from("<IQ", value.raw)
    for name, claimed in (("count+1", count + 1), ("count-1", max(count - 1, 0)), ("count-2^63", 2**63), ("count-2^32", 2**32)):
        yield name, Value(ARRAY, struct.pack("<IQ", kind, claimed) + value.raw[12:])
    if kind == STRING:
        yield "all-empty", array(STRING, [b""] * count)
        yield "all-equal", array(STRING, [b"a"] * count)
        yield "numbered", array(STRING, [f"t{i}".encode() for i in range(count)])
        yield "with-spaces", array(STRING, [f" {i} ".encode() for i in range(count)])
        yield "long", array(STRING, [f"{i}".encode() * 400 for i in range(min(count, 2000))])
        yield "bad-utf8", array(STRING, [b"\xf0\x9f%d" % i for i in range(count)])
    elif kind in CODES:
        wild = FLOATS if kind in {F32, F64} else NUMBERS
        for name, item in wild.items():
            one = number(kind, item).raw
            yield f"all-{name}", Value(ARRAY, struct.pack("<IQ", kind, count) + one * count)
            yield f"last-{name}", Value(ARRAY, value.raw[: -len(one)] + one)


# Cases. Each has a name, and `build(name)` gives its bytes in any process.


def tiny_case_names() -> list[str]:
    """One spoiled key each of the tiny models."""
    names = []
    for vocab in VOCABULARIES:
        names.append(f"tiny/{vocab}/good")
        for key, value in tiny_llama(vocab).metadata:
            if vocab != "spm" and not key.startswith("tokenizer."):
                continue
            names.append(f"tiny/{vocab}/remove/{key}")
            names.extend(f"tiny/{vocab}/set/{key}/{odd}" for odd, _ in extremes(value))
    names += [f"tiny/spm/add/{key}/{odd}" for key in WHOLE_KEYS for odd in NUMBERS]
    names += [f"tiny/spm/add/{key}/{odd}" for key in FLOAT_KEYS for odd in FLOATS]
    names += [f"tiny/spm/add/{key}/{odd}" for key in BOOL_KEYS for odd in ("false", "true", "255")]
    names += [f"tiny/{vocab}/id/{name}/{odd}" for vocab in VOCABULARIES for name in TOKENIZER_IDS for odd in NUMBERS]
    names += [f"tiny/spm/rope/{name}/{odd}" for name in ROPE_SCALINGS for odd in FLOATS]
    return names


def tensor_case_names(count: int) -> list[str]:
    """Spoiled tensor records, and flipped bytes of the header."""
    names = [f"tiny/spm/tensor-type/{tensor.name}/{kind}" for tensor in tiny_llama().tensors for kind in range(43)]
    names += [f"tiny/spm/tensor/{seed}" for seed in range(count)]
    return names + [f"tiny/{VOCABULARIES[seed % len(VOCABULARIES)]}/flip/{seed}" for seed in range(count)]


def architecture_case_names(architectures: list[str], per_architecture: int) -> list[str]:
    """The tiny model under other names of architecture, plain and with random further keys."""
    return [f"arch/{name}/{seed}" for name in architectures for seed in range(per_architecture)]


def file_case_names(label: str, path: Path) -> list[str]:
    """One spoiled key each of an existing file."""
    names = [f"{label}/good/-"]
    for key, value in _header(path).metadata:
        names += [f"{label}/remove/{key}", f"{label}/duplicate/{key}"]
        names.extend(f"{label}/set/{key}/{odd}" for odd, _ in extremes(value))
    return names


def damage_case_names(label: str, count: int) -> list[str]:
    """Flipped bytes in the header of an existing file, and the file cut off within it."""
    return [f"{label}/{action}/{seed}" for seed in range(count) for action in ("flip", "cut")]


def write(name: str, path: Path, sources: dict[str, Path]) -> bool:
    """Write the case's file to `path`; true if it has weights to generate with."""
    family, rest = name.split("/", 1)
    if family == "tiny":
        path.write_bytes(_tiny(rest))
        return True
    if family == "arch":
        path.write_bytes(_architecture(rest))
        return True
    if family == "every":
        architecture, seed = rest.split("/")
        path.write_bytes(spoiled(sources[family] / f"{architecture}.gguf", int(seed)))
        return True
    return _from_file(rest, path, sources[family])


def _tiny(rest: str) -> bytes:  # noqa: PLR0911 (one for each action)
    vocab, action, *operands = rest.split("/")
    image = _good(vocab).copy()
    if action == "good":
        return image.to_bytes()
    if action == "remove":
        return image.remove(operands[0]).to_bytes()
    if action == "set":
        key, odd = operands
        return image.set(key, dict(extremes(dict(image.metadata)[key]))[odd]).to_bytes()
    if action == "add":
        return image.set(f"llama.{operands[0]}", _plain(operands[0], operands[1])).to_bytes()
    if action == "id":
        return image.set(f"tokenizer.ggml.{operands[0]}_token_id", number(U32, NUMBERS[operands[1]])).to_bytes()
    if action == "rope":
        image.set("llama.rope.scaling.type", text(operands[0]))
        return image.set("llama.rope.scaling.factor", number(F32, FLOATS[operands[1]])).to_bytes()
    if action == "tensor-type":
        return _retype(image, operands[0], int(operands[1])).to_bytes()
    source = random.Random(int(operands[0]))  # noqa: S311 (reproducible cases)
    return _flip(image, source) if action == "flip" else _spoil_tensors(image, source)


def _plain(key: str, odd: str) -> Value:
    if key in FLOAT_KEYS:
        return number(F32, FLOATS[odd])
    if key in BOOL_KEYS:
        return number(BOOL, {"false": 0, "true": 1, "255": 255}[odd])
    return number(U32, NUMBERS[odd])


#: Bytes and values of a block, where they are not 4 and 1.
BLOCKS: Final = {1: (2, 1), 2: (18, 32), 3: (20, 32), 6: (22, 32), 7: (24, 32), 8: (34, 32), 9: (36, 32), 20: (18, 32), 24: (1, 1)} | {
    25: (2, 1),
    27: (8, 1),
    28: (8, 1),
    30: (2, 1),
    39: (17, 32),
}


def _retype(image: Image, name: str, kind: int) -> Image:
    tensor = next(tensor for tensor in image.tensors if tensor.name == name)
    size, values = BLOCKS.get(kind, (4, 1))
    count = len(tensor.data) // 4
    return image.replace_tensor(tensor, replace(tensor, kind=kind, data=bytes(range(256)) * (count * size // values // 256 + 1)))


def _spoil_tensors(image: Image, source: random.Random) -> bytes:
    for _ in range(source.randint(1, 3)):
        tensor = source.choice(image.tensors)
        action = source.randrange(7)
        if action == 0:
            image.tensors.remove(tensor)
        else:
            image.replace_tensor(tensor, _spoil_tensor(tensor, action, source, [known.name for known in image.tensors]))
    return image.to_bytes()


def _spoil_tensor(tensor: Tensor, action: int, source: random.Random, names: list[str]) -> Tensor:
    match action:
        case 1:
            return replace(tensor, kind=source.choice([*range(45), 2**31, 2**32 - 1]))
        case 2:
            shape = list(tensor.shape)
            shape[source.randrange(len(shape))] = source.choice([0, 1, 16, 31, 33, 64, 2**31, 2**32, 2**62, 2**63])
            return replace(tensor, shape=tuple(shape))
        case 3:
            shapes: list[tuple[int, ...]] = [(), (1,), tensor.shape[::-1], (*tensor.shape, 1), (1, 1, 1, 1, 1)]
            return replace(tensor, shape=source.choice(shapes))
        case 4:
            return replace(tensor, offset=source.choice([0, 1, 16, 32, 2**31, 2**63, 2**64 - 32]))
        case 5:
            return replace(tensor, name=source.choice(["", "x" * 63, "x" * 64, "x" * 1000, source.choice(names)]))
        case _:
            filler = source.choice([struct.pack("<f", float("nan")), struct.pack("<f", float("inf")), b"\xff", bytes(1)])
            return replace(tensor, data=(filler * len(tensor.data))[: len(tensor.data)])


def _flip(image: Image, source: random.Random) -> bytes:
    data = bytearray(image.to_bytes())
    header = len(image.header())
    for _ in range(source.choice([1, 1, 2, 4, 16])):
        at = source.randrange(header)
        data[at] = source.choice([0, 1, 0x7F, 0x80, 0xFF, data[at] ^ (1 << source.randrange(8))])
    if source.random() < 0.2:
        del data[source.randrange(len(data)) :]
    return bytes(data)


def _architecture(rest: str) -> bytes:
    name, seed = rest.rsplit("/", 1)
    source = random.Random(f"{name}/{seed}")  # noqa: S311 (reproducible cases)
    image = _good(source.choice(VOCABULARIES) if int(seed) else "spm").copy()
    image.metadata = [(key.replace("llama.", f"{name}.", 1), value) for key, value in image.metadata]
    image.set("general.architecture", text(name))
    for key in ("attention.layer_norm_epsilon", "attention.group_norm_epsilon"):
        image.set(f"{name}.{key}", number(F32, 1e-5))
    if int(seed):
        extreme = source.random() < 0.5
        whole = [0, 1, 2, 3, 4, 8, 16, 32] + ([2**31, 2**32 - 1] if extreme else [])
        share = source.choice([0.02, 0.1, 0.3, 1.0])
        for key in source.sample(WHOLE_KEYS, int(len(WHOLE_KEYS) * share)):
            image.set(f"{name}.{key}", number(U32, source.choice(whole)))
        for key in source.sample(FLOAT_KEYS, int(len(FLOAT_KEYS) * share)):
            image.set(f"{name}.{key}", number(F32, source.choice([1.0, 2.0, *FLOATS.values()] if extreme else [0.5, 1.0, 2.0])))
        for key in source.sample(BOOL_KEYS, int(len(BOOL_KEYS) * share)):
            image.set(f"{name}.{key}", number(BOOL, source.randrange(2)))
    return image.to_bytes()


def _from_file(rest: str, path: Path, original: Path) -> bool:
    action, key = rest.split("/", 1)
    header = _header(original)
    metadata = list(header.metadata)
    if action == "remove":
        metadata = [entry for entry in metadata if entry[0] != key]
    elif action == "set":
        key, odd = key.rsplit("/", 1)
        metadata = [(k, dict(extremes(v))[odd] if k == key else v) for k, v in metadata]
    elif action == "duplicate":
        metadata += [entry for entry in metadata if entry[0] == key]
    raw = header.to_bytes(metadata)
    if action in {"flip", "cut"}:
        source = random.Random(rest)  # noqa: S311 (reproducible cases)
        raw = _flip_header(header, raw, source) if action == "flip" else raw[: _place(header, source)]
    with path.open("wb") as out:
        out.write(raw)
        if header.tensor_count and action != "cut":
            # The weights are zeros that take no room on the disk.
            out.truncate(len(raw) + original.stat().st_size)
    return header.tensor_count > 0


def _flip_header(header: Header, raw: bytes, source: random.Random) -> bytes:
    data = bytearray(raw)
    for _ in range(source.choice([1, 1, 1, 2, 8])):
        at = min(_place(header, source), len(data) - 1)
        data[at] = source.choice([0, 1, 0x7F, 0x80, 0xFF, data[at] ^ (1 << source.randrange(8))])
    return bytes(data)


def _place(header: Header, source: random.Random) -> int:
    """A byte of the header as `Header.to_bytes` writes it; in three of four cases one that gives it its structure, and no token's text."""
    starts, at = [], 24
    for key, value in header.metadata:
        starts.append((at, 8 + len(key.encode()) + 4 + min(len(value.raw), 40)))
        at += 8 + len(key.encode()) + 4 + len(value.raw)
    if source.random() < 0.25:
        return source.randrange(at + len(header.tensor_records))
    start, length = source.choice([(0, 24), *starts, (at, max(len(header.tensor_records), 1))])
    return start + source.randrange(length)


@functools.lru_cache(maxsize=4)
def _header(path: Path) -> Header:
    with path.open("rb") as file:
        return read_header(file.read(32 << 20))


@functools.lru_cache(maxsize=8)
def _good(vocab: str) -> Image:
    return tiny_llama(vocab)
