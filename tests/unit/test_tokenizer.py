"""Tokenizers of files, without llama.cpp."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from pathlib import Path

import numpy as np
import pytest

import needs
from support import tiny_checkpoints
from support.gguf_image import F32, I32, STRING, U32, Image, array, number, text
from support.tiny_models import vocabulary_file
from tabagent import GgufError, Model, Tokenizer, UnsupportedModelError

TEXT = "ab a  ab\n a1 é\u0301 日本 😀"


@pytest.fixture
def bpe(tmp_path: Path) -> Tokenizer:
    return tokenizer(tmp_path, vocabulary_file("bpe"))


def tokenizer(folder: Path, image: Image) -> Tokenizer:
    path = folder / "vocabulary.gguf"
    path.write_bytes(image.to_bytes())
    return Tokenizer.from_file(path)


@pytest.mark.parametrize("kind", ["spm", "bpe", "rwkv", "plamo2"])
def test_texts_come_back(tmp_path: Path, kind: str) -> None:
    made = tokenizer(tmp_path, vocabulary_file(kind))
    for sample in ("", "a", " ", TEXT, TEXT * 2000):
        tokens = made.tokenize(sample)
        assert made.detokenize(tokens, remove_special=True) == sample
        assert made.encode(sample) == tokens
        assert made.detokenize(np.array(tokens, dtype=np.int64), remove_special=True) == sample
        alone = made.tokenize(sample, add_special=False)
        assert b"".join(made.token_to_bytes(token) for token in alone).decode().removeprefix(" " if kind == "spm" else "") == sample
    assert made.tokenize_batch([TEXT, "a"] * 50) == [made.tokenize(TEXT), made.tokenize("a")] * 50
    assert made.detokenize_batch([made.tokenize(TEXT, add_special=False)] * 3) == [TEXT] * 3


@pytest.mark.parametrize("kind", ["spm", "bpe", "wpm", "ugm", "rwkv", "plamo2"])
def test_offsets_are_parts_of_the_text(tmp_path: Path, kind: str) -> None:
    made = tokenizer(tmp_path, vocabulary_file(kind))
    tokens, offsets = made.tokenize(TEXT), made.offsets(TEXT)
    assert len(tokens) == len(offsets)
    assert all(0 <= start <= end <= len(TEXT) for start, end in offsets)
    assert offsets == sorted(offsets)
    for token, (start, end) in zip(tokens, offsets, strict=True):
        spelled = made.token_to_bytes(token, special=False)
        # WordPiece drops accents.
        part = (unicodedata.normalize("NFD", TEXT[start:end]) if kind == "wpm" else TEXT[start:end]).encode()
        assert spelled.strip() in part or not spelled, (token, spelled, part)
    if kind not in {"wpm", "ugm"}:
        covered = {at for start, end in offsets for at in range(start, end)}
        assert covered == set(range(len(TEXT)))


def test_markers_are_tokens_only_where_that_is_asked_for(bpe: Tokenizer) -> None:
    assert bpe.tokenize("<s>", add_special=False, parse_special=True) == [1]
    assert 1 not in bpe.tokenize("<s>", add_special=False)
    assert (bpe.token_bos(), bpe.token_eos(), bpe.vocab_size(), bpe.kind, bpe.adds_bos, bpe.adds_eos) == (1, 2, 261, "bpe", True, False)
    assert bpe.tokenize("") == [1]
    assert bpe.is_eog(2)
    assert not bpe.is_eog(1)
    assert bpe.token_text(260) == "Ġa"
    assert bpe.token_to_bytes(bpe.token_nl() or 0) == b"\n"
    assert bpe.detokenize([1, 2]) == "<s></s>"
    assert bpe.detokenize([1, 2], unparse_special=False) == ""
    assert "bpe" in repr(bpe)


def test_a_tokenizer_json_is_read_as_the_converted_file(tmp_path: Path) -> None:
    folder = tiny_checkpoints.qwen2().write(tmp_path / "model")
    made = Tokenizer.from_file(folder / "tokenizer.json")
    assert made.kind == "bpe"
    assert made.detokenize(made.tokenize(TEXT), remove_special=True) == TEXT
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(GgufError, match="merges"):
        Tokenizer.from_file(folder / "tokenizer.json")


def test_wrong_arguments_are_refused(bpe: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="from_file"):
        Tokenizer()
    with pytest.raises(FileNotFoundError):
        Tokenizer.from_file(tmp_path / "missing.gguf")
    with pytest.raises(FileNotFoundError):
        Tokenizer.from_file(tmp_path / "missing.json")
    with pytest.raises(TypeError, match="`text`"):
        bpe.tokenize(b"a")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"U\+D800"):
        bpe.tokenize("\ud800")
    with pytest.raises(ValueError, match="ids go from 0 to 260"):
        bpe.detokenize([0, 261])
    with pytest.raises(ValueError, match="260"):
        bpe.token_to_bytes(261)
    with pytest.raises(TypeError, match="`texts`"):
        bpe.tokenize_batch({"a"})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("tokenizer.ggml.tokens", array(STRING, [b"a", b"b", b"a"]), "unique"),
        ("tokenizer.ggml.tokens", array(I32, [1]), "array of texts"),
        ("tokenizer.ggml.tokens", array(STRING, []), "0 tokens"),
        ("tokenizer.ggml.token_type", array(I32, [1]), "1 items"),
        ("tokenizer.ggml.scores", array(F32, [1.0]), "1 items"),
        ("tokenizer.ggml.merges", number(U32, 1), "array of texts"),
        ("tokenizer.ggml.pre", text("never-heard"), "never-heard"),
        ("tokenizer.ggml.model", text("never-heard"), "never-heard"),
        ("tokenizer.ggml.add_bos_token", text("yes"), "bool"),
    ],
)
def test_files_that_cannot_be_used_say_which_key(tmp_path: Path, key: str, value: object, words: str) -> None:
    with pytest.raises(GgufError, match=words) as caught:
        tokenizer(tmp_path, vocabulary_file("bpe").set(key, value))  # type: ignore[arg-type]
    assert key in str(caught.value)


def test_a_file_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="no tokenizer"):
        tokenizer(tmp_path, vocabulary_file("bpe").set("tokenizer.ggml.model", text("no_vocab")))
    with pytest.raises(GgufError, match=r"tokenizer\.ggml\.model.* is missing"):
        tokenizer(tmp_path, Image([("general.architecture", text("llama"))]))


def test_a_merge_of_absent_tokens_is_harmless(tmp_path: Path) -> None:
    image = vocabulary_file("bpe").set("tokenizer.ggml.merges", array(STRING, [b"x y", b"a", b"", b" ", "ä b".encode(), b"a b"]))
    made = tokenizer(tmp_path, image)
    # `xy` merges and is no token, so nothing is left of it but what its bytes are tokens of.
    assert made.detokenize(made.tokenize("xy ab", add_special=False)) == "xy ab"
    assert [made.token_text(token) for token in made.tokenize("ab", add_special=False)] == ["ab"]


def test_no_library_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(vocabulary_file("bpe").to_bytes())
    program = f"""
