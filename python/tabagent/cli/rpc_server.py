"""`tabagent rpc-server`: this machine's devices for models on other machines."""

import contextlib
import ipaddress
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from tabagent.cli.failure import UsageError, explained
from tabagent.cli.options import Verbose, in_groups, option
from tabagent.cli.output import write_error, write_note

if TYPE_CHECKING:
    from tabagent._rpc_child import Listening
    from tabagent.loading import LoadedLibrary

__all__ = ["rpc_server"]

SERVER: Final = "Server"
SIGNALS: Final = ("SIGINT", "SIGTERM")
MIB: Final = 1 << 20
TICK_S: Final = 0.1
SHORT_S: Final = 10.0
"""A process that ended sooner than this is followed by a pause,"""
PAUSE_S: Final = 0.25
"""which begins with this and doubles"""
LONGEST_PAUSE_S: Final = 5.0
"""up to this."""


@dataclass(frozen=True, kw_only=True)
class RpcServerOptions:
    """Where to listen, and what to offer."""

    host: Annotated[
        str,
        option(SERVER, "-H", "--host", metavar="ADDRESS", text="The IPv4 address to listen at (default 127.0.0.1: this machine); 0.0.0.0 for all."),
    ] = "127.0.0.1"
    port: Annotated[int, option(SERVER, "-p", "--port", metavar="N", min=0, max=65535, text="The port (default 50052); 0 for one that is free.")] = (
        50052
    )
    devices: Annotated[
        str | None,
        option(SERVER, "-dev", "-d", "--device", "--devices", metavar="NAMES", text="The devices to offer (default: all GPUs, or else the CPU)."),
    ] = None
    threads: Annotated[
        int | None, option(SERVER, "-t", "--threads", metavar="N", min=1, text="Threads that the CPU computes with (default: the usable cores).")
    ] = None
    cache: Annotated[bool, option(SERVER, "-c", "--cache", text="Keep large tensors in the cache folder, so that a model is sent once.")] = False
    variant: Annotated[
        str, option(SERVER, "--variant", "--backend", metavar="NAME", text="Which build of llama.cpp: a name of `tabagent variants` (default auto).")
    ] = "auto"

    def names(self) -> list[str]:
        """The devices by name."""
        return [name.strip() for name in (self.devices or "").split(",") if name.strip()]

    def settings(self) -> dict[str, Any]:
        """What the child reads.

        Raises:
            UsageError: a value is none that there is.
        """
        try:
            host = str(ipaddress.IPv4Address("127.0.0.1" if self.host == "localhost" else self.host))
        except ValueError:
            message = f"`--host {self.host}` is no IPv4 address, and ggml's RPC speaks no other; give one of this machine, or 0.0.0.0 for all"
            raise UsageError(message) from None
        return {"host": host, "port": self.port, "devices": self.names() or None, "threads": self.threads, "cache": _cache() if self.cache else None}


@explained
@in_groups
def rpc_server(*, server: RpcServerOptions, verbose: Verbose = False) -> int:
    """Offer this machine's devices to models that run on other machines.

    Name it there with `-dev rpc://HOST:PORT` or `--rpc HOST:PORT`. It serves
    one model at a time, and runs until Ctrl-C or SIGTERM. Whoever reaches the
    port can use the devices, read what others left in their memory, and end
    the process, which is then started again: open it in networks that you
    trust, and nowhere else. Both sides need the same version of tabagent.

    Exit code: 0 after Ctrl-C or SIGTERM, 1 for a failure, 2 for wrong usage.
    """
    from tabagent.loading import choose_library  # noqa: PLC0415 (not needed for `--help`)

    settings = server.settings()
    library = choose_library(server.variant, server.names() or None)
    with _noting_signals() as came:
        _serve(library, settings, came, verbose=verbose)
    return 0


def _serve(library: "LoadedLibrary", settings: Mapping[str, Any], came: threading.Event, *, verbose: bool) -> None:
    """Keep a child running until a signal comes."""
    from tabagent._rpc_child import RpcChild  # noqa: PLC0415 (not needed for `--help`)

    pause = 0.0
    told = False
    while not came.is_set():
        began = time.monotonic()
        child = RpcChild(library, settings, verbose=verbose)
        try:
            # It keeps the port that it got.
            settings = {**settings, "port": child.listening.port}
            if not told:
                _tell(child.listening)
                told = True
            while child.is_running and not came.wait(TICK_S):
                pass
        finally:
            how = child.end()
        if came.is_set():
            break
        pause = PAUSE_S if time.monotonic() - began > SHORT_S else min(max(2 * pause, PAUSE_S), LONGEST_PAUSE_S)
        write_error(f"{how}; a client sent what it does not expect, or its machine is short of memory; it is started again")
        came.wait(pause)


def _tell(listening: "Listening") -> None:
    for device in listening.devices:
        free, total = (device[name] // MIB for name in ("memory_free", "memory_total"))
        write_note(f"offering {device['id']} ({device['description']}, {free:,} of {total:,} MiB free)")
    if not ipaddress.IPv4Address(listening.host).is_loopback:
        write_note("warning: everybody who reaches this port can use and read these devices, unencrypted; open it in trusted networks alone")
    write_note(f"listening at {listening} with {listening.threads} threads")


@contextlib.contextmanager
def _noting_signals() -> Iterator[threading.Event]:
    came = threading.Event()
    before = {name: signal.signal(getattr(signal, name), lambda *_: came.set()) for name in SIGNALS}
    try:
        yield came
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)


def _cache() -> str:
    from tabagent._cache_path import in_cache  # noqa: PLC0415 (not needed for `--help`)

    folder = in_cache("rpc")
    if folder is None:
        message = "`--cache` needs a cache folder, and there is none; set `TABAGENT_CACHE`"
        raise UsageError(message)
    return folder
