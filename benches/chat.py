"""Conversations: prompts beside jinja2, which transformers renders them with, answers while they are read, and turns of a real model.

Rendering and tokenizing a conversation of 50 messages takes at most 5 ms, and rendering no longer than jinja2's. Finding out what a template can
write takes at most 20 ms, once a model. Reading an answer takes at most 10 us a token, whatever the template. A call of a tool is decoded at
0.97 of the speed of free text at least; a second turn decodes only what is new.

`python benches/chat.py` prints all of it; `prompts`, `streams` and `turns` are its parts. `turns` needs `TABAGENT_TEST_MODELS`.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.jinja_reference import render
from tabagent import ChatTemplate, ChatTemplateError, Model, SamplerConfig
from tabagent.chat_template import render_request

TEMPLATES = {
    "Qwen-Qwen3-0.6B": "qwen2",
    "Qwen-Qwen2.5-7B-Instruct": "qwen2",
    "meta-llama-Llama-3.1-8B-Instruct": "llama-bpe",
    "deepseek-ai-DeepSeek-V3.1": "deepseek-llm",
    "google-gemma-4-31B-it": "gemma-4",
    "openai-gpt-oss-120b": "llama-bpe",
    "mistralai-Mistral-Nemo-Instruct-2407": "llama-bpe",
}
"""Templates and the vocabularies of their families; the pinned tree has none of the last two, whose markers are plain text here."""
WITH_TOOLS = """{%- if tools %}{{- '<|im_start|>system\\nTools:\\n' }}{%- for tool in tools %}{{- tool | tojson }}{%- endfor %}
{{- '\\nCall one as <tool_call>{"name": ..., "arguments": ...}</tool_call><|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' }}{%- if message.content %}{{- message.content }}{%- endif %}
{%- for call in message.tool_calls or [] %}{%- set call = call.function or call %}
{{- '<tool_call>\\n{"name": "' + call.name + '", "arguments": ' }}{{- call.arguments | tojson }}{{- '}\\n</tool_call>' }}{%- endfor %}
{{- '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""
TEXT = "The quick brown fox jumps over the lazy dog, and nobody asks it why. "
MESSAGES: list[dict[str, Any]] = [{"role": "user" if at % 2 == 0 else "assistant", "content": TEXT * (1 + at % 5)} for at in range(52)]
ROUNDS = 30
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


def milliseconds(work: Callable[[], object]) -> float:
    """The median of some rounds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def prompts(tree: Path) -> None:
    """Print what making a prompt takes; `tokens` is llama.cpp's tokenizer alone, on the text that the template wrote."""
    print("50 messages, ms                       | render | jinja2 | tokens | both | next turn | parse | analysis")
    print("---|---|---|---|---|---|---|---")
    for name, vocabulary in TEMPLATES.items():
        text = (tree / "models" / "templates" / f"{name}.jinja").read_bytes().decode()
        template = ChatTemplate(text, **TOKENS)
        with Model.load(tree / "models" / f"ggml-vocab-{vocabulary}.gguf", vocab_only=True) as model:
            prompt = template.render(MESSAGES[:50])
            ours = milliseconds(lambda template=template: template.render(MESSAGES[:50], adapt=False))
            theirs = milliseconds(lambda text=text: render(text, MESSAGES[:50], **TOKENS))
            alone = milliseconds(lambda model=model, prompt=prompt: model.tokenize(prompt, parse_special=True))
            anew, later = conversations(model, template)
            parse = milliseconds(lambda text=text: ChatTemplate(text))
            analysis = milliseconds(lambda text=text: ChatTemplate(text).capabilities) - parse
            print(f"{name:38}| {ours:6.2f} | {theirs:6.2f} | {alone:6.2f} | {anew:5.2f} | {later:5.2f} | {parse:5.2f} | {analysis:5.2f}")


def conversations(model: Model, template: ChatTemplate) -> tuple[float, float]:
    """What rendering and tokenizing takes of a conversation that was never seen, and of one that is two messages longer than when it was seen."""
    anew, later = [], []
    for number in range(ROUNDS):
        first, *others = MESSAGES
        messages = [{**first, "content": f"{number}. {first['content']}"}, *others]
        for times, part in ((anew, messages[:-2]), (later, messages)):
            began = time.perf_counter()
            model.apply_chat_template(part, chat_template=template, tokenize=True)
            times.append(time.perf_counter() - began)
    return statistics.median(anew) * 1000, statistics.median(later) * 1000


def answers(template: ChatTemplate) -> Iterator[tuple[str, str]]:
    """Texts of models: what the template itself writes of a long answer and of a long call, and a text full of what looks like markers."""
    user = {"role": "user", "content": "Hello"}
    prompt = template.render([user])
    call = {"name": "search", "arguments": {"query": TEXT * 40, "limit": 5}}
    said = {"role": "assistant", "content": TEXT * 100, "reasoning_content": TEXT * 100}
    called = {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "id": "call00000", "function": call}]}
    for kind, message in (("text", said), ("call", called)):
        try:
            whole = template.render([user, message], add_generation_prompt=False)
        except ChatTemplateError:  # some templates ask for more than that
            continue
        yield kind, whole[shared(prompt, whole) :]
    yield "markers", " < [ { ` ".join([TEXT] * 100)


