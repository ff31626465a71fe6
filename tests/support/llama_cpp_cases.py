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
    messages: list[dict[str, Any]] = field(default_factory=lambda: [{"role": "user", "content": "Hey there!"}])
    """What the model answers."""
    continued: str | None = None
    """The field of the last message that the text goes on with."""


def literals(source: str) -> str:
    """The text of the string literals in a piece of C++, one after another."""
    return "".join(_text_of(match) for match in LITERAL.finditer(source))


def cases(tree: Path) -> Iterator[Case]:
    """All cases, but for texts that functions make."""
    source = _without_comments((tree / "tests/test-chat.cpp").read_text(encoding="utf-8"))
    tools = {name: _tool(body) for name, body in re.findall(r"common_chat_tool (\w+)\s*\{(.*?)\n\s*\};", source, re.DOTALL)}
    messages = _messages(source)
    shared = {name: [template] for name, template in re.findall(r'\b(test_\w+)\(\s*"models/templates/([^"]+)"', source)}
    shared |= {name: _looped(source, name) for name in re.findall(r"static void (test_\w+)\(const std::string & template_path", source)}
    templates: list[str] = []
    pattern = re.compile(r'static void (test_\w+)\(|peg_tester\(\s*"models/templates/([^"]+)"|\b\w+\.test\(')
    for match in pattern.finditer(source):
        if match.group(1) or match.group(2):
            templates = [match.group(2)] if match.group(2) else shared.get(match.group(1), [])
            continue
        for template in templates:
            case = _case(source, match.end() - 1, template, tools, messages)
            if case is not None:
                case.name = f"{template}:{source.count(chr(10), 0, match.start()) + 1}"
                yield case


def _looped(source: str, name: str) -> list[str]:
    """The templates that a function of the tests is called with one after another."""
    before = source[: source.index(f"{name}(tmpl")]
    return re.findall(r'"models/templates/([^"]+)"', before[before.rindex("for ") :])


def _messages(source: str) -> dict[str, dict[str, Any]]:
    """The messages with a name, as dicts."""
    found: dict[str, dict[str, Any]] = {}
    for name, role, content in re.findall(r'const common_chat_msg (\w+)\s*\{\s*"(\w+)",\s*"((?:[^"\\]|\\.)*)"', source):
        found[name] = {"role": role, "content": literals(f'"{content}"')}
    for name, call in re.findall(r"(?:auto|common_chat_msg) (\w+)\s*=\s*simple_assist_msg\((.*?)\);", source, re.DOTALL):
        found[name] = _as_dict(*_message(call))
    for name, key, text in re.findall(r"(\w+)\.(role|content|tool_call_id)\s*=\s*(\"[^;]*?\");", source):
        found.setdefault(name, {})[key] = literals(text)
    return found


def _as_dict(content: str, reasoning: str, calls: list[tuple[str, str, str]]) -> dict[str, Any]:
    made: dict[str, Any] = {"role": "assistant", "content": content}
    if reasoning:
        made["reasoning_content"] = reasoning
    if calls:
        made["tool_calls"] = [
            {"type": "function", "id": identity or "call00000", "function": {"name": name, "arguments": arguments}}
            for name, arguments, identity in calls
        ]
    return made


def _case(source: str, opening: int, template: str, tools: dict[str, Any], messages: dict[str, dict[str, Any]]) -> Case | None:
    closing = _closing(source, opening)
    text = source[opening + 1 : closing]
    for name in set(re.findall(r"\w+", LITERAL.sub("", text))):
        # A text that stands above the case; the last one of its name.
        above = re.findall(rf"std::string {name}\s*=\s*(.*?);\n", source[:opening], re.DOTALL)
        if above:
            text = text.replace(name, above[-1])
    if LITERAL.sub("", text).strip(" \n\t\r+") or not template:
        return None
    case = Case("", template, literals(text))
    place, expects = closing + 1, False
    while (step := STEP.match(source, _skip(source, place))) is not None:
        opening = step.end() - 1
        place = _closing(source, opening) + 1
        expects = _take(case, step.group(1), source[opening + 1 : place - 1].strip(), tools, messages) or expects
    return case if expects else None


def _take(case: Case, step: str, argument: str, tools: dict[str, Any], messages: dict[str, dict[str, Any]]) -> bool:
    if step == "tools":
        parts = _arguments(argument[1:-1])
        case.tools = [_tool(part.strip()[1:-1]) if part.strip().startswith("{") else tools[part.strip()] for part in parts]
    elif step == "enable_thinking":
        case.variables[step] = argument == "true"
    elif step == "is_partial":
        case.partial = argument == "true"
    elif step == "expect_content":
        case.content = literals(argument)
    elif step == "expect_reasoning":
        case.reasoning = literals(argument)
    elif step == "expect_tool_calls":
        case.calls = _calls(argument)
    elif step == "expect":
        _expect(case, argument, messages)
    elif step == "messages":
        case.messages = [messages[part.strip()] for part in _arguments(argument[1:-1])]
    elif step == "continue_final_message":
        case.continued = "content" if argument.endswith("_CONTENT") else "reasoning_content"
    return step.startswith("expect")


def _expect(case: Case, argument: str, messages: dict[str, dict[str, Any]]) -> None:
    """The message that a name or a call of the tests' helpers stands for."""
    if argument in messages:
        message = messages[argument]
        calls = [(call["function"]["name"], call["function"]["arguments"], "") for call in message.get("tool_calls", ())]
        case.content, case.reasoning, case.calls = message["content"], message.get("reasoning_content", ""), calls
        return
    helper, _, rest = argument.partition("(")
    parts = _arguments(rest[:-1])
    if helper == "simple_assist_msg":
        case.content, case.reasoning, case.calls = _message(rest[:-1])
    elif helper == "message_with_reasoning_content_and_multiple_tool_calls":
        case.reasoning, case.content, case.calls = literals(parts[0]), literals(parts[1]), _calls(parts[2])
    elif helper == "message_with_content_and_tool_call":
        case.content, case.calls = literals(parts[0]), [(literals(parts[1]), literals(parts[2]), "")]
    elif helper == "message_with_reasoning_and_tool_call":
        case.reasoning, case.calls = literals(parts[0]), [(literals(parts[1]), literals(parts[2]), "")]
    elif helper in {"message_with_tool_calls", "message_with_tool_calls_and_reasoning"}:
        case.calls, case.reasoning = [(literals(parts[0]), literals(parts[1]), "")], literals("".join(parts[2:]))
    else:
        problem = f"the expectation `{argument[:60]}` of a case of `{case.template}` cannot be read"
        raise ValueError(problem)


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
