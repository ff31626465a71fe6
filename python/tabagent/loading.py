"""From what a user asks for to a model file and a loaded llama.cpp."""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tabagent import _native, log
from tabagent._arguments import as_path, is_iterable, type_name
from tabagent._placement import backends_of
from tabagent._trial import crash_file
from tabagent.errors import ModelNotFoundError, OutOfMemoryError
from tabagent.info import DeviceInfo, VariantInfo
from tabagent.tuning import Tuning
from tabagent.variants import Choice, choose_variant, companion_libraries

__all__ = [
    "LoadedLibrary",
    "choose_library",
    "fallback_paths",
    "load_first",
    "open_library",
    "resolve_model_path",
    "rewriting",
    "warn_of_missing_gpu",
    "warn_of_too_many_threads",
]

DEMO = "demo"


@dataclass(frozen=True, kw_only=True)
class LoadedLibrary:
    """The llama.cpp library of this process, or of a model's own."""

    directory: str
    """Its directory."""
    module: str | None
    """The CPU module that it was opened with; the core is told it again when a model is loaded."""
    devices: tuple[DeviceInfo, ...]
    """What it can compute with."""
    variant: VariantInfo
    """What was asked for, what was got, and why."""
    backends: tuple[str, ...] = ()
    """Modules of a companion package that another process is to load with it."""
    needed: tuple[str, ...] = ()
    """Libraries that these modules need."""

    def as_found(self, answer: str | None) -> LoadedLibrary:
        """The library as the process that has loaded it describes it; it itself if that is this process (None)."""
        if answer is None:
            return self
        asked = self.variant
        return _described(json.loads(answer), requested=asked.requested, name=asked.name, source=asked.source, reason=asked.reason)

    def as_chosen_by(self, tuning: Tuning) -> LoadedLibrary:
        """The library where `auto` was asked for and a measurement led to it; it itself where the measurement names none."""
        if tuning.variant is None:
            return self
        reason = "`tabagent variants --benchmark` measured that it is the fastest for such models"
        return dataclasses.replace(self, variant=dataclasses.replace(self.variant, requested="auto", reason=reason))


def resolve_model_path(path: str | os.PathLike[str]) -> str:
    """The model file that is meant: `demo` is the demo model (downloaded once), anything else a path, in which `~` is the home directory.

    Raises:
        TypeError: it is neither a str nor a path.
        ModelNotFoundError: the demo model is not here and cannot be downloaded.
    """
    if isinstance(path, str) and path == DEMO:
        return _demo_model()
    wanted = as_path(path, "path")
    if not wanted:
        message = "`path` is empty; give the path of a GGUF file, or `demo`"
        raise ValueError(message)
    return wanted


def fallback_paths(fallback: object) -> list[str]:
    """The files of models to load when the one before does not fit."""
    if isinstance(fallback, (str, bytes, os.PathLike)) or not is_iterable(fallback):
        message = f"`fallback` must be a sequence of paths, got {type_name(fallback)}"
        raise TypeError(message)
    paths: Iterable[Any] = fallback  # type: ignore[assignment] # it is one
    return [resolve_model_path(as_path(path, f"fallback[{index}]")) for index, path in enumerate(paths)]


def load_first(
    files: Sequence[str], library: LoadedLibrary, options: Mapping[str, Any], progress: Callable[[float], object] | None
) -> tuple[_native.Model, str, list[str]]:
    """Load the first of the models that fits into memory. Returns it, its file, and sentences that say what was changed so that it fits.

    Raises:
        OutOfMemoryError: none fits.
    """
    adjustments: list[str] = []
    for index, file in enumerate(files):
        try:
            native = _native.Model.load(file, library=library.directory, module=library.module, options=options, progress=progress)
        except OutOfMemoryError as error:
            if index + 1 == len(files):
                raise
            adjustments.append(f"`{file}` does not fit, so `{files[index + 1]}` is loaded: {error}")
            continue
        finally:
            log.forward()
        if fitted := native.facts()["fitted"]:
            from tabagent.memory import MemoryPrediction  # noqa: PLC0415 (it imports this module)

            asked, taken = MemoryPrediction.from_native(fitted["asked"]), MemoryPrediction.from_native(fitted["taken"])
            free = (asked.available or 0) >> 20
            adjustments.append(f"`{file}` is loaded with {taken}, not with {asked}: {free:,} MiB are free")
        if why := native.facts()["why_fewer_gpu_layers"]:
            got, layers = native.facts()["gpu_layers"], native.facts()["layers"] + 1
            adjustments.append(f'`gpu_layers="auto"` put {got} of {layers} layers of `{file}` on the GPU: {why}')
        return native, file, adjustments
    message = "no model to load"
    raise ValueError(message)


