"""The house keeps its plan: which crate may import which, and where `unsafe` may be."""

import json
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

ALLOWED = {
    "tabagent-sys": set(),
    "tabagent-gguf": set(),
    "tabagent-kernels": {"tabagent-gguf"},
    "tabagent-engine": {"tabagent-gguf", "tabagent-kernels", "tabagent-runtime"},
    "tabagent-material": set(),
    "tabagent-tokenizer": {"tabagent-gguf"},
    "tabagent-sampling": set(),
    "tabagent-variants": set(),
    "tabagent-llama": {"tabagent-sys", "tabagent-gguf"},
    "tabagent-runtime": {"tabagent-sampling"},
    "tabagent-chat": {"tabagent-sampling"},
    "tabagent-model": {
        "tabagent-chat",
        "tabagent-engine",
        "tabagent-gguf",
        "tabagent-llama",
        "tabagent-runtime",
        "tabagent-sampling",
        "tabagent-tokenizer",
        "tabagent-variants",
    },
    "tabagent-fuzz": {"tabagent-chat", "tabagent-gguf", "tabagent-model", "tabagent-sys", "tabagent-tokenizer"},
    "tabagent-server": {"tabagent-chat", "tabagent-model"},
    "tabagent-python": {
        "tabagent-chat",
        "tabagent-gguf",
        "tabagent-model",
        "tabagent-sampling",
        "tabagent-server",
        "tabagent-tokenizer",
        "tabagent-variants",
    },
}
ONLY_IN = {
    "pyo3": {"tabagent-python"},
    "numpy": {"tabagent-python"},
    "axum": {"tabagent-server"},
    "tokio": {"tabagent-server"},
    "libloading": {"tabagent-sys"},
}
UNSAFE_CRATES = ("rust/sys/", "rust/llama/")
UNSAFE_MODULES = (
    "rust/gguf/src/mmap/",
    "rust/gguf/src/quants/simd/",
    "rust/gguf/tests/ggml/",
    "rust/kernels/src/pool/job.rs",
    "rust/kernels/src/pool/windows.rs",
    "rust/kernels/src/simd/",
    "rust/python/src/gguf/view.rs",
    "rust/python/src/interpreter.rs",
    "rust/python/src/logits_view.rs",
    "rust/sampling/src/row/simd/",
)


def packages() -> list[dict[str, object]]:
    command = ["cargo", "metadata", "--format-version", "1", "--no-deps"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    found: list[dict[str, object]] = json.loads(done.stdout)["packages"]
    return found


def dependencies(package: dict[str, object]) -> set[str]:
    listed = package["dependencies"]
    assert isinstance(listed, list)
    return {d["name"] for d in listed if d["kind"] is None}


def test_crates_import_only_what_the_plan_allows() -> None:
    names = set()
    for package in packages():
        name = str(package["name"])
        names.add(name)
        ours = {d for d in dependencies(package) if d.startswith("tabagent-")}
        assert ours <= ALLOWED[name], f"{name} must not import {sorted(ours - ALLOWED[name])}"
    assert len(names) >= 9


def test_foreign_crates_stay_in_their_rooms() -> None:
    for package in packages():
        for dependency in dependencies(package) & ONLY_IN.keys():
            assert package["name"] in ONLY_IN[dependency], f"{package['name']} must not import {dependency}"


def test_unsafe_code_is_only_where_the_plan_allows_it() -> None:
    pattern = re.compile(r"\bunsafe\s*(\{|fn|impl|extern)")
    for path in sorted((ROOT / "rust").rglob("*.rs")):
        relative = path.relative_to(ROOT).as_posix()
        if not relative.startswith(UNSAFE_CRATES + UNSAFE_MODULES):
            assert not pattern.search(path.read_text(encoding="utf-8")), relative
