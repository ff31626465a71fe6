"""Ollama's client: `pip install ollama`, `tabagent serve model.gguf`, `python examples/clients/ollama_client.py`."""

from __future__ import annotations

import sys

from ollama import Client


def get_weather(city: str) -> str:
    """The weather in a city.

    Args:
        city: The city's name.
    """
    return f"It rains in {city}."


def main(url: str = "http://127.0.0.1:8080", question: str = "What is the weather in Paris?") -> None:
    client = Client(host=url)
    model = client.list().models[0].model or ""
    messages: list[dict[str, object]] = [{"role": "user", "content": question}]
    settings = {"temperature": 0, "num_predict": 80}
    answer = client.chat(model, messages=messages, tools=[get_weather], options=settings).message
    if answer.tool_calls:
        messages.append(answer.model_dump(exclude_none=True))
        for call in answer.tool_calls:
            print(f"calls {call.function.name} with {dict(call.function.arguments)}")
            messages.append({"role": "tool", "tool_name": call.function.name, "content": get_weather(**call.function.arguments)})
        answer = client.chat(model, messages=messages, options=settings).message
    print(answer.content)


if __name__ == "__main__":
    main(*sys.argv[1:])
