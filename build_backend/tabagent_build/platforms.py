"""The systems that llama.cpp's libraries are built for, and how each names and links them."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tabagent_build.errors import BuildError

__all__ = ["AARCH64_LINUX", "X86_64_WINDOWS", "Cross", "Platform", "host_platform"]


@dataclass(frozen=True)
class System:
    """What is the same on all processors of a system."""

    name: str
    """As CMake calls it."""
    library: tuple[str, str]
    """How the names of libraries begin and end."""
    module: tuple[str, str]
    """How the names of ggml's modules begin and end."""
    program: str
    """How the names of programs end."""
    link_flags: str
    """For every library: what of the C++ runtime comes with it is kept private, and symbols that only a debugger reads are stripped."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Options of CMake."""


LINUX: Final = System(
    "Linux",
    ("lib", ".so"),
    ("lib", ".so"),
    "",
    "-static-libstdc++ -Wl,--exclude-libs,libstdc++.a -Wl,--gc-sections -Wl,-z,noexecstack -s",
    {"CMAKE_BUILD_WITH_INSTALL_RPATH": "ON", "CMAKE_INSTALL_RPATH": "$ORIGIN"},
)
# The runtime libraries of GCC lie beside ours: C++ exceptions cross from one library to the next, so all must share one.
WINDOWS: Final = System("Windows", ("", ".dll"), ("", ".dll"), ".exe", "-Wl,--exclude-libs,ALL -s")
# ggml's modules end in `.so` there, too (`backend_filename_extension` in ggml/src/ggml-backend-reg.cpp).
MACOS: Final = System(
    "Darwin",
    ("lib", ".dylib"),
    ("lib", ".so"),
    "",
    "-Wl,-dead_strip -Wl,-x",
    {"CMAKE_BUILD_WITH_INSTALL_RPATH": "ON", "CMAKE_INSTALL_RPATH": "@loader_path"},
)
SYSTEMS: Final = {system.name: system for system in (LINUX, WINDOWS, MACOS)}


@dataclass(frozen=True)
class Cross:
    """How to build for a platform on another one."""

    compilers: tuple[str, str]
    """For C and C++."""
    rust_target: str
    """The triple of Rust."""
    options: Mapping[str, str]
    """What CMake has to be told."""


@dataclass(frozen=True)
class Platform:
    """A system and a processor."""

    system: System
    processor: str
    cross: Cross | None = None
    """None where the build runs on the platform itself."""

    def library_name(self, target: str) -> str:
        """The file that a library's target of CMake makes."""
        return target.join(self.system.library)

    def module_name(self, target: str) -> str:
        """The file that the target of one of ggml's modules makes."""
        return target.join(self.system.module)

    @property
    def options(self) -> dict[str, str]:
        """What CMake is told for this platform."""
        return {**self.system.options, **(self.cross.options if self.cross else {})}

    @property
    def extension_name(self) -> str:
        """The file of the compiled Python module."""
        return "_native.pyd" if self.system is WINDOWS else "_native.abi3.so"


def host_platform() -> Platform:
    """The platform that this process runs on.

    Raises:
        BuildError: llama.cpp cannot be built on it.
    """
    system = SYSTEMS.get(platform.system())
    if system is None:
        message = f"llama.cpp can be built on {', '.join(SYSTEMS)} only so far, and this is `{platform.system()}`"
        raise BuildError(message)
    if system is LINUX and not _has_glibc():
        message = "tabagent needs the C library glibc, and this system has another one, such as Alpine's musl; use a system or an image with glibc"
        raise BuildError(message)
    return Platform(system, platform.machine())


def _has_glibc() -> bool:
    try:
        return bool(os.confstr("CS_GNU_LIBC_VERSION"))
    except (AttributeError, OSError, ValueError):
        return False


def _cross_options(system: str, processor: str, root: str) -> dict[str, str]:
    options = {"CMAKE_SYSTEM_NAME": system, "CMAKE_SYSTEM_PROCESSOR": processor, "CMAKE_FIND_ROOT_PATH": root}
    options |= {f"CMAKE_FIND_ROOT_PATH_MODE_{kind}": "ONLY" for kind in ("LIBRARY", "INCLUDE", "PACKAGE")}
    return options | {"CMAKE_FIND_ROOT_PATH_MODE_PROGRAM": "NEVER"}


X86_64_WINDOWS: Final = Platform(
    WINDOWS,
    "x86_64",
    Cross(
        ("x86_64-w64-mingw32-gcc-posix", "x86_64-w64-mingw32-g++-posix"),
        "x86_64-pc-windows-gnu",
        {**_cross_options("Windows", "x86_64", "/usr/x86_64-w64-mingw32"), "CMAKE_RC_COMPILER": "x86_64-w64-mingw32-windres"},
    ),
)
"""64-bit Windows, by the mingw-w64 compilers of Debian."""

AARCH64_LINUX: Final = Platform(
    LINUX,
    "aarch64",
    Cross(
        ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++"),
        "aarch64-unknown-linux-gnu",
        _cross_options("Linux", "aarch64", "/usr/aarch64-linux-gnu"),
    ),
)
"""64-bit ARM with Linux, by the cross compilers of Debian."""
