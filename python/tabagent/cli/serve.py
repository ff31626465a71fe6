"""`tabagent serve`: models behind HTTP."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tabagent.cli.adapter_options import ControlVectorOptions
from tabagent.cli.answer_options import AnswerOptions
from tabagent.cli.failure import UsageError, explained, one_line
from tabagent.cli.gguf_summary import summarize
from tabagent.cli.guess_options import GuessOptions
from tabagent.cli.load_options import LoadOptions, fetched, load
from tabagent.cli.model_source import ModelSource, model_path
from tabagent.cli.options import Verbose, in_groups, naming_options, option
from tabagent.cli.output import write_note
from tabagent.cli.sampler_options import SamplerOptions
from tabagent.cli.serve_models import ModelOptions, ServedModels, default_sampling, load_settings
from tabagent.cli.server_config import GIVEN
from tabagent.cli.server_options import ServerOptions, refuse_unknown_variables
from tabagent.cli.service import notify
from tabagent.errors import TabagentError

__all__ = ["serve"]

MODEL: Final = "Model and machine"
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
    guesses: GuessOptions,
    control: ControlVectorOptions,
    sampling: SamplerOptions,
    machine: LoadOptions,
    verbose: Verbose = False,
) -> int:
    """Serve models to the clients of OpenAI, Anthropic, Ollama and llama-server.

    It listens at 127.0.0.1:8080, which this machine alone reaches, until
    Ctrl-C or SIGTERM; then running requests may still end. Options are also
    read from llama-server's variables, such as LLAMA_ARG_PORT, and from a
    file (--config). With --models-dir, --models-preset or models in that
    file there are several models, each loaded when a request names it.

    Exit code: 0 after Ctrl-C or SIGTERM, 1 for a failure, 2 for wrong usage.
    """
    refuse_unknown_variables()
    if model is not None and model_option is not None:
        message = f"`{model}` and `-m {model_option}` both name a model; give one of them"
        raise UsageError(message)
    named = model_option if model is None else model
    given = GIVEN.get()
    arguments = server.arguments() | answers.arguments() | {"verbose": verbose}
    try:
        if given is not None and server.has_models(given.models):
            if named is not None or (machine.hf is not None and "hf" in given.typed):
                message = "a model and `--models-dir`, `--models-preset` or models of `--config` exclude each other; leave one of them out"
                raise UsageError(message)
            options = ModelOptions(answers, guesses, control, sampling, machine)
            _serve_many(ServedModels(given, server, options), server, arguments)
        else:
            source = machine.source(named)
            settings = load_settings(str(source) if source.kind == "hub" else model_path(source.name), server, answers, machine)
            one = answers.of_model() | guesses.of_model() | control.of_model() | {"sampling": default_sampling(sampling)}
            _serve_one(source, settings, server, arguments, one)
    except (TabagentError, ValueError) as error:
        text = naming_options(one_line(error), ServerOptions, AnswerOptions, GuessOptions, ControlVectorOptions, SamplerOptions, LoadOptions)
        raise error if text == one_line(error) else type(error)(text) from error
    return 0


def _serve_one(source: Any, settings: dict[str, Any], server: ServerOptions, arguments: dict[str, Any], served: dict[str, Any]) -> None:
    names = server.names()
    if server.sleep_idle_seconds is not None and server.sleep_idle_seconds >= 0:
        path = str(source) if source.kind == "hub" else model_path(source.name)
        if source.kind != "hub":
            # A file that is none is told of now, not at the first request.
            summarize(path)
        name = names[0] if names else Path(source.pattern if source.kind == "hub" else path).stem
        whole = {**settings, **served, "path": path, "aliases": names[1:], "tags": server.listed_tags()}
        _run({name: whole}, f"`{source}`", arguments | {"keep_alive": server.sleep_idle_seconds, "any_name": True, "load": [name]})
        return
    with contextlib.ExitStack() as stack:
        loaded = stack.enter_context(load(source, settings))
        own = {"name": names[0] if names else None, "aliases": names[1:], "tags": server.listed_tags()}
        _run(loaded, f"`{source}`", arguments | own | _with_draft(served, settings, stack))


def _with_draft(served: dict[str, Any], settings: dict[str, Any], stack: contextlib.ExitStack) -> dict[str, Any]:
    """The draft model loaded now, so that what is wrong with it is told before the first request."""
    from tabagent import Model  # noqa: PLC0415 (not needed for `--help`)

    draft = served["draft_model"]
    if draft is None:
        return served
    options = {"variant": settings["variant"], "context_size": 256, "max_sequences": 1} | draft
    path = options.pop("path")
    path = fetched(ModelSource.parse(path, None, None)) if path.startswith("hf:") else path
    model = stack.enter_context(Model.load(path, **options))
    limits = served["speculative"]
    return served | {"draft_model": None, "speculative": model if limits is None else dataclasses.replace(limits, draft_model=model)}


def _serve_many(models: ServedModels, server: ServerOptions, arguments: dict[str, Any]) -> None:
    read = models.read()
    if names := server.names():
        message = f"`--alias {names[0]}` names one model, and there are several; give it in the section of the model"
        raise UsageError(message)
    many = {
        "memory_limit": server.models_memory,
        "max_models": server.models_max or None,
        "keep_alive": -1.0 if server.sleep_idle_seconds is None else server.sleep_idle_seconds,
        "autoload": server.models_autoload,
        "load": models.at_once,
        "reload": models.read,
    }
    _run(read, f"{len(read)} models", arguments | many)


def _run(models: Any, what: str, arguments: dict[str, Any]) -> None:
    from tabagent.server import Server, noting_signals  # noqa: PLC0415 (not needed for `--help`)

    with noting_signals() as wait, Server(models, **arguments) as running:
        write_note(f"serving {what} at {', '.join(running.urls)}")
        notify("READY=1")
        wait()
        notify("STOPPING=1")
        write_note("stopping; running requests may still end")
