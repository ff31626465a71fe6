"""Measures llama-cpp-python over the same llama.cpp library in a fresh process; prints one JSON object.

Run by the interpreter of an environment that has it; `LLAMA_CPP_LIB_PATH` names the directory of the library.
"""

import ctypes
import json
import os
import sys
import time
from pathlib import Path

start = time.perf_counter()
import llama_cpp  # noqa: E402 (the import is what is timed)

imported = time.perf_counter() - start

from workload import LONG_TEXT, SHORT_PROMPT, TOKENIZE_BYTES, Job, print_figures  # noqa: E402 (after what is timed)


def main() -> None:
    """Runs the job given as JSON in the first argument."""
    job = Job(**json.loads(sys.argv[1]))
    directory = os.environ["LLAMA_CPP_LIB_PATH"]
    start = time.perf_counter()
    # A build with backends as modules finds none by itself from Python: they are loaded for it, as part of loading.
    ctypes.CDLL(str(Path(directory) / "libggml.so")).ggml_backend_load_all_from_path(directory.encode())
    model = llama_cpp.Llama(job.model, n_ctx=job.context_size, n_batch=2048, n_threads=job.threads, n_threads_batch=job.threads, verbose=False)
    loaded = time.perf_counter() - start

    # Its way to go on after the end of the text: that token is made impossible.
    bias = {model.token_eos(): -1e9}
    start = time.perf_counter()
    next(iter(model.create_completion(SHORT_PROMPT, max_tokens=8, stream=True, logit_bias=bias)))
    first_token = time.perf_counter() - start

    tokens = model.tokenize(LONG_TEXT.encode())[: job.prompt_tokens]
    model.reset()
    # `llama-bench` warms up with a run of its own.
    model.eval(tokens)
    model.reset()
    start = time.perf_counter()
    model.eval(tokens)
    prompt_rate = len(tokens) / (time.perf_counter() - start)
    model.reset()

    stream = iter(model.create_completion(SHORT_PROMPT, max_tokens=job.new_tokens + 1, stream=True, logit_bias=bias))
    next(stream)
    before = model.n_tokens
    start = time.perf_counter()
    for _ in stream:
        pass
    decode_rate = (model.n_tokens - before) / (time.perf_counter() - start)

    text = (LONG_TEXT * (TOKENIZE_BYTES // len(LONG_TEXT))).encode()
    start = time.perf_counter()
    model.tokenize(text)
    tokenize_rate = len(text) / 1e6 / (time.perf_counter() - start)
    print_figures(
        imported=imported,
        loaded=loaded,
        first_token=first_token,
        prompt_rate=prompt_rate,
        decode_rate=decode_rate,
        tokenize_rate=tokenize_rate,
    )


if __name__ == "__main__":
    main()
