"""Measures tabagent in a fresh process; prints one JSON object."""

import json
import sys
import time

start = time.perf_counter()
from tabagent import Model  # noqa: E402 (the import is what is timed, with all that a first program uses)

imported = time.perf_counter() - start

from workload import LONG_TEXT, SHORT_PROMPT, TOKENIZE_BYTES, Job, print_figures  # noqa: E402 (after what is timed)


def main() -> None:
    """Runs the job given as JSON in the first argument."""
    job = Job(**json.loads(sys.argv[1]))
    start = time.perf_counter()
    model = Model.load(job.model, context_size=job.context_size, threads=job.threads, max_sequences=1, variant=job.library, engine=job.engine)
    loaded = time.perf_counter() - start

    start = time.perf_counter()
    next(iter(model.generate(SHORT_PROMPT, max_tokens=8, ignore_eos=True)))
    first_token = time.perf_counter() - start

    tokens = model.tokenize(LONG_TEXT)[: job.prompt_tokens]
    # `llama-bench` warms up with a run of its own, and keeps nothing of it.
    model.generate(tokens, max_tokens=1, ignore_eos=True, cache_prompt=False).result()
    done = model.generate(tokens, max_tokens=1, ignore_eos=True, cache_prompt=False).result()
    prompt_rate = len(tokens) / done.timings.prompt_s

    stream = iter(model.generate(SHORT_PROMPT, max_tokens=job.new_tokens + 1, ignore_eos=True).events())
    next(stream)
    start = time.perf_counter()
    count = sum(len(event.token_ids) for event in stream)
    decode_rate = count / (time.perf_counter() - start)

    text = LONG_TEXT * (TOKENIZE_BYTES // len(LONG_TEXT))
    start = time.perf_counter()
    model.tokenize(text)
    tokenize_rate = len(text.encode()) / 1e6 / (time.perf_counter() - start)
    print_figures(
        imported=imported,
        loaded=loaded,
        first_token=first_token,
        prompt_rate=prompt_rate,
        decode_rate=decode_rate,
        tokenize_rate=tokenize_rate,
    )
    model.close()


if __name__ == "__main__":
    main()
