"""The options of a server, under llama-server's names, and the environment variables that set them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from tabagent.cli.examples import ExamplesCommand
from tabagent.cli.failure import UsageError, nearest_name, one_line
from tabagent.cli.options import option
from tabagent.cli.output import write_error
from tabagent.cli.server_config import GIVEN, Given, config_of, defaults_of, typed_of

__all__ = ["ServeCommand", "ServerOptions", "listed", "refuse_unknown_variables", "vertex_arguments"]

SERVER: Final = "Server"
MODELS: Final = "Several models"
SOCKET: Final = ".sock"

VARIABLES: Final = {
    "-m": "LLAMA_ARG_MODEL",
    "--hf": "LLAMA_ARG_HF_REPO",
    "--hf-file": "LLAMA_ARG_HF_FILE",
    "-c": "LLAMA_ARG_CTX_SIZE",
    "-np": "LLAMA_ARG_N_PARALLEL",
    "-b": "LLAMA_ARG_BATCH",
    "-ub": "LLAMA_ARG_UBATCH",
    "-t": "LLAMA_ARG_THREADS",
    "-ngl": "LLAMA_ARG_N_GPU_LAYERS",
    "-dev": "LLAMA_ARG_DEVICE",
    "--rpc": "LLAMA_ARG_RPC",
    "-sm": "LLAMA_ARG_SPLIT_MODE",
    "-mg": "LLAMA_ARG_MAIN_GPU",
    "-ts": "LLAMA_ARG_TENSOR_SPLIT",
    "-ot": "LLAMA_ARG_OVERRIDE_TENSOR",
    "-cmoe": "LLAMA_ARG_CPU_MOE",
    "-ncmoe": "LLAMA_ARG_N_CPU_MOE",
    "-ctk": "LLAMA_ARG_CACHE_TYPE_K",
    "-ctv": "LLAMA_ARG_CACHE_TYPE_V",
    "-fa": "LLAMA_ARG_FLASH_ATTN",
    "-kvu": "LLAMA_ARG_KV_UNIFIED",
    "-kvo": "LLAMA_ARG_KV_OFFLOAD",
    "--swa-full": "LLAMA_ARG_SWA_FULL",
    "--cache-ram": "LLAMA_ARG_CACHE_RAM",
    "-n": "LLAMA_ARG_N_PREDICT",
    "--temp": "LLAMA_ARG_TEMPERATURE",
    "--top-k": "LLAMA_ARG_TOP_K",
    "--top-p": "LLAMA_ARG_TOP_P",
    "--min-p": "LLAMA_ARG_MIN_P",
    "--repeat-penalty": "LLAMA_ARG_REPEAT_PENALTY",
    "--presence-penalty": "LLAMA_ARG_PRESENCE_PENALTY",
    "--frequency-penalty": "LLAMA_ARG_FREQUENCY_PENALTY",
    "--tags": "LLAMA_ARG_TAGS",
    "--models-dir": "LLAMA_ARG_MODELS_DIR",
    "--models-preset": "LLAMA_ARG_MODELS_PRESET",
    "--models-max": "LLAMA_ARG_MODELS_MAX",
    "--models-autoload": "LLAMA_ARG_MODELS_AUTOLOAD",
    "--sleep-idle-seconds": "LLAMA_ARG_SLEEP_IDLE_SECONDS",
    "--slot-save-path": "LLAMA_ARG_SLOT_SAVE_PATH",
    "--host": "LLAMA_ARG_HOST",
    "--port": "LLAMA_ARG_PORT",
    "--api-key": "LLAMA_API_KEY",
    "--api-key-file": "LLAMA_ARG_API_KEY_FILE",
    "--api-prefix": "LLAMA_ARG_API_PREFIX",
    "-a": "LLAMA_ARG_ALIAS",
    "-to": "LLAMA_ARG_TIMEOUT",
    "--threads-http": "LLAMA_ARG_THREADS_HTTP",
    "--sse-ping-interval": "LLAMA_ARG_SSE_PING_INTERVAL",
    "--cors-origins": "LLAMA_ARG_CORS_ORIGINS",
    "--ssl-cert-file": "LLAMA_ARG_SSL_CERT_FILE",
    "--ssl-key-file": "LLAMA_ARG_SSL_KEY_FILE",
    "--ui": "LLAMA_ARG_UI",
    "--metrics": "LLAMA_ARG_ENDPOINT_METRICS",
    "--slots": "LLAMA_ARG_ENDPOINT_SLOTS",
    "--context-shift": "LLAMA_ARG_CONTEXT_SHIFT",
    "--embeddings": "LLAMA_ARG_EMBEDDINGS",
    "--reranking": "LLAMA_ARG_RERANKING",
    "--prefill-assistant": "LLAMA_ARG_PREFILL_ASSISTANT",
    "--jinja": "LLAMA_ARG_JINJA",
    "-cb": "LLAMA_ARG_CONT_BATCHING",
    "-rea": "LLAMA_ARG_REASONING",
    "--reasoning-format": "LLAMA_ARG_THINK",
    "--pooling": "LLAMA_ARG_POOLING",
    "--chat-template": "LLAMA_ARG_CHAT_TEMPLATE",
    "--chat-template-kwargs": "LLAMA_ARG_CHAT_TEMPLATE_KWARGS",
    "--cache-prompt": "LLAMA_ARG_CACHE_PROMPT",
    "--reasoning-effort": "LLAMA_ARG_REASONING_EFFORT",
    "--reasoning-budget": "LLAMA_ARG_THINK_BUDGET",
    "--reasoning-budget-message": "LLAMA_ARG_THINK_BUDGET_MESSAGE",
    "--spec-type": "LLAMA_ARG_SPEC_TYPE",
    "-md": "LLAMA_ARG_SPEC_DRAFT_MODEL",
    "-hfd": "LLAMA_ARG_SPEC_DRAFT_HF_REPO",
    "--spec-draft-n-max": "LLAMA_ARG_SPEC_DRAFT_N_MAX",
    "--spec-draft-n-min": "LLAMA_ARG_SPEC_DRAFT_N_MIN",
    "--spec-draft-p-min": "LLAMA_ARG_SPEC_DRAFT_P_MIN",
    "-ngld": "LLAMA_ARG_N_GPU_LAYERS_DRAFT",
    "--rope-scaling": "LLAMA_ARG_ROPE_SCALING_TYPE",
    "--rope-scale": "LLAMA_ARG_ROPE_SCALE",
    "--rope-freq-base": "LLAMA_ARG_ROPE_FREQ_BASE",
    "--rope-freq-scale": "LLAMA_ARG_ROPE_FREQ_SCALE",
    "--yarn-orig-ctx": "LLAMA_ARG_YARN_ORIG_CTX",
    "--fit": "LLAMA_ARG_FIT",
    "--fit-ctx": "LLAMA_ARG_FIT_CTX",
    "--offline": "LLAMA_ARG_OFFLINE",
    "--chat-template-file": "LLAMA_ARG_CHAT_TEMPLATE_FILE",
}
"""The variable of each option, by one of the option's names; llama-server's, so that its deployments work."""
PREFIX: Final = "LLAMA_ARG_"


class ServeCommand(ExamplesCommand):
    """A command whose options are also read from llama-server's variables."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for parameter in self.params:
            names = (*parameter.opts, *parameter.secondary_opts)
            found = [variable for name, variable in VARIABLES.items() if name in names]
            parameter.envvar = found[0] if found else None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take what a file of configuration says for what neither the command line nor a variable does."""
        args = [_with_dashes(argument) for argument in args]
        models: Mapping[str, Mapping[str, Any]] = {}
        file = config_of(args)
        if file is not None:
            try:
                values, models = defaults_of(self, file)
            except (UsageError, OSError) as error:
                write_error(f"{one_line(error)} (see `--help`)")
                raise typer.Exit(2) from error
            ctx.default_map = {**(ctx.default_map or {}), **values}
        rest: list[str] = super().parse_args(ctx, args)
        ctx.meta["given"] = Given(self, typed_of(ctx), models)
        return rest

    def invoke(self, ctx: Any) -> Any:
        """Run, with what was given at hand."""
        token = GIVEN.set(ctx.meta["given"])
        try:
            return super().invoke(ctx)
        finally:
            GIVEN.reset(token)


def _with_dashes(argument: str) -> str:
    """An option with dashes where llama-server lets underscores stand."""
    if not argument.startswith("--"):
        return argument
    name, equals, value = argument.partition("=")
    return name.replace("_", "-") + equals + value


def refuse_unknown_variables(environment: Mapping[str, str] = os.environ) -> None:
    """Refuse variables that llama-server may know and that nothing here reads.

    Raises:
        UsageError: one is set; names the nearest.
    """
    known = set(VARIABLES.values())
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            message = f"`{name}` is set, and no option reads it{nearest_name(name, sorted(known))}; unset it"
            raise UsageError(message)


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Where it listens, and whom it answers."""

    host: Annotated[
        str | None,
        option(SERVER, "--host", metavar="HOST", text="Where to listen: a host, several after commas, or a socket `PATH.sock` (default 127.0.0.1)."),
    ] = None
    port: Annotated[int | None, option(SERVER, "--port", metavar="N", min=0, max=65535, text="The port; 0: any free one (default 8080).")] = None
    parallel: Annotated[
        int | None, option(SERVER, "-np", "--parallel", metavar="N", min=1, text="How many requests to decode together (default 8).")
    ] = None
    max_queue: Annotated[
        int | None,
        option(SERVER, "--max-queue", metavar="N", min=0, text="How many more may wait; others are told to come back (default: any number)."),
    ] = None
    api_keys: Annotated[
        list[str] | None, option(SERVER, "--api-key", metavar="KEY", text="A key that requests must have; several after commas, or given again.")
    ] = None
    api_key_file: Annotated[Path | None, option(SERVER, "--api-key-file", metavar="FILE", text="A file with a key in each line.")] = None
    alias: Annotated[str | None, option(SERVER, "-a", "--alias", metavar="NAMES", text="What to call the model; several names after commas.")] = None
    tags: Annotated[str | None, option(SERVER, "--tags", metavar="NAMES", text="Words about the model for the list of models, after commas.")] = None
    config: Annotated[
        Path | None, option(SERVER, "--config", metavar="FILE", text="A TOML file with options (`port = 80`) and models (`[models.small]`).")
    ] = None
    models_dir: Annotated[
        Path | None, option(MODELS, "--models-dir", metavar="FOLDER", text="Serve the models in a folder, each loaded when a request names it.")
    ] = None
    models_preset: Annotated[
        Path | None, option(MODELS, "--models-preset", metavar="FILE", text="Serve the models of llama-server's INI file, with the options there.")
    ] = None
    models_max: Annotated[
        int, option(MODELS, "--models-max", metavar="N", min=0, text="How many models to have loaded at the same time; 0: any number (default 4).")
    ] = 4
    models_memory: Annotated[
        str | None,
        option(MODELS, "--models-memory", metavar="SIZE", text="How much memory all models may take, such as `6GiB` (default: what there is)."),
    ] = None
    models_autoload: Annotated[
        bool, option(MODELS, "--models-autoload/--no-models-autoload", text="Load the model that a request names (default), or only by /models/load.")
    ] = True
    sleep_idle_seconds: Annotated[
        float | None,
        option(
            MODELS,
            "--sleep-idle-seconds",
            metavar="S",
            text="Unload a model that is idle for so long; the next request loads it; -1: never (default).",
        ),
    ] = None
    prefix: Annotated[str | None, option(SERVER, "--api-prefix", metavar="PATH", text="What stands before every path, such as `/llm`.")] = None
    allowed_hosts: Annotated[
        list[str] | None,
        option(SERVER, "--allowed-host", metavar="NAME", text="A host name under which it may be asked; may be given several times."),
    ] = None
    allowed_origins: Annotated[
        str | None,
        option(SERVER, "--cors-origins", metavar="ORIGINS", text="Web pages that may ask, such as `https://a.example`, after commas; `*`: all."),
    ] = None
    http_threads: Annotated[int | None, option(SERVER, "--threads-http", metavar="N", min=1, text="Threads that serve HTTP (default 2).")] = None
    max_connections: Annotated[
        int | None, option(SERVER, "--max-connections", metavar="N", min=1, text="Connections at the same time (default 4,096).")
    ] = None
    timeout: Annotated[
        float | None,
        option(SERVER, "-to", "--timeout", metavar="S", min=0, text="Seconds that a client may stop reading or sending (default 3,600)."),
    ] = None
    drain_timeout: Annotated[
        float | None, option(SERVER, "--drain-timeout", metavar="S", min=0, text="Seconds for running requests to end at the end (default 30).")
    ] = None
    ping: Annotated[
        float | None,
        option(SERVER, "--sse-ping-interval", metavar="S", text="Seconds between signs of life in silent streams; -1: none (default 30)."),
    ] = None
    metrics: Annotated[bool, option(SERVER, "--metrics", text="Show figures for Prometheus at `/metrics`.")] = False
    slots: Annotated[bool, option(SERVER, "--slots/--no-slots", text="Show what runs at `/slots`, or not (default).")] = False
    slot_save_path: Annotated[
        Path | None, option(SERVER, "--slot-save-path", metavar="FOLDER", text="Let clients save slots in a folder (default: not).")
    ] = None
    embeddings: Annotated[bool, option(SERVER, "--embeddings/--no-embeddings", "--embedding", text="Give embeddings (default), or not.")] = True
    access_log: Annotated[
        str | None, option(SERVER, "--access-log", metavar="FILE", text="Add a line of JSON for each request to this file; `-` is stderr.")
    ] = None
    ssl_cert_file: Annotated[
        Path | None, option(SERVER, "--ssl-cert-file", metavar="FILE", text="Encrypt connections with this certificate (PEM).")
    ] = None
    ssl_key_file: Annotated[Path | None, option(SERVER, "--ssl-key-file", metavar="FILE", text="The private key of the certificate (PEM).")] = None
    ui: Annotated[bool, option(SERVER, "--ui/--no-ui", "--webui/--no-webui", text="Show a page to chat at `/` (default), or not.")] = True
    reranking: Annotated[bool, option(SERVER, "--reranking/--no-reranking", "--rerank", text="Rank documents (default), or not.")] = True

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Server`.

        Raises:
            UsageError: an option says nothing.
            OSError: the file of keys cannot be read.
        """
        inherits = os.environ.get("LISTEN_PID") == str(os.getpid())
        if inherits and (self.host is not None or self.port is not None):
            message = "`--host` and `--port` have nothing to say where a service manager gives the sockets (`LISTEN_FDS`); leave them out"
            raise UsageError(message)
        unix_path = self.host if self.host is not None and self.host.endswith(SOCKET) else None
        hosts = [] if unix_path is not None else listed(self.host)
        if self.slot_save_path is not None and not self.slot_save_path.is_dir():
            message = f"`--slot-save-path {self.slot_save_path}` is no folder"
            raise UsageError(message)
        vertex = vertex_arguments(os.environ)
        if vertex and self.port is not None and self.port != vertex["port"]:
            message = f"`AIP_HTTP_PORT` says port {vertex['port']}, and `--port` {self.port}; leave one of them out"
            raise UsageError(message)
        return {
            "host": hosts or None,
            "port": self.port,
            **vertex,
            "unix_path": unix_path,
            "inherit_sockets": inherits,
            "slot_save_path": self.slot_save_path,
            "api_keys": self._keys(),
            "prefix": self.prefix,
            "allowed_hosts": self.allowed_hosts or (),
            "allowed_origins": listed(self.allowed_origins),
            "http_threads": self.http_threads,
            "max_connections": self.max_connections,
            "timeout": self.timeout,
            "drain_timeout": self.drain_timeout,
            "ping": None if self.ping is None else max(self.ping, 0.0),
            "access_log": self.access_log,
            "ssl_cert_file": self.ssl_cert_file,
            "ssl_key_file": self.ssl_key_file,
            "page": self.ui,
            "metrics": self.metrics,
            "slots": self.slots,
            "embeddings": self.embeddings,
            "reranking": self.reranking,
        }

    def names(self) -> list[str]:
        """What the model is called: the first name in the order of the alphabet, as llama-server has it, then the others."""
        return sorted(set(listed(self.alias)))

    def listed_tags(self) -> list[str]:
        """The words about the model."""
        return sorted(set(listed(self.tags)))

    def has_models(self, models: Mapping[str, Any]) -> bool:
        """Whether there are several models; `models` are those of the file of configuration."""
        return self.models_dir is not None or self.models_preset is not None or bool(models)

    def _keys(self) -> list[str]:
        keys = [key for given in self.api_keys or () for key in listed(given)]
        if self.api_key_file is not None:
            lines = self.api_key_file.read_text(encoding="utf-8").splitlines()
            keys.extend(line.strip() for line in lines if line.strip())
        if not keys and (self.api_keys is not None or self.api_key_file is not None):
            message = "`--api-key` and `--api-key-file` give no key, and anybody could ask; give one, or leave them out"
            raise UsageError(message)
        return keys


def vertex_arguments(environment: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of `Server` that the variables of Google's Vertex AI ask for.

    https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements lists them.

    Raises:
        UsageError: the port is none.
    """
    if environment.get("AIP_MODE") != "PREDICTION":
        return {}
    port = environment.get("AIP_HTTP_PORT") or "8080"
    if not (port.isdecimal() and 0 < int(port) < 1 << 16):
        message = f"`AIP_HTTP_PORT` is `{port}`, which is no port"
        raise UsageError(message)
    return {
        "port": int(port),
        "predict_route": environment.get("AIP_PREDICT_ROUTE") or "/predict",
        "health_route": environment.get("AIP_HEALTH_ROUTE") or None,
    }


def listed(text: str | None) -> list[str]:
    """Names that stand between commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]
