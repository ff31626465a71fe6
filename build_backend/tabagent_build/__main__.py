"""The backend's steps, one by one: `python -m tabagent_build STEP`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tabagent_build import bench_tools, child_program, hooks, library, source
from tabagent_build.errors import BuildError
from tabagent_build.fetching import fetching
from tabagent_build.pin import read_pin

STEPS: dict[str, tuple[str, Callable[[], Path]]] = {
    "cache": ("the cache folder", fetching.cache_folder),
    "source": ("the pinned llama.cpp tree, fetched and unpacked", lambda: source.pinned_tree(read_pin())),
    "library": ("python/tabagent/lib, filled with the built libraries", library.install_library),
    "child": ("python/tabagent/bin, filled with the program of child processes", lambda: child_program.install_child("editable")),
    "wheel": ("the wheel, in dist/", lambda: Path("dist") / hooks.build_wheel("dist")),
    "bench-tools": ("the folder of llama-bench, llama-quantize and llama-server, built against the same libraries", bench_tools.build_bench_tools),
}


def main() -> int:
    """Do one step and print the path of its result."""
    parser = argparse.ArgumentParser(prog="python -m tabagent_build", description="Do one step of the build and print the path of its result.")
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    parsers = {name: steps.add_parser(name, help=text) for name, (text, _) in STEPS.items()}
    parsers["library"].add_argument("--own-modules", action="store_true", help="build no CPU modules but those that this machine needs")
    parsers["child"].add_argument("--release", action="store_true", help="build it as the wheel has it")
    given = parser.parse_args()
    try:
        if getattr(given, "own_modules", False):
            result = library.install_library(modules="own")
        elif getattr(given, "release", False):
            result = child_program.install_child("release")
        else:
            result = STEPS[given.step][1]()
    except KeyboardInterrupt:
        # What was built so far is kept.
        return 130
    except (BuildError, fetching.FetchError) as error:
        sys.stderr.write(f"tabagent: {error}\n")
        return 1
    sys.stdout.write(f"{result}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
