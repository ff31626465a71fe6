"""Texts in the middle of others."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from tabagent._arguments import as_bool, as_int, as_text, check_encodable, is_iterable, type_name
from tabagent.generator import MAX_TOKENS, Generator

if TYPE_CHECKING:
    from tabagent.sampling import SamplerConfig
    from tabagent.stream import TokenStream

__all__ = ["Infiller"]

OWN: Final = {"prompt", "add_special", "parse_special"}
"""Options of `generate` that filling in decides."""


class Infiller(Generator):
    """The part of `Model` that fills in."""

    __slots__ = ()

    def infill(
        self,
        prefix: str,
        suffix: str = "",
        *,
        prompt: str | None = None,
        extra: Sequence[tuple[str, str]] | Mapping[str, str] = (),
        filename: str | None = None,
        repository: str | None = None,
        suffix_first: bool = False,
        max_tokens: int | None = None,
        sampling: SamplerConfig | None = None,
        stop: str | Sequence[str] = (),
        **options: Any,
    ) -> TokenStream:
        r"""Write what is missing between two texts, for models that were trained to fill in the middle of code. Returns at once, as `generate` does.

            for text in model.infill("def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n", max_tokens=32):
                print(text, end="")

        Prefix and suffix are taken as plain text: markers in them mean nothing. What does not fit is cut, as llama.cpp's server does it: three
        quarters of a batch are for the end of the prefix, one for the beginning of the suffix, and what is left of the context, after twice
        `max_tokens`, for the end of the other files.

        Args:
            prefix: the text before the gap.
            suffix: the text after it.
            prompt: what the missing text begins with. It is never cut, and is no part of the stream's text.
            extra: other files that say what there is, as pairs of a name and a text, the most important one last.
            filename: the file's own name, for models that know of files.
            repository: the repository's name, for models that know of repositories.
            suffix_first: give the model the suffix before the prefix, for models that were trained so.
            max_tokens: most tokens to write; None until the model ends the text or the context is full.
            sampling: as for `generate`.
            stop: as there.
            **options: all other options of `generate` but those that concern the prompt.

        Raises:
            UnsupportedModelError: the vocabulary has no tokens for that.
            TypeError, ValueError: an argument is wrong.
            Others: as `generate`.
        """
        known = inspect.signature(self.generate).parameters
        for name in options:
            if name not in known or name in OWN:
                message = f"`infill` has no option `{name}`; it takes those of `generate` that do not concern the prompt"
                raise TypeError(message)
        request: dict[str, Any] = {
            "prefix": as_text(prefix, "prefix"),
            "suffix": as_text(suffix, "suffix"),
            "prompt": None if prompt is None else as_text(prompt, "prompt"),
            "extra": _files(extra),
            "filename": None if filename is None else as_text(filename, "filename"),
            "repository": None if repository is None else as_text(repository, "repository"),
            "suffix_first": as_bool(suffix_first, "suffix_first"),
            "max_tokens": None if max_tokens is None else as_int(max_tokens, "max_tokens", 0, MAX_TOKENS),
        }
        for name in ("prefix", "suffix", "prompt", "filename", "repository"):
            if request[name] is not None:
                check_encodable(request[name], name)
        tokens = self._native.infill_prompt(request)
        return self.generate(tokens, max_tokens=max_tokens, sampling=sampling, stop=stop, add_special=False, **options)


def _files(value: object) -> list[tuple[str, str]]:
    """Names and texts of files.

    Raises:
        TypeError, ValueError: it is something else; names the place.
    """
    items: Any = value.items() if isinstance(value, Mapping) else value
    if isinstance(items, (str, bytes)) or not is_iterable(items):
        message = f"`extra` must be pairs of a name and a text, got {type_name(value)}"
        raise TypeError(message)
    files = []
    for index, item in enumerate(items):
        if not isinstance(item, (tuple, list)) or len(item) != 2:
            message = f"`extra[{index}]` must be a pair of a name and a text, got {type_name(item)}"
            raise TypeError(message)
        name, text = (as_text(part, f"extra[{index}][{at}]") for at, part in enumerate(item))
        for at, part in enumerate((name, text)):
            check_encodable(part, f"extra[{index}][{at}]")
        files.append((name, text))
    return files
