"""Texts to vectors, and documents ranked by a query."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from tabagent import _native, log
from tabagent._arguments import Tokens, as_bool, as_callback, as_choice, as_int, as_text, as_texts, as_tokens, is_iterable, type_name
from tabagent.event_loop import running_loop
from tabagent.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Embedder", "RankedDocument"]

T = TypeVar("T")

POOLINGS = ("mean", "cls", "last")
MOST_DIMENSIONS = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class RankedDocument:
    """How well a document answers a query."""

    index: int
    """Its place in the documents that were given."""
    score: float
    """The first output of the model's classifier: more is better. For some models it is a probability, for others any number."""
    document: str
    """Its text."""


class Embedder(Vocabulary):
    """The part of `Model` that turns texts into vectors and ranks documents.

    It works beside `generate`, in a memory of its own that the first call makes and `close` frees. Calls of several threads take turns, one batch
    each.
    """

    __slots__ = ()

    def embed(
        self,
        texts: str | Iterable[str | Tokens],
        *,
        pooling: Literal["mean", "cls", "last"] | None = None,
        normalize: bool = True,
        truncate: bool = False,
        dimensions: int | None = None,
        add_special: bool = True,
        parse_special: bool = False,
        progress: Callable[[float], object] | None = None,
    ) -> NDArray[np.float32]:
        """A vector for each text: an array of shape `(n, width)` in the order of the texts, whatever `n` is. Blocks; Ctrl-C stops it.

        A single str is one text, so its array has the shape `(1, width)`; an empty list gives `(0, width)`. With normalized vectors the cosine of two
        texts is the scalar product: `model.embed(texts) @ model.embed(query).T`. Texts are computed many at a time, texts of similar length
        together.

        Args:
            texts: the texts: each a str, or token ids (a list, or a numpy integer array), which are taken as they are.
            pooling: how one vector is made of those of a text's tokens: `mean` of all, `cls` (that of the first token), or `last`. None is the way
                that the model's file names, or `mean` if it names none, as files of generating models do.
            normalize: give each vector the length 1.
            truncate: cut texts that are longer than the model's `context_size`; otherwise one is an error. Special tokens at the end stay.
            dimensions: keep so many numbers of each vector, the first, and normalize what is left: for models that were trained for it
                (Matryoshka).
            add_special: add the tokens that the model wants at the beginning and the end of a text, such as `[CLS]` and `[SEP]`.
            parse_special: read markers like `[SEP]` in a text as the tokens that they name; leave it off for text from outside.
            progress: called with the part done, 0 to 1; returning False stops the work.

        Raises:
            TypeError, ValueError: an argument is wrong, or a text has no tokens (an empty one, where the model adds none).
            ContextFullError: a text has more tokens than fit; the error says which.
            UnsupportedModelError: the model gives no vectors, or was loaded with `vocab_only`.
            OutOfMemoryError: there is no memory for texts that long.
            DecodeError: llama.cpp failed, or a vector has numbers that are not finite.
            EmbeddingCancelledError: `progress` returned False.
            ClosedError, ForkedError: the model is closed, or was loaded before a fork.
        """
        given = self._texts(texts)
        options = _options(
            pooling=pooling, normalize=normalize, truncate=truncate, dimensions=dimensions, add_special=add_special, parse_special=parse_special
        )
        report = as_callback(progress, "progress")
        return self._run(lambda stop: self._native.embed(given, options, stop, report), _native.Stop())

    async def aembed(
        self,
        texts: str | Iterable[str | Tokens],
        *,
        pooling: Literal["mean", "cls", "last"] | None = None,
        normalize: bool = True,
        truncate: bool = False,
        dimensions: int | None = None,
        add_special: bool = True,
        parse_special: bool = False,
        progress: Callable[[float], object] | None = None,
    ) -> NDArray[np.float32]:
        """As `embed`, for an event loop (asyncio, trio). Cancelling the task stops the work. `progress` is called in another thread."""
        given = self._texts(texts)
        options = _options(
            pooling=pooling, normalize=normalize, truncate=truncate, dimensions=dimensions, add_special=add_special, parse_special=parse_special
        )
        report = as_callback(progress, "progress")
        return await self._arun(lambda stop: self._native.embed(given, options, stop, report))

    def embed_tokens(
        self,
        text: str | Tokens,
        *,
        normalize: bool = False,
        truncate: bool = False,
        add_special: bool = True,
        parse_special: bool = False,
    ) -> NDArray[np.float32]:
        """A vector for each token of a text: an array of shape `(n_tokens, width)`, special tokens included. Blocks; Ctrl-C stops it.

        The tokens are those of `tokenize(text)`. Unlike those of `embed`, the vectors are not normalized unless you ask for it. Otherwise as `embed`.
        """
        given = self._text(text)
        options = _options(normalize=normalize, truncate=truncate, add_special=add_special, parse_special=parse_special)
        return self._run(lambda stop: self._native.embed_tokens(given, options, stop), _native.Stop())

    async def aembed_tokens(
        self,
        text: str | Tokens,
        *,
        normalize: bool = False,
        truncate: bool = False,
        add_special: bool = True,
        parse_special: bool = False,
    ) -> NDArray[np.float32]:
        """As `embed_tokens`, for an event loop (asyncio, trio). Cancelling the task stops the work."""
        given = self._text(text)
        options = _options(normalize=normalize, truncate=truncate, add_special=add_special, parse_special=parse_special)
        return await self._arun(lambda stop: self._native.embed_tokens(given, options, stop))

    def rerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | None = None,
        truncate: bool = False,
        progress: Callable[[float], object] | None = None,
    ) -> list[RankedDocument]:
        """The documents by how well they answer a query, the best first. Blocks; Ctrl-C stops it.

        For models with a classifier (rerankers, cross-encoders): they read query and document together, which is slower than comparing vectors of
        `embed` and more exact. Query and document are joined as llama.cpp's server does it, by the template `rerank` of the file if there is one.

        Args:
            query: the question.
            documents: the texts to rank.
            top_n: give so many, the best; None for all.
            truncate: cut documents that are too long together with the query; otherwise one is an error.
            progress: called with the part done, 0 to 1; returning False stops the work.

        Raises:
            TypeError, ValueError: an argument is wrong.
            ContextFullError: query and document have more tokens than fit; the error says which document.
            UnsupportedModelError: the model has no classifier. Embed query and documents, and compare the vectors.
            OutOfMemoryError, DecodeError, EmbeddingCancelledError, ClosedError, ForkedError: as for `embed`.
        """
        question, texts, cut, most = as_text(query, "query"), _documents(documents), as_bool(truncate, "truncate"), _top_n(top_n)
        report = as_callback(progress, "progress")
        scores = self._run(lambda stop: self._native.rerank(question, texts, cut, stop, report), _native.Stop())
        return _ranked(texts, scores, most)

    async def arerank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | None = None,
        truncate: bool = False,
        progress: Callable[[float], object] | None = None,
    ) -> list[RankedDocument]:
        """As `rerank`, for an event loop (asyncio, trio). Cancelling the task stops the work. `progress` is called in another thread."""
        question, texts, cut, most = as_text(query, "query"), _documents(documents), as_bool(truncate, "truncate"), _top_n(top_n)
        report = as_callback(progress, "progress")
        scores = await self._arun(lambda stop: self._native.rerank(question, texts, cut, stop, report))
        return _ranked(texts, scores, most)

    # Inside

    def _texts(self, texts: object) -> list[str | list[int]]:
        """Texts and token lists."""
        if isinstance(texts, str):
            return [as_text(texts, "texts")]
        if isinstance(texts, (bytes, bytearray, memoryview, Mapping, AbstractSet)) or not is_iterable(texts):
            message = f"`texts` must be a str, or a sequence of str or of token sequences, got {type_name(texts)}"
            raise TypeError(message)
        items: Iterable[object] = texts  # type: ignore[assignment] # it is one
        return [self._item(item, index) for index, item in enumerate(items)]

    def _item(self, item: object, index: int) -> str | list[int]:
        if isinstance(item, str):
            return item if item.isascii() else as_text(item, f"texts[{index}]")
        name = f"texts[{index}]"
        if hasattr(item, "__index__") and not hasattr(item, "__len__"):
            message = f"`{name}` must be a str or a sequence of token ids, got {type_name(item)}; one text given as tokens is a list in a list"
            raise TypeError(message)
        return self._known(as_tokens(item, name), name)

    def _text(self, text: object) -> str | list[int]:
        return as_text(text, "text") if isinstance(text, str) else self._known(as_tokens(text, "text"), "text")

    def _run(self, work: Callable[[_native.Stop], T], stop: _native.Stop) -> T:
        try:
            return work(stop)
        finally:
            log.forward()

    def _arun(self, work: Callable[[_native.Stop], T]) -> Awaitable[T]:
        return _await(lambda stop: self._run(work, stop))


