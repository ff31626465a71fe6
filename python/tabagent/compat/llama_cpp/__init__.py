"""llama-cpp-python's interface over this package.

    from tabagent.compat.llama_cpp import Llama

    llm = Llama("model.gguf", n_ctx=2048)
    llm.create_chat_completion(messages=[{"role": "user", "content": "Hello"}])

A program that was written for llama-cpp-python (0.3.36) changes its import. For libraries that import it themselves, such as LangChain's
`ChatLlamaCpp`, `install()` makes `import llama_cpp` give this module.
"""

from __future__ import annotations

import sys

from tabagent.compat.llama_cpp.cache import BaseLlamaCache, LlamaCache, LlamaDiskCache, LlamaRAMCache, LlamaState
from tabagent.compat.llama_cpp.constants import *  # noqa: F403 (all of them are meant to be here)
from tabagent.compat.llama_cpp.grammar import LlamaGrammar
from tabagent.compat.llama_cpp.llama import Llama
from tabagent.compat.llama_cpp.processors import (
    LogitsProcessor,
    LogitsProcessorList,
    MinTokensLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)
from tabagent.compat.llama_cpp.tokenizer import LlamaTokenizer

__all__ = [
    "BaseLlamaCache",
    "Llama",
    "LlamaCache",
    "LlamaDiskCache",
    "LlamaGrammar",
    "LlamaRAMCache",
    "LlamaState",
    "LlamaTokenizer",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MinTokensLogitsProcessor",
    "StoppingCriteria",
    "StoppingCriteriaList",
    "install",
]


def install() -> None:
    """Make `import llama_cpp` give this module, in this process.

    Raises:
        RuntimeError: llama-cpp-python itself was imported before.
    """
    this = sys.modules[__name__]
    if sys.modules.get("llama_cpp", this) is not this:
        message = "`llama_cpp` was imported before and is another module; call `install` first"
        raise RuntimeError(message)
    sys.modules["llama_cpp"] = this
    for name in ("llama", "llama_grammar", "llama_cache", "llama_speculative", "llama_tokenizer"):
        own = {"llama_grammar": "grammar", "llama_cache": "cache", "llama_speculative": "speculative", "llama_tokenizer": "tokenizer"}.get(name, name)
        __import__(f"{__name__}.{own}")
        sys.modules[f"llama_cpp.{name}"] = sys.modules[f"{__name__}.{own}"]
