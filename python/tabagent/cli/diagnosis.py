"""The checks of `tabagent doctor`, each with what was found and what to do."""

import json
import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tabagent.cli.failure import one_line
from tabagent.cli.units import bytes_text
from tabagent.errors import IncompatibleLibraryError, TabagentError

if TYPE_CHECKING:
    from tabagent import DeviceInfo, Hardware, Variant

__all__ = ["Check", "Diagnosis", "LibraryFacts", "PythonFacts", "diagnose", "relevant_environment"]

WATCHED: Final = (
    "HF_ENDPOINT",
    "HF_HOME",
    "HF_HUB_CACHE",
    "HF_HUB_OFFLINE",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "CUDA_VISIBLE_DEVICES",
    "XDG_CACHE_HOME",
)
WATCHED_PREFIXES: Final = ("TABAGENT_", "GGML_", "LLAMA_")
LITTLE_MEMORY: Final = 512 << 20

GOLDEN_PROMPT: Final = "1, 2, 3, 4, 5, 6,"
GOLDEN_TEXT: Final = " 7, 8, 9,"
GOLDEN_TOKENS: Final = 9


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    status: Literal["ok", "problem", "skipped"]
    found: str
    remedy: str | None = None


@dataclass(frozen=True, kw_only=True)
class PythonFacts:
    """The interpreter."""

    version: str
    executable: str


@dataclass(frozen=True, kw_only=True)
class LibraryFacts:
    """The llama.cpp that was loaded."""

    directory: str
    build: str
    ggml_version: str
    cpu_module: str | None
    devices: "tuple[DeviceInfo, ...]"


@dataclass(kw_only=True)
class Diagnosis:
    """Everything that was found."""

    version: str
    package: str
    python: PythonFacts
    machine: "Hardware"
    environment: Mapping[str, str]
    predicted: str | None = None
    library: LibraryFacts | None = None
    checks: list[Check] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no check found a problem."""
        return all(check.status != "problem" for check in self.checks)

    def passed(self, name: str, found: str) -> None:
        """Note that something is as it should be."""
        self.checks.append(Check(name=name, status="ok", found=found))

    def failed(self, name: str, found: str, remedy: str | None) -> None:
        """Note a problem and what to do; None where `found` says it already."""
        self.checks.append(Check(name=name, status="problem", found=found, remedy=remedy))

    def skipped(self, name: str, why: str) -> None:
        """Note that something was not looked at."""
        self.checks.append(Check(name=name, status="skipped", found=why))


def diagnose() -> Diagnosis:
    """Run all checks, which loads llama.cpp into this process."""
    import tabagent  # noqa: PLC0415 (not needed for `--help`)

    diagnosis = Diagnosis(
        version=tabagent.__version__,
        package=str(Path(tabagent.__file__).parent),
        python=PythonFacts(version=sys.version.split()[0], executable=sys.executable),
        machine=tabagent.hardware(),
        environment=relevant_environment(os.environ),
    )
    _check_memory(diagnosis)
    variant = _check_selection(diagnosis)
    if variant is None or not _check_loading(diagnosis, variant):
        diagnosis.skipped("generation", "there is no library to generate with")
        return diagnosis
    _check_module(diagnosis, variant)
    _check_generation(diagnosis)
    return diagnosis


def relevant_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that change how tabagent, llama.cpp or the loader works; secrets only as set."""
    chosen = {name: value for name, value in environment.items() if name in WATCHED or name.startswith(WATCHED_PREFIXES)}
    if environment.get("HF_TOKEN"):
        chosen |= {"HF_TOKEN": "(set)"}
    return dict(sorted(chosen.items()))


def _check_memory(diagnosis: Diagnosis) -> None:
    memory = diagnosis.machine.memory
    if memory is None:
        diagnosis.skipped("memory", "it cannot be read on this system")
    elif memory.available_bytes < LITTLE_MEMORY:
        diagnosis.failed(
            "memory", f"only {bytes_text(memory.available_bytes)} are available", "end other programs, or raise the container's memory limit"
        )
    else:
        diagnosis.passed("memory", f"{bytes_text(memory.available_bytes)} available")