def shared(one: str, other: str) -> int:
    """How long the beginning is that two texts share."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def streams(tree: Path) -> None:
    """Print what reading an answer takes with the slowest templates of the tree, four bytes a token."""
    found: list[tuple[float, str, str]] = []
    with Model.load(tree / "models" / "ggml-vocab-qwen2.gguf", vocab_only=True) as model:
        for path in sorted((tree / "models" / "templates").glob("*.jinja")):
            template = ChatTemplate(path.read_bytes().decode(), **TOKENS)
            try:
                texts = list(answers(template))
            except ChatTemplateError:
                continue
            for kind, text in texts:
                pieces = [text[at : at + 4] for at in range(0, len(text), 4)]
                times = []
                for _ in range(5):
                    parser = reader(model, template)
                    began = time.perf_counter()
                    for piece in pieces:
                        parser.feed(piece)
                    parser.finish()
                    times.append(time.perf_counter() - began)
                found.append((statistics.median(times) / len(pieces) * 1e6, path.stem, kind))
    found.sort(reverse=True)
    print("\nreading an answer, us a token            | text")
    print("---|---")
    for microseconds, name, kind in found[:5]:
        print(f"{name:38} ({kind}) | {microseconds:5.2f}")
    print(f"median of {len(found)} texts of {len({name for _, name, _ in found})} templates | {statistics.median(row[0] for row in found):5.2f}")


def reader(model: Model, template: ChatTemplate) -> Any:
    """The core's parser of an answer, as `Model.chat` uses it."""
    asked = {"tool_choice": "auto", "tool_name": None, "parallel": True, "content": None, "thinking": None}
    request = render_request(
        messages=[{"role": "user", "content": "Hello"}],
        tools=None,
        documents=None,
        add_generation_prompt=True,
        continue_final_message=False,
        adapt=True,
        now=None,
        variables={},
    )
    return model._native.prepare_chat(template._native, request, asked).parser()  # noqa: SLF001 (a module of ours)


def weather(city: str, days: int, note: str) -> str:
    """The weather in a city."""
    return f"{city} {days} {note}"


def turns(folder: Path) -> None:
    """Print how fast calls are decoded beside free text, and what a second turn decodes."""
    template = WITH_TOOLS
    options: dict[str, Any] = {"chat_template": template, "sampling": SamplerConfig.greedy(), "max_tokens": 96}
    ask = [{"role": "user", "content": "How is the weather in Rome, Oslo and Lima? Write a long note for each."}]
    ratios: dict[str, list[float]] = {"text under auto": [], "a call, held from its first token": []}
    with Model.load(folder / "smollm2-135m-instruct-q4_1.gguf", context_size=1024, max_sequences=1) as model:

        def speed(messages: list[dict[str, Any]], **more: Any) -> float:
            made = model.chat(messages, cache_prompt=False, **options, **more).result()
            return made.timings.decode_tokens_per_s

        for _ in range(ROUNDS // 3):
            free = speed(ask, ignore_eos=True)
            ratios["text under auto"].append(speed(ask, tools=[weather], ignore_eos=True) / free)
            ratios["a call, held from its first token"].append(speed(ask, tools=[weather], tool_choice="required") / free)
        print("\ndecoding with a tool                   | of free text without")
        print("---|---")
        for name, found in ratios.items():
            print(f"{name:38} | {statistics.median(found):5.3f}")
        history: list[Any] = [*ask]
        first = model.chat(history, **options).result()
        history += [first, {"role": "user", "content": "And in Paris?"}]
        second = model.chat(history, **options).result()
        new = second.usage.prompt_tokens - second.usage.cached_tokens
        had = first.usage.prompt_tokens + first.usage.completion_tokens
        print(f"\nsecond turn: {second.usage.prompt_tokens} tokens of prompt, {had} from the first turn, {new} decoded")


def main() -> None:
    """Print the tables that are asked for, or all."""
    asked = sys.argv[1:] or ["prompts", "streams", "turns"]
    tree = Path(os.environ["TABAGENT_LLAMA_CPP_TREE"])
    if "prompts" in asked:
        prompts(tree)
    if "streams" in asked:
        streams(tree)
    if "turns" in asked:
        turns(Path(os.environ["TABAGENT_TEST_MODELS"]))


if __name__ == "__main__":
    main()
