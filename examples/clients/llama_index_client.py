"""LlamaIndex: `pip install llama-index-llms-openai-like`, `tabagent serve model.gguf`, `python examples/clients/llama_index_client.py`."""

from __future__ import annotations

import sys

from llama_index.core.llms import ChatMessage
from llama_index.llms.openai_like import OpenAILike


def main(url: str = "http://127.0.0.1:8080", question: str = "Say hello.") -> None:
    model = OpenAILike(model="any", api_base=f"{url}/v1", api_key="none", is_chat_model=True, context_window=4096, max_tokens=64)
    for part in model.stream_chat([ChatMessage(role="user", content=question)]):
        print(part.delta or "", end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