def rewriting(facts: Mapping[str, Any], file: str) -> tuple[str, bool] | None:
    """What to say of a model that was loaded from a rewritten file, and whether that was written just now; None for any other model."""
    if facts["rewritten"] is None:
        return None
    path, is_new = facts["rewritten"]
    kept = f", which takes {-(-os.path.getsize(path) >> 20):,} MiB and is used from now on" if is_new else ""  # noqa: PTH202 (light)
    return f"`{file}` has `I2_S` tensors, which llama.cpp cannot load; it is loaded from the exactly rewritten `{path}`{kept}", is_new


def open_library(request: str | os.PathLike[str], devices: Sequence[str] | None = None, *, allow_unverified: bool = False) -> LoadedLibrary:
    """Load llama.cpp for a request, or take the one that this process has already, and describe it.

    A process has one llama.cpp: `auto` takes what is loaded; another library than the loaded one is refused by the core. Where nothing is loaded,
    `auto` with `devices` of one backend takes the companion package of that name. With `allow_unverified`, a build that is not known loads where
    exactly one layout fits.

    Raises:
        VariantError: there is no such variant, or it does not run here.
        LibraryLoadError: the library cannot be loaded.
        LibraryAlreadyLoadedError: this process uses another one.
    """
    log.follow_level()
    loaded = _native.loaded_library()
    if isinstance(request, str) and request.strip().lower() == "auto":
        if loaded is not None:
            return _described(json.loads(loaded), requested="auto", name=None, source="process", reason="this process uses it already")
        request = _companion_of(devices) or request
    choice = _choice(request, allow_unverified=allow_unverified)
    variant = choice.variant
    try:
        answer = json.loads(_native.open_library(variant.path, variant.cpu_module, crash_file(), variant.backends, variant.needed, allow_unverified))
    finally:
        log.forward()
    return _described(answer, requested=choice.requested, name=variant.name, source=variant.source, reason=variant.reason)


def choose_library(request: str | os.PathLike[str], devices: Sequence[str] | None = None) -> LoadedLibrary:
    """The llama.cpp for a request, to be loaded in another process; what this process has loaded does not matter. Its devices are known there.

    Raises:
        VariantError: there is no such variant, or it does not run here.
    """
    log.follow_level()
    if isinstance(request, str) and request.strip().lower() == "auto":
        request = _companion_of(devices) or request
    choice = _choice(request)
    variant = choice.variant
    answer = {"directory": variant.path, "cpu_module": variant.cpu_module, "build": "", "devices": ()}
    described = _described(answer, requested=choice.requested, name=variant.name, source=variant.source, reason=variant.reason)
    return dataclasses.replace(described, backends=variant.backends, needed=variant.needed)


def _choice(request: str | os.PathLike[str], *, allow_unverified: bool = False) -> Choice:
    choice = choose_variant(request, allow_unverified=allow_unverified)
    if choice.warning is not None:
        warnings.warn(choice.warning, stacklevel=5)
    return choice


def warn_of_missing_gpu(layers: int | None, library: LoadedLibrary) -> None:
    """Warn whoever called `Model.load` of layers that they wanted on a GPU that is not there."""
    if layers is not None and layers > 0 and not any(device.is_gpu for device in library.devices):
        message = f"`gpu_layers={layers}` was asked for, but llama.cpp finds no GPU here; the model runs on the CPU"
        warnings.warn(message, RuntimeWarning, stacklevel=3)


def _companion_of(devices: Sequence[str] | None) -> str | None:
    """The companion package for the one backend that all the named devices belong to; None where there is no such package."""
    backends = backends_of(devices)
    if len(backends) != 1:
        return None
    names = {name for name, _, _ in companion_libraries()}
    return next(iter(backends & names), None)


def warn_of_too_many_threads(threads: int) -> None:
    """Warn whoever called `Model.load` of more threads than cores."""
    from tabagent.machine import hardware  # noqa: PLC0415 (needed here alone)

    usable = hardware().budget.usable
    if threads > usable:
        message = f"`threads={threads}` is more than the {usable} cores this process may use; the threads wait for each other, which is slower"
        warnings.warn(message, RuntimeWarning, stacklevel=3)


def _described(answer: Mapping[str, Any], *, requested: str, name: str | None, source: str, reason: str) -> LoadedLibrary:
    module: str | None = answer["cpu_module"]
    variant = VariantInfo(
        requested=requested,
        name=name or module or "built-in",
        library=answer["directory"],
        source=source,
        reason=reason,
        build=answer["build"],
        cpu_module=module,
    )
    devices = tuple(DeviceInfo.from_json(device) for device in answer["devices"])
    return LoadedLibrary(directory=answer["directory"], module=module, devices=devices, variant=variant)


def _demo_model() -> str:
    """The demo model's file."""
    from tabagent._demo import find_demo_model  # noqa: PLC0415 (its download code is needed only here)

    try:
        return str(find_demo_model())
    except OSError as error:
        message = f"the demo model cannot be fetched: {error}"
        raise ModelNotFoundError(message) from error
