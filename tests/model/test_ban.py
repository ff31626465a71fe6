"""Texts that must not come, on real models."""

import pytest

from tabagent import Model, SamplerConfig

GREEDY = SamplerConfig.greedy()
PROMPT = "Once upon a time"


def test_banned_texts_never_come_over_token_borders(smollm2: Model) -> None:
    whole = smollm2.generate(PROMPT, max_tokens=32, sampling=GREEDY).result().text
    for start in range(1, 40, 9):
        ban = whole[start : start + 7]
        shown = ""
        for piece in smollm2.generate(PROMPT, max_tokens=32, sampling=GREEDY, ban=ban):
            shown += piece
            assert ban not in shown
        assert shown != whole
        # What comes before the banned text is as it was, up to the token that it begins in.
        assert shown[: max(0, whole.index(ban) - 12)] == whole[: max(0, whole.index(ban) - 12)]


def test_text_without_banned_ones_is_the_plain_text(smollm2: Model) -> None:
    plain = smollm2.generate(PROMPT, max_tokens=32, sampling=GREEDY).result()
    held = [f"{plain.text[10:20]}#", plain.text[4:9].swapcase()]
    assert smollm2.generate(PROMPT, max_tokens=32, sampling=GREEDY, ban=held).result().tokens == plain.tokens


def test_letter_can_be_left_out_with_seeded_sampling(smollm2: Model, gemma: Model) -> None:
    hot = SamplerConfig(temperature=1.2, repeat_penalty=1.2, seed=3)
    for model in (smollm2, gemma):
        done = model.generate(PROMPT, max_tokens=40, sampling=hot, ban=["e", "E"], logprobs=1, ignore_eos=True).result()
        assert "e" not in done.text.lower()
        assert len(done.tokens) == done.usage.completion_tokens == 40
        assert done.logprobs is not None
        assert tuple(entry.token for entry in done.logprobs) == done.tokens
        again = model.generate(PROMPT, max_tokens=40, sampling=hot, ban=["e", "E"], logprobs=1, ignore_eos=True).result()
        assert again.text == done.text


def test_ban_within_a_grammar_chooses_another_way(smollm2: Model) -> None:
    done = smollm2.generate("The answer is", choices=["yes, it is", "yes, sure", "no"], sampling=GREEDY, max_tokens=20, ban=["it", "no"]).result()
    assert done.text == "yes, sure"


def test_ban_comes_with_stop_strings(smollm2: Model) -> None:
    whole = smollm2.generate(PROMPT, max_tokens=32, sampling=GREEDY).result().text
    done = smollm2.generate(PROMPT, max_tokens=32, sampling=GREEDY, stop=whole[10:14], ban=whole[12:30]).result()
    assert done.text == whole[: whole.index(whole[10:14])]


@pytest.mark.parametrize("ban", ["", ["a", ""]])
def test_empty_ban_is_refused(smollm2: Model, ban: str | list[str]) -> None:
    with pytest.raises(ValueError, match=r"`ban\[\d\]` is empty"):
        smollm2.generate(PROMPT, ban=ban)
