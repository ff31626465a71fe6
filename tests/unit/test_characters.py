"""The tokenizer's table of characters is the pinned llama.cpp's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import needs

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_is_that_of_the_pinned_tree(tmp_path: Path) -> None:
    made = tmp_path / "characters.txt"
    subprocess.run([sys.executable, ROOT / "tools/make_characters.py", needs.tree(), made], check=True, timeout=60)
    known = ROOT / "rust/tokenizer/src/characters/characters.txt"
    assert made.read_text(encoding="utf-8") == known.read_text(encoding="utf-8"), "run tools/make_characters.py"
