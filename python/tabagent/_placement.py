"""Where the parts of a model go: the options, checked and in the form that the core reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from tabagent._arguments import INT32_MAX, as_int, as_text, as_texts, check_encodable, is_iterable, type_name

__all__ = ["backends_of", "has_servers", "placement_options"]

ALL_EXPERTS: Final = 2**32 - 1
"""The number of layers that the core takes for all of them."""
SERVER: Final = "rpc://"
"""What the names of other machines' devices begin with."""


def placement_options(
    *,
    devices: object = None,
    split_mode: object = None,
    main_gpu: object = None,
    tensor_split: object = None,
    override_tensors: object = None,
    cpu_moe: object = False,
) -> dict[str, Any]:
    """The options of `Model.load` that say which devices to use and what goes to each.

    Raises:
        TypeError, ValueError: one of them is wrong.
    """
    return {
        "devices": None if devices is None else [_device(name) for name in as_texts(devices, "devices")],
        "split_mode": None if split_mode is None else as_text(split_mode, "split_mode"),
        "main_gpu": None if main_gpu is None else as_int(main_gpu, "main_gpu", 0, INT32_MAX),
        "tensor_split": None if tensor_split is None else _numbers(tensor_split),
        "override_tensors": None if override_tensors is None else _overrides(override_tensors),
        "cpu_experts": _experts(cpu_moe),
    }


def backends_of(devices: Sequence[str] | None) -> set[str]:
    """The backends whose devices are named: `cuda` of `cuda:0` and `CUDA0`. The CPU is none of them."""
    names = {name.lower().rstrip("0123456789").rstrip(":") for name in devices or () if not has_servers([name])}
    return names - {"cpu"}


def has_servers(devices: Sequence[str] | None) -> bool:
    """Whether a device of another machine is named."""
    return any(name.strip().lower().startswith(SERVER) for name in devices or ())


def _device(name: str) -> str:
    if not name.strip():
        message = "`devices` holds an empty name; write a name such as `cuda:0`, or `cpu`"
        raise ValueError(message)
    return name


def _numbers(value: object) -> list[float]:
    if isinstance(value, (str, bytes)) or not is_iterable(value):
        message = f"`tensor_split` must be a sequence of numbers, got {type_name(value)}"
        raise TypeError(message)
    numbers = list(value)  # type: ignore[call-overload] # it can be iterated
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            message = f"`tensor_split` must be a sequence of numbers, got {type_name(number)} among them"
            raise TypeError(message)
    return [float(number) for number in numbers]


def _overrides(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        message = f"`override_tensors` must map patterns to names of memory, got {type_name(value)}"
        raise TypeError(message)
    pairs = ((as_text(pattern, "override_tensors"), as_text(memory, "override_tensors")) for pattern, memory in value.items())
    return {check_encodable(pattern, "override_tensors"): check_encodable(memory, "override_tensors") for pattern, memory in pairs}


def _experts(value: object) -> int:
    if isinstance(value, bool):
        return ALL_EXPERTS if value else 0
    return as_int(value, "cpu_moe", 0, INT32_MAX)
