"""Asks a server through other programs' clients, in an environment that has them: `client_child.py KIND URL MODEL`.

Prints what they gave as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import warnings
from typing import Any

warnings.simplefilter("ignore")
os.environ["OPENAI_API_KEY"] = "none"

from pydantic import BaseModel, Field  # noqa: E402 (after what silences it)

PARIS = "What is the weather in Paris?"
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Say hello."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class City(BaseModel):
    """A city and its country."""

    name: str = Field(description="the city")
    country: str = Field(description="its country")


def litellm(url: str, model: str) -> dict[str, Any]:
    """LiteLLM, by OpenAI's routes and by Ollama's."""
    import litellm as client

    client.telemetry = False
    openai: dict[str, Any] = {"model": f"openai/{model}", "api_base": f"{url}/v1", "api_key": "none", "temperature": 0, "max_tokens": 24}
    ollama: dict[str, Any] = {"model": f"ollama_chat/{model}", "api_base": url, "temperature": 0, "max_tokens": 24}
    whole = client.completion(messages=HELLO, **openai)
    chunks = list(client.completion(messages=HELLO, stream=True, **openai))
    called = client.completion(messages=[{"role": "user", "content": PARIS}], tools=[WEATHER], tool_choice="required", **openai)
    (call,) = called.choices[0].message.tool_calls
    shaped = client.completion(messages=[{"role": "user", "content": "Describe Paris."}], response_format=City, **{**openai, "max_tokens": 60})
    try:
        client.completion(messages=[{"role": "user", "content": "word " * 9000}], **openai)
        refused = "not at all"
    except client.ContextWindowExceededError as error:
        refused = type(error).__name__
    except client.BadRequestError as error:
        refused = f"{type(error).__name__}: {error}"
    return {
        "text": whole.choices[0].message.content,
        "chunks": [chunk.choices[0].delta.content or "" for chunk in chunks],
        "usage": whole.usage.total_tokens,
        "call": [call.function.name, json.loads(call.function.arguments)],
        "shaped": City.model_validate_json(shaped.choices[0].message.content).model_dump(),
        "refused": refused,
        "ollama": client.completion(messages=HELLO, **ollama).choices[0].message.content,
        "ollama_chunks": [chunk.choices[0].delta.content or "" for chunk in client.completion(messages=HELLO, stream=True, **ollama)],
        "vector": len(client.embedding(model=f"openai/{model}", input=["one"], api_base=f"{url}/v1", api_key="none").data[0]["embedding"]),
        "async": asyncio.run(client.acompletion(messages=HELLO, **openai)).choices[0].message.content,
    }


def langchain(url: str, model: str) -> dict[str, Any]:
    """LangChain's classes for OpenAI and for Ollama."""
    from langchain_core.messages import HumanMessage
    from langchain_core.tools import tool
    from langchain_ollama import ChatOllama, OllamaEmbeddings
    from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

    def weather(city: str) -> str:
        """The weather in a city."""
        return f"It rains in {city}."

    get_weather = tool("get_weather")(weather)

    def shown(chat: Any, choice: dict[str, Any]) -> dict[str, Any]:
        asked = [HumanMessage("Say hello.")]
        bound = chat.bind_tools([get_weather], **choice)
        first = bound.invoke([HumanMessage(PARIS)])
        results = [get_weather.invoke(call) for call in first.tool_calls]
        return {
            "text": chat.invoke(asked).content,
            "chunks": [chunk.content for chunk in chat.stream(asked)],
            "calls": [[call["name"], call["args"]] for call in first.tool_calls],
            "after": chat.invoke([HumanMessage(PARIS), first, *results]).content if results else None,
            "shaped": chat.with_structured_output(City).invoke("Describe Paris.").model_dump(),
            "batch": [message.content for message in chat.batch([[HumanMessage("Say hello.")]] * 2)],
        }

    openai = ChatOpenAI(model=model, base_url=f"{url}/v1", api_key="none", temperature=0, max_tokens=60)
    ollama = ChatOllama(model=model, base_url=url, temperature=0, num_predict=60)
    embeddings = OpenAIEmbeddings(model=model, base_url=f"{url}/v1", api_key="none", check_embedding_ctx_length=False)
    return {
        "openai": shown(openai, {"tool_choice": "required"}),
        "ollama": shown(ollama, {}),
        "completion": OpenAI(model=model, base_url=f"{url}/v1", api_key="none", temperature=0, max_tokens=6).invoke("One, two, three,"),
        "vectors": [len(vector) for vector in embeddings.embed_documents(["one", "two"])],
        "ollama_vectors": [len(vector) for vector in OllamaEmbeddings(model=model, base_url=url).embed_documents(["one", "two"])],
    }


