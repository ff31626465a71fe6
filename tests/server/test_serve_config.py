"""`tabagent serve` with several models and with files of configuration."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from waiting import until

SERVE: Final = (sys.executable, "-m", "tabagent", "serve")


def refused(*arguments: str) -> str:
    done = subprocess.run((*SERVE, *arguments), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    environment = {**os.environ, "LLAMA_ARG_THREADS": "1"}
    with subprocess.Popen((*SERVE, "--port", "0", *arguments), stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"at (http://127\.0\.0\.1:\d+)", line)
        assert found, line
        try:
            yield found[1]
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0


def call(url: str, path: str, body: Any = None) -> Any:
    request = urllib.request.Request(url + path, None if body is None else json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        return json.load(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "`prot` in `{file}` is no option; did you mean `port`?"),
        ("port =", "is not TOML"),
        ("port = 70000", "--port"),
        ("slots = 3", "`slots` in `{file}` must be true or false, got `3`"),
        ("models = 1", "`models` in `{file}` must have a table for each model"),
        ("[models.a]\nc = 512", "`[a]` of `{file}` names no model"),
        ("[models.a]\nmodel = 'x'\nctx = 1", "`ctx` in `[a]` of `{file}` is no option"),
    ],
)
def test_wrong_files_are_told_of(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(text, encoding="utf-8")
    arguments = () if "models" in text else ("demo",)
    assert message.format(file=file) in refused(*arguments, "--config", str(file))


def test_models_exclude_a_model(tmp_path: Path) -> None:
    assert "exclude each other" in refused("demo", "--models-dir", str(tmp_path))
    assert "is no folder" in refused("--models-dir", str(tmp_path / "none"))
    assert "is no folder" in refused("demo", "--slot-save-path", str(tmp_path / "none"))


@pytest.mark.model
def test_a_file_says_how_to_serve(smollm2_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "serve.toml"
    file.write_text(
        f"""
        c = 512
        np = 2
        metrics = true
        temp = 0.25
        [models.small]
        model = '{smollm2_path}'
        alias = "s,m"
        tags = "chat"
        n = 3
        load-on-startup = true
        [models.other]
        model = '{smollm2_path}'
        ctx-size = 1024
        temp = 0
        """,
        encoding="utf-8",
    )
    with serving("--config", str(file), "-np", "4") as url:
        until(lambda: call(url, "/models")["data"][0]["status"]["value"] == "loaded")
        first, second = call(url, "/models")["data"]
        assert (first["id"], first["aliases"], first["tags"], second["id"]) == ("small", ["small", "m", "s"], ["chat"], "other")
        small, other = (call(url, f"/props?model={name}") for name in ("s", "other"))
        assert (small["total_slots"], other["total_slots"]) == (4, 4)
        assert (small["default_generation_settings"]["n_ctx"], other["default_generation_settings"]["n_ctx"]) == (256, 256)
        temperatures = [props["default_generation_settings"]["params"]["temperature"] for props in (small, other)]
        assert temperatures == [0.25, 0.0]
        assert call(url, "/completion", {"prompt": "Once", "model": "small", "ignore_eos": True})["tokens_predicted"] == 3


@pytest.mark.model
def test_the_models_of_a_folder_and_of_presets_are_served(smollm2_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    (folder / "split").mkdir(parents=True)
    (folder / "one.gguf").symlink_to(smollm2_path)
    (folder / "mmproj-one.gguf").symlink_to(smollm2_path)
    (folder / "split" / "part-00001-of-00002.gguf").symlink_to(smollm2_path)
    (folder / "split" / "part-00002-of-00002.gguf").symlink_to(smollm2_path)
    preset = tmp_path / "preset.ini"
    preset.write_text(f"version = 1\n; all\n[*]\nc = 512\n[one]\nLLAMA_ARG_N_PREDICT = 2\n[two]\nmodel = {smollm2_path}\n", encoding="utf-8")
    with serving("--models-dir", str(folder), "--models-preset", str(preset), "--models-max", "1") as url:
        assert {model["id"] for model in call(url, "/models")["data"]} == {"one", "split", "two"}
        assert call(url, "/completion", {"prompt": "Once", "model": "one", "ignore_eos": True})["tokens_predicted"] == 2
        assert call(url, "/props?model=two")["default_generation_settings"]["n_ctx"] == 512
        assert {model["id"]: model["status"]["value"] for model in call(url, "/models")["data"]}["one"] == "unloaded"
        preset.write_text(f"[three]\nmodel = {smollm2_path}\n", encoding="utf-8")
        assert {model["id"] for model in call(url, "/models?reload=1")["data"]} == {"one", "split", "three"}


@pytest.mark.model
def test_a_model_sleeps_and_wakes(smollm2_path: Path) -> None:
    with serving(str(smollm2_path), "-c", "512", "--sleep-idle-seconds", "0", "--host", "127.0.0.1,::1") as url:
        assert call(url, "/completion", {"prompt": "Once", "n_predict": 1})["tokens_predicted"] == 1
        until(lambda: call(url, "/props")["is_sleeping"])
        assert call(url, "/tokenize", {"content": "Once"})["tokens"]
        other = url.replace("127.0.0.1", "[::1]")
        assert call(other, "/health") == {"status": "ok"}