def _check_selection(diagnosis: Diagnosis) -> "Variant | None":
    """Which variant `auto` stands for."""
    from tabagent import VariantError, auto_select_variant, list_available_variants  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always")
        found = list_available_variants()
        try:
            variant = auto_select_variant()
        except VariantError as error:
            diagnosis.failed("variant", one_line(error), None)
            return None
    for text in dict.fromkeys(" ".join(str(remark.message).split()) for remark in remarks):
        diagnosis.failed("variant", text, "correct or unset the variable, or reinstall the package, that it names")
    diagnosis.predicted = variant.name
    usable = sum(other.usable for other in found)
    diagnosis.passed("variant", f"`{variant.name}` of {usable} usable and {len(found) - usable} unusable ones: {variant.reason}")
    return variant


def _check_loading(diagnosis: Diagnosis, variant: "Variant") -> bool:
    """Load the library, leaving the choice of the CPU module to ggml."""
    from tabagent import DeviceInfo, _native, log  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    log.follow_level()
    try:
        described = json.loads(_native.open_library(variant.path, None, None, variant.backends, variant.needed))
    except TabagentError as error:
        kind = "ABI" if isinstance(error, IncompatibleLibraryError) else "library"
        diagnosis.failed(kind, one_line(error), "use the bundled library (unset `TABAGENT_LIBRARY_PATH`), or reinstall the package")
        return False
    finally:
        log.forward()
    diagnosis.library = LibraryFacts(
        directory=described["directory"],
        build=described["build"],
        ggml_version=described["ggml_version"],
        cpu_module=described["cpu_module"],
        devices=tuple(DeviceInfo.from_json(device) for device in described["devices"]),
    )
    diagnosis.passed("library", f"loaded from {described['directory']}")
    diagnosis.passed("ABI", f"recognised as {described['build']}: {described['evidence']}, the layout of {described['layout']}")
    if diagnosis.library.devices:
        diagnosis.passed("devices", ", ".join(f"{device.name} ({device.kind.replace('_', ' ')})" for device in diagnosis.library.devices))
    else:
        diagnosis.failed("devices", "llama.cpp finds nothing to compute with", "reinstall the package; its CPU modules are missing")
    return True


def _check_module(diagnosis: Diagnosis, variant: "Variant") -> None:
    """Whether ggml picks the CPU module that is predicted."""
    picked = diagnosis.library.cpu_module if diagnosis.library is not None else None
    if variant.cpu_module is None:
        diagnosis.skipped("CPU module", "this library has no CPU modules to choose from")
    elif picked == variant.cpu_module:
        diagnosis.passed("CPU module", f"ggml picks `{picked}`, as predicted")
    else:
        found = f"`{variant.cpu_module}` is predicted, but ggml picks {f'`{picked}`' if picked else 'none'}"
        diagnosis.failed("CPU module", found, f"use `--variant {variant.name}`, and report this with the output of `tabagent doctor --json`")


def _check_generation(diagnosis: Diagnosis) -> None:
    """Whether a model counts on as it always does; only with a demo model that is here."""
    from tabagent import Model, SamplerConfig  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)
    from tabagent._demo import damaged_demo_model, present_demo_model  # noqa: PLC0415 (brings the code for downloads)

    try:
        damaged, path = damaged_demo_model(), present_demo_model()
    except OSError as error:
        diagnosis.failed("demo model", one_line(error), None)
        return
    if damaged is not None:
        remedy = f"remove `{damaged}`; `tabagent run demo -p Hello` downloads it again"
        diagnosis.failed("demo model", f"`{damaged}` is damaged: its sha256 is not that of the model", remedy)
    if path is None:
        diagnosis.skipped("generation", "the demo model is not here; `tabagent run demo -p Hello` downloads it")
        return
    remedy = f"remove `{path}` and run `tabagent run demo -p Hello`; if it happens again, try another `--variant`"
    try:
        with Model.load(path, context_size=256, max_sequences=1) as model:
            completion = model.generate(GOLDEN_PROMPT, max_tokens=GOLDEN_TOKENS, sampling=SamplerConfig.greedy()).result()
    except (TabagentError, OSError, ValueError) as error:
        diagnosis.failed("generation", one_line(error), remedy)
        return
    if completion.text.startswith(GOLDEN_TEXT):
        diagnosis.passed("generation", f"the demo model continues `{GOLDEN_PROMPT}` with `{completion.text.strip()}`")
    else:
        diagnosis.failed("generation", f"the demo model continues `{GOLDEN_PROMPT}` with `{completion.text}`, not with `{GOLDEN_TEXT}`", remedy)
