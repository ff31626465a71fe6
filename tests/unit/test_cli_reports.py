"""`tabagent info`, `variants`, `doctor`, the help, and what the command line imports."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import tabagent
from tabagent import Variant, VariantError, _native
from tabagent.cli import main
from tabagent.cli.diagnosis import relevant_environment
from tabagent.cli.gguf_summary import GgufSummary
from tabagent.cli.units import bytes_text, count_text, rate_text

DESCRIPTION: dict[str, Any] = {
    "file": "m.gguf",
    "size": 5_000,
    "version": 3,
    "alignment": 32,
    "architecture": "llama",
    "split": [1, 3],
    "metadata": [
        {"key": "general.name", "type": "str", "value": "A\x1b[31mB", "length": None},
        {"key": "general.file_type", "type": "u32", "value": 15 + 1024, "length": None},
        {"key": "llama.context_length", "type": "u32", "value": 4096, "length": None},
        {"key": "llama.attention.head_count", "type": "array of i32", "value": [8, 4, 8], "length": 3},
        {"key": "tokenizer.ggml.model", "type": "str", "value": "gpt2", "length": None},
        {"key": "tokenizer.ggml.tokens", "type": "array of str", "value": ["a", "b", "c", "d", "e", "f", "g"], "length": 32_000},
        {"key": "tokenizer.chat_template", "type": "str", "value": "{{ x }}\n[bold]", "length": None},
    ],
    "tensors": [
        {"name": "a", "type": "F32", "shape": [10], "offset": 0, "bytes": 40},
        {"name": "b", "type": "Q8_0", "shape": [32, 2], "offset": 64, "bytes": 68},
        {"name": "c", "type": "Q8_0", "shape": [32], "offset": 160, "bytes": 34},
    ],
    "problem": "`llama.rope` is missing",
}


def variant(name: str, *, usable: bool) -> Variant:
    reason = "best match for this CPU" if usable else "needs AVX512; this CPU lacks it"
    return Variant(
        name=name, source="bundled", path="/lib", library="/lib/libllama.so", module=f"/lib/libggml-cpu-{name}.so", family="llama_cpp",
        usable=usable, reason=reason, score=64 * usable, missing=() if usable else ("AVX512",),
    )  # fmt: skip


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "gguf_info_json", lambda path, items: json.dumps(DESCRIPTION))


@pytest.fixture
def two_variants(monkeypatch: pytest.MonkeyPatch) -> None:
    best = variant("haswell", usable=True)
    monkeypatch.setattr(tabagent, "list_available_variants", lambda: [best, variant("zen4", usable=False)])
    monkeypatch.setattr(tabagent, "auto_select_variant", lambda: best)


def no_variant() -> Variant:
    message = "no llama.cpp library was found"
    raise VariantError(message)


def test_summary_adds_up_types_and_reads_the_architectures_keys() -> None:
    summary = GgufSummary.of(DESCRIPTION)
    assert summary.parameters == 106
    assert summary.bits_per_weight == 142 * 8 / 106
    assert [(share.type, share.tensors, share.parameters, share.bytes) for share in summary.types] == [("Q8_0", 2, 96, 102), ("F32", 1, 10, 40)]
    assert (summary.file_type, summary.context_length, summary.heads, summary.vocabulary) == ("Q4_K_M", 4096, "4 to 8", 32_000)
    assert summary.split == (1, 3)


def test_summary_of_a_file_without_tensors_and_metadata_has_no_figures() -> None:
    summary = GgufSummary.of({**DESCRIPTION, "metadata": [], "tensors": [], "split": None, "architecture": None})
    assert (summary.parameters, summary.bits_per_weight, summary.heads, summary.chat_template) == (0, None, None, False)


@pytest.mark.usefixtures("described")
def test_info_shows_facts_without_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "m.gguf"]) == 0
    out = capsys.readouterr().out
    assert "part 2 of 3" in out
    assert "`llama.rope` is missing" in out
    assert "\x1b" not in out


@pytest.mark.usefixtures("described")
def test_info_json_holds_metadata_with_long_arrays_cut(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "m.gguf", "--json", "--tensors"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["metadata"]["tokenizer.ggml.tokens"] == {"type": "array of str", "length": 32_000, "first": ["a", "b", "c", "d", "e", "f"]}
    assert report["metadata"]["llama.attention.head_count"] == [8, 4, 8]
    assert report["tensors"] == DESCRIPTION["tensors"]
    assert report["chat_template"] is True


@pytest.mark.usefixtures("described")
def test_info_metadata_prints_one_value_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "m.gguf", "--metadata", "tokenizer.chat_template"]) == 0
    assert capsys.readouterr().out == "{{ x }}\n[bold]\n"
    assert main(["info", "m.gguf", "--metadata", "llama.*"]) == 0
    out = capsys.readouterr().out
    assert "llama.context_length" in out
    assert "general.name" not in out


@pytest.mark.usefixtures("described")
def test_info_suggests_the_nearest_metadata_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "m.gguf", "--metadata", "general.nam"]) == 1
    assert capsys.readouterr().err == "tabagent: error: `m.gguf` has no metadata `general.nam`; did you mean `general.name`?\n"


def test_info_of_a_broken_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.gguf"
    file.write_bytes(b"GGUF\x03\x00\x00\x00" + b"\xff" * 16)
    assert main(["info", str(file)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tabagent: error: ")
    assert error.count("\n") == 1
    assert f"`{file.name}` at byte" in error


@pytest.mark.usefixtures("two_variants")
def test_variants_marks_the_selected_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["variants"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in lines if "haswell" in line] == [["*", "haswell", "yes"]]
    assert any("needs AVX512; this CPU lacks it" in line for line in lines if "zen4" in line)


@pytest.mark.usefixtures("two_variants")
def test_variants_json_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["variants", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["selected"] == "haswell"
    assert [(entry["name"], entry["usable"], entry["selected"]) for entry in report["variants"]] == [("haswell", True, True), ("zen4", False, False)]


def test_no_usable_variant_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tabagent, "list_available_variants", list)
    monkeypatch.setattr(tabagent, "auto_select_variant", no_variant)
    assert main(["variants"]) == 1
    assert capsys.readouterr() == ("", "tabagent: error: no llama.cpp library was found\n")


def test_doctor_without_a_library_says_so_and_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tabagent, "list_available_variants", list)
    monkeypatch.setattr(tabagent, "auto_select_variant", no_variant)
    assert main(["doctor", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False
    assert [(check["name"], check["status"]) for check in report["checks"] if check["name"] in {"variant", "generation"}] == [
        ("variant", "problem"),
        ("generation", "skipped"),
    ]
    assert main(["doctor"]) == 1
    assert "1. variant: no llama.cpp library was found" in capsys.readouterr().out


def test_doctor_names_a_cpu_module_other_than_predicted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    best = variant("haswell", usable=True)
    opened: dict[str, Any] = {
        "directory": "/lib",
        "build": "llama.cpp 0.5.0",
        "ggml_version": "0.25.3",
        "cpu_module": "sse42",
        "cpu_module_file": None,
        "devices": [],
        "evidence": "version 0.5.0",
        "layout": "llama.cpp 0.5.0",
    }
    monkeypatch.setattr(tabagent, "list_available_variants", lambda: [best])
    monkeypatch.setattr(tabagent, "auto_select_variant", lambda: best)
    monkeypatch.setattr(_native, "open_library", lambda path, module, *added: json.dumps(opened))
    monkeypatch.setattr("tabagent._demo.present_demo_model", lambda: None)
    assert main(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "`haswell` is predicted, but ggml picks `sse42`" in out
    assert "what to do: use `--variant haswell`" in out
    assert "llama.cpp finds nothing to compute with" in out


def test_doctor_shows_no_secret() -> None:
    environment = {"HF_TOKEN": "hf_secret", "TABAGENT_CACHE": "/c", "HOME": "/root", "GGML_BACKEND_PATH": "/b"}
    assert relevant_environment(environment) == {"GGML_BACKEND_PATH": "/b", "HF_TOKEN": "(set)", "TABAGENT_CACHE": "/c"}


def test_warnings_of_the_package_are_one_line_each(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def listed() -> list[Variant]:
        warnings.warn("`/x` holds no library", stacklevel=1)
        warnings.warn("`/x` holds no library", stacklevel=2)
        return []

    monkeypatch.setattr(tabagent, "list_available_variants", listed)
    monkeypatch.setattr(tabagent, "auto_select_variant", no_variant)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        main(["variants"])
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "tabagent: warning: `/x` holds no library"
    assert lines.count(lines[0]) == 1


@pytest.mark.parametrize("command", ["run", "info", "variants", "doctor"])
def test_help_of_each_command_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"   tabagent {command}" in out[out.index("Examples:") :]


def test_closed_standard_output_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(["variants"]) == 1
    assert capsys.readouterr().err == "tabagent: error: standard output is closed; send it somewhere, for example to `/dev/null`\n"


def test_unknown_command_suggests_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inof"]) == 2
    assert capsys.readouterr().err == "tabagent: error: no such command `inof`; did you mean `info`? (see `tabagent --help`)\n"


def test_version_imports_neither_numpy_nor_the_hub() -> None:
    code = (
        "import sys; from tabagent.cli import main; code = main(['--version'])\n"
        "print(sorted({'numpy', 'huggingface_hub', 'asyncio'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"tabagent {tabagent.__version__}", "[]"]


def test_package_imports_no_command_line() -> None:
    code = "import sys, tabagent; tabagent.Model; print(sorted({'typer', 'rich', 'tabagent.cli'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_numbers_are_rounded_into_the_next_unit() -> None:
    assert [bytes_text(count) for count in (0, 1023, 1024, 98_362_432, 3 << 40)] == ["0 B", "1023 B", "1.0 KiB", "93.8 MiB", "3.0 TiB"]
    assert [count_text(count) for count in (999, 1000, 999_999, 134_515_008)] == ["999", "1.0 K", "1.0 M", "134.5 M"]
    assert [rate_text(10, 2), rate_text(0, 1), rate_text(1, 0)] == ["5.0/s", "-", "-"]
