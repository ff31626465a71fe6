"""The platform tag of a finished wheel."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from pathlib import Path

from tabagent_build.fetching import fetching

__all__ = ["retag"]


def retag(wheel: Path, platform_tag: str) -> Path:
    """Give the wheel another platform tag: in its name, in its `WHEEL` file and in the `RECORD` of hashes. Returns the new path."""
    stem, old_tag = wheel.name.removesuffix(".whl").rsplit("-", 1)
    if old_tag == platform_tag:
        return wheel
    target = wheel.with_name(f"{stem}-{platform_tag}.whl")
    with zipfile.ZipFile(wheel) as old, fetching.atomic_file(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        changed: dict[str, bytes] = {}
        for entry in old.infolist():
            if entry.filename.endswith(".dist-info/RECORD"):
                record = entry
                continue
            if entry.filename.endswith(".dist-info/WHEEL"):
                content = old.read(entry).replace(f"-{old_tag}".encode(), f"-{platform_tag}".encode())
                changed[entry.filename] = content
            else:
                content = old.read(entry)
            new.writestr(entry, content, zipfile.ZIP_DEFLATED)
        new.writestr(record, _updated_record(old.read(record).decode(), changed), zipfile.ZIP_DEFLATED)
    wheel.unlink()
    return target


def _updated_record(text: str, changed: dict[str, bytes]) -> str:
    """The `RECORD` file with the hashes and sizes of the changed files."""
    rows = []
    for row in csv.reader(io.StringIO(text)):
        if row and row[0] in changed:
            content = changed[row[0]]
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append([row[0], f"sha256={digest}", str(len(content))])
        else:
            rows.append(row)
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()
