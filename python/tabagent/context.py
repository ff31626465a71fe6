"""A context of one's own: decode tokens and look at the logits."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from tabagent import _native, log
from tabagent._arguments import INT32_MAX, Tokens, as_bool, as_int, as_path, as_tokens, is_iterable, type_name
from tabagent.adapters import as_adapters, as_control_vectors, as_layers
from tabagent.errors import StateError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from typing_extensions import Self

    from tabagent.adapters import Adapters, ControlVectors

__all__ = ["Context"]


class Context:
    """The low level, for experts: tokens in, logits out, with the memory of several sequences under control.

        with model.create_context(context_size=512) as context:
            context.decode(model.tokenize("Once upon a time"))
            token = int(context.logits().argmax())

    Made by `Model.create_context`; independent of the model's own decode thread. Calls from several threads are served one after another.
    """

    __slots__ = ("_model", "_native")

    def __init__(self, native: _native.Context, model: object = None) -> None:
        """Made by `Model.create_context`. The model is kept alive as long as the context."""
        self._native = native
        self._model = model

    def decode(
        self,
        tokens: Tokens,
        *,
        sequence: int | None = None,
        sequences: Sequence[int] | None = None,
        positions: Sequence[int] | None = None,
        logits: Literal["last", "all", "none"] | Sequence[bool] = "last",
    ) -> None:
        """Run the tokens through the model and keep them in memory. Blocks; Ctrl-C and `cancel` stop it.

        After Ctrl-C the sequences hold what `next_position` says; the next call waits until the computation has stopped.
        They belong to one `sequence` (0 unless told otherwise), or to each of `sequences`. `positions` default to what follows in the first of
        those. `logits` says for which tokens the model's output is wanted. Earlier logits are gone afterwards.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a token, sequence or position is out of range, or there are more tokens than `batch_size`; or, in the first decode, no tensor
                matches a pattern of `captures` (the tokens are in memory then).
            ContextFullError: the memory has no room for the tokens.
            BufferError: a view on earlier logits is still alive.
            DecodeError: llama.cpp failed, or the decode was cancelled.
            OutOfMemoryError: the captured tensors take more than `capture_limit`.
        """
        batch = as_tokens(tokens, "tokens")
        if not batch:
            message = "`tokens` is empty; give at least one"
            raise ValueError(message)
        if sequences is None:
            owners = [as_int(0 if sequence is None else sequence, "sequence", 0, INT32_MAX)]
        elif sequence is not None:
            message = "give `sequence` or `sequences`, not both"
            raise TypeError(message)
        else:
            owners = _integers(sequences, "sequences")
            if not owners:
                message = "`sequences` is empty; name at least one that the tokens belong to"
                raise ValueError(message)
        places = None if positions is None else _integers(positions, "positions")
        try:
            self._native.decode(batch, places, owners, _outputs(logits, len(batch)))
        except Exception:
            log.forward()
            raise

    def logits(self, index: int = -1, *, copy: bool = True) -> NDArray[np.float32]:
        """The logits after a token of the last `decode`: a float32 array with one value for each token of the vocabulary.

        `index` counts the tokens of the last `decode`, of which logits must have been asked for; negative from the end. Without `copy` it is a
        read-only view without a copy, which pins the context: what would overwrite it raises `BufferError` until the view is gone.

        Raises:
            ValueError: no logits were asked for at that place.
        """
        return self._native.logits(as_int(index, "index", -INT32_MAX, INT32_MAX), as_bool(copy, "copy"))

    @property
    def captures(self) -> dict[str, NDArray[np.float32]]:
        """The tensors that the last `decode` captured, by name: those that match a pattern of the context's `captures`.

        What has one row a token, such as `l_out-3`, the output of layer 3, has shape (tokens, width), with the rows of all micro-batches in order.
        The last layer computes only tokens whose logits are wanted. Other tensors have the dimensions that they have in llama.cpp, in numpy's
        order, without ones in front of the last two. Of several tensors of one name it is the one computed last; all types become float32.
        Empty before the first decode and after one that failed. Copied at each access.
        """
        return self._native.captures()

    def set_adapters(self, adapters: Adapters) -> None:
        """Have all decodes from now on change the model by these adapters, in place of those before; by none with None or an empty sequence.

            context.set_adapters({style: 0.8, facts: 0.5})

        One adapter, a sequence of adapters or of pairs (adapter, scale), or a mapping to scales. Costs nothing where they are set already;
        otherwise the next `decode` prepares its graph again. What the context holds was computed with the adapters of its time: `remove`
        a sequence to compute it anew.

        Raises:
            TypeError: it is none of these.
            ValueError: an adapter is there twice, or a scale is not finite.
            AdapterError: an adapter is of another model.
            ClosedError: an adapter, or the context, is closed.
        """
        self._native.set_adapters(as_adapters(adapters, "adapters"))

    @property
    def adapters(self) -> tuple[tuple[str, float], ...]:
        """The names of the adapters that are set, with their scales, without those of scale 0."""
        return tuple(self._native.adapters())

    def set_control_vector(self, vectors: ControlVectors, *, layers: tuple[int, int] | None = None) -> None:
        """Have all decodes from now on add control vectors to what layers give, in place of those before; none with None.

            context.set_control_vector([(happy, 1.5), (brief, -0.5)], layers=(10, 20))

        One control vector, a sequence of them or of pairs (vector, scale), or a mapping to scales; several add up. `layers` are the first and the
        last layer that may be moved; None for all from 1 on. What the context holds was computed with the vectors of its time.

        Raises:
            TypeError: it is none of these.
            ValueError: a scale is not finite, or `layers` are none of the model.
            AdapterError: a vector is for another model.
        """
        self._native.set_control_vectors(as_control_vectors(vectors, "vectors"), as_layers(layers, "layers"))

    def next_position(self, sequence: int = 0) -> int:
        """The position that the sequence's next token would have; 0 for an empty one."""
        return self._native.next_position(as_int(sequence, "sequence", 0, INT32_MAX))

    def remove(self, sequence: int = 0, start: int = 0, end: int | None = None) -> None:
        """Forget the sequence's tokens from position `start` to before `end`; to its end if that is None.

        Raises:
            DecodeError: the model cannot forget a part (recurrent ones, and behind a sliding window).
        """
        owner, first = as_int(sequence, "sequence", 0, INT32_MAX), as_int(start, "start", 0, INT32_MAX)
        last = None if end is None else as_int(end, "end", 0, INT32_MAX)
        if last is not None and last <= first:
            message = f"`end` must be above `start`, got `{last}` and `{first}`"
            raise ValueError(message)
        self._native.remove(owner, first, last)

    def copy_sequence(self, source: int, target: int) -> None:
        """Make `target`, which must be empty, hold the same tokens as `source`."""
        self._native.copy(as_int(source, "source", 0, INT32_MAX), as_int(target, "target", 0, INT32_MAX))

    def clear(self) -> None:
        """Forget all sequences."""
        self._native.clear()

    def save_state(self, path: str | os.PathLike[str] | None = None) -> bytes | None:
        """All sequences, as bytes, or into a file (then None is returned). Only the same model with the same build and settings can load it.

        Raises:
            OSError: the file cannot be written.
        """
        if path is None:
            return self._native.save_state()
        self._native.save_state_file(as_path(path, "path"))
        return None

    def load_state(self, state: bytes | bytearray | memoryview | str | os.PathLike[str]) -> None:
        """Put back what `save_state` gave: bytes, or the path of a file. What the context holds now is lost, unless this fails.

        Raises:
            StateError: it is damaged, or of another model, build or settings.
            OSError: the file cannot be read.
        """
        if isinstance(state, (bytes, bytearray, memoryview)):
            self._native.load_state(bytes(state))
        elif isinstance(state, (str, os.PathLike)):
            path = as_path(state, "state")
            try:
                self._native.load_state_file(path)
            except StateError as error:
                message = f"`{path}`: {error}"
                raise StateError(message) from None
        else:
            message = f"`state` must be bytes or a path, got {type_name(state)}"
            raise TypeError(message)

    def clone(self) -> Context:
        """A new context with the same settings, adapters, control vector and content."""
        return Context(self._native.clone(), self._model)

    def cancel(self) -> None:
        """Stop a `decode` that runs in another thread; it raises `DecodeError` there."""
        self._native.cancel()

    def close(self) -> None:
        """Free the memory. Every further call raises `ClosedError`, but closing again is fine."""
        self._native.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._native.closed

    @property
    def context_size(self) -> int:
        """How many tokens it holds."""
        return self._native.context_size

    @property
    def batch_size(self) -> int:
        """How many tokens one `decode` takes at the most."""
        return self._native.batch_size

    @property
    def max_sequences(self) -> int:
        """How many sequences it holds; their ids are 0 to one less."""
        return self._native.max_sequences

    @property
    def sequence_size(self) -> int:
        """How many tokens one sequence holds: as many as the context, unless it was made with `kv_unified=False`."""
        return self._native.sequence_size

    @property
    def threads(self) -> int:
        """Threads of computation."""
        return self._native.threads

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.closed:
            return "<Context closed>"
        return f"<Context of {self.context_size} tokens, {self.max_sequences} sequences>"


