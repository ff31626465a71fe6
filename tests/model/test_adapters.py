"""Adapters at run time: what they compute, what is refused, and how long they live."""

from __future__ import annotations

import gc
import json
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

import child
from support.gguf_image import ARRAY, F32, F64, I32, U32, Image, Tensor, Value, array, number, text
from support.tiny_adapters import write_peft
from support.tiny_checkpoints import llama3
from support.tiny_lora import ALPHA, CASES, EMBEDDINGS, RANK, TOKENS, tiny_adapter, tiny_adapters, untied_llama
from support.tiny_models import WIDTH, tiny_llama
from tabagent import Adapter, AdapterError, ClosedError, Context, Model, UnsupportedModelError, gguf

TESTS: Final = Path(__file__).resolve().parents[1]
GOLDEN: Final = TESTS / "golden" / "lora" / "logits.json"
#: The settings of `support/lora_logits_golden.py`.
EXACT: Final[dict[str, Any]] = {"context_size": 64, "threads": 1, "kv_type": "f32", "flash_attention": "off"}
NAN: Final = b"\x00\x00\xc0\x7f"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write(tmp_path / "model.gguf", untied_llama())


@pytest.fixture
def model(base: Path) -> Iterator[Model]:
    with Model.load(base, context_size=64, threads=1) as made:
        yield made


@pytest.fixture
def adapters(model: Model, tmp_path: Path) -> dict[str, Adapter]:
    return {name: model.load_adapter(write(tmp_path / f"{name}.gguf", image)) for name, image in tiny_adapters(untied_llama()).items()}


def write(path: Path, image: Image) -> Path:
    path.write_bytes(image.to_bytes())
    return path


def logits(context: Context) -> NDArray[np.float32]:
    """The logits after the last of some tokens, in an empty context."""
    context.clear()
    context.decode(TOKENS)
    return context.logits()


@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_llama_cpp_and_of_the_merged_model(
    case: str, model: Model, adapters: dict[str, Adapter], base: Path, tmp_path: Path
) -> None:
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    scaled = {adapters[name]: scale for name, scale in CASES[case]}
    with model.create_context(**EXACT, adapters=scaled) as context:
        found = logits(context)
    assert np.abs(found - np.array(golden[case])).max() < 1e-3
    if scaled:
        gguf.merge_lora(base, {adapter.path: scale for adapter, scale in scaled.items()}, tmp_path / "merged.gguf")
        with Model.load(tmp_path / "merged.gguf", context_size=64, threads=1) as merged, merged.create_context(**EXACT) as context:
            assert np.abs(found - logits(context)).max() < 1e-3


def test_scale_0_and_switching_back_give_the_base_exactly(model: Model, adapters: dict[str, Adapter]) -> None:
    with model.create_context(**EXACT) as context:
        bare = logits(context)
        context.set_adapters({adapters["blocks"]: 0.0})
        assert np.array_equal(logits(context), bare)
        assert not context.adapters
        context.set_adapters(adapters["blocks"])
        changed = logits(context)
        assert np.abs(changed - bare).max() > 0.1
        assert context.adapters == (("blocks.gguf", 1.0),)
        context.set_adapters([(adapters["blocks"], 0.5)])
        assert not np.array_equal(logits(context), changed)
        nothings: list[Any] = [None, [], {}]
        for nothing in nothings:
            context.set_adapters(adapters["blocks"])
            assert np.array_equal(logits(context), changed)
            context.set_adapters(nothing)
            assert np.array_equal(logits(context), bare)


def test_two_adapters_add_up_in_any_order(model: Model, adapters: dict[str, Adapter]) -> None:
    one, two = adapters["blocks"], adapters["more"]
    with model.create_context(**EXACT, adapters=[one, two]) as context:
        both = logits(context)
        forms: list[Any] = [[two, one], {two: 1.0, one: 1}, [(one, np.float32(1)), two], iter([one, two])]
        for same in forms:
            context.set_adapters(None)
            context.set_adapters(same)
            assert np.array_equal(logits(context), both)
        context.set_adapters(one)
        assert np.abs(logits(context) - both).max() > 0.1


