"""Shared objects that pretend to be llama.cpp, compiled from generated C: what a loader must refuse, and how far it went."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent.parent
LAYOUTS: Final = ROOT / "rust" / "sys" / "src" / "layouts"
#: The file name of the pinned build's layout.
PINNED_LAYOUT: Final = "b10809"


def symbols_of(layout: str) -> tuple[str, ...]:
    """What the last known build of a layout exports."""
    head, *rows = (LAYOUTS / "symbols.txt").read_text(encoding="ascii").splitlines()
    place = head.split()[1:].index(layout)
    return tuple(name for marks, name in (row.split() for row in rows) if marks[place] in "+<")


SYMBOLS: Final = symbols_of(PINNED_LAYOUT)
#: `llama_version()` of the pinned build.
PINNED_VERSION: Final = "0.5.0-dev"

#: Functions of ggml that the project calls; libllama's own dependencies give them in a real build.
GGML_SYMBOLS: Final = tuple(sorted(set(re.findall(r"^\s+(ggml_\w+): fn", (ROOT / "rust/sys/src/api.rs").read_text(encoding="utf-8"), re.MULTILINE))))

Field = tuple[int, str, str]


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def compile_library(source: str, out: Path, *arguments: str) -> Path:
    """Compile C into a shared object."""
    found = compiler()
    assert found is not None
    file = out.with_suffix(".c")
    file.write_text(source, encoding="utf-8")
    subprocess.run([found, "-shared", "-fPIC", "-O0", "-o", str(out), str(file), *arguments], check=True, capture_output=True)
    file.unlink()
    return out


def llama_source(
    *,
    version: str | None = PINNED_VERSION,
    symbols: Sequence[str] = SYMBOLS,
    marker: Path | None = None,
    model_defaults: bytes | None = None,
    context_defaults: bytes | None = None,
) -> str:
    """C source of a libllama in which every function aborts except `llama_version` and the default-params functions.

    With `marker`, loading it writes that file.
    """
    lines = ["#include <stdio.h>", "#include <stdlib.h>", "#include <string.h>"]
    if marker is not None:
        lines.append(
            f'__attribute__((constructor)) static void mark(void) {{ FILE * f = fopen("{marker}", "w"); if (f) fclose(f); }}',
        )
    made = {"llama_version", "llama_model_default_params", "llama_context_default_params"}
    lines += [f'void {name}(void) {{ fputs("called {name}\\n", stderr); abort(); }}' for name in (*symbols, *GGML_SYMBOLS) if name not in made]
    if version is not None and "llama_version" in symbols:
        lines.append(f'const char * llama_version(void) {{ return "{version}"; }}')
    for name, defaults in (("llama_model_default_params", model_defaults), ("llama_context_default_params", context_defaults)):
        if name not in symbols:
            continue
        if defaults is None:
            lines.append(f'void {name}(void) {{ fputs("called {name}\\n", stderr); abort(); }}')
            continue
        data = ",".join(str(byte) for byte in defaults)
        lines.append(f"struct {name}_t {{ unsigned char bytes[{len(defaults)}]; }};")
        lines.append(f"struct {name}_t {name}(void) {{ struct {name}_t p = {{{{ {data} }}}}; return p; }}")
    return "\n".join(lines)


@dataclass(frozen=True)
class ParamStruct:
    """A parameter struct, as the layout table has it."""

    size: int
    offsets: dict[str, int]
    defaults: bytes


def param_struct(name: str, layout: str = PINNED_LAYOUT) -> ParamStruct:
    """`llama_model_params` or `llama_context_params` of a layout."""
    table = (LAYOUTS / f"{layout}.rs").read_text(encoding="utf-8")
    found = re.search(rf'name: "{name}",\s+size: (\d+),\s+fields: &\[(.*?)\],', table, re.DOTALL)
    assert found is not None
    offsets, block = {}, bytearray(int(found[1]))
    for kind, field, offset, default in re.findall(r'(int|float|word|boolean)\("(\w+)", (\d+)(?:, (-?[\w.]+))?\)', found[2]):
        at = offsets[field] = int(offset)
        if kind == "int":
            struct.pack_into("<i", block, at, int(default))
        elif kind == "float":
            struct.pack_into("<f", block, at, float(default))
        elif kind == "boolean":
            block[at] = default == "true"
    return ParamStruct(len(block), offsets, bytes(block))


def known_defaults(layout: str = PINNED_LAYOUT) -> tuple[bytes, bytes]:
    """The default parameters of models and contexts of a layout, by itself that of the pinned build."""
    return param_struct("llama_model_params", layout).defaults, param_struct("llama_context_params", layout).defaults
