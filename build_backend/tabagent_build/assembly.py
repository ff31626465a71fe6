"""A wheel for another platform, put together from what Cargo and CMake made for it; maturin writes its metadata."""

from __future__ import annotations

import base64
import hashlib
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import maturin

from tabagent_build.child_program import CHILD_FOLDER, child_name
from tabagent_build.errors import BuildError
from tabagent_build.fetching import ROOT, fetching
from tabagent_build.library import LIBRARY_FOLDER
from tabagent_build.platforms import Platform

__all__ = ["assemble_wheel"]

PACKAGE: Final = ROOT / "python" / "tabagent"
TAGS: Final = {("Windows", "x86_64"): "win_amd64"}
"""The platform tags of wheels."""


def assemble_wheel(folder: Path, platform: Platform, *, extension: Path, child: Path, libraries: Mapping[str, Path]) -> Path:
    """Write the wheel for a platform into `folder`: the package with this extension, program of child processes and libraries beside it.

    Raises:
        BuildError: wheels for this platform are not made this way.
    """
    tag = TAGS.get((platform.system.name, platform.processor))
    if tag is None:
        message = f"a wheel for {platform.system.name} on {platform.processor} is built there, with `pip wheel .`"
        raise BuildError(message)
    with tempfile.TemporaryDirectory() as work:
        info = Path(work) / maturin.prepare_metadata_for_build_wheel(work)
        files = {f"tabagent/{path.relative_to(PACKAGE).as_posix()}": path for path in _sources()}
        files |= {f"tabagent/{LIBRARY_FOLDER.name}/{name}": path for name, path in libraries.items()}
        files |= {f"tabagent/{platform.extension_name}": extension, f"tabagent/{CHILD_FOLDER.name}/{child_name(platform)}": child}
        files |= {f"{info.name}/{path.relative_to(info).as_posix()}": path for path in sorted(info.rglob("*")) if path.is_file()}
        contents = {name: path.read_bytes() for name, path in sorted(files.items())}
        contents[f"{info.name}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: tabagent\nRoot-Is-Purelib: false\nTag: cp310-abi3-{tag}\n".encode()
        contents[f"{info.name}/RECORD"] = _record(contents, f"{info.name}/RECORD")
        wheel = folder / f"{info.name.removesuffix('.dist-info')}-cp310-abi3-{tag}.whl"
        folder.mkdir(parents=True, exist_ok=True)
        with fetching.atomic_file(wheel) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in contents.items():
                archive.writestr(name, content)
    return wheel


def _sources() -> Iterator[Path]:
    """The files of the package that are the same on every platform."""
    built = {LIBRARY_FOLDER, CHILD_FOLDER}
    for path in PACKAGE.rglob("*"):
        if path.is_file() and not built.intersection(path.parents) and "__pycache__" not in path.parts and path.suffix not in {".so", ".pyd"}:
            yield path


def _record(contents: Mapping[str, bytes], own_name: str) -> bytes:
    lines = []
    for name, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}")
    return "\n".join([*(line for line in lines if not line.startswith(f"{own_name},")), f"{own_name},,", ""]).encode()
