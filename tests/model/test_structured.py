"""Text that must fit a schema, an expression, a list or a grammar."""

from __future__ import annotations

import json
import os
import re
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel

from schema_corpus import CorpusSchema, corpus, of_values
from tabagent import Grammar, GrammarError, Model, SamplerConfig, Trigger

GREEDY = SamplerConfig.greedy()
PROMPT = "Here is an example as JSON:\n"
# `TABAGENT_ALL_SCHEMAS=1` takes all of them.
SCHEMAS = [schema for index, schema in enumerate(corpus()) if index % 12 == 4 or os.environ.get("TABAGENT_ALL_SCHEMAS")]
MODELS = pytest.mark.parametrize("name", ["smollm2", "gemma"])


class Person(BaseModel):
    name: str
    age: int
    tags: list[str]


@dataclass
class Point:
    x: int
    y: int


def wild(seed: int) -> SamplerConfig:
    """Sampling that goes wherever it may."""
    return SamplerConfig(temperature=1.2, top_k=0, top_p=1.0, min_p=0.0, seed=seed)


@pytest.fixture
def model(name: str, request: pytest.FixtureRequest) -> Model:
    found: Model = request.getfixturevalue(name)
    return found


@MODELS
@pytest.mark.parametrize("schema", SCHEMAS, ids=lambda schema: schema.name)
def test_random_output_fits_its_schema(model: Model, schema: CorpusSchema) -> None:
    limited = bool(of_values(model.compile_grammar(json_schema=schema.schema).limitations))
    for seed, (max_tokens, compact) in enumerate([(64, True), (16, False)]):
        done = model.generate(
            PROMPT, json_schema=schema.schema, max_tokens=max_tokens, sampling=wild(seed), compact_json=compact, ignore_eos=bool(seed)
        ).result()
        if done.constraint_complete:
            value = schema.check(done.text, limited=limited)
            assert done.parse() == value
        else:
            assert (done.finish_reason, len(done.tokens)) == ("length", max_tokens)
            assert done.parsed is None
        assert done.text == model.detokenize(done.tokens)


@MODELS
def test_types_give_objects(model: Model) -> None:
    person = model.generate(PROMPT, json_schema=Person, max_tokens=80, sampling=wild(1), compact_json=True).result()
    assert isinstance(person.parsed, Person if person.constraint_complete else type(None))
    point = model.generate("A point: ", json_schema=Point, max_tokens=60, sampling=GREEDY, compact_json=True).result()
    assert isinstance(point.parsed, Point)
    mapping = model.generate("{", json_mode=True, max_tokens=40, sampling=wild(3), compact_json=True).result()
    assert isinstance(mapping.parsed, dict if mapping.constraint_complete else type(None))


@MODELS
def test_forced_tokens_change_nothing_but_the_speed(model: Model) -> None:
    keys = {f"a_rather_long_property_name_{index}": {"type": "boolean"} for index in range(3)}
    schema = {"type": "object", "properties": keys, "required": list(keys), "additionalProperties": False}
    jumped = model.generate(PROMPT, json_schema=schema, max_tokens=100, sampling=GREEDY, compact_json=True).result()
    stepped = model.generate(PROMPT, json_schema=schema, max_tokens=100, sampling=GREEDY, compact_json=True, logprobs=0).result()
    assert jumped.text == stepped.text
    assert list(jumped.parse()) == list(keys)
    assert jumped.usage.forced_tokens > len(jumped.tokens) / 2
    assert stepped.usage.forced_tokens == 0
    assert jumped.usage.completion_tokens == len(jumped.tokens)
    assert stepped.logprobs is not None
    assert len(stepped.logprobs) == len(stepped.tokens)
    # Forced tokens are those that the model's own tokenizer makes of the text.
    assert list(jumped.tokens) == model.tokenize(jumped.text, add_special=False)