async def _await(work: Callable[[_native.Stop], T]) -> T:
    """Wait for work in a thread; when the task is cancelled, the work is stopped."""
    loop, stop = running_loop(), _native.Stop()
    try:
        return await loop.in_thread(lambda: work(stop))
    except BaseException:
        stop.set()
        raise


def _options(
    *, normalize: object, truncate: object, add_special: object, parse_special: object, pooling: object = None, dimensions: object = None
) -> dict[str, object]:
    """The options of embedding, checked."""
    return {
        "pooling": None if pooling is None else as_choice(pooling, "pooling", POOLINGS),
        "normalize": as_bool(normalize, "normalize"),
        "truncate": as_bool(truncate, "truncate"),
        "dimensions": None if dimensions is None else as_int(dimensions, "dimensions", 1, MOST_DIMENSIONS),
        "add_special": as_bool(add_special, "add_special"),
        "parse_special": as_bool(parse_special, "parse_special"),
    }


def _documents(documents: object) -> list[str]:
    if isinstance(documents, AbstractSet):
        message = f"`documents` must be a sequence of str, whose places the results name, got {type_name(documents)}"
        raise TypeError(message)
    return as_texts(documents, "documents")


def _top_n(top_n: object) -> int | None:
    return None if top_n is None else as_int(top_n, "top_n", 1)


def _ranked(documents: Sequence[str], scores: Sequence[float], most: int | None) -> list[RankedDocument]:
    """The documents from the best to the worst; those of one score in the order in which they were given."""
    order = sorted(range(len(documents)), key=lambda index: -scores[index])
    return [RankedDocument(index=index, score=scores[index], document=documents[index]) for index in order[:most]]
