"""The backend's steps, one by one: `python -m tabagent_build STEP`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from tabagent_build import bench_tools, library, source
from tabagent_build.errors import BuildError
from tabagent_build.fetching import fetching
from tabagent_build.pin import read_pin

STEPS: dict[str, tuple[str, Callable[[], Path]]] = {
    "cache": ("the cache folder", fetching.cache_folder),
    "source": ("the pinned llama.cpp tree, fetched and unpacked", lambda: source.pinned_tree(read_pin())),
    "library": ("python/tabagent/lib, filled with the built libraries", library.install_library),
    "bench-tools": ("the folder of llama-bench and llama-quantize, built against the same libraries", bench_tools.build_bench_tools),
}


def main() -> int:
    """Do one step and print the path of its result."""
    parser = argparse.ArgumentParser(prog="python -m tabagent_build", description="Do one step of the build and print the path of its result.")
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    for name, (text, _) in STEPS.items():
        steps.add_parser(name, help=text)
    chosen = parser.parse_args().step
    try:
        result = STEPS[chosen][1]()
    except (BuildError, fetching.FetchError) as error:
        sys.stderr.write(f"tabagent: {error}\n")
        return 1
    sys.stdout.write(f"{result}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
