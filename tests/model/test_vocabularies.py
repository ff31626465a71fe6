"""Constrained texts with every kind of vocabulary: what the grammar saw is what the stream shows."""

from __future__ import annotations

import json
import os
import random
import re
import string
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import THREADS
from schema_corpus import corpus, of_values
from support.gguf_image import text
from support.schema_oracle import FIRST_BYTE, byte_vocabulary
from support.tiny_models import tiny_llama
from support.vocabulary_models import CONTEXT, FILES, SMALL, vocabulary_folder, write_model
from tabagent import Completion, Constraint, GrammarError, Model, SamplerConfig

SCHEMA: Final = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "a_property_with_a_long_name": {"type": "integer", "minimum": 0, "maximum": 999},
        "tags": {"type": "array", "items": {"enum": ["red", " green", "dark blue"]}, "maxItems": 2},
        "ok": {"type": "boolean"},
    },
    "required": ["name", "a_property_with_a_long_name", "ok"],
    "additionalProperties": False,
}
CHOICES: Final = ("a", "ab", " ab", "ab ab", "ab  ab", "nee", "no , it 's")
LARK: Final = 'start: NUMBER ("+" NUMBER){1,3} "=" NUMBER\nNUMBER: /[0-9]{1,3}/'
GBNF: Final = 'root ::= part ("-" part){2}\npart ::= [a-z] [0-9]'
# Their tokenizers drop or change characters.
CHANGE_TEXTS: Final = ("bert-bge", "nomic-bert-moe", "tiny-ugm")
# `TABAGENT_ALL_VOCABULARIES=1` takes all of them; these are one of each kind, and those with odd tokens.
USUAL: Final = ("bert-bge", "deepseek-coder", "falcon", "gpt-2", "llama-spm", "nomic-bert-moe", "phi-3")
TESTED: Final = [*(FILES if os.environ.get("TABAGENT_ALL_VOCABULARIES") else USUAL), *SMALL]
T = TypeVar("T")
Tokens = NDArray[np.intp]
# Walks that end of themselves, of those that are not cut; each vocabulary must have so many.
LEAST_COMPLETE: Final = 12


@dataclass
class Case:
    """A grammar and what its texts must be."""

    name: str
    options: dict[str, Any]
    check: Callable[[str], object]


def matching(pattern: str) -> Callable[[str], object]:
    def check(text: str) -> None:
        assert re.fullmatch(pattern, text), (pattern, text)

    return check


def cases() -> list[Case]:
    """Grammars of each kind that all vocabularies can write."""

    def check_choice(text: str) -> None:
        assert text in CHOICES

    def check_json(text: str) -> None:
        assert list(json.loads(text))[:2] == ["name", "a_property_with_a_long_name"]

    expressions = [r"[a-z]{2,8}( [a-z]{2,8}){0,2}\.", r" ?(yes|no) ?", r".{3,9}", r"  two  spaces  x+"]
    return [
        Case("schema", {"json_schema": SCHEMA}, check_json),
        Case("compact", {"json_schema": SCHEMA, "compact_json": True}, check_json),
        *(Case(expression, {"regex": expression}, matching(expression)) for expression in expressions),
        Case("choices", {"choices": CHOICES}, check_choice),
        Case("lark", {"grammar": LARK}, matching(r"\d{1,3}(\+\d{1,3}){1,3}=\d{1,3}")),
        Case("gbnf", {"grammar": GBNF}, matching("[a-z][0-9](-[a-z][0-9]){2}")),
    ]


