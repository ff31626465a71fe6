"""Writes the layout of a build of llama.cpp from its source tree: `python tools/make_layout.py TREE FOLDER --stem b11549 --name "llama.cpp 0.6.0"`.

Sizes, offsets, types and defaults come from the C++ compiler (`CXX`, or `c++`): a small program that includes the tree's headers and has the
tree's two default-params functions prints them. The names of fields and exported functions are read from `include/llama.h`. `FOLDER` gets
`STEM.rs`, and its `symbols.txt` a column for the layout, or what the build adds to the column that is there; for `rust/sys/src/layouts`.

A line of `symbols.txt` is a function, with a mark for each layout: `+` if all known builds of the layout export it, `.` if none does,
`<` if only the later ones do, `>` if only the earlier ones do, `~` for anything else. The tree is taken for the last known build of its layout.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

PARAMS: Final = {"model": "src/llama-model.cpp", "context": "src/llama-context.cpp"}
"""The two structs that cross by value, and the files with their default-params functions; before 2025 both were in `src/llama.cpp`."""

PROBE: Final = """
#include "llama.h"
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <type_traits>

{functions}

template <typename T> void field(const char * name, size_t offset, const T & value) {{
    long long bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    if constexpr (std::is_same_v<T, bool>) {{
        std::printf("boolean(\\"%s\\", %zu, %s)\\n", name, offset, value ? "true" : "false");
    }} else if constexpr (std::is_same_v<T, float>) {{
        std::printf("float(\\"%s\\", %zu, %#.9g)\\n", name, offset, value);
    }} else if constexpr (sizeof(T) == 4) {{
        std::printf("int(\\"%s\\", %zu, %d)\\n", name, offset, (int) bits);
    }} else if (sizeof(T) == 8 && bits == 0) {{
        std::printf("word(\\"%s\\", %zu)\\n", name, offset);
    }} else {{
        std::printf("! %s has %zu bytes and the default %lld, which no kind of field stands for\\n", name, sizeof(T), bits);
    }}
}}

int main() {{
{prints}
    std::printf("> size: %zu, kind: %zu, counts: %zu, strides: %zu, sources: %zu\\n", sizeof(ggml_tensor), offsetof(ggml_tensor, type),
                offsetof(ggml_tensor, ne), offsetof(ggml_tensor, nb), offsetof(ggml_tensor, src));
    static_assert(sizeof(ggml_tensor::type) == 4 && sizeof(ggml_tensor::ne) == 4 * 8 && sizeof(ggml_tensor::nb) == 4 * 8, "as they are read");
    static_assert(sizeof(ggml_tensor::src) == 10 * sizeof(void *), "as they are read");
}}
"""

LAYOUT: Final = """//! {name}: as `tools/make_layout.py` found it in the headers and default-params functions of a build.

use super::{{{kinds}}};
use crate::layout::{{AbiLayout, StructLayout, TensorLayout}};

