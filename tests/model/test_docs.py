"""Every Python example of the documentation and of docstrings, and every `tabagent` command of its shell blocks, does what it says: it runs."""

from __future__ import annotations

import ast
import asyncio
import builtins
import contextlib
import importlib
import inspect
import os
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pytest
from pydantic import BaseModel, Field

import needs
import tabagent
from conftest import THREADS
from support.documented import Block, commands, fenced, in_docstrings
from support.real_adapters import write_adapter, write_control_vector
from support.tiny_adapters import write_peft
from support.tiny_bitnet import write_i2_s
from support.tiny_checkpoints import bitnet, smollm
from support.tiny_embedders import tiny_embedder
from tabagent import Model, SamplerConfig, gguf

pytestmark = [pytest.mark.model, pytest.mark.usefixtures("one_core")]

#: Blocks that cannot run here, by page and first line, and why.
CANNOT_RUN: Final[dict[tuple[str, str], str]] = {
    (
        "python/tabagent/infill.py",
        r'for text in model.infill("def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n", max_tokens=32):',
    ): "the model was not trained to fill in",
    ("python/tabagent/server.py", 'tabagent.serve("demo", port=8080)'): "it serves until Ctrl-C",
}
#: Pages whose examples run in the environment with Ray.
WITH_RAY: Final = ("docs/ray.md", "python/tabagent/integrations/ray/")
#: Examples that read or write models for all of whose tensors there is something else in the folder, such as an adapter.
OF_TINY_FILES: Final = "python/tabagent/gguf/"

PYTHON: Final = [*fenced("python"), *in_docstrings()]
SHELL: Final = [(block, command) for block in fenced("sh", "console") for command in commands(block) if "tabagent " in command.split("pip ")[0]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, smollm2_path: Path) -> Path:
    """The files that examples name, where they name them."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copy(smollm2_path, folder / "model.gguf")
    (folder / "person.json").write_text('{"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}', encoding="utf-8")
    write_adapter(folder / "style.gguf", smollm2_path)
    write_adapter(folder / "facts.gguf", smollm2_path, seed=1)
    write_control_vector(folder / "happy.gguf", smollm2_path)
    # A process has one llama.cpp, by whatever link it is named.
    (folder / "llama.cpp" / "build").mkdir(parents=True)
    (folder / "llama.cpp" / "build" / "bin").symlink_to(needs.library(), target_is_directory=True)
    fill(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same names, with models of some kilobytes."""
    folder = tmp_path_factory.mktemp("tiny")
    fill(folder)
    shutil.copy(folder / "model-f16.gguf", folder / "model.gguf")
    facts = write_peft(folder / "peft" / "facts", smollm())
    gguf.convert_lora(facts, folder / "style.gguf", base=folder / "SmolLM2-135M-Instruct")
    return folder


def fill(folder: Path) -> None:
    """The files that have nothing to do with `model.gguf`."""
    smollm().write(folder / "SmolLM2-135M-Instruct")
    gguf.convert(folder / "SmolLM2-135M-Instruct", folder / "model-f16.gguf", out_type="f16")
    bitnet().write(folder / "bitnet_b1_58-large")
    gguf.convert(folder / "bitnet_b1_58-large", folder / "bitnet-f32.gguf", out_type="f32")
    write_i2_s(folder / "bitnet-f32.gguf", folder / "ggml-model-i2_s.gguf")
    imatrix = gguf.GgufWriter()
    imatrix.update({"general.type": "imatrix", "imatrix.datasets": ["wiki.txt"], "imatrix.chunk_count": 1, "imatrix.chunk_size": 512})
    imatrix.add_tensor("blk.0.attn_q.weight.in_sum2", np.ones((1, 256), np.float32))
    imatrix.add_tensor("blk.0.attn_q.weight.counts", np.ones((1, 1), np.float32))
    imatrix.write(folder / "imatrix.gguf")
    (folder / "minilm.gguf").write_bytes(tiny_embedder("bert").to_bytes())
    (folder / "reranker.gguf").write_bytes(tiny_embedder("bert", pooling="rank", labels=1).to_bytes())
    (folder / "lines.txt").write_text("one\ntwo\n", encoding="utf-8")
    (folder / "keys.txt").write_text("secret\n", encoding="utf-8")
    (folder / "models").mkdir()
    shutil.copy(folder / "model-f16.gguf", folder / "models" / "small.gguf")
    (folder / "serve.toml").write_text('port = 8000\n[models.small]\nmodel = "models/small.gguf"\n', encoding="utf-8")


