"""Models behind HTTP: the routes of OpenAI's, llama.cpp's and other clients."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from tabagent import _native, log
from tabagent import exit as at_exit
from tabagent._arguments import as_bool, as_choice, as_float, as_int, as_path, as_text, as_texts, type_name
from tabagent.chat_prompt import template_of
from tabagent.model import Model
from tabagent.pool import KEEP_ALIVE_S, ModelPool, as_limit
from tabagent.served_answers import chat_defaults, generation_defaults, scaled_files
from tabagent.served_models import Reader, Served, described, hub_command, plan_of

if TYPE_CHECKING:
    from typing_extensions import Self

    from tabagent.chat_template import ChatTemplate
    from tabagent.overflow import ContextShift, Overflow
    from tabagent.sampling import SamplerConfig
    from tabagent.speculation import SpeculativeConfig

__all__ = ["Server", "serve"]

MAX_COUNT: Final = 2**31 - 1
SIGNALS: Final = ("SIGINT", "SIGTERM")


class Server:
    """A server that answers with a model, or several, in threads of its own that never wait for Python.

        with Model.load("demo") as model, Server(model, port=0) as server:
            print(server.url)  # http://127.0.0.1:54321

    It listens when it is made, and stops with `close`, at the end of its `with` block, and when the interpreter exits. The model can be used
    from Python meanwhile, and stays open.
    """

    __slots__ = ("__weakref__", "_model", "_native")

    def __init__(
        self,
        model: Model | ModelPool | Mapping[str, Served],
        *,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        unix_path: str | os.PathLike[str] | None = None,
        inherit_sockets: bool | None = None,
        name: str | None = None,
        aliases: Sequence[str] = (),
        tags: Sequence[str] = (),
        memory_limit: int | str | None = None,
        max_models: int | None = None,
        keep_alive: float | None = None,
        autoload: bool = True,
        load: Sequence[str] = (),
        any_name: bool | None = None,
        reload: Reader | None = None,
        adapters: Sequence[str | os.PathLike[str] | tuple[str | os.PathLike[str], float]] | Mapping[Any, float] = (),
        api_keys: Sequence[str] = (),
        prefix: str | None = None,
        allowed_hosts: Sequence[str] = (),
        allowed_origins: Sequence[str] = (),
        chat_template: str | os.PathLike[str] | ChatTemplate | None = None,
        sampling: SamplerConfig | None = None,
        max_tokens: int | None = None,
        overflow: Overflow | ContextShift | None = None,
        stop: Sequence[str] = (),
        ignore_eos: bool = False,
        cache_prompt: bool = True,
        speculative: Literal["lookup"] | Model | SpeculativeConfig | None = None,
        draft_model: str | os.PathLike[str] | Mapping[str, Any] | None = None,
        template_variables: Mapping[str, Any] | None = None,
        reasoning_budget: int | None = None,
        reasoning_budget_message: str = "",
        control_vectors: Sequence[str | os.PathLike[str] | tuple[str | os.PathLike[str], float]] | Mapping[Any, float] = (),
        control_layers: tuple[int, int] | None = None,
        http_threads: int | None = None,
        max_connections: int | None = None,
        max_body_bytes: int | None = None,
        max_choices: int | None = None,
        head_timeout: float | None = None,
        timeout: float | None = None,
        drain_timeout: float | None = None,
        ping: float | None = None,
        access_log: str | os.PathLike[str] | None = None,
        ssl_cert_file: str | os.PathLike[str] | None = None,
        ssl_key_file: str | os.PathLike[str] | None = None,
        page: bool | None = None,
        metrics: bool | None = None,
        slots: bool | None = None,
        verbose: bool | None = None,
        slot_save_path: str | os.PathLike[str] | None = None,
        props: bool | None = None,
        embeddings: bool | None = None,
        reranking: bool | None = None,
        prefill: bool | None = None,
        tools: bool | None = None,
        thinking: bool | None = None,
        reasoning_in_content: bool | None = None,
        pooling: Literal["none", "mean", "cls", "last", "rank"] | None = None,
        embedding_norm: int = 2,
        predict_route: str | None = None,
        health_route: str | None = None,
    ) -> None:
        """Listen. Returns when the first request can come.

        Args:
            model: what answers, whatever model a request names. With several, a mapping from names to models, each of which is loaded when a request
                first names it: a path (`demo`, or `hf:OWNER/REPO/FILE` of the hub), a mapping of `Model.load`'s arguments with `path` among them, a
                function that loads and returns the model, or a model. Such a mapping may also have `aliases`, `tags`, `chat_template`, `sampling`,
                `max_tokens`, `overflow`, `adapters`, `keep_alive` and the others named below of its own. Or a `ModelPool`, which lends its models.
            host: the host name or address to listen at, or several; None for 127.0.0.1, which this machine alone reaches.
            port: the port; 0 for any free one, None for 8080.
            unix_path: a socket in the file system instead.
            inherit_sockets: whether to take the sockets that a service manager such as systemd opened for this process (`LISTEN_FDS`) instead; None
                for no.
            name: what responses call the one model; None for the file's name.
            aliases: other names of it, for the list of models.
            tags: words about it, for the list of models.
            memory_limit: most bytes of all models together that the server loads, weights that are mapped from files included: a number, or a text
                such as `6GiB`; None for as much as there is, which each load finds out. The least recently used one goes first.
            max_models: how many models the server loads at the same time; None for any number.
            keep_alive: for how many seconds an idle model stays loaded that the server has loaded; a negative number for ever, None for 300 with
                several models, for ever with one.
            autoload: whether a request loads the model that it names; without it `/models/load` does.
            load: models to load at once.
            any_name: whether the one model of a mapping answers whatever model a request names; None for no.
            reload: reads the mapping anew when a client asks for that.
            adapters: files of adapters that are loaded with the model, each with its scale (default 1).
            api_keys: keys, one of which every request must have; none for open access.
            prefix: what stands before every path, such as `/llm`.
            allowed_hosts: host names under which it may be asked, besides `localhost` and addresses, where it listens on this machine alone
                without keys.
            allowed_origins: origins of web pages that may ask, such as `https://example.org`, or `*`. Pages of this machine may always.
            chat_template: in place of the file's template, as for `apply_chat_template`.
            sampling: how tokens are chosen where a request does not say; None for llama.cpp's own way.
            max_tokens: how many tokens a text may have where a request does not say; None for as many as the context holds.
            overflow: what becomes of texts that do not fit the context, as for `generate`; None for `error`.
            stop: texts that end a text where a request does not say. This and what follows, up to `control_layers`, a mapping may also have for each
                model.
            ignore_eos: never end a text where the model would, where a request does not say.
            cache_prompt: whether requests that do not say begin with what others decoded, and leave theirs for others.
            speculative: how tokens are guessed ahead for all requests, as for `generate`: faster where guesses come true.
            draft_model: a smaller model that guesses and is loaded and unloaded with the model: a path, or a mapping of `Model.load`'s arguments
                with `path` among them. Beside it, `speculative` may be a `SpeculativeConfig` for its limits.
            template_variables: variables for chat templates where a request does not set them, such as `{"enable_thinking": False}`.
            reasoning_budget: how many tokens a model may think where a request does not say; None for as many as it likes.
            reasoning_budget_message: what it is made to say when that is used up, before its thought ends.
            control_vectors: files of control vectors that change the model for all requests, each with its scale (default 1).
            control_layers: the first and the last layer that they change; None for all.
            http_threads: threads that serve HTTP; None for 2.
            max_connections: connections at the same time; one more is answered with status 503. None for 4,096.
            max_body_bytes: the size of a request; a larger one is answered with status 413. None for 64 MiB.
            max_choices: texts that one request may ask for; None for 256.
            head_timeout: seconds that a client may take to send the head of a request; None for 30.
            timeout: seconds that a client may stop in the middle of sending a request or of reading a response; None for 3,600.
            drain_timeout: seconds that running requests may take to end once the server stops; then they end with an error. None for 30.
            ping: seconds after which a silent stream of events says that it is there; 0 for never, None for 30.
            access_log: a file to which a line of JSON is added for each request: its id, path, status, size and times, nothing of what it says; `-`
                is stderr.
            ssl_cert_file: a certificate in PEM, with those that lead to one that clients trust: connections are encrypted then (TLS 1.2 and 1.3).
            ssl_key_file: its private key in PEM.
            page: whether there is a web page to chat at `/`; None for yes.
            metrics: whether `/metrics` is there; None for no.
            slots: whether `/slots` is there; None for no.
            verbose: whether answers of `/v1/chat/completions` tell the prompt and how the text was made (`__verbose`), where a request does not say;
                None for no.
            slot_save_path: the folder in which slots may be saved; None for none.
            props: whether `/props` may be changed; None for no.
            embeddings: whether there are embeddings; None for yes.
            reranking: whether there is ranking; None for yes.
            prefill: whether a last message of the assistant is continued; None for yes.
            tools: whether conversations may have tools; None for yes.
            thinking: tells templates that can be told whether the model thinks, where a request does not say; None for
                yes.
            reasoning_in_content: whether what a model thinks stays in the content where a request does not say; None for no.
            pooling: how the vectors of a text's tokens become one; None and `rank` for the model's own way. With `none` they stay, and `/embeddings`
                gives a vector of each token, as it is.
            embedding_norm: how long vectors are made where a request does not say: 2 for the length 1, -1 as they are, 1 for the sum 1, 0 for 32,760
                as the largest number, another p for the p-norm 1; Ollama's routes have their own way.
            predict_route: a path at which Google's Vertex AI sends requests for other paths, such as `/predict`; None for none.
            health_route: a path at which it looks whether the server is there, besides `/health`.

        Raises:
            TypeError, ValueError: an argument is wrong.
            OSError: the address cannot be listened at.
            AdapterError: an adapter of the one model is none, or does not fit it.
            ClosedError: the model is closed.
        """
        settings: dict[str, Any] = {
            "listen_hosts": None if host is None else as_texts([host] if isinstance(host, str) else host, "host"),
            "port": None if port is None else as_int(port, "port", 0, 65535),
            "unix_path": None if unix_path is None else as_path(unix_path, "unix_path"),
            "prefix": _text(prefix, "prefix"),
            "keys": as_texts(api_keys, "api_keys"),
            "hosts": as_texts(allowed_hosts, "allowed_hosts"),
            "origins": as_texts(allowed_origins, "allowed_origins"),
            "threads": _count(http_threads, "http_threads"),
            "max_connections": _count(max_connections, "max_connections"),
            "max_body_bytes": _count(max_body_bytes, "max_body_bytes"),
            "max_choices": _count(max_choices, "max_choices"),
            "head_timeout": _seconds(head_timeout, "head_timeout"),
            "timeout": _seconds(timeout, "timeout"),
            "drain_timeout": _seconds(drain_timeout, "drain_timeout"),
            "ping": _seconds(ping, "ping"),
            "access_log": None if access_log is None else as_path(access_log, "access_log"),
            "ssl_cert_file": None if ssl_cert_file is None else as_path(ssl_cert_file, "ssl_cert_file"),
            "ssl_key_file": None if ssl_key_file is None else as_path(ssl_key_file, "ssl_key_file"),
            "page": _flag(page, "page"),
            "metrics": _flag(metrics, "metrics"),
            "verbose": _flag(verbose, "verbose"),
            "inherit_sockets": _flag(inherit_sockets, "inherit_sockets"),
            "slots": _flag(slots, "slots"),
            "slot_save_path": None if slot_save_path is None else as_path(slot_save_path, "slot_save_path"),
            "props": _flag(props, "props"),
            "embeddings": _flag(embeddings, "embeddings"),
            "reranking": _flag(reranking, "reranking"),
            "prefill": _flag(prefill, "prefill"),
            "tools": _flag(tools, "tools"),
            "thinking": _flag(thinking, "thinking"),
            "reasoning_in_content": _flag(reasoning_in_content, "reasoning_in_content"),
            "vector_norm": as_int(embedding_norm, "embedding_norm", -1, 1024),
            "predict_route": _text(predict_route, "predict_route"),
            "health_route": _text(health_route, "health_route"),
            **_pooling(pooling),
        }
        defaults = {
            "chat_template": chat_template,
            "sampling": sampling,
            "max_tokens": max_tokens,
            "overflow": overflow,
            "adapters": adapters,
            "stop": stop,
            "ignore_eos": ignore_eos,
            "cache_prompt": cache_prompt,
            "speculative": speculative,
            "draft_model": draft_model,
            "template_variables": template_variables,
            "reasoning_budget": reasoning_budget,
            "reasoning_budget_message": reasoning_budget_message,
            "control_vectors": control_vectors,
            "control_layers": control_layers,
        }
        if isinstance(model, Model):
            if chat_template is not None:
                native = model._native  # noqa: SLF001 (a module of ours)
                defaults["chat_template"] = template_of(chat_template, native, {"tools": None, "documents": None})
            called = Path(model.info.path).stem if name is None else as_text(name, "name")
            entries = described({called: model}, {**defaults, "aliases": aliases, "tags": tags})
            for file, _ in entries[0]["adapters"]:
                # One that is none is told of here, not to the clients.
                model.load_adapter(file).close()
            for file, _ in scaled_files(control_vectors, "control_vectors"):
                model.load_control_vector(file)
        elif isinstance(model, (ModelPool, Mapping)):
            if name is not None or aliases or tags:
                message = "`name`, `aliases` and `tags` are those of one model; with several, give them in the mapping"
                raise ValueError(message)
            entries = described(model, defaults)
        else:
            message = f"`model` must be a Model, a ModelPool or a mapping of names to models, got {type_name(model)}"
            raise TypeError(message)
        is_one = isinstance(model, Model) or (as_bool(any_name, "any_name") if any_name is not None else False)
        if is_one and len(entries) != 1:
            message = f"`any_name` is for one model, and there are {len(entries)}"
            raise ValueError(message)
        self._model = model
        self._native = _native.Server(
            entries,
            settings={key: value for key, value in settings.items() if value is not None},
            any_name=is_one,
            autoload=as_bool(autoload, "autoload"),
            memory_limit=as_limit(memory_limit),
            max_models=_count(max_models, "max_models"),
            keep_alive=_stay(keep_alive, is_one=is_one),
            reload=None if reload is None else lambda: described(reload(), defaults),
            hub=None if is_one else _hub(defaults),
        )
        for wanted in as_texts(load, "load"):
            self._native.load(wanted)
        at_exit.watch_server(self)

    @property
    def url(self) -> str:
        """Where it listens, the first place: `http://host:port`, `https://host:port`, or `unix:path`."""
        return self._native.urls()[0]

    @property
    def urls(self) -> list[str]:
        """All places where it listens."""
        return self._native.urls()

    @property
    def host(self) -> str | None:
        """The host; None of a socket in the file system."""
        address = self._native.port()
        return None if address is None else address[0]

    @property
    def port(self) -> int | None:
        """The port; None of a socket in the file system."""
        address = self._native.port()
        return None if address is None else address[1]

    @property
    def model(self) -> Model:
        """What answers.

        Raises:
            ValueError: the server was given several models.
        """
        if not isinstance(self._model, Model):
            message = "this server was given several models, which it loads by itself; look at `/v1/models`"
            raise ValueError(message)  # noqa: TRY004 (the attribute is asked of the wrong kind of server)
        return self._model

    def close(self) -> None:
        """Stop: take nothing more, let running requests end for `drain_timeout`, then end them with an error. Blocks; may be called again."""
        self._native.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Server {self.url}>"


def serve(model: Model | ModelPool | Mapping[str, Served] | str | os.PathLike[str], **options: Any) -> None:
    """Serve a model until Ctrl-C or SIGTERM, then stop gracefully. Blocks.

        tabagent.serve("demo", port=8080)

    Args:
        model: what `Server` takes, or what `Model.load` takes, which is closed at the end.
        **options: those of `Server`.

    Raises:
        Others: as `Model.load` and `Server`.
    """
    if isinstance(model, (Model, ModelPool, Mapping)):
        _serve(model, options)
        return
    with Model.load(model) as loaded:
        _serve(loaded, options)


def _serve(model: Model | ModelPool | Mapping[str, Served], options: dict[str, Any]) -> None:
    with noting_signals() as wait, Server(model, **options):
        wait()


def wait_for_signal() -> None:
    """Wait for Ctrl-C or SIGTERM. In a thread that gets no signals, wait for ever."""
    with noting_signals() as wait:
        wait()


@contextmanager
def noting_signals() -> Iterator[Callable[[], None]]:
    """From now on Ctrl-C and SIGTERM are noted; gives what waits for one. In a thread that gets no signals, it waits for ever."""
    came = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield _wait_for_ever
        return

    def note(_number: int, _frame: FrameType | None) -> None:
        came.set()

    def wait() -> None:
        # A wait without end would keep handlers from running.
        while not came.wait(0.5):
            # Nobody else takes what the core tells of requests.
            log.forward()

    before = {name: signal.signal(getattr(signal, name), note) for name in SIGNALS}
    try:
        yield wait
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
        log.forward()


def _wait_for_ever() -> None:
    threading.Event().wait()


def _stay(keep_alive: object, *, is_one: bool) -> float | None:
    """For how many seconds an idle model stays; None for ever."""
    if keep_alive is None:
        return None if is_one else KEEP_ALIVE_S
    seconds = as_float(keep_alive, "keep_alive")
    return None if seconds < 0 or math.isinf(seconds) else seconds


def _hub(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """How models are fetched that clients ask for."""
    return {
        "command": hub_command(),
        "load": plan_of({}),
        "defaults": generation_defaults(defaults),
        "chat": chat_defaults(defaults),
    }


def _pooling(given: object) -> dict[str, Any]:
    """How vectors of tokens become one of a text, or whether they stay."""
    if given is None:
        return {}
    known = as_choice(given, "pooling", ("none", "mean", "cls", "last", "rank"))
    if known == "none":
        return {"token_vectors": True}
    return {} if known == "rank" else {"pooling": known}


def _text(value: object, name: str) -> str | None:
    return None if value is None else as_text(value, name)


def _count(value: object, name: str) -> int | None:
    return None if value is None else as_int(value, name, 1, MAX_COUNT)


def _seconds(value: object, name: str) -> float | None:
    return None if value is None else as_float(value, name)


def _flag(value: object, name: str) -> bool | None:
    return None if value is None else as_bool(value, name)
