"""`tabagent variants`: which builds of llama.cpp there are, and which one is used here."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from tabagent.cli.failure import explained, one_line
from tabagent.cli.model_source import ModelSource
from tabagent.cli.options import Verbose
from tabagent.cli.output import printable, write_error, write_json, write_line, write_tables

if TYPE_CHECKING:
    from tabagent import Variant
    from tabagent.cli.variant_benchmark import Benchmark

__all__ = ["variants"]

Json = Annotated[bool, typer.Option("--json", metavar="", help="Print one JSON object.", show_default=False)]
BenchmarkModel = Annotated[
    str | None,
    typer.Option("--benchmark", metavar="MODEL", help="Measure what is fastest for such models, which takes minutes, and use it from now on."),
]


@explained
def variants(*, benchmark: BenchmarkModel = None, json: Json = False, verbose: Verbose = False) -> int:  # noqa: ARG001 (`explained` reads it)
    """List the builds of llama.cpp: which run on this machine, and why.

    They come from TABAGENT_LIBRARY_PATH, from installed companion packages,
    and from the package itself. Those that seem to fit are tried, each in a
    process of its own, and the outcome is remembered. Exit code 1 if none of
    them runs here.

    --benchmark measures each usable one with a model (a GGUF file, `demo`, or
    hf:OWNER/REPO/FILE), then numbers of threads and sizes of micro-batches,
    each in a process of its own, and shows each as it is measured. What is
    fastest is kept; Model.load, the commands and servers use it for files of
    models of the same kind. Close other programs first.
    """
    from tabagent import VariantError, auto_select_variant, list_available_variants  # noqa: PLC0415 (not needed for `--help`)

    found = list_available_variants()
    selected: Variant | None = None
    problem: str | None = None
    try:
        selected = auto_select_variant()
    except VariantError as error:
        problem = one_line(error)
    if found and not json:
        write_tables(*_tables(found, selected))
    measured = None
    if benchmark is not None and selected is not None:
        if not json:
            write_line()
        measured = _measure(benchmark, found, selected, json=json)
    if json:
        listed = [{**dataclasses.asdict(variant), "selected": variant == selected} for variant in found]
        figures = {} if measured is None else {"benchmark": measured.to_json()}
        write_json({"selected": None if selected is None else selected.name, "problem": problem, "variants": listed, **figures})
    else:
        if measured is not None:
            write_line(printable(measured.conclusion))
        if problem is not None:
            write_error(problem)
    failed = measured is not None and all(row.problem for row in measured.measurements)
    return 0 if problem is None and not failed else 1


def _measure(model: str, found: "list[Variant]", selected: "Variant", *, json: bool) -> "Benchmark":
    from tabagent.cli.benchmark_rows import rows_for  # noqa: PLC0415 (not needed for `--help`)
    from tabagent.cli.load_options import fetched  # noqa: PLC0415 (not needed for `--help`)
    from tabagent.cli.variant_benchmark import run_benchmark  # noqa: PLC0415 (as above)

    usable = [variant for variant in found if variant.usable and not variant.only_named and not variant.source.startswith("package ")]
    path = fetched(ModelSource.parse(model, None, None))
    with rows_for(json=json) as rows:
        return run_benchmark(path, usable, selected, rows)


def _build(variant: "Variant") -> str:
    """What build a variant is, and whose layout it has where that is another."""
    if variant.build is None:
        return "unknown build"
    name, layout = variant.build.name, variant.build.layout
    return name if layout == name else f"{name} (layout of {layout})"


def _tables(found: "list[Variant]", selected: "Variant | None") -> list[Table]:
    """A table of the variants for each directory that holds some, in their order."""
    tables = []
    for path, source in dict.fromkeys((variant.path, variant.source) for variant in found):
        builds = dict.fromkeys(_build(variant) for variant in found if (variant.path, variant.source) == (path, source) and variant.build is not None)
        title = Text(printable(", ".join((f"{path} ({source.replace('_', ' ')})", *builds))), style="bold")
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, title=title, title_justify="left", title_style="")
        table.add_column("", no_wrap=True)
        table.add_column("variant", no_wrap=True)
        table.add_column("usable", no_wrap=True)
        table.add_column("score", justify="right", no_wrap=True)
        table.add_column("reason", overflow="fold")
        for variant in found:
            if (variant.path, variant.source) == (path, source):
                mark = "*" if variant == selected else ""
                usable = Text("yes", style="green") if variant.usable else Text("no", style="red")
                style = "bold" if mark else "" if variant.usable else "dim"
                table.add_row(mark, printable(variant.name), usable, str(variant.score), printable(variant.reason), style=style)
        tables.append(table)
    if tables and selected is not None:
        tables[-1].caption = "* is what `auto` takes"
        tables[-1].caption_justify = "left"
    return tables
