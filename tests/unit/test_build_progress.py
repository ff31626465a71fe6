"""What a long build says of itself, the run of Ninja behind it, and the lock that keeps two builds apart."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import ninja
import pytest

import needs
from tabagent_build.cache import locked
from tabagent_build.errors import BuildError
from tabagent_build.fetching import ROOT
from tabagent_build.ninja import run_ninja, step_name
from tabagent_build.progress import BuildProgress

NINJA = str(Path(ninja.BIN_DIR) / "ninja")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    return Terminal()


def test_terminal_has_one_line_that_is_rewritten_and_goes_at_the_end(terminal: Terminal) -> None:
    with BuildProgress(terminal) as progress:
        progress.step(1, 310, "llama: a.cpp")
        progress.step(123, 310, "llama: b.cpp")
    assert terminal.getvalue() == "\r[1/310] llama: a.cpp\x1b[K\r[123/310] llama: b.cpp\x1b[K\r\x1b[K"


def test_terminal_line_never_wraps(terminal: Terminal) -> None:
    with BuildProgress(terminal) as progress:
        progress.step(1, 2, "x" * 100)
    line = terminal.getvalue().split("\x1b[K")[0]
    assert line == "\r[1/2] " + "x" * 33
    assert len(line.lstrip("\r")) == 39


def test_terminal_line_goes_when_the_build_fails(terminal: Terminal) -> None:
    def build() -> None:
        with BuildProgress(terminal) as progress:
            progress.step(1, 2, "a")
            message = "wrong"
            raise ValueError(message)

    with pytest.raises(ValueError, match="wrong"):
        build()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_dumb_terminal_gets_lines(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with BuildProgress(terminal) as progress:
        progress.step(1, 2, "a")
    assert "\r" not in terminal.getvalue()


def test_log_has_a_line_for_each_tenth_and_for_each_half_minute() -> None:
    now = [0.0]
    stream = io.StringIO()
    with BuildProgress(stream, lambda: now[0]) as progress:
        for done in range(1, 101):
            progress.step(done, 100, f"step {done}")
    lines = stream.getvalue().splitlines()
    assert lines == [f"[{done}/100] 0 s, step {done}" for done in range(10, 101, 10)]
    stream.truncate(0)
    stream.seek(0)
    with BuildProgress(stream, lambda: now[0]) as progress:
        for second in range(1, 101):
            now[0] = float(second)
            progress.step(second, 10_000, f"step {second}")
    assert stream.getvalue().splitlines() == [f"[{second}/10000] {second} s, step {second}" for second in (30, 60, 90)]


def test_quick_steps_leave_no_lines_in_a_log() -> None:
    stream = io.StringIO()
    with BuildProgress(stream, only_rewritten=True) as progress:
        progress.step(10, 10, "a")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("description", "name"),
    [
        ("Building CXX object llama.cpp/ggml/src/CMakeFiles/ggml-cpu-haswell.dir/ggml-cpu/ops.cpp.o", "ggml-cpu-haswell: ops.cpp"),
        ("Building C object CMakeFiles/tabagent_compat.dir/compat.c.o", "tabagent_compat: compat.c"),
        ("Linking CXX shared module bin/libggml-cpu-x64.so", "libggml-cpu-x64.so"),
        ("Generating something.h", "Generating something.h"),
    ],
)
def test_step_is_named_by_library_and_file(description: str, name: str) -> None:
    assert step_name(description) == name


def ninja_folder(folder: Path, *commands: str) -> Path:
    """A build of these shell commands, one after another."""
    lines = ["rule run", "  command = $cmd", "  description = $out", ""]
    for number, command in enumerate(commands):
        after = f" | step{number - 1}" if number else ""
        lines += [f"build step{number}: run{after}", f"  cmd = {command}", ""]
    folder.mkdir(exist_ok=True)
    (folder / "build.ninja").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_ninja_reports_each_step_and_hides_warnings(tmp_path: Path) -> None:
    stream = io.StringIO()
    folder = ninja_folder(tmp_path, "echo a warning; touch step0", "touch step1")
    run_ninja(NINJA, folder, ["step1"], 1, os.environ, progress=BuildProgress(stream, lambda: 0.0))
    assert stream.getvalue() == "[1/2] 0 s, step0\n[2/2] 0 s, step1\n"


def test_ninja_failure_shows_the_failed_step_whole_and_no_other(tmp_path: Path) -> None:
    folder = ninja_folder(tmp_path, "echo a warning; touch step0", "seq 1 500; echo [7/9] not a step of ours; exit 3")
    with pytest.raises(BuildError) as caught:
        run_ninja(NINJA, folder, ["step1"], 1, {**os.environ, "NINJA_STATUS": "other "}, progress=BuildProgress(io.StringIO()))
    text = str(caught.value)
    assert "\n".join(str(number) for number in range(1, 501)) in text
    assert "a warning" not in text
    assert "FAILED" in text
    assert text.endswith("ninja: build stopped: subcommand failed.")


def test_ninja_that_cannot_start_a_build_says_why(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"(?s)failed with exit status 1:\nninja: error: .*build\.ninja"):
        run_ninja(NINJA, tmp_path, ["x"], 1, os.environ, progress=BuildProgress(io.StringIO()))


def test_interrupt_stops_ninja_and_its_commands(tmp_path: Path) -> None:
    class Interrupting(BuildProgress):
        def step(self, done: int, total: int, name: str) -> None:
            raise KeyboardInterrupt

    fifo = tmp_path / "never"
    os.mkfifo(fifo)
    folder = ninja_folder(tmp_path, "touch step0", f"cat {fifo}")
    with pytest.raises(KeyboardInterrupt):
        run_ninja(NINJA, folder, ["step1"], 1, os.environ, progress=Interrupting(io.StringIO()))
    # Nobody reads the pipe any more: opening it to write without waiting fails.
    with pytest.raises(OSError, match="No such device"):
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)


LOCK_HOLDER = """
import sys
from pathlib import Path
from tabagent_build.cache import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_lock_of_another_process_is_waited_for(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "build_backend")}
    command = [sys.executable, "-c", LOCK_HOLDER, str(tmp_path / "folder")]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        waited: list[bool] = []

        def let_go() -> None:
            waited.append(holder.poll() is None)
            holder.communicate("")

        with locked(tmp_path / "folder", let_go):
            assert waited == [True]
    assert holder.returncode == 0


