"""llama.cpp builds of other times and of other packages: what they are taken for, and the text that they give.

Run by `make test-variants`, which builds them first. A process keeps the library that it has loaded, so each has a process of its own.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

import needs
from foreign_builds import BUILDS, HIDDEN, PREBUILT, Build, library_of, tree_of, wheel_of
from near_ties import assert_alike
from tabagent import Model

ROOT: Final = Path(__file__).parent.parent.parent
PROMPTS: Final = ("The capital of France is", "Once upon a time there was a", "1, 2, 3, 4, 5,", "def add(a, b):\n")
TEXTS: Final = ("Hello <|im_start|>user\nwörld 😀 \t 12345", "", " ", "日本語のテキスト")

CHILD: Final = """
import json, sys
from tabagent import Model, SamplerConfig, TabagentError
request = json.loads(sys.argv[1])
try:
    model = Model.load(request["model"], variant=request["library"], threads=1, context_size=512, gpu_layers=0, max_sequences=3, trial=False)
except TabagentError as error:
    print(json.dumps({"refused": [type(error).__name__, str(error)]}))
    raise SystemExit
greedy = SamplerConfig.greedy()
options = {"sampling": greedy, "max_tokens": 24, "ignore_eos": True, "cache_prompt": False}
alone = [model.generate(prompt, **options).result().tokens for prompt in request["prompts"]]
together = [stream.result().tokens for stream in [model.generate(prompt, **options) for prompt in request["prompts"]]]
print(json.dumps({
    "alone": [list(tokens) for tokens in alone],
    "together": [list(tokens) for tokens in together],
    "tokens": [model.tokenize(text, parse_special=True) for text in request["texts"]],
    "plain": [model.tokenize(text) for text in request["texts"]],
    "special": [model.token_bos(), model.token_eos(), model.vocab_size()],
    "layers": model.info.layers,
    "template": model.apply_chat_template([{"role": "user", "content": "Hi"}]),
    "build": model.info.variant.build,
}))
model.close()
"""


def outcome_of(library: Path | str, model: Path) -> dict[str, Any]:
    request = {"library": str(library), "model": str(model), "prompts": PROMPTS, "texts": TEXTS}
    done = subprocess.run([sys.executable, "-c", CHILD, json.dumps(request)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
    outcome: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return outcome


@pytest.fixture(scope="module")
def reference(smollm2_path: Path) -> dict[str, Any]:
    """What the pinned build gives."""
    return outcome_of(needs.package_library(), smollm2_path)


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.name)
def test_a_build_of_another_time_gives_the_text_of_the_pinned_one(
    build: Build, reference: dict[str, Any], smollm2: Model, smollm2_path: Path
) -> None:
    outcome = outcome_of(library_of(build), smollm2_path)
    assert "refused" not in outcome, outcome
    assert outcome["build"] == build.build
    for same in ("tokens", "plain", "special", "layers", "template"):
        assert outcome[same] == reference[same], same
    for prompt, alone, together, want in zip(PROMPTS, outcome["alone"], outcome["together"], reference["alone"], strict=True):
        # Kernels differ between builds, so that two tokens which are about as probable may change places.
        assert_alike(smollm2, prompt, alone, want)
        assert_alike(smollm2, prompt, together, want)


@pytest.mark.parametrize("build", BUILDS, ids=lambda build: build.name)
def test_the_layout_is_what_the_tool_makes_of_the_tree(build: Build, tmp_path: Path) -> None:
    layouts = ROOT / "rust" / "sys" / "src" / "layouts"
    committed = (layouts / f"{build.layout}.rs").read_text(encoding="utf-8")
    command: list[str | Path] = [sys.executable, ROOT / "tools" / "make_layout.py", tree_of(build), tmp_path, "--stem", build.layout, "--name", "x"]
    subprocess.run(command, check=True)
    made = (tmp_path / f"{build.layout}.rs").read_text(encoding="utf-8")
    start = "    model_params:"
    assert made[made.index(start) :] == committed[committed.index(start) :]
    symbols = {line.split()[1] for line in (tmp_path / "symbols.txt").read_text(encoding="utf-8").splitlines()[1:]}
    head, *rows = (layouts / "symbols.txt").read_text(encoding="utf-8").splitlines()
    place = head.split()[1:].index(build.layout)
    marks = {name: marks[place] for marks, name in (row.split() for row in rows)}
    assert symbols <= {name for name, mark in marks.items() if mark != "."}
    assert symbols >= {name for name, mark in marks.items() if mark == "+"}


def test_a_prebuilt_library_of_another_package_loads_or_says_which_glibc_it_needs(reference: dict[str, Any], smollm2_path: Path) -> None:
    outcome = outcome_of(wheel_of(PREBUILT), smollm2_path)
    present = tuple(int(part) for part in platform.libc_ver()[1].split("."))
    if present < (2, 38):
        assert outcome["refused"][0] == "LibraryLoadError"
        assert "it needs GLIBC_2.38 and this system has" in outcome["refused"][1], outcome
    else:
        assert outcome["tokens"] == reference["tokens"]


def test_an_extension_module_with_llama_cpp_inside_is_refused(smollm2_path: Path) -> None:
    (library,) = wheel_of(HIDDEN).glob("*.so")
    outcome = outcome_of(library, smollm2_path)
    assert outcome["refused"][0] in {"IncompatibleLibraryError", "LibraryLoadError", "VariantError"}, outcome
    assert os.fspath(library) in outcome["refused"][1] or library.parent.name in outcome["refused"][1], outcome
