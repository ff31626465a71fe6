"""An agent of Pydantic AI: `pip install pydantic-ai-slim[openai]`, `tabagent serve model.gguf`, `python examples/clients/pydantic_ai_client.py`."""

from __future__ import annotations

import sys

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings


def get_weather(city: str) -> str:
    """The weather in a city."""
    print(f"calls get_weather for {city}")
    return f"It rains in {city}."


def main(url: str = "http://127.0.0.1:8080", question: str = "What is the weather in Paris?") -> None:
    model = OpenAIChatModel("any", provider=OpenAIProvider(base_url=f"{url}/v1", api_key="none"))
    agent = Agent(model, system_prompt="Use the tool.", tools=[get_weather], model_settings=ModelSettings(temperature=0, max_tokens=80))
    print(agent.run_sync(question).output)


if __name__ == "__main__":
    main(*sys.argv[1:])
