"""Conversations that keep their messages and call their tools, over a model that says what the test wants."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest

from chat_script import Reply, Script
from tabagent import ContextFullError, ToolCall, ToolResult
from tabagent.chat import Chatter
from tabagent.conversation import Conversation


def conversation(*replies: Reply, **settings: Any) -> tuple[Conversation, Script]:
    script = Script(*replies)
    defaults: dict[str, Any] = {
        "system": None,
        "messages": (),
        "tools": None,
        "max_rounds": 8,
        "tool_timeout": None,
        "approve": None,
        "shorten": None,
        "options": {},
    }
    return Conversation(cast("Chatter", script), **{**defaults, **settings}), script


def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


def broken(number: int) -> int:
    """Fails."""
    message = f"no {number}"
    raise RuntimeError(message)


async def later(number: int) -> str:
    """Async."""
    await asyncio.sleep(0)
    return f"later {number}"


def test_turns_are_kept_and_taken_back() -> None:
    chat, script = conversation("hello", "fine", system="Be brief.", options={"max_tokens": 9})
    assert "".join(chat.send("hi")) == "hello"
    assert chat.send("how are you?", seed=1).result().content == "fine"
    assert [message["role"] for message in script.asked[1]] == ["system", "user", "assistant", "user"]
    assert [options.get("max_tokens") for options in script.options] == [9, 9]
    assert "seed" not in script.options[0]
    assert chat.undo() == "how are you?"
    assert [message["content"] for message in chat.messages] == ["Be brief.", "hi", "hello"]
    assert (chat.undo(), chat.undo(), len(chat.messages)) == ("hi", None, 1)


def test_tools_are_called_until_the_model_answers() -> None:
    chat, script = conversation([("double", {"number": 4}), ("double", {"number": 5})], [("double", {"number": 18})], "36", tools=[double])
    turn = chat.send("what is it?")
    results = [delta for delta in turn.events() if isinstance(delta, ToolResult)]
    assert [result.content for result in results] == ["8", "10", "36"]
    assert turn.result().content == "36"
    roles = [message["role"] for message in chat.messages]
    assert roles == ["user", "assistant", "tool", "tool", "assistant", "tool", "assistant"]
    calls = [call["id"] for message in chat.messages for call in message.get("tool_calls", ())]
    assert [message["tool_call_id"] for message in chat.messages if message["role"] == "tool"] == calls
    assert len(set(calls)) == 3
    assert [tool.name for tool in script.options[0]["tools"]] == ["double"]


def test_what_goes_wrong_is_told_to_the_model() -> None:
    replies: list[tuple[str, dict[str, Any]]] = [("broken", {"number": 3}), ("double", {"number": "x"}), ("nothing", {})]
    chat, script = conversation(replies, "sorry", tools=[double, broken])
    results = [delta for delta in chat.send("go").events() if isinstance(delta, ToolResult)]
    assert all(result.failed for result in results)
    assert results[0].content == "error: RuntimeError: no 3"
    assert "`number`" in results[1].content
    assert results[2].content == "error: there is no tool `nothing`; there are `double`, `broken`"
    assert [message["content"] for message in script.asked[1] if message["role"] == "tool"] == [result.content for result in results]


def test_calls_may_be_refused_and_may_be_late() -> None:
    release = threading.Event()

    def slow() -> str:
        """Waits."""
        release.wait(30)
        return "done"

    asked: list[str] = []

    def approve(call: ToolCall) -> bool | str:
        asked.append(call.name)
        return "not today" if call.name == "double" else True

    chat, _ = conversation([("double", {"number": 1}), ("slow", {})], "ok", tools=[double, slow], approve=approve, tool_timeout=0.05)
    started = time.monotonic()
    results = [delta.content for delta in chat.send("go").events() if isinstance(delta, ToolResult)]
    release.set()
    assert results == ["error: the call was refused: not today", "error: the tool took longer than 0.05 seconds"]
    assert asked == ["double", "slow"]
    assert time.monotonic() - started < 20


def test_rounds_have_a_limit() -> None:
    chat, script = conversation([("double", {"number": 1})], [("double", {"number": 2})], "enough", tools=[double], max_rounds=2)
    assert chat.send("go", tool_choice="required").result().content == "enough"
    assert [options.get("tool_choice") for options in script.options] == ["required", "auto", "none"]


def test_event_loops_run_async_tools() -> None:
    chat, _ = conversation([("later", {"number": 1}), ("broken", {"number": 2}), ("double", {"number": 3})], "well", tools=[later, broken, double])

    async def talk() -> list[str]:
        turn = chat.send("go")
        found = [delta.content async for delta in turn.aevents() if isinstance(delta, ToolResult)]
        assert (await turn.aresult()).content == "well"
        return found

    assert asyncio.run(talk()) == ["later 1", "error: RuntimeError: no 2", "6"]


def test_failed_turns_leave_the_conversation_as_it_was() -> None:
    chat, _ = conversation("hello", ValueError("no"), "again")
    chat.send("hi").result()
    before = list(chat.messages)
    with pytest.raises(ValueError, match="no"):
        chat.send("what?").result()
    assert chat.messages == before
    turn = chat.send("and now?")
    next(turn.events())
    cast("Any", turn.events()).close()
    assert chat.messages == before
    with pytest.raises(RuntimeError, match="the turn was left before it was answered"):
        turn.result()


def test_only_a_policy_shortens() -> None:
    full = ContextFullError("the context is full")
    chat, _ = conversation("a", full)
    chat.send("x" * 50).result()
    with pytest.raises(ContextFullError):
        chat.send("y").result()
    chat, script = conversation("a", full, "b", shorten=lambda messages: messages[2:])
    chat.send("x" * 50).result()
    assert chat.send("y").result().content == "b"
    assert [message["content"] for message in script.asked[2]] == ["y"]
    assert [message["content"] for message in chat.messages] == ["y", "b"]
    # A policy that leaves nothing out ends in the error.
    chat, _ = conversation(full, shorten=lambda messages: messages)
    with pytest.raises(ContextFullError):
        chat.send("y").result()


def test_branches_and_files(tmp_path: Path) -> None:
    chat, script = conversation("one", "two", tools=[double])
    chat.send("é").result()
    other = chat.branch()
    other.send("more").result()
    assert len(chat.messages) == 2
    assert len(other.messages) == 4
    assert [tool.name for tool in script.options[1]["tools"]] == ["double"]
    path = tmp_path / "talk.json"
    other.save(path)
    chat.load(path)
    assert chat.messages == other.messages
    assert list(tmp_path.iterdir()) == [path]
    path.write_text('{"messages": [1]}', encoding="utf-8")
    with pytest.raises(ValueError, match="is no saved conversation"):
        chat.load(path)
    with pytest.raises(FileNotFoundError):
        other.save(tmp_path / "none" / "talk.json")
    with pytest.raises(TypeError, match="`content` must be a str or a list of parts, got int"):
        chat.send(3)  # type: ignore[arg-type]
