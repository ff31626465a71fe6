"""Libraries that must be refused: with a clear error, before anything of them is called that could do harm.

Each case runs in a process of its own, because a process keeps the library that it has loaded.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import needs
from support.fake_llama import SYMBOLS, compile_library, known_defaults, llama_source, symbols_of

CHILD = """
import json, sys
from tabagent import _native

def attempt(path, module=None, **options):
    try:
        return {"ok": json.loads(_native.open_library(path, module, **options))}
    except Exception as error:
        return {"classes": [c.__name__ for c in type(error).__mro__], "text": str(error)}

"""


@dataclass(frozen=True)
class Refusal:
    """The exception of a child process."""

    classes: list[str]
    text: str

    def __str__(self) -> str:
        return f"{self.classes[0]}: {self.text}"


def run_child(code: str, *arguments: object) -> list[dict[str, Any]]:
    """What the attempts in `code` (each printed as one line of JSON) came to; fails if the child dies or writes to stderr."""
    command = [sys.executable, "-c", CHILD + code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr}"
    assert not done.stderr, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def refusal_of(path: object, module: str | None = None) -> Refusal:
    code = f"print(json.dumps(attempt(sys.argv[1], {module!r})))"
    [outcome] = run_child(code, path)
    assert "ok" not in outcome, outcome
    refusal = Refusal(**outcome)
    assert "TabagentError" in refusal.classes, refusal
    assert "LibraryLoadError" in refusal.classes or "VariantError" in refusal.classes, refusal
    return refusal


@pytest.fixture
def needs_compiler() -> None:
    needs.compiler()


def copy_library(target: Path) -> Path:
    """A second copy of the built library, with one CPU module."""
    source = needs.package_library()
    target.mkdir(parents=True, exist_ok=True)
    for name in ("libllama.so", "libggml.so", "libggml-base.so", "libggml-cpu-x64.so"):
        shutil.copy(source / name, target / name)
    return target


# Files that are no libraries for this machine.


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"#!/bin/sh\necho hello\n", "unknown file format"),
        (b"MZ" + bytes(62) + b"PE\0\0" + bytes(500), "not a shared library for this platform"),
        (b"\x7fELF", "not a shared library for this platform"),
        (b"!<arch>\n" + bytes(100), "static library"),
    ],
    ids=["empty", "script", "windows", "elf-magic-alone", "archive"],
)
def test_a_file_that_is_no_library_is_named_as_such(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "libllama.so").write_bytes(content)
    refusal = refusal_of(tmp_path)
    assert refusal.classes[0] == "LibraryLoadError"
    assert reason in refusal.text, refusal
    assert str(tmp_path / "libllama.so") in refusal.text


def test_a_library_of_another_processor_names_both(tmp_path: Path) -> None:
    image = bytearray((needs.package_library() / "libllama.so").read_bytes())
    image[18:20] = (243).to_bytes(2, "little")  # e_machine := EM_RISCV
    (tmp_path / "libllama.so").write_bytes(image)
    refusal = refusal_of(tmp_path)
    assert "it is built for `riscv64` and this process runs on `x86_64`" in refusal.text, refusal


def test_a_32_bit_library_is_named_as_such(tmp_path: Path) -> None:
    image = bytearray((needs.package_library() / "libllama.so").read_bytes())
    image[4] = 1  # EI_CLASS := ELFCLASS32
    (tmp_path / "libllama.so").write_bytes(image)
    assert "32-bit ELF file" in refusal_of(tmp_path).text


def test_every_truncation_of_the_library_is_a_clear_error(tmp_path: Path) -> None:
    image = (needs.package_library() / "libllama.so").read_bytes()
    lengths = [1, 16, 63, 64, 65, 4096, *(len(image) * i // 34 for i in range(1, 34)), len(image) - 1]
    for length in lengths:
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / "libllama.so").write_bytes(image[:length])
    code = "for path in sys.argv[1:]: print(json.dumps(attempt(path)))"
    outcomes = run_child(code, *(tmp_path / str(length) for length in lengths))
    assert len(outcomes) == len(lengths) == 40
    for length, outcome in zip(lengths, outcomes, strict=True):
        assert "LibraryLoadError" in outcome["classes"], (length, outcome)
        assert "damaged" in outcome["text"] or "not a shared library" in outcome["text"], (length, outcome)


def test_a_truncated_dependency_is_a_clear_error(tmp_path: Path) -> None:
    for name in ("libggml.so", "libggml-base.so"):
        folder = copy_library(tmp_path / name)
        image = (folder / name).read_bytes()
        for length in (100, 5000, len(image) // 2, len(image) - 1):
            (folder / name).write_bytes(image[:length])
            refusal = refusal_of(folder)
            assert str(folder / name) in refusal.text, refusal


# Other builds.


@pytest.mark.usefixtures("needs_compiler")
def test_a_library_without_llama_symbols_lists_what_is_missing(tmp_path: Path) -> None:
    compile_library("int something(void) { return 1; }", tmp_path / "libllama.so")
    refusal = refusal_of(tmp_path)
    assert refusal.classes[0] == "IncompatibleLibraryError"
    assert "`llama_decode`" in refusal.text, refusal
    assert "is not a usable llama.cpp" in refusal.text, refusal


@pytest.mark.usefixtures("needs_compiler")
def test_another_version_is_refused_with_nothing_but_its_version_asked(tmp_path: Path) -> None:
    # All functions but `llama_version` abort, and the child must live.
    compile_library(llama_source(version="0.9.9"), tmp_path / "libllama.so")
    refusal = refusal_of(tmp_path)
    assert refusal.classes[0] == "IncompatibleLibraryError"
    assert "the most similar of 23 known layouts" in refusal.text, refusal
    assert "`0.9.9`" in refusal.text, refusal


@pytest.mark.usefixtures("needs_compiler")
@pytest.mark.parametrize("change", ["one more", "one less", "one renamed"])
def test_other_names_are_refused_without_loading(tmp_path: Path, change: str) -> None:
    symbols = list(SYMBOLS)
    if change != "one more":
        symbols.remove("llama_state_seq_get_size")
    if change != "one less":
        symbols.append("llama_brand_new_function")
    marker = tmp_path / "loaded"
    compile_library(llama_source(symbols=symbols, marker=marker), tmp_path / "libllama.so")
    refusal = refusal_of(tmp_path)
    assert refusal.classes[0] == "IncompatibleLibraryError"
    for expected in ("1 symbols are new (`llama_brand_new_function`)", "1 symbols are missing (`llama_state_seq_get_size`)"):
        mentioned = "new" if "new" in expected else "missing"
        if change == "one renamed" or (change == "one more") == (mentioned == "new"):
            assert expected in refusal.text, refusal
    assert not marker.exists(), "the library was loaded"


@pytest.mark.usefixtures("needs_compiler")
def test_the_marker_of_the_stub_shows_that_it_was_loaded(tmp_path: Path) -> None:
    marker = tmp_path / "loaded"
    compile_library(llama_source(version="0.9.9", marker=marker), tmp_path / "libllama.so")
    refusal_of(tmp_path)
    assert marker.exists()


@pytest.mark.usefixtures("needs_compiler")
@pytest.mark.parametrize(
    ("which", "change", "said"),
    [
        ("model", "longer", "`llama_model_params` has 88 bytes, expected 80"),
        ("model", "shorter", "`llama_model_params."),
        ("model", "shifted", "`llama_model_params."),
        ("model", "default", "`llama_model_params.n_gpu_layers` has another default at offset 16"),
        ("context", "longer", "`llama_context_params` has 168 bytes, expected 160"),
        ("context", "shorter", "`llama_context_params."),
        ("context", "shifted", "`llama_context_params."),
        ("context", "default", "`llama_context_params.n_batch` has another default at offset 4"),
    ],
)
def test_parameters_of_another_shape_are_refused(tmp_path: Path, which: str, change: str, said: str) -> None:
    model, context = known_defaults()
    target = model if which == "model" else context
    changed = {
        "longer": target + b"\x01" * 8,
        "shorter": target[:-24],
        "shifted": target[:8] + b"\x01" * 8 + target[8:-8],
        "default": bytearray(target),
    }[change]
    if change == "default":
        assert isinstance(changed, bytearray)
        changed[16 if which == "model" else 4] ^= 0x40
    if which == "model":
        model = bytes(changed)
    else:
        context = bytes(changed)
    compile_library(llama_source(model_defaults=model, context_defaults=context), tmp_path / "libllama.so")
    refusal = refusal_of(tmp_path)
    assert refusal.classes[0] == "IncompatibleLibraryError"
    assert said in refusal.text, refusal


@pytest.mark.usefixtures("needs_compiler")
def test_a_field_in_bytes_that_are_no_field_is_refused(tmp_path: Path) -> None:
    model, context = known_defaults()
    # The last byte of the struct lies behind its last field.
    compile_library(llama_source(model_defaults=model[:-1] + b"\x01", context_defaults=context), tmp_path / "libllama.so")
    assert "`llama_model_params` has the value 1 at offset 79, where no field is known" in refusal_of(tmp_path).text


@pytest.mark.usefixtures("needs_compiler")
@pytest.mark.parametrize("foreign", ["llama_kv_cache_clear", "llama_lora_adapter_set", "llama_kv_self_seq_rm"])
def test_functions_of_two_families_are_refused_without_loading(tmp_path: Path, foreign: str) -> None:
    marker = tmp_path / "loaded"
    compile_library(llama_source(symbols=[*SYMBOLS, foreign], marker=marker), tmp_path / "libllama.so")
    refusal = refusal_of(tmp_path)
    assert refusal.classes[0] == "IncompatibleLibraryError"
    assert f"1 symbols are new (`{foreign}`)" in refusal.text, refusal
    assert not marker.exists(), "the library was loaded"


@pytest.mark.usefixtures("needs_compiler")
@pytest.mark.parametrize(("layout", "other"), [("b3750", "b4501"), ("b4501", "b6049"), ("b6049", "b3750"), ("b10566", "b11549")])
def test_symbols_of_one_build_with_parameters_of_another_are_refused(tmp_path: Path, layout: str, other: str) -> None:
    model, context = known_defaults(other)
    version = {"b10566": "0.2.0-dev"}.get(layout)
    source = llama_source(symbols=symbols_of(layout), version=version, model_defaults=model, context_defaults=context)
    compile_library(source, tmp_path / "libllama.so")
    refusal = refusal_of(tmp_path)
    assert refusal.classes[0] == "IncompatibleLibraryError"
    assert "unknown llama.cpp build" in refusal.text, refusal


def test_a_build_that_is_not_known_loads_when_that_is_allowed(tmp_path: Path) -> None:
    folder = copy_library(tmp_path)
    image = (folder / "libllama.so").read_bytes()
    assert image.count(b"\0llama_sampler_chain_remove\0") == 1
    (folder / "libllama.so").write_bytes(image.replace(b"\0llama_sampler_chain_remove\0", b"\0llama_sampler_chain_removx\0"))
    code = "for allowed in (False, True): print(json.dumps(attempt(sys.argv[1], allow_unverified=allowed)))"
    refused, loaded = run_child(code, folder)
    assert refused["classes"][0] == "IncompatibleLibraryError"
    assert "1 symbols are missing (`llama_sampler_chain_remove`); 1 symbols are new (`llama_sampler_chain_removx`)" in refused["text"]
    assert loaded["ok"]["unverified"] is True
    assert (loaded["ok"]["build"], loaded["ok"]["layout"]) == ("llama.cpp 0.5.0", "llama.cpp 0.5.0")
    assert loaded["ok"]["evidence"].startswith("version `0.5.0-dev` with 255 `llama_*` symbols, 78 bytes of model and 160 of context parameters")


@pytest.mark.usefixtures("needs_compiler")
@pytest.mark.parametrize("change", ["version", "default", "used function", "other family"])
def test_what_is_allowed_unverified_has_the_bytes_and_functions_of_one_layout(tmp_path: Path, change: str) -> None:
    model, context = known_defaults()
    symbols, version = list(SYMBOLS), "0.5.0-dev"
    if change == "version":
        # A version alone does not say where fields are: these are not where any layout has them.
        version, context = "9.9.9", context[:8] + b"\x01" * 8 + context[8:-8]
    elif change == "default":
        model = model[:16] + b"\x07" + model[17:]
    elif change == "used function":
        symbols.remove("llama_vocab_bos")
    else:
        symbols.append("llama_kv_self_clear")
    compile_library(llama_source(symbols=symbols, version=version, model_defaults=model, context_defaults=context), tmp_path / "libllama.so")
    [outcome] = run_child("print(json.dumps(attempt(sys.argv[1], allow_unverified=True)))", tmp_path)
    assert outcome["classes"][0] == "IncompatibleLibraryError", outcome


# Dependencies.


@pytest.mark.usefixtures("needs_compiler")
def test_a_missing_dependency_is_named(tmp_path: Path) -> None:
    other = compile_library("int other(void) { return 1; }", tmp_path / "libother.so", "-Wl,-soname,libother.so.7")
    source = "int other(void);\nint user(void) { return other(); }\n" + llama_source()
    compile_library(source, tmp_path / "libllama.so", "-Wl,--no-as-needed", str(other))
    other.unlink()
    refusal = refusal_of(tmp_path)
    assert refusal.classes[0] == "LibraryLoadError"
    assert "it needs `libother.so.7`, which is neither beside it nor on this system" in refusal.text, refusal


@pytest.mark.usefixtures("needs_compiler")
def test_a_newer_glibc_is_named_with_the_present_one(tmp_path: Path) -> None:
    # A libc that defines a version of the future, only to link against.
    script = tmp_path / "versions"
    script.write_text("GLIBC_2.99 { global: future; };\n", encoding="ascii")
    folder = tmp_path / "libc"
    folder.mkdir()
    fake_libc = compile_library("void future(void) {}", folder / "libc.so.6", "-nostdlib", "-Wl,-soname,libc.so.6", f"-Wl,--version-script={script}")
    source = "void future(void);\nvoid user(void) { future(); }\n" + llama_source()
    compile_library(source, tmp_path / "libllama.so", str(fake_libc))
    refusal = refusal_of(tmp_path)
    assert refusal.classes[0] == "LibraryLoadError"
    assert "it needs GLIBC_2.99 and this system has 2." in refusal.text, refusal


@pytest.mark.usefixtures("needs_compiler")
def test_an_undefined_symbol_is_a_clear_error(tmp_path: Path) -> None:
    source = "void nowhere_to_be_found(void);\nvoid user(void) { nowhere_to_be_found(); }\n" + llama_source()
    compile_library(source, tmp_path / "libllama.so")
    assert "undefined symbol: nowhere_to_be_found" in refusal_of(tmp_path).text


def test_a_ggml_from_elsewhere_is_refused_and_named(tmp_path: Path) -> None:
    ours, theirs = copy_library(tmp_path / "ours"), copy_library(tmp_path / "theirs")
    code = """
