"""The llama.cpp libraries on this machine, and which of them to use."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tabagent import _native
from tabagent._arguments import as_path
from tabagent._trial import library_probe
from tabagent.errors import VariantError

__all__ = [
    "Build",
    "Choice",
    "Gpu",
    "Variant",
    "auto_select_variant",
    "bundled_library",
    "choose_variant",
    "get_cpu_variant",
    "list_available_variants",
]

ENVIRONMENT: Final = "TABAGENT_LIBRARY_PATH"
ENTRY_POINTS: Final = "tabagent.variants"
PACKAGES: Final = {"llama-cpp-python": ("llama_cpp", "lib"), "llama-cpp-py-sync": ("llama_cpp_py_sync",)}
"""Packages that bring a libllama for their own use: the module of each, and the folder in it."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU, as a child process saw it through the modules of a companion package."""

    name: str
    """Its name for `devices=`, such as `cuda:0`."""
    description: str
    """Its product name."""
    kind: str
    """`discrete`, `integrated` (it uses the machine's memory), or `software` (a program that pretends to be one, such as Mesa's llvmpipe)."""
    vendor: str | None
    """Who made it, such as `nvidia`; None where unknown."""
    memory_total: int
    """Bytes of its memory; 0 where unknown."""
    driver: str | None
    """The version of its driver; None where unknown."""
    compute_capability: str | None
    """NVIDIA's number for what it can do, such as `9.0`."""
    fault: str | None
    """Why it is not used: it did not compute what the CPU computes. None for one that was proven."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """What build of llama.cpp a library is."""

    name: str
    """The build, such as `llama.cpp 0.5.0`."""
    layout: str
    """The layout of its structs, by the builds that have it."""
    evidence: str
    """What was seen of it, in words."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One llama.cpp build for one kind of machine, and whether it runs on this one."""

    name: str
    """The CPU module, such as `haswell`; the companion package that adds modules, such as `cuda`; a name in a BitnetRelease tree; or `built-in` where
    the CPU part is in the library."""
    source: str
    """How it was found: `explicit_path`, `environment`, `companion NAME`, `bitnet_release` or `bundled`."""
    path: str
    """Its directory."""
    library: str
    """Its llama.cpp library."""
    module: str | None
    """Its CPU module's file; None where there is none to choose."""
    family: str
    """`llama_cpp`, or `bit_net` for the fork with types of its own."""
    usable: bool
    """Whether it runs on this machine."""
    reason: str
    """Why it does or does not, and its rank."""
    score: int
    """How well it fits; 0 if it is not usable."""
    missing: tuple[str, ...]
    """Features that it needs and this machine lacks."""
    backends: tuple[str, ...] = ()
    """Modules that a companion package adds."""
    needed: tuple[str, ...] = ()
    """Libraries that these modules need."""
    gpus: tuple[Gpu, ...] = ()
    """The GPUs that these modules find."""
    only_named: bool = False
    """Whether `auto` never takes it: it has no GPU but a program that pretends to be one."""
    build: Build | None = None
    """What build it is, as a child process saw that loaded it; None where none did."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Variant:
        """A variant as the core describes it."""
        lists = {name: tuple(value[name]) for name in ("missing", "backends", "needed")}
        gpus = tuple(Gpu(**{name: gpu[name] for name in Gpu.__dataclass_fields__}) for gpu in value["gpus"])
        build = None if value["build"] is None else Build(**value["build"])
        return cls(**{**value, **lists, "source": _source(value["source"]), "gpus": gpus, "build": build})

    @property
    def cpu_module(self) -> str | None:
        """The name of its CPU module as `libggml-cpu-NAME` has it; None where there is none to choose."""
        if self.module is None:
            return None
        _, found, name = Path(self.module).name.rpartition("ggml-cpu-")
        return name.rpartition(".")[0] if found else None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The variant that a request led to."""

    requested: str
    """What was asked for."""
    variant: Variant
    """What was chosen; always usable."""
    warning: str | None
    """What the caller should know about it, such as that something was passed over."""


def list_available_variants() -> list[Variant]:
    """All variants found, best first, with the reason why each is usable here or not. Loads nothing into this process.

    What seems usable is tried in a child process, once for each library, CPU module and machine (a tenth of a second each).
    Looked at, in this order: `TABAGENT_LIBRARY_PATH`, companion packages, the bundled library, and the libraries of other installed packages such as
    `llama-cpp-python`, which `auto` never takes. A place that holds no library gives a warning.
    What GPUs a companion finds is asked in a child process, once for each driver.
    """
    environment, companions, bundled = _places()
    answer = json.loads(_native.variants_json(environment, companions, bundled, library_probe(), package_libraries()))
    for problem in answer["problems"]:
        warnings.warn(problem, stacklevel=2)
    return [Variant.from_json(verdict) for verdict in answer["verdicts"]]


def auto_select_variant() -> Variant:
    """The variant that `variant="auto"` stands for. Loads nothing into this process; a child process has tried it.

    Raises:
        VariantError: no library was found, or none that runs here.
    """
    choice = choose_variant("auto")
    if choice.warning is not None:
        warnings.warn(choice.warning, stacklevel=2)
    return choice.variant


def get_cpu_variant() -> str:
    """The name of the variant for this machine's CPU, such as `haswell` or `zen4`. Loads nothing into this process.

    Raises:
        VariantError: no library was found, or none that runs here.
    """
    return auto_select_variant().name


