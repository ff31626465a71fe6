"""The tokenizer as llama-cpp-python has it: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tabagent.compat.llama_cpp.base import LlamaBase
    from tabagent.vocabulary import Vocabulary

__all__ = ["LlamaTokenizer", "detokenize", "tokenize"]


class LlamaTokenizer:
    """The tokenizer of a `Llama`."""

    def __init__(self, llama: LlamaBase) -> None:
        self._llama = llama

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
        """As `Llama.tokenize`."""
        return self._llama.tokenize(text, add_bos, special)

    def detokenize(self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False) -> bytes:
        """As `Llama.detokenize`."""
        return self._llama.detokenize(tokens, prev_tokens, special)

    def encode(self, text: str, add_bos: bool = True, special: bool = True) -> list[int]:
        """The tokens of a str."""
        return self._llama.tokenize(text.encode(), add_bos, special)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens, as far as it is some."""
        return self._llama.detokenize(tokens).decode("utf-8", errors="ignore")


def tokenize(vocabulary: Vocabulary, text: bytes, *, add_bos: bool, special: bool) -> list[int]:
    """The tokens of a text in UTF-8.

    Raises:
        TypeError: it is no bytes.
        ValueError: it is no UTF-8.
    """
    if not isinstance(text, (bytes, bytearray)):
        message = f"`text` must be bytes, as in `llama.tokenize(text.encode())`, got {type(text).__name__}"
        raise TypeError(message)
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"`text` must be UTF-8; byte {error.start} is none"
        raise ValueError(message) from None
    return vocabulary.tokenize(decoded, add_special=add_bos, parse_special=special)


def detokenize(vocabulary: Vocabulary, tokens: Sequence[int], previous: Sequence[int] | None, *, special: bool) -> bytes:
    """The bytes of tokens. A space in front goes where the first of all tokens begins a text, since the tokenizer put it there."""
    before = list(previous or ())
    text = b"".join(vocabulary.token_to_bytes(int(token), special=special) for token in tokens)
    first = (before or list(tokens))[:1]
    began = not before or not any(vocabulary.token_to_bytes(int(token), special=special) for token in before)
    return text[1:] if first and first[0] == vocabulary.token_bos() and began and text.startswith(b" ") else text
