"""What a `Llama` is made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from tabagent.compat.llama_cpp.cache import BaseLlamaCache, shared_prefix
from tabagent.compat.llama_cpp.evaluation import Evaluation
from tabagent.compat.llama_cpp.options import load_options, with_defaults
from tabagent.compat.llama_cpp.sampler import sampling_of
from tabagent.compat.llama_cpp.speculative import speculation_of
from tabagent.compat.llama_cpp.tokenizer import LlamaTokenizer, detokenize, tokenize
from tabagent.model import Model

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from typing_extensions import Self

    from tabagent.sampling import SamplerConfig

__all__ = ["LlamaBase"]


class LlamaBase:
    """The part of `Llama` that loads, tokenizes and tells facts."""

    def __init__(self, model_path: str | os.PathLike[str], **parameters: Any) -> None:
        settings = with_defaults(parameters)
        options = load_options(model_path, settings)
        self.model_path = os.fspath(model_path)
        self.verbose: bool = settings["verbose"]
        self.chat_format: str | None = settings["chat_format"]
        self.chat_handler: Callable[..., Any] | None = settings["chat_handler"]
        self.draft_model = settings["draft_model"]
        self.cache: BaseLlamaCache | None = None
        self._parameters = dict(parameters)
        self._settings = settings
        self._seed: int = settings["seed"]
        self._speculative = speculation_of(self.draft_model)
        self._model = Model.load(model_path, **options)
        try:
            self._adapters = {self._model.load_adapter(settings["lora_path"]): settings["lora_scale"]} if settings["lora_path"] else None
        except BaseException:
            self._model.close()
            raise
        self.context_params = SimpleNamespace(
            n_ctx=self._model.info.context_size,
            n_batch=options["batch_size"],
            n_ubatch=options["micro_batch_size"],
        )
        self._evaluation = Evaluation(
            self._model,
            context_size=self._model.info.context_size,
            batch_size=options["batch_size"],
            keeps_all=settings["logits_all"],
            options={"threads": options["threads"], "kv_type": options["kv_type"], "adapters": self._adapters},
        )

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        filename: str | None,
        additional_files: Sequence[str] | None = None,  # noqa: ARG003 (as said below)
        local_dir: str | os.PathLike[str] | None = None,
        local_dir_use_symlinks: bool | str = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
        **parameters: Any,
    ) -> Self:
        """A model of the Hugging Face hub, downloaded into its cache if it is not there. `filename` may be a pattern such as `*Q4_K_M.gguf`.

        Files that a split model consists of are found by themselves, so `additional_files` changes nothing.

        Raises:
            ValueError: `local_dir` is given.
            ModelNotFoundError: there is no such repository or file.
        """
        if local_dir is not None or local_dir_use_symlinks != "auto":
            message = "`local_dir` cannot be honoured: files come into the hub's cache; give `cache_dir`, or load a file that you have by its path"
            raise ValueError(message)
        from tabagent.hub import fetch_model  # noqa: PLC0415 (needed here alone)

        path = fetch_model(repo_id, "*.gguf" if filename is None else filename, cache_dir=cache_dir)
        return cls(path, **parameters)

    # Tokens

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = False) -> list[int]:
        """The tokens of a text in UTF-8."""
        return tokenize(self._model, text, add_bos=add_bos, special=special)

    def detokenize(self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False) -> bytes:
        """The bytes of tokens that follow `prev_tokens`."""
        return detokenize(self._model, tokens, prev_tokens, special=special)

    def tokenizer(self) -> LlamaTokenizer:
        """The tokenizer."""
        return LlamaTokenizer(self)

    # Facts

    @property
    def model(self) -> Model:
        """The model, with everything that this package can do."""
        return self._model

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata as text, without its lists."""
        return {key: _as_text(value) for key, value in self._model.metadata.items() if not isinstance(value, (list, tuple))}  # type: ignore[redundant-expr] # lists are among them

    @property
    def n_batch(self) -> int:
        """How many tokens are decoded at a time at the most."""
        return int(self.context_params.n_batch)

    def n_ctx(self) -> int:
        """How many tokens the context holds."""
        return self._model.info.context_size

    def n_embd(self) -> int:
        """The width of the model."""
        return self._model.embedding_dim()

    def n_vocab(self) -> int:
        """How many tokens the vocabulary has."""
        return self._model.vocab_size()

    def token_eos(self) -> int:
        """The token that ends a text; -1 if there is none."""
        return _or_none(self._model.token_eos())

    def token_bos(self) -> int:
        """The token that begins a text; -1 if there is none."""
        return _or_none(self._model.token_bos())

    def token_nl(self) -> int:
        """The token of a line break; -1 if there is none."""
        return _or_none(self._model.token_nl())

    @staticmethod
    def logits_to_logprobs(logits: Any, axis: int = -1) -> NDArray[np.single]:
        """Natural logarithms of the probabilities that logits stand for."""
        values = np.asarray(logits, dtype=np.single)
        highest = np.max(values, axis=axis, keepdims=True)
        shifted = values - np.where(np.isfinite(highest), highest, 0)
        with np.errstate(divide="ignore"):
            result: NDArray[np.single] = shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
        return result

    @staticmethod
    def longest_token_prefix(a: Sequence[int], b: Sequence[int]) -> int:
        """How many tokens both have in common from their beginning on."""
        return shared_prefix(a, b)

    def close(self) -> None:
        """Free the model's memory."""
        self._evaluation.close()
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """A copy loads the file again."""
        return {"model_path": self.model_path, **self._parameters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc] # a copy is made like any other object

    def __repr__(self) -> str:
        return f"<Llama {self.model_path!r}>"

    # Inside

    def _sampling(self, given: Mapping[str, Any]) -> SamplerConfig:
        """The configuration for the arguments of a method."""
        seed = given.get("seed")
        return sampling_of(given, seed=self._seed if seed is None else seed, repeat_window=self._settings["last_n_tokens_size"])

    def _always(self) -> dict[str, Any]:
        return {"cache_prompt": True, "adapters": self._adapters, "speculative": self._speculative}


def _or_none(token: int | None) -> int:
    return -1 if token is None else token


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
