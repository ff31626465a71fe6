"""llama.cpp's shared libraries: built once for each pin, option set and compiler, then copied beside the package."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

from tabagent_build.build_tree import CPU_PREFIX, OPTIONS, BuildTree, recipe
from tabagent_build.cache import locked
from tabagent_build.elf import glibc_text
from tabagent_build.errors import BuildError
from tabagent_build.fetching import ROOT, fetching
from tabagent_build.pin import Pin, read_pin
from tabagent_build.platforms import Platform
from tabagent_build.progress import say
from tabagent_build.shim import build_shim
from tabagent_build.source import Source, find_source
from tabagent_build.toolchain import Toolchain, find_toolchain, job_count

__all__ = ["BUILD_INFO", "LIBRARY_FOLDER", "OPTIONS", "Modules", "build_library", "install_library", "missing_modules", "read_info"]

LIBRARY_FOLDER = ROOT / "python" / "tabagent" / "lib"
"""Where the package looks for its bundled libraries."""

BUILD_INFO = "build-info.json"
"""Beside the libraries: what they were built from, the hash of each, and which modules there are for the platform."""

LICENSE = "LICENSE.llama.cpp"

Modules = Literal["all", "own"] | tuple[str, ...]
"""`"all"`: every module of ggml, which a wheel must have; `"own"`: those that this machine needs, which build in a quarter of the time; or names."""

CORE_SECONDS: Final = 200
MODULE_SECONDS: Final = 40
"""Seconds of one core that the libraries and each CPU module take, for the announcement."""


def build_library(pin: Pin | None = None, *, modules: Modules = "all", platform: Platform | None = None) -> Path:
    """The folder in the cache that holds the libraries for a platform (None: this one); builds first what is not there.

    One folder serves both kinds of build: modules are added to it, and no file in it is changed or taken away.

    Raises:
        BuildError: the platform is not supported, a tool or a module of that name is missing, or the compilation failed.
        FetchError: the source cannot be fetched.
    """
    pin = pin or read_pin()
    toolchain = find_toolchain(platform)
    source = find_source(pin)
    key = _key(source, toolchain)
    folder = fetching.cache_folder() / "libraries" / key
    if _has(read_info(folder), modules):
        return folder
    with locked(folder, lambda: say("another build of the same libraries is running; waiting for it")):
        info = read_info(folder)
        if not _has(info, modules):
            tree = BuildTree.in_cache(fetching.cache_folder() / "builds", key, source, pin, toolchain)
            _complete(folder, info, tree, key, modules)
    return folder


def install_library(folder: Path = LIBRARY_FOLDER, *, modules: Modules = "all") -> Path:
    """Make `folder` hold the built libraries, and nothing else; quick when it does already."""
    built = build_library(modules=modules)
    shim = build_shim(find_toolchain())
    # The lock lies outside the package, or the wheel would carry it.
    with locked(ROOT / "build" / folder.name):
        wanted = (built / BUILD_INFO).read_bytes()
        files = {name: facts["size"] for name, facts in json.loads(wanted)["libraries"].items()}
        files |= {BUILD_INFO: len(wanted), LICENSE: (built / LICENSE).stat().st_size, shim.name: shim.stat().st_size}
        if _holds(folder, files, {BUILD_INFO: wanted, shim.name: shim.read_bytes()}):
            return folder
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        try:
            # By name: another process may be adding modules to the cache.
            for name in files.keys() - {BUILD_INFO, shim.name}:
                shutil.copy2(built / name, fresh / name)
            shutil.copy2(shim, fresh / shim.name)
            (fresh / BUILD_INFO).write_bytes(wanted)
            fresh.chmod(0o755)
            if folder.exists():
                shutil.rmtree(folder)
            fresh.rename(folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
    return folder


def read_info(folder: Path) -> Mapping[str, Any] | None:
    """What the folder's `build-info.json` says; None if there are no finished libraries."""
    try:
        info: dict[str, Any] = json.loads((folder / BUILD_INFO).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return info


def missing_modules(info: Mapping[str, Any]) -> list[str]:
    """The modules of the platform that are not among the libraries of a `build-info.json`."""
    return [module for module in info["modules"] if not _is_there(module, info)]


def _is_there(module: str, info: Mapping[str, Any]) -> bool:
    return any(Path(name).stem.removeprefix("lib") == module for name in info["libraries"])


def _has(info: Mapping[str, Any] | None, modules: Modules) -> bool:
    """Whether nothing can be missing of the modules that are asked for."""
    if isinstance(modules, tuple):
        return info is not None and all(_is_there(module, info) for module in modules)
    return _is_complete(info)


def _is_complete(info: Mapping[str, Any] | None) -> bool:
    return info is not None and not missing_modules(info)


def _key(source: Source, toolchain: Toolchain) -> str:
    """The name of the result: a hash of all that it depends on."""
    platform = toolchain.platform
    parts = [source.identity, toolchain.identity, json.dumps(OPTIONS | platform.options, sort_keys=True), platform.system.link_flags]
    parts += [f"stripped {fetching.sha256_of(path)}" for path in toolchain.runtime]
    parts += [f"{name}\n{content.decode()}" for name, content in recipe().items()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:20]


def _complete(folder: Path, info: Mapping[str, Any] | None, tree: BuildTree, key: str, modules: Modules) -> None:
    """Add to the folder what is missing of the modules that were asked for; the caller holds its lock."""
    start = time.monotonic()
    tree.configure()
    if modules == "own":
        say("asking ggml which of its CPU modules suit this machine")
        tree.prepare_scores()
    wanted = _wanted(tree, modules)
    there = set(info["libraries"]) if info else set()
    lacking = [module for module in wanted if not info or not _is_there(module, info)]
    if info and not lacking:
        return
    say(_announcement(tree, lacking, with_core=info is None))
    built = tree.build(wanted)
    _publish(built, folder, tree, key)
    say(f"built {len({path.name for path in built} - there)} libraries in {time.monotonic() - start:.0f} s")
    if _is_complete(read_info(folder)):
        # Everything is built, so the tree cannot save time any more.
        shutil.rmtree(tree.folder, ignore_errors=True)


def _wanted(tree: BuildTree, modules: Modules) -> tuple[str, ...]:
    if modules == "all":
        return tree.modules()
    if modules == "own":
        return tree.own_modules()
    if unknown := [module for module in modules if module not in tree.modules()]:
        message = f"ggml has no module `{unknown[0]}` for this platform; it has `{'`, `'.join(tree.modules())}`"
        raise BuildError(message)
    return modules


def _announcement(tree: BuildTree, lacking: Sequence[str], *, with_core: bool) -> str:
    """What will be built, and for how long."""
    cpu = [module.removeprefix(CPU_PREFIX) for module in lacking if module.startswith(CPU_PREFIX)]
    every = sum(module.startswith(CPU_PREFIX) for module in tree.modules())
    jobs = job_count()
    minutes = (CORE_SECONDS * with_core + MODULE_SECONDS * len(cpu)) / jobs / 60
    names = f" ({', '.join(cpu)})" if len(cpu) < every else ""
    what = f"llama.cpp and {len(cpu)} of its {every} CPU modules" if with_core else f"{len(cpu)} more of the {every} CPU modules of llama.cpp"
    took = f"about {max(1, round(minutes))} minute{'s' if round(minutes) > 1 else ''} on {jobs} core{'s' if jobs > 1 else ''}"
    return f"building {what}{names} from `{tree.source.folder}`: {took}; the result is kept in the cache"


def _publish(built: Sequence[Path], folder: Path, tree: BuildTree, key: str) -> None:
    """Put the libraries into the folder, each whole or not at all; they count from the moment on in which the last file lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    for abandoned in folder.glob(".*.part"):
        abandoned.unlink()
    info = read_info(folder)
    libraries = dict(info["libraries"]) if info else {}
    for path in built:
        if path.name not in libraries:
            with path.open("rb") as source, fetching.atomic_file(folder / path.name) as copy:
                shutil.copyfileobj(source, copy)
            (folder / path.name).chmod(0o755)
            libraries[path.name] = {"size": path.stat().st_size, "sha256": fetching.sha256_of(path)}
    with fetching.atomic_file(folder / LICENSE) as copy:
        copy.write((tree.source.folder / "LICENSE").read_bytes())
    with fetching.atomic_file(folder / BUILD_INFO) as file:
        file.write((json.dumps(_info(folder, tree, key, libraries), indent=1) + "\n").encode())


def _info(folder: Path, tree: BuildTree, key: str, libraries: Mapping[str, Any]) -> dict[str, Any]:
    """State what the libraries are; nothing in it names this machine's folders."""
    pin, source = tree.pin, tree.source
    return {
        "key": key,
        "source": {"pinned": source.is_pinned, "file_name": pin.source.file_name if source.is_pinned else None, "identity": source.identity},
        "llama_cpp": {"version": pin.version, "commit": pin.commit, "ggml_version": pin.ggml_version} if source.is_pinned else None,
        "options": {**OPTIONS, **tree.toolchain.platform.system.options},
        "compiler": tree.toolchain.identity.splitlines()[0],
        "glibc": glibc_text(folder / name for name in libraries) if tree.toolchain.platform.system.name == "Linux" else None,
        "modules": sorted(tree.modules()),
        "libraries": dict(sorted(libraries.items())),
    }


def _holds(folder: Path, sizes: Mapping[str, int], contents: Mapping[str, bytes]) -> bool:
    """Whether the folder has files of these sizes and no others, and some of them with these contents."""
    if not folder.is_dir() or {path.name: path.stat().st_size for path in folder.iterdir()} != sizes:
        return False
    return all((folder / name).read_bytes() == content for name, content in contents.items())
