"""Runs the tests of the crates on AArch64, which QEMU plays: `python tools/test_aarch64.py [CARGO'S ARGUMENTS]`, on Debian 12.

Those that need an engine run on a libllama that Debian's cross compiler makes of the pinned tree. The first run builds it; it stays in the
cache folder. QEMU computes ten times slower than this machine, so the tests that measure times are left out, and those of `tests` in Python.
"""

from __future__ import annotations

import sys
from typing import Final

from cross_cargo import TARGET_FOLDER, environment, missing_programs, run, runner
from cross_rust import TARGETS, CrossRust, cross_rust
from tabagent_build.errors import BuildError
from tabagent_build.fetching import fetching
from tabagent_build.library import build_library
from tabagent_build.pin import read_pin
from tabagent_build.platforms import AARCH64_LINUX
from tabagent_build.progress import say
from tabagent_build.shim import build_shim
from tabagent_build.source import pinned_tree
from tabagent_build.toolchain import find_toolchain
from test_windows import lay_out, model_folder

AARCH64: Final = TARGETS[1]
MODULES: Final = ("ggml-cpu-armv8.0_1", "ggml-cpu-armv8.2_2", "ggml-rpc")
"""The plainest CPU module, and one with dot products."""
CRATES: Final = ("gguf", "kernels", "sampling", "variants", "chat", "runtime", "server", "sys", "llama", "model")
"""Not `fuzz`, whose limit for each input is a time, nor `python`, which has no tests in Rust."""
LEFT_OUT: Final = (
    # GCC makes fused operations of ggml's products and sums there, so that the bytes that ggml encodes are others than on x86-64. Ours are the
    # same: `rust/gguf/tests/quants.rs` compares them with recorded hashes.
    "encode_to_the_same_bytes",
    "real_tensors_encode_and_decode_to_the_same_bits",
    "sizes_near_powers_of_two_get_the_exponent_of_the_library",
    "files_are_those_of_llama_cpp_byte_for_byte",
    # They measure times.
    "gemma_is_accepted_and_opens_in_milliseconds",
    # They compute on more threads than there are cores. Threads of ggml wait for each other busily, which takes minutes a token under QEMU.
    "numbers_of_threads_that_change_between_steps_give_the_same_tokens",
    "adapting_gives_the_same_tokens_and_tells_the_numbers_in_use",
)
"""Tests that do not run there, by their names."""


def test(rust: CrossRust, arguments: list[str]) -> None:
    """Run the tests of all crates, or what Cargo is told of them."""
    folder = build_library(modules=MODULES, platform=AARCH64_LINUX)
    shim = build_shim(find_toolchain(AARCH64_LINUX))
    library = lay_out({path.name: path for path in [*folder.iterdir(), shim]}, TARGET_FOLDER / "aarch64-lib")
    settings = environment(rust, AARCH64)
    settings |= {"TABAGENT_LIBRARY_PATH": str(library), "TABAGENT_LLAMA_CPP_TREE": str(pinned_tree(read_pin()))}
    settings |= {"TABAGENT_TEST_MODELS": str(model_folder()), "TABAGENT_TEST_RUNNER": " ".join(runner(AARCH64))}
    # A test that decodes takes all cores, and threads that wait busily take them from another one's.
    settings |= {"RUST_TEST_THREADS": "1"}
    say("running the tests of all crates under QEMU")
    crates = [part for name in CRATES for part in ("-p", f"tabagent-{name}")]
    skips = [part for name in LEFT_OUT for part in ("--skip", name)]
    wanted = arguments or [*crates, "--lib", "--tests", "--", *skips]
    run(["cargo", "test", "--locked", "--quiet", "--no-fail-fast", "--target", AARCH64.triple, *wanted], settings)


def main() -> int:
    """Run the tests."""
    if missing := missing_programs([AARCH64]):
        sys.stderr.write(f"error: {missing}\n")
        return 1
    try:
        test(cross_rust([AARCH64]), sys.argv[1:])
    except (BuildError, fetching.FetchError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    say("all tests for AArch64 pass")
    return 0


if __name__ == "__main__":
    sys.exit(main())
