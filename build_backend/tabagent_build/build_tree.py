"""The folder in which CMake and Ninja build llama.cpp: kept until all is built, so that a later build goes on where one stopped."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tabagent_build.errors import BuildError
from tabagent_build.ninja import run_ninja
from tabagent_build.pin import Pin
from tabagent_build.progress import BuildProgress
from tabagent_build.source import Source
from tabagent_build.toolchain import Toolchain, job_count, run

__all__ = ["CPU_PREFIX", "OPTIONS", "BuildTree", "recipe"]

OPTIONS: Final = {
    "BUILD_SHARED_LIBS": "ON",
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_BACKEND_DL": "ON",
    "GGML_CCACHE": "OFF",
    "GGML_CPU_ALL_VARIANTS": "ON",
    "GGML_NATIVE": "OFF",
    "GGML_OPENMP": "OFF",
    "GGML_RPC": "ON",
    "LLAMA_BUILD_COMMON": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_SERVER": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_TOOLS": "OFF",
}
"""What CMake is told on every platform."""

CPU_PREFIX: Final = "ggml-cpu-"
"""How the names of the CPU modules begin; a processor needs one of them."""

RECIPE_FOLDER: Final = Path(__file__).parent / "cmake"


def recipe() -> dict[str, bytes]:
    """The files that tell CMake what to build, by name."""
    return {path.name: path.read_bytes() for path in sorted(RECIPE_FOLDER.iterdir()) if path.is_file()}


@dataclass(frozen=True)
class BuildTree:
    """A build folder for one source and one set of tools; only one process at a time may use it."""

    folder: Path
    source: Source
    pin: Pin
    toolchain: Toolchain

    @classmethod
    def in_cache(cls, builds: Path, key: str, source: Source, pin: Pin, toolchain: Toolchain) -> BuildTree:
        """The tree of a result. CMake ties it to the paths of the folder, the source and the compilers, so these are part of its name."""
        paths = [str(builds), str(source.folder), *toolchain.c_compiler, *toolchain.cxx_compiler]
        return cls(builds / f"{key}-{hashlib.sha256(chr(0).join(paths).encode()).hexdigest()[:8]}", source, pin, toolchain)

    def configure(self) -> None:
        """Have CMake write what Ninja builds; quick, and without effect on what was built already."""
        # A copy, because the clone that started the build may be gone, or be another one, when a later build goes on.
        recipe_folder = self.folder / "recipe"
        recipe_folder.mkdir(parents=True, exist_ok=True)
        for name, content in recipe().items():
            path = recipe_folder / name
            # An untouched file keeps its time, and with it all that was made from it.
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)
        tools = self.toolchain
        command = [tools.cmake, "-S", str(recipe_folder), "-B", str(self._build), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tools.ninja}"]
        platform = tools.platform
        command += [f"-D{name}={value}" for name, value in {**OPTIONS, **platform.options}.items()]
        command += [f"-DTABAGENT_LLAMA_CPP_SRC={self.source.folder}"]
        command += [f"-DCMAKE_{kind}_LINKER_FLAGS={tools.link_flags}" for kind in ("SHARED", "MODULE")]
        if self.source.is_pinned:
            # The tree is no repository. CMake must not ask git, which would find whatever repository lies around the cache.
            command += ["-DGIT_EXE=OFF", "-DGIT_EXECUTABLE=OFF", f"-DLLAMA_BUILD_COMMIT={self.pin.commit}", "-DLLAMA_BUILD_NUMBER=0"]
        run(command, env=dict(self._environment()))

    def modules(self) -> tuple[str, ...]:
        """All modules of ggml that there are for this platform."""
        return tuple(self._scored())

    def own_modules(self) -> tuple[str, ...]:
        """The modules that a build for this machine needs: the best one for its processor and the plainest one, and all that are not for a CPU.

        ggml's own rule decides, as it does when the library is loaded; where it has none, all modules are needed.
        """
        scored = self._scored()
        scores = {module: self._score(module) for module, has_score in scored.items() if has_score}
        usable = {module: score for module, score in scores.items() if score > 0}
        if not usable:
            return self.modules()
        chosen = {max(usable, key=usable.__getitem__), min(usable, key=usable.__getitem__)}
        return tuple(module for module in scored if module in chosen or not module.startswith(CPU_PREFIX))

    def prepare_scores(self) -> None:
        """Build the small programs that `own_modules` asks; quick when they are there."""
        programs = [f"{module}-score" for module, has_score in self._scored().items() if has_score]
        self._ninja(programs, BuildProgress(only_rewritten=True))

    def build(self, modules: Iterable[str]) -> list[Path]:
        """Build the library with these modules. Returns the files, which stay in the tree."""
        platform, modules = self.toolchain.platform, list(modules)
        self._ninja(["llama", *modules], BuildProgress())
        names = [platform.library_name(target) for target in ("ggml-base", "ggml", "llama")] + [platform.module_name(target) for target in modules]
        return [self._build / "bin" / name for name in names] + [self._stripped(library) for library in self.toolchain.runtime]

    def _stripped(self, library: Path) -> Path:
        folder = self.folder / "runtime"
        folder.mkdir(exist_ok=True)
        self.toolchain.strip(library, folder / library.name)
        return folder / library.name

    @property
    def _build(self) -> Path:
        return self.folder / "build"

    def _ninja(self, targets: list[str], progress: BuildProgress) -> None:
        if targets:
            run_ninja(self.toolchain.ninja, self._build, targets, job_count(), self._environment(), progress=progress)

    def _scored(self) -> dict[str, bool]:
        """Each module, and whether there is a program that tells its score."""
        lines = (self._build / "modules.txt").read_text(encoding="utf-8").splitlines()
        return {line.split()[0]: line.endswith(" scored") for line in lines}

    def _score(self, module: str) -> int:
        program = self._build / "scores" / f"{module}-score"
        try:
            done = subprocess.run([str(program)], capture_output=True, text=True, check=True)
            return int(done.stdout)
        except (OSError, subprocess.CalledProcessError, ValueError) as error:
            message = f"`{program}` does not tell the score of the CPU module `{module}` ({error}); remove `{self.folder}` and build again"
            raise BuildError(message) from error

    def _environment(self) -> Mapping[str, str]:
        env = {name: value for name, value in os.environ.items() if name not in {"GIT_DIR", "GIT_WORK_TREE"}}
        env["GIT_CEILING_DIRECTORIES"] = str(self.source.folder.parent)
        env["CC"], env["CXX"] = " ".join(self.toolchain.c_compiler), " ".join(self.toolchain.cxx_compiler)
        return env
