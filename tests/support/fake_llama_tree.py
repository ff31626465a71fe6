"""A source tree with the shape of llama.cpp's, whose libraries hold a function each and build in a second."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["SCORES", "write_tree"]

SCORES: Final = {"plain": 1, "middle": 5, "best": 9, "foreign": 0}
"""The CPU modules, with what each says of this processor; 0 is for one that cannot run."""

TOP: Final = """
set(CMAKE_LIBRARY_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
add_subdirectory(ggml)
add_library(llama SHARED src/llama.c)
set_target_properties(llama PROPERTIES VERSION 1.2.3 SOVERSION 1)
target_link_libraries(llama PUBLIC ggml)
"""

GGML: Final = """
add_library(ggml-base SHARED base.c)
add_library(ggml SHARED ggml.c)
target_link_libraries(ggml PUBLIC ggml-base)
function(module name)
    add_library(${name} MODULE ${ARGN})
    target_link_libraries(${name} PRIVATE ggml-base)
    add_dependencies(ggml ${name})
endfunction()
module(ggml-rpc rpc.c)
"""

CPU: Final = """
module(ggml-cpu-%(name)s cpu-%(name)s.c)
add_library(ggml-cpu-%(name)s-feats OBJECT feats.c)
target_compile_definitions(ggml-cpu-%(name)s-feats PRIVATE SCORE=%(score)d)
target_link_libraries(ggml-cpu-%(name)s PRIVATE ggml-cpu-%(name)s-feats)
"""


def write_tree(folder: Path) -> Path:
    """Write the tree; returns its folder."""
    cpu_modules = "".join(CPU % {"name": name, "score": score} for name, score in SCORES.items())
    files = {
        "CMakeLists.txt": TOP,
        "LICENSE": "licence\n",
        "ggml/CMakeLists.txt": GGML + cpu_modules,
        "ggml/feats.c": "int ggml_backend_score(void) { return SCORE; }\n",
        "include/llama.h": "",
        **{f"ggml/{name}.c": f"int {name}_is_here(void) {{ return 1; }}\n" for name in ("base", "ggml", "rpc")},
        **{f"ggml/cpu-{name}.c": f"int {name}_is_here(void) {{ return 1; }}\n" for name in SCORES},
        "src/llama.c": "int llama_is_here(void) { return 1; }\n",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder
