"""GGUF files as bytes: metadata and tensors as plain lists that a test may spoil before they are written.

Independent of the Rust reader and writer on purpose. The format: `docs/gguf.md` of ggml.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES: Final = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}
ALIGNMENT: Final = 32

Item = int | float | bytes


@dataclass(frozen=True)
class Value:
    """A metadata value: its type, and its bytes as the file holds them after the type."""

    kind: int
    raw: bytes


def number(kind: int, value: float) -> Value:
    """A number; integers are taken modulo the type's size, floats that do not fit become infinite."""
    if kind in {F32, F64}:
        try:
            return Value(kind, struct.pack("<" + CODES[kind], value))
        except OverflowError:
            return Value(kind, struct.pack("<" + CODES[kind], float("inf")))
    size = struct.calcsize(CODES[kind])
    return Value(kind, (int(value) % (1 << (8 * size))).to_bytes(size, "little"))


def text(value: str | bytes) -> Value:
    raw = value.encode() if isinstance(value, str) else value
    return Value(STRING, struct.pack("<Q", len(raw)) + raw)


def array(kind: int, items: list[Item]) -> Value:
    """An array of numbers or strings."""
    head = struct.pack("<IQ", kind, len(items))
    if kind == STRING:
        return Value(ARRAY, head + b"".join(struct.pack("<Q", len(item)) + item for item in items if isinstance(item, bytes)))
    return Value(ARRAY, head + struct.pack(f"<{len(items)}{CODES[kind]}", *items))


@dataclass(frozen=True)
class Tensor:
    name: str
    kind: int
    shape: tuple[int, ...]
    data: bytes
    #: Written instead of the true offset when given.
    offset: int | None = None


@dataclass
class Image:
    """A file in the making."""

    metadata: list[tuple[str, Value]] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    version: int = 3

    def copy(self) -> Image:
        return Image(list(self.metadata), list(self.tensors), self.version)

    def set(self, key: str, value: Value) -> Image:
        """Put `value` in the place of the key's own, or at the end."""
        keys = [known for known, _ in self.metadata]
        if key in keys:
            self.metadata[keys.index(key)] = (key, value)
        else:
            self.metadata.append((key, value))
        return self

    def remove(self, key: str) -> Image:
        self.metadata = [(known, value) for known, value in self.metadata if known != key]
        return self

    def replace_tensor(self, old: Tensor, new: Tensor) -> Image:
        self.tensors = [new if tensor is old else tensor for tensor in self.tensors]
        return self

    def header(self) -> bytes:
        """Everything before the tensors' data, padded."""
        out = [b"GGUF", struct.pack("<IQQ", self.version, len(self.tensors), len(self.metadata))]
        for key, value in self.metadata:
            raw = key.encode()
            out.append(struct.pack("<Q", len(raw)) + raw + struct.pack("<I", value.kind) + value.raw)
        offset = 0
        for tensor in self.tensors:
            raw = tensor.name.encode()
            place = offset if tensor.offset is None else tensor.offset
            out.append(struct.pack("<Q", len(raw)) + raw + struct.pack("<I", len(tensor.shape)))
            out.append(struct.pack(f"<{len(tensor.shape)}QIQ", *tensor.shape, tensor.kind, place % (1 << 64)))
            offset += padded(len(tensor.data))
        head = b"".join(out)
        return head + bytes(padded(len(head)) - len(head))

    def to_bytes(self) -> bytes:
        parts = [self.header()]
        for tensor in self.tensors:
            parts.extend((tensor.data, bytes(padded(len(tensor.data)) - len(tensor.data))))
        return b"".join(parts)


def padded(length: int) -> int:
    return (length + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


class _Cursor:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]

    def unpack(self, code: str) -> int:
        value: int = struct.unpack_from("<" + code, self.data, self.at)[0]
        self.at += struct.calcsize(code)
        return value

    def skip_value(self, kind: int) -> None:
        if kind == STRING:
            self.take(self.unpack("Q"))
        elif kind == ARRAY:
            item, count = self.unpack("I"), self.unpack("Q")
            if item == STRING:
                for _ in range(count):
                    self.take(self.unpack("Q"))
            else:
                self.at += count * struct.calcsize(CODES[item])
        else:
            self.at += struct.calcsize(CODES[kind])


@dataclass(frozen=True)
class Header:
    """The parts of an existing file's header: its metadata, and its tensor records as they are."""

    metadata: list[tuple[str, Value]]
    tensor_count: int
    tensor_records: bytes

    def to_bytes(self, changed: list[tuple[str, Value]]) -> bytes:
        """The header with other metadata, padded."""
        out = [b"GGUF", struct.pack("<IQQ", 3, self.tensor_count, len(changed))]
        for key, value in changed:
            raw = key.encode()
            out.append(struct.pack("<Q", len(raw)) + raw + struct.pack("<I", value.kind) + value.raw)
        out.append(self.tensor_records)
        head = b"".join(out)
        return head + bytes(padded(len(head)) - len(head))


def read_header(data: bytes) -> Header:
    """Read the header of an intact little-endian file of version 2 or 3; `data` may end after it."""
    cursor = _Cursor(data)
    assert cursor.take(4) == b"GGUF"
    assert cursor.unpack("I") in {2, 3}
    tensors, entries = cursor.unpack("Q"), cursor.unpack("Q")
    metadata = []
    for _ in range(entries):
        key = cursor.take(cursor.unpack("Q")).decode()
        kind = cursor.unpack("I")
        start = cursor.at
        cursor.skip_value(kind)
        metadata.append((key, Value(kind, data[start : cursor.at])))
    start = cursor.at
    for _ in range(tensors):
        cursor.take(cursor.unpack("Q"))
        cursor.take(8 * cursor.unpack("I") + 4 + 8)
    return Header(metadata, tensors, data[start : cursor.at])
