"""Adapters (LoRA) and control vectors: what changes a model while it computes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from tabagent import _native
from tabagent._arguments import INT32_MAX, as_float, as_int, is_iterable, type_name

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

__all__ = ["Adapter", "Adapters", "ControlVector", "ControlVectors"]


class Adapter:
    """A low-rank adapter, loaded for a model by `Model.load_adapter`.

        with model.load_adapter("style.gguf") as style:
            print(model.generate("Once upon a time", adapters={style: 0.8}, max_tokens=64).result().text)

    It works with that model alone, and keeps it in memory. It is closed by `close`, at the end of its `with` block, or when nothing refers to
    it any more; its memory is freed when no request and no context uses it any more either. Equality is identity.
    """

    __slots__ = ("__weakref__", "_facts", "_native")

    def __init__(self, native: _native.Adapter) -> None:
        """Made by `Model.load_adapter`."""
        self._native = native
        self._facts = native.facts()

    @property
    def name(self) -> str:
        """The name of its file or folder."""
        name: str = self._facts["name"]
        return name

    @property
    def path(self) -> str:
        """Where it was loaded from."""
        path: str = self._facts["path"]
        return path

    @property
    def rank(self) -> int:
        """The largest rank of its matrices."""
        rank: int = self._facts["rank"]
        return rank

    @property
    def alpha(self) -> float | None:
        """What the product of its matrices is multiplied with before it is divided by the rank; None where it equals the rank."""
        alpha: float | None = self._facts["alpha"]
        return alpha

    @property
    def tensors(self) -> int:
        """How many tensors of the model it changes."""
        tensors: int = self._facts["tensors"]
        return tensors

    @property
    def size(self) -> int:
        """Bytes of its matrices."""
        size: int = self._facts["size"]
        return size

    @property
    def invocation_tokens(self) -> tuple[int, ...]:
        """The tokens from which on it works, if it is an activated adapter (aLoRA); empty for all others.

        Such an adapter was trained to leave what comes before these tokens alone. Decode that without it, set it, and go on with these tokens.
        """
        return tuple(self._facts["invocation_tokens"])

    @property
    def ignored(self) -> tuple[str, ...]:
        """Tensors of its file that are passed over, as llama.cpp does: those of norms, and of parts that it does not use."""
        return tuple(self._facts["ignored"])

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._native.closed

    def close(self) -> None:
        """Let go of it. Requests and contexts that have it go on with it; using it anew raises `ClosedError`. Closing again is fine."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Adapter {self.name!r} of rank {self.rank} for {self.tensors} tensors{state}>"


