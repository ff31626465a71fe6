"""Starts one long call, interrupts it when it is known to be at work, and says how late that was heard: `interrupt_child.py CASE MODEL FOLDER`."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import numpy as np

from tabagent import Context, Model, SamplerConfig, Tokenizer, gguf
from waiting import until

Call = Callable[[], object]
"""The long call, and a small one that must work after it."""
Pair = tuple[Call, Call]

WORDS: Final = "The quick brown fox jumps over 12 lazy dogs. "
GREEDY: Final = SamplerConfig.greedy()
AT_WORK_TICKS: Final = 3
"""Hundredths of a second of processor time after which a call counts as being at work."""


def main(case: str, model: Path, folder: Path) -> None:
    call, again = CASES[case](model, folder)
    called = threading.Event()
    struck: list[float] = []

    def strike() -> None:
        called.wait()
        before = ticks()
        until(lambda: ticks() - before >= AT_WORK_TICKS)
        struck.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=strike, daemon=True).start()
    is_interrupted = False
    try:
        called.set()
        call()
    except KeyboardInterrupt:
        is_interrupted = True
    late = time.perf_counter() - struck[0] if struck else 0.0
    if is_interrupted:
        again()
    sys.stdout.write(json.dumps({"interrupted": is_interrupted, "late_s": late}) + "\n")
    # If the call was too short, the signal may still come; it must not end this program.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def ticks() -> int:
    """Processor time of the package's own threads."""
    total = 0
    for task in Path("/proc/self/task").iterdir():
        try:
            if (task / "comm").read_text().startswith("tabagent"):
                fields = (task / "stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        except OSError:  # it has just ended
            continue
    return total


# The cases. Each call would take several seconds on a quiet machine, or as long as another thread keeps what it needs.


def loaded(path: Path, **options: object) -> Model:
    return Model.load(path, **{"context_size": 512, "threads": 1, **options})  # type: ignore[arg-type]


def expect(found: object, wanted: object) -> None:
    assert found == wanted, f"{found!r} is not {wanted!r}"


def load(path: Path, _folder: Path) -> Pair:
    loaded(path, vocab_only=True).close()
    return lambda: loaded(path, context_size=65_536), lambda: loaded(path).close()


def with_vocabulary(make: Callable[[Model, list[int]], Call]) -> Callable[[Path, Path], Pair]:
    def pair(path: Path, _folder: Path) -> Pair:
        model = loaded(path, vocab_only=True)
        few = model.tokenize("Hello world")
        return make(model, few), lambda: expect((model.tokenize("Hello world"), model.detokenize(few)), (few, "Hello world"))

    return pair


def with_tokenizer(make: Callable[[Tokenizer], Call]) -> Callable[[Path, Path], Pair]:
    def pair(path: Path, _folder: Path) -> Pair:
        tokenizer = Tokenizer.from_file(path)
        few = tokenizer.tokenize("Hello world")
        return make(tokenizer), lambda: expect(tokenizer.tokenize("Hello world"), few)

    return pair


def with_model(make: Callable[[Model], Call]) -> Callable[[Path, Path], Pair]:
    def pair(path: Path, _folder: Path) -> Pair:
        model = loaded(path, context_size=4096)
        wanted = model.generate("Once upon", max_tokens=3, sampling=GREEDY).result().text
        return make(model), lambda: expect(model.generate("Once upon", max_tokens=3, sampling=GREEDY).result().text, wanted)

    return pair


def big_context(act: Callable[[Context], object]) -> Callable[[Path, Path], Pair]:
    """A context whose memory alone takes long to touch."""

    def pair(path: Path, _folder: Path) -> Pair:
        model = loaded(path)
        context = model.create_context(context_size=65_536, threads=1)
        return until_interrupted(lambda: act(context)), predicts(model, lambda: context)

    return pair


def busy_context(act: Callable[[Context], object]) -> Callable[[Path, Path], Pair]:
    """A context that another thread decodes with."""

    def pair(path: Path, _folder: Path) -> Pair:
        model = loaded(path)
        context = model.create_context(context_size=2048, threads=1, max_sequences=2)
        right = predicts(model, lambda: context)

        def decode() -> None:
            try:
                context.decode([5] * 2000)
            except Exception as error:  # noqa: BLE001 (what it is, the main thread checks)
                ended.append(error)

        ended: list[Exception] = []
        other = threading.Thread(target=decode)

        def call() -> None:
            other.start()
            before = ticks()
            until(lambda: ticks() != before)
            act(context)

        def again() -> None:
            context.cancel()
            other.join()
            assert "DecodeError" in repr(ended), ended
            right()

        return call, again

    return pair


def predict(model: Model, context: Context | None = None) -> int:
    """The token that follows some others, whatever the context held before."""
    context = context or model.create_context(context_size=64, threads=1)
    context.clear()
    context.decode([504, 3575, 282])
    return int(context.logits().argmax())


def predicts(model: Model, make: Callable[[], Context]) -> Call:
    wanted = predict(model)
    return lambda: expect(predict(model, make()), wanted)


def decode(path: Path, _folder: Path) -> Pair:
    model = loaded(path)
    context = model.create_context(context_size=2048, threads=1)
    return lambda: context.decode([5] * 2000), predicts(model, lambda: context)


def create_context(path: Path, _folder: Path) -> Pair:
    model = loaded(path)

    def make(size: int) -> Context:
        return model.create_context(context_size=size, threads=1)

    return lambda: make(65_536), predicts(model, lambda: make(64))


def clone(path: Path, _folder: Path) -> Pair:
    model = loaded(path)
    context = model.create_context(context_size=65_536, threads=1)
    return context.clone, predicts(model, lambda: context)


SPARSE_WEIGHTS: Final = 1 << 28
"""Weights of a tensor of zeros, 1 GiB that is on no disk."""


def sparse(folder: Path, name: str = "sparse.gguf") -> Path:
    path = folder / name
    writer = gguf.GgufWriter()
    writer.set("general.architecture", "llama")
    writer.add_tensor("a.weight", np.zeros((1, 256), dtype=np.float32))
    writer.write(path)
    image = bytearray(path.read_bytes())
    start = gguf.open(path).tensors["a.weight"].offset
    # The first dimension of the only tensor stands before its type and its offset.
    place = image.index(b"a.weight") + len("a.weight") + 4
    rows = place + 8
    image[rows : rows + 8] = (SPARSE_WEIGHTS // 256).to_bytes(8, "little")
    path.write_bytes(bytes(image[:start]))
    os.truncate(path, start + SPARSE_WEIGHTS * 4)
    assert gguf.open(path).tensors["a.weight"].shape == (SPARSE_WEIGHTS // 256, 256)
    return path


def with_file(make: Callable[[Path, Path], Call]) -> Callable[[Path, Path], Pair]:
    def pair(path: Path, folder: Path) -> Pair:
        return make(sparse(folder), folder), lambda: expect(gguf.open(path).architecture, "llama")

    return pair


def with_real_file(make: Callable[[Path, Path], Call]) -> Callable[[Path, Path], Pair]:
    return lambda path, folder: (make(path, folder), lambda: expect(gguf.open(path).architecture, "llama"))


def numbers() -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.random.default_rng(1).random(1 << 26, dtype=np.float32)


def quantize(_path: Path, _folder: Path) -> Pair:
    values = numbers()
    few = values[:256]
    return lambda: gguf.quantize(values, "Q4_K"), lambda: expect(gguf.quantize(few, "Q4_K").nbytes, 144)


def dequantize(_path: Path, _folder: Path) -> Pair:
    data = np.zeros((1 << 29) // 256 * 210, dtype=np.uint8)
    return lambda: gguf.dequantize(data, "Q6_K"), lambda: expect(gguf.dequantize(data[:210], "Q6_K").size, 256)


def write(folder: Path, act: Callable[[gguf.GgufWriter], object]) -> Call:
    writer = gguf.GgufWriter.of(gguf.open(folder / "sparse.gguf"))
    return lambda: act(writer)


def until_interrupted(act: Call) -> Call:
    """Calls it again and again: one alone may be done too soon."""

    def call() -> None:
        for _ in range(100):
            act()

    return call


def read_all(streams: Iterable[object]) -> None:
    for _ in streams:
        pass


CASES: Final[dict[str, Callable[[Path, Path], Pair]]] = {
    "Model.load": load,
    "Model.tokenize": with_vocabulary(lambda model, _: lambda: model.tokenize(WORDS * 200_000)),
    "Model.tokenize_batch": with_vocabulary(lambda model, _: lambda: model.tokenize_batch([WORDS * 1000] * 300)),
    "Tokenizer.tokenize": with_tokenizer(lambda tokenizer: lambda: tokenizer.tokenize(WORDS * 2_000_000)),
    "Tokenizer.tokenize_batch": with_tokenizer(lambda tokenizer: lambda: tokenizer.tokenize_batch([WORDS * 1000] * 2000)),
    "Model.detokenize": with_vocabulary(lambda model, few: lambda: model.detokenize(few * 8_000_000)),
    "Model.detokenize_batch": with_vocabulary(lambda model, few: lambda: model.detokenize_batch([few * 10_000] * 1000)),
    "Model.generate": with_model(lambda model: lambda: model.generate(WORDS * 200_000)),
    "Model.score": with_model(lambda model: lambda: model.score(WORDS * 300, [" and", " or"])),
    "Model.perplexity": with_model(lambda model: lambda: model.perplexity(WORDS * 400)),
    "Model.embed": with_model(lambda model: lambda: model.embed([WORDS * 20] * 60)),
    "Model.embed_tokens": with_model(lambda model: lambda: model.embed_tokens(WORDS * 330)),
    "Model.compile_grammar": with_model(
        lambda model: lambda: model.compile_grammar(json_schema={"enum": [f"{i * 7919} is item {i}" for i in range(90_000)]})
    ),
    "Model.create_context": create_context,
    "Context.decode": decode,
    "Context.clear": big_context(lambda context: context.clear()),
    "Context.clone": clone,
    "Context.save_state": busy_context(lambda context: context.save_state()),
    "Context.load_state": busy_context(lambda context: context.load_state(b"")),
    "Context.remove": busy_context(lambda context: context.remove()),
    "Context.copy_sequence": busy_context(lambda context: context.copy_sequence(0, 1)),
    "Context.next_position": busy_context(lambda context: context.next_position()),
    "Context.logits": busy_context(lambda context: context.logits()),
    "TokenStream.__next__": with_model(lambda model: lambda: read_all(model.generate("Once", ignore_eos=True, sampling=GREEDY))),
    "TokenStream.result": with_model(lambda model: lambda: model.generate(WORDS * 300, sampling=GREEDY).result()),
    "CompletionBatch.__next__": with_model(lambda model: lambda: read_all(model.generate_batch([WORDS * 20] * 40, ignore_eos=True, sampling=GREEDY))),
    "gguf.open": with_real_file(lambda path, _: until_interrupted(lambda: gguf.open(path, check="full"))),
    "gguf.quantize": quantize,
    "gguf.dequantize": dequantize,
    "gguf.diff": with_file(lambda path, folder: until_interrupted(lambda: gguf.diff(path, sparse(folder, "other.gguf")))),
    "gguf.quantize_model": with_real_file(lambda path, folder: lambda: gguf.quantize_model(path, folder / "q.gguf", "Q4_K_M", allow_requantize=True)),
    "gguf.convert_byte_order": with_file(lambda path, folder: lambda: gguf.convert_byte_order(path, folder / "big.gguf", "big")),
    "GgufFile.hashes": with_file(lambda path, _: lambda: gguf.open(path).hashes()),
    "GgufFile.validate": with_real_file(lambda path, _: until_interrupted(lambda: gguf.open(path).validate())),
    "GgufTensor.dequantize": with_file(lambda path, _: until_interrupted(gguf.open(path).tensors["a.weight"].dequantize)),
    "GgufWriter.write": with_file(lambda _, folder: until_interrupted(write(folder, lambda writer: writer.write(folder / "copy.gguf")))),
    "GgufWriter.to_bytes": with_file(lambda _, folder: until_interrupted(write(folder, lambda writer: writer.to_bytes()))),
}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