def test_a_clone_has_the_adapters_and_the_control_vector(model: Model, adapters: dict[str, Adapter]) -> None:
    vector = model.load_control_vector(np.ones((1, WIDTH), np.float32))
    with model.create_context(**EXACT, adapters=adapters["blocks"], control_vector=vector) as context:
        wanted = logits(context)
        with context.clone() as copy:
            assert copy.adapters == context.adapters
            assert np.array_equal(logits(copy), wanted)
            copy.set_control_vector(None)
            assert not np.array_equal(logits(copy), wanted)


def test_facts_are_those_of_the_file(model: Model, adapters: dict[str, Adapter], tmp_path: Path) -> None:
    adapter = adapters["blocks"]
    assert (adapter.name, adapter.path) == ("blocks.gguf", str(tmp_path / "blocks.gguf"))
    assert (adapter.rank, adapter.alpha, adapter.tensors, adapter.invocation_tokens) == (RANK, ALPHA, 14, ())
    assert adapter.size == sum(len(tensor.data) for tensor in tiny_adapters(untied_llama())["blocks"].tensors)
    assert adapters["more"].alpha is None
    assert repr(adapter) == "<Adapter 'blocks.gguf' of rank 3 for 14 tensors>"
    image = tiny_adapter(untied_llama()).set("adapter.alora.invocation_tokens", array(U32, [7, 8]))
    image.tensors.append(Tensor("blk.0.attn_norm.weight", 0, (WIDTH,), bytes(4 * WIDTH)))
    activated = model.load_adapter(write(tmp_path / "activated.gguf", image))
    assert activated.invocation_tokens == (7, 8)
    assert activated.ignored == ("blk.0.attn_norm.weight",)


@pytest.mark.parametrize("form", ["folder", "safetensors"])
@pytest.mark.parametrize("stabilized", [False, True])
def test_peft_adapters_give_the_logits_of_the_merged_model(form: str, *, stabilized: bool, tmp_path: Path) -> None:
    checkpoint = llama3()
    source = checkpoint.write(tmp_path / "source")
    gguf.convert(source, tmp_path / "base.gguf", out_type="f32")
    folder = write_peft(tmp_path / "peft", checkpoint, use_rslora=stabilized)
    path = folder if form == "folder" else folder / "adapter_model.safetensors"
    gguf.merge_lora(tmp_path / "base.gguf", {path: 1.5}, tmp_path / "merged.gguf")
    results = []
    for file in ("base.gguf", "merged.gguf"):
        with Model.load(tmp_path / file, context_size=64, threads=1) as model, model.create_context(**EXACT) as context:
            results.append(logits(context))
            if file == "base.gguf":
                adapter = model.load_adapter(path)
                assert (adapter.name, adapter.alpha) == (path.name, 6.0)
                context.set_adapters([(adapter, 1.5)])
                results.append(logits(context))
    bare, beside, merged = results
    assert np.abs(beside - merged).max() < 1e-3
    assert np.abs(bare - merged).max() > 0.05, "the adapter does something"


def test_the_temporary_file_is_gone_afterwards_and_after_errors(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    path = write(tmp_path / "a.gguf", tiny_adapter(untied_llama()))
    model.load_adapter(path).close()
    assert list(place.iterdir()) == []
    with pytest.raises(AdapterError):
        model.load_adapter(write(tmp_path / "b.gguf", Image()))
    assert list(place.iterdir()) == []
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError) as caught:
        model.load_adapter(path)
    assert caught.value.filename == str(tmp_path / "none")
    assert tempfile.gettempdir()


def spoiled(change: Callable[[Image], object]) -> Image:
    image = tiny_adapter(untied_llama())
    change(image)
    return image


def tensor(name: str, shape: tuple[int, ...], kind: int = 0, data: bytes | None = None) -> Tensor:
    count = int(np.prod(shape))
    return Tensor(name, kind, shape, struct.pack(f"<{count}f", *[0.5] * count) if data is None else data)


