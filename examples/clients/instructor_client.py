"""Instructor: `pip install instructor`, `tabagent serve model.gguf`, `python examples/clients/instructor_client.py`."""

from __future__ import annotations

import sys

import instructor
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam
from pydantic import BaseModel, Field


class City(BaseModel):
    """A city and its country."""

    name: str = Field(description="the city")
    country: str = Field(description="its country")


def main(url: str = "http://127.0.0.1:8080", question: str = "Describe Paris, the capital of France.") -> None:
    # The server holds the model to the schema, so the first answer fits it.
    client = instructor.from_openai(OpenAI(base_url=f"{url}/v1", api_key="none"), mode=instructor.Mode.JSON_SCHEMA)
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": question}]
    city = client.chat.completions.create(model="any", response_model=City, messages=messages, temperature=0, max_tokens=200)
    print(repr(city))


if __name__ == "__main__":
    main(*sys.argv[1:])