class ControlVector:
    """A control vector: directions that are added to what layers of a model give. Made by `Model.load_control_vector`.

    happy = model.load_control_vector("happy.gguf")
    context.set_control_vector({happy: 1.5})
    """

    __slots__ = ("_native",)

    def __init__(self, native: _native.ControlVector) -> None:
        """Made by `Model.load_control_vector`."""
        self._native = native

    @property
    def name(self) -> str:
        """The name of its file, or `directions`."""
        return self._native.name

    @property
    def model_hint(self) -> str | None:
        """The kind of model that it was made for, as its file says."""
        return self._native.model_hint

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that it moves."""
        return tuple(self._native.layers)

    def __repr__(self) -> str:
        return f"<ControlVector {self.name!r} for {len(self.layers)} layers>"


Adapters: TypeAlias = "Adapter | Iterable[Adapter | tuple[Adapter, float]] | Mapping[Adapter, float] | None"
"""Adapters to use: one, several, several with a scale for each (1 without one), or a mapping from adapters to scales."""

ControlVectors: TypeAlias = "ControlVector | Iterable[ControlVector | tuple[ControlVector, float]] | Mapping[ControlVector, float] | None"
"""Control vectors to add, in the same forms."""


def as_adapters(value: object, name: str) -> list[tuple[_native.Adapter, float]]:
    """The adapters, in the form that the core takes."""
    return [(item._native, scale) for item, scale in _scaled(value, name, Adapter)]  # noqa: SLF001 (its own other half)


def as_control_vectors(value: object, name: str) -> list[tuple[_native.ControlVector, float]]:
    """The control vectors, in the form that the core takes."""
    return [(item._native, scale) for item, scale in _scaled(value, name, ControlVector)]  # noqa: SLF001 (its own other half)


def as_changes(
    adapters: object, control_vector: object, control_layers: object
) -> tuple[list[tuple[_native.Adapter, float]], list[tuple[_native.ControlVector, float]], tuple[int, int] | None] | None:
    """What changes the model for a request, in the form that the core takes; None for nothing."""
    vectors, layers = as_control_vectors(control_vector, "control_vector"), as_layers(control_layers, "control_layers")
    if layers is not None and not vectors:
        message = "`control_layers` says which layers a control vector moves, and none was given; give `control_vector`"
        raise ValueError(message)
    scaled = as_adapters(adapters, "adapters")
    return (scaled, vectors, layers) if scaled or vectors else None


def as_layers(value: object, name: str) -> tuple[int, int] | None:
    """The first and the last of a range of layers."""
    if value is None:
        return None
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        message = f"`{name}` must be a pair of the first and the last layer, got {type_name(value)}"
        raise TypeError(message)
    first, last = value
    return as_int(first, f"{name}[0]", 0, INT32_MAX), as_int(last, f"{name}[1]", 0, INT32_MAX)


def as_directions(value: Any, name: str) -> list[tuple[int, NDArray[np.float32]]]:
    """The directions of layers, from a mapping from layers to vectors, or a matrix with a row for each layer from 1 on."""
    import numpy as np  # noqa: PLC0415 (needed here alone)

    if isinstance(value, Mapping):
        rows = [(as_int(layer, f"{name} key", 0, INT32_MAX), _vector(row, f"{name}[{layer}]")) for layer, row in value.items()]
        layers = [layer for layer, _ in rows]
        if len(set(layers)) < len(layers):
            message = f"`{name}` has two directions of one layer; give one for each"
            raise ValueError(message)
        return rows
    matrix = np.asarray(value)
    if matrix.ndim != 2:
        message = f"`{name}` must be a matrix with a row for each layer from 1 on, or a mapping from layers to vectors, got {matrix.ndim} dimensions"
        raise ValueError(message)
    return [(layer, _vector(row, f"{name}[{layer - 1}]")) for layer, row in enumerate(matrix, start=1)]


def _vector(value: Any, name: str) -> NDArray[np.float32]:
    import numpy as np  # noqa: PLC0415 (needed here alone)

    array = np.asarray(value)
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        message = f"`{name}` must be a vector of numbers, got {array.ndim} dimensions of `{array.dtype}`"
        raise TypeError(message)
    with np.errstate(over="ignore"):
        # What does not fit becomes infinite, and is refused as that.
        return np.ascontiguousarray(array, dtype=np.float32)


def _scaled(value: object, name: str, kind: type[Any]) -> list[tuple[Any, float]]:
    """The items with their scales."""
    if value is None:
        return []
    if isinstance(value, kind):
        return [(value, 1.0)]
    if isinstance(value, Mapping):
        return [(_item(item, f"{name} key", kind), as_float(scale, f"{name}[{_shown(item)}]")) for item, scale in value.items()]
    if isinstance(value, (str, bytes, bytearray)) or not is_iterable(value):
        wanted = kind.__name__
        message = f"`{name}` must be one {wanted}, a sequence of them or of pairs ({wanted}, scale), or a mapping to scales, got {type_name(value)}"
        raise TypeError(message)
    items: Iterable[object] = value  # type: ignore[assignment] # it is one
    return [_pair(item, f"{name}[{index}]", kind) for index, item in enumerate(items)]


def _pair(value: object, name: str, kind: type[Any]) -> tuple[Any, float]:
    if not isinstance(value, (tuple, list)):
        return _item(value, name, kind), 1.0
    pair: Sequence[object] = value
    if len(pair) != 2:
        message = f"`{name}` must be a pair ({kind.__name__}, scale), got {len(pair)} items"
        raise TypeError(message)
    return _item(pair[0], f"{name}[0]", kind), as_float(pair[1], f"{name}[1]")


def _item(value: object, name: str, kind: type[Any]) -> Any:
    if isinstance(value, kind):
        return value
    hint = "; load it first" if isinstance(value, str) or hasattr(value, "__fspath__") else ""
    message = f"`{name}` must be {'an' if kind is Adapter else 'a'} {kind.__name__}, got {type_name(value)}{hint}"
    raise TypeError(message)


def _shown(item: object) -> str:
    return repr(getattr(item, "name", item))[:80]