WITHOUT_FCNTL = """
import os, sys, types, pathlib, tempfile, subprocess, shutil, ctypes, maturin
calls = []
def locking(handle, mode, count):
    calls.append((mode, count, os.lseek(handle, 0, os.SEEK_CUR)))
    if mode == 1 and pathlib.Path("busy").exists():
        pathlib.Path("busy").unlink()
        raise PermissionError(13, "locked")
sys.modules["msvcrt"] = types.SimpleNamespace(locking=locking, LK_LOCK=0, LK_NBLCK=1)
sys.modules["fcntl"] = None
sys.platform = "win32"
del os.O_CLOEXEC
import tabagent_build, tabagent_build.__main__, tabagent_build.cache, tabagent_build.library
waited = []
with tabagent_build.cache.locked(pathlib.Path("folder"), lambda: waited.append(True)):
    pass
pathlib.Path("busy").touch()
with tabagent_build.cache.locked(pathlib.Path("folder"), lambda: waited.append(True)):
    pass
print(calls, waited)
import platform
platform.system = lambda: "Plan9"
try:
    tabagent_build.library.build_library()
except tabagent_build.errors.BuildError as error:
    print(error)
"""


def test_backend_needs_no_fcntl(tmp_path: Path) -> None:
    needs.machine(sys.platform != "win32", "plays a Windows without `fcntl` elsewhere")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "build_backend")}
    done = subprocess.run([sys.executable, "-c", WITHOUT_FCNTL], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    calls, refusal = done.stdout.splitlines()
    assert calls == "[(1, 1, 0), (1, 1, 0), (0, 1, 0)] [True]"
    assert refusal == "llama.cpp can be built on Linux, Windows, Darwin only so far, and this is `Plan9`"
