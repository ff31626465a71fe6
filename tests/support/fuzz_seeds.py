"""Writes seeds for the fuzz targets of `rust/fuzz`: `PYTHONPATH=tests .venv/bin/python tests/support/fuzz_seeds.py`.

The same bytes each time. Inputs that were found later lie beside them under names of their own and stay.
"""

from __future__ import annotations

import json
import re
import shutil
import struct
import tempfile
from pathlib import Path
from typing import Any, Final

from support import tiny_checkpoints
from support.tiny_adapters import write_peft
from support.tiny_control_vectors import tiny_control_vector
from support.tiny_embedders import tiny_embedder
from support.tiny_lora import tiny_adapter, untied_llama
from support.tiny_models import VOCABULARIES, tiny_llama, vocabulary_file

ROOT: Final = Path(__file__).resolve().parents[2]
SEEDS: Final = ROOT / "rust/fuzz/seeds"
MARK: Final = b"\n@@@ "
LARGEST: Final = 260_000
"""Bytes of a seed: what is larger is damaged less often where it matters."""


def put(target: str, name: str, content: bytes) -> None:
    """Write a seed."""
    if len(content) > LARGEST:
        message = f"{target}/{name} has {len(content)} bytes"
        raise ValueError(message)
    folder = SEEDS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def folder_of(path: Path) -> bytes:
    """The files of a folder in one input."""
    return b"".join(MARK + file.name.encode() + b"\n" + file.read_bytes() for file in sorted(path.iterdir()) if file.is_file())


def models() -> None:
    """GGUF files of several kinds."""
    model = untied_llama()
    put("gguf", "tiny-llama", model.to_bytes())
    for kind in ("spm", "bpe"):
        image = tiny_llama(kind).to_bytes()
        put("gguf", f"tiny-{kind}", image)
        put("gguf_beginning", f"tiny-{kind}", struct.pack("<Q", len(image)) + image[:20_000])
    put("gguf", "bert", tiny_embedder("bert", labels=1).to_bytes())
    put("control_vector", "tiny", tiny_control_vector().to_bytes())
    put("lora", "all", tiny_adapter(model).to_bytes())
    put("lora", "no-adapter", tiny_control_vector().to_bytes())


def tokenizers() -> None:
    """Vocabularies of each kind, and a `tokenizer.json`."""
    for kind in (*VOCABULARIES, "plamo2"):
        put("tokenizer", kind, vocabulary_file(kind).to_bytes())
    with tempfile.TemporaryDirectory() as name:
        for maker in (tiny_checkpoints.smollm, tiny_checkpoints.bert, tiny_checkpoints.mistral):
            file = maker().write(Path(name) / maker.__name__) / "tokenizer.json"
            if file.is_file():
                put("tokenizer_json", maker.__name__, file.read_bytes())


def checkpoints() -> None:
    """Folders of models and adapters."""
    with tempfile.TemporaryDirectory() as name:
        for maker in (tiny_checkpoints.smollm, tiny_checkpoints.qwen2, tiny_checkpoints.bert, tiny_checkpoints.mistral):
            checkpoint = maker()
            folder = checkpoint.write(Path(name) / maker.__name__)
            (folder / "README.md").write_text(
                "---\nlicense: mit\ntags: [a, 'b']\nbase_model:\n  - x/y\nlanguage: en\n---\n# Title\n", encoding="utf-8"
            )
            seed = folder_of(folder)
            if len(seed) <= LARGEST:
                put("checkpoint", maker.__name__, seed)
            adapter = write_peft(Path(name) / f"{maker.__name__}-adapter", checkpoint)
            shutil.copy(folder / "config.json", adapter / "config.json")
            put("adapter_folder", maker.__name__, folder_of(adapter))


def importances() -> None:
    """An importance matrix in the old form: counts, then for each tensor its name, how often, and the sums."""
    names = [b"blk.0.ffn_down.weight", b"output.weight"]
    parts = [struct.pack("<i", len(names))]
    for name in names:
        sums = [0.5 * index for index in range(32)]
        parts.append(struct.pack("<i", len(name)) + name + struct.pack("<ii", 4, len(sums)) + struct.pack(f"<{len(sums)}f", *sums))
    dataset = b"text.txt"
    put("imatrix", "legacy", b"".join(parts) + struct.pack("<ii", 4, len(dataset)) + dataset)


