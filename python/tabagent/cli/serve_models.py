"""The models of a server that has several: from a folder, from llama-server's presets, and from the file of configuration."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tabagent.cli.adapter_options import ControlVectorOptions
from tabagent.cli.answer_options import AnswerOptions
from tabagent.cli.failure import UsageError
from tabagent.cli.gguf_summary import summarize
from tabagent.cli.guess_options import GuessOptions
from tabagent.cli.load_options import LoadOptions
from tabagent.cli.model_source import model_path
from tabagent.cli.output import write_note
from tabagent.cli.override_options import with_architecture
from tabagent.cli.sampler_options import SamplerOptions
from tabagent.cli.server_config import Given, merged, read_preset
from tabagent.cli.server_options import ServerOptions
from tabagent.errors import TabagentError

if TYPE_CHECKING:
    from tabagent import SamplerConfig

__all__ = ["ModelOptions", "ServedModels", "default_sampling", "load_settings"]

POSITIONS: Final = "position_embd.weight"
MIB: Final = 1 << 20
PART: Final = 256
"""llama.cpp rounds the part of a request up to a multiple of this (`llama_context` in its src/llama-context.cpp)."""
SHARD: Final = re.compile(r"-(?P<number>\d{5})-of-\d{5}\.gguf$", re.IGNORECASE)


@dataclass(frozen=True)
class ModelOptions:
    """The groups of options that each model may have of its own."""

    answers: AnswerOptions
    guesses: GuessOptions
    control: ControlVectorOptions
    sampling: SamplerOptions
    machine: LoadOptions

    def of(self, options: Mapping[str, Any], typed: frozenset[str]) -> "ModelOptions":
        """Those of a model, whose own replace those that do not stand on the command line."""
        groups = (merged(getattr(self, field.name), options, typed) for field in fields(self))
        return ModelOptions(*groups)


class ServedModels:
    """Reads which models there are, at the start and when a client asks for it."""

    def __init__(self, given: Given, server: ServerOptions, options: ModelOptions) -> None:
        self.given = given
        self.server = server
        self.options = options
        self.at_once: list[str] = []
        """Models to load at the start."""

    def read(self) -> dict[str, dict[str, Any]]:
        """The models by name, as `Server` takes them.

        Raises:
            UsageError: something is wrong with a folder or a file, or there is no model.
            OSError: it cannot be read.
        """
        server = self.server
        models = (
            {} if server.models_dir is None else {name: self._model(name, {"model": str(file)}, "") for name, file in _in_folder(server.models_dir)}
        )
        if server.models_preset is not None:
            for name, section in read_preset(server.models_preset).items():
                models[name] = self._model(name, section, str(server.models_preset), models.get(name))
        for name, table in self.given.models.items():
            models[name] = self._model(name, table, str(server.config), models.get(name))
        return models

    def _model(self, name: str, section: Mapping[str, Any], where: str, known: Mapping[str, Any] | None = None) -> dict[str, Any]:
        options, at_once = self.given.options(section, f"[{name}]` of `{where}")
        if at_once:
            self.at_once.append(name)
        typed = self.given.typed
        server, own = merged(self.server, options, typed), self.options.of(options, typed)
        machine = own.machine
        asked = options.get("model_option") or options.get("model")
        if asked is None and machine.hf is None:
            if known is None:
                message = f'`[{name}]` of `{where}` names no model; give `model = "FILE"` or `hf = "OWNER/REPO"`'
                raise UsageError(message)
            path = known["path"]
        else:
            source = machine.source(asked)
            path = str(source) if source.kind == "hub" else source.name
        settings = load_settings(path, server, own.answers, machine)
        settings.pop("variant")
        aliases = server.names() if "alias" in options else []
        made = {
            **settings,
            "path": path,
            "aliases": aliases,
            "tags": server.listed_tags(),
            **own.answers.of_model(),
            **own.guesses.of_model(),
            **own.control.of_model(),
            "sampling": default_sampling(own.sampling),
        }
        if "sleep_idle_seconds" in options:
            made["keep_alive"] = server.sleep_idle_seconds
        return made


def _in_folder(folder: Path) -> list[tuple[str, Path]]:
    """The models in a folder: files, and folders with one model in several files.

    Raises:
        UsageError: it is no folder.
    """
    if not folder.is_dir():
        message = f"`--models-dir {folder}` is no folder"
        raise UsageError(message)
    found = []
    for place in sorted(folder.iterdir()):
        if place.is_dir():
            parts = [file for file in sorted(place.glob("*.gguf")) if not file.name.startswith("mmproj") and _is_first(file)]
            if len(parts) == 1:
                found.append((place.name, parts[0]))
            else:
                found.extend((f"{place.name}/{file.stem}", file) for file in parts)
        elif place.suffix == ".gguf" and not place.name.startswith("mmproj") and _is_first(place):
            found.append((place.stem, place))
    return found


def _is_first(file: Path) -> bool:
    """Whether it is no later part of a split model."""
    part = SHARD.search(file.name)
    return part is None or int(part["number"]) == 1


def load_settings(path: str, server: ServerOptions, answers: AnswerOptions, machine: LoadOptions) -> dict[str, Any]:
    """The arguments of `Model.load` for a model that is served.

    Raises:
        UsageError: the context of a model that is not here yet is to be as long as the model allows.
    """
    settings = machine.settings() | {
        "max_sequences": server.parallel,
        "max_queue": server.max_queue,
        "cache_bytes": None if answers.cache_ram is None else answers.cache_ram * MIB,
        "cache_disk": answers.cache_disk,
        "cache_disk_bytes": None if answers.cache_disk_size is None else answers.cache_disk_size * MIB,
    }
    if settings["context_size"] == 0:
        if path.startswith("hf:"):
            message = "`-c 0` needs a model that is here; give the number of tokens"
            raise UsageError(message)
        settings["context_size"] = summarize(path).context_length
    elif settings["context_size"] is not None and not path.startswith("hf:"):
        settings["context_size"] = _within_positions(path, settings["context_size"])
    settings = with_architecture(settings, path)
    size = settings["context_size"]
    if size is not None and server.parallel is not None and machine.kv_unified is None:
        # As llama-server has it: each request may hold its part.
        part = -(-(size // server.parallel) // PART) * PART
        settings["sequence_size"] = max(PART, min(part, size))
    return settings


def _within_positions(path: str, size: int) -> int:
    """The size of a context, cut to the positions of a model that has learned each of them, as llama-server does; says so."""
    from tabagent import gguf  # noqa: PLC0415 (not needed for `--help`)

    try:
        positions = next((tensor.shape[0] for tensor in gguf.open(model_path(path)).tensors if tensor.name == POSITIONS), None)
    except (TabagentError, OSError):
        # Who loads it is told why.
        return size
    if positions is None or size <= positions:
        return size
    write_note(f"`-c {size}` is more than the {positions} positions that the model has learned; its context has {positions} tokens")
    return positions


def default_sampling(options: SamplerOptions) -> "SamplerConfig | None":
    """The sampling of requests that do not say otherwise; None for llama.cpp's own. Stages run in llama.cpp's order unless another is given."""
    from tabagent import SamplerConfig  # noqa: PLC0415 (not needed for `--help`)

    config = options.config()
    if config == SamplerConfig():
        return None
    return config if options.order is not None else config.replace(order=SamplerConfig.llama_cpp().order)
