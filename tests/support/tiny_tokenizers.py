"""Tokenizers of tiny checkpoints, in the files that Hugging Face folders have."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any, Final

from support.tiny_models import byte_characters

Json = dict[str, Any]

LLAMA3_PATTERN: Final = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2_PATTERN: Final = LLAMA3_PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")


def added(texts: Iterable[str], first: int = 0) -> list[Json]:
    """Special tokens as `tokenizer.json` lists them."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return [{"id": first + index, "content": text, **flags} for index, text in enumerate(texts)]


def bpe_files(pre_tokenizer: Json, *, special: list[str], ignore_merges: bool, bos: str | None, config: Json) -> dict[str, Any]:
    """A byte-level BPE tokenizer with two merges; special tokens follow the others."""
    texts = [*byte_characters(), "ab", "Ġa"]
    post: Json = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}
    if bos is not None:
        start: Json = {"SpecialToken": {"id": bos, "type_id": 0}}
        a: Json = {"Sequence": {"id": "A", "type_id": 0}}
        b: Json = {"Sequence": {"id": "B", "type_id": 1}}
        ids = [len(texts) + special.index(bos)]
        tokens: Json = {bos: {"id": bos, "ids": ids, "tokens": [bos]}}
        pair = [start, a, {"SpecialToken": {"id": bos, "type_id": 1}}, b]
        template: Json = {"type": "TemplateProcessing", "single": [start, a], "pair": pair, "special_tokens": tokens}
        post = {"type": "Sequence", "processors": [post, template]}
    tokenizer: Json = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [*added(special, len(texts)), {**added(["<think>"], len(texts) + len(special))[0], "special": False}],
        "normalizer": None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": ignore_merges,
            "vocab": {text: index for index, text in enumerate(texts)},
            "merges": [["a", "b"], ["Ġ", "a"]],
        },
    }
    return {"tokenizer.json": tokenizer, "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", **config}}


def split_then_bytes(pattern: str) -> Json:
    """The pre-tokenizer of most newer models."""
    split: Json = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    level: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"type": "Sequence", "pretokenizers": [split, level]}


def digits_then_bytes() -> Json:
    """SmolLM's pre-tokenizer."""
    digits: Json = {"type": "Digits", "individual_digits": True}
    level: Json = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {"type": "Sequence", "pretokenizers": [digits, level]}


def varint(value: int) -> bytes:
    """A number as protocol buffers write it."""
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def sentence_piece_model() -> bytes:
    """A SentencePiece model of 267 pieces: three special ones, all bytes, eight more."""
    pieces: list[tuple[str, float, int]] = [("<unk>", 0.0, 2), ("<s>", 0.0, 3), ("</s>", 0.0, 3)]
    pieces += [(f"<0x{byte:02X}>", 0.0, 6) for byte in range(256)]
    letters = ["▁a", "ab", "▁ab", "▁", "a", "b", "c", "▁▁"]
    pieces += [(text, -float(rank), 4 if text == "▁▁" else 1) for rank, text in enumerate(letters)]
    model = b""
    for text, score, kind in pieces:
        piece = b"\x0a" + varint(len(text.encode())) + text.encode() + b"\x15" + struct.pack("<f", score) + b"\x18" + varint(kind)
        model += b"\x0a" + varint(len(piece)) + piece
    trainer = b"\x18\x02" + b"\x98\x02\x01"  # byte-pair encoding, with bytes for what is unknown
    normalizer = b"\x0a" + varint(8) + b"identity"
    return model + b"\x12" + varint(len(trainer)) + trainer + b"\x1a" + varint(len(normalizer)) + normalizer


def sentence_piece_files(config: Json, added_tokens: dict[int, tuple[str, bool]]) -> dict[str, Any]:
    """A SentencePiece tokenizer with the added tokens that `tokenizer_config.json` lists."""
    flags: Json = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    decoder = {str(token): {"content": text, "special": special, **flags} for token, (text, special) in added_tokens.items()}
    return {
        "tokenizer.model": sentence_piece_model(),
        "tokenizer_config.json": {"added_tokens_decoder": decoder, "bos_token": "<s>", "eos_token": "</s>", **config},
    }
