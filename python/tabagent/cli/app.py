"""The application: which commands there are, and how its failures end."""

import sys
from typing import Annotated

import typer

from tabagent.cli.bench import bench
from tabagent.cli.chat import chat
from tabagent.cli.convert import convert
from tabagent.cli.doctor import doctor
from tabagent.cli.embed import embed
from tabagent.cli.examples import ExamplesCommand
from tabagent.cli.failure import one_line, report_usage
from tabagent.cli.gguf import gguf_app
from tabagent.cli.info import info
from tabagent.cli.output import prepare_streams, write_error, write_line
from tabagent.cli.quantize import quantize
from tabagent.cli.run import run
from tabagent.cli.serve import serve
from tabagent.cli.server_options import ServeCommand
from tabagent.cli.variants import variants

__all__ = ["app", "run_app"]

app = typer.Typer(
    name="tabagent",
    help="Run language models on this machine, and look into model files.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (run, chat, embed, info, convert, quantize, variants, doctor, bench):
    app.command(cls=ExamplesCommand)(_command)
app.command(cls=ServeCommand)(serve)
app.add_typer(gguf_app, name="gguf")


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


@app.callback()
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
        code = app(args=arguments, prog_name="tabagent", standalone_mode=False)
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
