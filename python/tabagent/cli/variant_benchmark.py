"""`tabagent variants --benchmark MODEL`: which variant, how many threads and how large a micro-batch are fastest here, for models of that kind."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from tabagent.tuning import Tuning, keep, kind_of

if TYPE_CHECKING:
    from tabagent import Variant
    from tabagent.cli.benchmark_rows import Rows
    from tabagent.tuning import ModelKind

__all__ = ["Benchmark", "Measurement", "run_benchmark"]

PROMPT: Final = 512
TEXT: Final = 32
REPETITIONS: Final = 3
LIMIT_S: Final = 1800
"""How long a child process may take."""
MARGIN: Final = 1.03
"""How much faster something must be than the default to be kept: less is within the noise of a quiet machine."""
MICRO_BATCHES: Final = (128, 256, 512)
GPU_PROMPT: Final = 2048
GPU_MICRO_BATCHES: Final = (512, 1024, 2048)


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """How fast the model is with one set of settings."""

    variant: str
    threads: int | None
    """The number asked for; None for the default."""
    micro_batch_size: int
    prompt_rate: float | None = None
    """Tokens a second of a prompt; None where it was not measured, or the process failed."""
    text_rate: float | None = None
    """Tokens a second of a text."""
    problem: str | None = None
    """Why the process failed."""

    @property
    def seconds(self) -> float:
        """How long a prompt of 512 tokens and a text of 128 would take; infinite where something was not measured."""
        if not self.prompt_rate or not self.text_rate:
            return float("inf")
        return 512 / self.prompt_rate + 128 / self.text_rate


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """All that was measured of a model, and what was kept of it."""

    model: str
    kind: "ModelKind"
    measurements: tuple[Measurement, ...]
    tuning: Tuning
    """What is faster than the defaults."""
    kept: str | None
    """The file that `Model.load` reads from now on; None without a cache folder."""

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return dataclasses.asdict(self)

    @property
    def conclusion(self) -> str:
        """What follows, in a sentence."""
        if all(row.problem for row in self.measurements):
            return "nothing could be measured"
        if self.kept is None:
            return f"the fastest: {self.tuning}; there is no cache folder to keep that in, so pass it to `Model.load`"
        return f"the fastest: {self.tuning}; `Model.load` uses that for {self.kind} from now on"


def run_benchmark(model: str, usable: "Sequence[Variant]", default: "Variant", rows: "Rows") -> Benchmark:
    """Measure one thing after the other, each in a child process: the variants, then the threads and then the micro-batch of the fastest.

    `rows` are told of each as soon as it is measured. A machine is not equally fast all the time, so what seems faster than the defaults is measured
    against them once more at the end, and counts only if it is faster then, too.

    Raises:
        GgufError, OSError: the model cannot be read.
        FetchError: the result cannot be kept.
    """
    kind = kind_of(model)
    names = list(dict.fromkeys([default.name, *(variant.name for variant in usable)]))
    on_gpu = {variant.name for variant in usable if variant.gpus}
    done: list[Measurement] = []

    def measure(what: str, arguments: Sequence[str], wanted: Measurement) -> Measurement:
        rows.begin(f"{what} of `{wanted.variant}`")
        done.append(_measured(model, arguments, wanted))
        rows.add(done[-1])
        return done[-1]

    for name in names:
        measure("the defaults", [], Measurement(variant=name, threads=None, micro_batch_size=512))
    variant = _fastest(done, done[0]).variant

    for count in _thread_counts(kind.cores):
        measure("threads", ["-t", str(count)], Measurement(variant=variant, threads=count, micro_batch_size=512))
    of_variant = [row for row in done if row.variant == variant]
    threads = _fastest(of_variant, of_variant[0]).threads

    sizes, prompt = (GPU_MICRO_BATCHES, GPU_PROMPT) if variant in on_gpu else (MICRO_BATCHES, PROMPT)
    first = len(done)
    for each in sizes:
        arguments = ["-ub", str(each), "-p", str(prompt), "-n", "0", *(["-t", str(threads)] if threads else [])]
        measure("micro-batches", arguments, Measurement(variant=variant, threads=threads, micro_batch_size=each))
    size = _fastest(done[first:], next(row for row in done[first:] if row.micro_batch_size == 512), lambda row: 1 / (row.prompt_rate or 1e-9))

    tuning = Tuning(
        variant=None if variant == default.name else variant,
        threads=threads,
        micro_batch_size=None if size.micro_batch_size == 512 else size.micro_batch_size,
    )
    if tuning != Tuning():
        length = ["-p", str(prompt)]
        usual = measure("the defaults, again,", length, Measurement(variant=default.name, threads=None, micro_batch_size=512))
        chosen = Measurement(variant=variant, threads=threads, micro_batch_size=size.micro_batch_size)
        settings = ["-ub", str(chosen.micro_batch_size), *(["-t", str(threads)] if threads else [])]
        if _fastest([measure("what was fastest, again,", [*length, *settings], chosen)], usual) is usual:
            tuning = Tuning()
    measured_any = any(row.problem is None for row in done)
    return Benchmark(model=model, kind=kind, measurements=tuple(done), tuning=tuning, kept=keep(kind, tuning) if measured_any else None)


def _fastest(rows: Iterable[Measurement], default: Measurement, cost: Callable[[Measurement], float] = lambda row: row.seconds) -> Measurement:
    """The fastest, or the default where that is as fast but for noise."""
    best = min(rows, key=cost)
    return best if cost(best) * MARGIN < cost(default) else default


def _measured(model: str, arguments: Sequence[str], wanted: Measurement) -> Measurement:
    """Measure by `tabagent bench` in a child process, which may fail."""
    sizes = ["-p", str(PROMPT), "-n", str(TEXT), "-r", str(REPETITIONS)]
    command = [sys.executable, "-m", "tabagent", "bench", model, "--variant", wanted.variant, *sizes, *arguments, "--json"]
    try:
        child = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return dataclasses.replace(wanted, problem=f"not done after {LIMIT_S // 60} minutes")
    if child.returncode != 0:
        last = (child.stderr.strip().splitlines() or ["it says nothing"])[-1]
        how = f"ended by signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
        return dataclasses.replace(wanted, problem=f"{how}: {last}")
    results = json.loads(child.stdout)["results"]
    return dataclasses.replace(wanted, prompt_rate=_rate("pp", results), text_rate=_rate("tg", results))


def _rate(test: str, results: Sequence[dict[str, Any]]) -> float | None:
    """The median rate of one kind of test among what `tabagent bench` printed; None where it was not asked for."""
    found = [rate for each in results if each["test"].startswith(test) for rate in each["tokens_per_second"]]
    return median(found) if found else None


def _thread_counts(cores: int) -> list[int]:
    """1, 2, 4 and so on, and three quarters, half and all of the cores."""
    counts = {1 << power for power in range(cores.bit_length())} | {cores // 2, cores * 3 // 4, cores}
    return sorted(count for count in counts if 1 <= count <= cores)
