"""Convert the tiny adapters with llama.cpp's own converter and keep what it wrote.

    python tests/support/lora_golden.py LLAMA_CPP_TREE

It needs what `convert_golden.py` needs; the tests compare with the files that this writes into `tests/golden/lora`.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TESTS))

from support.tiny_adapters import ADAPTERS, write_peft  # noqa: E402 (the path is set above)


def main(tree: Path) -> None:
    """Write a file for each family."""
    sys.path.insert(0, str(tree / "gguf-py"))
    import gguf  # type: ignore[import-not-found, unused-ignore]

    golden = TESTS / "golden" / "lora"
    golden.mkdir(parents=True, exist_ok=True)
    for name, (make, embeddings, kind) in ADAPTERS.items():
        with tempfile.TemporaryDirectory() as work:
            checkpoint = make()
            base, out = checkpoint.write(Path(work) / name), Path(work) / "out.gguf"
            adapter = write_peft(Path(work) / "adapter", checkpoint, embeddings=embeddings)
            program = str(tree / "convert_lora_to_gguf.py")
            arguments = ["--base", str(base), "--outfile", str(out), "--outtype", kind, "--no-lazy", str(adapter)]
            subprocess.run([sys.executable, program, *arguments], check=True, capture_output=True)
            reader = gguf.GGUFReader(out)
            keys = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
            tensors = {
                tensor.name: [tensor.tensor_type.name, tensor.shape.tolist(), hashlib.sha256(tensor.data.tobytes()).hexdigest()]
                for tensor in reader.tensors
            }
        content = {"keys": keys, "tensors": tensors}
        (golden / f"{name}.json").write_text(json.dumps(content, indent=1, ensure_ascii=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
