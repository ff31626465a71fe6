"""The files in `deploy/` fit the server."""

from __future__ import annotations

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from server.http import ask
from tabagent.cli import main

if TYPE_CHECKING:
    from tabagent import Server

DEPLOY: Final = Path(__file__).parents[2] / "deploy"


@pytest.mark.model
def test_every_query_of_the_dashboard_names_what_the_server_measures(server: Server) -> None:
    assert ask(server, "POST", "/completion", {"prompt": "Hi", "n_predict": 3}).status == 200
    measured = set(re.findall(r"^(\w+)", ask(server, "GET", "/metrics").body.decode(), re.MULTILINE))
    board = json.loads((DEPLOY / "grafana-dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    named = {name for query in queries for name in re.findall(r"tabagent_\w+", query)}
    assert len(queries) > 15
    assert named <= measured


def test_commands_of_the_unit_and_the_image_exist(capsys: pytest.CaptureFixture[str]) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment, method-assign] # names keep their case
    unit.read(DEPLOY / "tabagent.service", encoding="utf-8")
    program, *arguments = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/tabagent")
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert entry is not None
    for command in (arguments, json.loads(entry[1])[1:]):
        assert command[0] == "serve"
        assert main(["serve", "--help"]) == 0
        help_text = capsys.readouterr().out
        for option in (word for word in command if word.startswith("-")):
            assert option in help_text
    assert unit["Service"]["Type"] == "notify"


def test_the_socket_is_one_that_this_machine_alone_reaches() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign] # names keep their case
    unit.read(DEPLOY / "tabagent.socket", encoding="utf-8")
    assert unit["Socket"]["ListenStream"] == "127.0.0.1:8080"
    # systemd starts the service of the same name, with the socket as its third descriptor.
    assert set(unit["Socket"]) == {"ListenStream"}
    assert unit["Install"]["WantedBy"] == "sockets.target"