@MODELS
def test_expressions_choices_and_grammars_are_followed(model: Model) -> None:
    for seed in range(4):
        options: dict[str, Any] = {"max_tokens": 40, "sampling": wild(seed)}
        text = model.generate("Date: ", regex=r"[12][0-9]{3}-[01][0-9]-[0-3][0-9]", **options).result()
        assert re.fullmatch(r"[12][0-9]{3}-[01][0-9]-[0-3][0-9]", text.text)
        assert (text.finish_reason, text.constraint_complete) == ("stop", True)
        choices = ["yes", "yes, of course", "no", "naïve 🦀"]
        assert model.generate("Is it? ", choices=choices, **options).result().text in choices
        lark = model.generate("Sum: ", grammar='start: NUMBER ("+" NUMBER){1,3} "=" NUMBER\nNUMBER: /[0-9]{1,3}/', **options).result()
        assert re.fullmatch(r"\d{1,3}(\+\d{1,3}){1,3}=\d{1,3}", lark.text)
        gbnf = model.generate("Code: ", grammar='root ::= part ("-" part){2}\npart ::= [a-z] [0-9]', **options).result()
        assert re.fullmatch("[a-z][0-9](-[a-z][0-9]){2}", gbnf.text)


def test_stop_match_says_that_the_construct_ended(smollm2: Model) -> None:
    done = smollm2.generate("Is it? ", choices=["yes", "no"], max_tokens=10, ignore_eos=True).result()
    assert done.stop_match is not None
    assert (done.stop_match.kind, done.stop_match.value) == ("constraint", None)


def test_stop_string_cuts_and_says_so(smollm2: Model) -> None:
    done = smollm2.generate(PROMPT, json_schema=Person, stop='"age"', max_tokens=200, sampling=GREEDY).result()
    assert done.finish_reason == "stop"
    assert '"age"' not in done.text
    assert done.constraint_complete is False


def test_free_text_comes_before_a_trigger(smollm2: Model) -> None:
    prompt = "Once upon a time"
    free = smollm2.generate(prompt, max_tokens=24, sampling=GREEDY).result()
    start = smollm2.detokenize(free.tokens[6:8])
    done = smollm2.generate(prompt, json_schema=Point, trigger=Trigger(start), max_tokens=120, sampling=GREEDY, compact_json=True).result()
    assert done.text.startswith(free.text[: free.text.index(start) + len(start)])
    assert isinstance(done.parse(), Point)
    never = smollm2.generate(prompt, regex="[0-9]", trigger=Trigger("never said", required=False), max_tokens=24, sampling=GREEDY).result()
    assert never.text == free.text


def test_neighbours_are_not_touched(smollm2: Model) -> None:
    wanted = smollm2.generate("Once upon a time", max_tokens=24, sampling=GREEDY).result().text
    grammar = smollm2.compile_grammar(json_schema=Person)
    streams = [smollm2.generate(PROMPT, grammar=grammar, max_tokens=24, sampling=wild(seed)) for seed in range(3)]
    assert smollm2.generate("Once upon a time", max_tokens=24, sampling=GREEDY).result().text == wanted
    streams[0].cancel()
    assert streams[0].result().finish_reason in {"cancelled", "stop", "length"}
    assert all(stream.result().text.startswith("{") for stream in streams[1:])


