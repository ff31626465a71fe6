"""`tabagent doctor`: what this machine has, and whether everything works on it."""

import dataclasses
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tabagent.cli.diagnosis import Diagnosis, diagnose
from tabagent.cli.failure import explained
from tabagent.cli.options import Verbose
from tabagent.cli.output import printable, write_json, write_line, write_tables
from tabagent.cli.units import bytes_text

__all__ = ["doctor"]

STYLES = {"ok": "green", "problem": "red", "skipped": "dim"}

Json = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object.", show_default=False)]


@explained
def doctor(*, json: Json = False, verbose: Verbose = False) -> int:  # noqa: ARG001 (`explained` reads it)
    """Check that everything works: machine, library, devices, generation.

    Loads llama.cpp, and the demo model if it is here; downloads nothing.
    Exit code 0 if all is well, 1 if there is a problem; each problem says
    what to do.
    """
    diagnosis = diagnose()
    if json:
        write_json({"ok": diagnosis.ok, **dataclasses.asdict(diagnosis)})
    else:
        _show(diagnosis)
    return 0 if diagnosis.ok else 1


def _show(diagnosis: Diagnosis) -> None:
    write_tables(_facts_table(diagnosis), _checks_table(diagnosis))
    problems = [check for check in diagnosis.checks if check.status == "problem"]
    write_line()
    write_line("all is well" if not problems else f"{len(problems)} problem{'s' if len(problems) > 1 else ''}:")
    for number, check in enumerate(problems, start=1):
        write_line(f"{number}. {check.name}: {check.found}")
        if check.remedy:
            write_line(f"   what to do: {check.remedy}")


def _facts_table(diagnosis: Diagnosis) -> Table:
    table = _plain_table()
    for name, value in _facts(diagnosis):
        table.add_row(name, printable(value))
    return table


def _facts(diagnosis: Diagnosis) -> list[tuple[str, str]]:
    machine, memory, python = diagnosis.machine, diagnosis.machine.memory, diagnosis.python
    quota = "no quota" if machine.budget.quota is None else f"a quota of {machine.budget.quota:.2f}"
    cores = "unknown" if machine.cpu.physical_cores is None else str(machine.cpu.physical_cores)
    rows = [
        ("tabagent", f"{diagnosis.version} in {diagnosis.package}"),
        ("python", f"{python.version}, {python.executable}"),
        ("system", f"{machine.system}, {machine.cpu.architecture}"),
        ("cpu", machine.cpu.model or "unknown"),
        ("features", ", ".join(machine.cpu.features) or "none that matter"),
        ("cores", f"{cores} physical, {machine.cpu.logical_cores} logical, {quota}"),
        ("threads", f"{machine.default_threads}: {machine.budget.reason}"),
    ]
    if memory is not None:
        limit = "" if memory.limit_bytes is None else f", limited to {bytes_text(memory.limit_bytes)}"
        rows.append(("memory", f"{bytes_text(memory.total_bytes)}, {bytes_text(memory.available_bytes)} available{limit}"))
    library = diagnosis.library
    if library is not None:
        rows += [("library", library.directory), ("build", f"{library.build}, ggml {library.ggml_version}")]
        rows += [("device", _device(device.name, device.description, device.kind, device.memory_total)) for device in library.devices]
    rows += [("environment", f"{name}={value}") for name, value in diagnosis.environment.items()]
    return rows


def _device(name: str, description: str, kind: str, memory: int) -> str:
    return f"{name}: {description}, {kind.replace('_', ' ')}" + (f", {bytes_text(memory)}" if memory else "")


def _checks_table(diagnosis: Diagnosis) -> Table:
    table = _plain_table()
    table.add_column(overflow="fold")
    for check in diagnosis.checks:
        table.add_row(check.name, Text(check.status, style=STYLES[check.status]), printable(check.found))
    return table


def _plain_table() -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True, min_width=11)
    table.add_column(overflow="fold")
    return table
