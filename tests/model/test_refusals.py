"""What is said of schemas, grammars and logits that cannot be used."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tabagent import GrammarError, Model, SamplerConfig, SamplingError
from tabagent.sampling import Stage


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"json_schema": "{"}, "`json_schema`: "),
        ({"json_schema": {"type": "text"}}, "`json_schema`: .*`/type`"),
        ({"regex": "("}, "`regex`: "),
        ({"regex": r"(a)\1"}, "`regex`: .*backreferences"),
        ({"grammar": "start: x"}, "`grammar`: "),
        ({"grammar": 'root ::= root "a"'}, "`grammar`: "),
    ],
)
def test_argument_that_cannot_be_compiled_is_named(smollm2_vocabulary: Model, asked: dict[str, Any], named: str) -> None:
    with pytest.raises(GrammarError, match=f"^{named}"):
        smollm2_vocabulary.compile_grammar(**asked)


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"grammar": 'root ::= "\ud800"'}, "`grammar` holds the lone surrogate"),
        ({"grammar": "start: /\ud800/"}, "`grammar` holds the lone surrogate"),
        ({"compact_json": True}, "`compact_json` says how JSON is written, and none was asked for"),
    ],
)
def test_wrong_argument_is_named(smollm2_vocabulary: Model, asked: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        smollm2_vocabulary.generate("a", **asked)


@pytest.mark.parametrize("order", [["top_k"], ["infill"]])
def test_logits_of_another_model_are_refused(smollm2_vocabulary: Model, order: list[Stage]) -> None:
    with pytest.raises(ValueError, match="`logits` has 5 numbers and the vocabulary of `model` 49152 tokens"):
        SamplerConfig(order=order).probabilities([0.0] * 5, model=smollm2_vocabulary)
    assert SamplerConfig(order=order, seed=1).probabilities([0.0] * 49152, model=smollm2_vocabulary).shape == (49152,)


@pytest.mark.parametrize("more", [{"compact_json": True}, {"grammar_format": "lark"}, {"trigger": "a"}, {"regex": "a"}])
def test_compiled_grammar_takes_no_further_settings(smollm2_vocabulary: Model, more: dict[str, Any]) -> None:
    grammar = smollm2_vocabulary.compile_grammar(choices=["a"])
    with pytest.raises(ValueError, match="a compiled `grammar` has all its settings"):
        smollm2_vocabulary.generate("a", grammar=grammar, **more)


@pytest.mark.parametrize("how", ["banned_tokens", "logit_bias"])
def test_banned_tokens_are_not_forced(smollm2: Model, how: str) -> None:
    (banned,) = smollm2.tokenize("yes", add_special=False)
    greedy = SamplerConfig.greedy()
    without = greedy.replace(banned_tokens=[banned]) if how == "banned_tokens" else greedy.replace(logit_bias={banned: -math.inf})
    done = smollm2.generate("Well?", choices=["yes", "no"], sampling=without).result()
    assert done.text in ("yes", "no")
    assert banned not in done.tokens
    with pytest.raises(SamplingError, match="check that bans, bias, grammar and hooks together leave a token"):
        smollm2.generate("Well?", choices=["yes"], sampling=without).result()


def test_grammar_and_allowed_tokens_without_a_common_token_end_the_stream(smollm2: Model) -> None:
    only = SamplerConfig(allowed_tokens=[5000])
    with pytest.raises(SamplingError, match="mask or grammar and allowed tokens leave none of the `49152` tokens"):
        smollm2.generate("One:", json_schema={"const": 1}, sampling=only).result()