def choose_variant(request: str | os.PathLike[str], *, allow_unverified: bool = False) -> Choice:
    """The variant that a request stands for: `auto`, a name, or a path (a str with a separator, or a `PathLike`).

    A child process has tried it, or tries it now: what crashes, hangs or computes nonsense there is not loaded here.

    Raises:
        TypeError: the request is neither a str nor a path.
        VariantError: there is no such variant, or it does not run here.
    """
    wanted = as_path(request, "variant")
    if not wanted.strip():
        message = "`variant` is empty; ask for `auto`, a name such as `haswell`, or a path"
        raise VariantError(message)
    if not isinstance(request, str):
        # A lone word would be taken for a name.
        wanted = os.path.abspath(wanted)  # noqa: PTH100 (`wanted` may be a file; nothing is resolved)
    _check_unicode(wanted, "variant")
    environment, companions, bundled = _places()
    answer = json.loads(_native.select_variant_json(wanted, environment, companions, bundled, library_probe(), package_libraries(), allow_unverified))
    remarks = [remark for remark in (answer["warning"], *answer["problems"]) if remark]
    return Choice(requested=wanted, variant=Variant.from_json(answer["verdict"]), warning="; ".join(remarks) or None)


def bundled_library() -> str | None:
    """The directory of the libraries that came with this package; None in a package without them."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib")  # noqa: PTH100, PTH118, PTH120 (paths as the core takes them)
    return folder if os.path.isdir(folder) else None  # noqa: PTH112 (a path as the core takes it)


def package_libraries() -> list[tuple[str, str]]:
    """Names of other installed packages that bring a llama.cpp for themselves, and the directories of those. Imports none of them."""
    found = []
    for name, (module, *inside) in PACKAGES.items():
        # Of a package that is half removed there may be no folder.
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(module)
            for place in (spec.submodule_search_locations or ()) if spec is not None else ():
                folder = os.path.abspath(os.path.join(place, *inside))  # noqa: PTH100, PTH118 (a path as the core takes it)
                if os.path.isdir(folder) and folder.isprintable():  # noqa: PTH112 (as above)
                    found.append((name, folder))
    return found


def companion_libraries() -> list[tuple[str, str, list[str]]]:
    """Name, directory and needed libraries of each installed companion package; a broken one gives a warning and is left out.

    A companion declares an entry point in the group `tabagent.variants` that is a path (a `str` or `PathLike`) of a library directory, or of
    backend modules to be added to the bundled library; or a mapping with that `path` and `needed`, the paths of libraries to load before these
    modules; or a function without parameters that returns one of these.
    """
    if not _any_companion():
        return []
    from importlib.metadata import entry_points  # noqa: PLC0415 (slow to import, and only needed here)

    found = []
    for entry in _sorted_by_name(entry_points(group=ENTRY_POINTS)):
        try:
            value = entry.load()
            found.append((entry.name, *_companion(value() if callable(value) else value, f"{ENTRY_POINTS}.{entry.name}")))
        except Exception as error:  # noqa: BLE001 (a companion is another's code; whatever it raises must not stop the others)
            message = f"the companion package `{entry.name}` (`{entry.value}`) is broken and was left out: {type(error).__name__}: {error}"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
    return found


def _companion(value: object, name: str) -> tuple[str, list[str]]:
    """The directory that a companion names, and the libraries that its modules need."""
    path, needed = (value.get("path"), value.get("needed", ())) if isinstance(value, Mapping) else (value, ())
    paths = [as_path(path, name), *(as_path(library, f"{name}.needed") for library in needed)]
    for each in paths:
        _check_unicode(each, name)
    return paths[0], paths[1:]


def _any_companion() -> bool:
    """Whether an installed package may be a companion: a quick look that saves the 40 ms of `importlib.metadata` where there is none."""
    for place in sys.path:
        if os.path.isfile(place):  # noqa: PTH113 (an archive: `importlib.metadata` can look into it)
            return True
        with contextlib.suppress(OSError), os.scandir(place or ".") as entries:
            if any(_may_be_companion(entry.path) for entry in entries if entry.name.endswith("-info")):
                return True
    return False


def _may_be_companion(package_info: str) -> bool:
    """Whether a package's own list of entry points names our group."""
    with contextlib.suppress(OSError), open(f"{package_info}/entry_points.txt", "rb") as file:  # noqa: PTH123 (one of many small reads)
        return ENTRY_POINTS.encode() in file.read()
    return False


def _places() -> tuple[str | None, list[tuple[str, str, list[str]]], str | None]:
    """Where to look: the environment's paths, companion packages, the bundled directory."""
    environment, bundled = os.environ.get(ENVIRONMENT) or None, bundled_library()
    for path, name in ((environment, ENVIRONMENT), (bundled, "tabagent")):
        if path is not None:
            _check_unicode(path, name)
    return environment, companion_libraries(), bundled


def _check_unicode(path: str, name: str) -> None:
    """Refuse paths of libraries that are no Unicode, which cannot be told in JSON.

    Raises:
        VariantError: it is one.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        shown = path.encode("utf-8", "replace").decode()
        message = f"`{name}` leads to `{shown}`, whose name is not valid UTF-8; libraries are found in no such place, so rename it or link to it"
        raise VariantError(message) from None


def _sorted_by_name(entries: Iterable[Any]) -> list[Any]:
    return sorted(entries, key=lambda entry: (entry.name, entry.value))


def _source(value: object) -> str:
    """How a library was found, from the core's tagged value."""
    if isinstance(value, Mapping):
        ((kind, details),) = value.items()
        return f"{kind} {details['name']}"
    return str(value)
