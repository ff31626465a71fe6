"""Local language models in process: load a GGUF file, stream text from it.

    from tabagent import Model

    with Model.load("demo") as model:
        for text in model.generate("Once upon a time", max_tokens=64):
            print(text, end="", flush=True)

Importing this package loads nothing: each public name brings its module with it when it is first used.
"""

# `typing` takes longer to import than all of this; type checkers know the name.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from tabagent import errors, gguf
    from tabagent._native import TokenEvent, TokenLogprob, TopLogprob, __version__
    from tabagent.adapters import Adapter, ControlVector
    from tabagent.batch import CompletionBatch
    from tabagent.chat_message import ChatMessage, ToolCall
    from tabagent.chat_stream import ChatDelta, ChatEvents, ChatStream, ContentDelta, Finish, ReasoningDelta, ToolCallDelta, ToolCallsDropped
    from tabagent.chat_template import ChatCapabilities, ChatTemplate, PromptSegment
    from tabagent.completion import Completion, FinishReason, StopMatch, Timings, Usage
    from tabagent.context import Context
    from tabagent.context_pool import ContextPool
    from tabagent.conversation import Conversation, ToolResult, Turn, TurnDelta
    from tabagent.embedding import RankedDocument
    from tabagent.errors import (
        AdapterError,
        ChatTemplateError,
        ClosedError,
        ContextFullError,
        DecodeError,
        EmbeddingCancelledError,
        EngineCrashedError,
        ForkedError,
        GgufCancelledError,
        GgufError,
        GrammarError,
        IncompatibleLibraryError,
        InvalidModelError,
        LibraryAlreadyLoadedError,
        LibraryLoadError,
        ModelLoadCancelledError,
        ModelLoadError,
        ModelNotFoundError,
        OutOfMemoryError,
        QueueFullError,
        SamplingError,
        StateError,
        TabagentError,
        ToolArgumentsError,
        ToolError,
        UnsupportedModelError,
        VariantError,
    )
    from tabagent.grammar import Constraint, Grammar, Limitation, Trigger
    from tabagent.hooks import LogitsProcessor
    from tabagent.info import DeviceInfo, ModelInfo, ModelStats, VariantInfo
    from tabagent.machine import Hardware, hardware
    from tabagent.memory import DeviceNeed, MemoryNeed, MemoryPrediction, predict_memory
    from tabagent.metrics import FinishCounts, Latency, Metrics
    from tabagent.model import Model
    from tabagent.overflow import ContextShift
    from tabagent.pool import Lease, ModelPool
    from tabagent.pool_entry import PoolModelStats, PoolStats
    from tabagent.reasoning import ReasoningBudget
    from tabagent.sampling import SamplerConfig, StageReport, Step
    from tabagent.scoring import ChoiceScore, Perplexity
    from tabagent.server import Server, serve
    from tabagent.session import Session
    from tabagent.speculation import SpeculativeConfig
    from tabagent.stream import TokenEvents, TokenStream
    from tabagent.tokenizer import Tokenizer
    from tabagent.tools import Tool
    from tabagent.variants import Build, Gpu, Variant, auto_select_variant, get_cpu_variant, list_available_variants

__all__ = [
    "Adapter",
    "AdapterError",
    "Build",
    "ChatCapabilities",
    "ChatDelta",
    "ChatEvents",
    "ChatMessage",
    "ChatStream",
    "ChatTemplate",
    "ChatTemplateError",
    "ChoiceScore",
    "ClosedError",
    "Completion",
    "CompletionBatch",
    "Constraint",
    "ContentDelta",
    "Context",
    "ContextFullError",
    "ContextPool",
    "ContextShift",
    "ControlVector",
    "Conversation",
    "DecodeError",
    "DeviceInfo",
    "DeviceNeed",
    "EmbeddingCancelledError",
    "EngineCrashedError",
    "Finish",
    "FinishCounts",
    "FinishReason",
    "ForkedError",
    "GgufCancelledError",
    "GgufError",
    "Gpu",
    "Grammar",
    "GrammarError",
    "Hardware",
    "IncompatibleLibraryError",
    "InvalidModelError",
    "Latency",
    "Lease",
    "LibraryAlreadyLoadedError",
    "LibraryLoadError",
    "Limitation",
    "LogitsProcessor",
    "MemoryNeed",
    "MemoryPrediction",
    "Metrics",
    "Model",
    "ModelInfo",
    "ModelLoadCancelledError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelPool",
    "ModelStats",
    "OutOfMemoryError",
    "Perplexity",
    "PoolModelStats",
    "PoolStats",
    "PromptSegment",
    "QueueFullError",
    "RankedDocument",
    "ReasoningBudget",
    "ReasoningDelta",
    "SamplerConfig",
    "SamplingError",
    "Server",
    "Session",
    "SpeculativeConfig",
    "StageReport",
    "StateError",
    "Step",
    "StopMatch",
    "TabagentError",
    "Timings",
    "TokenEvent",
    "TokenEvents",
    "TokenLogprob",
    "TokenStream",
    "Tokenizer",
    "Tool",
    "ToolArgumentsError",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallsDropped",
    "ToolError",
    "ToolResult",
    "TopLogprob",
    "Trigger",
    "Turn",
    "TurnDelta",
    "UnsupportedModelError",
    "Usage",
    "Variant",
    "VariantError",
    "VariantInfo",
    "__version__",
    "auto_select_variant",
    "errors",
    "get_cpu_variant",
    "gguf",
    "hardware",
    "list_available_variants",
    "predict_memory",
    "serve",
]

