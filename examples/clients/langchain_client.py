"""LangChain: `pip install langchain-openai`, `tabagent serve model.gguf`, `python examples/clients/langchain_client.py`."""

from __future__ import annotations

import sys

from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field


class City(BaseModel):
    """A city and its country."""

    name: str = Field(description="the city")
    country: str = Field(description="its country")


def main(url: str = "http://127.0.0.1:8080", city: str = "Paris") -> None:
    model = ChatOpenAI(model="any", base_url=f"{url}/v1", api_key="none", max_completion_tokens=64)
    chain = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "Tell me of {city}.")]) | model
    for part in chain.stream({"city": city}):
        print(part.content, end="", flush=True)
    print()
    print(repr(model.with_structured_output(City).invoke(f"Describe {city}.")))


if __name__ == "__main__":
    main(*sys.argv[1:])
