"""What predictors and deployments share: Ray itself, and a model in the process of a worker."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from tabagent._arguments import as_path, type_name
from tabagent.log import package_log
from tabagent.machine import hardware
from tabagent.model import Model

__all__ = ["ModelSource", "needed", "open_model"]

HUB: Final = "hf:"

ModelSource: TypeAlias = str | os.PathLike[str] | Callable[[], Model]
"""What a worker loads: a path that each machine has, `demo`, `hf:OWNER/REPO/FILE` of the hub, or a function that loads and returns the model."""


def needed(module: str) -> Any:
    """A module of Ray.

    Raises:
        ImportError: it cannot be imported; says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        message = f'`{module}` cannot be imported ({error}); `pip install "tabagent[ray]"` installs Ray with Ray Data and Ray Serve'
        raise ImportError(message, name=module) from error


def open_model(source: ModelSource, load: Mapping[str, Any] | None) -> Model:
    """Load a model in this worker, with as many threads as Ray has given it CPUs where `load` does not say.

    Raises:
        TypeError, ValueError: an argument is wrong.
        Others: as `Model.load` and `Model.from_pretrained`.
    """
    options = dict(load or {})
    if callable(source):
        if options:
            message = "`load` is for models that are named; a function that loads the model has its options itself"
            raise ValueError(message)
        model = source()
        if not isinstance(model, Model):
            message = f"the function that loads the model must return a Model, got {type_name(model)}"
            raise TypeError(message)
        return model
    cpus = _assigned_cpus()
    if cpus is not None and options.get("threads") is None:
        options["threads"] = cpus
        package_log.info("Ray gives this worker %d CPUs, so the model computes with as many threads; `num_cpus` changes that", cpus)
    if isinstance(source, str) and source.startswith(HUB):
        owner, _, rest = source.removeprefix(HUB).partition("/")
        repository, _, file = rest.partition("/")
        if not (owner and repository):
            message = f"`{source}` does not name a repository; write `hf:OWNER/REPO/FILE`"
            raise ValueError(message)
        return Model.from_pretrained(f"{owner}/{repository}", file or "*.gguf", **options)
    return Model.load(as_path(source, "model"), **options)


def _assigned_cpus() -> int | None:
    """How many cores Ray has given this worker, at most those that are there; None outside of Ray, and where it has given less than one."""
    ray = needed("ray")
    if not ray.is_initialized():
        return None
    cpus = int(ray.get_runtime_context().get_assigned_resources().get("CPU", 0))
    return min(cpus, hardware().budget.usable) if cpus >= 1 else None
