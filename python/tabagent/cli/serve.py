"""`tabagent serve`: a model behind HTTP."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tabagent.cli.failure import UsageError, explained, one_line
from tabagent.cli.load_options import LoadOptions, load
from tabagent.cli.options import Verbose, in_groups, naming_options, option
from tabagent.cli.output import write_note
from tabagent.cli.sampler_options import SamplerOptions
from tabagent.cli.server_options import AnswerOptions, ServerOptions, refuse_unknown_variables
from tabagent.errors import TabagentError

if TYPE_CHECKING:
    from tabagent import SamplerConfig

__all__ = ["serve"]

MODEL: Final = "Model and machine"
MIB: Final = 1 << 20

ModelName = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="A GGUF file, `demo`, or `hf:OWNER/REPO/FILE` with a name or pattern.", show_default=False),
]
ModelOption = Annotated[str | None, option(MODEL, "-m", "--model", metavar="FILE", text="The same as MODEL.")]


@explained
@in_groups
def serve(
    model: ModelName = None,
    *,
    model_option: ModelOption = None,
    server: ServerOptions,
    answers: AnswerOptions,
    sampling: SamplerOptions,
    machine: LoadOptions,
    verbose: Verbose = False,  # noqa: ARG001 (read by `explained`)
) -> int:
    """Serve a model to the clients of OpenAI and llama-server.

    It listens at 127.0.0.1:8080, which this machine alone reaches, until
    Ctrl-C or SIGTERM; then running requests may still end. Options are also
    read from llama-server's variables, such as LLAMA_ARG_PORT.

    Exit code: 0 after Ctrl-C or SIGTERM, 1 for a failure, 2 for wrong usage.
    """
    refuse_unknown_variables()
    if model is not None and model_option is not None:
        message = f"`{model}` and `-m {model_option}` both name a model; give one of them"
        raise UsageError(message)
    source = machine.source(model_option if model is None else model)
    settings = machine.settings() | {
        "max_sequences": server.parallel,
        "max_queue": server.max_queue,
        "cache_bytes": None if answers.cache_ram is None else answers.cache_ram * MIB,
    }
    arguments = server.arguments() | answers.arguments() | {"sampling": _sampling(sampling)}
    try:
        _serve(source, settings, arguments)
    except (TabagentError, ValueError) as error:
        text = naming_options(one_line(error), ServerOptions, AnswerOptions, SamplerOptions, LoadOptions)
        raise error if text == one_line(error) else type(error)(text) from error
    return 0


def _serve(source: Any, settings: dict[str, Any], arguments: dict[str, Any]) -> None:
    with load(source, settings) as loaded:
        from tabagent.server import Server, noting_signals  # noqa: PLC0415 (not needed for `--help`)

        with noting_signals() as wait, Server(loaded, **arguments) as running:
            write_note(f"serving `{source}` at {running.url}")
            wait()
            write_note("stopping; running requests may still end")


def _sampling(options: SamplerOptions) -> "SamplerConfig | None":
    """The sampling of requests that do not say otherwise; None for llama.cpp's own. Stages run in llama.cpp's order unless another is given."""
    from tabagent import SamplerConfig  # noqa: PLC0415 (not needed for `--help`)

    config = options.config()
    if config == SamplerConfig():
        return None
    return config if options.order is not None else config.replace(order=SamplerConfig.llama_cpp().order)
