"""Runs tabagent on Windows, as far as Wine is one: `python tools/test_windows.py [STEP…]`, on Debian 12.

Steps, all of them unless some are named: `rust` runs the tests of all crates, those that need an engine on a `llama.dll` that mingw-w64 builds
from the pinned tree; `python` puts a wheel together, unpacks it into an official CPython and runs `tests/windows` there. The first run
builds llama.cpp and fetches the interpreter; both stay in the cache folder.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cross_cargo import TARGET_FOLDER, environment, missing_programs, run, run_by_wine, run_on_console, windows_path, wine_settings
from cross_rust import ROOT, TARGETS, CrossRust, cross_rust
from tabagent_build.assembly import assemble_wheel
from tabagent_build.errors import BuildError
from tabagent_build.fetching import fetching
from tabagent_build.library import build_library
from tabagent_build.pin import read_pin
from tabagent_build.platforms import X86_64_WINDOWS
from tabagent_build.progress import say
from tabagent_build.shim import build_shim
from tabagent_build.source import pinned_tree
from tabagent_build.toolchain import find_toolchain
from windows_python import windows_python

WINDOWS: Final = TARGETS[0]
MODULES: Final = ("ggml-cpu-x64", "ggml-cpu-haswell", "ggml-rpc")
"""The plainest CPU module, one with AVX2, and one that is for no CPU."""
TIMED: Final = "gemma_is_accepted_and_opens_in_milliseconds"
"""A test that is left out: it measures the times of an optimized build."""
MODEL: Final = "smollm2-135m-instruct-q4_1.gguf"
STEPS: Final = ("rust", "python")
BUILT: Final = ("--workspace", "--lib", "--bins", "--tests")
"""What Cargo makes for both steps. Without the tests it would compile nearly everything anew, because tests turn on features of other crates."""
CONTINUATION: Final = ROOT / "rust" / "model" / "tests" / "data" / "continuation.json"
"""What `tests/support/continuation.py` wrote on Linux."""


def libraries() -> dict[str, Path]:
    """The DLLs of llama.cpp with what lies beside them, by their names; built first if they are not in the cache."""
    folder = build_library(modules=MODULES, platform=X86_64_WINDOWS)
    shim = build_shim(find_toolchain(X86_64_WINDOWS))
    return {path.name: path for path in [*folder.iterdir(), shim]}


def lay_out(files: Mapping[str, Path], folder: Path) -> Path:
    """A folder with these files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, path in files.items():
        shutil.copyfile(path, folder / name)
    return folder


def model_folder() -> Path:
    """The folder of the test models; says what to do if the one that is needed is not there."""
    folder = fetching.cache_folder() / "models"
    if not (folder / MODEL).is_file():
        message = f"`{folder / MODEL}` is missing; run `make test-material`"
        raise BuildError(message)
    return folder


def test_environment(library: Path) -> dict[str, str]:
    """What tests read from the environment, with Windows' paths. Their skips are told, even where `CI` is set: not every model is there."""
    folders = {"TABAGENT_LIBRARY_PATH": library, "TABAGENT_TEST_MODELS": model_folder(), "TABAGENT_LLAMA_CPP_TREE": pinned_tree(read_pin())}
    return {name: windows_path(path) for name, path in folders.items()}


def test_rust(rust: CrossRust, library: Path, tests: list[str]) -> None:
    """Run the tests of all crates, or what Cargo is told of them."""
    say("running the tests of all crates under Wine")
    settings = environment(rust, WINDOWS) | test_environment(library)
    wanted = tests or [*BUILT, "--", "--skip", TIMED]
    run(["cargo", "test", "--locked", "--quiet", "--no-fail-fast", "--target", WINDOWS.triple, *wanted], settings)


def test_python(rust: CrossRust, files: Mapping[str, Path], tests: list[str]) -> None:
    """Put a wheel together, unpack it into CPython, and run the tests for Windows there."""
    say("building the Python extension and the program of child processes for Windows")
    run(["cargo", "build", "--locked", "--quiet", "--target", WINDOWS.triple, *BUILT], environment(rust, WINDOWS))
    built = TARGET_FOLDER / WINDOWS.triple / "debug"
    with tempfile.TemporaryDirectory(prefix="windows-", dir=TARGET_FOLDER) as name:
        work = Path(name)
        wheel = assemble_wheel(
            TARGET_FOLDER / "wheels", X86_64_WINDOWS, extension=built / "_native.dll", child=built / "tabagent-child.exe", libraries=files
        )
        say(f"running `tests/windows` on `{wheel.name}` under Wine")
        python = windows_python().with_package(wheel, work / "python")
        report = work / "report.json"
        settings = {
            **environment(rust, WINDOWS),
            **wine_settings(rust),
            "TABAGENT_TEST_MODEL": windows_path(model_folder() / MODEL),
            "TABAGENT_TEST_REFERENCE": windows_path(CONTINUATION),
            "TABAGENT_TEST_REPORT": windows_path(report),
            "TABAGENT_CACHE": windows_path(work / "cache"),
            "TABAGENT_TEST_CONSOLE": windows_path(work),
            "PYTHONUTF8": "0",
        }
        folder = ROOT / "tests" / "windows"
        shown = run_on_console([str(python), "-B", windows_path(folder / "console_program.py"), windows_path(work / "facts.json")], settings)
        (work / "transcript.txt").write_text(shown, encoding="utf-8")
        command = [str(python), "-B", "-m", "pytest", "-c", windows_path(folder / "pytest.ini"), "-p", "no:cacheprovider"]
        run_by_wine([*command, *(tests or [windows_path(folder)])], settings)
        check_report(report)


def check_report(report: Path) -> None:
    """Fail unless pytest came to its end and all passed: Wine's exit code is 0 also for a program that crashed."""
    if not report.is_file():
        message = "pytest did not come to its end under Wine"
        raise BuildError(message)
    counts = json.loads(report.read_text(encoding="utf-8"))
    if not counts["passed"] or counts["failed"]:
        message = f"tests failed under Wine: {counts['failed']} of {counts['passed'] + counts['failed']}"
        raise BuildError(message)


def main() -> int:
    """Run the steps."""
    parser = argparse.ArgumentParser(description="Run tabagent's tests on Windows, under Wine.")
    parser.add_argument("steps", nargs="*", choices=[*STEPS, []], metavar="STEP", help=f"of {', '.join(STEPS)}; without one all run")
    parser.add_argument("--tests", nargs=argparse.REMAINDER, default=[], help="what to tell `cargo test` or pytest in place of all tests")
    given = parser.parse_args()
    if missing := missing_programs([WINDOWS]):
        sys.stderr.write(f"error: {missing}\n")
        return 1
    try:
        rust = cross_rust([WINDOWS])
        files = libraries()
        if "rust" in (given.steps or STEPS):
            test_rust(rust, lay_out(files, TARGET_FOLDER / "windows-lib"), given.tests)
        if "python" in (given.steps or STEPS):
            test_python(rust, files, given.tests)
    except (BuildError, fetching.FetchError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    say("all tests for Windows pass")
    return 0


if __name__ == "__main__":
    sys.exit(main())
