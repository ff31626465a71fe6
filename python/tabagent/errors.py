"""Everything that tabagent raises, all derived from `TabagentError`.

Wrong arguments are plain `TypeError` and `ValueError`, raised before anything is done.
"""

from __future__ import annotations

# `typing` takes longer to import than all of this; type checkers know the name.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Literal

__all__ = [
    "AdapterError",
    "ChatTemplateError",
    "ClosedError",
    "ContextFullError",
    "DecodeError",
    "EmbeddingCancelledError",
    "EngineCrashedError",
    "ForkedError",
    "GgufCancelledError",
    "GgufError",
    "GrammarError",
    "IncompatibleLibraryError",
    "InvalidModelError",
    "LibraryAlreadyLoadedError",
    "LibraryLoadError",
    "ModelLoadCancelledError",
    "ModelLoadError",
    "ModelNotFoundError",
    "OutOfMemoryError",
    "QueueFullError",
    "SamplingError",
    "StateError",
    "TabagentError",
    "ToolArgumentsError",
    "ToolError",
    "UnsupportedModelError",
    "VariantError",
]


class TabagentError(Exception):
    """The base of all errors of tabagent."""


class LibraryLoadError(TabagentError, OSError):
    """llama.cpp's shared library could not be loaded; the text says why and what to do."""


class IncompatibleLibraryError(LibraryLoadError):
    """The library is a build of llama.cpp whose ABI is not known; says what was expected and what was found."""


class LibraryAlreadyLoadedError(TabagentError, RuntimeError):
    """The process already uses another llama.cpp library or CPU module."""


class VariantError(TabagentError, ValueError):
    """The variant that was asked for does not exist, or does not run on this machine."""


class GgufError(TabagentError, ValueError):
    """A file is no intact GGUF file; says where and which rule it breaks."""

    file: str | None = None
    """The file's name, without its directory."""
    offset: int | None = None
    """Where the record, or a tensor's data, starts, in bytes from the start of the file."""
    key: str | None = None
    """The metadata key that breaks the rule."""
    tensor: str | None = None
    """The tensor that breaks the rule."""
    rule: str | None = None
    """The rule, with what was expected and what was found."""


class AdapterError(GgufError):
    """An adapter or control vector is damaged, is none, or does not fit the model; says which tensor, what was expected and what was found."""


class GgufCancelledError(TabagentError):
    """A progress callback stopped the work on a file; nothing was left behind."""


class ModelLoadError(TabagentError, OSError):
    """A model could not be loaded."""


class ModelNotFoundError(ModelLoadError, FileNotFoundError):
    """There is no such model file."""


class InvalidModelError(ModelLoadError, GgufError):
    """The model file is damaged, or one that llama.cpp cannot run."""


class ModelLoadCancelledError(ModelLoadError):
    """The progress callback stopped the load."""


class UnsupportedModelError(TabagentError, ValueError):
    """The model cannot do what was asked of it, such as generating with an embedding model."""


class ContextFullError(TabagentError, ValueError):
    """More tokens than the context holds."""


class QueueFullError(TabagentError, RuntimeError):
    """As many requests wait for their beginning as `max_queue` allows; nothing was queued."""


class DecodeError(TabagentError, RuntimeError):
    """llama.cpp failed to decode."""


class EmbeddingCancelledError(TabagentError):
    """Embedding or reranking was stopped before it was done: a progress callback returned False, or the interpreter ends."""


class EngineCrashedError(TabagentError, RuntimeError):
    """The process of a model with `isolation="process"` has ended; says how, with its last words. The next call starts it again."""


class SamplingError(TabagentError, RuntimeError):
    """No token could be chosen, as when no logit is above negative infinity, or because a logits processor failed (it is the `__cause__` then)."""


class GrammarError(TabagentError, ValueError):
    """A schema or grammar cannot be compiled (the text says where and why), a token is none that it allows, or it cannot go on."""


class ToolError(TabagentError, ValueError):
    """A tool cannot be described or called; says which tool, and which field or parameter."""

    tool: str | None
    """The tool's name, if it has one."""
    field: str | None
    """The field of the definition, the parameter or the argument, if it is one."""

    def __init__(self, message: str, *, tool: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.tool, self.field = tool, field

    def __reduce__(self) -> tuple[object, ...]:
        """The text as the only argument, and the facts beside it."""
        return (type(self), self.args, {"tool": self.tool, "field": self.field})


class ToolArgumentsError(ToolError):
    """The arguments of a call do not fit the tool; it was not called."""


class ChatTemplateError(TabagentError, ValueError):
    """A chat template is none, failed while it ran, or refused the conversation."""

    line: int | None = None
    """The line of the template, from 1."""
    message: str | None = None
    """What failed, without the line: the template's own words where it refuses the conversation."""
    fault: Literal["syntax", "refused", "undefined", "operation", "security", "limit"] | None = None
    """What kind of failure it was; `refused` is the template's `raise_exception`, `limit` more time, memory or output than a render may use."""


class StateError(TabagentError, ValueError):
    """A saved context state or session is damaged, or belongs to another model, build or setting."""


class OutOfMemoryError(TabagentError, MemoryError):
    """What was asked for does not fit in memory, or within the `memory_limit` of a pool."""


class ClosedError(TabagentError, RuntimeError):
    """The model or context was closed."""


class ForkedError(TabagentError, RuntimeError):
    """The model was loaded before a fork; load it again in the child process, or use the spawn start method."""
