"""Prompts of conversations beside jinja2, which transformers renders them with. `python benches/chat.py` prints one table.

Rendering and tokenizing a conversation of 50 messages takes at most 5 ms, and rendering no longer than jinja2's. Finding out what a template can
write takes at most 20 ms, once a model.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.jinja_reference import render
from tabagent import ChatTemplate, Model

TEMPLATES = (
    "Qwen-Qwen3-0.6B",
    "Qwen-Qwen2.5-7B-Instruct",
    "meta-llama-Llama-3.1-8B-Instruct",
    "deepseek-ai-DeepSeek-V3.1",
    "google-gemma-4-31B-it",
    "openai-gpt-oss-120b",
    "mistralai-Mistral-Nemo-Instruct-2407",
)
TEXT = "The quick brown fox jumps over the lazy dog, and nobody asks it why. "
MESSAGES: list[dict[str, Any]] = [{"role": "user" if at % 2 == 0 else "assistant", "content": TEXT * (1 + at % 5)} for at in range(50)]
ROUNDS = 30


def milliseconds(work: Callable[[], object]) -> float:
    """The median of some rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def main() -> None:
    """Print the table."""
    tree = Path(os.environ["TABAGENT_LLAMA_CPP_TREE"])
    tokens = {"bos_token": "<s>", "eos_token": "</s>"}
    print("50 messages, ms                       | render | jinja2 | + tokens | parse | analysis")
    print("---|---|---|---|---|---")
    with Model.load(tree / "models" / "ggml-vocab-qwen2.gguf", vocab_only=True) as model:
        for name in TEMPLATES:
            text = (tree / "models" / "templates" / f"{name}.jinja").read_bytes().decode()
            template = ChatTemplate(text, **tokens)
            ours = milliseconds(lambda template=template: template.render(MESSAGES, adapt=False))
            theirs = milliseconds(lambda text=text: render(text, MESSAGES, **tokens))
            whole = milliseconds(lambda template=template: model.apply_chat_template(MESSAGES, chat_template=template, tokenize=True))
            parse = milliseconds(lambda text=text: ChatTemplate(text))
            analysis = milliseconds(lambda text=text: ChatTemplate(text).capabilities) - parse
            print(f"{name:38}| {ours:6.2f} | {theirs:6.2f} | {whole:8.2f} | {parse:5.2f} | {analysis:5.2f}")


if __name__ == "__main__":
    main()