_HOMES = {
    "ChatEvents": "chat_stream",
    "ChatStream": "chat_stream",
    "ContentDelta": "chat_stream",
    "Finish": "chat_stream",
    "ReasoningDelta": "chat_stream",
    "ToolCallDelta": "chat_stream",
    "ToolCallsDropped": "chat_stream",
    "ChatDelta": "chat_stream",
    "Conversation": "conversation",
    "ToolResult": "conversation",
    "Turn": "conversation",
    "TurnDelta": "conversation",
    "Adapter": "adapters",
    "ChatCapabilities": "chat_template",
    "ChatMessage": "chat_message",
    "ChatTemplate": "chat_template",
    "ChoiceScore": "scoring",
    "Completion": "completion",
    "CompletionBatch": "batch",
    "Constraint": "grammar",
    "Context": "context",
    "ContextPool": "context_pool",
    "ContextShift": "overflow",
    "ControlVector": "adapters",
    "DeviceInfo": "info",
    "DeviceNeed": "memory",
    "FinishCounts": "metrics",
    "FinishReason": "completion",
    "Grammar": "grammar",
    "Hardware": "machine",
    "Latency": "metrics",
    "Lease": "pool",
    "Limitation": "grammar",
    "LogitsProcessor": "hooks",
    "MemoryNeed": "memory",
    "MemoryPrediction": "memory",
    "Metrics": "metrics",
    "Model": "model",
    "ModelInfo": "info",
    "ModelPool": "pool",
    "ModelStats": "info",
    "Perplexity": "scoring",
    "PoolModelStats": "pool_entry",
    "PoolStats": "pool_entry",
    "PromptSegment": "chat_template",
    "RankedDocument": "embedding",
    "SamplerConfig": "sampling",
    "Server": "server",
    "ReasoningBudget": "reasoning",
    "Session": "session",
    "SpeculativeConfig": "speculation",
    "StageReport": "sampling",
    "Step": "sampling",
    "StopMatch": "completion",
    "Timings": "completion",
    "TokenEvent": "_native",
    "TokenEvents": "stream",
    "TokenLogprob": "_native",
    "TokenStream": "stream",
    "Tokenizer": "tokenizer",
    "Tool": "tools",
    "ToolCall": "chat_message",
    "TopLogprob": "_native",
    "Trigger": "grammar",
    "Usage": "completion",
    "Build": "variants",
    "Gpu": "variants",
    "Variant": "variants",
    "VariantInfo": "info",
    "__version__": "_native",
    "auto_select_variant": "variants",
    "get_cpu_variant": "variants",
    "hardware": "machine",
    "list_available_variants": "variants",
    "predict_memory": "memory",
    "serve": "server",
}
"""The module of each public name; those not listed are in `errors`."""


def __getattr__(name: str) -> object:
    """Bring a public name in when it is first used."""
    if name not in __all__:
        message = f"module `tabagent` has no attribute `{name}`"
        raise AttributeError(message)
    from importlib import import_module  # noqa: PLC0415 (nothing is imported before it is needed)

    if name in {"errors", "gguf"}:
        return import_module(f"tabagent.{name}")
    module = import_module(f"tabagent.{_HOMES.get(name, 'errors')}")
    value: object = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, whether or not they were used already."""
    return sorted({*globals(), *__all__})
