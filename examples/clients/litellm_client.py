"""LiteLLM: `pip install litellm`, `tabagent serve model.gguf`, `python examples/clients/litellm_client.py`."""

from __future__ import annotations

import sys

import litellm


def main(url: str = "http://127.0.0.1:8080", question: str = "Say hello.") -> None:
    messages = [{"role": "user", "content": question}]
    # `openai/` tells LiteLLM how the server speaks; what follows is the model's name there.
    for part in litellm.completion("openai/any", messages, api_base=f"{url}/v1", api_key="none", max_tokens=64, stream=True):
        print(part.choices[0].delta.content or "", end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
