"""The models of a server: what each is called, how it is loaded, and how it is served."""

from __future__ import annotations

import inspect
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tabagent._arguments import as_float, as_int, as_path, as_text, as_texts, type_name
from tabagent._isolation import chosen_isolation
from tabagent._load_options import load_options
from tabagent._placement import placement_options
from tabagent.chat_template import ChatTemplate
from tabagent.loading import choose_library, open_library, resolve_model_path
from tabagent.log import package_log
from tabagent.model import Model
from tabagent.pool import ModelPool
from tabagent.served_answers import ANSWER_KEYS, chat_defaults, control_files, draft_limits, generation_defaults, scaled_files
from tabagent.speculation import speculation
from tabagent.tuning import tuned_options

if TYPE_CHECKING:
    from tabagent import _native
    from tabagent.pool import Lease

__all__ = ["Reader", "Served", "described", "hub_command", "plan_of"]

MAX_COUNT: Final = 2**31 - 1
HUB: Final = "hf:"
LENT_FOR_S: Final = 1.0
"""How long a server keeps an idle model that a pool has lent it; the pool decides what becomes of it then."""
OF_SERVING: Final = ANSWER_KEYS | {"aliases", "tags", "chat_template", "adapters", "keep_alive"}
"""What a mapping may say of a model besides the arguments of `Model.load`."""
NOT_SERVED: Final = frozenset({"cls", "progress", "fallback"})
"""Arguments of `Model.load` that mean nothing where nobody waits for the call."""

Served = str | os.PathLike[str] | Mapping[str, Any] | Callable[[], Model] | Model
"""How a model of a server is given."""
Reader = Callable[[], Mapping[str, Served]]
"""Reads which models there are."""


