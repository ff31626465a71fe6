"""Failures: one line on stderr and an exit code, never a traceback (it goes to the log, which `-v` shows)."""

import difflib
import functools
import logging
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, ParamSpec, Protocol, cast, runtime_checkable

import typer

from tabagent.cli.output import Verbosity, write_error
from tabagent.errors import TabagentError

__all__ = ["UsageError", "explained", "nearest_name", "one_line", "report_usage"]

P = ParamSpec("P")
LOG: Final = logging.getLogger("tabagent.cli")
NO_COMMAND: Final = re.compile(r"No such command '(.*?)'")


class UsageError(Exception):
    """The command line asks for something that cannot be; the text says what to give instead."""


@runtime_checkable
class _ParserError(Protocol):
    """What typer raises for wrong usage: a class of click, or of the copy of click inside of newer versions of typer."""

    exit_code: int

    def format_message(self) -> str: ...


def explained(command: Callable[P, int]) -> Callable[P, None]:
    """Turn a command that returns its exit code, or raises, into one that ends with the right code and message."""

    @functools.wraps(command)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        with Verbosity(verbose=bool(cast("dict[str, Any]", kwargs).get("verbose"))):
            raise typer.Exit(_run(lambda: command(*args, **kwargs)))

    guarded.__annotations__ = {**command.__annotations__, "return": None}
    return guarded


def _run(command: Callable[[], int]) -> int:  # noqa: PLR0911 (an exit code for each kind of end)
    try:
        return command()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    except UsageError as error:
        write_error(f"{one_line(error)} (see `--help`)")
        return 2
    except (TabagentError, OSError, ValueError, MemoryError) as error:
        LOG.debug("the command failed", exc_info=error)
        write_error(one_line(error))
        return 1
    except (typer.Exit, typer.Abort):
        raise
    except ImportError as error:
        LOG.debug("the command failed", exc_info=error)
        write_error(f"the installation is incomplete: {one_line(error)}; install tabagent again")
        return 1
    except Exception as error:
        if isinstance(error, _ParserError):
            raise
        LOG.debug("the command failed", exc_info=error)
        write_error(f"unexpected {type(error).__name__}: {one_line(error)}; this is a defect of tabagent, `-v` shows where")
        return 1


def one_line(error: BaseException) -> str:
    """The text of an error in one line; what the operating system says is put into words of ours."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, TabagentError):
        where = f"`{error.filename}`: " if error.filename is not None else ""
        return where + error.strerror[:1].lower() + error.strerror[1:]
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines:
        return "; ".join(lines)
    return "out of memory" if isinstance(error, MemoryError) else type(error).__name__


def report_usage(error: Exception) -> int | None:
    """Say what is wrong with the command line and return the exit code; None if `error` is no usage error of typer's."""
    if not isinstance(error, _ParserError):
        return None
    context = getattr(error, "ctx", None)
    path = getattr(context, "command_path", None) or "tabagent"
    if type(error).__name__ == "NoArgsIsHelpError":
        return error.exit_code
    write_error(f"{' '.join(_usage_text(error, context).split())} (see `{path} --help`)")
    return error.exit_code


def _usage_text(error: _ParserError, context: Any) -> str:
    option = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and isinstance(option, str):
        return f"no such option `{option}`{nearest_name(option, _option_names(context))}"
    if (command := NO_COMMAND.match(error.format_message())) is not None:
        known = list(getattr(getattr(context, "command", None), "commands", ()))
        return f"no such command `{command[1]}`{nearest_name(command[1], known) or '; there are ' + ', '.join(f'`{name}`' for name in known)}"
    text = re.sub(r": Input should be (a valid \w+), .*", r": it is not \1", " ".join(error.format_message().split())).rstrip(".").replace("'", "`")
    return text[:1].lower() + text[1:]


def _option_names(context: Any) -> list[str]:
    parameters = getattr(getattr(context, "command", None), "params", [])
    return [
        name for parameter in parameters for name in (*getattr(parameter, "opts", ()), *getattr(parameter, "secondary_opts", ())) if name[:1] == "-"
    ]


def nearest_name(asked: str, known: Sequence[str]) -> str:
    """The end of a sentence about a name that is not known: which one may be meant, if any is near."""
    nearest = difflib.get_close_matches(asked, known, n=1, cutoff=0.5)
    return f"; did you mean `{nearest[0]}`?" if nearest else ""
