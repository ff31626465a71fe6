"""Runs hostile cases in child processes and reports those that crash, hang, take too much memory or fail in an unknown way."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

# ggml starts a debugger when it aborts, unless told not to.
TESTS: Final = Path(__file__).parent.parent
HANG_S: Final = 20.0
MEMORY_MIB: Final = 2048


@dataclass
class Report:
    """What came of the cases."""

    outcomes: dict[str, str] = field(default_factory=dict)
    #: Case and what went wrong with it.
    failures: list[tuple[str, str]] = field(default_factory=list)


def run_cases(names: list[str], library: Path, sources: dict[str, Path]) -> Report:
    """Run all cases; after a crash a new child goes on with the next one."""
    report = Report()
    left = list(names)
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        while left:
            with child(library, Path(folder), sources) as process:
                known = len(report.failures)
                done = feed(process, left, report)
            if len(report.failures) > known and (said := last_words(Path(folder) / "stderr")):
                name, fault = report.failures[-1]
                report.failures[-1] = (name, f"{fault}: {said}")
            left = left[done:]
    return report


@contextlib.contextmanager
def child(library: Path, folder: Path, sources: dict[str, Path]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "support.hostile_child", str(library), str(folder)]
    command += [f"{label}={path}" for label, path in sources.items()]
    environment = os.environ | {"GGML_NO_BACKTRACE": "1", "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
    with (folder / "stderr").open("w+") as errors:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, cwd=folder)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()


def last_words(path: Path) -> str:
    """What the child said last: the assertion of llama.cpp, or a traceback."""
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    asserted = [line for line in lines if "GGML_ASSERT" in line or "what():" in line or "Error" in line]
    return (asserted or lines or [""])[-1]


def feed(process: subprocess.Popen[str], names: list[str], report: Report) -> int:
    """Give the child all names and read what it says; the number of cases that it began."""
    assert process.stdin is not None
    assert process.stdout is not None
    stdin = process.stdin
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
    writer = threading.Thread(target=_write, args=(stdin, names), daemon=True)
    reader.start()
    writer.start()
    begun = 0
    current: str | None = None
    while True:
        try:
            line = lines.get(timeout=HANG_S)
        except queue.Empty:
            process.kill()
            report.failures.append((current or "start", f"hung for {HANG_S:.0f} s"))
            break
        if line is None:
            code = process.wait()
            if current is not None or (code and not begun):
                report.failures.append((current or "start", _death(code)))
            assert begun or code == 0, f"the child died before any case: {_death(code)}"
            break
        verb, _, rest = line.partition(" ")
        if verb == "begin":
            begun += 1
            current = rest
        elif verb == "end" and current is not None:
            _judge(current, rest, report)
            current = None
        else:
            report.failures.append((current or "start", f"printed `{line}`"))
    reader.join()
    writer.join()
    return begun


def _judge(name: str, said: str, report: Report) -> None:
    peak, _, outcome = said.split(" ", 2)
    report.outcomes[name] = outcome
    if int(peak) > MEMORY_MIB:
        report.failures.append((name, f"took {peak} MiB: {outcome}"))
    if outcome.startswith("UNEXPECTED"):
        report.failures.append((name, outcome))


def _death(code: int) -> str:
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"


def _read(stream: IO[str], lines: queue.Queue[str | None]) -> None:
    for line in stream:
        lines.put(line.rstrip("\n"))
    lines.put(None)


def _write(stream: IO[str], names: list[str]) -> None:
    # A child that has died reads no more.
    with contextlib.suppress(BrokenPipeError, ValueError):
        stream.writelines(f"{name}\n" for name in names)
        stream.close()
