"""Conversations that are kept: tokens, sampler and cells."""

from __future__ import annotations

import inspect
import json
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from tabagent import _native
from tabagent._arguments import Tokens, as_bool, as_int, as_path, as_tokens, surrogate_error
from tabagent.errors import StateError
from tabagent.sampling import SamplerConfig

if TYPE_CHECKING:
    from typing_extensions import Self

    from tabagent.generator import Generator
    from tabagent.stream import TokenStream

__all__ = ["Session"]

OWN: Final = {"prompt", "n", "best_of", "add_special", "parse_special", "cache_prompt", "adapters", "control_vector", "control_layers"}
"""Options of `generate` that are not a session's: they belong to it as a whole, or make no sense for one."""
MOST: Final = 2**63 - 1


class Session:
    """A text that is continued again and again: its tokens, the state of its sampler, and its cells in the model's memory.

        with model.session(sampling=SamplerConfig(seed=1)) as session:
            session.append("The sea was")
            print(session.generate(max_tokens=16).result().text)
            session.save("sea.session")

    The cells stay in memory, or in the host's where other requests need the room, until the session is closed, so that no token is decoded
    twice. (A model loaded with `deterministic` keeps none: it decodes the tokens again each time.) One text of a session is generated at a
    time; other sessions and requests run beside it. What a stream generated belongs to the session, whether it was read or not.
    """

    __slots__ = ("__weakref__", "_model", "_native", "_sampling")

    def __init__(self, model: Generator, native: _native.Session, sampling: SamplerConfig) -> None:
        """Made by `Model.session`, `Model.load_session` and `branch`."""
        self._model = model
        self._native = native
        self._sampling = sampling

    @property
    def tokens(self) -> list[int]:
        """All tokens so far: those that were appended and those that were generated."""
        self._check_idle()
        return self._native.tokens()

    def append(self, text: str | Tokens, *, add_special: bool = True, parse_special: bool = True) -> list[int]:
        """Add a text, or token ids, to the end. Gives the tokens that were added; they are decoded with the next text.

        The first one is treated as a prompt of `generate` is: `add_special` adds the tokens that the model wants at a text's beginning. Later
        ones go on where the tokens end. `parse_special` reads markers like `<|im_start|>` as the tokens that they name.

        Raises:
            TypeError, ValueError: it is no text and no tokens.
            ContextFullError: there are more tokens than the context holds.
            RuntimeError: a text of the session is being generated.
        """
        self._check_idle()
        given = text if isinstance(text, str) else as_tokens(text, "text")
        try:
            return self._native.append(given, as_bool(add_special, "add_special"), as_bool(parse_special, "parse_special"))
        except UnicodeEncodeError as error:
            raise surrogate_error(error, "text") from None

    def generate(self, **options: Any) -> TokenStream:
        """Continue the text; what is generated is part of it then, a token that ended it (as `<|im_end|>`) excepted.

        `options` are those of `Model.generate`, without the prompt, adapters, `n` and `best_of`. The sampler goes on where it was: with the same
        seed, the texts of two sessions are the same however many `generate` calls they came from. `sampling` replaces it by another one, from
        now on.

        Raises:
            TypeError: there is no such option.
            RuntimeError: a text of the session is being generated.
            Others: those of `Model.generate`.
        """
        known = inspect.signature(self._model.generate).parameters
        for name in options:
            if name not in known or name in OWN:
                message = f"`Session.generate` has no option `{name}`; it takes those of `Model.generate` that are not about the prompt as a whole"
                raise TypeError(message)
        return self._model.generate(self, **options)

    def rewind(self, n: int) -> None:
        """Take the last `n` tokens back. The sampler's random generator stays where it is.

        Raises:
            TypeError, ValueError: `n` is no number of tokens, or more than there are.
            RuntimeError: a text of the session is being generated.
        """
        self._check_idle()
        self._native.rewind(as_int(n, "n", 0, MOST))

    def branch(self) -> Session:
        """Another session with the same tokens and the same sampler state, which goes its own way from here.

        Both share the cells of what they begin with.

        Raises:
            RuntimeError: a text of the session is being generated.
        """
        self._check_idle()
        return Session(self._model, self._native.branch(), self._sampling)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file that `Model.load_session` reads, in this process or another one: tokens, sampler and cells.

        The file is there as a whole or not at all. Its size is that of the tokens' cells. The session goes on as before. Of adapters
        and control vectors it says which they were; `load_session` gets them again.

        Raises:
            OSError: the file cannot be written; one that was there before is as it was.
            RuntimeError: a text of the session is being generated.
        """
        self._check_idle()
        self._native.save(as_path(path, "path"), json.dumps({"sampling": self._sampling.to_dict()}))

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._native.closed

    def close(self) -> None:
        """Let go of the tokens and cells. A text that is being generated goes on. May be called again."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Session{' closed' if self.closed else ''}>"

    # Inside

    def _check_idle(self) -> None:
        if self._native.is_running():
            message = "a text of this session is being generated; read its stream to the end, or close it first"
            raise RuntimeError(message)

    def _continue(
        self,
        model: Generator,
        options: dict[str, Any],
        sampling: SamplerConfig | None,
        grammar: _native.Grammar | None,
        *,
        hooked: bool,
        draft: tuple[_native.Model, dict[str, Any]] | None,
    ) -> _native.Stream:
        """Called by `Model.generate`."""
        if model is not self._model:
            message = "the session belongs to another model; generate with the one that made it"
            raise ValueError(message)
        self._check_idle()
        given = None if sampling is None else sampling.to_dict()
        native = self._native.generate(options=options, sampling=given, grammar=grammar, hooked=hooked, draft=draft)
        if sampling is not None:
            self._sampling = sampling
        return native


def load(model: Generator, native: tuple[_native.Session, str]) -> Session:
    """The session of a file that was read.

    Raises:
        StateError: what it says of its sampler is wrong.
    """
    session, note = native
    try:
        sampling = SamplerConfig(**json.loads(note)["sampling"])
        session.set_sampling(sampling.to_dict())
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        message = f"this is not a saved session: what it says of its sampler is wrong: {error}"
        raise StateError(message) from None
    return Session(model, session, sampling)
