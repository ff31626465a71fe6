"""The application: which commands there are, and how its failures end."""

import os
import sys
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tabagent.cli.failure import one_line, report_usage
from tabagent.cli.output import prepare_streams, write_error, write_line

if TYPE_CHECKING:
    app: typer.Typer
    """The application with all its commands."""

__all__ = ["app", "run_app"]

COMMANDS: Final = ("run", "chat", "embed", "info", "convert", "quantize", "variants", "doctor", "bench", "serve", "rpc-server", "gguf")
"""The commands, in the order of the help. Each is in a module of its name, which is imported when it is asked for."""


@cache
def _application(names: tuple[str, ...]) -> typer.Typer:
    """The application with these of its commands."""
    made = typer.Typer(
        name="tabagent",
        help="Run language models on this machine, and look into model files.",
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for name in names:
        in_python = name.replace("-", "_")
        module = import_module(f"tabagent.cli.{in_python}")
        if name == "gguf":
            made.add_typer(module.gguf_app, name=name)
        else:
            made.command(name, cls=_command_class(name))(getattr(module, in_python))
    made.callback()(tabagent)
    return made


def _command_class(name: str) -> Any:
    """What parses a command's options."""
    if name == "serve":
        return import_module("tabagent.cli.server_options").ServeCommand
    return import_module("tabagent.cli.examples").ExamplesCommand


def _needed(arguments: Iterable[str]) -> tuple[str, ...]:
    """The commands that a command line may be about: the one that it begins with; all for help, completion in a shell, and a name that is none."""
    first = next(iter(arguments), "")
    if first == "--version":
        return ()
    return (first,) if first in COMMANDS and "_TABAGENT_COMPLETE" not in os.environ else COMMANDS


def __getattr__(name: str) -> Any:
    if name == "app":
        return _application(COMMANDS)
    message = f"module `{__name__}` has no attribute `{name}`"
    raise AttributeError(message)


def _print_version(*, wanted: bool) -> None:
    if wanted:
        from tabagent import __version__  # noqa: PLC0415 (needed for `--version` alone)

        write_line(f"tabagent {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version",
        metavar="",
        help="Print the version and exit.",
        is_eager=True,
        callback=lambda value: _print_version(wanted=value),
        show_default=False,
    ),
]


def tabagent(*, version: Version = False) -> None:
    """Run language models on this machine, and look into model files."""


def run_app(arguments: list[str]) -> int:
    """Run one command line and return its exit code; wrong usage is told in one line on stderr."""
    prepare_streams()
    if sys.stdout is None:
        write_error("standard output is closed; send it somewhere, for example to `/dev/null`")
        return 1
    try:
        # typer returns the code of `typer.Exit` when it does not end the process itself.
        code = _application(_needed(arguments))(args=arguments, prog_name="tabagent", standalone_mode=False)
    except SystemExit as end:  # shell completion, and a pipe that broke under the help text
        code = end.code
    except typer.Abort:
        return 130
    except BrokenPipeError:
        return 141
    except OSError as error:  # no room for the help text or the version
        write_error(one_line(error))
        return 1
    except Exception as error:
        usage = report_usage(error)
        if usage is None:
            raise
        return usage
    return code if isinstance(code, int) else 0
