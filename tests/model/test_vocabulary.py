"""What a model knows about its tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tabagent import Model


def test_facts_of_smollm2(smollm2_vocabulary: Model) -> None:
    model = smollm2_vocabulary
    assert (model.vocab_size(), model.context_train_size(), model.embedding_dim()) == (49152, 8192, 576)
    eos = model.token_eos()
    assert eos is not None
    assert model.token_text(eos) == "<|im_end|>"
    assert model.is_eog(eos)
    assert model.is_control(eos)
    assert "control" in model.token_attributes(eos)
    assert not model.adds_bos
    newline = model.token_nl()
    assert newline is not None
    assert model.token_to_bytes(newline) == b"\n"


def test_facts_of_gemma(gemma_vocabulary: Model) -> None:
    model = gemma_vocabulary
    assert (model.vocab_size(), model.embedding_dim(), model.token_bos(), model.adds_bos) == (262144, 640, 2, True)
    assert model.tokenize("a")[0] == 2
    assert model.tokenize("a", add_special=False)[0] != 2
    assert (model.info.sliding_window, model.info.layers) == (512, 18)


def test_special_tokens_are_tokens_or_none(smollm2_vocabulary: Model) -> None:
    for name in ("bos", "eos", "eot", "nl", "pad", "sep", "mask", "fim_pre", "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep"):
        token = getattr(smollm2_vocabulary, f"token_{name}")()
        assert token is None or 0 <= token < smollm2_vocabulary.vocab_size()


def test_special_flags(smollm2_vocabulary: Model) -> None:
    model = smollm2_vocabulary
    text = "<|im_start|>user"
    tokens = model.tokenize(text, parse_special=True)
    assert len(tokens) == 2
    assert len(model.tokenize(text)) > 2
    assert model.detokenize(tokens) == text
    assert model.detokenize(tokens, unparse_special=False) == "user"
    assert model.token_to_bytes(tokens[0]) == b"<|im_start|>"
    assert model.token_to_bytes(tokens[0], special=False) == b""


def test_numpy_tokens_detokenize(smollm2_vocabulary: Model) -> None:
    tokens = np.array(smollm2_vocabulary.tokenize("Hello there"), np.int32)
    assert smollm2_vocabulary.detokenize(tokens) == "Hello there"
    assert smollm2_vocabulary.detokenize_batch([tokens, []]) == ["Hello there", ""]
    assert smollm2_vocabulary.token_text(tokens[0]) == "Hello"


def test_empty_text_has_no_tokens(smollm2_vocabulary: Model) -> None:
    assert smollm2_vocabulary.tokenize("") == []
    assert smollm2_vocabulary.detokenize([]) == ""
    assert smollm2_vocabulary.tokenize_batch([]) == []


@pytest.mark.parametrize(
    ("method", "argument", "error"),
    [
        ("tokenize", b"bytes", TypeError),
        ("tokenize", None, TypeError),
        ("tokenize", ["a"], TypeError),
        ("tokenize", "a\ud800b", ValueError),
        ("tokenize_batch", "text", TypeError),
        ("tokenize_batch", ["a", b"b"], TypeError),
        ("tokenize_batch", ["a", "\udc00"], ValueError),
        ("detokenize", "text", TypeError),
        ("detokenize", b"text", TypeError),
        ("detokenize", [1.5], TypeError),
        ("detokenize", [49152], ValueError),
        ("detokenize", [-1], ValueError),
        ("detokenize_batch", "text", TypeError),
        ("detokenize_batch", ["text"], TypeError),
        ("detokenize_batch", [[1], [10**9]], ValueError),
        ("token_text", -1, ValueError),
        ("token_text", 49152, ValueError),
        ("token_text", "a", TypeError),
        ("token_score", True, TypeError),
        ("token_attributes", 1.0, TypeError),
        ("token_to_bytes", 2**40, ValueError),
        ("is_eog", None, TypeError),
        ("is_control", 49152, ValueError),
    ],
)
def test_wrong_argument_is_refused(smollm2_vocabulary: Model, method: str, argument: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        getattr(smollm2_vocabulary, method)(argument)
    assert not isinstance(caught.value, (UnicodeError, OverflowError))


def test_surrogate_error_says_where_and_what_to_do(smollm2_vocabulary: Model) -> None:
    with pytest.raises(ValueError, match=r"`text` holds the lone surrogate U\+D800 at index 1.*encode"):
        smollm2_vocabulary.tokenize("a\ud800")
    with pytest.raises(ValueError, match=r"`texts\[1\]` holds the lone surrogate"):
        smollm2_vocabulary.tokenize_batch(["a", "\udfff"])
