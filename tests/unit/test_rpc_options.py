"""What options of `Model.load` mean for devices of other machines, and for devices that fail; no model, no server."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.tiny_models import tiny_llama
from tabagent import Model, ModelLoadError, predict_memory
from tabagent._isolation import chosen_isolation, isolation_option
from tabagent._placement import backends_of, has_servers
from tabagent.cli import main


def test_names_of_servers_are_known() -> None:
    assert has_servers(["cpu", " RPC://box"])
    assert not has_servers(["rpc:0", "cuda"])
    assert not has_servers(None)
    assert backends_of(["CUDA0", "cuda:1", "cpu", "rpc://box:50052"]) == {"cuda"}


def test_servers_and_failing_devices_need_a_process() -> None:
    assert chosen_isolation(None, None, ["cuda:0"]) is None
    assert chosen_isolation(None, None, ["rpc://box"]) == "process"
    assert chosen_isolation(None, "cpu", None) == "process"
    read = isolation_option("process", "error", "cpu")
    assert read is not None
    assert (read["on_crash"], read["on_gpu_failure"]) == ("error", "cpu")
    with pytest.raises(ValueError, match='`on_gpu_failure` must be None or "cpu", got'):
        isolation_option("process", "error", "gpu")
    with pytest.raises(TypeError, match="`on_gpu_failure` must be a str"):
        isolation_option("process", "error", 1)


def test_what_is_no_address_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    for name, reason in {"rpc://[::1]:1": "IPv4 only", "rpc://box:99999": "the port must be 1 to 65535", "rpc://": "the host must be"}.items():
        with pytest.raises(ValueError, match=rf"`devices` must be `rpc://HOST:PORT` \(.*{reason}"):
            Model.load(tmp_path / "none.gguf", devices=[name])


def test_memory_is_not_predicted_for_servers(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    with pytest.raises(ValueError, match=r"devices of other machines .* are for a model in a process of its own"):
        predict_memory(path, devices=["rpc://box"])


def test_a_server_that_is_not_there_is_an_error_of_the_load(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    with pytest.raises(ModelLoadError, match=r"cannot find the host of `rpc://no-such-host\.invalid:50052`"):
        Model.load(path, devices=["rpc://no-such-host.invalid"], on_gpu_failure="cpu")


def test_the_command_refuses_what_is_no_ipv4_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rpc-server", "--host", "::"]) == 2
    assert "`--host ::` is no IPv4 address" in capsys.readouterr().err
    assert main(["rpc-server", "--port", "70000"]) == 2
    assert main(["rpc-server", "--help"]) == 0
    assert "tabagent rpc-server --host" in capsys.readouterr().out
