"""Convert the tiny checkpoints with llama.cpp's own converter and keep what it wrote.

    python tests/support/convert_golden.py LLAMA_CPP_TREE

It needs PyTorch, transformers, sentencepiece, safetensors and PyYAML, which the tests do not: they compare with the files that this writes
into `tests/golden/convert`. The tree must be the pinned one. Its pre-tokenizer detection is replaced by the answers below, since it knows
the vocabularies of published models only.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

TESTS: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from support.tiny_checkpoints import FAMILIES  # noqa: E402 (the path is set above)

PRE_TOKENIZERS: Final = {
    "llama3-1B-Instruct": "llama-bpe",
    "smollm-tiny": "smollm",
    "qwen2.5-0.5b": "qwen2",
    "qwen3-tiny": "qwen2",
    "bert-small": "jina-v2-en",
}
PROGRAM: Final = """
import sys
tree, folder, out, kind, pre = sys.argv[1:]
sys.path.insert(0, tree)
sys.argv = ["convert_hf_to_gguf.py", folder, "--outfile", out, "--outtype", kind, "--no-lazy"]
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
import convert_hf_to_gguf
convert_hf_to_gguf.main()
"""


def kept(value: Any) -> Any:
    """A value as the golden file holds it: a long list as its hash."""
    if isinstance(value, list) and len(value) > 8:
        return {"items": len(value), "sha256": hashlib.sha256(json.dumps(value).encode()).hexdigest()}
    return value


def main(tree: Path) -> None:
    """Write a file for each family."""
    sys.path.insert(0, str(tree / "gguf-py"))
    import gguf  # type: ignore[import-not-found, unused-ignore]

    golden = TESTS / "golden" / "convert"
    golden.mkdir(parents=True, exist_ok=True)
    for name, (make, kind) in FAMILIES.items():
        with tempfile.TemporaryDirectory() as work:
            folder, out = make().write(Path(work) / name), Path(work) / "out.gguf"
            arguments = [str(tree), str(folder), str(out), kind, PRE_TOKENIZERS.get(name, "default")]
            subprocess.run([sys.executable, "-c", PROGRAM, *arguments], check=True, capture_output=True)
            reader = gguf.GGUFReader(out)
            fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
            keys = {key: kept(field.contents()) for key, field in fields.items()}
            tensors = {
                tensor.name: [tensor.tensor_type.name, tensor.shape.tolist(), hashlib.sha256(tensor.data.tobytes()).hexdigest()]
                for tensor in reader.tensors
            }
            types = {key: [kind.name for kind in field.types] for key, field in fields.items()}
        content = {"keys": keys, "types": types, "tensors": tensors}
        (golden / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
