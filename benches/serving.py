"""Compares tabagent with llama.cpp's `llama-server` at serving several streams, over the same library, with the same settings, in one run.

Each round asks every program once, in turn, so that a machine whose speed drifts hurts all alike; the program that is not asked is idle.
Medians over the rounds are printed, and the median of the ratios of each round. `make bench-serving` sets the environment.

All scenarios choose tokens greedily and ignore the end of the text, on tokens, not texts, so that both do the same work:

    streams    N streams of 128 tokens at once (`--streams`), after prompts of 100 tokens that differ from the first token on
    single     one such stream, also beside `llama-bench` with the same lengths
    serial     the requests of `streams`, one after another
    prefix     16 requests that share their first 2,000 tokens, the first alone and then 15 at once, with the prompt cache and without it
    prefill    4 streams run while a prompt of 8,000 tokens is read: the longest gap of the four beside their usual one
    edit       one stream that repeats most of its prompt, as edits and summaries do: what speculation is for

Times are those of the reader: of `llama-server`, and of `tabagent serve` (`--programs serve llama-server`), a client that takes one connection for a
stream, of tabagent tasks of an event loop in the same process, or threads (`--readers threads`).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import os
import platform
import statistics
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from http_servers import HttpServer, Size, llama_server, tabagent_serve
from in_process import InProcess
from run import MODELS, library_directory, llama_bench
from traffic import Answer, Peer, Request, ask_all, ask_in_turn, figures_of, percentile
from workload import LONG_TEXT, Job

Figures = dict[str, float]
Tokenize = Callable[[str], list[int]]

NEW_TOKENS = 128
PROMPT_TOKENS = 100
PREFIX_TOKENS = 2000
PREFILL_TOKENS = 8000
NEIGHBOURS = 4
MORE_IS_BETTER = {"tok_s", "neighbours_tok_s"}


@dataclass(frozen=True)
class Scenario:
    """What is asked, of how many slots of which size."""

    slots: int
    slot_tokens: int
    ask: Callable[[Peer, Tokenize], Awaitable[Figures]]


def distinct_prompts(tokenize: Tokenize, count: int, length: int) -> list[list[int]]:
    """Prose of `length` tokens each, different from the first words on."""
    numbers = ("First", "Second", "Third", "Fourth", "Fifth", "Sixth", "Seventh", "Eighth", "Ninth", "Tenth", "Eleventh", "Twelfth")
    texts = (f"{numbers[index % len(numbers)]} story, page {index}. {LONG_TEXT[index * 37 :]}" for index in range(count))
    return [tokenize(text)[:length] for text in texts]


def prose(tokenize: Tokenize, length: int) -> list[int]:
    """Prose of `length` tokens whose paragraphs differ."""
    tokens: list[int] = []
    paragraph = 0
    while len(tokens) < length:
        paragraph += 1
        tokens += tokenize(f"Paragraph {paragraph}. {LONG_TEXT[paragraph * 37 % 400 :][:400]}\n")
    return tokens[:length]


def streams(count: int) -> Scenario:
    """So many streams at once."""

    async def ask(peer: Peer, tokenize: Tokenize) -> Figures:
        return figures_of(await ask_all(peer, [Request(p, NEW_TOKENS) for p in distinct_prompts(tokenize, count, PROMPT_TOKENS)]))

    return Scenario(count, 512, ask)


def serial(count: int) -> Scenario:
    """So many streams, one after another."""

    async def ask(peer: Peer, tokenize: Tokenize) -> Figures:
        return figures_of(await ask_in_turn(peer, [Request(p, NEW_TOKENS) for p in distinct_prompts(tokenize, count, PROMPT_TOKENS)]))

    return Scenario(count, 512, ask)


async def ask_single(peer: Peer, tokenize: Tokenize) -> Figures:
    """One stream; its rate is that of the tokens after the first, as `llama-bench` counts."""
    (answer,) = await ask_all(peer, [Request(distinct_prompts(tokenize, 1, PROMPT_TOKENS)[0], NEW_TOKENS + 1)])
    return figures_of([answer]) | {"tok_s": (len(answer.tokens) - 1) / (answer.stamps[-1] - answer.stamps[0])}


async def ask_edit(peer: Peer, tokenize: Tokenize) -> Figures:
    """One stream whose text is for the most part in the prompt."""
    text = LONG_TEXT[: len(LONG_TEXT) // 24]
    prompt = tokenize(f"Copy this text, and write 1964 in place of 1963:\n\n{text}\n\nThe text with 1964:\n\n{text[:60]}")
    (answer,) = await ask_all(peer, [Request(prompt, NEW_TOKENS + 1)])
    return figures_of([answer]) | {"tok_s": (len(answer.tokens) - 1) / (answer.stamps[-1] - answer.stamps[0])}


async def ask_prefix(peer: Peer, tokenize: Tokenize) -> Figures:
    """Times to the first token of requests that begin alike, the first of them alone."""
    prefix, ends = prose(tokenize, PREFIX_TOKENS), distinct_prompts(tokenize, 32, 32)
    figures: Figures = {}
    for name, cache in (("plain", False), ("cached", True)):
        requests = [Request([*prefix, *ends.pop()], 16, cache_prompt=cache) for _ in range(16)]
        (first,) = await ask_all(peer, requests[:1])
        rest = figures_of(await ask_all(peer, requests[1:]))
        figures[f"{name}_alone_ms"] = first.first_token_s * 1e3
        figures |= {f"{name}_{key}": rest[key] for key in ("first_p50_ms", "first_max_ms")}
    return figures


async def ask_prefill(peer: Peer, tokenize: Tokenize) -> Figures:
    """What a long prompt does to streams that run beside it."""
    beside = Answer()
    answers = [Answer() for _ in range(NEIGHBOURS)]
    prompts = distinct_prompts(tokenize, NEIGHBOURS, PROMPT_TOKENS)
    neighbours = [
        asyncio.ensure_future(peer.ask(Request(prompt, PREFILL_TOKENS - PROMPT_TOKENS), answer))
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    # A program that serves one after another never has all of them under way: then one must do.
    while min(len(a.stamps) for a in answers) < 32 and max(len(a.stamps) for a in answers) < 32 * NEIGHBOURS:
        await asyncio.wait(neighbours, timeout=0.05)
        for task in neighbours:
            if task.done():
                task.result()
    asked = asyncio.get_running_loop().time()
    before = {id(a): len(a.stamps) for a in answers}
    request = asyncio.ensure_future(peer.ask(Request(prose(tokenize, PREFILL_TOKENS), 2), beside))
    await asyncio.wait([request], timeout=600)
    waited = asyncio.get_running_loop().time() - asked
    for task in (*neighbours, request):
        task.cancel()
    await asyncio.gather(*neighbours, request, return_exceptions=True)
    usual = [gap for a in answers for gap in Answer(stamps=a.stamps[: before[id(a)]]).gaps_s()]
    inside = [gap for a in answers for gap in Answer(stamps=a.stamps[max(0, before[id(a)] - 1) :]).gaps_s()]
    tokens = sum(len(a.stamps) - before[id(a)] for a in answers)
    return {
        "usual_gap_ms": statistics.median(usual) * 1e3,
        "gap_p50_ms": percentile(inside, 50) * 1e3 if inside else float("nan"),
        "gap_max_ms": max(inside) * 1e3 if inside else float("nan"),
        "neighbours_tok_s": tokens / waited,
        "prompt_s": waited if beside.stamps else float("inf"),
        "started": sum(bool(n) for n in before.values()),
    }


def scenarios(count: int) -> dict[str, Scenario]:
    """All, by name."""
    return {
        "streams": streams(count),
        "single": Scenario(1, 1024, ask_single),
        "serial": serial(count),
        "prefix": Scenario(8, 2304, ask_prefix),
        "prefill": Scenario(NEIGHBOURS + 1, 8192, ask_prefill),
        "edit": Scenario(1, 1024, ask_edit),
    }


def compare(name: str, scenario: Scenario, job: Job, arguments: argparse.Namespace, tools: Path) -> list[dict[str, Figures]]:
    """The figures of each round, by program."""
    size = Size(slots=scenario.slots, slot_tokens=scenario.slot_tokens, threads=job.threads)
    rounds: list[dict[str, Figures]] = []
    with contextlib.ExitStack() as stack:
        peers: list[InProcess | HttpServer] = []
        if "tabagent" in arguments.programs:
            peers.append(stack.enter_context(InProcess(job.model, library=job.library, readers=arguments.readers, **dataclasses.asdict(size))))
        if "serve" in arguments.programs:
            peers.append(stack.enter_context(tabagent_serve(job.library, job.model, size)))
        if "llama-server" in arguments.programs:
            peers.append(stack.enter_context(llama_server(tools / "llama-server", job.model, size, arguments.server_arguments.split())))
        tokenize = peers[0].model.tokenize if isinstance(peers[0], InProcess) else _tokenizer(job)
        for peer in peers:
            asyncio.run(warm_up(peer, tokenize))
        for _ in range(arguments.rounds):
            figures = {peer.name: asyncio.run(_figures(scenario, peer, tokenize)) for peer in peers}
            if name == "single":
                figures["llama-bench"] = {"tok_s": llama_bench(tools / "llama-bench", job)["decode_tok_s"]}
            rounds.append(figures)
    return rounds


async def warm_up(peer: Peer, tokenize: Tokenize) -> None:
    """Touch weights and memory."""
    await ask_all(peer, [Request(tokenize("Before anything is timed, ")[:4], 8)])


async def _figures(scenario: Scenario, peer: Peer, tokenize: Tokenize) -> Figures:
    return await scenario.ask(peer, tokenize)


def _tokenizer(job: Job) -> Tokenize:
    from tabagent import Model  # noqa: PLC0415 (only where no model is loaded)

    return Model.load(job.model, variant=job.library, vocab_only=True).tokenize


def summary(rounds: list[dict[str, Figures]]) -> dict[str, dict[str, float]]:
    """Medians by program, and the medians of the ratios of the first one to each other, and of `tabagent serve` to llama-server."""
    names = list(rounds[0])
    rows = {name: {column: statistics.median(r[name][column] for r in rounds) for column in rounds[0][name]} for name in names}
    pairs = [(names[0], peer) for peer in names[1:]]
    if {"tabagent", "tabagent serve", "llama-server"} <= set(names):
        pairs.append(("tabagent serve", "llama-server"))
    for one, other in pairs:
        shared = [column for column in rounds[0][other] if column in rounds[0][one] and all(r[other][column] for r in rounds)]
        rows[f"ratio of {one} to {other}"] = {column: statistics.median(r[one][column] / r[other][column] for r in rounds) for column in shared}
    return rows


def print_table(title: str, rows: dict[str, dict[str, float]]) -> None:
    """One row for each program, and the ratios."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    print(f"\n### {title}\n\n| | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        cells = []
        for column in columns:
            mark = "" if not name.startswith("ratio") else " ↑" if column in MORE_IS_BETTER else " ↓"
            digits = 3 if mark else 1
            cells.append(f"{row[column]:.{digits}f}{mark}" if column in row else "")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    """Runs the scenarios; prints a Markdown table for each model, thread count and scenario, or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", nargs="+", choices=list(scenarios(8)), default=["streams", "single", "serial"])
    parser.add_argument("--models", nargs="+", default=list(MODELS), help="names as in the tables, or paths of GGUF files")
    parser.add_argument("--threads", type=int, nargs="+", default=[2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, nargs="+", default=[8])
    parser.add_argument("--readers", choices=["asyncio", "threads"], default="asyncio")
    parser.add_argument("--programs", nargs="+", choices=["tabagent", "serve", "llama-server"], default=["tabagent", "llama-server"])
    parser.add_argument("--server-arguments", default="", metavar="TEXT", help="more arguments for llama-server, such as `--spec-type ngram-simple`")
    parser.add_argument("--json", action="store_true", help="print the figures of all rounds as JSON")
    arguments = parser.parse_args()
    tools = Path(os.environ["TABAGENT_BENCH_TOOLS"])
    machine = f"{platform.platform()}, {os.cpu_count()} processors; medians of {arguments.rounds} rounds"
    results = []
    if not arguments.json:
        print(f"{machine}; ↑ more is better, ↓ less is better")
    for name in arguments.models:
        path = str(Path(os.environ["TABAGENT_TEST_MODELS"]) / MODELS[name]) if name in MODELS else name
        for threads in arguments.threads:
            job = Job(model=path, threads=threads, library=str(library_directory()), prompt_tokens=PROMPT_TOKENS, new_tokens=NEW_TOKENS)
            for scenario, count in itertools.product(arguments.scenarios, arguments.streams):
                rounds = compare(scenario, scenarios(count)[scenario], job, arguments, tools)
                rows = summary(rounds)
                results.append({"model": name, "threads": threads, "scenario": scenario, "streams": count, "rounds": rounds, "medians": rows})
                if not arguments.json:
                    print_table(f"{name}, {threads} thread{'s' if threads > 1 else ''}: {scenario} ({count})", rows)
    if arguments.json:
        json.dump({"machine": machine, "readers": arguments.readers, "results": results}, sys.stdout, indent=1)
        print()


if __name__ == "__main__":
    main()
