"""Tiny random models that llama.cpp loads and runs, with each kind of vocabulary."""

from __future__ import annotations

import random
import struct
from typing import Final

from support.gguf_image import ARRAY, BOOL, F32, I32, STRING, U32, Image, Item, Tensor, Value, array, number, text

WIDTH: Final = 32
HEADS: Final = 4
KV_HEADS: Final = 2
LAYERS: Final = 2
VOCABULARIES: Final = ("spm", "bpe", "wpm", "ugm", "rwkv")

NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6


def byte_characters() -> list[str]:
    """GPT-2's printable stand-ins for the 256 bytes (`bytes_to_unicode` of its encoder)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(256)]


def vocabulary(kind: str) -> list[tuple[str, Value]]:
    """The tokenizer's metadata."""
    special = ["<unk>", "<s>", "</s>"]
    if kind == "spm":
        tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "▁a", "ab"]
        types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * 4]
        return _tables("llama", tokens, types, scores=[0.0] * 259 + [-1.0, -2.0, -3.0, -4.0])
    if kind == "bpe":
        letters = byte_characters()
        tokens = [*special, *letters, "ab", "Ġa"]
        types = [CONTROL] * 3 + [NORMAL] * 258
        merges: list[Item] = [b"a b", "Ġ a".encode()]
        return [
            *_tables("gpt2", tokens, types),
            ("tokenizer.ggml.pre", text("gpt-2")),
            ("tokenizer.ggml.merges", array(STRING, merges)),
        ]
    if kind == "wpm":
        tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"▁{chr(c)}" for c in range(97, 123)), *(chr(c) for c in range(97, 123))]
        entries = _tables("bert", tokens, [CONTROL] * 4 + [NORMAL] * 52)
        names = {"unknown": 1, "bos": 2, "seperator": 3, "padding": 0, "eos": 3}
        return [entry for entry in entries if "_token_id" not in entry[0]] + [
            (f"tokenizer.ggml.{name}_token_id", number(U32, token)) for name, token in names.items()
        ]
    if kind == "ugm":
        tokens = ["<pad>", "</s>", "<unk>", "▁", *(chr(c) for c in range(33, 127)), "▁a", "ab"]
        types = [CONTROL, CONTROL, UNKNOWN] + [NORMAL] * (len(tokens) - 3)
        return _tables("t5", tokens, types, scores=[0.0] * 3 + [-float(i) for i in range(len(tokens) - 3)])
    if kind == "plamo2":
        tokens = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), " ", "a", " a", "ab"]
        return _tables("plamo2", tokens, [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * 4], scores=[-1000.0] * 259 + [-1.0, -2.0, -3.0, -4.0])
    assert kind == "rwkv"
    tokens = ["<s>", *(f"\\x{byte:02x}" for byte in range(256)), "ab"]
    return _tables("rwkv", tokens, [CONTROL] + [NORMAL] * 257)


def _tables(model: str, tokens: list[str], types: list[int], scores: list[float] | None = None) -> list[tuple[str, Value]]:
    entries = [
        ("tokenizer.ggml.model", text(model)),
        ("tokenizer.ggml.tokens", array(STRING, [token.encode() for token in tokens])),
        ("tokenizer.ggml.token_type", array(I32, list(types))),
    ]
    if scores is not None:
        entries.append(("tokenizer.ggml.scores", array(F32, list(scores))))
    entries += [
        ("tokenizer.ggml.bos_token_id", number(U32, 1)),
        ("tokenizer.ggml.eos_token_id", number(U32, 2)),
        ("tokenizer.ggml.unknown_token_id", number(U32, 0)),
        ("tokenizer.ggml.add_bos_token", number(BOOL, 1)),
    ]
    return entries


def vocabulary_file(kind: str) -> Image:
    """A file that has a vocabulary and no weights."""
    return Image([("general.architecture", text("llama")), *vocabulary(kind)])


def token_count(image: Image) -> int:
    """How many tokens the vocabulary of `image` has."""
    raw = dict(image.metadata)["tokenizer.ggml.tokens"]
    assert raw.kind == ARRAY
    count: int = struct.unpack_from("<IQ", raw.raw)[1]
    return count


def tiny_llama(vocab: str = "spm", seed: int = 0) -> Image:
    """A model of architecture `llama` with random weights."""
    image = Image()
    image.set("general.architecture", text("llama"))
    image.set("general.name", text("tiny"))
    image.set("general.file_type", number(U32, 0))
    for key, value in {
        "context_length": 64,
        "embedding_length": WIDTH,
        "block_count": LAYERS,
        "feed_forward_length": 48,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "rope.dimension_count": WIDTH // HEADS,
        "vocab_size": 0,
    }.items():
        image.set(f"llama.{key}", number(U32, value))
    image.set("llama.attention.layer_norm_rms_epsilon", number(F32, 1e-5))
    image.set("llama.rope.freq_base", number(F32, 10000.0))
    image.metadata += vocabulary(vocab)
    tokens = token_count(image)
    image.set("llama.vocab_size", number(U32, tokens))
    shapes: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (WIDTH, tokens)), ("output_norm.weight", (WIDTH,))]
    kv_width = WIDTH // HEADS * KV_HEADS
    for layer in range(LAYERS):
        shapes += [
            (f"blk.{layer}.{name}.weight", shape)
            for name, shape in {
                "attn_norm": (WIDTH,),
                "attn_q": (WIDTH, WIDTH),
                "attn_k": (WIDTH, kv_width),
                "attn_v": (WIDTH, kv_width),
                "attn_output": (WIDTH, WIDTH),
                "ffn_norm": (WIDTH,),
                "ffn_gate": (WIDTH, 48),
                "ffn_up": (WIDTH, 48),
                "ffn_down": (48, WIDTH),
            }.items()
        ]
    source = random.Random(seed)  # noqa: S311 (weights, not secrets)
    for name, shape in shapes:
        count = 1
        for size in shape:
            count *= size
        values = [1.0 if len(shape) == 1 else source.uniform(-0.5, 0.5) for _ in range(count)]
        image.tensors.append(Tensor(name, 0, shape, struct.pack(f"<{count}f", *values)))
    return image
