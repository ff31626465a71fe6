"""The options of loading a model, and loading it."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from tabagent._placement import has_servers
from tabagent.cli.failure import UsageError
from tabagent.cli.gguf_summary import summarize
from tabagent.cli.model_source import ModelSource, model_path
from tabagent.cli.options import option
from tabagent.cli.output import is_terminal
from tabagent.cli.override_options import OverrideOptions, with_architecture
from tabagent.cli.placement_options import PlacementOptions
from tabagent.cli.progress import ProgressBar

if TYPE_CHECKING:
    from tabagent import Model

__all__ = ["LoadOptions", "fetched", "layers_of", "load"]

FLASH_ATTENTION: Final = ("auto", "on", "off")
ENGINES: Final = ("auto", "llama.cpp", "rust")
FIT_CONTEXT: Final = 4096
ON_CRASH: Final = ("error", "replay")
LENGTH: Final = "Length"
HARDWARE: Final = "Model and machine"
KV_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
"""The types that the core knows. Importing the core for them would slow the help down; a test compares the two lists."""


def _kv_types(incomplete: str) -> list[str]:
    return [name for name in KV_TYPES if name.startswith(incomplete)]


def _variants(incomplete: str) -> list[str]:
    from tabagent import list_available_variants  # noqa: PLC0415 (only when Tab is pressed)

    names = ["auto", *(variant.name for variant in list_available_variants() if variant.usable)]
    return [name for name in names if name.startswith(incomplete)]


@dataclass(frozen=True, kw_only=True)
class LoadOptions(PlacementOptions, OverrideOptions):
    """Which model, how much context, and what it runs on."""

    context_size: Annotated[
        int | None,
        option(
            LENGTH,
            "-c",
            "--ctx-size",
            metavar="N",
            min=0,
            text="How many tokens the context holds; 0: as many as the model was trained for (default: the same, up to 4,096).",
        ),
    ] = None
    gpu_layers: Annotated[
        str,
        option(
            HARDWARE,
            "-ngl",
            "--n-gpu-layers",
            "--gpu-layers",
            metavar="N|auto|all",
            text="How many layers to put on GPUs (default auto: all that fit).",
        ),
    ] = "auto"
    variant: Annotated[
        str,
        option(
            HARDWARE,
            "--variant",
            "--backend",
            metavar="NAME",
            autocompletion=_variants,
            text="Which build of llama.cpp: a name of `tabagent variants`, or a path (default auto).",
        ),
    ] = "auto"
    engine: Annotated[
        str,
        option(
            HARDWARE, "--engine", metavar="NAME", text="What computes the model: `llama.cpp`, `rust` (the engine of our own), or `auto` (default)."
        ),
    ] = "auto"
    threads: Annotated[
        int | None,
        option(
            HARDWARE, "-t", "--threads", metavar="N", min=1, text="Threads to compute with (default: what is fastest now, at most the usable cores)."
        ),
    ] = None
    prompt_threads: Annotated[
        int | None, option(HARDWARE, "-tb", "--threads-batch", metavar="N", min=1, text="Threads to read prompts with (default: as --threads).")
    ] = None
    batch_size: Annotated[
        int | None, option(HARDWARE, "-b", "--batch-size", metavar="N", min=1, text="How many tokens of a prompt to decode in one go.")
    ] = None
    micro_batch_size: Annotated[
        int | None,
        option(HARDWARE, "-ub", "--ubatch-size", metavar="N", min=1, text="How many tokens to compute at once (default 512, at most the batch)."),
    ] = None
    kv_type: Annotated[
        str,
        option(
            HARDWARE,
            "--kv-type",
            metavar="TYPE",
            autocompletion=_kv_types,
            text=f"The type of the context's memory: {', '.join(KV_TYPES)} (default f16).",
        ),
    ] = "f16"
    key_type: Annotated[
        str | None,
        option(HARDWARE, "-ctk", "--cache-type-k", metavar="TYPE", autocompletion=_kv_types, text="The type of the keys alone (default --kv-type)."),
    ] = None
    value_type: Annotated[
        str | None,
        option(HARDWARE, "-ctv", "--cache-type-v", metavar="TYPE", autocompletion=_kv_types, text="The values' type alone (default --kv-type)."),
    ] = None
    flash_attention: Annotated[
        str, option(HARDWARE, "-fa", "--flash-attn", metavar="auto|on|off", text="Fused attention: where the device can (default), always or never.")
    ] = "auto"
    kv_unified: Annotated[
        bool | None,
        option(HARDWARE, "-kvu/-no-kvu", "--kv-unified/--no-kv-unified", text="Let all requests share the context (default), or give each a part."),
    ] = None
    full_sliding_window: Annotated[
        bool, option(HARDWARE, "--swa-full", text="Keep what sliding-window layers would forget: more memory, more of a prompt can be reused.")
    ] = False
    offload_kv: Annotated[
        bool,
        option(HARDWARE, "-kvo/-nkvo", "--kv-offload/--no-kv-offload", text="Keep the memory of layers on the GPU there (default), or not."),
    ] = True
    offload_ops: Annotated[
        bool, option(HARDWARE, "--op-offload/--no-op-offload", text="Let the GPU compute with weights in the host's memory (default), or not.")
    ] = True
    use_mmap: Annotated[bool, option(HARDWARE, "--mmap/--no-mmap", text="Map the file into memory instead of reading it (default), or not.")] = True
    mlock: Annotated[bool, option(HARDWARE, "--mlock", text="Keep the model in memory, never swapped out.")] = False
    check_tensors: Annotated[bool, option(HARDWARE, "--check-tensors", text="Look for invalid numbers in all weights while loading.")] = False
    isolation: Annotated[
        str | None,
        option(
            HARDWARE,
            "--isolation",
            metavar="process",
            text="Run llama.cpp in a process of its own, started again if it crashes (default: in this one).",
        ),
    ] = None
    on_crash: Annotated[
        str, option(HARDWARE, "--on-crash", metavar="error|replay", text="With --isolation: end what runs (default), or compute it again and go on.")
    ] = "error"
    on_gpu_failure: Annotated[
        str | None, option(HARDWARE, "--on-gpu-failure", metavar="cpu", text="Go on on the CPU when a GPU, or a server of --rpc, fails in use.")
    ] = None
    fit: Annotated[
        str | None,
        option(HARDWARE, "-fit", "--fit", metavar="on|off", text="Take a smaller context or fewer layers on GPUs where memory is short, and say so."),
    ] = None
    fit_context: Annotated[
        int | None, option(HARDWARE, "-fitc", "--fit-ctx", metavar="N", min=1, text="With --fit: the smallest context to take (default 4,096).")
    ] = None
    hf_token: Annotated[
        str | None, option(HARDWARE, "-hft", "--hf-token", metavar="TEXT", text="The access token of the Hugging Face Hub (default: HF_TOKEN).")
    ] = None
    offline: Annotated[bool, option(HARDWARE, "--offline", text="Fetch nothing: take what the cache of the Hugging Face Hub has.")] = False
    hf: Annotated[
        str | None, option(HARDWARE, "--hf", "-hf", "--hf-repo", metavar="OWNER/REPO", text="A repository on the Hugging Face Hub, instead of MODEL.")
    ] = None
    hf_file: Annotated[
        str | None, option(HARDWARE, "--hf-file", "-hff", metavar="PATTERN", text="The file in that repository, such as `*Q4_K_M.gguf`.")
    ] = None

    def source(self, model: str | None) -> ModelSource:
        """The model that is meant, by name or by the options.

        Raises:
            UsageError: none is, or more than one.
        """
        self.use_hub()
        return ModelSource.parse(model, self.hf, self.hf_file)

    def settings(self) -> dict[str, Any]:
        """The arguments of `Model.load`.

        Raises:
            UsageError: a value is none that there is.
        """
        return {
            **super().settings(),
            "variant": self.variant,
            "engine": self._engine(),
            "gpu_layers": layers_of(self.gpu_layers, "-ngl"),
            "context_size": self.context_size,
            "max_sequences": 1,
            "threads": self.threads,
            "prompt_threads": self.prompt_threads,
            "batch_size": self.batch_size,
            "micro_batch_size": self.micro_batch_size,
            "kv_type": _kv_types_of(self.kv_type, self.key_type, self.value_type),
            "flash_attention": _flash_attention(self.flash_attention),
            "full_sliding_window": self.full_sliding_window,
            "kv_unified": self.kv_unified is not False,
            "offload_kv": self.offload_kv,
            "offload_ops": self.offload_ops,
            "use_mmap": self.use_mmap,
            "mlock": self.mlock,
            "check_tensors": self.check_tensors,
            "metadata_overrides": self.overrides(),
            **({} if self.fit is None else {"fit": self._fits(), "min_context_size": self.fit_context or FIT_CONTEXT}),
            **self._isolation(),
        }

    def _engine(self) -> str:
        """The engine that is meant.

        Raises:
            UsageError: there is none of that name.
        """
        if self.engine not in ENGINES:
            message = f"`--engine {self.engine}` is not known; there are {', '.join(f'`{name}`' for name in ENGINES)}"
            raise UsageError(message)
        return self.engine

    def _fits(self) -> bool:
        """Whether a smaller context may be taken.

        Raises:
            UsageError: neither is said.
        """
        if self.fit not in {"on", "off"}:
            message = f"`--fit {self.fit}` is not known; there are `on` and `off`"
            raise UsageError(message)
        return self.fit == "on"

    def use_hub(self) -> None:
        """Have the hub asked as the options say, by this process and those that it starts."""
        if self.hf_token is not None:
            os.environ["HF_TOKEN"] = self.hf_token
        if self.offline:
            os.environ["HF_HUB_OFFLINE"] = "1"

    def _isolation(self) -> dict[str, Any]:
        """The arguments that are not as they are without these options."""
        if self.isolation not in {None, "process"}:
            message = f"`--isolation {self.isolation}` is not known; there is `process`"
            raise UsageError(message)
        if self.on_crash not in ON_CRASH:
            message = f"`--on-crash {self.on_crash}` is not known; there are {', '.join(f'`{known}`' for known in ON_CRASH)}"
            raise UsageError(message)
        if self.on_gpu_failure not in {None, "cpu"}:
            message = f"`--on-gpu-failure {self.on_gpu_failure}` is not known; there is `cpu`"
            raise UsageError(message)
        moves = {} if self.on_gpu_failure is None else {"on_gpu_failure": self.on_gpu_failure}
        if self.isolation is None and not moves and not has_servers(super().settings()["devices"]):
            if self.on_crash != "error":
                message = "`--on-crash` needs `--isolation process`"
                raise UsageError(message)
            return {}
        return {"isolation": "process", "on_crash": self.on_crash, **moves}


def load(source: ModelSource, settings: Mapping[str, Any]) -> "Model":
    """Load a model, with a progress bar on a terminal for what takes long. A `context_size` of 0 is what the model was trained for."""
    from tabagent import Model  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    path = fetched(source)
    if settings["context_size"] == 0:
        settings = {**settings, "context_size": summarize(path).context_length}
    settings = with_architecture(settings, path)
    with ProgressBar(f"loading {Path(path).name}") as bar:
        return Model.load(path, progress=bar.part, **settings)


def fetched(source: ModelSource) -> str:
    """The local path of the model's file."""
    if source.kind == "hub":
        from tabagent.hub import fetch_model  # noqa: PLC0415 (its imports are slow)

        if not is_terminal(sys.stderr):
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        return fetch_model(source.name, source.pattern)
    return model_path(source.name)


