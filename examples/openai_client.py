"""Ask a model by OpenAI's client (`pip install openai`) and a server in this process: `python examples/openai_client.py "Say hello." model.gguf`."""

from __future__ import annotations

import sys

from openai import OpenAI

from tabagent import Model, Server


def main(question: str = "Say hello.", path: str = "demo") -> None:
    with Model.load(path) as model, Server(model, port=0) as server, OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
        stream = client.chat.completions.create(
            model="any",  # the server has one model, which answers under every name
            messages=[{"role": "user", "content": question}],
            max_tokens=64,
            stream=True,
        )
        for chunk in stream:
            print(chunk.choices[0].delta.content or "", end="", flush=True)
    print()


if __name__ == "__main__":
    main(*sys.argv[1:])