class Person(BaseModel):
    """What examples ask for."""

    name: str = Field(max_length=12)


@contextlib.contextmanager
def names(block: Block, model: Model, folder: Path) -> Iterator[dict[str, Any]]:
    """What an example of a docstring does not say again: its own module's names, and objects of the kind that it is about."""
    if not block.owner and block.page.endswith(".md"):
        yield {}
        return
    module = importlib.import_module(block.page.removeprefix("python/").removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    with model.create_context(context_size=256, threads=THREADS) as context:
        context.decode(model.tokenize("A number: "))
        grammar = model.compile_grammar(regex="[0-9]{3}")
        style, facts = (model.load_adapter(folder / name) for name in ("style.gguf", "facts.gguf"))
        happy = model.load_control_vector(folder / "happy.gguf")
        yield {
            **vars(module),
            "Model": Model,
            "model": model,
            "context": context,
            "grammar": grammar,
            "style": style,
            "facts": facts,
            "happy": happy,
            "brief": model.load_control_vector(folder / "happy.gguf"),
            "config": SamplerConfig(),
            "weights": np.ones((4, 256), np.float32),
            "np": np,
            "Literal": Literal,
            "Person": Person,
        }


@pytest.fixture
def no_downloads(monkeypatch: pytest.MonkeyPatch, smollm2_path: Path) -> None:
    """The hub has every model, and the demo model is here. What happens otherwise, other tests are about."""
    monkeypatch.setattr("tabagent.hub.fetch_model", lambda repo_id, filename, **_: str(smollm2_path))
    monkeypatch.setattr("tabagent._demo.find_demo_model", lambda *_: smollm2_path)


@pytest.mark.parametrize("block", PYTHON, ids=map(str, PYTHON))
@pytest.mark.usefixtures("no_downloads")
def test_python_examples_run(block: Block, folder: Path, tiny_folder: Path, smollm2: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    if (block.page, block.source.splitlines()[0]) in CANNOT_RUN:
        return
    if block.page.startswith(WITH_RAY):
        run_with_ray(block, folder)
        return
    monkeypatch.chdir(tiny_folder if block.page.startswith(OF_TINY_FILES) else folder)
    code = compile(block.source, str(block), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with names(block, smollm2, folder) as namespace:
        main = types.FunctionType(code, {"__name__": "__main__", "__builtins__": builtins, **namespace})
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(main())
        else:
            main()


def run_with_ray(block: Block, folder: Path) -> None:
    """Run an example where Ray is, on a cluster that is there for it alone."""
    names = "from tabagent.integrations.ray import *\n" if block.owner else ""
    environment = {**os.environ, "PYTHONPATH": str(Path(tabagent.__file__).parent.parent), "RAY_USAGE_STATS_ENABLED": "0", "TABAGENT_OFFLINE": "1"}
    command = [str(needs.ray()), "-c", f"{names}import ray\nray.init(num_cpus=3, include_dashboard=False)\n{block.source}"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-5000:]


def test_what_cannot_run_is_there() -> None:
    assert CANNOT_RUN.keys() <= {(block.page, block.source.splitlines()[0]) for block in PYTHON}
    assert len(CANNOT_RUN) <= 2, "give the example what it needs instead"


@pytest.mark.parametrize(("block", "command"), SHELL, ids=[f"{block}:{command}" for block, command in SHELL])
def test_commands_run(block: Block, command: str, folder: Path) -> None:
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    # `exec`, so that a signal reaches the program and not the shell.
    serves = command.startswith(("tabagent serve ", "tabagent rpc-server "))
    shell = ["/bin/sh", "-ec", f"exec {command}" if serves else command]
    with subprocess.Popen(
        shell, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        begun = ""
        if serves:
            begun = process.stderr.readline()
            process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0, begun + said
    assert not begun or begun.startswith(("tabagent: serving ", "tabagent: offering ")), begun + said
    assert "Traceback" not in said
