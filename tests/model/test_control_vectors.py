"""Control vectors: that layers move by exactly them, and what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray

from support.gguf_image import Image, Tensor, text
from support.tiny_control_vectors import directions, tiny_control_vector
from support.tiny_lora import TOKENS
from support.tiny_models import WIDTH, tiny_llama
from tabagent import AdapterError, Context, ControlVector, Model

LAYERS: Final = 4
EXACT: Final[dict[str, Any]] = {"context_size": 64, "threads": 1, "kv_type": "f32", "flash_attention": "off"}


def deep_llama() -> Image:
    """`tiny_llama` with four layers: the second one again, twice."""
    image = tiny_llama()
    layers = dict(image.metadata)["llama.block_count"]
    image.set("llama.block_count", type(layers)(layers.kind, LAYERS.to_bytes(4, "little")))
    for layer in range(2, LAYERS):
        image.tensors += [
            Tensor(t.name.replace("blk.1.", f"blk.{layer}."), t.kind, t.shape, t.data) for t in image.tensors if t.name.startswith("blk.1.")
        ]
    return image


@pytest.fixture
def model(tmp_path: Path) -> Iterator[Model]:
    path = tmp_path / "model.gguf"
    path.write_bytes(deep_llama().to_bytes())
    with Model.load(path, context_size=64, threads=1) as made:
        yield made


@pytest.fixture
def context(model: Model) -> Context:
    return model.create_context(**EXACT, captures=["l_out-*"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "v.gguf"
    path.write_bytes(tiny_control_vector(layers=LAYERS).to_bytes())
    return path


def run(context: Context) -> tuple[dict[str, NDArray[np.float32]], list[NDArray[np.float32]]]:
    """What the layers give for some tokens in an empty context, and the logits."""
    context.clear()
    context.decode(TOKENS, logits="all")
    return context.captures, [context.logits(index) for index in range(len(TOKENS))]


def test_layers_move_by_exactly_the_vector_and_return_exactly(model: Model, context: Context, path: Path) -> None:
    vector = model.load_control_vector(path)
    assert (vector.name, vector.model_hint, vector.layers) == ("v.gguf", "llama", (1, 2, 3))
    moved = {layer: np.array(numbers, np.float32) for layer, numbers in directions(tiny_control_vector(layers=LAYERS)).items()}
    before, bare = run(context)
    for layer, direction in moved.items():
        context.set_control_vector({vector: 2.0}, layers=(layer, layer))
        after, changed = run(context)
        for other in range(layer):
            assert np.array_equal(after[f"l_out-{other}"], before[f"l_out-{other}"])
        found = after[f"l_out-{layer}"]
        assert np.array_equal(found, before[f"l_out-{layer}"] + np.float32(2) * direction)
        assert not np.array_equal(changed[-1], bare[-1])
    context.set_control_vector(None)
    after, again = run(context)
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert all(map(np.array_equal, again, bare))


def test_several_add_up(model: Model, context: Context, path: Path) -> None:
    one = model.load_control_vector(path)
    two = model.load_control_vector(np.linspace(-1, 1, (LAYERS - 1) * WIDTH).reshape(LAYERS - 1, WIDTH))
    numbers = directions(tiny_control_vector(layers=LAYERS))
    summed = {
        layer: 0.5 * np.array(numbers[layer], np.float32) - np.float32(2) * np.linspace(-1, 1, 96, dtype=np.float32)[32 * (layer - 1) : 32 * layer]
        for layer in numbers
    }
    context.set_control_vector([(one, 0.5), (two, -2.0)])
    both = run(context)[1][-1]
    context.set_control_vector(model.load_control_vector(summed))
    assert np.abs(run(context)[1][-1] - both).max() < 1e-4
    context.set_control_vector({one: 1, two: 0})
    alone = run(context)[1][-1]
    context.set_control_vector(one)
    assert np.array_equal(run(context)[1][-1], alone)


def test_nothing_stays_of_an_earlier_vector(model: Model, context: Context) -> None:
    """llama.cpp leaves the numbers of layers alone that a new vector does not have."""
    ones = np.ones(WIDTH, np.float32)
    context.set_control_vector(model.load_control_vector({1: ones, 3: ones}))
    run(context)
    context.set_control_vector(model.load_control_vector({1: ones}))
    after = run(context)[1]
    with model.create_context(**EXACT, control_vector=model.load_control_vector({1: ones})) as fresh:
        assert all(map(np.array_equal, run(fresh)[1], after))


def spoiled(change: Callable[[Image], object]) -> Image:
    image = tiny_control_vector(layers=LAYERS)
    change(image)
    return image


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda i: i.set("general.architecture", text("llama")), "must be `controlvector`, but is `llama`"),
        (lambda i: i.tensors.clear(), "has no tensors"),
        (
            lambda i: i.tensors.append(Tensor("direction.4", 0, (WIDTH,), bytes(4 * WIDTH))),
            "moves layer `4`, but control vectors move layers `1` to `3`",
        ),
        (lambda i: i.tensors.append(Tensor("direction.0", 0, (WIDTH,), bytes(4 * WIDTH))), "begin with 1"),
        (lambda i: i.tensors.append(Tensor("other", 0, (WIDTH,), bytes(4 * WIDTH))), "tensor `other`"),
        (lambda i: i.replace_tensor(i.tensors[1], Tensor("direction.2", 0, (WIDTH,), b"\x00\x00\xc0\x7f" * WIDTH)), "not finite"),
        (lambda i: i.replace_tensor(i.tensors[1], Tensor("direction.2", 26, (WIDTH,), bytes(4 * WIDTH))), "direction.2"),
    ],
)
def test_broken_files_are_refused(change: Callable[[Image], object], part: str, model: Model, tmp_path: Path) -> None:
    path = tmp_path / "v.gguf"
    path.write_bytes(spoiled(change).to_bytes())
    with pytest.raises(AdapterError) as caught:
        model.load_control_vector(path)
    assert part in str(caught.value)


def test_other_files_and_widths_are_refused(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "v.gguf"
    path.write_bytes(tiny_control_vector(width=WIDTH + 1, layers=LAYERS).to_bytes())
    with pytest.raises(AdapterError, match="has `33` numbers, but this model's layers give `32`"):
        model.load_control_vector(path)
    path.write_bytes(tiny_control_vector(layers=LAYERS).to_bytes()[:200])
    with pytest.raises(AdapterError):
        model.load_control_vector(path)
    with pytest.raises(FileNotFoundError):
        model.load_control_vector(tmp_path / "none.gguf")


@pytest.mark.parametrize(
    ("source", "kind", "part"),
    [
        (np.zeros((3, 31)), AdapterError, "has `31` numbers"),
        (np.zeros((4, 32)), AdapterError, "moves layer `4`"),
        (np.zeros((0, 32)), AdapterError, "moves no layer"),
        (np.full((1, 32), np.nan), AdapterError, "is `NaN`"),
        (np.full((1, 32), 1e300), AdapterError, "is `inf`"),
        ({0: np.zeros(32)}, AdapterError, "moves layer `0`"),
        ({"1": np.zeros(32)}, TypeError, "must be an int"),
        ({1: np.zeros((1, 32))}, TypeError, "must be a vector"),
        (np.zeros(32), ValueError, "must be a matrix"),
        (7, ValueError, "must be a matrix"),
        ([["a"]], TypeError, "must be a vector of numbers"),
        (np.zeros((1, 32), np.complex64), TypeError, "complex64"),
    ],
)
def test_wrong_numbers_are_refused(source: Any, kind: type[Exception], part: str, model: Model) -> None:
    with pytest.raises(kind, match=part):
        model.load_control_vector(source)


def test_wrong_scales_and_layers_are_refused_and_change_nothing(model: Model, context: Context, path: Path) -> None:
    vector = model.load_control_vector(path)
    context.set_control_vector(vector)
    before = run(context)[1]
    for scale in (float("nan"), float("inf"), 1e300):
        with pytest.raises(ValueError, match="scale"):
            context.set_control_vector({vector: scale})
    for layers in ((0, 1), (1, 4), (3, 2), (2**31 - 1, 2**31 - 1)):
        with pytest.raises(ValueError, match="layers"):
            context.set_control_vector(vector, layers=layers)
    wrong: list[Any] = ["1-2", (1,), (1, 2.0), 3]
    for value in wrong:
        with pytest.raises(TypeError, match="layers"):
            context.set_control_vector(vector, layers=value)
    with pytest.raises(TypeError, match="ControlVector"):
        context.set_control_vector(np.zeros((3, 32)))
    assert all(map(np.array_equal, run(context)[1], before))


def test_a_vector_fits_other_models_of_that_shape_alone(model: Model, tmp_path: Path) -> None:
    vector = model.load_control_vector(np.ones((3, WIDTH), np.float32))
    small = tmp_path / "small.gguf"
    small.write_bytes(tiny_llama().to_bytes())
    with Model.load(small, context_size=64, threads=1) as other, other.create_context(**EXACT) as context:
        with pytest.raises(AdapterError, match="moves layer `2`, but control vectors move layers `1` to `1`"):
            context.set_control_vector(vector)
        context.decode(TOKENS)
        context.set_control_vector(other.load_control_vector(np.ones((1, WIDTH))))
        context.decode([5])
        assert isinstance(vector, ControlVector)
        assert repr(vector) == "<ControlVector 'directions' for 3 layers>"
