"""`tabagent bench`: how fast a model reads prompts and writes text here, over sizes, threads, batches and streams."""

import dataclasses
import itertools
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from tabagent.cli.failure import UsageError, explained
from tabagent.cli.load_options import FLASH_ATTENTION, KV_TYPES, load
from tabagent.cli.model_source import ModelSource
from tabagent.cli.options import OUTPUT, Verbose, in_groups, option
from tabagent.cli.output import printable, write_json, write_tables
from tabagent.cli.units import bytes_text, count_text

if TYPE_CHECKING:
    from tabagent import Context, Model, TokenStream

__all__ = ["bench"]

TESTS: Final = "What is measured"
SETTINGS: Final = "Settings: each may be a list, such as `1,2`"
STREAM_PROMPT: Final = 32
"""Tokens of the prompt of each of several streams."""

BenchModel = Annotated[str, typer.Argument(metavar="MODEL", help="A GGUF file, `demo`, or hf:OWNER/REPO/FILE.", show_default=False)]


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What is measured, with which settings."""

    prompt: Annotated[str, option(TESTS, "-p", "--n-prompt", metavar="N,N", text="Read prompts of so many tokens (default 512; 0: none).")] = "512"
    generate: Annotated[str, option(TESTS, "-n", "--n-gen", metavar="N,N", text="Write so many tokens, one by one (default 128; 0: none).")] = "128"
    parallel: Annotated[
        str, option(TESTS, "--parallel", metavar="N,N", text="Write -n tokens in each of so many streams at once, such as `1,2,4,8` (default: not).")
    ] = "0"
    repeat: Annotated[int, option(TESTS, "-r", "--repetitions", metavar="N", min=1, text="How often each test is run (default 5).")] = 5
    threads: Annotated[str, option(SETTINGS, "-t", "--threads", metavar="N,N", text="Threads (default: the cores that may be used).")] = ""
    batch_size: Annotated[str, option(SETTINGS, "-b", "--batch-size", metavar="N,N", text="Tokens decoded in one go (default 2,048).")] = "2048"
    micro_batch_size: Annotated[str, option(SETTINGS, "-ub", "--ubatch-size", metavar="N,N", text="Tokens computed at once (default 512).")] = "512"
    flash_attention: Annotated[str, option(SETTINGS, "-fa", "--flash-attn", metavar="WORDS", text="Fused attention (default auto).")] = "auto"
    key_type: Annotated[str, option(SETTINGS, "-ctk", "--cache-type-k", metavar="TYPES", text="The type of keys (default f16).")] = "f16"
    value_type: Annotated[str, option(SETTINGS, "-ctv", "--cache-type-v", metavar="TYPES", text="The type of values (default f16).")] = "f16"
    variant: Annotated[str, option(SETTINGS, "--variant", "--backend", metavar="NAME", text="Which build of llama.cpp; one (default auto).")] = "auto"
    gpu_layers: Annotated[str, option(SETTINGS, "-ngl", "--n-gpu-layers", metavar="N|auto", text="Layers on the GPU; one number (default auto).")] = (
        "auto"
    )
    devices: Annotated[
        str | None, option(SETTINGS, "-dev", "--device", metavar="NAMES", text="The devices to use beside the CPU (default all GPUs).")
    ] = None
    use_mmap: Annotated[bool, option(SETTINGS, "--mmap/--no-mmap", text="Map the file into memory instead of reading it (default), or not.")] = True
    json: Annotated[bool, option(OUTPUT, "--json", text="Print one JSON object with the rate of every run.")] = False


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One set of settings."""

    threads: int | None
    batch_size: int
    micro_batch_size: int
    flash_attention: str
    key_type: str
    value_type: str

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Model.load` and `create_context`."""
        return {
            "threads": self.threads,
            "batch_size": self.batch_size,
            "micro_batch_size": self.micro_batch_size,
            "flash_attention": self.flash_attention,
            "kv_type": (self.key_type, self.value_type),
        }


@dataclass(frozen=True, kw_only=True)
class Result:
    """The rates of one test."""

    test: str
    threads: int
    batch_size: int
    micro_batch_size: int
    flash_attention: str
    key_type: str
    value_type: str
    tokens_per_second: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean of all runs."""
        return statistics.fmean(self.tokens_per_second)

    @property
    def deviation(self) -> float:
        """The deviation of the runs, 0 for one."""
        return statistics.stdev(self.tokens_per_second) if len(self.tokens_per_second) > 1 else 0.0


@explained
@in_groups
def bench(model: BenchModel, options: BenchOptions, *, verbose: Verbose = False) -> int:  # noqa: ARG001 (`explained` reads it)
    """Measure how fast a model runs here, as llama-bench does.

    `pp512` reads a prompt of 512 tokens, `tg128` writes 128 tokens one by
    one, `tg128 x 8` writes as many in each of 8 streams at once. Rates are
    tokens a second, the mean of all runs and their deviation. Close other
    programs first: they change the figures more than any setting.
    """
    sizes = {name: _numbers(getattr(options, name), flag, 0) for name, flag in (("prompt", "-p"), ("generate", "-n"), ("parallel", "--parallel"))}
    settings = list(_settings(options))
    if not any(sizes["prompt"]) and not any(sizes["generate"]):
        message = "`-p 0 -n 0` leaves nothing to measure"
        raise UsageError(message)
    source = ModelSource.parse(model, None, None)
    base: dict[str, Any] = {"variant": options.variant, "gpu_layers": _gpu_layers(options.gpu_layers), "use_mmap": options.use_mmap}
    base["devices"] = _devices(options.devices)
    results: list[Result] = []
    header: dict[str, Any] = {}
    with load(source, {**base, "context_size": 64, "max_sequences": 1, "threads": settings[0].threads}) as loaded:
        header = _header(loaded)
        for setting in settings:
            results += _alone(loaded, setting, sizes["prompt"], sizes["generate"], options.repeat)
    for setting, streams in itertools.product(settings, filter(None, sizes["parallel"])):
        for tokens in filter(None, sizes["generate"]):
            results.append(_together(source, {**base, **setting.arguments()}, setting, streams=streams, tokens=tokens, repeat=options.repeat))
    if options.json:
        rows = [{**dataclasses.asdict(result), "mean": result.mean, "deviation": result.deviation} for result in results]
        write_json({**header, "results": rows})
    else:
        write_tables(_header_table(header), _table(results))
    return 0


def _alone(model: "Model", setting: Setting, prompts: list[int], texts: list[int], repeat: int) -> Iterator[Result]:
    """Prompts and single tokens, in a context of their own."""
    draw = random.Random(0)  # noqa: S311 (tokens, not secrets)
    vocabulary = model.vocab_size()
    for kind, sizes, run in (("pp", prompts, _read), ("tg", texts, _write)):
        for size in filter(None, sizes):
            tokens = [draw.randrange(vocabulary) for _ in range(size)]
            with model.create_context(context_size=size, max_sequences=1, **setting.arguments()) as context:
                rates = _rates(lambda: run(context, tokens), size, repeat)  # noqa: B023 (called at once)
                yield _result(f"{kind}{size}", setting, context.threads, rates)


def _read(context: "Context", tokens: list[int]) -> None:
    context.clear()
    for start in range(0, len(tokens), context.batch_size):
        context.decode(tokens[start : start + context.batch_size])


def _write(context: "Context", tokens: list[int]) -> None:
    context.clear()
    for token in tokens:
        context.decode([token])


def _together(source: ModelSource, arguments: dict[str, Any], setting: Setting, *, streams: int, tokens: int, repeat: int) -> Result:
    """Several streams through `generate`, greedy, with prompts that differ. The rate is by the clock, with the reading of the prompts."""
    from tabagent import SamplerConfig  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    draw = random.Random(0)  # noqa: S311 (tokens, not secrets)
    room = STREAM_PROMPT + tokens + 1
    with load(source, {**arguments, "context_size": streams * room, "max_sequences": streams}) as model:
        prompts = [[draw.randrange(model.vocab_size()) for _ in range(STREAM_PROMPT)] for _ in range(streams)]

        def start(prompt: list[int]) -> "TokenStream":
            return model.generate(prompt, max_tokens=tokens, ignore_eos=True, add_special=False, sampling=SamplerConfig.greedy())

        def run() -> float:
            began = time.perf_counter()
            opened = [start(prompt) for prompt in prompts]
            counted = sum(len(stream.result().tokens) for stream in opened)
            return counted / (time.perf_counter() - began)

        run()
        rates = tuple(run() for _ in range(repeat))
        return _result(f"tg{tokens} x {streams}", setting, model.info.threads, rates)


def _rates(run: Callable[[], None], tokens: int, repeat: int) -> tuple[float, ...]:
    """Tokens a second of each run; one before them warms up."""
    run()
    rates = []
    for _ in range(repeat):
        start = time.perf_counter()
        run()
        rates.append(tokens / (time.perf_counter() - start))
    return tuple(rates)


def _result(test: str, setting: Setting, threads: int, rates: tuple[float, ...]) -> Result:
    return Result(test=test, tokens_per_second=rates, **{**dataclasses.asdict(setting), "threads": threads})


def _settings(options: BenchOptions) -> Iterator[Setting]:
    """All combinations."""
    words = {
        "flash_attention": _words(options.flash_attention, "-fa", FLASH_ATTENTION),
        "key_type": _words(options.key_type, "-ctk", KV_TYPES),
        "value_type": _words(options.value_type, "-ctv", KV_TYPES),
    }
    threads = _numbers(options.threads, "-t", 1) if options.threads else [None]
    numbers = {"batch_size": _numbers(options.batch_size, "-b", 1), "micro_batch_size": _numbers(options.micro_batch_size, "-ub", 1)}
    lists: dict[str, list[Any]] = {"threads": [*threads], **numbers, **words}
    for values in itertools.product(*lists.values()):
        yield Setting(**dict(zip(lists, values, strict=True)))


def _numbers(text: str, flag: str, least: int) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) >= least for part in parts):
        message = f"`{flag} {text}` is not a list of whole numbers from {least} on, such as `{flag} 1,2`"
        raise UsageError(message)
    return [int(part) for part in parts]


def _words(text: str, flag: str, known: tuple[str, ...]) -> list[str]:
    parts = [part.strip().lower() for part in text.split(",")]
    for part in parts:
        if part not in known:
            message = f"`{flag} {part}` is not known; there are {', '.join(f'`{word}`' for word in known)}"
            raise UsageError(message)
    return parts


def _gpu_layers(text: str) -> int | str:
    return text if text == "auto" else _numbers(text, "-ngl", 0)[0]


def _devices(text: str | None) -> list[str] | None:
    return None if text is None else text.split(",")


def _header(model: "Model") -> dict[str, Any]:
    """What the figures were measured with."""
    from tabagent import __version__, hardware  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    machine, info = hardware(), model.info
    return {
        "cpu": machine.cpu.model,
        "cores": machine.budget.usable,
        "tabagent": __version__,
        "llama_cpp": info.variant.build,
        "cpu_module": info.variant.cpu_module,
        "model": info.description,
        "file": info.path,
        "size": info.size,
        "parameters": info.parameters,
        "layers_on_gpu": info.layers_on_gpu,
        "devices": [device.description for device in info.devices if device.id in info.used_devices],
    }


def _header_table(header: dict[str, Any]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows = [
        ("machine", f"{header['cpu'] or 'unknown processor'}, {header['cores']} usable cores"),
        ("tabagent", header["tabagent"]),
        ("llama.cpp", f"{header['llama_cpp']}, CPU module {header['cpu_module'] or 'built in'}"),
        ("model", f"{header['model']}, {bytes_text(header['size'])}, {count_text(header['parameters'])} parameters"),
    ]
    if header["layers_on_gpu"]:
        rows.append(("layers on GPU", f"{header['layers_on_gpu']}, {', '.join(header['devices'])}"))
    for name, value in rows:
        table.add_row(name, Text(printable(value)))
    return table


def _table(results: list[Result]) -> Table:
    """A row for each test; settings that are the same in all of them, and defaults, are left out."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    columns = {"threads": "threads", "batch_size": "batch", "micro_batch_size": "micro-batch", "flash_attention": "attention"}
    columns |= {"key_type": "keys", "value_type": "values"}
    defaults = dataclasses.asdict(
        Setting(threads=None, batch_size=2048, micro_batch_size=512, flash_attention="auto", key_type="f16", value_type="f16")
    )
    shown = {name: title for name, title in columns.items() if {getattr(result, name) for result in results} != {defaults[name]}}
    table.add_column("test", no_wrap=True)
    for title in shown.values():
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("tokens/s", justify="right", no_wrap=True)
    for result in results:
        table.add_row(result.test, *(str(getattr(result, name)) for name in shown), f"{result.mean:,.2f} ± {result.deviation:,.2f}")
    return table