def llama_index(url: str, model: str) -> dict[str, Any]:
    """llama-index's class for servers that are like OpenAI's."""
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    common: dict[str, Any] = {"model": model, "api_base": f"{url}/v1", "api_key": "none", "temperature": 0, "max_tokens": 60, "context_window": 4096}
    llm = OpenAILike(is_chat_model=True, is_function_calling_model=True, **common)
    plain = OpenAILike(is_chat_model=False, **common)
    asked = [ChatMessage(role="user", content="Say hello.")]
    return {
        "text": llm.chat(asked).message.content,
        "chunks": [part.delta or "" for part in llm.stream_chat(asked)],
        "completion": plain.complete("One, two, three,").text,
        "shaped": llm.as_structured_llm(City).complete("Describe Paris.").raw.model_dump(),
    }


def instructor(url: str, model: str) -> dict[str, Any]:
    """Instructor: pydantic objects by tools and by JSON schema."""
    import instructor as client
    from openai import OpenAI

    shaped = {}
    for mode in (client.Mode.TOOLS, client.Mode.JSON_SCHEMA, client.Mode.JSON):
        made = client.from_openai(OpenAI(base_url=f"{url}/v1", api_key="none"), mode=mode)
        asked: list[Any] = [{"role": "user", "content": "Describe Paris, the capital of France."}]
        city = made.chat.completions.create(model=model, response_model=City, messages=asked, temperature=0, max_tokens=200, max_retries=2)
        shaped[mode.value] = city.model_dump()
    return shaped


def pydantic_ai(url: str, model: str) -> dict[str, Any]:
    """pydantic-ai's agents."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider
    from pydantic_ai.settings import ModelSettings

    chat = OpenAIChatModel(model, provider=OpenAIProvider(base_url=f"{url}/v1", api_key="none"), settings=ModelSettings(temperature=0, max_tokens=80))
    cities: list[str] = []
    agent = Agent(chat, system_prompt="Use the tool.")

    def get_weather(city: str) -> str:
        """The weather in a city."""
        cities.append(city)
        return f"It rains in {city}."

    agent.tool_plain(get_weather)

    answer = agent.run_sync(PARIS).output

    async def streamed() -> list[str]:
        async with Agent(chat).run_stream("Say hello.") as result:
            return [text async for text in result.stream_text(delta=True)]

    return {
        "answer": answer,
        "cities": cities,
        "chunks": asyncio.run(streamed()),
        "shaped": Agent(chat, output_type=City).run_sync("Describe Paris, the capital of France.").output.model_dump(),
    }


def llm(url: str, model: str) -> dict[str, Any]:
    """The `llm` tool, with a model of its file of further OpenAI-like ones."""
    from pathlib import Path

    import llm as client

    folder = Path(os.environ["LLM_USER_PATH"])
    folder.mkdir(parents=True, exist_ok=True)
    entry = f"- model_id: local\n  model_name: {model}\n  api_base: {url}/v1\n  api_key_name: ''\n  can_stream: true\n"
    (folder / "extra-openai-models.yaml").write_text(entry)
    known = client.get_model("local")
    known.key = "none"
    whole = known.prompt("Say hello.", stream=False, temperature=0, max_tokens=24)
    return {"text": whole.text(), "chunks": list(known.prompt("Say hello.", temperature=0, max_tokens=24))}


KINDS = {function.__name__: function for function in (litellm, langchain, llama_index, instructor, pydantic_ai, llm)}

if __name__ == "__main__":
    json.dump(KINDS[sys.argv[1]](*sys.argv[2:4]), sys.stdout)
