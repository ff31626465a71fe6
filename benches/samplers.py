"""Measures what each sampling setting costs end to end: streamed tokens a second beside those of greedy choice.

One process a model; every round streams once with each setting, in turn, and each setting is compared with the two greedy streams around it, so
that a machine whose speed drifts hurts all alike. Medians are printed. The environment is that of `make bench`.
"""

import argparse
import os
import platform
import statistics
import time
from pathlib import Path

from run import MODELS
from workload import SHORT_PROMPT

from tabagent import Model, SamplerConfig

HERE = Path(__file__).resolve().parent
GREEDY = SamplerConfig.greedy()
SETTINGS = {
    "default": SamplerConfig(seed=1),
    "llama.cpp's default": SamplerConfig.llama_cpp().replace(seed=1),
    "temperature": SamplerConfig(temperature=0.8, top_k=0, top_p=1.0, min_p=0.0, seed=1),
    "temperature, top-p": SamplerConfig(temperature=0.8, top_k=0, top_p=0.95, min_p=0.0, seed=1),
    "temperature, min-p": SamplerConfig(temperature=0.8, top_k=0, top_p=1.0, min_p=0.05, seed=1),
    "temperature, typical": SamplerConfig(temperature=0.8, top_k=0, top_p=1.0, min_p=0.0, typical_p=0.9, seed=1),
    "top-n-sigma": SamplerConfig(temperature=1.5, top_n_sigma=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1),
    "dynamic temperature": SamplerConfig(dynatemp_range=0.5, seed=1),
    "penalties": SamplerConfig(repeat_penalty=1.1, frequency_penalty=0.1, presence_penalty=0.1, repeat_window=-1, seed=1),
    "DRY": SamplerConfig(dry_multiplier=0.8, dry_window=-1, seed=1),
    "XTC": SamplerConfig(xtc_probability=0.5, xtc_threshold=0.1, seed=1),
    "adaptive-p": SamplerConfig(adaptive_target=0.5, seed=1),
    "mirostat 1": SamplerConfig(mirostat=1, seed=1),
    "mirostat 2": SamplerConfig(mirostat=2, seed=1),
    "1,000 biases": SamplerConfig(logit_bias=dict.fromkeys(range(1000, 2000), 0.5), seed=1),
    "penalties, DRY, XTC": SamplerConfig(repeat_penalty=1.1, dry_multiplier=0.8, xtc_probability=0.5, seed=1),
}


def rate(model: Model, sampling: SamplerConfig, tokens: int) -> float:
    """Streamed tokens a second after the first piece of text, as a reader sees them."""
    stream = model.generate(SHORT_PROMPT, max_tokens=tokens, sampling=sampling, ignore_eos=True)
    received, start = 0, 0.0
    for event in stream.events():
        if not start:
            start = time.perf_counter()
        else:
            received += len(event.token_ids)
    return received / (time.perf_counter() - start)


def measure(model: Model, rounds: int, tokens: int) -> dict[str, list[tuple[float, float]]]:
    """The rate of each setting and its ratio to greedy choice, round by round."""
    for sampling in (GREEDY, *SETTINGS.values()):
        rate(model, sampling, 8)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in ("greedy", *SETTINGS)}
    before = rate(model, GREEDY, tokens)
    for _ in range(rounds):
        for name, sampling in {"greedy": GREEDY, **SETTINGS}.items():
            own = rate(model, sampling, tokens)
            after = rate(model, GREEDY, tokens)
            found[name].append((own, own / ((before + after) / 2)))
            before = after
    return found


def main() -> None:
    """Runs everything and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    arguments = parser.parse_args()
    folder = Path(os.environ["TABAGENT_TEST_MODELS"])
    library = os.environ.get("TABAGENT_LIBRARY_PATH") or str(HERE.parent / "python" / "tabagent" / "lib")
    print(f"{platform.platform()}, {os.cpu_count()} processors, {arguments.threads} thread(s); medians of {arguments.rounds} rounds")
    for name in arguments.models:
        with Model.load(folder / MODELS[name], context_size=1024, threads=arguments.threads, max_sequences=1, variant=library) as model:
            found = measure(model, arguments.rounds, arguments.tokens)
        print(f"\n### {name}\n\n| setting | tok/s | ratio to greedy |\n|---|---|---|")
        for setting, figures in found.items():
            rates, ratios = zip(*figures, strict=True)
            print(f"| {setting} | {statistics.median(rates):.1f} | {statistics.median(ratios):.3f} |")


if __name__ == "__main__":
    main()