def test_first_compilation_is_shared_by_threads(smollm2_path: Any) -> None:
    with Model.load(smollm2_path, vocab_only=True) as model:
        found: list[Grammar] = []
        threads = [threading.Thread(target=lambda: found.append(model.compile_grammar(json_schema=Person))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(found) == 4
        assert all(grammar.start().mask().any() for grammar in found)


@MODELS
def test_decoding_by_hand_follows_the_mask(model: Model) -> None:
    constraint = model.compile_grammar(regex="[a-c]{2}x+|42").start()
    mask = constraint.mask()
    assert mask.dtype == np.bool_
    assert mask.shape == (model.vocab_size(),)
    assert {model.token_to_bytes(int(token))[:1] for token in np.flatnonzero(mask)} == {b"a", b"b", b"c", b"4"}
    tokens: list[int] = []
    with model.create_context(context_size=64) as context:
        context.decode(model.tokenize("Say abx: "))
        while not constraint.can_end:
            token = int(np.where(constraint.mask(), context.logits(), -np.inf).argmax())
            constraint.accept(token)
            tokens.append(token)
            context.decode([token])
    assert re.fullmatch("[a-c]{2}x+|42", model.detokenize(tokens))
    constraint.rollback(len(tokens))
    assert np.array_equal(constraint.mask(), mask)


@MODELS
def test_token_outside_the_grammar_is_an_error_and_changes_nothing(model: Model) -> None:
    constraint = model.compile_grammar(choices=["yes", "no"]).start()
    before = constraint.mask()
    eos = model.token_eos()
    assert eos is not None
    for token in (eos, *model.tokenize(" maybe", add_special=False)[:1], 10**9, model.vocab_size()):
        with pytest.raises(GrammarError, match="token `"):
            constraint.accept(token)
    assert np.array_equal(constraint.mask(), before)
    assert not constraint.can_end
    for token in model.tokenize("yes", add_special=False):
        constraint.accept(token)
    assert constraint.is_finished
    with pytest.raises(GrammarError):
        constraint.accept(model.tokenize("yes", add_special=False)[0])


@pytest.mark.parametrize(
    "options",
    [
        {"regex": "("},
        {"grammar": "start: missing"},
        {"grammar": 'root ::= "a'},
        {"json_schema": {"type": "strin"}},
        {"json_schema": "{"},
        {"json_schema": False},
        {"regex": "(" * 5_000 + ")" * 5_000},
    ],
)
def test_what_cannot_be_compiled_is_a_grammar_error(smollm2: Model, options: dict[str, Any]) -> None:
    with pytest.raises(GrammarError):
        smollm2.generate("a", **options)


def test_wrong_combinations_are_refused(smollm2: Model, smollm2_path: Any) -> None:
    grammar = smollm2.compile_grammar(regex="a+")
    with pytest.raises(ValueError, match="nothing else with it"):
        smollm2.generate("a", grammar=grammar, regex="b")
    with pytest.raises(ValueError, match="`trigger` says when"):
        smollm2.generate("a", trigger="x")
    with pytest.raises(ValueError, match="nothing to compile"):
        smollm2.compile_grammar()
    with pytest.raises(ValueError, match="lone surrogate"):
        smollm2.generate("a", regex="\ud800")
    with Model.load(smollm2_path, context_size=64, threads=1) as other, pytest.raises(ValueError, match="compiled by another model"):
        other.generate("a", grammar=grammar)


def test_limitations_are_told_with_their_place(smollm2: Model) -> None:
    listed = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    schema = {"type": "object", "properties": {"a": listed}, "additionalProperties": False}
    (limitation,) = smollm2.compile_grammar(json_schema=schema).limitations
    assert (limitation.path, limitation.keyword) == ("/properties/a", "uniqueItems")
    assert limitation.message
    assert smollm2.compile_grammar(json_schema={"type": "integer"}).limitations == ()


def test_names_that_may_repeat_are_told(smollm2: Model) -> None:
    def told(**form: Any) -> list[tuple[str, str]]:
        return [(limitation.path, limitation.keyword) for limitation in smollm2.compile_grammar(**form).limitations]

    grammar = smollm2.compile_grammar(json_mode=True, compact_json=True)
    constraint = grammar.start()
    for token in smollm2.tokenize('{"a":1,"a":2}', add_special=False):
        constraint.accept(token)
    assert constraint.can_end
    (limitation,) = grammar.limitations
    assert (limitation.path, limitation.keyword) == ("/", "additionalProperties")
    assert "readers of JSON keep its last value" in limitation.message
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    assert told(json_schema={"type": "object", "properties": {"counts": counts}, "additionalProperties": False}) == [
        ("/properties/counts", "additionalProperties")
    ]
    assert told(json_schema={"type": "object", "patternProperties": {"^x": {"type": "null"}}, "additionalProperties": False}) == [
        ("/", "patternProperties")
    ]
    assert told(json_schema=dict[str, int]) == [("/", "additionalProperties")]
    assert told(regex="a+") == told(grammar='root ::= "a"') == told(choices=["{}"]) == []


def test_grammar_outlives_its_model(smollm2_path: Any) -> None:
    with Model.load(smollm2_path, vocab_only=True) as model:
        constraint = model.compile_grammar(json_schema=json.dumps({"const": "a long and certain text"})).start()
        (quote,) = model.tokenize('"', add_special=False)
    constraint.accept(quote)
    assert constraint.mask().any()
    assert not constraint.can_end
