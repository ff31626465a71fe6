"""Runs other libraries' classes for llama-cpp-python over this package, in an environment that has them: `framework_child.py KIND MODEL`.

Prints what they gave as JSON.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

warnings.simplefilter("ignore")

from tabagent.compat import llama_cpp  # noqa: E402 (before what imports it)

llama_cpp.install()


def langchain(path: str) -> dict[str, Any]:
    """What LangChain's three classes give."""
    from langchain_community.chat_models import ChatLlamaCpp
    from langchain_community.embeddings import LlamaCppEmbeddings
    from langchain_community.llms import LlamaCpp
    from langchain_core.messages import HumanMessage, SystemMessage
    from pydantic import BaseModel, Field

    class Weather(BaseModel):
        """The weather."""

        city: str = Field(description="where", pattern="^(Paris|London)$")

    common: dict[str, Any] = {"model_path": path, "n_ctx": 512, "n_batch": 64, "n_threads": 1, "seed": 1, "temperature": 0.0, "verbose": False}
    # Its defaults for positions are those of Llama 1; `model_kwargs` gives the file's own.
    own = {"rope_freq_base": 0.0, "rope_freq_scale": 0.0}
    llm = LlamaCpp(max_tokens=8, model_kwargs=own, **common)
    chat = ChatLlamaCpp(max_tokens=40, model_kwargs=own, **common)
    messages = [SystemMessage("Be brief."), HumanMessage("Say hi.")]
    answer = chat.invoke(messages)
    tool = chat.bind_tools([Weather], tool_choice="Weather").invoke([HumanMessage("The weather in Paris?")])
    vectors = LlamaCppEmbeddings(model_path=path, n_ctx=64, n_batch=64, n_threads=1, verbose=False)
    return {
        "text": llm.invoke("The capital of France is"),
        "stream": list(llm.stream("The capital of France is")),
        "stopped": llm.invoke("One, two, three,", stop=[" five"]),
        "answer": answer.content,
        "chunks": [chunk.content for chunk in chat.stream(messages)],
        "calls": [{"name": call["name"], "args": call["args"]} for call in tool.tool_calls],
        "structured": chat.with_structured_output(Weather).invoke("The weather in Paris?").model_dump(),
        "tokens": llm.get_num_tokens("hello world"),
        "vectors": [len(vector) for vector in vectors.embed_documents(["one", "two"])],
        "query": len(vectors.embed_query("one")),
    }


def llama_index(path: str) -> dict[str, Any]:
    """What llama-index's class gives."""
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.llama_cpp import LlamaCPP

    llm = LlamaCPP(model_path=path, temperature=0.0, max_new_tokens=8, context_window=512, model_kwargs={"n_threads": 1}, verbose=False)
    return {
        "text": llm.complete("The capital of France is").text,
        "stream": [chunk.delta for chunk in llm.stream_complete("The capital of France is")],
        "chat": llm.chat([ChatMessage(role="user", content="Say hi.")]).message.content,
        "window": llm.metadata.context_window,
    }


def openai(path: str) -> dict[str, Any]:
    """What comes as objects of the `openai` package."""
    with llama_cpp.Llama(path, n_ctx=256, n_threads=1) as llm:
        asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 4, "temperature": 0.0}
        whole = llm.create_chat_completion_openai_v1(**asked)
        chunks = list(llm.create_chat_completion_openai_v1(**asked, stream=True))
    return {
        "types": [type(whole).__name__, type(chunks[0]).__name__],
        "text": whole.choices[0].message.content,
        "chunks": [chunk.choices[0].delta.content for chunk in chunks],
    }


if __name__ == "__main__":
    kinds = {"langchain": langchain, "llama_index": llama_index, "openai": openai}
    sys.stdout.write(json.dumps(kinds[sys.argv[1]](sys.argv[2])))
