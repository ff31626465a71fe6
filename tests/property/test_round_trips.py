"""Text to tokens and back, with every vocabulary of the pinned llama.cpp tree and small ones of the kinds that it has none of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from support.vocabulary_models import FILES, SMALL, vocabulary_folder, write_model
from tabagent import Model

LAWS = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much])
# Their tokenizers normalise texts, or have no tokens for most characters.
CHANGE_TEXTS = ("bert-bge", "nomic-bert-moe", "tiny-ugm")
# Those of whose texts llama.cpp cleans up the spaces.
CLEANED = ("aquila", "bert-bge", "falcon", "gemma-4", "gpt-2", "gpt-neox", "llama-bpe", "mpt", "refact", "starcoder")

PIECES = (
    "\N{LATIN SMALL LETTER E WITH ACUTE}",
    "e\N{COMBINING ACUTE ACCENT}",
    "\N{COMBINING ACUTE ACCENT}",
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈",
    "\0",
    "\x07",
    "\x1b[0m",
    "\x7f",
    "\x85",
    "\t",
    "\n",
    "\r\n",
    "\n\n ",
    " ",
    "  ",
    "   ",
    "\N{NO-BREAK SPACE}",
    "\N{IDEOGRAPHIC SPACE}",
    "<s>",
    "</s>",
    "<unk>",
    "<bos>",
    "<0x41>",
    "<|endoftext|>",
    "<|im_end|>",
    "<|end|>",
    "<|user|>",
    "[CLS]",
    "[PAD151646]",
    "\N{LOWER ONE EIGHTH BLOCK}",
    "Ġ",
    "õ",
    "x ? y",
    " .",
    " ,",
    "do n't",
    "I 'm",
    " ' ",
    "\ufeff",
    "\u202e",
    "ﷺ",
    "ﬁ",
    "한국어",
    "\u1112\u1161\u11ab",
    "日本",
    "\N{REPLACEMENT CHARACTER}",
    "\U0010ffff",
    "Ã©",
    "12345",
)
TEXTS = st.one_of(
    st.text(max_size=40),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4), st.sampled_from(["a", "Hello", "world"])), max_size=12).map("".join),
)


@dataclass
class Vocabulary:
    """A vocabulary and what its laws depend on."""

    name: str
    model: Model

    def __post_init__(self) -> None:
        self.kind = self.model.info.vocab_kind
        tokens = range(self.model.vocab_size())
        self.pieces = [self.model.token_to_bytes(token) for token in tokens]
        alone = set(self.pieces)
        self.lacking = bytes(byte for byte in range(256) if bytes([byte]) not in alone)
        attributes = [(self.model.token_text(token), self.model.token_attributes(token)) for token in tokens]
        self.stripping = [text for text, has in attributes if {"rstrip", "lstrip"} & set(has)]
        self.markers = [text for text, has in attributes if {"control", "unknown", "user_defined"} & set(has)]
        # A space is written as this sign, which is therefore none of its own.
        self.writes_spaces_as_sign = self.kind == "sentencepiece" or self.name == "gemma-4"

    def keeps(self, text: str) -> bool:
        """Whether the vocabulary has all the bytes, and nothing is there that llama.cpp drops.

        That is white space beside a few tokens (llama.cpp's attributes `lstrip` and `rstrip`), and, for PLaMo-2, a byte order mark.
        """
        drops = self.stripping if self.kind != "plamo2" else ["\ufeff"]
        return not any(byte in self.lacking for byte in text.encode()) and not any(dropped in text for dropped in drops)

    def expected(self, text: str) -> str:
        return text.replace("\N{LOWER ONE EIGHTH BLOCK}", " ") if self.writes_spaces_as_sign else text


@pytest.fixture(scope="module", params=[*FILES, *SMALL])
def vocabulary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vocabulary]:
    if request.param in SMALL:
        path = tmp_path_factory.mktemp("vocabulary") / "model.gguf"
        write_model(request.param, path)
    else:
        path = vocabulary_folder() / f"ggml-vocab-{request.param}.gguf"
    with Model.load(path, vocab_only=True) as model:
        yield Vocabulary(request.param, model)


EXACT = [name for name in (*FILES, *SMALL) if name not in CHANGE_TEXTS]


@LAWS
@given(text=TEXTS)
@example(text=" leading and trailing ")
@example(text="  two  and   three  ")
@example(text=" ")
@example(text="    ")
@example(text="x ? y , z . ' a ' do n't I 'm we 've you 're")
@example(text="<s> a</s> b")
@example(text="</s>a")
@example(text="\n a\n")
@example(text="\0")
@example(text="")
@example(text="a" * 5_000)
@example(text=" " * 1_000)
@pytest.mark.parametrize("vocabulary", EXACT, indirect=True)
def test_text_comes_back(vocabulary: Vocabulary, text: str) -> None:
    assume(vocabulary.keeps(text))
    check_round_trip(vocabulary, text)


@LAWS
@given(data=st.data())
@pytest.mark.parametrize("vocabulary", EXACT, indirect=True)
def test_text_with_markers_comes_back(vocabulary: Vocabulary, data: st.DataObject) -> None:
    marker = st.sampled_from(vocabulary.markers or ["<s>"])
    text = "".join(data.draw(st.lists(st.one_of(marker, st.sampled_from(PIECES), st.text(max_size=3)), max_size=8)))
    assume(vocabulary.keeps(text))
    check_round_trip(vocabulary, text)


def check_round_trip(vocabulary: Vocabulary, text: str) -> None:
    model, expected = vocabulary.model, vocabulary.expected(text)
    assert model.detokenize(model.tokenize(text, add_special=False)) == expected
    assert model.detokenize(model.tokenize(text), remove_special=True) == expected
    # Markers that are read as tokens are written again as they were.
    marked = model.tokenize(text, parse_special=True)
    assert model.detokenize(marked, remove_special=True) == expected
    batch = [model.tokenize(text), marked, []]
    assert model.detokenize_batch(batch, remove_special=True) == [expected, expected, ""]


@LAWS
@given(data=st.data())
def test_text_is_that_of_the_bytes(vocabulary: Vocabulary, data: st.DataObject) -> None:
    model = vocabulary.model
    tokens = data.draw(st.lists(st.integers(0, model.vocab_size() - 1), max_size=12))
    joined = b"".join(vocabulary.pieces[token] for token in tokens)
    assert model.detokenize(tokens, continuation=True) == joined.decode(errors="replace")
    shown = b"".join(model.token_to_bytes(token, special=False) for token in tokens)
    assert model.detokenize(tokens, continuation=True, unparse_special=False) == shown.decode(errors="replace")
    special = {"control", "unknown", "user_defined"}
    if not any(special & set(model.token_attributes(token)) for token in tokens):
        adds_space = vocabulary.kind in {"sentencepiece", "wordpiece"} or vocabulary.name == "nomic-bert-moe"
        has_added = adds_space and joined.startswith(b" ") and (vocabulary.kind != "unigram" or joined.strip(b" ") != b"")
        assert model.detokenize(tokens) == (joined[1:] if has_added else joined).decode(errors="replace")


@LAWS
@given(data=st.data(), remove_special=st.booleans(), unparse_special=st.booleans(), clean_up=st.booleans(), continuation=st.booleans())
def test_batch_is_one_by_one(
    vocabulary: Vocabulary, data: st.DataObject, *, remove_special: bool, unparse_special: bool, clean_up: bool, continuation: bool
) -> None:
    model = vocabulary.model
    token = st.one_of(st.integers(0, model.vocab_size() - 1), st.sampled_from(model.tokenize("<s>x ? y", parse_special=True)))
    lists = data.draw(st.lists(st.lists(token, max_size=8), max_size=4))
    options = {
        "remove_special": remove_special,
        "unparse_special": unparse_special,
        "clean_up_tokenization_spaces": clean_up,
        "continuation": continuation,
    }
    assert model.detokenize_batch(lists, **options) == [model.detokenize(tokens, **options) for tokens in lists]


# The small Unigram vocabulary has no token for a space between words.
@pytest.mark.parametrize("vocabulary", [name for name in (*FILES, *SMALL) if name != "tiny-ugm"], indirect=True)
def test_clean_up_is_that_of_the_vocabulary(vocabulary: Vocabulary) -> None:
    model = vocabulary.model
    text = "x ? y ! I 'm , do n't ."
    cleaned = model.detokenize(model.tokenize(text), remove_special=True, clean_up_tokenization_spaces=True)
    if vocabulary.name == "bert-bge":
        assert cleaned == "x? y! i'm, do n't."
    elif vocabulary.name in CLEANED:
        assert cleaned == "x? y! I'm, do n't."
    else:
        assert cleaned == text


@LAWS
@given(
    words=st.lists(st.from_regex("[a-zA-Z]{1,8}|[.,?!]", fullmatch=True), min_size=1, max_size=10), spaces=st.sampled_from([" ", "  ", "\n", "\t "])
)
@pytest.mark.parametrize("vocabulary", ["bert-bge"], indirect=True)
def test_wordpiece_gives_words_back_in_small_letters(vocabulary: Vocabulary, words: list[str], spaces: str) -> None:
    model = vocabulary.model
    text = model.detokenize(model.tokenize(spaces.join(words)), remove_special=True)
    assert text == " ".join(words).lower()
    assert model.tokenize(text) == model.tokenize(spaces.join(words))


@LAWS
@given(text=TEXTS)
@pytest.mark.parametrize("vocabulary", CHANGE_TEXTS, indirect=True)
def test_normalised_text_comes_back(vocabulary: Vocabulary, text: str) -> None:
    """What these vocabularies make of a text is a text that they keep, unless a part of it has no token."""
    model = vocabulary.model
    tokens = model.tokenize(text, add_special=False)
    assume(not any("unknown" in model.token_attributes(token) or model.token_text(token) == "[UNK]" for token in tokens))
    once = model.detokenize(tokens)
    assert model.detokenize(model.tokenize(once, add_special=False)) == once
    assert model.detokenize(model.tokenize(once), remove_special=True) == once


@pytest.mark.parametrize("vocabulary", ["phi-3"], indirect=True)
def test_white_space_goes_only_where_a_marker_takes_it(vocabulary: Vocabulary) -> None:
    model = vocabulary.model
    for text, kept in {"a </s>  b": "a </s>b", "a  <s>  b": "a  <s>  b", " <|user|> \n": " <|user|>"}.items():
        assert model.detokenize(model.tokenize(text, parse_special=True), remove_special=True) == kept


@pytest.mark.parametrize("vocabulary", ["tiny-plamo2"], indirect=True)
def test_plamo_drops_a_byte_order_mark_in_front(vocabulary: Vocabulary) -> None:
    model = vocabulary.model
    assert model.detokenize(model.tokenize("\ufeffa\ufeff")) == "a\ufeff"


@LAWS
@given(words=st.lists(st.from_regex("[a-zA-Z0-9]{1,8}", fullmatch=True), min_size=1, max_size=10))
@pytest.mark.parametrize("vocabulary", ["nomic-bert-moe"], indirect=True)
def test_unigram_gives_words_back(vocabulary: Vocabulary, words: list[str]) -> None:
    model = vocabulary.model
    text = " ".join(words)
    assert model.detokenize(model.tokenize(text), remove_special=True) == text
    assert model.detokenize(model.tokenize(f"  {text.replace(' ', '   ')} "), remove_special=True) == re.sub(" +", " ", text)
