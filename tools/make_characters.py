"""Writes the tables of characters that the tokenizer needs, from llama.cpp's source tree.

    python tools/make_characters.py TREE rust/tokenizer/src/characters/characters.txt

llama.cpp splits and normalizes texts by its own tables (`src/unicode-data.cpp`), which are of one version of Unicode. The tokens are the same only
with the same version.
"""

import argparse
import re
from pathlib import Path

HEADERS = {
    "categories": "unicode_ranges_flags",
    "whitespace": "unicode_set_whitespace",
    "lowercase": "unicode_map_lowercase",
    "decompositions": "unicode_ranges_nfd",
}


def rows(source: str, name: str) -> list[list[int]]:
    """The numbers in each row of the list `name`."""
    found = re.search(rf"\b{name}\s*=\s*\{{(.*?)\n\}};", source, re.DOTALL)
    if found is None:
        message = f"`src/unicode-data.cpp` has no list `{name}`"
        raise SystemExit(message)
    lines = [line.split("//")[0] for line in found[1].splitlines()]
    numbers = [[int(number, 16) for number in re.findall(r"0x[0-9A-Fa-f]+", line)] for line in lines]
    return [row for row in numbers if row]


def main() -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tree", type=Path, help="a source tree of llama.cpp")
    parser.add_argument("target", type=Path, help="the file to write")
    options = parser.parse_args()
    source = (options.tree / "src" / "unicode-data.cpp").read_text(encoding="utf-8")
    lines = ["# Written by tools/make_characters.py; hexadecimal numbers, as in llama.cpp's `src/unicode-data.cpp`."]
    for title, name in HEADERS.items():
        lines.append(f"[{title}]")
        table = rows(source, name)
        if title == "whitespace":
            table = sorted([number] for row in table for number in row)
        lines += [" ".join(f"{number:X}" for number in row) for row in table]
    options.target.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
