"""Texts for the rows of a Ray dataset."""

from __future__ import annotations

import functools
import json
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tabagent._arguments import as_choice, as_text
from tabagent.chat_message import ChatMessage
from tabagent.integrations.ray._columns import Batch, Conversation, column_of, input_of, with_columns
from tabagent.integrations.ray._worker import ModelSource, needed, open_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tabagent.chat_stream import ChatStream
    from tabagent.completion import Completion

__all__ = ["TabagentPredictor"]


class TabagentPredictor:
    """Continues prompts, or answers conversations, for `Dataset.map_batches`: each actor of Ray Data has a model of its own.

        import ray

        ray.data.DataContext.get_current().execution_options.preserve_order = True
        prompts = ray.data.from_items([{"prompt": f"{number} and"} for number in range(8)])
        done = prompts.map_batches(
            TabagentPredictor,
            fn_constructor_kwargs={"model": "demo", "max_tokens": 4},
            compute=ray.data.ActorPoolStrategy(size=1),
            batch_size=64,
        )
        print(done.take_all()[0]["text"])

    A cell of the column is a text, a list of tokens, or a conversation (a list of messages as OpenAI has them). All rows of a batch are decoded
    together, as many at a time as `max_sequences` of `load` says. Rows come out with all their columns and these: `text`, `finish_reason`,
    `prompt_tokens` and `completion_tokens` (int64); of conversations `reasoning` (None without any) and `tool_calls` (JSON text of a list as OpenAI
    has it) besides; with `errors="column"` `error` (None for a row that went well).

    A model computes with as many threads as `map_batches` gives the actor CPUs (`num_cpus`, 1 if it does not say), unless `load` has `threads`.
    Ray starts an actor that died again, and gives it those batches again that were not done.
    """

    def __init__(
        self,
        model: ModelSource,
        *,
        column: str = "prompt",
        prefix: str = "",
        errors: Literal["raise", "column"] = "raise",
        load: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Load the model. Ray Data calls this in each actor.

        Args:
            model: a path that is the same on all machines, `demo`, `hf:OWNER/REPO/FILE` of the hub, or a function that loads and returns the model.
            column: the column with prompts or conversations.
            prefix: what the names of the added columns begin with.
            errors: what becomes of a row that cannot be answered, because its prompt is too long, for example: `raise` ends the whole work with its
                error, `column` puts the error's text into `error`, an empty text into `text` and `error` into `finish_reason`.
            load: arguments of `Model.load`, such as `{"context_size": 8192, "max_sequences": 16}`.
            **options: those of `Model.generate`, or of `Model.chat` for conversations.

        Raises:
            ImportError: Ray is not installed.
            TypeError, ValueError: an argument is wrong.
            Others: as `Model.load`.
        """
        needed("ray")
        self._column = as_text(column, "column")
        self._prefix = as_text(prefix, "prefix")
        self._errors = as_choice(errors, "errors", ("raise", "column"))
        self._options = options
        self._model = open_model(model, load)

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> Batch:
        """The batch, with what the model wrote in columns of their own.

        Raises:
            TypeError, ValueError: a column or a cell is wrong, or an option.
            TabagentError: a row cannot be answered and `errors` is `raise`.
        """
        inputs = [self._kept(input_of, cell) for cell in column_of(batch, self._column)]
        good = [each for each in inputs if not isinstance(each, Exception)]
        has_conversations = any(isinstance(each, Conversation) for each in good)
        if has_conversations and not all(isinstance(each, Conversation) for each in good):
            message = f"`{self._column}` has prompts and conversations in one batch; give it one kind"
            raise TypeError(message)
        written = iter(self._answers(good) if has_conversations else self._texts(good))
        outcomes = [each if isinstance(each, Exception) else next(written) for each in inputs]
        made = _columns(outcomes, with_errors=self._errors == "column")
        if has_conversations:
            made |= {
                "reasoning": _objects(each.reasoning if isinstance(each, ChatMessage) else None for each in outcomes),
                "tool_calls": _objects(_calls(each) for each in outcomes),
            }
        return with_columns(batch, made, self._prefix)

    def _texts(self, prompts: Sequence[str | list[int]]) -> list[Completion]:
        """The completions of prompts in order, with errors where they are kept."""
        return self._model.generate_batch(prompts, return_errors=self._errors == "column", **self._options).results()

    def _answers(self, conversations: Sequence[Conversation]) -> list[ChatMessage | Exception]:
        """The answers in order. Enough are begun ahead that the model always has all that it can decode together."""
        ahead = 4 * max(self._model.info.max_sequences, 1)
        ask = functools.partial(self._model.chat, **{"collect": True, **self._options})
        running: deque[ChatStream | Exception] = deque()
        done: list[ChatMessage | Exception] = []
        for messages in conversations:
            if len(running) == ahead:
                done.append(self._ended(running.popleft()))
            running.append(self._kept(ask, messages))
        return done + [self._ended(stream) for stream in running]

    def _ended(self, stream: ChatStream | Exception) -> ChatMessage | Exception:
        """The answer of a stream once it has ended."""
        if isinstance(stream, Exception):
            return stream
        answer: ChatMessage | Exception = self._kept(stream.result)
        return answer

    def _kept(self, call: Any, *arguments: Any) -> Any:
        """What a call gives, or its error where errors are kept."""
        if self._errors == "raise":
            return call(*arguments)
        try:
            return call(*arguments)
        except Exception as error:  # noqa: BLE001 (given to whoever reads the column)
            return error


def _columns(outcomes: Sequence[Completion | ChatMessage | Exception], *, with_errors: bool) -> dict[str, NDArray[Any]]:
    """The columns that prompts and conversations have in common."""
    usages = [None if isinstance(each, Exception) else each.usage for each in outcomes]
    made = {
        "text": _objects(_text(each) for each in outcomes),
        "finish_reason": _objects("error" if isinstance(each, Exception) else each.finish_reason for each in outcomes),
        "prompt_tokens": np.array([usage.prompt_tokens if usage else 0 for usage in usages], np.int64),
        "completion_tokens": np.array([usage.completion_tokens if usage else 0 for usage in usages], np.int64),
    }
    if with_errors:
        made["error"] = _objects(f"{type(each).__name__}: {each}" if isinstance(each, Exception) else None for each in outcomes)
    return made


def _text(outcome: Completion | ChatMessage | Exception) -> str:
    if isinstance(outcome, Exception):
        return ""
    return outcome.content if isinstance(outcome, ChatMessage) else outcome.text


def _calls(outcome: object) -> str:
    return json.dumps([call.as_dict() for call in outcome.tool_calls] if isinstance(outcome, ChatMessage) else [])


def _objects(values: Any) -> NDArray[Any]:
    """A column of texts. numpy would cut trailing zero characters of an array of `str`."""
    found = list(values)
    column = np.empty(len(found), object)
    column[:] = found
    return column
