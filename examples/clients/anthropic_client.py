"""Anthropic's client: `pip install anthropic`, `tabagent serve model.gguf`, `python examples/clients/anthropic_client.py`."""

from __future__ import annotations

import sys

from anthropic import Anthropic


def main(url: str = "http://127.0.0.1:8080", question: str = "Say hello.") -> None:
    client = Anthropic(base_url=url, api_key="none")
    # A server with one model answers under every name.
    with client.messages.stream(model="any", max_tokens=64, system="Be brief.", messages=[{"role": "user", "content": question}]) as stream:
        for text in stream.text_stream:
            print(text, end="", flush=True)
        usage = stream.get_final_message().usage
    print(f"\n{usage.input_tokens} tokens in, {usage.output_tokens} out")


if __name__ == "__main__":
    main(*sys.argv[1:])