import os, sys
os.environ["TABAGENT_LIBRARY_PATH"] = "/nowhere"
from tabagent import Tokenizer
assert Tokenizer.from_file({str(path)!r}).tokenize("ab")
maps = open("/proc/self/maps").read() if os.path.exists("/proc/self/maps") else ""
assert "libllama" not in maps and "libggml" not in maps
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unit", ["a", " ", "ab", "\n", "1", "!", "é", "日", "<s>"])
@pytest.mark.parametrize("kind", ["spm", "bpe", "wpm", "ugm", "rwkv", "plamo2"])
def test_long_runs_take_no_more_time_for_each_character(tmp_path: Path, kind: str, unit: str) -> None:
    made = tokenizer(tmp_path, vocabulary_file(kind))

    def seconds(n: int) -> float:
        start = time.process_time()
        made.tokenize(unit * n, parse_special=True)
        return time.process_time() - start

    seconds(1000)
    # The square of 32 would be a thousand times as long.
    assert seconds(320_000) < 200 * max(seconds(10_000), 0.001)


def test_a_signal_ends_a_call_within_a_fifth_of_a_second(bpe: Tokenizer) -> None:
    needs.machine(hasattr(signal, "setitimer"), "the system has no timers")

    class Interrupted(Exception):  # noqa: N818 (it is no error)
        """What the handler raises."""

    def handler(*_: object) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    try:
        long = "ab" * 40_000_000
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        start = time.monotonic()
        with pytest.raises(Interrupted):
            bpe.tokenize(long)
        assert time.monotonic() - start < 0.3 + 0.4
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_other_threads_run_meanwhile(bpe: Tokenizer) -> None:
    ticks: list[float] = []
    done = threading.Event()

    def tick() -> None:
        while not done.wait(0.005):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    bpe.tokenize("ab é " * 2_000_000)
    done.set()
    thread.join()
    assert len(ticks) > 3


@pytest.mark.model
@pytest.mark.parametrize("name", ["llama-bpe", "llama-spm", "bert-bge", "phi-3"])
def test_the_tokens_are_a_models(name: str) -> None:
    path = needs.tree() / "models" / f"ggml-vocab-{name}.gguf"
    made = Tokenizer.from_file(path)
    with Model.load(path, vocab_only=True) as model:
        assert made.vocab_size() == model.vocab_size()
        for sample in (TEXT, "Hello, world! It's 12,345.", json.dumps({"a": [1, 2]})):
            for flag in (True, False):
                tokens = model.tokenize(sample, add_special=flag, parse_special=flag)
                assert made.tokenize(sample, add_special=flag, parse_special=flag) == tokens
                assert made.detokenize(tokens, remove_special=flag) == model.detokenize(tokens, remove_special=flag)
