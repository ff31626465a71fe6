"""What llama.cpp throws, and the assertions that fail in it."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

import child
import needs
from support import every_architecture

#: Assertions fail in these when the context is made, or a graph is built.
FRAIL = ("chameleon", "plm", "qwen3tts")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("frail")
    failed = every_architecture.draw(list(FRAIL), needs.package_library(), folder)
    assert failed == {}
    return folder


@pytest.mark.parametrize("architecture", FRAIL)
def test_an_assertion_outside_of_a_computation_is_an_error(models: Path, architecture: str) -> None:
    program = """
        import sys
        from tabagent import Model
        from tabagent.errors import TabagentError

        try:
            with Model.load(sys.argv[1], variant=sys.argv[2], threads=1, context_size=64, trial=False) as model:
                model.generate([1, 2, 3], max_tokens=2).result()
        except TabagentError as error:
            print(error)
        else:
            print("no error")
    """
    said = child.check(program, models / f"{architecture}.gguf", needs.package_library())
    assert re.search(r"\w+\.cpp:\d+: invalid case|\.c(pp)?:\d+: GGML_ASSERT\(.*\) failed", said), said
    assert "/ggml/src" not in said, "the place does not name the folders of the machine that built it"


def test_the_model_beside_a_failed_one_goes_on(models: Path, tmp_path: Path) -> None:
    failed = every_architecture.draw(["llama"], needs.package_library(), tmp_path)
    assert failed == {}
    program = """
        import sys
        from tabagent import Model, SamplerConfig
        from tabagent.errors import TabagentError

        greedy = SamplerConfig.greedy()
        with Model.load(sys.argv[1], variant=sys.argv[3], threads=1, context_size=64, trial=False) as good:
            before = good.generate([1, 2, 3], max_tokens=8, ignore_eos=True, sampling=greedy).result().tokens
            try:
                Model.load(sys.argv[2], threads=1, context_size=64, trial=False).generate([1, 2], max_tokens=2).result()
            except TabagentError:
                pass
            print(before == good.generate([1, 2, 3], max_tokens=8, ignore_eos=True, sampling=greedy).result().tokens)
    """
    said = child.check(program, tmp_path / "llama.gguf", models / "plm.gguf", needs.package_library())
    assert said == "True\n"


def test_an_assertion_that_ends_the_process_leaves_a_line(tmp_path: Path) -> None:
    program = """
        import ctypes, sys
        from tabagent import _native
        from tabagent._trial import crash_file

        _native.open_library(sys.argv[1], None, crash_file())
        base = ctypes.CDLL(sys.argv[1] + "/libggml-base.so")
        base.ggml_abort.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
        base.ggml_abort(b"/build/x/ggml.c", 7, b"GGML_ASSERT(all is well) failed")
    """
    environment = {"TABAGENT_CACHE": str(tmp_path), "GGML_NO_BACKTRACE": "1"}
    ended = child.run(program, needs.package_library(), environment=environment)
    assert ended.code == -signal.SIGABRT
    line = r"tabagent: \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ process \d+: llama\.cpp gives up: ggml\.c:7: GGML_ASSERT\(all is well\) failed\n"
    assert re.fullmatch(line, ended.err), ended.err
    assert (tmp_path / "crashes.txt").read_text(encoding="ascii") == ended.err
    child.run(program, needs.package_library(), environment=environment)
    assert len((tmp_path / "crashes.txt").read_text(encoding="ascii").splitlines()) == 2
