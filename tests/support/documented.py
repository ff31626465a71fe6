"""Examples in the documentation: fenced blocks and inline code of the Markdown files, and indented blocks in docstrings of the package."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sybil.document import Document
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer
from sybil.region import Region

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benches/README.md", "rust/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
)
INFO: Final = re.compile(r"(?P<language>[^\n]*)\n")
#: After an empty line, lines that are indented by four spaces more than the docstring. Sections such as `Args:` have no empty line there.
INDENTED: Final = re.compile(r"(?<=\n\n)(?: {4}[^\n]*\n|\n(?= {4}))+")
INLINE: Final = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """An example."""

    page: str
    """The file, from the root of the project."""
    line: int
    language: str
    source: str
    owner: str = ""
    """The class or function whose docstring it is in."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def fenced(*languages: str) -> list[Block]:
    """The fenced blocks of all pages; those in some languages if there are any given."""
    blocks = []
    for path in PAGES:
        for example in Document.parse(str(path), _regions).examples():
            found = example.region.lexemes
            blocks.append(Block(_name(path), example.line, found["language"], str(found["source"])))
    return [block for block in blocks if not languages or block.language in languages]


def _regions(document: Document) -> Iterator[Region]:
    for region in RawFencedCodeBlockLexer(INFO)(document):
        region.evaluator = lambda example: None
        yield region


def in_docstrings() -> list[Block]:
    """The examples in docstrings of the package, its stub included."""
    blocks = []
    package = ROOT / "python" / "tabagent"
    for path in sorted([*package.rglob("*.py"), *package.rglob("*.pyi")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            raw = ast.get_docstring(node, clean=False)
            if raw is None:
                continue
            text = inspect.cleandoc(raw) + "\n"
            for found in INDENTED.finditer(text):
                line = node.body[0].lineno + text.count("\n", 0, found.start())
                blocks.append(Block(_name(path), line, "python", textwrap.dedent(found[0]), getattr(node, "name", "")))
    return blocks


def inline() -> list[Block]:
    """The inline code of all pages, in pieces."""
    blocks: list[Block] = []
    for path in PAGES:
        is_fenced = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.lstrip().startswith("```"):
                is_fenced = not is_fenced
            elif not is_fenced:
                blocks.extend(Block(_name(path), number, "", code) for code in INLINE.findall(line))
    return blocks


def commands(block: Block) -> list[str]:
    """The lines of a shell block that are typed: all of `sh`, those after a `$` of `console`. Comments are cut."""
    lines = block.source.replace("\\\n", " ").splitlines()
    if block.language == "console":
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    return [command for line in lines if (command := re.sub(r"(^|\s+)#\s.*$", "", line).strip())]


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