def _outputs(logits: object, count: int) -> list[bool] | None:
    """For which tokens logits are wanted, in the form that the core takes; None means the last token alone."""
    if isinstance(logits, str):
        if logits == "last":
            return None
        if logits in {"all", "none"}:
            return [logits == "all"] * count
        message = f'`logits` must be "last", "all", "none" or one bool for each token, got "{logits}"'
        raise ValueError(message)
    if isinstance(logits, (bytes, bool)) or not is_iterable(logits):
        message = f'`logits` must be "last", "all", "none" or a sequence of bool, got {type_name(logits)}'
        raise TypeError(message)
    items: Iterable[Any] = logits  # type: ignore[assignment] # it is one
    # numpy's bools become Python's.
    wanted = [item.item() if type(item).__name__ in {"bool", "bool_"} and hasattr(item, "item") else item for item in items]
    flags = [as_bool(item, f"logits[{index}]") for index, item in enumerate(wanted)]
    if len(flags) != count:
        message = f"`logits` has {len(flags)} values for {count} tokens; give one for each"
        raise ValueError(message)
    return flags


def _integers(values: object, name: str) -> list[int]:
    if isinstance(values, (str, bytes, bytearray, memoryview, AbstractSet, Mapping)) or not is_iterable(values):
        message = f"`{name}` must be a sequence of int, got {type_name(values)}"
        raise TypeError(message)
    items: Iterable[object] = values  # type: ignore[assignment] # it is one
    return [as_int(value, f"{name}[{index}]", 0, INT32_MAX) for index, value in enumerate(items)]