class Vocabulary:
    """A model with what a test asks of its tokens."""

    def __init__(self, name: str, model: Model) -> None:
        self.name = name
        self.model = model
        tokens = range(model.vocab_size())
        self.pieces = [model.token_to_bytes(token, special=False) for token in tokens]
        self.lengths = np.array([len(piece) for piece in self.pieces])
        self.ends = np.array([model.is_eog(token) for token in tokens])
        alone = {piece for piece in self.pieces if len(piece) == 1}
        self.writes_all = all(bytes([byte]) in alone for byte in range(32, 127)) and b"\n" in alone

    @cached_property
    def closing(self) -> NDArray[np.bool_]:
        """Tokens that bring JSON to its end."""
        return np.array([len(piece) < 4 and any(mark in piece for mark in (b'"', b"}", b"]")) for piece in self.pieces])

    @cached_property
    def hidden_texts(self) -> list[str]:
        """Texts of tokens of which a stream shows nothing, in letters that the vocabulary has."""
        names = [self.model.token_text(token) for token in np.flatnonzero(self.lengths == 0)[:60].tolist()]
        return [name for name in names if name.isascii() and len(name) > 2][:5]

    def attempt(self, make: Callable[[], T]) -> T | None:
        """What `make` makes; None if the vocabulary cannot write what must come and the error says so."""
        try:
            return make()
        except GrammarError as error:
            if self.writes_all or "of the vocabulary" not in str(error):
                raise
            return None

    def generate(self, **options: Any) -> Completion | None:
        """A text of the model; None as for `attempt`."""
        return self.attempt(lambda: self.model.generate("a", **options).result())


@pytest.fixture(scope="module", params=TESTED)
def vocabulary(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vocabulary]:
    path = tmp_path_factory.mktemp("vocabulary") / "model.gguf"
    write_model(request.param, path)
    with Model.load(path, context_size=CONTEXT, threads=THREADS) as model:
        yield Vocabulary(request.param, model)
    path.unlink()


@pytest.fixture(scope="module")
def bytes_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    """A vocabulary of bytes: what its grammars allow is what the text may be, whatever the tokens."""
    path = tmp_path_factory.mktemp("bytes") / "model.gguf"
    path.write_bytes(byte_vocabulary().to_bytes())
    with Model.load(path, vocab_only=True) as model:
        assert [model.token_to_bytes(byte + FIRST_BYTE) for byte in range(256)] == [bytes([byte]) for byte in range(256)]
        yield model


def allows(constraint: Constraint, piece: bytes) -> bool:
    """Whether a constraint over bytes goes on by all of a piece; it stays where it is."""
    taken = 0
    try:
        for byte in piece:
            constraint.accept(byte + FIRST_BYTE)
            taken += 1
    except GrammarError:
        return False
    finally:
        constraint.rollback(taken)
    return bool(piece)


