"""LangChain by Ollama's routes: `pip install langchain-ollama`, `tabagent serve model.gguf`, `python examples/clients/langchain_ollama_client.py`."""

from __future__ import annotations

import sys

from langchain_core.messages import HumanMessage
from langchain_ollama import ChatOllama


def main(url: str = "http://127.0.0.1:8080", question: str = "Say hello.") -> None:
    model = ChatOllama(model="any", base_url=url, num_predict=64)
    for part in model.stream([HumanMessage(question)]):
        print(part.content, end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
