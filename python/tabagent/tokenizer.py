"""Tokenizers of model files, without a model: nothing is loaded but the vocabulary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from os import PathLike

from tabagent._arguments import Tokens, as_bool, as_int, as_path, as_text, as_texts, as_tokens, is_iterable, type_name
from tabagent._native import Tokenizer as Native

__all__ = ["Tokenizer"]


class Tokenizer:
    """A model's tokenizer: text to tokens and back, with the tokens that llama.cpp gives.

    tokenizer = Tokenizer.from_file("model.gguf")
    tokenizer.detokenize(tokenizer.tokenize("Once upon a time"), remove_special=True)  # 'Once upon a time'

    It reads the metadata of a GGUF file or a `tokenizer.json`; no library of llama.cpp is opened. Methods have the names and arguments of `Model`'s,
    may be called from many threads at once, let other threads run, and end soon after Ctrl-C. Every text takes time in proportion to its length.
    """

    __slots__ = ("_native", "_size")

    _native: Native
    _size: int

    def __init__(self) -> None:
        """Refuse: `from_file` makes tokenizers."""
        message = "use `Tokenizer.from_file(path)`"
        raise TypeError(message)

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> Tokenizer:
        """Read the tokenizer of a GGUF file, or of a `tokenizer.json` with the files beside it.

        A `tokenizer.json` may hold BPE, Unigram or WordPiece; its pre-tokenizer must be one of those that `tabagent convert` knows.

        Raises:
            OSError: the file cannot be read.
            GgufError: the file is damaged, or what it says of its tokenizer cannot be used; says which key and why.
            UnsupportedModelError: the model has no tokenizer.
        """
        made = super().__new__(cls)
        made._native = Native.from_file(as_path(path, "path"))
        made._size = made._native.vocab_size()
        return made

    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The text's tokens.

        `add_special` adds the tokens that the model wants at the ends, such as the beginning-of-text token, whatever the text begins with.
        `parse_special` reads markers like `<|im_end|>` as the tokens they name; leave it off for text from outside, which could otherwise forge
        them.

        Raises:
            TypeError: `text` is no str.
            ValueError: the text holds a lone surrogate, or has more than 715 million bytes.
        """
        checked = as_text(text, "text")
        return self._native.tokenize(checked, as_bool(add_special, "add_special"), as_bool(parse_special, "parse_special"))

    encode = tokenize

    def tokenize_batch(self, texts: Sequence[str], *, add_special: bool = True, parse_special: bool = False) -> list[list[int]]:
        """The tokens of each text, worked out in parallel; otherwise as `tokenize`."""
        if isinstance(texts, AbstractSet):
            message = f"`texts` must be a sequence of str, whose order the results have, got {type_name(texts)}"
            raise TypeError(message)
        checked = as_texts(texts, "texts")
        return self._native.tokenize_batch(checked, as_bool(add_special, "add_special"), as_bool(parse_special, "parse_special"))

    def offsets(self, text: str, *, add_special: bool = True, parse_special: bool = False) -> list[tuple[int, int]]:
        """For each token of `tokenize` with the same arguments, which part of the text it stands for: `text[start:end]`.

        A token that is a part of a character has the whole character. Tokens that are added have an empty part. What a tokenizer drops, such as
        white space before words of WordPiece, is in no part.
        """
        checked = as_text(text, "text")
        return self._native.offsets(checked, as_bool(add_special, "add_special"), as_bool(parse_special, "parse_special"))

    def detokenize(self, tokens: Tokens, *, remove_special: bool = False, unparse_special: bool = True) -> str:
        """The tokens' text, as `Model.detokenize` gives it: the bytes of all tokens, without the space that some tokenizers put in front of texts.

        Args:
            tokens: token ids (a list, or a numpy integer array).
            remove_special: leave out the special tokens at the ends that `add_special` adds.
            unparse_special: write special tokens as their markers; without it they have no text.

        Raises:
            TypeError: `tokens` is no sequence of ints.
            ValueError: a token is not in the vocabulary.
        """
        checked = as_tokens(tokens, "tokens")
        return self._native.detokenize(checked, as_bool(remove_special, "remove_special"), as_bool(unparse_special, "unparse_special"))

    def detokenize_batch(self, lists: Sequence[Tokens], *, remove_special: bool = False, unparse_special: bool = True) -> list[str]:
        """The text of each list of tokens, worked out in parallel; otherwise as `detokenize`."""
        if not is_iterable(lists) or isinstance(lists, (str, bytes, bytearray, memoryview, AbstractSet, Mapping)):
            message = f"`lists` must be a sequence of token sequences, got {type_name(lists)}"
            raise TypeError(message)
        checked = [as_tokens(tokens, f"lists[{index}]") for index, tokens in enumerate(lists)]
        return self._native.detokenize_batch(checked, as_bool(remove_special, "remove_special"), as_bool(unparse_special, "unparse_special"))

    def token_to_bytes(self, token: int, *, special: bool = True) -> bytes:
        """The bytes of the token's text, which may be a part of a character. With `special` off, special tokens have none."""
        return self._native.token_to_bytes(self._token(token), as_bool(special, "special"))

    def token_text(self, token: int) -> str:
        """The token as it stands in the vocabulary, in the tokenizer's own spelling (`Ġthe`, `▁the`, `<0x0A>`)."""
        return self._native.token_text(self._token(token))

    def is_eog(self, token: int) -> bool:
        """Whether the token ends a generation."""
        return self._native.is_eog(self._token(token))

    def token_bos(self) -> int | None:
        """The token that begins a text."""
        return self._native.special_tokens()[0]

    def token_eos(self) -> int | None:
        """The token that ends a text."""
        return self._native.special_tokens()[1]

    def token_nl(self) -> int | None:
        """The token of a line break."""
        return self._native.special_tokens()[2]

    def vocab_size(self) -> int:
        """How many tokens there are; ids are 0 to one less."""
        return self._size

    @property
    def kind(self) -> str:
        """The family: `bpe`, `sentencepiece`, `wordpiece`, `unigram`, `rwkv` or `plamo2`."""
        return self._native.kind

    @property
    def adds_bos(self) -> bool:
        """Whether `add_special` puts the beginning-of-text token in front."""
        return self._native.additions()[0]

    @property
    def adds_eos(self) -> bool:
        """Whether `add_special` puts the end-of-text token behind."""
        return self._native.additions()[1]

    def __repr__(self) -> str:
        """Family and size."""
        return repr(self._native)

    def _token(self, token: int) -> int:
        """A token of the vocabulary."""
        return as_int(token, "token", 0, self._size - 1)
