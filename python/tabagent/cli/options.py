"""Options of commands: how one is declared, and groups of them that a command takes as one parameter."""

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, ParamSpec, TypeVar, get_args, get_type_hints

import typer

from tabagent.cli.arguments import text_argument

__all__ = ["OUTPUT", "Verbose", "in_groups", "naming_options", "option"]

P = ParamSpec("P")
R = TypeVar("R")

TEXTS: Final = {"TEXT", "REGEX", "NAMES", "PATTERN", "OWNER/REPO"}
"""The placeholder of an option that takes any text, not a file, a number or one of some words."""

OUTPUT: Final = "Output"
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", metavar="", help="Logs, timings and tracebacks on stderr.", rich_help_panel=OUTPUT, show_default=False)
]


def option(panel: str, *names: str, text: str, **settings: Any) -> Any:
    """An option under a heading of the help. The first name is the one that errors call it by; of `--yes/--no` it is the second half."""
    settings.setdefault("metavar", "")  # typer would call a flag `<bool>`
    if settings["metavar"] in TEXTS:
        settings["parser"] = text_argument
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False, **settings)


def in_groups(command: Callable[P, R]) -> Callable[P, R]:
    """A command that takes dataclasses of options, as typer knows it: with each field as a parameter of its own.

    A field is declared as a parameter of a command is, `name: Annotated[type, option(...)] = default`.
    """
    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type] = {name: hints[name] for name in signature.parameters if dataclasses.is_dataclass(hints[name])}
    expanded: list[inspect.Parameter] = []
    for parameter in signature.parameters.values():
        if parameter.name in groups:
            expanded.extend(_parameters(groups[parameter.name]))
        else:
            expanded.append(parameter.replace(annotation=hints[parameter.name]))

    @functools.wraps(command)
    def with_fields(*args: Any, **kwargs: Any) -> Any:
        for name, group in groups.items():
            kwargs[name] = group(**{field.name: kwargs.pop(field.name) for field in dataclasses.fields(group) if field.name in kwargs})
        return command(*args, **kwargs)

    with_fields.__signature__ = signature.replace(parameters=expanded)  # type: ignore[attr-defined] # what `inspect.signature` looks for
    with_fields.__annotations__ = {parameter.name: parameter.annotation for parameter in expanded} | {"return": hints.get("return")}
    return with_fields


def _parameters(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(field.name, kind, default=field.default, annotation=hints[field.name]) for field in dataclasses.fields(group)]


def naming_options(text: str, *groups: type) -> str:
    """An error's text in which the package's parameters, whose names the fields have, are called by the options that set them."""
    flags = {name: flag for group in groups for name, flag in _flags(group).items()}

    def named(found: re.Match[str]) -> str:
        return f"`{flags[found[1]]}`" if found[1] in flags else found[0]

    return re.sub(r"`(\w+)(?:\[\d+\])?`", named, text)


@functools.cache
def _flags(group: type) -> dict[str, str]:
    """The name of each field's option."""
    hints = get_type_hints(group, include_extras=True)
    names = {field: _first_name(hint) for field, hint in hints.items()}
    return {field: name.rpartition("/")[2] for field, name in names.items() if name}


def _first_name(hint: Any) -> str | None:
    """The first name of the option in an annotation. Where there is an annotation, typer takes the first argument for a name, too."""
    declared = next((part for part in get_args(hint)[1:] if isinstance(part, type(typer.Option()))), None)
    if declared is None:
        return None
    names = (declared.default, *(declared.param_decls or ()))
    return next((name for name in names if isinstance(name, str)), None)
