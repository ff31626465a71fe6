"""Files that say how to serve: `--config`, in TOML, and llama-server's `--models-preset`, in INI.

Their keys are options without leading dashes, short ones too, or llama-server's variables. What the command line or a variable says goes before what
stands in a file.
"""

import configparser
import dataclasses
import sys
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from tabagent.cli.failure import UsageError, nearest_name

__all__ = ["GIVEN", "Given", "config_of", "defaults_of", "merged", "read_preset"]

T = TypeVar("T")
ALL_MODELS: Final = "*"
TOP: Final = "\0"
ON_STARTUP: Final = "load-on-startup"
TRUTH: Final = {"true": True, "1": True, "on": True, "yes": True, "false": False, "0": False, "off": False, "no": False}


@dataclass(frozen=True)
class Given:
    """What a command line and its file of configuration say besides the values of options."""

    command: Any
    """The command of typer's."""
    typed: frozenset[str]
    """The parameters that stand on the command line."""
    models: Mapping[str, Mapping[str, Any]]
    """The options of each model of the file."""

    def options(self, section: Mapping[str, Any], where: str) -> tuple[dict[str, Any], bool]:
        """The parameters that a section sets, and whether its model is to be loaded at once.

        Raises:
            UsageError: a key is none, or a value is wrong.
        """
        rest = dict(section)
        at_once = _truth(rest.pop(ON_STARTUP, False), ON_STARTUP, where)
        arguments = [part for key, value in rest.items() for part in _arguments(self.command, key, value, where)]
        context = self.command.make_context("serve", arguments, resilient_parsing=False)
        set_here = {name for name in context.params if _is_typed(context, name)}
        return {name: context.params[name] for name in set_here}, at_once


GIVEN: Final[ContextVar[Given | None]] = ContextVar("given", default=None)
"""Set while the command runs."""


def _is_typed(context: Any, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def typed_of(context: Any) -> frozenset[str]:
    """The parameters that stand on the command line."""
    return frozenset(name for name in context.params if _is_typed(context, name))


def config_of(arguments: Iterable[str]) -> Path | None:
    """The file that a command line names by `--config`."""
    given = list(arguments)
    for at, argument in enumerate(given):
        if argument == "--config" and at + 1 < len(given):
            return Path(given[at + 1])
        if argument.startswith("--config="):
            return Path(argument.removeprefix("--config="))
        if argument == "--":
            break
    return None


def defaults_of(command: Any, file: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The values of parameters in a file, and the tables of models.

    Raises:
        UsageError: it is not TOML, or a key is none.
        OSError: it cannot be read.
    """
    if sys.version_info >= (3, 11):
        import tomllib  # noqa: PLC0415 (not needed without a file)
    else:
        import tomli as tomllib  # noqa: PLC0415 (not needed without a file)

    try:
        read = tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        message = f"`{file}` is not TOML: {error}"
        raise UsageError(message) from None
    models = read.pop("models", {})
    if not isinstance(models, dict) or not all(isinstance(table, dict) for table in models.values()):
        message = f"`models` in `{file}` must have a table for each model, such as `[models.small]`"
        raise UsageError(message)
    values: dict[str, Any] = {}
    for key, value in read.items():
        parameter, yes = _parameter(command, key, str(file))
        if parameter.is_flag:
            values[parameter.name] = _truth(value, key, str(file)) == yes
        elif parameter.multiple and not isinstance(value, list):
            values[parameter.name] = [value]
        else:
            values[parameter.name] = value
    return values, models


def read_preset(file: Path) -> dict[str, dict[str, Any]]:
    """The sections of llama-server's INI file, each with what stands for all models where it does not say otherwise.

    Raises:
        UsageError: it is no INI file.
        OSError: it cannot be read.
    """
    parser = configparser.ConfigParser(
        interpolation=None, delimiters=("=",), comment_prefixes=(";", "#"), default_section=TOP + TOP, strict=True, empty_lines_in_values=False
    )
    parser.optionxform = str  # type: ignore[assignment, method-assign] # names as they are
    try:
        parser.read_string(f"[{TOP}]\n{file.read_text(encoding='utf-8')}")
    except (configparser.Error, UnicodeDecodeError) as error:
        message = f"`{file}` cannot be read: {' '.join(str(error).split())}"
        raise UsageError(message) from None
    sections = {name: dict(parser.items(name)) for name in parser.sections() if name != TOP}
    shared = sections.pop(ALL_MODELS, {})
    return {name: {**shared, **section} for name, section in sections.items()}


def merged(group: T, options: Mapping[str, Any], typed: frozenset[str]) -> T:
    """A group of options in which a model's own replace those that do not stand on the command line."""
    fields = {field.name for field in dataclasses.fields(group)}  # type: ignore[arg-type] # it is a dataclass
    changed = {name: value for name, value in options.items() if name in fields and name not in typed}
    return dataclasses.replace(group, **changed)  # type: ignore[type-var] # it is a dataclass


def _parameter(command: Any, key: str, where: str) -> tuple[Any, bool]:
    """The parameter that a key stands for, and whether the key says yes."""
    names = (f"--{key}", f"-{key}") if not key.startswith("-") else (key,)
    for parameter in command.params:
        if any(name in parameter.opts for name in names) or parameter.envvar == key:
            return parameter, True
        if any(name in parameter.secondary_opts for name in names):
            return parameter, False
    known = [name.lstrip("-") for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)]
    message = f"`{key}` in `{where}` is no option{nearest_name(key, known)}"
    raise UsageError(message)


def _arguments(command: Any, key: str, value: Any, where: str) -> list[str]:
    """The arguments of a command line that say the same."""
    parameter, yes = _parameter(command, key, where)
    if parameter.is_flag:
        wanted = _truth(value, key, where) == yes
        if wanted:
            return [parameter.opts[0]]
        return [parameter.secondary_opts[0]] if parameter.secondary_opts else []
    values = value if isinstance(value, list) else [value]
    return [part for one in values for part in (parameter.opts[0], str(one))]


def _truth(value: Any, key: str, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if str(value).lower() not in TRUTH:
        message = f"`{key}` in `{where}` must be true or false, got `{value}`"
        raise UsageError(message)
    return TRUTH[str(value).lower()]
