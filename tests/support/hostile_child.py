"""Run hostile cases, named on standard input, and say of each how it went; whoever started this watches for crashes.

Arguments: the library directory, a folder for the files, then `label=path` for each source of file cases.
"""

from __future__ import annotations

import contextlib
import faulthandler
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from support.hostile import write
from tabagent._native import Model, Stop, open_library
from tabagent._trial import trial_option
from tabagent.errors import TabagentError, UnsupportedModelError
from tabagent.sampling import SamplerConfig

TEXT: Final = "ab a\n\t héllo 🙂 <s> <0x41> " + "a" * 40 + "\x00\x7f"
SAMPLING: Final = SamplerConfig(repeat_penalty=1.1, seed=1, order=["penalties", "top_k", "top_p", "min_p", "temperature"]).to_dict()


def load(path: Path, library: str, *, vocab_only: bool, trial: bool) -> Model:
    return Model.load(
        str(path),
        library=library,
        module=None,
        options={
            "gpu_layers": 0,
            "context_size": 64,
            "max_sequences": 1,
            "threads": 1,
            "batch_size": 64,
            "vocab_only": vocab_only,
            "trial": trial_option("auto" if trial else False),
        },
        progress=None,
    )


def try_model(path: Path, library: str, *, vocab_only: bool, trial: bool) -> None:
    """Everything that a user may do with a model."""
    model = load(path, library, vocab_only=vocab_only, trial=trial)
    try:
        facts = model.facts()
        model.metadata()
        model.special_tokens()
        model.chat_template(None)
        last = facts["vocab_size"] - 1
        for token in {0, last // 2, last} if last >= 0 else ():
            attempt(model.token_to_bytes, token, True)
            attempt(model.token_text, token)
            attempt(model.token_attributes, token)
        attempt(model.detokenize, list(range(last + 1)), False, True)
        for add_special in (False, True):
            tokens = attempt(model.tokenize, TEXT, add_special, True)
            if tokens:
                attempt(model.detokenize, tokens, False, True)
        if vocab_only:
            return
        try:
            generate(model)
        except UnsupportedModelError:
            embed(model)
    finally:
        model.close()


def generate(model: Model) -> None:
    stream = model.generate(
        [0],
        add_special=False,
        parse_special=False,
        options={"max_tokens": 2, "sampling": SAMPLING, "logprobs": 1},
        grammar=None,
        hooked=False,
    )
    while stream.next_event() is not None:
        pass


def embed(model: Model) -> None:
    """The vector of a text, of a model that has one."""
    with contextlib.suppress(UnsupportedModelError):
        model.embed([[0, 1, 0]], options={}, stop=Stop(), progress=None)


def attempt(call: Any, *arguments: object) -> Any:
    """The result of a call, or None where it refuses with an error of ours."""
    try:
        return call(*arguments)
    except (TabagentError, ValueError):
        return None


def peak_mib() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) >> 10
    return 0


def judge(path: Path, library: str, *, vocab_only: bool, trial: bool) -> str:
    """`ok`, or the error in words."""
    try:
        try_model(path, library, vocab_only=vocab_only, trial=trial)
    except (TabagentError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    except BaseException as error:  # noqa: BLE001 (said to the parent, which judges)
        return f"UNEXPECTED {type(error).__name__}: {error}"
    return "ok"


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def run(library: str, folder: Path, sources: dict[str, Path], names: Iterator[str]) -> None:
    open_library(library, None)
    path = folder / "case.gguf"
    for name in names:
        say(f"begin {name}")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        has_weights = write(name, path, sources)
        began = time.monotonic()
        outcome = "ok"
        # Those of every architecture are tried as a user's are; the others must be stopped by what is checked in their tables.
        trial = name.startswith("every/")
        kinds = (False,) if trial else (True, False) if has_weights else (True,)
        for vocab_only in kinds:
            outcome = judge(path, library, vocab_only=vocab_only, trial=trial)
            if outcome.startswith("UNEXPECTED"):
                break
        flat = outcome.encode("ascii", "backslashreplace").decode().replace("\n", " ")[:400]
        say(f"end {peak_mib()} {time.monotonic() - began:.3f} {flat}")


def main() -> None:
    faulthandler.enable(file=sys.stderr, all_threads=False)
    # A case that eats memory must fail before the machine does.
    resource.setrlimit(resource.RLIMIT_DATA, (6 << 30, 6 << 30))
    library, folder, *pairs = sys.argv[1:]
    sources = {label: Path(path) for label, path in (pair.split("=", 1) for pair in pairs)}
    run(library, Path(folder), sources, (line.rstrip("\n") for line in sys.stdin))


if __name__ == "__main__":
    main()
