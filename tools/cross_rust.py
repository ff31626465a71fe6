"""A Rust that compiles for Windows and AArch64, made of Debian's packages: `python tools/cross_rust.py` prints its folder.

rustup's standard libraries for other targets cannot be had everywhere. Debian's `rustc-web` compiles for all of them and brings the source of
the standard library, so the packages that `cross_rust.toml` pins are unpacked into the cache folder (nothing is installed), and the standard
library of each target is built there once, which takes about two minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "build_backend"))

from tabagent_build.cache import finished_folder  # noqa: E402 (the path of the line above)
from tabagent_build.errors import BuildError  # noqa: E402
from tabagent_build.fetching import fetching  # noqa: E402
from tabagent_build.progress import say  # noqa: E402

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["TARGETS", "CrossRust", "Target", "cross_rust"]

PINS: Final = ROOT / "tools" / "cross_rust.toml"
STD_CRATES: Final = "std,panic_unwind,panic_abort,test,proc_macro"


@dataclass(frozen=True)
class Target:
    """What it takes to compile for a target and to run its programs here."""

    triple: str
    linker: str
    runner: tuple[str, ...]
    packages: Mapping[str, str]
    """Debian package of each program."""


TARGETS: Final = (
    Target(
        "x86_64-pc-windows-gnu",
        linker="x86_64-w64-mingw32-gcc-posix",
        runner=("wine64",),
        packages={"x86_64-w64-mingw32-gcc-posix": "gcc-mingw-w64-x86-64-posix", "wine64": "wine64"},
    ),
    Target(
        "aarch64-unknown-linux-gnu",
        linker="aarch64-linux-gnu-gcc",
        runner=("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"),
        packages={"aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu", "qemu-aarch64": "qemu-user"},
    ),
)


@dataclass(frozen=True)
class Package:
    """A pinned package of Debian."""

    name: str
    version: str
    sha256: str


class CrossRust:
    """The unpacked compiler."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def environment(self) -> dict[str, str]:
        """What makes `cargo` use this compiler."""
        libraries = os.pathsep.join(filter(None, [str(self.folder / "usr/lib/x86_64-linux-gnu"), os.environ.get("LD_LIBRARY_PATH")]))
        # The compiler is a release; `RUSTC_BOOTSTRAP` lets Cargo build the standard library with it.
        return {"RUSTC": str(self.folder / "usr/bin/rustc"), "LD_LIBRARY_PATH": libraries, "RUSTC_BOOTSTRAP": "1"}


def cross_rust(targets: Sequence[Target] = TARGETS) -> CrossRust:
    """The compiler with the standard libraries of these targets; fetched and built first if it is not in the cache.

    Raises:
        BuildError: a package is not to be had at its pinned version, or the standard library cannot be built.
    """
    pins = PINS.read_bytes()
    packages = [Package(**table) for table in tomllib.loads(pins.decode())["package"]]
    key = hashlib.sha256(pins).hexdigest()[:16]
    rust = CrossRust(finished_folder(fetching.cache_folder() / "cross-rust" / key, lambda work: _unpack(packages, work)))
    for target in targets:
        library = rust.folder / "usr/lib/rustlib" / target.triple / "lib"
        finished_folder(library, lambda work, target=target: _build_std(rust, target, work))  # type: ignore[misc]
    return rust


def _unpack(packages: Sequence[Package], work: Path) -> None:
    say(f"fetching {len(packages)} packages of Debian's Rust (about 180 MB)")
    with tempfile.TemporaryDirectory(prefix=".debs-", dir=work) as downloads:
        for package in packages:
            _run(["apt-get", "download", "-qq", f"{package.name}={package.version}"], Path(downloads), _stale(package))
            (file,) = Path(downloads).glob(f"{package.name}_*.deb")
            found = hashlib.sha256(file.read_bytes()).hexdigest()
            if found != package.sha256:
                message = f"Debian's `{package.name}` {package.version} has the sha256 `{found}`, expected `{package.sha256}`; do not use it"
                raise BuildError(message)
            _run(["dpkg-deb", "--extract", str(file), str(work)], work, "free some space")
            file.unlink()


def _stale(package: Package) -> str:
    return (
        f"run `apt-get update`; if Debian has a newer `{package.name}` than {package.version}, put what `python tools/cross_rust.py --pin` "
        f"prints into `{PINS.relative_to(ROOT)}`"
    )


def _build_std(rust: CrossRust, target: Target, work: Path) -> None:
    say(f"building Rust's standard library for {target.triple} (about 150 s of one core; the result is kept in the cache)")
    source = rust.folder / "usr/lib/rustlib/src"
    if not source.exists():
        (found,) = (rust.folder / "usr/src").glob("rustc-*")
        source.mkdir(parents=True)
        (source / "rust").symlink_to(os.path.relpath(found, source))
    with tempfile.TemporaryDirectory(prefix="std-", dir=work) as name:
        crate = Path(name)
        (crate / "src").mkdir()
        (crate / "src" / "lib.rs").touch()
        (crate / "Cargo.toml").write_text('[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n', encoding="utf-8")
        command = ["cargo", "build", "--release", f"-Zbuild-std={STD_CRATES}", "--target", target.triple]
        _run(command, crate, "see Cargo's message above", {**rust.environment(), "CARGO_TARGET_DIR": str(crate / "target")})
        for file in (crate / "target" / target.triple / "release" / "deps").iterdir():
            if file.suffix in {".rlib", ".rmeta"} and not file.name.startswith("libempty"):
                shutil.copy(file, work / file.name)


def _run(command: Sequence[str], folder: Path, remedy: str, environment: Mapping[str, str] | None = None) -> None:
    try:
        subprocess.run(command, cwd=folder, env={**os.environ, **(environment or {})}, check=True, stdout=sys.stderr)
    except FileNotFoundError as error:
        message = f"`{command[0]}` is not there; this needs Debian 12 with Rust"
        raise BuildError(message) from error
    except subprocess.CalledProcessError as error:
        message = f"`{' '.join(command)}` failed (code {error.returncode}); {remedy}"
        raise BuildError(message) from error


def _pin() -> str:
    """The content of the pin file for the newest versions that apt knows."""
    comment = "".join(line for line in PINS.read_text(encoding="utf-8").splitlines(keepends=True) if line.startswith("#"))
    entries = []
    for table in tomllib.loads(PINS.read_text(encoding="utf-8"))["package"]:
        name = table["name"]
        command = ["apt-cache", "show", "--no-all-versions", name]
        shown = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        fields = dict(re.findall(r"^(Version|SHA256): (.*)$", shown, re.MULTILINE))
        entries.append(f'\n[[package]]\nname = "{name}"\nversion = "{fields["Version"]}"\nsha256 = "{fields["SHA256"]}"\n')
    return comment + "".join(entries)


def main() -> int:
    """Print the folder of the compiler, or a list of pins."""
    parser = argparse.ArgumentParser(description="Print the folder of a Rust that compiles for other targets; make it first if need be.")
    parser.add_argument("--pin", action="store_true", help="print what `cross_rust.toml` would say for the newest packages that apt knows")
    try:
        sys.stdout.write(_pin() if parser.parse_args().pin else f"{cross_rust().folder}\n")
    except BuildError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