@dataclass
class Walk:
    """A text that was made by going wherever the masks allow."""

    vocabulary: Vocabulary
    constraint: Constraint
    by_bytes: Constraint
    source: random.Random
    style: str
    text: bytes = b""
    forced: int = 0
    refused: int = 0
    last: int | None = None

    def run(self, n_tokens: int) -> bool:
        """Go on by so many tokens; whether the text is complete then."""
        for _ in range(n_tokens):
            if self.constraint.is_finished or self.step():
                return True
        return self.constraint.is_finished

    def step(self) -> bool:
        """Go on by a token or by all that are forced; True if it was the end."""
        vocabulary, constraint = self.vocabulary, self.constraint
        can_end = constraint.can_end
        assert can_end == self.by_bytes.can_end
        forced = constraint.forced()
        mask = constraint.mask()
        assert mask.any()
        assert np.array_equal(mask[vocabulary.ends], np.full(vocabulary.ends.sum(), can_end))
        inside = mask & ~vocabulary.ends
        assert vocabulary.lengths[inside].all(), "a token that streams hide"
        if forced:
            assert np.flatnonzero(inside).tolist() == forced[:1]
            self.check_refused(np.flatnonzero(~mask))
            self.check_forced(forced)
            for token in forced:
                self.go(token)
            return False
        self.check_some(inside, mask)
        allowed = np.flatnonzero(inside)
        if can_end and (not len(allowed) or self.source.random() < 0.3) and vocabulary.ends.any():
            constraint.accept(int(np.flatnonzero(vocabulary.ends)[0]))
            assert constraint.is_finished
            return True
        self.go(self.any_of(self.preferred(allowed)))
        return False

    def preferred(self, allowed: Tokens) -> Tokens:
        """The tokens to choose from: all, the longest, or those that come to an end."""
        lengths = self.vocabulary.lengths[allowed]
        if self.style == "long":
            return allowed[np.argpartition(lengths, -1 - len(allowed) // 20)[-1 - len(allowed) // 20 :]]
        if self.style == "closing":
            closing = allowed[self.vocabulary.closing[allowed]]
            return closing if len(closing) and self.source.random() < 0.5 else allowed[lengths <= max(3, lengths.min())]
        return allowed

    def any_of(self, tokens: Tokens) -> int:
        return int(tokens[self.source.randrange(len(tokens))])

    def go(self, token: int) -> None:
        piece = self.vocabulary.pieces[token]
        self.constraint.accept(token)
        for byte in piece:
            self.by_bytes.accept(byte + FIRST_BYTE)
        self.text += piece
        self.last = token

    def check_some(self, inside: NDArray[np.bool_], mask: NDArray[np.bool_]) -> None:
        """Tokens of the mask and others, against the constraint over bytes."""
        is_choice = mask.sum() > 1
        for is_allowed in (True, True, False, False):
            tokens = np.flatnonzero(inside == is_allowed)
            token = self.any_of(tokens) if len(tokens) else 0
            if not len(tokens) or self.vocabulary.ends[token] or not (is_choice or is_allowed):
                continue
            piece = self.vocabulary.pieces[token]
            assert allows(self.by_bytes, piece) == is_allowed, (self.text, piece)
            if not is_allowed:
                with pytest.raises(GrammarError, match=f"token `{token}`"):
                    self.constraint.accept(token)
                self.refused += 1
        if self.source.random() < 0.1:
            assert np.array_equal(self.constraint.mask(), mask)

    def check_refused(self, tokens: Tokens) -> None:
        """A token that the mask has not, whatever its text."""
        token = self.any_of(tokens)
        with pytest.raises(GrammarError, match=f"token `{token}`"):
            self.constraint.accept(token)

    def check_forced(self, forced: list[int]) -> None:
        """Forced tokens are allowed one after another, and are those that the tokenizer makes of their text where it keeps texts."""
        text = b"".join(self.vocabulary.pieces[token] for token in forced)
        assert allows(self.by_bytes, text)
        self.forced += len(forced)
        tokenized = self.tokenized(text)
        assert forced in tokenized or (not tokenized and self.vocabulary.name in CHANGE_TEXTS), (text, forced)

    def tokenized(self, text: bytes) -> list[list[int]]:
        """What the tokenizer makes of a text by itself, in the middle of another, and after the text so far; what spells it exactly."""
        pieces = self.vocabulary.pieces
        before = ["", "\ue000", "" if self.last is None else pieces[self.last].decode(errors="ignore")]
        found = []
        for start in before:
            tokens = self.vocabulary.model.tokenize(start + text.decode(), add_special=False)
            first, length = len(tokens), 0
            while first and length < len(text):
                first -= 1
                length += len(pieces[tokens[first]])
            if b"".join(pieces[token] for token in tokens[first:]) == text:
                found.append(tokens[first:])
        return found


def walks(vocabulary: Vocabulary, bytes_alone: Model, options: dict[str, Any], seed: int, *styles: str) -> Iterator[Walk]:
    """A walk of each style, none of them begun; none if the vocabulary cannot write how the text begins."""
    compiled, by_bytes = vocabulary.attempt(lambda: vocabulary.model.compile_grammar(**options)), bytes_alone.compile_grammar(**options)
    if compiled is None:
        return
    for style in styles:
        yield Walk(vocabulary, compiled.start(), by_bytes.start(), random.Random(seed), style)  # noqa: S311 (no secret)


def test_vocabularies_are_all_of_the_tree() -> None:
    found = sorted(path.stem.removeprefix("ggml-vocab-") for path in vocabulary_folder().glob("ggml-vocab-*.gguf"))
    assert found == sorted(FILES)


def test_masks_allow_the_tokens_whose_text_fits(vocabulary: Vocabulary, bytes_alone: Model) -> None:
    complete = forced = refused = 0
    for seed, case in enumerate(cases()):
        for walk in walks(vocabulary, bytes_alone, case.options, seed, "all", "long", "closing"):
            ended = vocabulary.attempt(partial(walk.run, 40))
            forced += walk.forced
            refused += walk.refused
            if ended:
                complete += 1
                case.check(walk.text.decode())
    assert complete >= LEAST_COMPLETE
    assert forced > 30
    assert refused > 100


def test_schemas_of_the_corpus_are_kept(vocabulary: Vocabulary, bytes_alone: Model) -> None:
    complete = 0
    for schema in list(corpus())[TESTED.index(vocabulary.name) :: 2 * len(TESTED)]:
        options = {"json_schema": schema.schema}
        # Python's `re` does not know the classes of characters that this one names.
        limited = bool(of_values(vocabulary.model.compile_grammar(**options).limitations)) or schema.name == "pattern-unicode"
        for walk in walks(vocabulary, bytes_alone, options, 1, "long", "closing"):
            if vocabulary.attempt(partial(walk.run, 50)):
                complete += 1
                schema.check(walk.text.decode(), limited=limited)
    assert complete >= 3


def wild(seed: int) -> SamplerConfig:
    """Sampling that goes wherever it may."""
    return SamplerConfig(temperature=1.5, top_k=0, top_p=1.0, min_p=0.0, seed=seed)


def test_tokens_come_where_the_grammar_names_them(vocabulary: Vocabulary) -> None:
    model = vocabulary.model
    word = next(piece.decode() for piece in vocabulary.pieces if re.fullmatch(b"[a-z]{2}", piece) or re.fullmatch(b"[a-z]", piece))
    tokens = range(model.vocab_size())
    control = next((token for token in tokens if not vocabulary.lengths[token] and not vocabulary.ends[token]), None)
    plain = next(token for token in reversed(tokens) if vocabulary.lengths[token] and not vocabulary.ends[token])
    for token in (plain,) if control is None else (control, plain):
        sources: dict[str, list[list[int] | None]] = {
            f'root ::= "{word}" <[{token}]>': [[token]],
            f'root ::= "{word}" !<[{token}]> <[{token}]>': [None, [token]],
            f'root ::= <[{token}]> "{word}"': [],
            f'root ::= "{word}" (<[{token}]> | "{word}")': [[token]],
            f'start: "{word}" <[{token}]> <[{token}]>': [[token], [token]],
            f'start: "{word}" <[^{token}]> <[{token}]>': [None, [token]],
        }
        name = model.token_text(token)
        # A token that llama.cpp takes for text is none that Lark can name.
        if token == control and re.fullmatch(r"<\|?[a-z_]+\|?>", name):
            sources |= {f'root ::= "{word}" {name}': [[token]], f'start: "{word}" {name}': [[token]]}
        for source, rest in sources.items():
            constraint = model.compile_grammar(grammar=source).start()
            steps = 0
            if source.startswith("root ::= <["):
                assert np.flatnonzero(constraint.mask()).tolist() == [token]
                constraint.accept(token)
                steps += 1
            written = b""
            while written != word.encode():
                (first, *_) = np.flatnonzero(constraint.mask()).tolist()
                constraint.accept(first)
                steps += 1
                written += vocabulary.pieces[first]
            for expected in rest:
                mask = constraint.mask()
                others = mask & (np.arange(len(mask)) != token)
                assert mask[token] == (expected is not None)
                assert others.any() == (expected is None or "|" in source)
                if expected is None:
                    assert np.array_equal(others, ~vocabulary.ends & (np.arange(len(mask)) != token))
                chosen = token if expected is not None else int(np.flatnonzero(others)[-1])
                constraint.accept(chosen)
                steps += 1
            assert constraint.can_end
            constraint.rollback(steps)
            fresh = model.compile_grammar(grammar=source).start()
            assert np.array_equal(constraint.mask(), fresh.mask())


def test_streams_show_what_the_grammar_saw(vocabulary: Vocabulary) -> None:
    complete = 0
    for seed, case in enumerate(cases()):
        done = vocabulary.generate(**case.options, max_tokens=120, sampling=wild(seed), ignore_eos=seed % 2 == 1)
        if done is None:
            continue
        assert done.text == b"".join(vocabulary.pieces[token] for token in done.tokens).decode(errors="replace")
        if done.constraint_complete:
            complete += 1
            case.check(done.text)
        else:
            assert (done.finish_reason, len(done.tokens)) == ("length", 120)
    assert complete >= 6


def test_texts_of_hidden_tokens_are_written_by_others(vocabulary: Vocabulary) -> None:
    names = vocabulary.hidden_texts
    pattern = f"({'|'.join(map(re.escape, [*names, 'ab']))}){{2}}"
    written = 0
    for seed in range(4):
        done = vocabulary.generate(regex=pattern, max_tokens=100, sampling=wild(seed))
        if done is not None:
            written += 1
            assert done.constraint_complete
            matching(pattern)(done.text)
    assert written or vocabulary.name.startswith("bert")


def test_forced_tokens_change_nothing_but_the_speed(vocabulary: Vocabulary) -> None:
    options: dict[str, Any] = {"json_schema": SCHEMA, "compact_json": True, "max_tokens": 120, "sampling": SamplerConfig.greedy()}
    jumped = vocabulary.generate(**options)
    assert jumped is not None
    stepped = vocabulary.model.generate("a", logprobs=0, **options).result()
    assert (jumped.text, jumped.tokens) == (stepped.text, stepped.tokens)
    assert jumped.usage.forced_tokens > stepped.usage.forced_tokens == 0


def test_texts_end_by_whatever_comes_first(vocabulary: Vocabulary) -> None:
    model = vocabulary.model
    has_end = vocabulary.ends.any()
    for seed in range(3):
        done = model.generate("a", choices=CHOICES, sampling=wild(seed), max_tokens=30, ignore_eos=True).result()
        assert done.text in CHOICES
        assert done.stop_match is not None
        assert (done.constraint_complete, done.stop_match.kind) == (True, "constraint")
        done = model.generate("a", choices=CHOICES, sampling=wild(seed), max_tokens=30).result()
        assert done.text in CHOICES
        assert done.stop_match is not None
        assert done.stop_match.kind in ({"eog", "constraint"} if has_end else {"constraint"})
    digits = model.generate("a", regex="[0-9]+", sampling=wild(1), max_tokens=5, ignore_eos=True).result()
    assert (digits.finish_reason, digits.constraint_complete, len(digits.tokens)) == ("length", True, 5)
    assert digits.text.strip(string.digits) == ""
    cut = model.generate("a", choices=["abababab"], sampling=wild(1), max_tokens=1).result()
    assert (cut.finish_reason, cut.constraint_complete) == ("length", False)
    assert "abababab".startswith(cut.text)
    stopped = model.generate("a", choices=["abnoabyes", "abnoabno"], stop=["bab", "ba", "oa"], sampling=wild(1)).result()
    assert stopped.stop_match is not None
    assert (stopped.text, stopped.stop_match.kind, stopped.stop_match.value) == ("abn", "string", "oa")
    assert not stopped.constraint_complete


def test_model_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    image = tiny_llama("spm")
    image.metadata = [entry for entry in image.metadata if not entry[0].startswith("tokenizer.")]
    image.set("tokenizer.ggml.model", text("none"))
    path = tmp_path / "model.gguf"
    path.write_bytes(image.to_bytes())
    with Model.load(path, context_size=64, threads=THREADS) as model, pytest.raises(GrammarError, match="this model has no tokenizer"):
        model.generate([1], regex="a")
