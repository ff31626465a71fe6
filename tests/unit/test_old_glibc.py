"""Programs and libraries that are linked here for systems with an older glibc: what they need, and that they run."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import needs
from tabagent_build import platforms
from tabagent_build.elf import glibc_versions
from tabagent_build.errors import BuildError
from tabagent_build.old_glibc import GLIBC_VARIABLE, glibc_stubs, stub_flags, wanted_glibc
from tabagent_build.toolchain import find_toolchain
from tabagent_build.wheel_content import check_glibc

pytestmark = pytest.mark.wheel

PROGRAM = r"""
#include <cmath>
#include <cstdio>
#include <dlfcn.h>
#include <filesystem>
#include <memory>
#include <pthread.h>
#include <sched.h>
#include <stdexcept>
#include <string>
#include <sys/stat.h>
#include <thread>

static int constructed = 0;
struct Counter { Counter() { constructed++; } };
static Counter counter;

static int arguments_of_constructor = 0;
static void with_arguments(int count, char **, char **) { arguments_of_constructor = count; }
__attribute__((section(".init_array"), used)) static void (*entry)(int, char **, char **) = with_arguments;

int main(int count, char **arguments) {
    auto shared = std::make_shared<std::string>("shared");
    std::string caught;
    std::thread([&] { try { throw std::runtime_error(*shared); } catch (const std::exception & error) { caught = error.what(); } }).join();
    unsigned cpu = 9999, node = 9999;
    struct stat by_name, by_link, by_file;
    FILE *file = fopen(arguments[1], "r");
    int failed = getcpu(&cpu, &node) | stat(arguments[1], &by_name) | lstat(arguments[1], &by_link) | fstat(fileno(file), &by_file);
    int missing = stat("/nowhere/at/all", &by_link);
    std::printf("%d %d %d %d %s %ld %ld %ld %d %d %d\n", constructed, arguments_of_constructor, count, failed, caught.c_str(), (long) by_name.st_size,
                (long) by_file.st_size, (long) std::filesystem::file_size(arguments[1]), missing, dlsym(RTLD_DEFAULT, "malloc") != nullptr,
                (int) std::lround(std::pow(cpu == 9999 ? 0.0 : 2.0, 10.0)));
    return 0;
}
"""


@pytest.fixture
def cxx() -> str:
    needs.machine(sys.platform == "linux" and platform.machine() in {"x86_64", "aarch64"}, "stubs of glibc are for Linux on x86-64 and AArch64")
    needs.compiler()
    return find_toolchain().cxx_compiler[0]


def flags(*wanted: int) -> list[str]:
    return stub_flags(glibc_stubs(wanted, find_toolchain().c_compiler))


@pytest.mark.parametrize("wanted", [(2, 17), (2, 28)])
def test_a_program_for_an_older_glibc_does_with_it_and_runs_here(cxx: str, wanted: tuple[int, ...], tmp_path: Path) -> None:
    source, program, data = tmp_path / "program.cpp", tmp_path / "program", tmp_path / "data"
    source.write_text(PROGRAM, encoding="ascii")
    data.write_bytes(b"x" * 12345)
    command = [cxx, "-std=c++17", "-O1", str(source), "-o", str(program), "-static-libstdc++", "-Wl,--gc-sections", "-pthread"]
    subprocess.run(command, check=True)
    assert max(glibc_versions(program)) > wanted, "this system's own glibc is as old already"
    subprocess.run([*command, *flags(*wanted)], check=True)
    assert (2, 2) <= max(glibc_versions(program)) <= wanted
    done = subprocess.run([program, data], capture_output=True, text=True, check=True)
    assert done.stdout == "1 2 2 0 shared 12345 12345 12345 -1 1 1024\n"


def test_what_an_older_glibc_lacks_is_an_error_of_the_linker(cxx: str, tmp_path: Path) -> None:
    source = tmp_path / "program.cpp"
    source.write_text("#include <cstdlib>\nint main() { return (int) arc4random(); }\n", encoding="ascii")
    command = [cxx, str(source), "-o", str(tmp_path / "program"), *flags(2, 28)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "undefined reference to `arc4random'" in done.stderr


@pytest.mark.parametrize("stated", ["2", "2.16", "latest", "-2.28", "2.28.1.1"])
def test_what_is_no_version_is_refused(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(GLIBC_VARIABLE, stated)
    with pytest.raises(BuildError, match=rf"`TABAGENT_GLIBC={stated}` names no glibc; give a version from 2.17 on"):
        wanted_glibc()


def test_only_the_variable_changes_the_toolchain(cxx: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(GLIBC_VARIABLE, raising=False)
    plain = find_toolchain()
    assert (plain.stubs, plain.link_flags) == (None, plain.platform.system.link_flags)
    monkeypatch.setenv(GLIBC_VARIABLE, "2.28")
    old = find_toolchain()
    assert old.stubs is not None
    assert old.link_flags == " ".join([plain.link_flags, *stub_flags(old.stubs)])
    assert old.identity != plain.identity


def test_a_wheel_with_a_file_that_needs_more_is_refused(cxx: str, tmp_path: Path) -> None:
    source, library = tmp_path / "library.cpp", tmp_path / "libnew.so"
    source.write_text('#include <sys/stat.h>\nextern "C" int size() { struct stat found; return stat("/", &found); }\n', encoding="ascii")
    wheel = tmp_path / "tabagent-1-cp310-abi3-linux.whl"

    def build(*more: str) -> None:
        subprocess.run([cxx, "-shared", "-fPIC", str(source), "-o", str(library), *more], check=True)
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.write(library, "tabagent/lib/libnew.so")

    build(*flags(2, 28))
    check_glibc(wheel, (2, 28))
    build()
    needed = max(glibc_versions(library))
    needs.machine(needed > (2, 28), "this system's own glibc is as old as that")
    with pytest.raises(BuildError, match=rf"does not run with glibc 2.28: `libnew.so` needs GLIBC_2.{needed[1]}"):
        check_glibc(wheel, (2, 28))
    assert not wheel.exists()


def test_another_c_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        message = "unrecognized configuration name"
        raise ValueError(message)

    monkeypatch.setattr(os, "confstr", unknown)
    monkeypatch.setattr("platform.system", lambda: "Linux")
    with pytest.raises(BuildError, match="tabagent needs the C library glibc, and this system has another one"):
        platforms.host_platform()
