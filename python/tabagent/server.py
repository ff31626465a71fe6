"""A model behind HTTP: the routes of OpenAI's, llama.cpp's and other clients."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from tabagent import _native
from tabagent import exit as at_exit
from tabagent._arguments import as_bool, as_choice, as_float, as_int, as_path, as_text, as_texts, type_name
from tabagent.chat_prompt import template_of
from tabagent.model import Model
from tabagent.sampling import SamplerConfig

if TYPE_CHECKING:
    from typing_extensions import Self

    from tabagent.chat_template import ChatTemplate

__all__ = ["Server", "serve"]

MAX_COUNT: Final = 2**31 - 1
SIGNALS: Final = ("SIGINT", "SIGTERM")


class Server:
    """A server that answers with a model, in threads of its own that never wait for Python.

        with Model.load("demo") as model, Server(model, port=0) as server:
            print(server.url)  # http://127.0.0.1:54321

    It listens when it is made, and stops with `close`, at the end of its `with` block, and when the interpreter exits. The model can be used
    from Python meanwhile, and stays open.
    """

    __slots__ = ("__weakref__", "_model", "_native")

    def __init__(
        self,
        model: Model,
        *,
        host: str | None = None,
        port: int | None = None,
        unix_path: str | os.PathLike[str] | None = None,
        name: str | None = None,
        aliases: Sequence[str] = (),
        api_keys: Sequence[str] = (),
        prefix: str | None = None,
        allowed_hosts: Sequence[str] = (),
        allowed_origins: Sequence[str] = (),
        chat_template: str | os.PathLike[str] | ChatTemplate | None = None,
        sampling: SamplerConfig | None = None,
        max_tokens: int | None = None,
        http_threads: int | None = None,
        max_connections: int | None = None,
        max_body_bytes: int | None = None,
        max_choices: int | None = None,
        head_timeout: float | None = None,
        timeout: float | None = None,
        drain_timeout: float | None = None,
        ping: float | None = None,
        page: bool | None = None,
        metrics: bool | None = None,
        slots: bool | None = None,
        props: bool | None = None,
        embeddings: bool | None = None,
        reranking: bool | None = None,
        prefill: bool | None = None,
        tools: bool | None = None,
        thinking: bool | None = None,
        reasoning_in_content: bool | None = None,
        pooling: Literal["mean", "cls", "last"] | None = None,
    ) -> None:
        """Listen. Returns when the first request can come.

        Args:
            model: what answers, whatever model a request names.
            host: the host name or address to listen at; None for 127.0.0.1, which this machine alone reaches.
            port: the port; 0 for any free one, None for 8080.
            unix_path: a socket in the file system instead.
            name: what responses call the model; None for the file's name.
            aliases: other names of it, for the list of models.
            api_keys: keys, one of which every request must have; none for open access.
            prefix: what stands before every path, such as `/llm`.
            allowed_hosts: host names under which it may be asked, besides `localhost` and addresses, where it listens on this machine alone
                without keys.
            allowed_origins: origins of web pages that may ask, such as `https://example.org`, or `*`. Pages of this machine may always.
            chat_template: in place of the file's template, as for `apply_chat_template`.
            sampling: how tokens are chosen where a request does not say; None for llama.cpp's own way.
            max_tokens: how many tokens a text may have where a request does not say; None for as many as the context holds.
            http_threads: threads that serve HTTP; None for 2.
            max_connections: connections at the same time; one more is answered with status 503. None for 4,096.
            max_body_bytes: the size of a request; a larger one is answered with status 413. None for 64 MiB.
            max_choices: texts that one request may ask for; None for 256.
            head_timeout: seconds that a client may take to send the head of a request; None for 30.
            timeout: seconds that a client may stop in the middle of sending a request or of reading a response; None for 3,600.
            drain_timeout: seconds that running requests may take to end once the server stops; then they end with an error. None for 30.
            ping: seconds after which a silent stream of events says that it is there; 0 for never, None for 30.
            page: whether there is a web page to chat at `/`; None for yes.
            metrics: whether `/metrics` is there; None for no.
            slots: whether `/slots` is there; None for no.
            props: whether `/props` may be changed; None for no.
            embeddings: whether there are embeddings; None for yes.
            reranking: whether there is ranking; None for yes.
            prefill: whether a last message of the assistant is continued; None for yes.
            tools: whether conversations may have tools; None for yes.
            thinking: tells templates that can be told whether the model thinks, where a request does not say; None leaves it to the template.
            reasoning_in_content: whether what a model thinks stays in the content where a request does not say; None for no.
            pooling: how the vectors of a text's tokens become one; None for the model's own way.

        Raises:
            TypeError, ValueError: an argument is wrong.
            OSError: the address cannot be listened at.
            ClosedError: the model is closed.
        """
        if not isinstance(model, Model):
            message = f"`model` must be a Model, got {type_name(model)}"
            raise TypeError(message)
        settings: dict[str, Any] = {
            "host": _text(host, "host"),
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
            "page": _flag(page, "page"),
            "metrics": _flag(metrics, "metrics"),
            "slots": _flag(slots, "slots"),
            "props": _flag(props, "props"),
            "embeddings": _flag(embeddings, "embeddings"),
            "reranking": _flag(reranking, "reranking"),
            "prefill": _flag(prefill, "prefill"),
            "tools": _flag(tools, "tools"),
            "thinking": _flag(thinking, "thinking"),
            "reasoning_in_content": _flag(reasoning_in_content, "reasoning_in_content"),
            "pooling": None if pooling is None else as_choice(pooling, "pooling", ("mean", "cls", "last")),
        }
        native = model._native  # noqa: SLF001 (a module of ours)
        template = None if chat_template is None else template_of(chat_template, native, {"tools": None, "documents": None})
        path = model.info.path
        self._model = model
        self._native = _native.Server(
            native,
            name=Path(path).stem if name is None else as_text(name, "name"),
            aliases=as_texts(aliases, "aliases"),
            path=path,
            template=None if template is None else template._native,  # noqa: SLF001 (a module of ours)
            defaults=_defaults(sampling, max_tokens),
            settings={key: value for key, value in settings.items() if value is not None},
        )
        at_exit.watch_server(self)

    @property
    def url(self) -> str:
        """Where it listens: `http://host:port`, or `unix:path`."""
        return self._native.url()

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
        """What answers."""
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


def serve(model: Model | str | os.PathLike[str], **options: Any) -> None:
    """Serve a model until Ctrl-C or SIGTERM, then stop gracefully. Blocks.

        tabagent.serve("demo", port=8080)

    Args:
        model: a model, or what `Model.load` takes, which is closed at the end.
        **options: those of `Server`.

    Raises:
        Others: as `Model.load` and `Server`.
    """
    if isinstance(model, Model):
        _serve(model, options)
        return
    with Model.load(model) as loaded:
        _serve(loaded, options)


def _serve(model: Model, options: dict[str, Any]) -> None:
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
            pass

    before = {name: signal.signal(getattr(signal, name), note) for name in SIGNALS}
    try:
        yield wait
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _wait_for_ever() -> None:
    threading.Event().wait()


def _defaults(sampling: SamplerConfig | None, max_tokens: int | None) -> dict[str, Any]:
    """What a request has that does not say otherwise."""
    if sampling is not None and not isinstance(sampling, SamplerConfig):
        message = f"`sampling` must be a SamplerConfig, got {type_name(sampling)}"
        raise TypeError(message)
    config = SamplerConfig.llama_cpp() if sampling is None else sampling
    return {
        "sampling": config.to_dict(),
        "max_tokens": None if max_tokens is None else as_int(max_tokens, "max_tokens", 0, MAX_COUNT),
        "cache_prompt": True,
    }


def _text(value: object, name: str) -> str | None:
    return None if value is None else as_text(value, name)


def _count(value: object, name: str) -> int | None:
    return None if value is None else as_int(value, name, 1, MAX_COUNT)


def _seconds(value: object, name: str) -> float | None:
    return None if value is None else as_float(value, name)


def _flag(value: object, name: str) -> bool | None:
    return None if value is None else as_bool(value, name)
