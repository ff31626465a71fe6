"""Runs llama.cpp's own tests of its server (`tools/server/tests/unit` of the pinned tree) against a server, and prints what became of each.

    python tests/peer_server.py tabagent > ours.json
    python tests/peer_server.py path/to/llama-server > theirs.json

The tests are run as they are. They ask for small models of the Hugging Face hub; the models that the tests of this package have stand in for those,
with both servers, so that what depends on a model's words fails with both. It needs the environment of `tests/clients.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Final

import clients
from support.real_adapters import write_adapter
from support.tiny_embedders import tiny_embedder

SMOLLM2: Final = "smollm2-135m-instruct-q4_1.gguf"
GEMMA: Final = "gemma-3-270m-q4_k_m.gguf"
QWEN: Final = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
STAND_INS: Final = {
    "ggml-org/test-model-stories260K": SMOLLM2,
    "ggml-org/test-model-stories260K-infill": QWEN,
    "ggml-org/stories15M_MOE": SMOLLM2,
    "ggml-org/models": "minilm.gguf",
    "ggml-org/tinygemma3-GGUF": GEMMA,
}
"""Which model stands for which."""
RERANKER: Final = "reranker.gguf"
FILES: Final = {"jina-reranker-v1-tiny-en/ggml-model-f16.gguf": RERANKER}
"""Which model stands for a file, whatever its repository."""
WRAPPER: Final = """#!{python}
import os, sys
STAND_INS, FILES, MODELS, SERVER = {stand_ins!r}, {files!r}, {models!r}, {server!r}
given, made = iter(sys.argv[1:]), []
for argument in given:
    if argument == "--hf-repo":
        repository = next(given)
        name = STAND_INS.get(repository.split(":")[0])
        if name is None:
            sys.exit("no model stands for " + repository)
        made += ["--model", os.path.join(MODELS, name)]
    elif argument == "--hf-file":
        name = FILES.get(next(given))
        if name is not None:
            made += ["--model", os.path.join(MODELS, name)]
    elif argument != "--offline":
        made.append(argument)
os.execv(SERVER[0], [*SERVER, *made])
"""
PLUGIN: Final = """import os

import utils
from utils import ServerPreset

# It starts every kind of server once, so that the models are downloaded.
ServerPreset.load_all = staticmethod(lambda: None)

# What tests fetch by themselves, an adapter or a model that drafts, is one of the stand-ins, too.
utils.download_file = lambda url, output_file_path=None: os.path.join({models!r}, "adapter.gguf" if "lora" in url.lower() else {draft!r})
"""


def main() -> int:
    """Run the tests that were asked for, and print their outcomes as JSON, by name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", help="`tabagent`, or the path of a llama-server")
    parser.add_argument("tests", nargs="*", help="files such as `unit/test_basic.py`; all without any")
    parser.add_argument("-k", help="as pytest's")
    parser.add_argument("--timeout", type=int, default=60, help="seconds for a test")
    options = parser.parse_intermixed_args()
    server = [sys.executable, "-m", "tabagent", "serve"] if options.server == "tabagent" else [str(Path(options.server).resolve())]
    tree = Path(os.environ["TABAGENT_LLAMA_CPP_TREE"])
    with tempfile.TemporaryDirectory(prefix="peer-server-") as name:
        root = Path(name)
        folder = root / "tools" / "server" / "tests"
        shutil.copytree(tree / "tools" / "server" / "tests", folder)
        (root / "models").symlink_to(tree / "models")
        models = _models(root / "stand-ins")
        wrapper = root / "server"
        wrapper.write_text(WRAPPER.format(python=sys.executable, stand_ins=STAND_INS, files=FILES, models=str(models), server=server))
        wrapper.chmod(0o755)
        report = root / "report.xml"
        (root / "without_downloads.py").write_text(PLUGIN.format(models=str(models), draft=SMOLLM2))
        command = [
            clients.make("clients"),
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "without_downloads",
            f"--timeout={options.timeout}",
            f"--junit-xml={report}",
        ]
        command += ["-k", options.k] if options.k else []
        environment = {**os.environ, "LLAMA_SERVER_BIN_PATH": str(wrapper), "PYTHONPATH": f"{folder}{os.pathsep}{root}"}
        subprocess.run([*command, *options.tests], cwd=folder, env=environment, check=False, stdout=sys.stderr)
        sys.stdout.write(json.dumps(_outcomes(report), indent=1) + "\n")
    return 0


def _models(folder: Path) -> Path:
    """A folder with the models that stand in."""
    folder.mkdir()
    own = Path(os.environ["TABAGENT_TEST_MODELS"])
    for name in (SMOLLM2, GEMMA, QWEN):
        (folder / name).symlink_to(own / name)
    from tabagent import gguf

    gguf.convert(own / "all-MiniLM-L6-v2", folder / "minilm.gguf", out_type="f32")
    (folder / RERANKER).write_bytes(tiny_embedder("bert", pooling="rank", labels=1, context=512).to_bytes())
    write_adapter(folder / "adapter.gguf", own / SMOLLM2, size=0.05)
    return folder


def _outcomes(report: Path) -> dict[str, str]:
    """`passed`, `skipped`, or the first line of what went wrong, by test."""
    made = {}
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 (pytest's own file)
        name = f"{case.get('classname')}::{case.get('name')}"
        failed = next((child for child in case if child.tag in {"failure", "error"}), None)
        if failed is not None:
            made[name] = (failed.get("message") or failed.tag).splitlines()[0][:200]
        else:
            made[name] = "skipped" if case.find("skipped") is not None else "passed"
    return made


if __name__ == "__main__":
    sys.exit(main())
