"""Loads spoiled adapters and control vectors, one after another, and decodes with those that load. The parent sees how this process ends.

python -m support.adapter_child MODEL SEED COUNT FOLDER
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from support.gguf_image import Image, Tensor, Value
from support.tiny_control_vectors import tiny_control_vector
from support.tiny_lora import TOKENS, tiny_adapter, untied_llama
from tabagent import Context, Model, TabagentError

#: What damaged files may raise.
EXPECTED = (TabagentError, OSError)


def main() -> None:
    """Print how many loaded and how many were refused."""
    model_path, seed, count, folder = sys.argv[1:]
    source = random.Random(int(seed))  # noqa: S311 (reproducible cases)
    path = Path(folder) / "spoiled.gguf"
    loaded = refused = 0
    with Model.load(model_path, context_size=64, threads=1) as model, model.create_context(context_size=64, threads=1) as context:
        images = [tiny_adapter(untied_llama()), tiny_control_vector()]
        for index in range(int(count)):
            path.write_bytes(spoiled(images[index % 2], source))
            try:
                use(model, context, path, is_vector=bool(index % 2))
                loaded += 1
            except EXPECTED:
                refused += 1
    sys.stdout.write(f"{loaded} {refused}")


def use(model: Model, context: Context, path: Path, *, is_vector: bool) -> None:
    """Load what `path` holds, and decode with it."""
    context.clear()
    if is_vector:
        context.set_control_vector(model.load_control_vector(path))
        context.decode(TOKENS)
        context.set_control_vector(None)
        return
    with model.load_adapter(path) as adapter:
        context.set_adapters(adapter)
        context.decode(TOKENS)
        context.set_adapters(None)


def spoiled(image: Image, source: random.Random) -> bytes:
    """The file with a few things wrong: keys, shapes, types, names, offsets, bytes, its end."""
    image = image.copy()
    for _ in range(source.randint(1, 2)):
        how = source.randrange(7)
        if how == 0:
            index = source.randrange(len(image.metadata))
            key, value = image.metadata[index]
            raw = bytearray(value.raw)
            raw[source.randrange(len(raw))] = source.randrange(256)
            image.metadata[index] = (key, Value(source.choice([value.kind, source.randrange(14)]), bytes(raw)))
        elif how == 1:
            image.metadata.pop(source.randrange(len(image.metadata)))
        elif image.tensors:
            index = source.randrange(len(image.tensors))
            image.tensors[index] = other(image.tensors[index], how, source)
    data = bytearray(image.to_bytes())
    last = source.randrange(4)
    if last == 0:
        del data[source.randrange(len(data)) :]
    elif last == 1:
        data[source.randrange(min(len(data), 2000))] = source.randrange(256)
    elif last == 2:
        data[source.randrange(len(data))] ^= 1 << source.randrange(8)
    return bytes(data)


def other(tensor: Tensor, how: int, source: random.Random) -> Tensor:
    """A tensor like this one, but for one thing."""
    name, kind, shape, data, offset = tensor.name, tensor.kind, list(tensor.shape), tensor.data, tensor.offset
    if how == 2:
        place = source.randrange(len(shape))
        shape[place] = source.choice([0, 1, shape[place] - 1, shape[place] + 1, 2 * shape[place], 2**31, 2**63])
    elif how == 3:
        kind = source.randrange(45)
    elif how == 4:
        name = source.choice(
            [name[:-1], name.upper(), "output_norm.weight.lora_a", "token_embd.weight.lora_a", "x" * 60 + ".lora_b", "direction.9", ""]
        )
    elif how == 5:
        shape = source.choice([shape[::-1], [*shape, 1], [*shape, 2], shape[:1], [1, *shape]])
    else:
        data = source.choice([b"", data[:-4], b"\x00\x00\xc0\x7f" * (len(data) // 4), b"\xff" * len(data)])
        offset = source.choice([None, 1, 2**40, 2**63])
    return Tensor(name, kind, tuple(shape), data, offset)


if __name__ == "__main__":
    main()
