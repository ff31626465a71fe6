"""Texts against every tokenizer of llama.cpp: none ends the process, and none keeps it busy for long."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Final

import pytest

from child import check, run
from support.gguf_image import I8, array, text
from support.tiny_models import VOCABULARIES, tiny_llama
from support.vocabulary_models import vocabulary_folder
from tabagent import InvalidModelError, Model

UNITS: Final = (
    *("1", "a", "A", "aB", " ", "\n", "\r\n", "\t", ".", "'s", " a", "  a", "\u4e00", "\u3042", "\uac00", "\u0e01", "e\u0301", "\u0301"),
    *("\U0001f600", "\U00013000", "\u00a0", "\u3000", "\0", "\x01", "\ufffd", "\ue000", "1 ", "a1", "\uff11", "\u2160", "\uff01", "IMGIMGAZ"),
    *("<sentinel:1>", "(", "|", "\u0627", "\u0928\u093f", "\u20ac", "\x85", "\U0010ffff", "<dna>ACGT", "\ufeff", " \n", "\n ", "\u2581", "<s>"),
)
"""What the texts repeat: characters of each kind that a pre-tokenizer tells apart."""
LENGTH: Final = 3000
LONGEST_S: Final = 20.0
"""For all texts of one tokenizer; on a quiet machine it is 0.3 s."""
READ: Final = f"""
    import sys, time
    from tabagent import Model
    for path in sys.argv[1:]:
        start = time.perf_counter()
        with Model.load(path, vocab_only=True) as model:
            for unit in {UNITS!r}:
                for before, after in (("", ""), ("x", "1"), (" ", "x")):
                    found = model.tokenize(before + unit * ({LENGTH} // len(unit)) + after, parse_special=True)
                    model.detokenize([token for token in found if token >= 0])
        taken = time.perf_counter() - start
        print(path.rpartition("/")[2], taken if taken > {LONGEST_S} else "")
"""


def pre_tokenizers() -> list[str]:
    """All that the pinned llama.cpp knows."""
    source = (vocabulary_folder().parent / "src" / "llama-vocab.cpp").read_text(encoding="utf-8")
    return sorted(set(re.findall(r'tokenizer_pre == "([^"]+)"', source)))


def test_no_text_ends_the_process_or_keeps_it_busy(tmp_path: Path) -> None:
    images = {f"kind {kind}": tiny_llama(kind) for kind in VOCABULARIES}
    names = pre_tokenizers()
    assert len(names) > 70
    for name in names:
        images[name] = tiny_llama("bpe")
        images[name].set("tokenizer.ggml.pre", text(name))
    for model in ("hybriddna", "whitespace", "gemma4"):
        images[f"model {model}"] = tiny_llama("bpe")
        images[f"model {model}"].set("tokenizer.ggml.model", text(model))
    images["whitespace"].set("tokenizer.ggml.model", text("whitespace"))  # the only one it can be used with
    paths = []
    for name, image in images.items():
        paths.append(tmp_path / name)
        paths[-1].write_bytes(image.to_bytes())
    lines = check(READ, *paths, timeout_s=600).splitlines()
    assert lines == [f"{path.name} " for path in paths]


@pytest.mark.parametrize(
    ("pre", "unit", "few", "limit", "what"),
    [
        ("superbpe", "1", 6_000, 6_000, "digits in a row"),
        ("deepseek-llm", " ", 6_000, 6_000, "spaces in a row"),
        ("jais-2", "\u3000", 20_000, 100_000, "spaces in a row"),
        (None, "\U00013000", 10_000, 100_000, "characters that are not in the vocabulary"),
    ],
)
def test_texts_that_would_take_for_ever_are_refused(tmp_path: Path, pre: str | None, unit: str, *, few: int, limit: int, what: str) -> None:
    image = tiny_llama("spm" if pre is None else "bpe")
    if pre is not None:
        image.set("tokenizer.ggml.pre", text(pre))
    path = tmp_path / "model.gguf"
    path.write_bytes(image.to_bytes())
    with Model.load(path, vocab_only=True) as model:
        assert len(model.tokenize(unit * few + "x1", parse_special=True)) > few // 512
        many = unit * (limit + 1) + "x1"
        with pytest.raises(ValueError, match=rf"text has {limit + 1} {what}, .*; at most {limit} are taken; split the text"):
            model.tokenize(many, parse_special=True)
        with pytest.raises(ValueError, match=what):
            model.tokenize_batch(["a", many], parse_special=True)


def test_texts_are_cut_at_special_tokens_where_these_leave_white_space_alone(tmp_path: Path) -> None:
    image = tiny_llama("bpe")
    image.set("tokenizer.ggml.pre", text("gpt-2"))
    many = "<s>" * 30_001 + "x1"
    path = tmp_path / "model.gguf"
    path.write_bytes(image.to_bytes())
    with Model.load(path, vocab_only=True) as model:
        expected = model.tokenize("<s>", add_special=False, parse_special=True) * 30_001 + model.tokenize("x1", add_special=False)
        assert model.tokenize(many, add_special=False, parse_special=True) == expected
    # The special tokens of this one swallow the white space behind them.
    with Model.load(vocabulary_folder() / "ggml-vocab-phi-3.gguf", vocab_only=True) as model:
        assert len(model.tokenize("<s>" * 3_000, add_special=False, parse_special=True)) == 3_000
        with pytest.raises(ValueError, match=r"text has 30001 special tokens, .*; at most 30000 are taken; split the text"):
            model.tokenize(many, parse_special=True)


def test_the_pre_tokenizer_whitespace_needs_its_own_tokenizer(tmp_path: Path) -> None:
    image = tiny_llama("bpe")
    image.set("tokenizer.ggml.pre", text("whitespace"))
    path = tmp_path / "model.gguf"
    path.write_bytes(image.to_bytes())
    with pytest.raises(InvalidModelError, match=r"`tokenizer\.ggml\.pre` is `whitespace`, which llama\.cpp can use only where"):
        Model.load(path, vocab_only=True)
    with pytest.raises(InvalidModelError, match="is `whitespace`"):
        Model.load(path, vocab_only=True, metadata_overrides={"tokenizer.ggml.pre": "whitespace"})


@pytest.mark.parametrize("pre", ["llama-bpe", "tekken", "chameleon", "gemma4"])
def test_a_pre_tokenizer_that_adds_bos_needs_one(tmp_path: Path, pre: str) -> None:
    image = tiny_llama("bpe")
    for key in ("bos_token_id", "add_bos_token"):
        image.remove(f"tokenizer.ggml.{key}")
    image.set("tokenizer.ggml.pre", text(pre))
    path = tmp_path / "model.gguf"
    path.write_bytes(image.to_bytes())
    # There are more than 11 tokens, and 11 is the one that llama.cpp takes where the file names none.
    assert check("import sys; from tabagent import Model; print(Model.load(sys.argv[1], vocab_only=True).tokenize('')[:1])", path) == "[11]\n"


def charsmap(changes: dict[int, int], size: int = 512, replacements: bytes = b"x\0b\0") -> bytes:
    """A table that replaces `a` with `b`, with some nodes changed."""
    child = 256 ^ ord("a")
    nodes = {0: 256 << 10, child: (child ^ 100) << 10 | 1 << 8 | ord("a"), 100: 1 << 31 | 2, **changes}
    array = b"".join(struct.pack("<I", nodes.get(index, 0)) for index in range(size))
    return struct.pack("<I", len(array)) + array + replacements


CHILD: Final = 256 ^ ord("a")
MAPS: Final = {
    "outside for some letters": charsmap({}, size=400),
    "outside behind a letter": charsmap({CHILD: (CHILD ^ 1000) << 10 | ord("a")}),
    "replacement outside": charsmap({100: 1 << 31 | 400}),
    "replacement without an end": charsmap({}, replacements=b"x\0b"),
    "circle": charsmap({CHILD: (CHILD ^ 256) << 10 | ord("a")}),
}


@pytest.mark.parametrize("name", [None, *MAPS])
def test_a_normalizer_must_hold_for_every_text(tmp_path: Path, name: str | None) -> None:
    image = tiny_llama("ugm")
    raw = MAPS[name] if name else charsmap({})
    image.set("tokenizer.ggml.precompiled_charsmap", array(I8, [byte - 256 if byte > 127 else byte for byte in raw]))
    path = tmp_path / "model.gguf"
    path.write_bytes(image.to_bytes())
    if name is None:
        ended = run(READ, path)
        assert (ended.code, ended.err) == (0, "")
    else:
        with pytest.raises(InvalidModelError, match=r"`tokenizer\.ggml\.precompiled_charsmap` .* damaged"):
            Model.load(path, vocab_only=True)