def pair(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> Callable[[Image], object]:
    return lambda image: image.tensors.extend([tensor(f"{name}.lora_a", a), tensor(f"{name}.lora_b", b)])


def put(index: int, new: Callable[[Tensor], Tensor]) -> Callable[[Image], object]:
    return lambda image: image.replace_tensor(image.tensors[index], new(image.tensors[index]))


SPOILED: Final[dict[str, tuple[Callable[[Image], object], str]]] = {
    "whole model": (lambda i: i.set("general.type", text("model")), "must be `adapter`, but is `model`"),
    "no type": (lambda i: i.remove("general.type"), "key `general.type` must be `adapter`"),
    "type of another kind": (lambda i: i.set("general.type", number(U32, 1)), "key `general.type` must be `adapter`"),
    "control vector": (lambda i: i.set("adapter.type", text("cvec")), "must be `lora`, but is `cvec`"),
    "other architecture": (
        lambda i: i.set("general.architecture", text("gemma3")),
        "for architecture `gemma3`, but `model.gguf` has architecture `llama`",
    ),
    "no tensors": (lambda i: i.tensors.clear(), "no tensors that change any"),
    "one matrix": (lambda i: i.tensors.pop(), "`blk.1.ffn_down.weight.lora_b` is missing"),
    "unknown tensor": (pair("blk.9.attn_q.weight", (WIDTH, 3), (3, WIDTH)), "`blk.9.attn_q.weight`, which `model.gguf` does not have"),
    "unknown suffix": (
        lambda i: i.tensors.append(tensor("blk.0.attn_q.bias", (4,))),
        "`blk.0.attn_q.bias` ends neither in `.lora_a` nor in `.lora_b`",
    ),
    "columns": (put(0, lambda t: tensor(t.name, (WIDTH + 1, RANK))), "make shape `[33, 32]`, but `blk.0.attn_q.weight`"),
    "rows": (put(1, lambda t: tensor(t.name, (RANK, WIDTH - 1))), "make shape `[32, 31]`, but `blk.0.attn_q.weight` of `model.gguf` has shape"),
    "ranks": (put(1, lambda t: tensor(t.name, (RANK + 1, WIDTH))), "have ranks `3` and `4`, but must have the same"),
    "experts": (put(0, lambda t: tensor(t.name, (WIDTH, RANK, 2))), "for `2` experts"),
    "vector": (put(0, lambda t: tensor(t.name, (WIDTH,))), "a factor is a matrix"),
    "integers": (put(0, lambda t: Tensor(t.name, 26, t.shape, t.data)), "has type `I32`; save the adapter as `F16` or `F32`"),
    "NaN": (put(0, lambda t: Tensor(t.name, 0, t.shape, t.data[:-4] + NAN)), "`blk.0.attn_q.weight.lora_a`"),
    "infinity": (put(3, lambda t: Tensor(t.name, 0, t.shape, b"\x00\x00\x80\xff" + t.data[4:])), "`blk.0.attn_k.weight.lora_b`"),
    "alpha NaN": (lambda i: i.set("adapter.lora.alpha", number(F32, float("nan"))), "must be a finite float"),
    "alpha too large": (lambda i: i.set("adapter.lora.alpha", number(F64, 1e300)), "must be a finite float"),
    "alpha a text": (lambda i: i.set("adapter.lora.alpha", text("6")), "must be a finite float"),
    "norm": (pair("output_norm.weight", (WIDTH, 3), (3, 1)), "`output_norm.weight`, which is a vector"),
    "tokens no list": (lambda i: i.set("adapter.alora.invocation_tokens", number(U32, 3)), "must be a list of token ids"),
    "tokens negative": (lambda i: i.set("adapter.alora.invocation_tokens", array(I32, [-1])), "must be a list of token ids"),
    "tokens too large": (lambda i: i.set("adapter.alora.invocation_tokens", array(U32, [5, 9999])), "invocation token `9999` is none of the model"),
    "endless list": (lambda i: i.set("x", Value(ARRAY, struct.pack("<IQ", U32, 2**60))), "`a.gguf`"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_what_llama_cpp_would_die_of_or_pass_over_is_refused(case: str, model: Model, tmp_path: Path) -> None:
    change, part = SPOILED[case]
    with pytest.raises(AdapterError) as caught:
        model.load_adapter(write(tmp_path / "a.gguf", spoiled(change)))
    assert part in str(caught.value)


def test_files_that_are_no_adapters_are_refused(model: Model, base: Path, tmp_path: Path) -> None:
    good = tiny_adapter(untied_llama()).to_bytes()
    (tmp_path / "cut.gguf").write_bytes(good[: len(good) // 2])
    (tmp_path / "empty.gguf").write_bytes(b"")
    (tmp_path / "text.gguf").write_bytes(b"hello" * 100)
    (tmp_path / "folder").mkdir()
    for name in ("cut.gguf", "empty.gguf", "text.gguf", "folder", base.name):
        with pytest.raises(AdapterError):
            model.load_adapter(tmp_path / name)
    with pytest.raises(AdapterError) as caught:
        model.load_adapter(tmp_path / "cut.gguf")
    assert caught.value.file == "cut.gguf"
    with pytest.raises(FileNotFoundError):
        model.load_adapter(tmp_path / "none.gguf")
    with pytest.raises(TypeError, match="path"):
        model.load_adapter(b"bytes")  # type: ignore[arg-type]


def test_embeddings_that_are_the_output_too_are_refused(tmp_path: Path) -> None:
    image = tiny_llama()
    adapter = write(tmp_path / "a.gguf", tiny_adapter(image, [EMBEDDINGS]))
    with Model.load(write(tmp_path / "tied.gguf", image), context_size=64, threads=1) as model:
        with pytest.raises(AdapterError, match="also the output"):
            model.load_adapter(adapter)
        bare = model.create_context(**EXACT)
        assert np.isfinite(logits(bare)).all()


def test_a_tensor_that_llama_cpp_computes_without_adapters_is_refused(tmp_path: Path) -> None:
    image = untied_llama()
    # The frequencies of the rotation are read, but nothing is multiplied with them.
    factors = Tensor("rope_freqs.weight", 0, (4,), struct.pack("<4f", 1, 1, 1, 1))
    image.tensors.append(factors)
    with Model.load(write(tmp_path / "m.gguf", image), context_size=64, threads=1) as model:
        path = write(tmp_path / "a.gguf", spoiled(pair("rope_freqs.weight", (4, 3), (3, 1))))
        with pytest.raises(AdapterError, match="rope_freqs"):
            model.load_adapter(path)


def test_an_adapter_works_with_its_model_alone(base: Path, model: Model, adapters: dict[str, Adapter]) -> None:
    with Model.load(base, context_size=64, threads=1) as other, other.create_context(**EXACT) as context:
        bare = logits(context)
        with pytest.raises(AdapterError, match=r"`blocks\.gguf` belongs to another model"):
            context.set_adapters(adapters["blocks"])
        with pytest.raises(AdapterError):
            other.create_context(adapters=adapters["blocks"])
        assert np.array_equal(logits(context), bare)
        assert not model.closed


@pytest.mark.parametrize(
    ("make", "kind", "part"),
    [
        (lambda a: [a, a], ValueError, "given twice"),
        (lambda a: {a: float("nan")}, ValueError, "scale `NaN`"),
        (lambda a: {a: float("-inf")}, ValueError, "scale `-inf`"),
        (lambda a: {a: 1e39}, ValueError, "scale `inf`"),
        (lambda a: {a: 3e38}, ValueError, "times the strength of its matrices, `2`"),
        (lambda a: {a: "1"}, TypeError, "must be a number"),
        (lambda a: {a: True}, TypeError, "must be a number"),
        (lambda a: [(a, 1, 2)], TypeError, r"adapters\[0\]"),
        (lambda a: a.path, TypeError, "one Adapter"),
        (lambda a: [a.path], TypeError, "load it first"),
        (lambda a: 7, TypeError, "got int"),
        (lambda a: [None], TypeError, "must be an Adapter"),
    ],
)
def test_wrong_adapters_are_refused_and_change_nothing(
    make: Callable[[Adapter], Any], kind: type[Exception], part: str, model: Model, adapters: dict[str, Adapter]
) -> None:
    with model.create_context(**EXACT, adapters=adapters["more"]) as context:
        before = logits(context)
        with pytest.raises(kind, match=part):
            context.set_adapters(make(adapters["blocks"]))
        assert context.adapters == (("more.gguf", 1.0),)
        assert np.array_equal(logits(context), before)


def test_adapters_live_as_long_as_contexts_use_them(model: Model, tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", tiny_adapter(untied_llama()))
    context = model.create_context(**EXACT)
    with model.load_adapter(path) as adapter:
        context.set_adapters(adapter)
        wanted = logits(context)
    assert adapter.closed
    adapter.close()
    assert repr(adapter).endswith("closed>")
    with pytest.raises(ClosedError, match=r"a\.gguf"):
        context.set_adapters(adapter)
    del adapter
    gc.collect()
    assert np.array_equal(logits(context), wanted)
    model.close()
    assert np.array_equal(logits(context), wanted)
    context.set_adapters(None)
    assert not np.array_equal(logits(context), wanted)
    context.close()
    with pytest.raises(ClosedError):
        model.load_adapter(path)


def test_many_adapters_may_be_loaded_after_the_context(model: Model, tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", tiny_adapter(untied_llama()))
    with model.create_context(**EXACT) as context:
        bare = logits(context)
        many = [model.load_adapter(path) for _ in range(40)]
        context.set_adapters([(adapter, 1 / 40) for adapter in many])
        together = logits(context)
        context.set_adapters(many[0])
        assert np.abs(logits(context) - together).max() < 1e-3
        del many
        context.set_adapters(None)
        assert np.array_equal(logits(context), bare)


def test_a_model_without_weights_takes_no_adapters(base: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", tiny_adapter(untied_llama()))
    with Model.load(base, vocab_only=True) as model, pytest.raises(UnsupportedModelError, match="vocab_only"):
        model.load_adapter(path)


def test_another_file_in_the_place_of_the_model_is_noticed(base: Path, model: Model, tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf", tiny_adapter(untied_llama()))
    write(tmp_path / "new.gguf", tiny_llama()).replace(base)
    with pytest.raises(AdapterError, match="load the model again"):
        model.load_adapter(path)


def test_a_thousand_loads_keep_memory_flat(base: Path, tmp_path: Path) -> None:
    adapter = write(tmp_path / "a.gguf", tiny_adapter(untied_llama()))
    program = """
        import resource, sys
        from tabagent import Model
        def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with Model.load(sys.argv[1], context_size=64, threads=1) as model, model.create_context(context_size=64, threads=1) as context:
            def cycle():
                with model.load_adapter(sys.argv[2]) as adapter:
                    context.set_adapters(adapter)
                    context.clear()
                    context.decode([1, 40])
                    context.set_adapters(None)
            for _ in range(200): cycle()
            before = peak()
            for _ in range(1000): cycle()
            print(peak() - before)
    """
    assert int(child.check(program, base, adapter, timeout_s=600)) < 4096, "KiB"


@pytest.mark.parametrize("seed", range(2))
def test_spoiled_files_never_kill_the_process(seed: int, base: Path, tmp_path: Path) -> None:
    program = "from support import adapter_child; adapter_child.main()"
    # ggml starts a debugger when it aborts, unless told not to.
    environment = {"PYTHONPATH": str(TESTS), "GGML_NO_BACKTRACE": "1"}
    ended = child.run(program, base, str(seed), "1000", tmp_path, timeout_s=600, environment=environment)
    assert ended.code == 0, ended.err[-2000:]
    loaded, refused = map(int, ended.out.split())
    assert loaded + refused == 1000
    assert min(loaded, refused) > 20
