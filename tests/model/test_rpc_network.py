"""Machines that lose their network close no connection: what becomes of a model on them, and of their server."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

import needs
from support.rpc_servers import RpcServer, rpc_server
from tabagent import EngineCrashedError, Model
from waiting import until

HERE: Final = "10.213.77.1"
THERE: Final = "10.213.77.2"
ESTABLISHED: Final = "01"
NUMBERS: Final = itertools.count()
ASK: Final = f"""
import socket
with socket.create_connection(({THERE!r}, PORT), timeout=0.5) as client:
    client.sendall(bytes([14, 24]) + bytes(31))
    assert client.recv(36)
"""
"""Says hello to the server from its own side of the network."""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


class Other:
    """Another machine, as far as the network goes: a namespace with a wire to this one."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.within = ("ip", "netns", "exec", name)

    def wire(self, state: str) -> None:
        run(*self.within, "ip", "link", "set", f"{self.name}b", state)


@pytest.fixture
def other() -> Iterator[Other]:
    needs.machine(os.geteuid() == 0 and shutil.which("ip") is not None, "making a network needs the rights of root, and `ip`")
    name = f"tab{os.getpid() % 100_000}-{next(NUMBERS)}"
    try:
        run("ip", "netns", "add", name)
    except subprocess.CalledProcessError as error:
        needs.machine(fits=False, why_not=f"no network can be made here: {error.stderr.decode().strip()}")
    try:
        run("ip", "link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        run("ip", "addr", "add", f"{HERE}/24", "dev", f"{name}a")
        run("ip", "link", "set", f"{name}a", "up")
        run("ip", "-n", name, "addr", "add", f"{THERE}/24", "dev", f"{name}b")
        run("ip", "-n", name, "link", "set", "lo", "up")
        place = Other(name)
        place.wire("up")
        yield place
    finally:
        # A namespace takes its time to end, and its end of the wire with it.
        with contextlib.suppress(subprocess.CalledProcessError):
            run("ip", "link", "del", f"{name}a")
        run("ip", "netns", "del", name)


def load(path: Path, server: RpcServer) -> Model:
    return Model.load(path, devices=[server.name], context_size=512, threads=1)


def is_connected() -> bool:
    """Whether this machine believes that it has a connection to the other one."""
    wanted = "".join(f"{int(part):02X}" for part in reversed(THERE.split(".")))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return any(row[2].startswith(wanted) and row[3] == ESTABLISHED for row in rows)


def serves(other: Other, server: RpcServer) -> bool:
    code = ASK.replace("PORT", str(server.port))
    return subprocess.run([*other.within, sys.executable, "-c", code], capture_output=True, timeout=30, check=False).returncode == 0


def test_a_network_that_fails_in_the_middle_of_a_text_is_an_error_within_seconds(smollm2_path: Path, other: Other) -> None:
    with rpc_server("--host", THERE, within=other.within) as server, load(smollm2_path, server) as model:
        stream = model.generate("Once upon a time", max_tokens=400, ignore_eos=True)
        for _ in range(8):
            next(stream)
        other.wire("down")
        began = time.monotonic()
        with pytest.raises(EngineCrashedError, match=f"cannot reach `{server.name}`"):
            stream.result()
        assert time.monotonic() - began < 20


def test_a_network_that_fails_while_nothing_runs_is_noticed_on_both_sides(smollm2_path: Path, other: Other) -> None:
    with rpc_server("--host", THERE, within=other.within) as server, load(smollm2_path, server) as model:
        assert is_connected()
        assert not serves(other, server)
        other.wire("down")
        # Both systems give up a connection on which nothing is confirmed; the server then takes another client.
        assert until(lambda: not is_connected()) < 20
        # Nobody in that place reaches its own address while the wire is down.
        other.wire("up")
        until(lambda: serves(other, server))
        began = time.monotonic()
        with pytest.raises(EngineCrashedError, match="Remote RPC server crashed"):
            model.generate("Once upon a time", max_tokens=4).result()
        assert time.monotonic() - began < 5
    with rpc_server("--host", THERE, within=other.within) as server, load(smollm2_path, server) as model:
        assert model.generate("Once upon a time", max_tokens=4).result().text