def described(models: Mapping[str, Served] | ModelPool, defaults: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The models as the core reads them. `defaults` are those of models that do not say otherwise: template, sampling, lengths and adapters.

    Raises:
        TypeError, ValueError: one is none.
    """
    if isinstance(models, ModelPool):
        return [_lent(name, models, defaults) for name in models.names()]
    return [_described(as_text(name, "models"), source, defaults) for name, source in models.items()]


def _described(name: str, source: Served, defaults: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(source, Model):
        return _entry(name, {}, defaults, path=source.info.path) | {"model": source._native}  # noqa: SLF001 (a module of ours)
    if isinstance(source, Mapping):
        given = dict(source)
    elif isinstance(source, (str, os.PathLike)):
        given = {"path": source}
    elif callable(source):
        return _lent(name, ModelPool({name: source}), defaults)
    else:
        message = f"`models[{name}]` must be a path, a mapping of `Model.load`'s arguments, a function or a Model, got {type_name(source)}"
        raise TypeError(message)
    if "path" not in given:
        message = f"`models[{name}]` has no `path`; give the arguments of `Model.load`"
        raise ValueError(message)
    served = {key: given.pop(key) for key in OF_SERVING & given.keys()}
    loading = _loading(name, given.pop("path"), given)
    return _entry(name, served, defaults, path=loading["path"]) | loading


def plan_of(given: Mapping[str, Any], name: str = "", file: str | None = None) -> dict[str, Any]:
    """How a model is loaded: the library, and the options of the core, with what is kept of measurements for such a file, if it is known."""
    known = inspect.signature(Model.load).parameters
    for option in given:
        if option not in known or option in NOT_SERVED:
            message = f"`models[{name}]` has `{option}`, which neither `Model.load` nor `Server` takes for a model"
            raise TypeError(message)
    values = {option: parameter.default for option, parameter in known.items() if parameter.default is not parameter.empty} | dict(given)
    placement = placement_options(**{option: values[option] for option in inspect.signature(placement_options).parameters})
    values["isolation"] = chosen_isolation(values["isolation"], values["on_gpu_failure"], placement["devices"])
    wanted = inspect.signature(load_options).parameters
    cache = {"kv_type", "flash_attention", "full_sliding_window", "kv_unified", "offload_kv", "offload_ops"}
    options = load_options(placement=placement, **{option: values[option] for option in values if option in wanted or option in cache})
    variant = values["variant"]
    if file is not None:
        tuning, options = tuned_options(file, variant, options)
        variant = tuning.variant or variant
        for said in tuning.said():
            package_log.info("`%s`: %s", name, said)
    choose = open_library if values["isolation"] is None else choose_library
    library = choose(variant, placement["devices"])
    options |= {"backends": list(library.backends), "needed": list(library.needed)}
    options["fit"] = as_int(values["min_context_size"], "min_context_size", 1, MAX_COUNT) if values["fit"] else None
    return {"library": library.directory, "module": library.module, "options": options}


def _entry(name: str, served: Mapping[str, Any], defaults: Mapping[str, Any], *, path: str) -> dict[str, Any]:
    """How a model is served."""
    whole = {**defaults, **served}
    template = whole.get("chat_template")
    keep_alive = whole.get("keep_alive")
    answers = {key: value for key, value in whole.items() if key in ANSWER_KEYS}
    return {
        "name": name,
        "aliases": as_texts(whole.get("aliases", ()), "aliases"),
        "tags": as_texts(whole.get("tags", ()), "tags"),
        "path": path,
        "template": template._native if isinstance(template, ChatTemplate) else None,  # noqa: SLF001 (a module of ours)
        "template_text": None if isinstance(template, ChatTemplate) else _template_text(template),
        "defaults": generation_defaults(answers),
        "chat": chat_defaults(answers),
        "control": control_files(answers),
        "adapters": scaled_files(whole.get("adapters", ()), "adapters"),
        **_draft(name, answers),
        "keep_alive": None if keep_alive is None else _seconds(keep_alive),
        "identity": repr((path, sorted(served.items(), key=lambda pair: pair[0]))),
    }


def _draft(name: str, answers: Mapping[str, Any]) -> dict[str, Any]:
    """What guesses for the requests of a model: one that is loaded, or one that is loaded with it."""
    given = answers.get("draft_model")
    if given is None:
        draft = speculation(answers.get("speculative"))[1]
        return {} if draft is None else {"draft": {"model": draft[0], "path": "", "limits": draft[1]}}
    limits = draft_limits(answers)
    if isinstance(given, Mapping) and "path" in given:
        options = dict(given)
    elif isinstance(given, (str, os.PathLike)):
        options = {"path": given}
    else:
        message = f"`draft_model` must be a path, or a mapping of `Model.load`'s arguments with `path` among them, got {type_name(given)}"
        raise TypeError(message)
    path = options.pop("path")
    # Guesses are made in contexts of their own, as long as the other model's.
    return {"draft": _loading(f"{name}.draft_model", path, {"context_size": 256, "max_sequences": 1} | options) | {"limits": limits}}


def _loading(name: str, path: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """How a file, or a model of the hub, is loaded."""
    if isinstance(path, str) and path.startswith(HUB):
        return {"path": "", "load": plan_of(options, name), "hub": {"command": hub_command(), "name": path}}
    file = str(Path(resolve_model_path(as_path(path, f"models[{name}].path"))).expanduser())
    return {"path": file, "load": plan_of(options, name, file)}


def _seconds(keep_alive: object) -> float:
    seconds = as_float(keep_alive, "keep_alive")
    return math.inf if seconds < 0 else seconds


def _template_text(value: object) -> str | None:
    """The text of a template that is given by its name, its file or itself."""
    if value is None:
        return None
    if isinstance(value, str) and ("{{" in value or "{%" in value):
        return value
    if isinstance(value, str) and value in ChatTemplate.names():
        return ChatTemplate.named(value).text
    file = Path(as_path(value, "chat_template"))
    if isinstance(value, os.PathLike) or file.is_file():
        return file.read_bytes().decode()
    message = f"`chat_template` is `{value}`, which is no text with tags, no file, and none of the names {', '.join(ChatTemplate.names())}"
    raise ValueError(message)


def _lent(name: str, pool: ModelPool, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """A model that a pool lends. The functions run on a thread that loads models, one at a time."""
    leases: list[Lease] = []

    def borrow() -> _native.Model:
        lease = pool.get(name)
        model = lease.borrow()
        leases.append(lease)
        return model._native  # noqa: SLF001 (a module of ours)

    def give_back() -> None:
        leases.pop().give_back()

    return _entry(name, {"keep_alive": LENT_FOR_S}, defaults, path="") | {"borrow": borrow, "give_back": give_back}


def hub_command() -> list[str]:
    """The program that fetches models of the hub."""
    return [sys.executable, "-m", "tabagent.hub_process"]
