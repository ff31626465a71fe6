"""The options that replace what a model file says of itself, under llama.cpp's names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

from tabagent.cli.failure import UsageError
from tabagent.cli.gguf_summary import summarize
from tabagent.cli.options import option

__all__ = ["OverrideOptions", "with_architecture"]

OVERRIDES: Final = "Model and machine"
SCALINGS: Final = ("none", "linear", "yarn")
OF_ARCHITECTURE: Final = "{architecture}."
"""What stands for the architecture until the file is known."""
BOOLS: Final = {"true": True, "false": False}


@dataclass(frozen=True, kw_only=True)
class OverrideOptions:
    """What replaces metadata of the file."""

    override_kv: Annotated[
        list[str] | None,
        option(
            OVERRIDES,
            "--override-kv",
            metavar="KEY=TYPE:VALUE",
            text="Replace metadata: `int`, `float`, `bool` or `str`; several after commas, or given again.",
        ),
    ] = None
    rope_scaling: Annotated[
        str | None,
        option(
            OVERRIDES, "--rope-scaling", metavar="none|linear|yarn", text="How positions beyond those of training are made (default: as the file)."
        ),
    ] = None
    rope_scale: Annotated[
        float | None, option(OVERRIDES, "--rope-scale", metavar="N", min=0.0, text="By how much the context is longer than that of training.")
    ] = None
    rope_freq_scale: Annotated[
        float | None, option(OVERRIDES, "--rope-freq-scale", metavar="F", min=0.0, text="The same, as what positions are multiplied by: 1/N.")
    ] = None
    rope_freq_base: Annotated[
        float | None, option(OVERRIDES, "--rope-freq-base", metavar="F", min=0.0, text="The base of the frequencies of positions.")
    ] = None
    yarn_orig_ctx: Annotated[
        int | None, option(OVERRIDES, "--yarn-orig-ctx", metavar="N", min=0, text="Tokens of the context of training, for `--rope-scaling yarn`.")
    ] = None

    def overrides(self) -> dict[str, Any] | None:
        """The argument of `Model.load`; keys of the architecture have `{architecture}.` in front until the file is known.

        Raises:
            UsageError: a value is none that there is.
        """
        made: dict[str, Any] = {}
        if self.rope_scaling is not None:
            if self.rope_scaling not in SCALINGS:
                message = f"`--rope-scaling {self.rope_scaling}` is not known; there are {', '.join(f'`{name}`' for name in SCALINGS)}"
                raise UsageError(message)
            made["rope.scaling.type"] = self.rope_scaling
        if self.rope_scale and self.rope_freq_scale:
            message = "`--rope-scale` and `--rope-freq-scale` say the same; give one of them"
            raise UsageError(message)
        factor = self.rope_scale or (1.0 / self.rope_freq_scale if self.rope_freq_scale else None)
        if factor:
            made["rope.scaling.factor"] = factor
        if self.rope_freq_base:
            made["rope.freq_base"] = self.rope_freq_base
        if self.yarn_orig_ctx:
            made["rope.scaling.original_context_length"] = self.yarn_orig_ctx
        given = {f"{OF_ARCHITECTURE}{key}": value for key, value in made.items()}
        for text in self.override_kv or ():
            given |= dict(_parsed(part) for part in _parts(text))
        return given or None


def with_architecture(settings: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The arguments of `Model.load` with the architecture of a file in the names of its keys.

    Raises:
        UsageError: the file is not here, or names no architecture.
    """
    overrides = settings.get("metadata_overrides") or {}
    if not any(key.startswith(OF_ARCHITECTURE) for key in overrides):
        return dict(settings)
    if path.startswith("hf:"):
        message = "options of `--rope-…` and `--yarn-…` need a model that is here; fetch it first, or give `--override-kv` with its keys"
        raise UsageError(message)
    architecture = summarize(path).architecture
    if architecture is None:
        message = f"`{path}` names no architecture, so that `--rope-…` and `--yarn-…` have no meaning for it; leave them out"
        raise UsageError(message)
    named = {key.replace(OF_ARCHITECTURE, f"{architecture}.", 1): value for key, value in overrides.items()}
    return {**settings, "metadata_overrides": named}


def _parts(text: str) -> list[str]:
    """The pieces between commas; a comma with a backslash is one of a value."""
    pieces = text.replace("\\,", "\0").split(",")
    return [piece.replace("\0", ",") for piece in pieces]


def _parsed(text: str) -> tuple[str, int | float | bool | str]:
    key, equals, typed = text.partition("=")
    kind, colon, value = typed.partition(":")
    if key and equals and colon:
        try:
            if kind == "int":
                return key, int(value)
            if kind == "float":
                return key, float(value)
            if kind == "bool":
                return key, BOOLS[value]
            if kind == "str":
                return key, value
        except (ValueError, KeyError):
            pass
    message = f"`--override-kv {text}` is no `KEY=TYPE:VALUE` with a type of `int`, `float`, `bool` (`true`, `false`) or `str`"
    raise UsageError(message)
