"""The command line on Windows."""

from __future__ import annotations

import json
from pathlib import Path

from support.windows_child import run_command


def test_run_prints_a_text_in_utf_8(model_path: Path) -> None:
    done = run_command("run", model_path, "--raw", "-p", "Once upon a time", "-n", 8, "--temp", 0, "--display-prompt")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Once upon a time, ")


def test_run_prints_what_the_code_page_of_a_pipe_lacks(model_path: Path) -> None:
    done = run_command("run", model_path, "--raw", "-p", "日本語 ☃", "-n", 2, "--display-prompt", PYTHONIOENCODING="cp1252")
    assert done.returncode == 0, done.stderr
    assert "UnicodeEncodeError" not in done.stderr


def test_variants_names_the_bundled_one_and_its_module() -> None:
    done = run_command("variants")
    assert done.returncode == 0, done.stderr
    assert "bundled" in done.stdout
    assert "haswell" in done.stdout or "x64" in done.stdout


def test_doctor_finds_no_fault(model_path: Path) -> None:
    done = run_command("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    assert "predicted" in done.stdout


def test_info_reads_a_file(model_path: Path) -> None:
    done = run_command("info", model_path)
    assert done.returncode == 0, done.stderr
    assert "llama" in done.stdout


def test_a_missing_file_is_told_in_one_line(tmp_path: Path) -> None:
    done = run_command("run", tmp_path / "none.gguf", "-p", "x")
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "none.gguf" in done.stderr


def test_isolation_is_refused_with_a_reason(model_path: Path) -> None:
    done = run_command("run", model_path, "--isolation", "process", "-p", "x", "-n", 1)
    assert done.returncode != 0
    assert "isolation" in done.stderr
    assert json.dumps(done.stderr).count("Traceback") == 0