def chats() -> None:
    """Templates, what models write, and what clients send."""
    source = (ROOT / "rust/chat/tests/output_parser.rs").read_text(encoding="utf-8")
    named = re.findall(r'const ([A-Z]+): &str = "(.*?[^\\])";', source, re.DOTALL)
    outputs = {
        "HERMES": '<think>\nhm\n</think>\n\nso:\n<tool_call>\n{"name": "f", "arguments": {"a": 1, "s": "x\\"y"}}\n</tool_call>',
        "BARE": '{"name": "f", "parameters": {"a": 1, "s": "é"}}',
        "TAGGED": "so\n<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n<parameter=s>\nx\ny\n</parameter>\n</function>\n</tool_call>",
    }
    for name, quoted in named:
        if name in outputs:
            text = quoted.replace('\\"', '"').replace("\\\\", "\\")
            put("template", name.lower(), text.encode())
            put("chat_output", name.lower(), text.encode() + MARK + outputs[name].encode())
    put(
        "template",
        "many-things",
        b"{%- macro f(a, b=1) -%}{{ a ~ b }}{%- endmacro -%}{% set ns = namespace(n=0) %}{% for m in messages if m.role != 'x' %}"
        b"{% set ns.n = ns.n + 1 %}"
        b"{{ f(m.content | trim | upper, loop.index0) }}{% if loop.last and not loop.first %}{{ m | tojson(indent=2) }}{% endif %}"
        b"{% else %}none{% endfor %}"
        b"{{ messages[-1].content[1:-1:2] }}{{ 'a,b'.split(',') | join('-') }}{{ 7 // 2 ** 2 % 3 }}{{ raise_exception('no') if ns.n > 99 }}",
    )
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    request: dict[str, Any] = {
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s"}]},
            {"role": "user", "content": "u", "name": "n"},
            {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_content": "r"},
            {"role": "tool", "content": "2", "tool_call_id": "1"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
            }
        ],
    }
    put("chat_request", "all-roles", json.dumps(request).encode())


def options() -> None:
    """Options of loads and requests."""
    load = {"context_size": 512, "kv_type": ["q8_0", "f16"], "flash_attention": "on", "metadata_overrides": {"a": 1, "b": 1.5, "c": True, "d": "x"}}
    generate = {"max_tokens": 5, "stop": ["a"], "ban": ["b"], "logprobs": 3, "timeout": 1.5, "sampling": {"temperature": 0.5, "order": ["top_k"]}}
    grammar = {"kind": "json_schema", "source": '{"type": "object"}', "starts": ["<", 7], "required": True}
    for name, value in {"load": load, "generate": generate, "grammar": grammar, "sampling": generate["sampling"]}.items():
        put("options", name, json.dumps(value).encode())


def messages() -> None:
    """What the processes of a model say: a length, the number of the message, its fields (postcard's numbers of 7 bits a byte)."""
    calls = {
        "tokenize": b"\x01\x05Hello\x01\x00",
        "embed": b"\x05\x00\x02\x02\x02\x04\x01\x06",
        "enter": b"\x06\x01\x07\x01\x04/tmp" + struct.pack("<f", 0.5) + b"\x01\x02" + struct.pack("<ff", 1, 2) + b"\x01\x02\x01\x09",
        "decode": b"\x07\x02\x00\x00\x02\x00\x00\x01\x04\x01\x01\x09",
        "import": b"\x0f\x04abcd\x03",
        "failed": b"\x02\x06decode\x04text\x00\x00",
        "vector": b"\x09\x01\x01\x02" + struct.pack("<ff", 1, 2),
    }
    frames = {name: struct.pack("<I", len(body)) + body for name, body in calls.items()}
    for name, frame in frames.items():
        put("protocol", name, frame)
    put("protocol", "several", b"".join(frames.values()))


def libraries() -> None:
    """Small shared libraries: the beginning of what there is of an ELF file, and headers of the other two kinds."""
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 64, 120, 0, 64, 56, 1, 64, 2, 1)
    elf += struct.pack("<IIQQQQQQ", 2, 4, 248, 0, 0, 64, 64, 8)
    elf += bytes(64) + struct.pack("<IIQQQQIIQQ", 1, 3, 0, 0, 312, 24, 0, 0, 1, 0)
    elf += struct.pack("<QQQQQQQQ", 1, 1, 5, 312, 14, 1, 0, 0) + b"\0libggml.so\0libllama.so\0"
    put("binary", "elf", elf)
    put(
        "binary",
        "mach-o",
        struct.pack("<IIIIIIII", 0xFEEDFACF, 0x0100000C, 0, 6, 1, 56, 0, 0)
        + struct.pack("<IIIIII", 13, 56, 24, 2, 1, 1)
        + b"@rpath/libllama.dylib".ljust(32, b"\0"),
    )
    coff = struct.pack("<HHIIIHH", 0x8664, 0, 0, 0, 0, 240, 0x2022)
    put("binary", "pe", b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0" + coff + struct.pack("<H", 0x20B).ljust(240, b"\0"))


if __name__ == "__main__":
    models()
    tokenizers()
    checkpoints()
    importances()
    chats()
    options()
    messages()
    libraries()
