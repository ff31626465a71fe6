"""The options that change a model while it computes, and loading what they name."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from tabagent.cli.failure import UsageError
from tabagent.cli.options import option

if TYPE_CHECKING:
    from tabagent import Model

__all__ = ["AdapterOptions", "ControlVectorOptions", "parse_scaled"]

ADAPTERS: Final = "Adapters"


@dataclass(frozen=True, kw_only=True)
class ControlVectorOptions:
    """Control vectors. All that are given add up."""

    control_vector: Annotated[
        list[str] | None,
        option(ADAPTERS, "--control-vector", metavar="FILE[=SCALE]", text="Add a control vector to what layers give; may be given several times."),
    ] = None
    control_vector_scaled: Annotated[
        list[str] | None, option(ADAPTERS, "--control-vector-scaled", metavar="FILE:SCALE", text="The same, as llama.cpp writes it.")
    ] = None
    control_layers: Annotated[
        tuple[int, int] | None,
        option(
            ADAPTERS,
            "--control-vector-layer-range",
            metavar="FIRST LAST",
            text="Let control vectors move these layers alone, the first and the last included.",
        ),
    ] = None

    def vectors(self) -> list[tuple[str, float]]:
        """The paths of control vectors, each with its scale.

        Raises:
            UsageError: a scale is no number, or there are layers without a control vector.
        """
        vectors = [parse_scaled(text, "=") for text in self.control_vector or ()] + _listed(self.control_vector_scaled)
        if self.control_layers is not None and not vectors:
            message = "`--control-vector-layer-range` says which layers a control vector moves, and there is none; give `--control-vector FILE`"
            raise UsageError(message)
        return vectors

    def of_model(self) -> dict[str, Any]:
        """What `Server` takes for each model. Raises as `vectors`."""
        return {"control_vectors": self.vectors(), "control_layers": self.control_layers}


@dataclass(frozen=True, kw_only=True)
class AdapterOptions(ControlVectorOptions):
    """Adapters and control vectors. All that are given add up."""

    adapters: Annotated[
        list[str] | None,
        option(ADAPTERS, "--lora", metavar="FILE[=SCALE]", text="Apply a LoRA adapter, a GGUF file or PEFT folder; may be given several times."),
    ] = None
    lora_scaled: Annotated[list[str] | None, option(ADAPTERS, "--lora-scaled", metavar="FILE:SCALE", text="The same, as llama.cpp writes it.")] = None

    def parsed(self) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
        """The paths of adapters and of control vectors, each with its scale.

        Raises:
            UsageError: a scale is no number, or there are layers without a control vector.
        """
        adapters = [parse_scaled(text, "=") for text in self.adapters or ()] + _listed(self.lora_scaled)
        return adapters, self.vectors()

    def load(self, model: "Model") -> dict[str, Any]:
        """The options of `Model.generate`, with everything loaded for `model`. Empty if nothing was asked for."""
        adapters, vectors = self.parsed()
        asked: dict[str, Any] = {}
        if adapters:
            asked["adapters"] = [(model.load_adapter(path), scale) for path, scale in adapters]
        if vectors:
            asked["control_vector"] = [(model.load_control_vector(path), scale) for path, scale in vectors]
            asked["control_layers"] = self.control_layers
        return asked


def _listed(texts: list[str] | None) -> list[tuple[str, float]]:
    """The paths and scales of options in which llama.cpp lets several be joined by commas."""
    pieces = [piece for text in texts or () for piece in text.split(",")]
    return [parse_scaled(piece, ":") for piece in pieces]


def parse_scaled(text: str, separator: str) -> tuple[str, float]:
    """The path and the scale of `FILE=SCALE` or `FILE:SCALE`; 1 for a `FILE` that is there or has no scale.

    Raises:
        UsageError: what stands after the separator is no number.
    """
    path, found, scale = text.rpartition(separator)
    if not found or Path(text).exists():
        return text, 1.0
    try:
        return path, float(scale)
    except ValueError:
        message = f"`{text}` has scale `{scale}`, which is no number; write `FILE{separator}SCALE`"
        raise UsageError(message) from None
