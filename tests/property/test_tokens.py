"""Laws of tokenizing, over all of Unicode."""

from __future__ import annotations

import unicodedata

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tabagent import Model

LAWS = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])

PIECES = [
    "é",
    "e\u0301",
    "\u0301",
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈",
    "\0",
    "\t",
    "\r\n",
    "   ",
    "<|im_end|>",
    "<s>",
    "<bos>",
    "▁",
    "Ġ",
    "\ufeff",
    "\u202e",
    "ﷺ",
    "�",
    "\U0010ffff",
]
TEXTS = st.one_of(
    st.text(max_size=80),
    st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=6)), max_size=20).map("".join),
)


@LAWS
@given(text=TEXTS)
@example(text="a" * 20_000)
@example(text="🎉" * 5_000)
@example(text="\0" * 100)
@example(text=" " * 3_000)
@example(text="\U00040000")
def test_byte_vocabulary_gives_every_byte_back_that_it_has(smollm2_vocabulary: Model, text: str) -> None:
    """SmolLM2's vocabulary lacks eight of the bytes of UTF-8 (six control characters, and what begins planes 4 to 11, which are empty).

    Its tokenizer drops those and nothing else, so all other text comes back exactly.
    """
    model = smollm2_vocabulary
    lacking = bytes.fromhex("04 06 13 14 16 1d f1 f2")
    tokens = model.tokenize(text, add_special=False)
    assert all(0 <= token < model.vocab_size() for token in tokens)
    kept = text.encode().translate(None, lacking)
    assert b"".join(model.token_to_bytes(token) for token in tokens) == kept
    if kept == text.encode():
        assert model.detokenize(tokens) == text


@LAWS
@given(text=TEXTS)
@example(text="a" * 20_000)
@example(text=" leading and trailing ")
@example(text="▁")
def test_sentencepiece_gives_every_text_back_but_its_space_sign(gemma_vocabulary: Model, text: str) -> None:
    """Gemma's tokenizer writes a space as U+2581, so it cannot tell that sign from a space. All else comes back exactly."""
    tokens = gemma_vocabulary.tokenize(text, add_special=False)
    assert gemma_vocabulary.detokenize(tokens) == text.replace("\u2581", " ")
    assert all(0 <= token < gemma_vocabulary.vocab_size() for token in tokens)


@LAWS
@given(texts=st.lists(TEXTS, max_size=8), add_special=st.booleans(), parse_special=st.booleans())
def test_batch_is_one_by_one(smollm2_vocabulary: Model, gemma_vocabulary: Model, texts: list[str], *, add_special: bool, parse_special: bool) -> None:
    for model in (smollm2_vocabulary, gemma_vocabulary):
        batch = model.tokenize_batch(texts, add_special=add_special, parse_special=parse_special)
        assert batch == [model.tokenize(text, add_special=add_special, parse_special=parse_special) for text in texts]
        assert model.detokenize_batch(batch) == [model.detokenize(tokens) for tokens in batch]


@LAWS
@given(data=st.data())
def test_any_tokens_have_a_text(smollm2_vocabulary: Model, gemma_vocabulary: Model, data: st.DataObject) -> None:
    for model in (smollm2_vocabulary, gemma_vocabulary):
        tokens = data.draw(st.lists(st.integers(0, model.vocab_size() - 1), max_size=30))
        text = model.detokenize(tokens)
        assert all(unicodedata.category(character) != "Cs" for character in text)
