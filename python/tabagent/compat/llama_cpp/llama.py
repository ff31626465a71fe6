"""llama-cpp-python's `Llama` over this package's `Model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tabagent.compat.llama_cpp.chat import ChatWriter, template_name, tool_arguments
from tabagent.compat.llama_cpp.completion import CompletionWriter, LogprobRow, shown
from tabagent.compat.llama_cpp.embedder import LlamaEmbedder
from tabagent.compat.llama_cpp.evaluation import Evaluation
from tabagent.compat.llama_cpp.evaluator import LlamaEvaluator
from tabagent.compat.llama_cpp.grammar import LlamaGrammar, closed, structure_of
from tabagent.compat.llama_cpp.processors import LogitsProcessorList, StoppingCriteriaList, hooks

__all__ = ["Llama"]


class Llama(LlamaEvaluator, LlamaEmbedder):
    """A model with llama-cpp-python's methods.

        from tabagent.compat.llama_cpp import Llama

        llm = Llama("model.gguf", n_ctx=2048)
        print(llm("The quick brown fox", max_tokens=16)["choices"][0]["text"])

    Parameters and responses are those of llama-cpp-python 0.3.36. A parameter that cannot be honoured is an error that says so. Other than there,
    threads may call one object at the same time (their requests are decoded together), and what was decoded of any earlier prompt is found again.
    The model itself is `model`.

    Raises:
        TypeError: there is no such parameter.
        ValueError: a parameter has a value that cannot be honoured.
        Others: as `Model.load`.
    """

    def create_completion(
        self,
        prompt: str | Sequence[int],
        suffix: str | None = None,
        max_tokens: int | None = 16,
        temperature: float = 0.8,
        top_p: float = 0.95,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        logprobs: int | None = None,
        echo: bool = False,
        stop: str | Sequence[str] | None = (),
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        repeat_penalty: float = 1.0,
        top_k: int = 40,
        stream: bool = False,
        seed: int | None = None,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        model: str | None = None,
        stopping_criteria: StoppingCriteriaList | None = None,
        logits_processor: LogitsProcessorList | None = None,
        grammar: LlamaGrammar | None = None,
        logit_bias: Mapping[Any, float] | None = None,
    ) -> Any:
        """Continue a text: a response, or with `stream` an iterator of pieces of it.

        Raises:
            TypeError, ValueError: an argument is wrong, or cannot be honoured.
            ContextFullError: the prompt does not fit the context (a ValueError).
        """
        sampling = self._sampling(locals())
        options = {
            "max_tokens": _limit(max_tokens),
            "sampling": sampling,
            "stop": () if stop is None else stop,
            "logprobs": logprobs,
            "logits_processors": hooks(logits_processor, stopping_criteria),
            **self._always(),
            **structure_of(grammar),
        }
        if suffix is not None:
            if not isinstance(prompt, str):
                message = "`suffix` goes with a prompt that is a text, not tokens"
                raise TypeError(message)
            text, tokens = prompt, list[int]()
            generated = self._model.infill(prompt, suffix, suffix_first=self._settings["spm_infill"], **options)
        else:
            tokens = self.tokenize(prompt.encode(), True, True) if isinstance(prompt, str) else [int(token) for token in prompt]
            text = prompt if isinstance(prompt, str) else self.detokenize(tokens).decode("utf-8", errors="ignore")
            generated = self._model.generate(tokens, add_special=False, **options)
        writer = CompletionWriter(
            model or self.model_path,
            prefix=text if echo else "",
            offset=0 if echo else len(text),
            prompt_logprobs=self._prompt_logprobs(tokens, logprobs) if echo and logprobs is not None else None,
        )

        def after(new: Sequence[int]) -> None:
            self._evaluation.tokens = [*tokens, *new]

        if stream:
            return writer.chunks(generated, with_logprobs=logprobs is not None, after=after)
        return writer.whole(generated, with_logprobs=logprobs is not None, after=after)

    __call__ = create_completion

    def create_chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        functions: Sequence[Mapping[str, Any]] | None = None,
        function_call: str | Mapping[str, Any] | None = None,
        tools: Sequence[Any] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        temperature: float = 0.2,
        top_p: float = 0.95,
        top_k: int = 40,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        stream: bool = False,
        stop: str | Sequence[str] | None = (),
        seed: int | None = None,
        response_format: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        repeat_penalty: float = 1.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        model: str | None = None,
        logits_processor: LogitsProcessorList | None = None,
        grammar: LlamaGrammar | None = None,
        logit_bias: Mapping[Any, float] | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
    ) -> Any:
        """Answer a conversation: a response, or with `stream` an iterator of pieces of it.

        The template is that of the file, or the one that `chat_format` names. Calls of tools are read from every format that templates write, not
        only where `tool_choice` names a tool.

        Raises:
            ChatTemplateError: the file has no template and `chat_format` names none; or the template refuses the conversation.
            Others: as `create_completion`.
        """
        if self.chat_handler is not None:
            given = {name: value for name, value in locals().items() if name != "self"}
            return self.chat_handler(llama=self, **given)
        answer = self._model.chat(
            messages,
            **tool_arguments(functions, function_call, tools, tool_choice),
            response_format=_closed_format(response_format),
            chat_template=template_name(self.chat_format),
            max_tokens=_limit(max_tokens),
            stop=() if stop is None else stop,
            logprobs=(top_logprobs or 0) if logprobs else None,
            logits_processors=hooks(logits_processor, None),
            sampling=self._sampling(locals()),
            **self._always(),
            **structure_of(grammar),
        )
        writer = ChatWriter(model or self.model_path)
        return (writer.chunks if stream else writer.whole)(answer, with_logprobs=bool(logprobs))

    def create_chat_completion_openai_v1(self, *arguments: Any, **options: Any) -> Any:
        """As `create_chat_completion`, with objects of the `openai` package.

        Raises:
            ImportError: that is not installed.
        """
        from openai.types.chat import ChatCompletion, ChatCompletionChunk  # noqa: PLC0415 (a package that the caller has)

        response = self.create_chat_completion(*arguments, **options)
        if isinstance(response, dict):
            return ChatCompletion.model_validate(response)
        return (ChatCompletionChunk.model_validate(chunk) for chunk in response)

    def _prompt_logprobs(self, tokens: Sequence[int], count: int | None) -> list[LogprobRow]:
        """The prompt's tokens with their log-probabilities, for `echo`; the first one has none, and the token that begins a text is left out."""
        made: list[LogprobRow] = []
        size = max(len(tokens), 1)
        evaluation = Evaluation(
            self._model, context_size=size, batch_size=min(self.n_batch, size), keeps_all=True, options={"adapters": self._adapters}
        )
        evaluation.append(tokens)
        rows = self.logits_to_logprobs(evaluation.scores())
        evaluation.close()
        for index, token in enumerate(tokens):
            if index == 0 and token == self._model.token_bos():
                continue
            text = shown(self._model.token_to_bytes(token))
            if not made:
                made.append((text, None, None))
                continue
            row = rows[index - 1]
            best = np.argsort(-row, kind="stable")[: count or 0]
            top = {shown(self._model.token_to_bytes(int(other))): float(row[other]) for other in best}
            made.append((text, float(row[token]), {**top, text: float(row[token])}))
        return made


def _limit(max_tokens: int | None) -> int | None:
    """No limit with None, 0 and below, as in llama-cpp-python."""
    return None if max_tokens is None or max_tokens <= 0 else max_tokens


def _closed_format(response_format: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The format with a closed schema, as llama-cpp-python takes it."""
    if isinstance(response_format, Mapping) and "schema" in response_format:
        return {**response_format, "schema": closed(response_format["schema"])}
    return response_format
