"""The real console script with a real model, as a subprocess."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import pytest

import needs

pytestmark = pytest.mark.model

SCRIPT: Final = Path(sys.executable).parent / "tabagent"
PROMPT: Final = "1, 2, 3, 4, 5, 6,"
COUNTED: Final = " 7, 8, 9,"
# One thread: with two, llama.cpp's threads wait for each other at every operation, which takes long on a busy machine.
GREEDY: Final = ("--raw", "-n", "9", "--temp", "0", "-t", "1")


@pytest.fixture(scope="session")
def model(smollm2_path: Path) -> Path:
    return smollm2_path


def tabagent(*arguments: str | Path, **settings: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([SCRIPT, *arguments], capture_output=True, check=False, timeout=120, **settings)


def start(*arguments: str | Path, **settings: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([SCRIPT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)


def test_prompt_as_option_file_and_pipe_give_the_same_text(model: Path, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_text(PROMPT + "\n")
    for arguments, data in (([("-p"), PROMPT], None), (["-f", str(file)], None), ([], PROMPT.encode() + b"\n"), (["-f", "-"], PROMPT.encode())):
        done = tabagent("run", model, *arguments, *GREEDY, input=data, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{COUNTED}\n".encode(), b"")


def test_module_is_the_same_command(model: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "tabagent", "run", model, "-p", PROMPT, *GREEDY], capture_output=True, check=True)
    assert done.stdout == f"{COUNTED}\n".encode()


def test_instruct_models_are_asked_by_their_template(model: Path) -> None:
    arguments = ("-p", "Say hello.", "-n", "8", "--temp", "0", "-t", "1")
    asked = tabagent("run", model, *arguments, "--display-prompt").stdout.decode()
    assert "<|im_start|>user\nSay hello.<|im_end|>\n<|im_start|>assistant\n" in asked
    answer = asked.rpartition("<|im_start|>assistant\n")[2]
    by_hand = asked.rpartition(answer)[0]
    assert tabagent("run", model, "--raw", "-p", by_hand, *arguments[2:]).stdout.decode() == answer
    assert tabagent("run", model, "--raw", *arguments).stdout.decode() != answer


def test_draft_models_guess_and_change_nothing(model: Path) -> None:
    done = tabagent("run", model, "-md", model, "--draft-max", "4", "-p", PROMPT, *GREEDY)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{COUNTED}\n".encode(), b"")
    report = json.loads(tabagent("run", model, "--model-draft", model, "-p", PROMPT, "-n", "30", "--ignore-eos", "-t", "1", "--json").stdout)
    assert report["usage"]["drafted_tokens"] > 0
    missing = tabagent("run", model, "-md", "missing.gguf", "-p", PROMPT, *GREEDY)
    assert (missing.returncode, missing.stdout) == (1, b"")
    assert b"missing.gguf" in missing.stderr


def test_json_has_text_and_counts(model: Path) -> None:
    report = json.loads(tabagent("run", model, "-p", PROMPT, *GREEDY, "--json").stdout)
    assert report["text"] == COUNTED
    assert report["usage"] == {
        "prompt_tokens": 17,
        "completion_tokens": 9,
        "cached_tokens": 0,
        "forced_tokens": 0,
        "drafted_tokens": 0,
        "accepted_tokens": 0,
        "dropped_tokens": 0,
        "total_tokens": 26,
    }
    assert len(report["tokens"]) == 9


def test_same_seed_gives_the_same_text(model: Path) -> None:
    texts = {tabagent("run", model, "--raw", "-p", "Once", "-n", "16", "-t", "1", "-s", seed).stdout for seed in ("7", "7", "8")}
    assert len(texts) == 2


def test_stop_text_is_not_printed(model: Path) -> None:
    assert tabagent("run", model, "-p", PROMPT, *GREEDY, "--stop", ", 9").stdout == b" 7, 8\n"


def test_text_is_printed_as_it_comes(model: Path) -> None:
    with start("run", model, "--raw", "-p", "Once upon a time", "-n", "400", "--ignore-eos", "-t", "1") as process:
        assert process.stdout is not None
        assert process.stdout.read(1)
        assert process.poll() is None
        process.kill()


def test_reader_that_goes_away_ends_it_quietly(model: Path) -> None:
    started = time.monotonic()
    with start("run", model, "--raw", "-p", "Once upon a time", "-n", "4000", "--ignore-eos", "-t", "1") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(10)) == 10
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) in {0, 141}
    assert time.monotonic() - started < 30


def test_interrupt_in_the_middle_ends_with_130_at_once(model: Path) -> None:
    with start("run", model, "--raw", "-p", "Once upon a time", "-n", "4000", "--ignore-eos", "-t", "1") as process:
        assert process.stdout is not None
        process.stdout.read(10)
        process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        _, error = process.communicate(timeout=30)
        assert time.monotonic() - sent < 0.5
    assert process.returncode == 130
    assert error == b""


def test_interrupt_of_an_answer_leads_back_to_the_next_turn(model: Path) -> None:
    with start("run", model, "--raw", "-i", "-v", "--ignore-eos", "--temp", "0", "-t", "1", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"Once upon a time\n")
        process.stdin.flush()
        process.stdout.read(10)
        process.send_signal(signal.SIGINT)
        process.stdin.close()
        process.stdin = None
        out, error = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out.endswith(b"\n")
    assert b"Traceback" not in error


def test_piped_conversation_keeps_its_context_and_decodes_only_what_is_new(model: Path) -> None:
    done = tabagent("run", model, "-i", "-v", *GREEDY, input=f"{PROMPT}\n{PROMPT}\n".encode())
    assert done.stdout.startswith(f"{COUNTED}\n".encode())
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("tabagent: prompt ")]
    assert lines[0].startswith("tabagent: prompt 17 tokens in")
    assert "cached" in lines[1]
    cached = int(lines[1].split("tokens, ")[1].split()[0])
    assert 17 + 9 - 1 <= cached <= 17 + 9


def test_prompt_longer_than_the_context_names_both_numbers(model: Path) -> None:
    done = tabagent("run", model, "--raw", "-p", "one " * 400, "-c", "256")
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.count(b"\n") == 1
    assert b"prompt has 401 tokens but the context holds 256" in done.stderr
    assert b"`-c`" in done.stderr


def test_missing_and_broken_files_are_one_line(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(model.read_bytes()[:100_000])
    for command in (["info"], ["run", "-p", "x"]):
        for path in (tmp_path / "missing.gguf", broken, tmp_path):
            done = tabagent(*command, path)
            assert (done.returncode, done.stdout) == (1, b"")
            assert done.stderr.startswith(b"tabagent: error: ")
            assert done.stderr.count(b"\n") == 1
            assert path.name.encode() in done.stderr


def test_info_json_describes_the_file(model: Path) -> None:
    report = json.loads(tabagent("info", model, "--json", "--tensors").stdout)
    assert (report["architecture"], report["parameters"], report["vocabulary"], report["layers"]) == ("llama", 134_515_008, 49_152, 30)
    assert (report["file_type"], report["context_length"], report["chat_template"], report["problem"]) == ("Q4_1", 8192, True, None)
    assert len(report["tensors"]) == report["tensor_count"] == 272
    assert sum(share["bytes"] for share in report["types"]) == sum(tensor["bytes"] for tensor in report["tensors"])


def test_variants_and_doctor_agree(model: Path) -> None:
    variants = json.loads(tabagent("variants", "--json").stdout)
    done = tabagent("doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, report["checks"]
    assert report["ok"] is True
    assert report["predicted"] == variants["selected"] == report["library"]["cpu_module"]
    assert report["machine"]["default_threads"] >= 1


@pytest.mark.parametrize(
    "settings", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_unusual_locales_are_no_reason_to_crash(model: Path, settings: dict[str, str]) -> None:
    environment = {**os.environ, **settings, "NO_COLOR": "1"}
    done = tabagent("run", model, "--raw", "-p", "Grüße, ☃", "-n", "4", "-t", "1", "--display-prompt", env=environment)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"Gr")
    for command in (["info", str(model)], ["variants"], ["run", "--help"], ["info", str(model), "--metadata", "*"]):
        done = tabagent(*command, env=environment)
        assert (done.returncode, done.stderr) == (0, b""), command
        assert done.stdout


def test_full_disk_is_an_error_and_no_traceback(model: Path) -> None:
    full = Path("/dev/full")
    needs.machine(full.exists(), "this system has no `/dev/full`")
    # Buffered, Python tries once more to write what it could not when it exits.
    for unbuffered in ("", "1"):
        environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        with full.open("wb") as out:
            done = subprocess.run([SCRIPT, "run", model, "-p", "x", "-n", "2"], stdout=out, stderr=subprocess.PIPE, check=False, env=environment)
        assert done.returncode == 1
        assert done.stderr == b"tabagent: error: no space left on device\n"


def test_shell_completion_offers_commands_and_options() -> None:
    for words, expected in (("tabagent va", b"variants"), ("tabagent run --kv-", b"--kv-type")):
        environment = {**os.environ, "_TABAGENT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        done = tabagent(env=environment)
        assert expected in done.stdout


CLOSED = {"2>&-": 0, "2>/dev/full": 0, "<&-": 0, ">&-": 1, ">&- 2>&-": 1, "<&- >&- 2>&-": 1, ">/dev/full": 1, ">/dev/full 2>&-": 1}
COMMANDS = {
    "run": "run MODEL --raw -p Once -n 3 --temp 0 -t 1 -c 64",
    "run -v": "run MODEL --raw -p Once -n 3 --temp 0 -t 1 -c 64 -v",
    "info": "info MODEL",
    "info --json": "info MODEL --json",
    "variants": "variants",
    "quantize": "quantize MODEL nowhere.gguf Q4_0 --dry-run --allow-requantize",
    "gguf hash": "gguf hash MODEL",
    "version": "--version",
    "help": "--help",
}


@pytest.mark.parametrize("streams", CLOSED)
@pytest.mark.parametrize("command", COMMANDS)
def test_closed_and_full_streams_end_with_the_right_code(model: Path, tmp_path: Path, command: str, streams: str) -> None:
    line = f"'{SCRIPT}' {COMMANDS[command].replace('MODEL', str(model))}"
    whole = subprocess.run(line, shell=True, capture_output=True, timeout=120, cwd=tmp_path, check=False)  # noqa: S602 (the shell closes streams)
    assert whole.returncode == 0, whole.stderr
    done = subprocess.run(f"{line} {streams}", shell=True, capture_output=True, timeout=120, cwd=tmp_path, check=False)  # noqa: S602
    assert done.returncode == CLOSED[streams], done.stderr
    if CLOSED[streams] == 0:
        assert done.stdout == whole.stdout
    if "-v" not in command:  # which shows where a failure was
        assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    if CLOSED[streams] == 1 and "2>" not in streams:
        assert any(told.startswith(b"tabagent: error: ") for told in done.stderr.splitlines())


def test_files_do_not_take_the_place_of_closed_streams(model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    line = f"'{SCRIPT}' quantize '{model}' '{copy}' COPY"
    done = subprocess.run(f"{line} <&- 2>&-", shell=True, capture_output=True, timeout=120, check=False)  # noqa: S602
    assert done.returncode == 0
    assert subprocess.run([SCRIPT, "info", copy], capture_output=True, timeout=120, check=False).returncode == 0