import ctypes
for name in ("libggml-base.so", "libggml.so"):
    ctypes.CDLL(f"{sys.argv[2]}/{name}", mode=ctypes.RTLD_GLOBAL)
print(json.dumps(attempt(sys.argv[1])))
"""
    environment_free = run_child(code.replace("import ctypes", "import ctypes, os; os.chdir(sys.argv[2])"), ours, theirs)
    [outcome] = environment_free
    assert "IncompatibleLibraryError" in outcome["classes"], outcome
    assert str(theirs) in outcome["text"], outcome
    assert "another package has already loaded its own ggml" in outcome["text"], outcome


# One library a process.


def test_a_second_library_is_refused_and_the_first_one_stays(tmp_path: Path) -> None:
    first, second = copy_library(tmp_path / "first"), copy_library(tmp_path / "second")
    (tmp_path / "link").symlink_to(first)
    code = """
first, second, link = sys.argv[1:]
for path, module in ((first, None), (second, None), (first, None), (first + "/libllama.so", None), (link, None), (first, "x64"), (first, "haswell")):
    print(json.dumps(attempt(path, module)))
"""
    outcomes = run_child(code, first, second, tmp_path / "link")
    verdicts = ["ok" if "ok" in outcome else outcome["classes"][0] for outcome in outcomes]
    refused = "LibraryAlreadyLoadedError"
    assert verdicts == ["ok", refused, "ok", "ok", "ok", "ok", refused]
    assert str(first) in outcomes[1]["text"]
    assert str(second) in outcomes[1]["text"]
    assert "`haswell`" in outcomes[6]["text"]
    assert outcomes[0]["ok"] == outcomes[4]["ok"] | {"devices": outcomes[0]["ok"]["devices"]}


def test_a_refused_library_does_not_stop_the_right_one(tmp_path: Path) -> None:
    good = copy_library(tmp_path / "good")
    (tmp_path / "libllama.so").write_bytes(b"no library")
    code = "for path in sys.argv[1:]: print(json.dumps(attempt(path)))"
    bad, fine = run_child(code, tmp_path, good)
    assert "LibraryLoadError" in bad["classes"]
    assert fine["ok"]["build"] == "llama.cpp 0.5.0"


def test_an_unknown_module_lists_those_there_are(tmp_path: Path) -> None:
    refusal = refusal_of(copy_library(tmp_path), "zen9")
    assert refusal.classes[0] == "VariantError"
    assert "no CPU module `zen9`" in refusal.text
    assert refusal.text.endswith("it has `x64`"), refusal


@pytest.mark.parametrize("module", ["", "..", "../x", "x64.so", "x" * 5000, "ü", "x64\0"])
def test_odd_module_names_are_unknown_modules(tmp_path: Path, module: str) -> None:
    assert refusal_of(copy_library(tmp_path), module).classes[0] == "VariantError"


def test_a_module_that_cannot_be_loaded_is_a_clear_error(tmp_path: Path) -> None:
    folder = copy_library(tmp_path)
    (folder / "libggml-cpu-x64.so").write_bytes(b"no library")
    for module in ("x64", None):
        refusal = refusal_of(folder, module)
        assert refusal.classes[0] == "LibraryLoadError"
        assert f"no CPU backend in `{folder}` runs on this machine" in refusal.text, refusal


@pytest.mark.usefixtures("needs_compiler")
def test_a_module_that_this_processor_cannot_run_is_a_clear_error(tmp_path: Path) -> None:
    folder = copy_library(tmp_path)
    # ggml asks a module for its score and leaves out those that say 0.
    source = "int ggml_backend_score(void) { return 0; }\nvoid * ggml_backend_init(void) { __builtin_trap(); }"
    compile_library(source, folder / "libggml-cpu-haswell.so")
    refusal = refusal_of(folder, "haswell")
    assert refusal.classes[0] == "LibraryLoadError"
    assert "no CPU backend in" in refusal.text, refusal


# Paths.


def test_a_folder_without_the_library_says_what_it_looked_for(tmp_path: Path) -> None:
    refusal = refusal_of(tmp_path)
    assert refusal.classes[0] == "LibraryLoadError"
    assert "give the directory of `libllama.so`" in refusal.text, refusal


def test_missing_paths_are_clear_errors(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path / "nowhere" / "libllama.so", "", "\u00e4/\U0001f600"):
        assert "LibraryLoadError" in refusal_of(path).classes


def test_a_folder_named_like_the_library_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "libllama.so").mkdir()
    refusal = refusal_of(tmp_path)
    assert "not a regular file" in refusal.text or "no file" in refusal.text, refusal


def test_a_pipe_named_like_the_library_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "libllama.so")
    assert "not a regular file" in refusal_of(tmp_path).text


def test_dangling_and_circular_links_are_clear_errors(tmp_path: Path) -> None:
    (tmp_path / "libllama.so").symlink_to(tmp_path / "nowhere")
    assert refusal_of(tmp_path).classes[0] == "LibraryLoadError"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert refusal_of(loop).classes[0] == "LibraryLoadError"


def test_paths_with_spaces_and_other_scripts_work(tmp_path: Path) -> None:
    folder = copy_library(tmp_path / "with space" / "bücher 模型 🦙")
    [outcome] = run_child("print(json.dumps(attempt(sys.argv[1])))", folder)
    assert outcome["ok"]["directory"] == str(folder)
    assert outcome["ok"]["cpu_module"] == "x64"


def test_a_library_that_may_not_be_read_says_so(tmp_path: Path) -> None:
    needs.machine(os.geteuid() != 0, "the superuser may read everything")
    folder = copy_library(tmp_path)
    (folder / "libllama.so").chmod(0)
    assert "cannot read" in refusal_of(folder).text
