"""The options of which devices a model uses and what goes to each, under llama-server's names."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from tabagent.cli.failure import UsageError
from tabagent.cli.options import option

__all__ = ["PlacementOptions"]

DEVICES: Final = "Devices"
MODES: Final = ("none", "layer", "row", "tensor")


@dataclass(frozen=True, kw_only=True)
class PlacementOptions:
    """Which devices, and what goes to each."""

    devices: Annotated[
        str | None,
        option(
            DEVICES, "-dev", "--device", metavar="NAMES", text="The devices to use beside the CPU, such as `cuda:0,rpc://host:port`; `none` for none."
        ),
    ] = None
    rpc: Annotated[
        str | None, option(DEVICES, "--rpc", metavar="HOST:PORT", text="Servers whose devices to use besides those of -dev, with commas between.")
    ] = None
    split_mode: Annotated[
        str | None,
        option(DEVICES, "-sm", "--split-mode", metavar="MODE", text="How several devices share the model: layer (default), row, tensor or none."),
    ] = None
    main_gpu: Annotated[
        int | None, option(DEVICES, "-mg", "--main-gpu", metavar="N", min=0, text="The device that `-sm none` takes, by its place among them.")
    ] = None
    tensor_split: Annotated[
        str | None, option(DEVICES, "-ts", "--tensor-split", metavar="N,N", text="How much of the model each device takes, in proportion.")
    ] = None
    override_tensors: Annotated[
        list[str] | None,
        option(DEVICES, "-ot", "--override-tensor", metavar="PATTERN=MEMORY", text="Where tensors go whose names match, such as `ffn_up=CPU`."),
    ] = None
    cpu_moe: Annotated[bool, option(DEVICES, "-cmoe", "--cpu-moe", text="Keep all experts in the CPU's memory.")] = False
    n_cpu_moe: Annotated[
        int | None, option(DEVICES, "-ncmoe", "--n-cpu-moe", metavar="N", min=0, text="Keep the experts of the first N layers in the CPU's memory.")
    ] = None

    def settings(self) -> dict[str, Any]:
        """The arguments of `Model.load`.

        Raises:
            UsageError: a value cannot be read.
        """
        return {
            "devices": devices_of(self.devices, self.rpc),
            "split_mode": _mode(self.split_mode),
            "main_gpu": self.main_gpu,
            "tensor_split": _numbers(self.tensor_split),
            "override_tensors": _overrides(self.override_tensors),
            "cpu_moe": True if self.cpu_moe else self.n_cpu_moe or 0,
        }


def devices_of(text: str | None, servers: str | None) -> list[str] | None:
    """The devices that are named, and servers of others."""
    if text is None and servers is None:
        return None
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    names = ["cpu"] if names == ["none"] else names
    return names + [_server(name.strip()) for name in (servers or "").split(",") if name.strip()]


def _server(name: str) -> str:
    return name if "://" in name else f"rpc://{name}"


def _mode(word: str | None) -> str | None:
    if word is not None and word.lower() not in MODES:
        message = f"`-sm {word}` is not known; there are {', '.join(f'`{known}`' for known in MODES)}"
        raise UsageError(message)
    return None if word is None else word.lower()


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.replace("/", ",").split(",")]
    except ValueError:
        message = f"`-ts {text}` is no list of numbers, such as `3,1`"
        raise UsageError(message) from None


def _overrides(texts: list[str] | None) -> dict[str, str] | None:
    found = {}
    for text in [part for given in texts or () for part in given.split(",")]:
        pattern, equals, memory = text.rpartition("=")
        if not (pattern and equals and memory):
            message = f"`-ot {text}` is no pattern and memory, such as `ffn_up=CPU`"
            raise UsageError(message)
        found[pattern] = memory
    return found or None
