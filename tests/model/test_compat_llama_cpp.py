"""llama-cpp-python's interface on a real model."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import near_ties
from tabagent import ChatTemplateError, ContextFullError, Model, SamplerConfig
from tabagent.compat import llama_cpp
from tabagent.compat.llama_cpp import Llama, LlamaGrammar, LogitsProcessorList, MinTokensLogitsProcessor, StoppingCriteriaList
from tabagent.compat.llama_cpp.speculative import LlamaPromptLookupDecoding

PROMPT = "The capital of France is"
HELLO = [{"role": "user", "content": "Say hi."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "the weather",
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Paris", "London"]}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def llm(smollm2_path: Path) -> Iterator[Llama]:
    with Llama(str(smollm2_path), n_ctx=512, n_threads=1, verbose=False) as made:
        yield made


def assert_alike(model: Model, prompt: list[int], text: str) -> None:
    """The text is what the model says greedily, up to a near tie."""
    got = model.tokenize(text, add_special=False)
    want = model.generate(prompt, max_tokens=len(got), sampling=SamplerConfig.greedy(), add_special=False, ignore_eos=True).result().tokens
    near_ties.assert_alike(model, prompt, got, want)


def test_a_completion_has_the_shape_that_programs_read(llm: Llama, smollm2: Model) -> None:
    done = llm(PROMPT, max_tokens=8, temperature=0.0)
    assert set(done) == {"id", "object", "created", "model", "choices", "usage"}
    assert (done["object"], done["id"][:5], done["model"]) == ("text_completion", "cmpl-", llm.model_path)
    (choice,) = done["choices"]
    assert_alike(smollm2, smollm2.tokenize(PROMPT), choice["text"])
    assert (choice["index"], choice["logprobs"], choice["finish_reason"]) == (0, None, "length")
    count = len(llm.tokenize(PROMPT.encode()))
    assert done["usage"] == {"prompt_tokens": count, "completion_tokens": 8, "total_tokens": count + 8}
    tokens = llm.tokenize(PROMPT.encode())
    assert llm.create_completion(tokens, max_tokens=8, temperature=0.0)["choices"][0]["text"] == choice["text"]
    named = llm(PROMPT, max_tokens=2, temperature=0.0, echo=True, model="mine")
    assert named["model"] == "mine"
    assert named["choices"][0]["text"].startswith(PROMPT)


def test_a_streamed_completion_is_the_same_text(llm: Llama) -> None:
    whole = llm(PROMPT, max_tokens=12, temperature=0.0)["choices"][0]
    chunks = list(llm(PROMPT, max_tokens=12, temperature=0.0, stream=True))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["text"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    echoed = llm(PROMPT, max_tokens=2, temperature=0.0, stream=True, echo=True)
    assert next(echoed)["choices"][0]["text"] == PROMPT
    echoed.close()


def test_ends(llm: Llama) -> None:
    done = llm("One, two, three,", max_tokens=40, temperature=0.0, stop=[" five"])["choices"][0]
    assert (done["text"], done["finish_reason"]) == (" four,", "stop")
    seen: list[int] = []

    def after_three(tokens: Any, logits: Any) -> bool:
        assert logits.shape == (llm.n_vocab(),)
        seen.append(len(tokens))
        return len(seen) > 3

    stopped = llm(PROMPT, max_tokens=20, temperature=0.0, stopping_criteria=StoppingCriteriaList([after_three]))
    assert (stopped["choices"][0]["finish_reason"], stopped["usage"]["completion_tokens"]) == ("stop", 3)
    count = len(llm.tokenize(PROMPT.encode()))
    assert seen == [count, count + 1, count + 2, count + 3]
    with pytest.raises(ContextFullError):
        llm("word " * 600)
    assert llm(PROMPT, max_tokens=0, temperature=0.0, stop="\n")["usage"]["completion_tokens"] > 0
    unlimited = llm("word " * 480, max_tokens=-1, temperature=0.0, logit_bias={llm.token_eos(): -100.0})
    assert (unlimited["choices"][0]["finish_reason"], unlimited["usage"]["total_tokens"]) == ("length", 512)


def test_logits_can_be_changed(llm: Llama) -> None:
    paris = llm.tokenize(b" Paris", add_bos=False)[0]
    assert " Paris" in llm(PROMPT, max_tokens=4, temperature=0.0)["choices"][0]["text"]

    def without_paris(tokens: Any, scores: Any) -> Any:
        changed = scores.copy()
        changed[paris] = -np.inf
        return changed

    forms: list[Any] = [LogitsProcessorList([without_paris]), without_paris, [without_paris]]
    for processors in forms:
        assert " Paris" not in llm(PROMPT, max_tokens=4, temperature=0.0, logits_processor=processors)["choices"][0]["text"]
    london = llm.tokenize(b" London", add_bos=False)[0]
    assert llm(PROMPT, max_tokens=1, temperature=0.0, logit_bias={str(london): 100})["choices"][0]["text"] == " London"
    longer = LogitsProcessorList([MinTokensLogitsProcessor(5, llm.token_eos())])
    ended = llm(PROMPT, max_tokens=8, temperature=0.0, logits_processor=longer, logit_bias={llm.token_eos(): 100})
    assert ended["usage"]["completion_tokens"] == 5
    with pytest.raises(TypeError, match="`logits_processor` must be a function or a list of functions, got int"):
        llm(PROMPT, logits_processor=3)  # type: ignore[arg-type]


def test_sampling_parameters_mean_the_same(llm: Llama) -> None:
    texts = {llm(PROMPT, max_tokens=8, seed=5, temperature=1.5)["choices"][0]["text"] for _ in range(2)}
    assert len(texts) == 1
    llm.set_seed(5)
    assert {llm(PROMPT, max_tokens=8, temperature=1.5)["choices"][0]["text"]} == texts
    llm.set_seed(llama_cpp.LLAMA_DEFAULT_SEED)
    assert len({llm(PROMPT, max_tokens=8, temperature=3.0)["choices"][0]["text"] for _ in range(4)}) > 1
    for options in ({"mirostat_mode": 2}, {"mirostat_mode": 1, "mirostat_tau": 3.0}, {"temperature": -1.0}, {"top_k": -1, "typical_p": 0.9}):
        drawn = llm(PROMPT, max_tokens=4, seed=5, **options)
        assert drawn["choices"][0]["text"] == llm(PROMPT, max_tokens=4, seed=5, **options)["choices"][0]["text"]
        assert drawn["usage"]["completion_tokens"] == 4 or drawn["choices"][0]["finish_reason"] == "stop"
    with pytest.raises(ValueError, match=r"`tfs_z=0\.5` cannot be honoured"):
        llm(PROMPT, tfs_z=0.5)
    with pytest.raises(ValueError, match="`mirostat_mode` must be 0, 1 or 2, got 3"):
        llm(PROMPT, mirostat_mode=3)


def test_grammars(llm: Llama) -> None:
    answer = LlamaGrammar.from_string('root ::= " yes" | " no"', verbose=False)
    assert llm("Is water wet? Answer:", grammar=answer, temperature=0.0)["choices"][0]["text"] in {" yes", " no"}
    person = LlamaGrammar.from_json_schema('{"type": "object", "properties": {"age": {"type": "integer", "maximum": 99}}, "required": ["age"]}')
    text = llm("A person: ", grammar=person, temperature=0.0, max_tokens=40)["choices"][0]["text"]
    assert set(json.loads(text)) == {"age"}
    with pytest.raises(TypeError, match="`grammar` must be a LlamaGrammar, got str"):
        llm(PROMPT, grammar='root ::= "x"')  # type: ignore[arg-type]


def test_log_probabilities(llm: Llama) -> None:
    found = llm(PROMPT, max_tokens=3, temperature=0.0, logprobs=2)["choices"][0]
    rows = found["logprobs"]
    assert "".join(rows["tokens"]) == found["text"]
    assert rows["text_offset"] == [len(PROMPT), len(PROMPT) + len(rows["tokens"][0]), len(PROMPT) + len("".join(rows["tokens"][:2]))]
    for token, logprob, top in zip(rows["tokens"], rows["token_logprobs"], rows["top_logprobs"], strict=True):
        assert len(top) == 2
        assert max(top.values()) == top[token] == logprob < 0
    echoed = llm(PROMPT, max_tokens=1, temperature=0.0, logprobs=1, echo=True)["choices"][0]["logprobs"]
    assert "".join(echoed["tokens"]).startswith(PROMPT)
    assert (echoed["token_logprobs"][0], echoed["top_logprobs"][0], echoed["text_offset"][0]) == (None, None, 0)
    assert all(logprob <= max(top.values()) <= 0 for logprob, top in zip(echoed["token_logprobs"][1:], echoed["top_logprobs"][1:], strict=True))
    # " of" is nearly certain after "The capital".
    assert echoed["top_logprobs"][1][" capital"] < echoed["top_logprobs"][2][" of"]


def test_a_chat_completion_has_the_shape_that_programs_read(llm: Llama, smollm2: Model) -> None:
    done = llm.create_chat_completion(HELLO, max_tokens=12, temperature=0.0)
    assert (done["object"], done["id"][:9]) == ("chat.completion", "chatcmpl-")
    (choice,) = done["choices"]
    assert set(choice) == {"index", "message", "logprobs", "finish_reason"}
    assert choice["message"].keys() == {"role", "content"}
    assert_alike(smollm2, smollm2.apply_chat_template(HELLO, tokenize=True), choice["message"]["content"])
    chunks = list(llm.create_chat_completion(HELLO, max_tokens=12, temperature=0.0, stream=True))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant"}
    assert deltas[-1] == {}
    assert "".join(delta.get("content", "") for delta in deltas) == choice["message"]["content"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    counted = llm.create_chat_completion(HELLO, max_tokens=3, temperature=0.0, logprobs=True, top_logprobs=2)["choices"][0]
    assert "".join(entry["token"] for entry in counted["logprobs"]["content"]) == counted["message"]["content"]
    assert [len(entry["top_logprobs"]) for entry in counted["logprobs"]["content"]] == [2, 2, 2]
    streamed = list(llm.create_chat_completion(HELLO, max_tokens=3, temperature=0.0, logprobs=True, top_logprobs=2, stream=True))
    entries = [entry for chunk in streamed for entry in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert entries == counted["logprobs"]["content"]


def test_json_in_a_chat(llm: Llama) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer", "maximum": 99}}, "required": ["age"]}
    form = {"type": "json_object", "schema": schema}
    done = llm.create_chat_completion(HELLO, response_format=form, max_tokens=30, temperature=0.0)["choices"][0]
    assert (list(json.loads(done["message"]["content"])), done["finish_reason"]) == (["age"], "stop")


@pytest.mark.parametrize("old", [False, True])
def test_calls_of_tools(llm: Llama, *, old: bool) -> None:
    function = WEATHER["function"]
    if old:
        asked: dict[str, Any] = {"functions": [function], "function_call": {"name": "get_weather"}}
    else:
        asked = {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    done = llm.create_chat_completion(messages, temperature=0.0, max_tokens=60, **asked)
    (choice,) = done["choices"]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert (call["type"], call["function"]["name"], call["function"]) == ("function", "get_weather", choice["message"]["function_call"])
    assert set(json.loads(call["function"]["arguments"])) == {"city"}
    chunks = list(llm.create_chat_completion(messages, temperature=0.0, max_tokens=60, stream=True, **asked))
    parts = [part for chunk in chunks for part in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert "".join(part["function"]["arguments"] for part in parts) == call["function"]["arguments"]
    assert [part["function"]["name"] for part in parts if part["function"]["name"]] == ["get_weather"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"


def test_formats_and_handlers(smollm2_path: Path, gemma_path: Path) -> None:
    with Llama(smollm2_path, n_ctx=256, n_threads=1, chat_format="llama-2") as llm:
        count = llm.create_chat_completion(HELLO, max_tokens=1)["usage"]["prompt_tokens"]
        assert count == len(llm.model.apply_chat_template(HELLO, chat_template="llama2", tokenize=True))
        llm.chat_format = "no such format"
        with pytest.raises(ValueError, match="no such format"):
            llm.create_chat_completion(HELLO)
        given: dict[str, Any] = {}

        def handler(**arguments: Any) -> str:
            given.update(arguments)
            return "handled"

        llm.chat_handler = handler
        assert llm.create_chat_completion(HELLO, temperature=0.5) == "handled"
        assert (given["llama"], given["messages"], given["temperature"]) == (llm, HELLO, 0.5)
    with Llama(gemma_path, n_ctx=256, n_threads=1, vocab_only=True) as bare, pytest.raises(ChatTemplateError):
        bare.create_chat_completion(HELLO)


def test_tokens_are_bytes_of_text(llm: Llama) -> None:
    for text in ("Hello world", "<|im_start|>user", "Grüße, 世界 🙂", ""):
        for special in (False, True):
            tokens = llm.tokenize(text.encode(), special=special)
            assert tokens == llm.model.tokenize(text, parse_special=special)
            assert llm.detokenize(tokens, special=True).decode() == text
    marked = llm.tokenize(b"<|im_start|>hi", special=True)
    assert llm.detokenize(marked) == b"hi"
    tokenizer = llm.tokenizer()
    assert tokenizer.decode(tokenizer.encode("one two")) == "one two"
    with pytest.raises(TypeError, match="`text` must be bytes"):
        llm.tokenize("text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`text` must be UTF-8; byte 1 is none"):
        llm.tokenize(b"a\xff")


def test_a_text_that_begins_has_no_space_before_it(gemma_path: Path) -> None:
    with Llama(gemma_path, vocab_only=True) as gemma:
        tokens = gemma.tokenize(b" one")
        assert tokens[0] == gemma.token_bos()
        assert gemma.detokenize(tokens) == b"one"
        assert gemma.detokenize(tokens[1:]) == b" one"
        assert gemma.detokenize(tokens[1:], prev_tokens=tokens[:1]) == b"one"
        assert gemma.detokenize(tokens[1:], prev_tokens=tokens) == b" one"


def test_tokens_one_by_one(llm: Llama, smollm2: Model) -> None:
    prompt = llm.tokenize(PROMPT.encode())
    expected = list(smollm2.generate(PROMPT, max_tokens=6, sampling=SamplerConfig.greedy()).result().tokens)
    source = llm.generate(prompt, temp=0.0)
    assert [next(source) for _ in range(6)] == expected
    assert llm.n_tokens == len(prompt) + 6
    sent = llm.tokenize(b" London", add_bos=False)
    after = source.send(sent)
    assert llm.eval_tokens[-2 - len(sent) :] == [expected[-1], *sent, after]
    source.close()
    more = llm.generate(llm.tokenize(b" and", add_bos=False), temp=0.0, reset=False)
    next(more)
    more.close()
    assert llm.eval_tokens[len(prompt) :][:6] == expected

    # What ends a text is a token like others, and does not end the tokens.
    def end(ids: Any, scores: Any) -> Any:
        scores[llm.token_eos()] = 100 if len(ids) == len(prompt) + 2 else -100
        return scores

    ended = llm.generate(prompt, temp=0.0, logits_processor=LogitsProcessorList([end]))
    tokens = [next(ended) for _ in range(5)]
    ended.close()
    assert [token == llm.token_eos() for token in tokens] == [False, False, True, False, False]


def test_evaluation_by_hand(llm: Llama) -> None:
    prompt = llm.tokenize(PROMPT.encode())
    llm.reset()
    llm.eval(prompt[:2])
    llm.eval(prompt[2:])
    assert llm.n_tokens == len(prompt)
    assert llm.scores.shape == (1, llm.n_vocab())
    first = llm.sample(temp=0.0)
    assert first == int(llm.scores[-1].argmax())
    assert llm.detokenize([first]) == b" Paris"
    state = pickle.loads(pickle.dumps(llm.save_state()))  # noqa: S301 (its own)
    llm.eval([first])
    second = llm.sample(temp=0.0)
    llm.load_state(state)
    assert (llm.n_tokens, llm.sample(temp=0.0)) == (len(prompt), first)
    llm.eval([first])
    assert llm.sample(temp=0.0) == second
    llm.set_seed(1)
    assert len({llm.sample(temp=1.0) for _ in range(3)}) == 1
    llm.set_seed(-1)
    draws = {llm.sample(temp=2.0, top_k=0, top_p=1.0, min_p=0.0) for _ in range(12)}
    assert len(draws) > 1
    llm.reset()
    with pytest.raises(ValueError, match="there are no tokens"):
        llm.sample()
    llm(PROMPT, max_tokens=3, temperature=0.0)
    assert llm.input_ids.tolist()[: len(prompt)] == prompt
    assert llm.n_tokens == len(prompt) + 3
    with pytest.raises(ContextFullError):
        llm.eval([prompt[0]] * 600)
    assert llm.n_tokens <= 512


def test_all_logits_are_kept_where_asked(smollm2_path: Path) -> None:
    with Llama(smollm2_path, n_ctx=128, n_batch=4, n_threads=1, logits_all=True) as llm:
        tokens = llm.tokenize(b"one two three four five six")
        llm.eval(tokens)
        assert llm.scores.shape == (len(tokens), llm.n_vocab())
        logprobs = Llama.logits_to_logprobs(llm.scores)
        assert np.exp(logprobs).sum(axis=-1) == pytest.approx(np.ones(len(tokens)), rel=1e-4)
        before = llm.scores[:3].copy()
        llm.reset()
        llm.eval(tokens[:3])
        assert np.abs(llm.scores - before).max() < 0.5
        assert len(llm.eval_logits) == 3
    assert Llama.longest_token_prefix([1, 2, 3], [1, 2, 4]) == 2


def test_vectors(smollm2_path: Path, minilm_file: Path, minilm: Model) -> None:
    with Llama(minilm_file, n_ctx=0, n_threads=1, embedding=True) as llm:
        found = llm.create_embedding(["hello world", "one"])
        assert (found["object"], [entry["index"] for entry in found["data"]]) == ("list", [0, 1])
        vector = np.array(found["data"][0]["embedding"])
        assert np.abs(vector - minilm.embed("hello world", normalize=False)[0]).max() < 1e-3
        assert found["usage"]["prompt_tokens"] == found["usage"]["total_tokens"] == 7
        assert np.linalg.norm(llm.embed("hello world", normalize=True)) == pytest.approx(1, abs=1e-5)
        assert llm.embed([]) == []
        assert len(llm.embed("word " * 2000)) == llm.n_embd()
    with Llama(smollm2_path, n_ctx=64, n_threads=1, embedding=True) as llm:
        tokens = llm.tokenize(b"hello world")
        assert np.array(llm.embed("hello world")).shape == (len(tokens), llm.n_embd())
    with Llama(smollm2_path, n_ctx=64, n_threads=1, embedding=True, pooling_type=llama_cpp.LLAMA_POOLING_TYPE_MEAN) as llm:
        assert np.array(llm.embed("hello world")).shape == (llm.n_embd(),)
    with Llama(smollm2_path, n_ctx=64, n_threads=1) as llm, pytest.raises(RuntimeError, match="embedding=True"):
        llm.embed("x")


def test_facts(llm: Llama, smollm2: Model, smollm2_path: Path) -> None:
    assert (llm.n_ctx(), llm.n_vocab(), llm.n_embd()) == (512, smollm2.vocab_size(), smollm2.embedding_dim())
    assert (llm.token_eos(), llm.token_bos(), llm.token_nl()) == (smollm2.token_eos(), smollm2.token_bos(), smollm2.token_nl())
    assert llm.context_params.n_ctx == 512
    assert llm.metadata["general.architecture"] == "llama"
    assert llm.metadata["llama.block_count"] == "30"
    assert all(isinstance(value, str) for value in llm.metadata.values())
    with pickle.loads(pickle.dumps(llm)) as copy:  # noqa: S301 (its own)
        assert (copy.model_path, copy.n_ctx()) == (str(smollm2_path), 512)


def test_guesses_do_not_change_a_text(llm: Llama, smollm2_path: Path) -> None:
    prompt = "one two three four one two three four one two three"
    expected = llm(prompt, max_tokens=12, temperature=0.0)["choices"][0]["text"]
    draft = LlamaPromptLookupDecoding(num_pred_tokens=100)
    with Llama(smollm2_path, n_ctx=512, n_threads=1, draft_model=draft) as guessing:
        assert guessing(prompt, max_tokens=12, temperature=0.0)["choices"][0]["text"] == expected
    with pytest.raises(TypeError, match="`draft_model` must be a LlamaPromptLookupDecoding, got int"):
        Llama(smollm2_path, draft_model=3)


def test_positions_can_be_scaled(llm: Llama, smollm2_path: Path) -> None:
    prompt = "word " * 100 + PROMPT
    plain = llm(prompt, max_tokens=12, temperature=0.0)["choices"][0]["text"]
    with Llama(smollm2_path, n_ctx=512, n_threads=1, rope_freq_base=100.0, rope_freq_scale=0.25) as scaled:
        assert scaled(prompt, max_tokens=12, temperature=0.0)["choices"][0]["text"] != plain
    base = float(llm.metadata["llama.rope.freq_base"])
    with Llama(smollm2_path, n_ctx=512, n_threads=1, rope_freq_base=base, rope_freq_scale=1.0) as same:
        assert same(prompt, max_tokens=12, temperature=0.0)["choices"][0]["text"] == plain
