"""AMX intrinsics keep what was written to the memory that they read, whichever compiler builds the libraries."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import needs
from tabagent_build import toolchain
from tabagent_build.build_tree import RECIPE_FOLDER
from tabagent_build.errors import BuildError

# The last of 64 bytes gets a value that is found again in the assembly as `$-91`.
CONFIGURING = """
void configure() {
    alignas(64) unsigned char config[64] = {};
    config[63] = 0xA5;
    _tile_loadconfig(config);
}
"""
LOADING = """
#define TILE 3
void load(int stride) {
    alignas(64) static thread_local unsigned char tile[1024];
    tile[1023] = 0xA5;
    %s(TILE, tile, stride);
    tile[1023] = 0;
}
"""


def assembly(folder: Path, source: str) -> str:
    """What the C++ compiler makes of a source with the header before it."""
    try:
        compiler = toolchain.find_toolchain().cxx_compiler
    except BuildError as error:
        needs.missing(str(error), "see the message")
    path = folder / "tiles.cpp"
    path.write_text("#include <immintrin.h>\n" + source, encoding="utf-8")
    command = [*compiler, "-O3", "-mamx-tile", "-Wall", "-Wextra", "-include", str(RECIPE_FOLDER / "amx.h"), "-S", "-o", "-", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    needs.machine("-mamx-tile" not in done.stderr, f"`{compiler[0]}` knows no AMX on this platform")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_tile_configuration_is_written_before_it_is_loaded(tmp_path: Path) -> None:
    text = assembly(tmp_path, CONFIGURING)
    assert "$-91" in text.split("ldtilecfg")[0]


@pytest.mark.parametrize(("intrinsic", "instruction"), [("_tile_loadd", "tileloadd"), ("_tile_stream_loadd", "tileloaddt1")])
def test_tile_is_written_before_it_is_loaded(tmp_path: Path, intrinsic: str, instruction: str) -> None:
    before, _, after = assembly(tmp_path, LOADING % intrinsic).partition(f"{instruction}\t")
    assert "$-91" in before
    assert "%tmm3" in after.splitlines()[0]
