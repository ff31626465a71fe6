"""A model's vocabulary: text to tokens, tokens to text, and what each token is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from tabagent import _native
from tabagent._arguments import INT32_MAX, Tokens, as_bool, as_int, as_text, as_texts, as_tokens, is_iterable, type_name

__all__ = ["Vocabulary"]


class Vocabulary:
    """The part of `Model` that knows tokens. Works with `vocab_only` models too, from any thread, and does not hold the GIL.

    Ctrl-C ends a call at once. llama.cpp cannot be stopped while it tokenizes a text, so it goes on in a thread of its own until the text is done,
    also after `close`; exit does not wait for it. Where the system gives no thread for that, Ctrl-C is heard when the text is done.
    """

    __slots__ = ("_facts", "_native", "_special")

    _native: _native.Model
    _facts: dict[str, object]
    _special: dict[str, int | None]

    # Text and tokens

    def tokenize(self, text: str, *, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """The text's tokens.

        `add_special` adds the tokens that the model wants at the ends, such as the beginning-of-text token, whatever the text begins with. If the
        text begins with that token's marker and `parse_special` reads it, the result has the token twice; `generate` and `score` take care that it is
        there once.
        `parse_special` reads markers like `<|im_end|>` as the tokens they name; leave it off for text from outside, which could otherwise forge
        them.

        Raises:
            TypeError: `text` is no str.
            ValueError: the text holds a lone surrogate, is too long, or would keep the tokenizer busy for minutes: the text of the error says
                with what.
            UnsupportedModelError: the model has no vocabulary.
        """
        checked = as_text(text, "text")
        return self._native.tokenize(checked, as_bool(add_special, "add_special"), as_bool(parse_special, "parse_special"))

    def tokenize_batch(self, texts: Sequence[str], *, add_special: bool = True, parse_special: bool = False) -> list[list[int]]:
        """The tokens of each text, worked out in parallel; otherwise as `tokenize`."""
        if isinstance(texts, AbstractSet):
            message = f"`texts` must be a sequence of str, whose order the results have, got {type_name(texts)}"
            raise TypeError(message)
        checked = as_texts(texts, "texts")
        return self._native.tokenize_batch(checked, as_bool(add_special, "add_special"), as_bool(parse_special, "parse_special"))

    def detokenize(
        self,
        tokens: Tokens,
        *,
        remove_special: bool = False,
        unparse_special: bool = True,
        clean_up_tokenization_spaces: bool = False,
        continuation: bool = False,
    ) -> str:
        """The tokens' text: the bytes of all tokens (`token_to_bytes`), joined. Bytes that are no valid UTF-8 become U+FFFD.

        What the tokenizer added of its own accord is left out: the space that some vocabularies put in front of a text, and of the text after a
        special token. So `detokenize(tokenize(text, add_special=False))` is `text` again, and so is `detokenize(tokenize(text),
        remove_special=True)`, with every vocabulary that has a token for each byte and does not change texts (as WordPiece does, which drops
        capital letters and spaces). SentencePiece writes a space as U+2581, and gives that sign back as a space.

        Args:
            tokens: token ids (a list, or a numpy integer array).
            remove_special: leave out the special tokens at the ends that `add_special` adds.
            unparse_special: write special tokens as their markers; without it they have no text.
            clean_up_tokenization_spaces: leave out spaces before punctuation and in contractions (`x ?` becomes `x?`) where llama.cpp does, which is
                with vocabularies such as GPT-2's, Falcon's and BERT's. The text is then not the one that was tokenized.
            continuation: the tokens go on with a text, so a space at their beginning is theirs: nothing is left out. A stream's text is that
                of its tokens with `continuation=True, unparse_special=False`.

        Raises:
            TypeError: `tokens` is no sequence of ints.
            ValueError: a token is not in the vocabulary.
        """
        checked = self._known(as_tokens(tokens, "tokens"), "tokens")
        options = _detokenizing(remove_special, unparse_special, clean_up_tokenization_spaces, continuation)
        return self._native.detokenize(checked, *options)

    def detokenize_batch(
        self,
        lists: Sequence[Tokens],
        *,
        remove_special: bool = False,
        unparse_special: bool = True,
        clean_up_tokenization_spaces: bool = False,
        continuation: bool = False,
    ) -> list[str]:
        """The text of each list of tokens, worked out in parallel; otherwise as `detokenize`."""
        if not _is_list(lists):
            message = f"`lists` must be a sequence of token sequences, got {type_name(lists)}"
            raise TypeError(message)
        checked = [self._known(as_tokens(tokens, f"lists[{index}]"), f"lists[{index}]") for index, tokens in enumerate(lists)]
        options = _detokenizing(remove_special, unparse_special, clean_up_tokenization_spaces, continuation)
        return self._native.detokenize_batch(checked, *options)

    # Single tokens

    def token_to_bytes(self, token: int, *, special: bool = True) -> bytes:
        """The bytes of the token's text, which may be a part of a character. With `special` off, special tokens have none."""
        return self._native.token_to_bytes(self._token(token), as_bool(special, "special"))

    def token_text(self, token: int) -> str:
        """The token as it stands in the vocabulary, in the tokenizer's own spelling (`Ġthe`, `▁the`, `<0x0A>`)."""
        return self._native.token_text(self._token(token))

    def token_score(self, token: int) -> float:
        """The token's score in the vocabulary; 0 in vocabularies without scores."""
        return self._native.token_score(self._token(token))

    def token_attributes(self, token: int) -> list[str]:
        """What the vocabulary says about the token, such as `normal`, `control`, `byte`, `user_defined`."""
        return self._native.token_attributes(self._token(token))

    def is_eog(self, token: int) -> bool:
        """Whether the token ends a generation."""
        return self._native.is_eog(self._token(token))

    def is_control(self, token: int) -> bool:
        """Whether the token is a marker without text of its own."""
        return self._native.is_control(self._token(token))

    # Special tokens, None where the vocabulary has no such token

    def token_bos(self) -> int | None:
        """The token that begins a text."""
        return self._special["bos"]

    def token_eos(self) -> int | None:
        """The token that ends a text."""
        return self._special["eos"]

    def token_eot(self) -> int | None:
        """The token that ends a turn of a conversation."""
        return self._special["eot"]

    def token_nl(self) -> int | None:
        """The token of a line break."""
        return self._special["nl"]

    def token_pad(self) -> int | None:
        """The token that fills up batches."""
        return self._special["pad"]

    def token_sep(self) -> int | None:
        """The token between two texts."""
        return self._special["sep"]

    def token_mask(self) -> int | None:
        """The token that stands for one to be guessed."""
        return self._special["mask"]

    def token_fim_pre(self) -> int | None:
        """The token before the text in front of a gap to fill."""
        return self._special["fim_pre"]

    def token_fim_suf(self) -> int | None:
        """The token before the text behind a gap to fill."""
        return self._special["fim_suf"]

    def token_fim_mid(self) -> int | None:
        """The token after which the gap is filled."""
        return self._special["fim_mid"]

    def token_fim_pad(self) -> int | None:
        """The token that fills up gap-filling prompts."""
        return self._special["fim_pad"]

    def token_fim_rep(self) -> int | None:
        """The token before the name of a repository."""
        return self._special["fim_rep"]

    def token_fim_sep(self) -> int | None:
        """The token between the files of a repository."""
        return self._special["fim_sep"]

    def vocab_size(self) -> int:
        """How many tokens there are; ids are 0 to one less."""
        return self._number("vocab_size")

    def context_train_size(self) -> int:
        """The longest context, in tokens, that the model was trained for."""
        return self._number("context_train_size")

    def embedding_dim(self) -> int:
        """The width of the model."""
        return self._number("embedding_dim")

    @property
    def adds_bos(self) -> bool:
        """Whether `add_special` puts the beginning-of-text token in front."""
        return bool(self._facts["adds_bos"])

    @property
    def adds_eos(self) -> bool:
        """Whether `add_special` puts the end-of-text token behind."""
        return bool(self._facts["adds_eos"])

    def _token(self, token: int) -> int:
        """A token of the vocabulary."""
        return as_int(token, "token", 0, self._last_token)

    def _known(self, tokens: list[int], name: str) -> list[int]:
        """The tokens, which the vocabulary must have."""
        last = self._last_token
        if tokens and max(tokens) > last:
            index, token = next((index, token) for index, token in enumerate(tokens) if token > last)
            message = f"`{name}[{index}]` is `{token}`, but ids go from 0 to {last}"
            raise ValueError(message)
        return tokens

    @property
    def _last_token(self) -> int:
        """The highest token id. Without a vocabulary the core says that there is none, whatever the token."""
        return self.vocab_size() - 1 if self.vocab_size() else INT32_MAX

    def _number(self, name: str) -> int:
        value = self._facts[name]
        return value if isinstance(value, int) else 0


def _detokenizing(
    remove_special: object, unparse_special: object, clean_up_tokenization_spaces: object, continuation: object
) -> tuple[bool, bool, bool, bool]:
    """The options of `detokenize`, checked."""
    return (
        as_bool(remove_special, "remove_special"),
        as_bool(unparse_special, "unparse_special"),
        as_bool(clean_up_tokenization_spaces, "clean_up_tokenization_spaces"),
        as_bool(continuation, "continuation"),
    )


def _is_list(lists: object) -> bool:
    return is_iterable(lists) and not isinstance(lists, (str, bytes, bytearray, memoryview, AbstractSet, Mapping))
