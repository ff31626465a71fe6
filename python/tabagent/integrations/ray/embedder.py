"""Vectors for the rows of a Ray dataset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tabagent._arguments import as_text
from tabagent.integrations.ray._columns import Batch, Conversation, column_of, input_of, with_columns
from tabagent.integrations.ray._worker import ModelSource, needed, open_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TabagentEmbedder"]


class TabagentEmbedder:
    """Makes a vector of each text, for `Dataset.map_batches`: each actor of Ray Data has a model of its own.

        import ray

        texts = ray.data.from_items([{"text": "One"}, {"text": "Two"}])
        done = texts.map_batches(TabagentEmbedder, fn_constructor_kwargs={"model": "minilm.gguf"}, compute=ray.data.ActorPoolStrategy(size=1))
        print(done.take_all()[0]["embedding"].shape)

    Rows come out with all their columns and `embedding`, a tensor of shape `(width,)` of float32. What `TabagentPredictor` says of threads and of
    actors that die holds here, too.
    """

    def __init__(
        self,
        model: ModelSource,
        *,
        column: str = "text",
        output: str = "embedding",
        load: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Load the model. Ray Data calls this in each actor.

        Args:
            model: as for `TabagentPredictor`.
            column: the column with texts, or with lists of tokens.
            output: the name of the added column.
            load: arguments of `Model.load`.
            **options: those of `Model.embed`, such as `truncate=True`.

        Raises:
            ImportError: Ray is not installed.
            TypeError, ValueError: an argument is wrong.
            Others: as `Model.load`.
        """
        needed("ray")
        self._column = as_text(column, "column")
        self._output = as_text(output, "output")
        self._options = options
        self._model = open_model(model, load)

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> Batch:
        """The batch with the column of vectors.

        Raises:
            TypeError, ValueError: a column or a cell is wrong, or an option.
            TabagentError: a text cannot be embedded.
        """
        texts: list[Any] = [input_of(cell) for cell in column_of(batch, self._column)]
        if any(isinstance(text, Conversation) for text in texts):
            message = f"`{self._column}` has conversations, which have no vectors; give it texts"
            raise TypeError(message)
        return with_columns(batch, {self._output: self._model.embed(texts, **self._options)}, "")