def layers_of(text: str, flag: str) -> int | str:
    """How many layers an option wants on GPUs.

    Raises:
        UsageError: it is no number.
    """
    if text == "auto":
        return text
    if text == "all":
        return 2**31 - 1
    if not text.isdecimal():
        message = f"`{flag} {text}` is neither `auto`, `all` nor a number of layers"
        raise UsageError(message)
    return int(text)


def _kv_types_of(both: str, keys: str | None, values: str | None) -> str | tuple[str, str]:
    """One type, or those of keys and values."""
    kind = _kv_type(both, "--kv-type")
    pair = (kind if keys is None else _kv_type(keys, "-ctk"), kind if values is None else _kv_type(values, "-ctv"))
    return pair[0] if pair[0] == pair[1] else pair


def _flash_attention(word: str) -> str:
    if word.lower() not in FLASH_ATTENTION:
        message = f"`-fa {word}` is not known; there are {', '.join(f'`{known}`' for known in FLASH_ATTENTION)}"
        raise UsageError(message)
    return word.lower()


def _kv_type(name: str, flag: str) -> str:
    if name.lower() not in KV_TYPES:
        message = f"`{flag} {name}` is not known; there are {', '.join(f'`{known}`' for known in KV_TYPES)}"
        raise UsageError(message)
    return name.lower()
