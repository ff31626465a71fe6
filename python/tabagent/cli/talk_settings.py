"""What `/set` changes in a conversation: how answers come."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from tabagent.cli.failure import nearest_name

if TYPE_CHECKING:
    from tabagent import SamplerConfig

__all__ = ["describe", "read_setting"]

NICKNAMES: Final = {"temp": "temperature", "num_predict": "max_tokens", "n_predict": "max_tokens", "think": "reasoning"}
"""Names that people know from other programs."""
OWN: Final = ("max_tokens", "reasoning")
"""Options of `Model.chat`; all others are of the sampler."""


def read_setting(name: str, value: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `Model.chat` that change with a setting. Those that are there are in `options`, `sampling` among them.

    Raises:
        ValueError: there is no such setting, or it cannot have this value.
    """
    from tabagent.sampling import NUMBERS  # noqa: PLC0415 (not for --help)

    name = NICKNAMES.get(name, name).replace("-", "_")
    known = (*OWN, "seed", "mirostat", *NUMBERS)
    if name not in known:
        message = f"there is no setting `{name}`{nearest_name(name, known)}"
        raise ValueError(message)
    if not value:
        message = f"`/set {name}` needs a value"
        raise ValueError(message)
    if name == "reasoning" and value in {"auto", "on", "off"}:
        return {"reasoning": value}
    if name == "max_tokens":
        count = _number(name, value)
        return {"max_tokens": None if count < 0 else count}
    if name == "reasoning":
        return {"reasoning": _number(name, value)}
    sampling: SamplerConfig = options["sampling"]
    number = None if name == "seed" and value in {"none", "-1"} else _number(name, value)
    try:
        return {"sampling": sampling.replace(**{name: number})}
    except TypeError as error:
        raise ValueError(str(error)) from error


def describe(options: Mapping[str, Any]) -> Iterator[str]:
    """The settings that are not as they are by default, and the most used of the others."""
    from tabagent.sampling import NUMBERS, SamplerConfig  # noqa: PLC0415 (not for --help)

    sampling, default = options["sampling"], SamplerConfig()
    usual = ("temperature", "top_k", "top_p", "min_p", "repeat_penalty")
    for name in OWN:
        value = options.get(name)
        yield f"{name:16} {'until the model ends' if value is None else value}"
    for name in ("seed", "mirostat", *NUMBERS):
        value = getattr(sampling, name)
        if name in usual or value != getattr(default, name):
            yield f"{name:16} {value}"


def _number(name: str, text: str) -> Any:
    """An integer where it is written as one, else a float."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    message = f"`{name}` must be a number, got `{text}`"
    raise ValueError(message)
