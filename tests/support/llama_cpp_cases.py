"""The cases of the pinned tree's `tests/test-chat.cpp`, read from its source: texts of models, and the messages that they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LITERAL = re.compile(r'R"([^()\s\\]*)\((.*?)\)\1"|(?:u8)?"((?:[^"\\]|\\.)*)"', re.DOTALL)
STEP = re.compile(r"\.\s*([a-z_]+)\s*\(")


@dataclass
class Case:
    """One text, with what its model was given."""

    name: str
    template: str
    text: str
    tools: list[dict[str, Any]] | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    content: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    partial: bool = False
    unparsed_reasoning: bool = False
    continued: bool = False
    conversation: bool = False


def literals(source: str) -> str:
    """The text of the string literals in a piece of C++, one after another."""
    return "".join(_text_of(match) for match in LITERAL.finditer(source))


def cases(tree: Path) -> Iterator[Case]:
    """All cases whose expectation is written beside them or in a message with a name."""
    source = _without_comments((tree / "tests/test-chat.cpp").read_text(encoding="utf-8"))
    tools = {name: _tool(body) for name, body in re.findall(r"common_chat_tool (\w+)\s*\{(.*?)\n\s*\};", source, re.DOTALL)}
    messages = {
        name: _message(call) for name, call in re.findall(r"const common_chat_msg (\w+)\s*=\s*simple_assist_msg\((.*?)\);", source, re.DOTALL)
    }
    template = ""
    pattern = re.compile(r'peg_tester\(\s*"models/templates/([^"]+)"|\b\w+\.test\(')
    for match in pattern.finditer(source):
        if match.group(1):
            template = match.group(1)
            continue
        case = _case(source, match.end() - 1, template, tools, messages)
        if case is not None:
            case.name = f"{template}:{source.count(chr(10), 0, match.start()) + 1}"
            yield case


def _case(source: str, opening: int, template: str, tools: dict[str, Any], messages: dict[str, Any]) -> Case | None:
    closing = _closing(source, opening)
    text = source[opening + 1 : closing]
    if LITERAL.sub("", text).strip(" \n\t\r+") or not template:
        return None
    case = Case("", template, literals(text))
    place, expects = closing + 1, False
    while (step := STEP.match(source, _skip(source, place))) is not None:
        opening = step.end() - 1
        place = _closing(source, opening) + 1
        expects = _take(case, step.group(1), source[opening + 1 : place - 1].strip(), tools, messages) or expects
    return case if expects else None


def _take(case: Case, step: str, argument: str, tools: dict[str, Any], messages: dict[str, Any]) -> bool:  # noqa: C901, PLR0912 (one branch a step)
    if step == "tools":
        names = re.findall(r"\w+", argument)
        case.tools = [tools[name] for name in names if name in tools]
        # Some tools are made where they are used.
        case.conversation = case.conversation or len(case.tools) < len(names)
    elif step == "enable_thinking":
        case.variables[step] = argument == "true"
    elif step == "reasoning_format":
        case.unparsed_reasoning = argument.endswith("_NONE")
    elif step == "is_partial":
        case.partial = argument == "true"
    elif step == "expect_content":
        case.content = literals(argument)
    elif step == "expect_reasoning":
        case.reasoning = literals(argument)
    elif step == "expect_tool_calls":
        case.calls = _calls(argument)
    elif step == "expect":
        if argument in messages:
            case.content, case.reasoning, case.calls = messages[argument]
        else:
            made = re.match(r"(\w+)\((.*)\)$", argument, re.DOTALL)
            values = [literals(part) for part in _arguments(made.group(2))] if made else []
            if made and made.group(1) == "simple_assist_msg":
                case.content, case.reasoning, case.calls = _message(made.group(2))
            elif made and made.group(1) in {"message_with_tool_calls", "message_with_tool_calls_and_reasoning"}:
                case.calls, case.reasoning = [(values[0], values[1], "")], values[2] if len(values) > 2 else ""
            elif made and made.group(1) == "message_with_content_and_tool_call":
                case.content, case.calls = values[0], [(values[1], values[2], "")]
            else:
                case.conversation = True
    elif step == "continue_final_message":
        case.continued = True
    elif step in {"messages", "add_generation_prompt"}:
        case.conversation = True
    return step.startswith("expect")


def _calls(argument: str) -> list[tuple[str, str, str]]:
    found = []
    for inner in _arguments(argument.strip()[1:-1]):
        parts = [literals(part) for part in _arguments(inner.strip()[1:-1])]
        if parts:
            found.append((parts[0], parts[1] if len(parts) > 1 else "", parts[2] if len(parts) > 2 else ""))
    return found


def _message(call: str) -> tuple[str, str, list[tuple[str, str, str]]]:
    parts = [literals(part) for part in _arguments(call)]
    parts += [""] * (5 - len(parts))
    return parts[0], parts[1], [(parts[2], parts[3], parts[4])] if parts[2] else []


def _tool(body: str) -> dict[str, Any]:
    parts = [literals(part) for part in _arguments(body)]
    return {"type": "function", "function": {"name": parts[0], "description": parts[1], "parameters": json.loads(parts[2])}}


def _arguments(source: str) -> list[str]:
    """The parts between commas, outside of brackets and literals."""
    parts, depth, start, place = [], 0, 0, 0
    while place < len(source):
        literal = LITERAL.match(source, place)
        if literal:
            place = literal.end()
            continue
        char = source[place]
        depth += (char in "({[") - (char in ")}]")
        if char == "," and depth == 0:
            parts.append(source[start:place])
            start = place + 1
        place += 1
    parts.append(source[start:])
    return [part for part in parts if part.strip()]


def _closing(source: str, opening: int) -> int:
    """Where the bracket at `opening` is closed."""
    depth, place = 0, opening
    while True:
        literal = LITERAL.match(source, place)
        if literal:
            place = literal.end()
            continue
        depth += (source[place] in "({[") - (source[place] in ")}]")
        if depth == 0:
            return place
        place += 1


def _skip(source: str, place: int) -> int:
    while source[place].isspace():
        place += 1
    return place


def _without_comments(source: str) -> str:
    """The source with spaces in place of comments."""

    def kept(match: re.Match[str]) -> str:
        text = match.group(0)
        return re.sub(r"[^\n]", " ", text) if text.startswith("/") else text

    return re.sub(r'R"([^()\s\\]*)\(.*?\)\1"|"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\]|\\.)\'|//[^\n]*|/\*.*?\*/', kept, source, flags=re.DOTALL)


ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "'": "'", "0": "\0"}


def _text_of(match: re.Match[str]) -> str:
    if match.group(3) is None:
        return match.group(2)
    raw = re.sub(
        r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|(.))",
        lambda m: chr(int(m.group(1), 16)) if m.group(1) else chr(int(m.group(2), 16)) if m.group(2) else ESCAPES.get(m.group(3), m.group(3)),
        match.group(3),
    )
    if re.search(r"\\x[0-9a-fA-F]{2}", match.group(3)):
        return raw.encode("latin-1", "ignore").decode("utf-8", "replace")
    return raw
