"""The documentation against the project: the commands, files and names that it mentions are there.

That its Python examples run is tested in `model/test_docs.py`, for they need a model.
"""

from __future__ import annotations

import functools
import json
import re
import shlex
import textwrap
from typing import Any, Final

import pytest
import typer

from support.documented import PAGES, ROOT, Block, commands, fenced, inline
from tabagent.cli.app import app
from tabagent.cli.examples import EXAMPLES

LANGUAGES: Final = {"python", "sh", "console", "json", "text", "toml", "mermaid"}
TYPED: Final = [(block, command) for block in fenced("sh", "console") for command in commands(block)]
MENTIONED: Final = [(block, block.source) for block in inline() if re.match(r"(make|cargo|tabagent|pytest) [a-z-]", block.source)]
#: What may be typed besides; nothing of it is the project's own.
FOREIGN: Final = {"cd", "echo", "eval", "git", "pip", "source"}
SOURCES: Final = {
    path: path.read_text(encoding="utf-8") for path in [*sorted((ROOT / "rust").rglob("*.rs")), *sorted((ROOT / "python").rglob("*.py"))]
}


def tabagent_words(command: str) -> list[str] | None:
    """The words after `tabagent` in a command line; None if it does not call it."""
    words = shlex.split(command.rpartition("|")[2].replace("&&", ";").rpartition(";")[2])
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        del words[0]
    words = words[: words.index(">")] if ">" in words else words
    return words[1:] if words[:1] == ["tabagent"] else None


def parse(words: list[str]) -> None:
    """Read the words as the command line does, without running anything; options and commands that do not exist are an error."""
    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name="tabagent")
    while isinstance(getattr(command, "commands", None), dict) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, words[0]
        command, words = command.commands[words[0]], words[1:]
        context = command.context_class(command, info_name=command.name, parent=context)
    command.make_parser(context).parse_args(list(words))


@pytest.mark.parametrize("line", ["tabagent run demo --no-such-option", "tabagent no-such-command", "tabagent gguf no-such-command model.gguf"])
def test_wrong_command_lines_are_noticed(line: str) -> None:
    words = tabagent_words(line)
    assert words is not None
    with pytest.raises(Exception, match="no-such"):
        parse(words)


def test_every_block_says_its_language() -> None:
    assert [str(block) for block in fenced() if block.language not in LANGUAGES] == []


def test_json_is_json() -> None:
    for block in fenced("json"):
        json.loads(block.source)


@pytest.mark.parametrize(("block", "command"), TYPED, ids=[f"{block}:{command}" for block, command in TYPED])
def test_typed_commands_exist(block: Block, command: str) -> None:
    program = shlex.split(command)[0]
    if tabagent_words(command) is None and program not in FOREIGN:
        assert program in CHECKS, f"`{program}` is not known; say in this test what must hold of it"
    check_command(command)


@pytest.mark.parametrize(("block", "command"), MENTIONED, ids=[f"{block}:{command}" for block, command in MENTIONED])
def test_mentioned_commands_exist(block: Block, command: str) -> None:
    check_command(command)


@pytest.mark.parametrize("example", [line for text in EXAMPLES.values() for line in textwrap.dedent(text).splitlines()])
def test_examples_of_the_help_are_valid(example: str) -> None:
    words = tabagent_words(example)
    assert words is not None
    parse(words)


def check_command(command: str) -> None:
    words = tabagent_words(command)
    if words is not None:
        return parse(words)
    own = [word for word in shlex.split(command) if not re.fullmatch(r"[A-Z_]+=.*", word)]
    check = CHECKS.get(own[0]) if own else None
    return check(own[1:]) if check else None


def check_make(words: list[str]) -> None:
    targets = re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    for word in words:
        assert word.startswith("-") or word in targets, f"no target `{word}`"


def check_cargo(words: list[str]) -> None:
    """Crates, test programs, benches and examples that are named exist."""
    package = words[words.index("-p") + 1] if "-p" in words else None
    folder = ROOT / "rust" / (package or "").removeprefix("tabagent-")
    assert package is None or (folder / "Cargo.toml").is_file(), package
    for option, place in (("--test", "tests"), ("--bench", "benches"), ("--example", "examples")):
        for name in [words[index + 1] for index, word in enumerate(words) if word == option]:
            assert (folder / place / f"{name}.rs").is_file(), name
    for name in words[words.index("--") + 1 :] if "--" in words and "test" in words else []:
        assert name.startswith("-") or any(name in text for path, text in SOURCES.items() if folder in path.parents), name


def check_pytest(words: list[str]) -> None:
    for word in words:
        if "/" in word:
            path, _, test = word.partition("::")
            assert (ROOT / path).exists(), path
            assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), test


def check_python(words: list[str]) -> None:
    if words[:2] == ["-m", "pytest"]:
        check_pytest(words[2:])
    elif words[:1] != ["-m"]:
        assert (ROOT / words[0]).is_file(), words[0]


CHECKS: Final = {
    "make": check_make,
    "cargo": check_cargo,
    ".venv/bin/python": check_python,
    "python": check_python,
    "pytest": check_pytest,
}


@pytest.mark.parametrize("page", PAGES, ids=[path.relative_to(ROOT).as_posix() for path in PAGES])
def test_links_lead_somewhere(page: Any) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}, target


FOREIGN_TYPES: Final = {"Arc"}
PATH: Final = re.compile(r"[\w{},*-]+(/[\w.{},*-]+)+|[\w-]+\.(rs|py|toml|md|txt)")
NAME: Final = re.compile(r"\w+(::\w+)+|[A-Z]+[a-z]\w+(\.\w+)?")
#: Pages that speak of the source tree.
OF_THE_TREE: Final = [block for block in inline() if block.page in {"CONTRIBUTING.md", "docs/architecture.md", "rust/README.md"}]
PATHS: Final = [block for block in OF_THE_TREE if PATH.fullmatch(block.source)]
NAMES: Final = [
    block for block in OF_THE_TREE if NAME.fullmatch(block.source) and not PATH.fullmatch(block.source) and block.source not in FOREIGN_TYPES
]


@pytest.mark.parametrize("block", PATHS, ids=[f"{block}:{block.source}" for block in PATHS])
def test_named_files_exist(block: Block) -> None:
    assert any(list(ROOT.glob(choice)) or list((ROOT / "rust").rglob(choice)) for choice in choices(block.source)), f"there is no `{block.source}`"


@pytest.mark.parametrize("block", NAMES, ids=[f"{block}:{block.source}" for block in NAMES])
def test_named_types_and_functions_exist(block: Block) -> None:
    for name in re.split(r"::|\.", block.source):
        assert declared(name), f"nothing is called `{name}`"


def choices(pattern: str) -> list[str]:
    """A path with `{a,b}` spelled out; each must exist."""
    found = re.search(r"\{([^}]*)\}", pattern)
    if found is None:
        return [pattern.rstrip("/")]
    each = [pattern.replace(found[0], name, 1).rstrip("/") for name in found[1].split(",")]
    for path in each:
        assert list(ROOT.glob(path)), f"no `{path}`"
    return each


@functools.cache
def declarations() -> frozenset[str]:
    """The names of all types, traits, functions, modules, constants and variants."""
    pattern = re.compile(r"\b(?:struct|enum|trait|type|fn|mod|const|static|class|def) (\w+)|^\s*(\w+)\s*[,({]", re.MULTILINE)
    return frozenset(name for text in SOURCES.values() for names in pattern.findall(text) for name in names)


def declared(name: str) -> bool:
    return name in declarations()