pub(super) const LAYOUT: AbiLayout = AbiLayout {{
    stem: "{stem}",
    name: "{name}",
    versions: {versions},
{structs}}};
"""


LATER: Final = {
    ("+", True): "+",
    ("+", False): ">",
    (".", True): "<",
    (".", False): ".",
    ("<", True): "<",
    ("<", False): "~",
    (">", True): "~",
    (">", False): ">",
    ("~", True): "~",
    ("~", False): "~",
}
"""The mark of a function in a layout, by its mark so far and whether one more build has it."""


class LayoutError(Exception):
    """The tree is not one that this tool understands."""


def without_comments(code: str) -> str:
    """C code without its comments."""
    return re.sub(r"//[^\n]*", "", re.sub(r"/\*.*?\*/", "", code, flags=re.DOTALL))


def exported_functions(header: str) -> list[str]:
    """The functions that `llama.h` exports, sorted."""
    return sorted(set(re.findall(r"\bLLAMA_API\b[^;]*?\b(llama_\w+)\s*\(", without_comments(header))))


def field_names(header: str, struct: str) -> list[str]:
    """The fields of a struct of `llama.h`, in their order."""
    found = re.search(rf"\bstruct {struct}\s*\{{(.*?)\n\s*\}};", without_comments(header), re.DOTALL)
    if found is None:
        message = f"`include/llama.h` has no `struct {struct}`; give the root of a llama.cpp tree"
        raise LayoutError(message)
    names = [re.search(r"(\w+)\s*(?:\[[^\]]*\])?\s*$", declaration) for declaration in found[1].split(";") if declaration.strip()]
    return [name[1] for name in names if name is not None]


def default_function(tree: Path, kind: str) -> str:
    """The source of a default-params function."""
    pattern = rf"^(?:struct )?llama_{kind}_params llama_{kind}_default_params\(\w*\) \{{.*?^\}}"
    for name in (PARAMS[kind], "src/llama.cpp"):
        path = tree / name
        found = re.search(pattern, path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE) if path.is_file() else None
        if found is not None:
            return found[0]
    message = f"no `llama_{kind}_default_params` in `{tree / PARAMS[kind]}`; give the root of a llama.cpp tree"
    raise LayoutError(message)


def probed(tree: Path, header: str) -> tuple[dict[str, tuple[int, list[str]]], str]:
    """Size and fields of each struct that crosses, the fields as Rust expressions; and where a tensor has its fields."""
    functions = "\n".join(default_function(tree, kind) for kind in PARAMS)
    prints = ""
    for kind in PARAMS:
        struct = f"llama_{kind}_params"
        prints += f'    const auto {kind} = llama_{kind}_default_params();\n    std::printf("= {kind} %zu\\n", sizeof({kind}));\n'
        for name in field_names(header, struct):
            prints += f'    field("{name}", offsetof({struct}, {name}), {kind}.{name});\n'
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "probe.cpp"), Path(folder, "probe")
        source.write_text(PROBE.format(functions=functions, prints=prints), encoding="utf-8")
        compiler = os.environ.get("CXX", "c++").split()
        command = [*compiler, "-std=c++17", "-w", f"-I{tree / 'include'}", f"-I{tree / 'ggml/include'}", str(source), "-o", str(program)]
        compiled = subprocess.run(command, check=False, capture_output=True, text=True)
        if compiled.returncode:
            message = f"`{' '.join(command)}` failed:\n{compiled.stderr}"
            raise LayoutError(message)
        lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()
    result: dict[str, tuple[int, list[str]]] = {}
    tensor = ""
    for line in lines:
        if line.startswith("!"):
            raise LayoutError(line)
        if line.startswith(">"):
            tensor = line.removeprefix("> ")
        elif line.startswith("="):
            _, kind, size = line.split()
            fields: list[str] = []
            result[kind] = (int(size), fields)
        else:
            # As C prints a float, `512.000000`, and as Rust writes it.
            fields.append(re.sub(r"(\.\d+?)0*\)$", r"\1)", line))
    return result, tensor


def layout_file(tree: Path, stem: str, name: str, versions: tuple[str, str] | None) -> str:
    """The Rust file."""
    header = (tree / "include" / "llama.h").read_text(encoding="utf-8")
    structs, kinds = "", set()
    found, tensor = probed(tree, header)
    for kind, (size, fields) in found.items():
        kinds |= {field.partition("(")[0] for field in fields}
        body = "".join(f"            {field},\n" for field in fields)
        structs += f'    {kind}_params: StructLayout {{\n        name: "llama_{kind}_params",\n        size: {size},\n'
        structs += f"        fields: &[\n{body}        ],\n    }},\n"
    structs += f"    tensor: TensorLayout {{ {tensor} }},\n"
    range_ = f'Some(("{versions[0]}", "{versions[1]}"))' if versions else "None"
    return LAYOUT.format(stem=stem, name=name, versions=range_, kinds=", ".join(sorted(kinds)), structs=structs)


def merged_symbols(table: str, stem: str, exported: set[str]) -> str:
    """`symbols.txt` with what a build of a layout exports; a layout that has no column gets the last one."""
    first, *lines = table.splitlines() or ["#"]
    stems = first.split()[1:]
    rows = {name: marks for marks, name in (line.split(" ") for line in lines)}
    if stem in stems:
        place, known = stems.index(stem), True
    else:
        place, known = len(stems), False
        stems.append(stem)
        rows = {name: marks + "." for name, marks in rows.items()}
    for name in exported - rows.keys():
        rows[name] = "." * len(stems)
    for name, marks in rows.items():
        first = "+" if name in exported else "."
        mark = LATER[marks[place], name in exported] if known else first
        rows[name] = marks[:place] + mark + marks[place + 1 :]
    body = "".join(f"{marks} {name}\n" for name, marks in sorted(rows.items()))
    return f"# {' '.join(stems)}\n{body}"


def main() -> int:
    """Write the layout and its column."""
    parser = argparse.ArgumentParser(description="Write the layout of a build of llama.cpp from its source tree.")
    parser.add_argument("tree", type=Path, help="the root of the tree")
    parser.add_argument("folder", type=Path, help="where the files go, such as rust/sys/src/layouts")
    parser.add_argument("--stem", required=True, help="the first build that is known to have the layout, such as b11549: the file's name")
    parser.add_argument("--name", required=True, help="the builds in words, such as `llama.cpp 0.6.0`")
    parser.add_argument("--versions", nargs=2, metavar=("LOWEST", "HIGHEST"), help="what `llama_version` returns, without `-dev`")
    given = parser.parse_args()
    table = given.folder / "symbols.txt"
    try:
        layout = layout_file(given.tree, given.stem, given.name, tuple(given.versions) if given.versions else None)
        exported = set(exported_functions((given.tree / "include" / "llama.h").read_text(encoding="utf-8")))
        before = table.read_text(encoding="utf-8") if table.is_file() else ""
    except (LayoutError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    (given.folder / f"{given.stem}.rs").write_text(layout, encoding="utf-8")
    table.write_text(merged_symbols(before, given.stem, exported), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
