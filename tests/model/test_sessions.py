"""Conversations that are kept: their cells stay, and files of them go on in other processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import needs
from near_ties import assert_alike
from support.tiny_memories import MEMORIES, memory_file
from tabagent import ClosedError, ContextFullError, Model, SamplerConfig, Session, StateError
from tabagent.sampling import Step

GREEDY = SamplerConfig.greedy()
WARM = SamplerConfig(temperature=1.1, top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.3, seed=7)
TALE = "The lighthouse keeper climbed the stairs every evening, and one night he saw"
CHILD = """
import sys
from tabagent import Model
with Model.load(sys.argv[1], threads=1, context_size=512) as model, model.load_session(sys.argv[2]) as session:
    print(session.tokens)
    done = session.generate(max_tokens=24, ignore_eos=True).result()
    print(list(done.tokens), done.usage.cached_tokens, session.tokens)
"""


@pytest.fixture(scope="module")
def model(smollm2_path: Path) -> Iterator[Model]:
    with Model.load(smollm2_path, threads=1, context_size=512) as model:
        yield model


def text_of(session: Session, n: int, **options: Any) -> list[int]:
    return list(session.generate(max_tokens=n, ignore_eos=True, **options).result().tokens)


def crowd(model: Model) -> None:
    """Fill the memory with what others leave."""
    for number in range(3):
        model.generate([1000 + number] * 400, max_tokens=4, sampling=GREEDY, cache_prompt=True, ignore_eos=True).result()


def test_texts_go_on_where_they_were_and_nothing_is_decoded_twice(model: Model) -> None:
    with model.session(sampling=GREEDY) as session:
        first = session.append(TALE)
        assert first == model.tokenize(TALE)
        whole = list(first)
        for _ in range(3):
            cached = len(whole) - 1 if len(whole) > len(first) else 0
            stream = session.generate(max_tokens=8, ignore_eos=True)
            done = stream.result()
            alone = model.generate(whole, max_tokens=8, sampling=GREEDY, ignore_eos=True, add_special=False).result()
            # What was decoded token by token and what is decoded as one prompt differ by rounding.
            assert_alike(model, whole, done.tokens, alone.tokens)
            whole += done.tokens
            assert session.tokens == whole
            # The last token of a text is decoded when the next one begins.
            assert done.usage.cached_tokens == cached
            crowd(model)
        more = session.append(" And then")
        assert more == model._native.tokenize_after(whole[-1], " And then", True)
        assert session.generate(max_tokens=1).result().usage.cached_tokens == len(whole) - 1


def test_the_sampler_goes_on_across_texts(model: Model) -> None:
    for config in (WARM, SamplerConfig(mirostat=2, seed=3), SamplerConfig(adaptive_target=0.3, order=["penalties", "top_k", "adaptive_p"], seed=4)):
        with model.session(sampling=config) as session, model.session(sampling=config) as other:
            session.append(TALE)
            other.append(TALE)
            assert text_of(session, 24) == [token for n in (1, 7, 16) for token in text_of(other, n)]


def test_rewound_and_branched_sessions_are_as_new_ones(model: Model) -> None:
    with model.session(sampling=GREEDY) as session:
        session.append(TALE)
        first = text_of(session, 20)
        branch = session.branch()
        session.rewind(20)
        assert session.tokens == model.tokenize(TALE)
        assert text_of(session, 20) == first
        assert branch.tokens == session.tokens
        assert text_of(branch, 5) == text_of(session, 5)
        branch.append(" However")
        assert branch.tokens[: len(session.tokens)] == session.tokens
        assert branch.tokens != session.tokens
        with pytest.raises(ValueError, match=f"cannot take 1000 tokens back: the session has {len(session.tokens)}"):
            session.rewind(1000)
        branch.close()
        assert len(text_of(session, 3)) == 3


def test_branches_draw_alike_until_they_part(model: Model) -> None:
    with model.session(sampling=WARM) as session:
        session.append(TALE)
        text_of(session, 9)
        with session.branch() as branch:
            assert text_of(branch, 12) == text_of(session, 12)
            branch.append(" so")
            assert text_of(branch, 12) != text_of(session, 12)


def test_saved_sessions_go_on_in_another_process(smollm2_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "tale.session"
    with Model.load(smollm2_path, threads=1, context_size=512) as model, model.session(sampling=WARM) as session:
        session.append(TALE)
        text_of(session, 40)
        session.append("\n")
        text_of(session, 5)
        session.save(path)
        tokens = session.tokens
        expected = text_of(session, 24)
        after = session.tokens
    done = subprocess.run([sys.executable, "-c", CHILD, smollm2_path, path], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.splitlines() == [str(tokens), f"{expected} {len(tokens) - 1} {after}"]
    assert done.stderr == ""


def test_size_is_that_of_the_tokens(model: Model, tmp_path: Path) -> None:
    sizes = []
    for n in (50, 100, 200, 400):
        with model.session(sampling=GREEDY) as session:
            session.append([1000] * n)
            text_of(session, 1)
            session.save(tmp_path / "one")
            sizes.append((tmp_path / "one").stat().st_size)
    per_token = (sizes[-1] - sizes[0]) / 350
    # Keys and values of 30 layers, 3 heads of 64 numbers, 2 bytes each.
    assert per_token == pytest.approx(2 * 30 * 3 * 64 * 2, rel=0.02)
    assert sizes[1] - sizes[0] == pytest.approx(50 * per_token, rel=0.02)


def test_a_session_that_never_generated_is_saved_without_cells(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "one"
    with model.session(sampling=WARM) as session:
        session.save(path)
        with model.load_session(path) as again:
            assert again.tokens == []
        session.append(TALE)
        session.save(path)
        assert path.stat().st_size < 10_000
        with model.load_session(path) as again:
            assert again.tokens == session.tokens
            assert text_of(again, 12) == text_of(session, 12)


@pytest.mark.parametrize(
    "config",
    [
        SamplerConfig(logit_bias={5: float("-inf"), 7: 1.5}, banned_tokens=[9], dry_multiplier=0.8, dry_breakers=["\n", (1, 2)], seed=2**64 - 1),
        SamplerConfig(order=["top_k", Step("temperature", temperature=0.5)], allowed_tokens=range(400), seed=0),
        SamplerConfig(mirostat=1, seed=5),
    ],
)
def test_every_setting_of_the_sampler_is_saved(model: Model, tmp_path: Path, config: SamplerConfig) -> None:
    with model.session(sampling=config) as session:
        session.append(TALE)
        text_of(session, 6)
        session.save(tmp_path / "one")
        with model.load_session(tmp_path / "one") as again:
            assert text_of(again, 16) == text_of(session, 16)


@pytest.mark.parametrize("options", [{}, {"kv_unified": False}, {"kv_type": "q8_0"}, {"max_sequences": 1}])
def test_cells_go_into_memory_of_any_arrangement(smollm2_path: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "one"
    base = {"kv_type": "f16"} | options
    with Model.load(smollm2_path, threads=1, context_size=1024, **base) as model, model.session(sampling=GREEDY) as session:
        session.append(TALE)
        text_of(session, 30)
        session.save(path)
        expected = text_of(session, 16)
    for other in ({"kv_unified": False}, {"kv_unified": True}, {"max_sequences": 2}):
        with Model.load(smollm2_path, threads=1, context_size=2048, **(base | other)) as model, model.load_session(path) as session:
            done = session.generate(max_tokens=16, ignore_eos=True).result()
            assert list(done.tokens) == expected
            assert done.usage.cached_tokens > 30


@pytest.mark.parametrize("memory", ["gemma", *MEMORIES])
def test_cells_of_every_memory_are_saved(memory: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    path = request.getfixturevalue("gemma_path") if memory == "gemma" else memory_file(memory, tmp_path)
    tokens, size = (list(range(5, 645)), 1024) if memory == "gemma" else ([5, 9, 33, 7] * 20, 512)
    with Model.load(path, threads=1, context_size=size) as model, model.session(sampling=GREEDY) as session:
        session.append(tokens)
        text_of(session, 12)
        session.save(tmp_path / "one")
        expected = text_of(session, 12)
    with Model.load(path, threads=1, context_size=size) as model, model.load_session(tmp_path / "one") as session:
        n_tokens = len(session.tokens)
        done = session.generate(max_tokens=12, ignore_eos=True).result()
        assert list(done.tokens) == expected
        assert done.usage.cached_tokens == n_tokens - 1
        session.rewind(20)
        assert len(text_of(session, 3)) == 3


def test_deterministic_models_decode_again(smollm2_path: Path, tmp_path: Path) -> None:
    with Model.load(smollm2_path, threads=1, context_size=512, deterministic=True) as model:
        with model.session(sampling=WARM) as session:
            session.append(TALE)
            first = session.generate(max_tokens=8, ignore_eos=True).result()
            session.save(tmp_path / "one")
            second = session.generate(max_tokens=8, ignore_eos=True).result()
            assert (first.usage.cached_tokens, second.usage.cached_tokens) == (0, 0)
        with model.load_session(tmp_path / "one") as session:
            assert tuple(text_of(session, 8)) == second.tokens


# Files


@pytest.fixture(scope="module")
def saved(model: Model, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sessions") / "one"
    with model.session(sampling=GREEDY) as session:
        session.append(TALE)
        text_of(session, 6)
        session.save(path)
    return path.read_bytes()


def parts_of(file: bytes) -> tuple[dict[str, Any], bytes]:
    length = struct.unpack_from("<I", file, 44)[0]
    return json.loads(file[48 : 48 + length]), file[48 + length :]


def file_of(header: dict[str, Any], rest: bytes) -> bytes:
    """A file whose digest is right, whatever it says."""
    text = json.dumps(header).encode()
    body = struct.pack("<I", len(text)) + text + rest
    return b"TABSESSN" + struct.pack("<I", 1) + hashlib.sha256(body).digest() + body


def refusal(model: Model, tmp_path: Path, file: bytes) -> str:
    path = tmp_path / "wrong"
    path.write_bytes(file)
    with pytest.raises(StateError) as caught:
        model.load_session(path)
    return str(caught.value)


def test_cut_and_changed_files_are_refused(model: Model, saved: bytes, tmp_path: Path) -> None:
    header = 48 + struct.unpack_from("<I", saved, 44)[0]
    for n in (0, 5, 8, 11, 30, 47, 48, header - 1, header, header + 9, len(saved) - 1):
        assert "not a saved session" in refusal(model, tmp_path, saved[:n]) or "damaged" in refusal(model, tmp_path, saved[:n])
    assert "goes on after its end" in refusal(model, tmp_path, saved + b"\0")
    for at in (12, 43, 60, header - 2, header, header + 3, header + 200, len(saved) // 2, len(saved) - 1):
        flipped = bytearray(saved)
        flipped[at] ^= 16
        text = refusal(model, tmp_path, bytes(flipped))
        assert "damaged" in text or "not a saved session" in text
    assert "does not begin with `TABSESSN`" in refusal(model, tmp_path, b"GGUF" + saved[4:])
    assert "another format version" in refusal(model, tmp_path, saved[:8] + b"\2" + saved[9:])


def test_files_of_other_models_builds_and_options_are_named(model: Model, saved: bytes, smollm2_path: Path, gemma: Model, tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_bytes(saved)
    with pytest.raises(StateError, match="another model; load it with the model file"):
        gemma.load_session(path)
    for options, text in (
        ({"kv_type": "q8_0"}, "`kv_type` `f16` and this model has `q8_0`"),
        ({"kv_type": ("f16", "f32")}, "`kv_type` `f16`"),
        ({"flash_attention": "off"}, "`flash_attention` `auto` and this model has `off`"),
    ):
        with Model.load(smollm2_path, threads=1, context_size=256, **options) as other, pytest.raises(StateError, match=text):
            other.load_session(path)
    with model.session(sampling=GREEDY) as session:
        session.append([1000] * 300)
        text_of(session, 1)
        session.save(path)
    with (
        Model.load(smollm2_path, threads=1, context_size=256) as small,
        pytest.raises(ContextFullError, match="301 tokens but the context holds 256"),
    ):
        small.load_session(path)
    header, rest = parts_of(saved)
    text = refusal(model, tmp_path, file_of(header | {"build": "b1"}, rest))
    assert "written with `b1` and this process runs" in text


def test_hostile_files_with_a_right_digest_do_no_harm(model: Model, saved: bytes, tmp_path: Path) -> None:
    header, rest = parts_of(saved)
    assert refusal(model, tmp_path, file_of(header | {"sampler": {"random": 1}}, rest)) == "this is not a saved session: it has no sampler's state"
    assert "wrong: " in refusal(model, tmp_path, file_of(header | {"note": "{}"}, rest))
    assert "wrong: " in refusal(model, tmp_path, file_of(header | {"note": '{"sampling": {"top_k": -1}}'}, rest))
    assert "wrong: " in refusal(model, tmp_path, file_of(header | {"note": "[" * 100_000}, rest))
    assert "more tokens than it has" in refusal(model, tmp_path, file_of(header | {"cells": header["cells"] | {"tokens": header["tokens"]}}, rest))
    assert "none that this model's memory takes" in refusal(model, tmp_path, file_of(header | {"cells": header["cells"] | {"tokens": 5}}, rest))
    huge = file_of(header | {"cells": {"tokens": 5, "bytes": 2**40}}, rest)
    path = tmp_path / "sparse"
    path.write_bytes(huge)
    os.truncate(path, len(huge) - len(rest) + 4 * header["tokens"] + 2**40)
    with pytest.raises(StateError, match="none that this model's memory takes"):
        model.load_session(path)
    tokens = bytearray(rest)
    struct.pack_into("<i", tokens, 4, -7)
    path.write_bytes(file_of(header, bytes(tokens)))
    with pytest.raises(ValueError, match="-7"):
        model.load_session(path)
    # Every number of what llama.cpp reads, changed.
    start = 4 * header["tokens"]
    for at in range(start, start + 420, 4):
        for value in (0, 2, 0x7FFFFFFF, 0xFFFFFFFF):
            changed = bytearray(rest)
            struct.pack_into("<I", changed, at, value)
            path.write_bytes(file_of(header, bytes(changed)))
            with contextlib.suppress(StateError), model.load_session(path) as session:
                assert len(text_of(session, 1)) == 1
    path.write_bytes(saved)
    with model.load_session(path) as session:
        assert len(text_of(session, 3)) == 3


def test_a_full_disk_loses_nothing(model: Model, tmp_path: Path) -> None:
    resource = needs.package("resource")
    path = tmp_path / "one"
    with model.session(sampling=GREEDY) as session:
        session.append(TALE)
        text_of(session, 4)
        session.save(path)
        before = path.read_bytes()
        text_of(session, 30)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(OSError, match="one") as caught:
                session.save(path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            signal.signal(signal.SIGXFSZ, handler)
        assert caught.value.filename == str(path)
        assert path.read_bytes() == before
        assert [entry.name for entry in tmp_path.iterdir()] == ["one"]
        assert len(text_of(session, 3)) == 3
        session.save(path)
        assert len(path.read_bytes()) > len(before)


def test_devices_and_the_model_itself_are_not_replaced(model: Model, smollm2_path: Path, tmp_path: Path) -> None:
    with model.session() as session:
        session.append(TALE)
        for path in ("/dev/null", smollm2_path, tmp_path, tmp_path / "no" / "such"):
            with pytest.raises(OSError, match=re.escape(str(path))):
                session.save(path)
    with pytest.raises(FileNotFoundError):
        model.load_session(tmp_path / "none")
    with pytest.raises(StateError, match="no regular file"):
        model.load_session("/dev/zero")


# Use


def test_a_running_text_keeps_others_out_until_it_ends(model: Model) -> None:
    with model.session(sampling=GREEDY) as session:
        session.append(TALE)
        stream = session.generate(max_tokens=400, ignore_eos=True)
        next(stream)
        for call in (
            lambda: session.tokens,
            lambda: session.append("a"),
            session.generate,
            lambda: session.rewind(1),
            session.branch,
            lambda: session.save("x"),
        ):
            with pytest.raises(RuntimeError, match="a text of this session is being generated"):
                call()
        stream.cancel()
        # What came until then is there, though nobody has read it.
        tokens = session.tokens
        assert tokens[len(model.tokenize(TALE)) :] == list(stream.result().tokens)
        for _ in session.generate(max_tokens=400, ignore_eos=True):
            break
        assert len(session.tokens) > len(tokens)


def test_ends_of_texts(model: Model) -> None:
    with model.session(sampling=GREEDY) as session:
        session.append(TALE)
        done = session.generate(max_tokens=40, stop=["."]).result()
        assert session.tokens == [*model.tokenize(TALE), *done.tokens]
        assert session.generate(max_tokens=0).result().tokens == ()
        bad = session.tokens
        with pytest.raises(ValueError, match="`max_tokens`"):
            session.generate(max_tokens=-1)
        assert session.tokens == bad
        done = session.generate(regex="[0-9]{3}x").result()
        assert done.text[-1] == "x"
        assert session.tokens == [*bad, *done.tokens]


def test_wrong_use_is_named(model: Model, gemma: Model) -> None:
    session = model.session()
    with pytest.raises(ValueError, match="prompt has no tokens"):
        session.generate(max_tokens=1)
    with pytest.raises(TypeError, match="has no option `n`"):
        session.generate(n=2)
    with pytest.raises(TypeError, match="has no option `tempo`"):
        session.generate(tempo=2)
    with pytest.raises(TypeError, match="`text`"):
        session.append(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="surrogate"):
        session.append("\ud800")
    with pytest.raises(ValueError, match="-1"):
        session.append([-1])
    with pytest.raises(ContextFullError, match="context holds 512"):
        session.append([5] * 600)
    with pytest.raises(ValueError, match="`n`"):
        session.rewind(-1)
    assert session.tokens == []
    with pytest.raises(TypeError, match="`sampling`"):
        model.session(sampling=0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="belongs to another model"):
        gemma.generate(session)
    with pytest.raises(ValueError, match="a session has its own adapters"):
        model.generate(session, n=2)
    session.close()
    session.close()
    assert session.closed
    with pytest.raises(ClosedError, match="the session is closed"):
        session.append("a")


def test_a_closed_model_ends_its_sessions(smollm2_path: Path) -> None:
    model = Model.load(smollm2_path, threads=1, context_size=256)
    session = model.session(sampling=GREEDY)
    session.append(TALE)
    stream = session.generate(ignore_eos=True)
    next(stream)
    model.close()
    with pytest.raises(ClosedError):
        session.append("a")
    with pytest.raises(ClosedError):
        model.session()
    session.close()
