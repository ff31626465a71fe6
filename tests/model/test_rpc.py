"""Layers on other machines: `devices=["rpc://host:port"]`, over servers on this one."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from near_ties import assert_alike
from support.isolated import children
from support.rpc_servers import RpcServer, free_port, rpc_server
from tabagent import EngineCrashedError, Model, ModelLoadError, ModelPool, SamplerConfig, Server, predict_memory
from waiting import until

PROMPT = "Once upon a time"
GREEDY = SamplerConfig.greedy()
HELLO = bytes([14]) + struct.pack("<Q", 24) + bytes(24)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[RpcServer, RpcServer]]:
    with rpc_server() as one, rpc_server() as two:
        yield one, two


def load(path: Path, *servers: RpcServer, **options: Any) -> Model:
    return Model.load(path, **{"devices": [server.name for server in servers], "context_size": 512, "threads": 1, **options})


def tokens_of(model: Model, **options: Any) -> list[int]:
    return list(model.generate(PROMPT, **{"max_tokens": 48, "sampling": GREEDY, "ignore_eos": True, **options}).result().tokens)


def test_two_servers_give_the_local_text(smollm2_path: Path, smollm2: Model, servers: tuple[RpcServer, RpcServer]) -> None:
    expected = tokens_of(smollm2)
    with load(smollm2_path, *servers, tensor_split=[2, 1]) as model:
        info = model.info
        assert info.used_devices == (servers[0].name, servers[1].name)
        assert info.layers_on_gpu == info.layers
        assert {device.id for device in info.devices} >= {"cpu", *info.used_devices}
        assert_alike(smollm2, PROMPT, tokens_of(model), expected)
        assert "tabagent_moved_to_cpu 0\n" in model.metrics().prometheus()
    assert children() == set()
    # One that was let go serves the next.
    with load(smollm2_path, servers[1], gpu_layers=4) as model:
        assert model.info.layers_on_gpu == 4
        assert_alike(smollm2, PROMPT, tokens_of(model), expected)


def test_a_server_that_is_killed_is_an_error_that_names_it(smollm2_path: Path, servers: tuple[RpcServer, RpcServer]) -> None:
    with rpc_server() as lost, load(smollm2_path, servers[0], lost) as model:
        stream = model.generate(PROMPT, max_tokens=400, ignore_eos=True)
        next(stream)
        lost.kill()
        began = time.monotonic()
        with pytest.raises(EngineCrashedError, match=f"cannot reach `{lost.name}`: Connection refused"):
            stream.result()
        with pytest.raises(ModelLoadError, match=f"cannot reach `{lost.name}`: Connection refused"):
            tokens_of(model)
        assert time.monotonic() - began < 10


def test_a_server_that_stops_is_an_error_within_seconds(smollm2_path: Path, servers: tuple[RpcServer, RpcServer]) -> None:
    with rpc_server() as stuck, load(smollm2_path, servers[0], stuck) as model:
        stream = model.generate(PROMPT, max_tokens=400, ignore_eos=True)
        for _ in range(8):
            next(stream)
        stuck.pause()
        began = time.monotonic()
        with pytest.raises(EngineCrashedError, match=f"made no progress in a decode.*`{stuck.name}` takes the connection but does not answer"):
            stream.result()
        assert time.monotonic() - began < 20


def test_when_a_device_fails_the_streams_go_on_on_the_cpu(
    smollm2_path: Path, smollm2: Model, servers: tuple[RpcServer, RpcServer], caplog: pytest.LogCaptureFixture
) -> None:
    options: dict[str, Any] = {"max_tokens": 48, "sampling": GREEDY, "ignore_eos": True}
    expected = tokens_of(smollm2)
    with rpc_server() as lost, load(smollm2_path, servers[0], lost, on_gpu_failure="cpu") as model:
        assert model.info.used_devices == (servers[0].name, lost.name)
        streams = [model.generate(PROMPT, **options) for _ in range(3)]
        pieces = [[next(stream), next(stream)] for stream in streams]
        lost.kill()
        with caplog.at_level(logging.WARNING, "tabagent"):
            for stream, texts in zip(streams, pieces, strict=True):
                texts.extend(stream)
        for stream, texts in zip(streams, pieces, strict=True):
            done = stream.result()
            assert "".join(texts) == done.text
            assert_alike(smollm2, PROMPT, done.tokens, expected)
        assert "the model runs on the CPU from now on" in caplog.text
        info = model.info
        assert info.used_devices == ()
        assert info.layers_on_gpu == 0
        assert info.adjustments[-1].endswith("the model runs on the CPU since then")
        assert "tabagent_moved_to_cpu 1\n" in model.metrics().prometheus()
        assert_alike(smollm2, PROMPT, tokens_of(model), expected)
        # Vectors are computed there, too.
        assert model.embed("a").shape == (1, model.info.embedding_dim)
        # A process that ends on the CPU is started again there.
        (process,) = children()
        os.kill(process, signal.SIGKILL)
        assert_alike(smollm2, PROMPT, tokens_of(model), expected)
    assert model.info == info


def test_with_replay_a_server_that_came_back_is_used_again(smollm2_path: Path, smollm2: Model, servers: tuple[RpcServer, RpcServer]) -> None:
    with load(smollm2_path, servers[0], on_crash="replay") as model:
        stream = model.generate(PROMPT, max_tokens=48, sampling=GREEDY, ignore_eos=True)
        next(stream)
        (process,) = children()
        os.kill(process, signal.SIGKILL)
        assert_alike(smollm2, PROMPT, stream.result().tokens, tokens_of(smollm2))
        assert model.info.used_devices == (servers[0].name,)


def test_addresses_are_looked_at_before_the_load(smollm2_path: Path, servers: tuple[RpcServer, RpcServer]) -> None:
    for name in ("rpc://[::1]:50052", "rpc://a b", "rpc://host:0", "rpc://host:x"):
        with pytest.raises(ValueError, match="`devices` must be `rpc://HOST:PORT`"):
            Model.load(smollm2_path, devices=[name])
    nobody = free_port()
    with pytest.raises(ModelLoadError, match=rf"cannot reach `rpc://127.0.0.1:{nobody}`: Connection refused .*; start `tabagent rpc-server` there"):
        Model.load(smollm2_path, devices=[servers[0].name, f"rpc://127.0.0.1:{nobody}"])
    with pytest.raises(ModelLoadError, match=r"cannot find the host of `rpc://no-such-host\.invalid:50052`"):
        Model.load(smollm2_path, devices=["rpc://No-Such-Host.invalid"])
    with pytest.raises(ValueError, match="a process of its own"):
        predict_memory(smollm2_path, devices=[servers[0].name])
    assert children() == set()


OTHER_VERSION = struct.pack("<Q", 28) + bytes([8, 0, 1]) + bytes(25)


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-OpenSSH_9.2p1\r\n", b"", OTHER_VERSION])
def test_other_services_are_told_apart(smollm2_path: Path, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(30)
                connection.recv(4096)
                connection.sendall(answer)
                if answer == OTHER_VERSION:
                    connection.recv(4096)
                    connection.sendall(struct.pack("<QI", 4, 1))

        thread = threading.Thread(target=serve)
        thread.start()
        name = f"rpc://127.0.0.1:{listener.getsockname()[1]}"
        expected = f"what listens at `{name}` is no RPC server" if answer else f"`{name}` closes the connection without an answer"
        if answer == OTHER_VERSION:
            expected = f"`{name}` speaks version 8.0.1 of ggml's RPC and this library 7.0"
        with pytest.raises(ModelLoadError, match=expected):
            Model.load(smollm2_path, devices=[name])
        thread.join()


def test_a_server_has_one_client_at_a_time(smollm2_path: Path, servers: tuple[RpcServer, RpcServer]) -> None:
    expected = f"`{servers[0].name}` takes the connection but does not answer within 5 s"
    with load(smollm2_path, servers[0]), pytest.raises(ModelLoadError, match=expected):
        load(smollm2_path, servers[0])


def test_garbage_ends_neither_the_command_nor_what_others_get(smollm2_path: Path, smollm2: Model) -> None:
    too_long = bytes([10]) + struct.pack("<Q", 2**63)
    with rpc_server() as server:
        engine = server.engine
        for content in (b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 40, HELLO + b"\xff" * 100, HELLO + too_long):
            with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
                client.sendall(content)
                # A server that does not read to the end resets the connection.
                with contextlib.suppress(ConnectionResetError):
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(4096):
                        pass
        until(lambda: server.engine not in {None, engine})
        until(lambda: "it is started again" in server.said)
        assert "was ended by SIGABRT" in server.said
        until(lambda: _answers(server.port))
        with load(smollm2_path, server) as model:
            assert_alike(smollm2, PROMPT, tokens_of(model), tokens_of(smollm2))
        assert server.end() == 0


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as client:
            client.sendall(HELLO)
            return len(client.recv(36)) > 0
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_command(how: signal.Signals) -> None:
    with rpc_server("-dev", "cpu", "--host", "0.0.0.0") as server:  # noqa: S104 (for a second)
        engine = server.engine
        assert engine is not None
        assert "warning: everybody who reaches this port" in server.said
        assert "offering cpu (" in server.said
        assert server.end(how) == 0
        until(lambda: not Path(f"/proc/{engine}").exists())


def test_what_the_command_cannot_do_is_told_in_a_line(servers: tuple[RpcServer, RpcServer]) -> None:
    cases = {
        ("--port", str(servers[0].port)): (1, f"cannot listen at `127.0.0.1:{servers[0].port}`: Address already in use"),
        ("--host", "::1"): (2, "`--host ::1` is no IPv4 address"),
        ("--host", "203.0.113.7"): (1, "cannot listen at `203.0.113.7:50052`: Cannot assign requested address"),
        ("--device", "cuda:7"): (1, "there is no device `cuda:7`; there are `cpu`"),
    }
    for arguments, (code, text) in cases.items():
        done = subprocess.run([sys.executable, "-m", "tabagent", "rpc-server", *arguments], capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == code, done.stderr
        assert text in done.stderr
        assert done.stderr.count("\n") == 1


def test_large_tensors_lie_in_the_cache(smollm2_path: Path, smollm2: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TABAGENT_CACHE", str(tmp_path))
    with rpc_server("--cache") as server:
        for _ in range(2):
            with load(smollm2_path, server) as model:
                assert_alike(smollm2, PROMPT, tokens_of(model), tokens_of(smollm2))
    assert any((tmp_path / "rpc").iterdir())


def test_the_command_line_takes_servers(smollm2_path: Path, servers: tuple[RpcServer, RpcServer]) -> None:
    command = [sys.executable, "-m", "tabagent", "run", str(smollm2_path), "--raw", "-p", PROMPT, "-n", "8", "--temp", "0", "-c", "256", "-t", "1"]
    texts = []
    for arguments in ([], ["--rpc", f"127.0.0.1:{servers[0].port}"], ["-dev", servers[0].name, "--rpc", f"127.0.0.1:{servers[1].port}"]):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=200, check=True)
        texts.append(done.stdout)
    assert texts[0]
    assert texts[1:] == texts[:1] * 2


def test_a_server_of_models_and_a_pool_take_them(smollm2_path: Path, servers: tuple[RpcServer, RpcServer]) -> None:
    options = {"path": smollm2_path, "devices": [servers[0].name], "context_size": 256, "on_gpu_failure": "cpu"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Server({"small": options}, port=0, load=["small"], metrics=True) as server:

            def figures() -> str:
                with urllib.request.urlopen(f"{server.urls[0]}/metrics?model=small", timeout=60) as answer:
                    return str(answer.read().decode())

            assert "tabagent_moved_to_cpu 0\n" in figures()
        pool = ModelPool({"small": options}, memory_limit=1 << 34)
        with pool, pool.get("small") as model:
            assert model.info.used_devices == (servers[0].name,)
