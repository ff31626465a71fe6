"""A loaded model.

One file, although it is long: most of it is the documentation of the one class that users meet.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal

from tabagent import _native, log
from tabagent import exit as at_exit
from tabagent._arguments import (
    INT32_MAX,
    as_bool,
    as_int,
    as_path,
    as_text,
    as_texts,
    type_name,
)
from tabagent._isolation import chosen_isolation
from tabagent._load_options import cache_options, load_options, optional_int
from tabagent._placement import placement_options
from tabagent.adapters import Adapter, Adapters, ControlVector, ControlVectors, as_adapters, as_control_vectors, as_directions
from tabagent.chat import Chatter
from tabagent.context import Context
from tabagent.embedding import Embedder
from tabagent.errors import ClosedError
from tabagent.infill import Infiller
from tabagent.info import ModelInfo, ModelStats
from tabagent.loading import (
    LoadedLibrary,
    choose_library,
    fallback_paths,
    load_first,
    open_library,
    resolve_model_path,
    rewriting,
    warn_of_missing_gpu,
    warn_of_too_many_threads,
)
from tabagent.memory import MemoryNeed
from tabagent.metrics import Metrics
from tabagent.scoring import Scorer
from tabagent.tuning import tuned_options

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from typing_extensions import Self


__all__ = ["Model"]

CAPTURE_LIMIT: Final = _native.CAPTURE_LIMIT
MAX_TOKENS: Final = 2**63 - 1


class Model(Chatter, Infiller, Scorer, Embedder):
    """A loaded model: text in, text out, or vectors.

        with Model.load("model.gguf") as model:
            for text in model.generate("Once upon a time", max_tokens=64):
                print(text, end="", flush=True)

    Many threads and asyncio tasks may use one model at the same time. It is closed by `close`, at the end of its `with` block, when nothing
    refers to it any more, and when the interpreter exits. After a fork, a child must load models of its own.
    """

    __slots__ = ("__weakref__", "_info", "_metadata")

    def __init__(self, native: _native.Model, *, path: str, library: LoadedLibrary, adjustments: Sequence[str] = ()) -> None:
        """Made by `Model.load` and `Model.from_pretrained`."""
        self._native = native
        self._metadata = native.metadata()
        self._facts = native.facts()
        self._special = native.special_tokens()
        self._info = _info(self._facts, path, library, adjustments)
        at_exit.watch_model(self)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        engine: Literal["auto", "llama.cpp", "rust"] = "auto",
        variant: str | os.PathLike[str] = "auto",
        gpu_layers: int | Literal["auto"] = "auto",
        devices: Sequence[str] | None = None,
        split_mode: Literal["none", "layer", "row", "tensor"] | None = None,
        main_gpu: int | None = None,
        tensor_split: Sequence[float] | None = None,
        override_tensors: Mapping[str, str] | None = None,
        cpu_moe: bool | int = False,
        context_size: int | None = None,
        sequence_size: int | None = None,
        max_sequences: int | None = None,
        max_queue: int | None = None,
        deterministic: bool = False,
        cache_bytes: int | None = None,
        cache_disk: str | os.PathLike[str] | None = None,
        cache_disk_bytes: int | None = None,
        threads: int | None = None,
        prompt_threads: int | None = None,
        batch_size: int | None = None,
        micro_batch_size: int | None = None,
        kv_type: str | tuple[str, str] = "f16",
        flash_attention: Literal["auto", "on", "off"] = "auto",
        full_sliding_window: bool = False,
        kv_unified: bool = True,
        offload_kv: bool = True,
        offload_ops: bool = True,
        use_mmap: bool = True,
        mlock: bool = False,
        vocab_only: bool = False,
        check_tensors: bool = False,
        progress: Callable[[float], object] | None = None,
        metadata_overrides: Mapping[str, float | bool | str] | None = None,
        fit: bool = False,
        min_context_size: int = 512,
        fallback: Sequence[str | os.PathLike[str]] = (),
        trial: bool | Literal["auto"] = "auto",
        isolation: Literal["process"] | None = None,
        on_crash: Literal["error", "replay"] = "error",
        on_gpu_failure: Literal["cpu"] | None = None,
        allow_unverified: bool = False,
    ) -> Model:
        """Load a GGUF file: a path (of a split model, any part), or `"demo"` for the demo model. Blocks; Ctrl-C stops it.

        A file with `I2_S` tensors of Microsoft's BitNet fork is rewritten first, exactly and once, into `rewritten` of the cache folder; a warning
        and `info.adjustments` say so. The first half of `progress` is that work then.

        Args:
            path: the file; `~` is the home directory.
            engine: what computes the model: `llama.cpp`, or `rust`, the project's own engine on the processor, for the architectures in
                `docs/engine.md`, with llama.cpp for the vocabulary; no adapters, vectors, contexts of one's own or isolation then. `auto` is
                llama.cpp.
            variant: the llama.cpp to use: `auto`, a CPU module such as `haswell`, or the path of a library directory. One per process. With `auto`
                and without `devices`, this and the defaults of `threads` and `micro_batch_size` are what `tabagent variants --benchmark` measured
                to be fastest for such models, where it was run; `info.adjustments` says so.
            gpu_layers: how many layers to put on GPUs, the output as the first and then the last layers; `auto` puts as many there as fit: it
                predicts how many, tries, and takes fewer where that fails. A warning and `info.adjustments` say so where not all fit.
            devices: the only devices to use beside the CPU, such as `["cuda:0"]`, or `["cuda"]` for all of a kind; `["cpu"]` for none. None for all
                discrete GPUs, or else the first integrated one. `tabagent variants` lists the GPUs. `rpc://host:port` is what a `tabagent
                rpc-server` on another machine offers (port 50052 where none is said), in a network that you trust; such a model is always in
                a process of its own (`isolation`).
            split_mode: how several devices share the model: `layer` gives each some layers (the default), `row` rows of each matrix, `tensor` a
                part of each tensor, and `none` takes one device.
            main_gpu: the place in `devices` of the one that `split_mode="none"` takes, or that has the small tensors with `row`.
            tensor_split: how much of the model each device takes, in proportion; None for as much as each has free memory.
            override_tensors: where tensors go whose names match: patterns (regular expressions, of which the first that matches counts) and
                names of memory, such as `{"ffn_up": "CPU"}`.
            cpu_moe: keep the experts of all layers, or of the first so many, in the CPU's memory.
            context_size: tokens of context, shared by all requests, and of the longest text to embed; None for what the model was trained for, at
                most 4,096 if it generates.
            sequence_size: most tokens of one request, prompt and text together; None for as many as the context holds.
            max_sequences: how many requests to decode together; None for 8, or as many as a batch has tokens. More wait for their turn.
            max_queue: how many may wait; one more raises `QueueFullError`. None for any number.
            deterministic: give each request the results that it would have alone, bit for bit: one is decoded at a time, alone in memory, and none
                begins with what others decoded. Without it the same tokens may get slightly other logits in the company of others, because sums are
                then taken in another order, and a near tie may go the other way.
            cache_bytes: how much host memory to keep for what requests leave behind for others that begin alike; None for 256 MiB.
            cache_disk: a folder for what has no room there any more, and for what is left when the model is closed: the next load of the same
                model, in this process or another one, finds it. It holds tokens of prompts and of texts, so it is made for the user alone. Models
                with a sliding window and recurrent ones find a beginning only as a whole. Not with `deterministic`.
            cache_disk_bytes: how large all files in that folder may be together; those used longest ago go first. None for 4 GiB.
            threads: threads of computation, at most eight for each usable core. None for at most one for each, and fewer while other busy processes
                make that faster (`stats` has the numbers in use); fixed with `deterministic`.
            prompt_threads: threads that read prompts, if they are to be others; those that generate adapt or not as `threads` says. llama.cpp
                counts steps of several requests as prompts where `threads` is given.
            batch_size: most tokens decoded in one go; None for 2,048, at most the context.
            micro_batch_size: most tokens computed at once; None for 512, at most the batch. Fewer take less memory and more time for prompts.
            kv_type: the type of the context's memory: `f32`, `f16`, `bf16`, `q8_0`, `q5_1`, `q5_0`, `q4_1`, `q4_0` or `iq4_nl`; a pair is the
                types of keys and of values. Types in blocks (`q8_0` and below) need heads of a multiple of 32, those of values fused attention.
            flash_attention: compute attention in one fused operation: `auto` where the device can, `on`, or `off`.
            full_sliding_window: keep everything that sliding-window layers would forget: more memory, and any prefix of a prompt can be reused.
            kv_unified: let all requests share the context's tokens. False gives each of the `max_sequences` its own part of the context, in which
                it may hold `context_size / max_sequences` tokens, rounded up to a multiple of 256: a long request cannot take what others leave.
            offload_kv: keep the context's memory of layers on a GPU there.
            offload_ops: let GPUs compute with weights that lie in the host's memory.
            use_mmap: map the file instead of reading it: quicker, and shared by processes. The weights are then read from the file whenever they
                are needed: whoever cuts it or writes into it meanwhile ends this process with SIGBUS, or changes the model. Replace a file
                by renaming another one over it, or load with `use_mmap=False` where that cannot be ruled out (a download in place, a network
                share). Metadata and vocabulary are copied either way.
            mlock: keep the weights from being swapped out.
            vocab_only: load the vocabulary alone, for tokenizing.
            check_tensors: look for broken numbers in all weights first.
            progress: called with the part loaded, 0 to 1; returning False stops the load.
            metadata_overrides: metadata to use in place of what the file says.
            fit: if the context does not fit into memory, keep keys and values in `q8_0`, if that does not do, take fewer tokens, and say so in a
                warning and in `info.adjustments`. Without it, and when nothing fits, the load is refused before anything is allocated.
            min_context_size: the fewest tokens that `fit` may take; fewer are taken only if fewer are asked for.
            fallback: models to load in place of this one, the first one that fits, with the same options; a warning and `info.adjustments` say so.
            trial: load the model in a child process first and compute some tokens there, so that a file which llama.cpp does not survive is an
                error. `auto` does so for what was not tried before: another header or tensor table, library, processor or option that changes
                what is computed. True tries it now in any case, and fails where no child can be started; False loads at once.
            isolation: `process` runs llama.cpp and the model in a process of their own: what ends that process is an `EngineCrashedError` here,
                and the next call starts it again. Each model has its own library then. `create_context` and `Draft` need the model in this
                process. With `auto`, `trial` tries nothing then.
            allow_unverified: run a library of a build that is not known, where exactly one known layout has the sizes and defaults of its structs and
                the functions that are called. What such a build computes, nobody has tried. Not with `isolation="process"`.
            on_crash: what becomes of running requests when that process ends: `error` raises from their streams; `replay` computes their tokens
                again in a new process, and they go on as if nothing had happened.
            on_gpu_failure: `cpu` has the model go on on the CPU when its process ends, or cannot decode, while layers are on another device:
                running requests are computed again there and go on, as with `on_crash="replay"`, which it brings along. A warning in the log
                and `info.adjustments` say so. The model is in a process of its own then (`isolation`).

        Raises:
            TypeError, ValueError: an argument is wrong; nothing was loaded.
            ModelNotFoundError: there is no such file.
            InvalidModelError: the file is damaged, none that llama.cpp can run, or one that took the child of its trial down; the text has the
                assertion that failed and the last lines of the log.
            ModelLoadCancelledError: `progress` returned False.
            ModelLoadError: no process can be started for it, or a server on another machine cannot be used; the text says which one, and why.
            OutOfMemoryError: model and context do not fit; the text says what they need, by kind, and what is free.
            VariantError, LibraryLoadError, LibraryAlreadyLoadedError: the library cannot be used.
        """
        placement = placement_options(
            devices=devices,
            split_mode=split_mode,
            main_gpu=main_gpu,
            tensor_split=tensor_split,
            override_tensors=override_tensors,
            cpu_moe=cpu_moe,
        )
        isolation = chosen_isolation(isolation, on_gpu_failure, placement["devices"])
        options = load_options(
            engine=engine,
            gpu_layers=gpu_layers,
            placement=placement,
            context_size=context_size,
            sequence_size=sequence_size,
            max_sequences=max_sequences,
            max_queue=max_queue,
            deterministic=deterministic,
            cache_bytes=cache_bytes,
            cache_disk=cache_disk,
            cache_disk_bytes=cache_disk_bytes,
            threads=threads,
            prompt_threads=prompt_threads,
            batch_size=batch_size,
            micro_batch_size=micro_batch_size,
            kv_type=kv_type,
            flash_attention=flash_attention,
            full_sliding_window=full_sliding_window,
            kv_unified=kv_unified,
            offload_kv=offload_kv,
            offload_ops=offload_ops,
            use_mmap=use_mmap,
            mlock=mlock,
            vocab_only=vocab_only,
            check_tensors=check_tensors,
            metadata_overrides=metadata_overrides,
            trial=trial,
            isolation=isolation,
            on_crash=on_crash,
            on_gpu_failure=on_gpu_failure,
        )
        layers = options["gpu_layers"]
        least = as_int(min_context_size, "min_context_size", 1, INT32_MAX)
        options["fit"] = least if as_bool(fit, "fit") else None
        report = _callback(progress)
        files = [resolve_model_path(path), *fallback_paths(fallback)]
        unverified = as_bool(allow_unverified, "allow_unverified")
        tuning, options = tuned_options(files[0], variant, options)
        variant = tuning.variant or variant
        if isolation is None:
            library = open_library(variant, placement["devices"], allow_unverified=unverified)
        elif unverified:
            message = '`allow_unverified=True` is for a library in this process; leave `isolation="process"` away, or take a library of a known build'
            raise ValueError(message)
        else:
            library = choose_library(variant, placement["devices"])
        library = library.as_chosen_by(tuning)
        options |= {"backends": list(library.backends), "needed": list(library.needed)}
        if isolation is None:
            warn_of_missing_gpu(layers, library)
        native, file, adjustments = load_first(files, library, options, report)
        library = library.as_found(native.library())
        if isolation is not None:
            warn_of_missing_gpu(layers, library)
        for adjustment in adjustments:
            warnings.warn(adjustment, RuntimeWarning, stacklevel=2)
        adjustments += tuning.said()
        if found := rewriting(native.facts(), file):
            adjustments.append(found[0])
            if found[1]:
                warnings.warn(found[0], RuntimeWarning, stacklevel=2)
        for count in (threads, prompt_threads):
            if count is not None:
                warn_of_too_many_threads(count)
        return cls(native, path=file, library=library, adjustments=adjustments)

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        filename: str = "*.gguf",
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        **options: object,
    ) -> Model:
        """Load a model of a repository on the Hugging Face Hub, downloading what is not in the cache: all parts of a split model.

            Model.from_pretrained("bartowski/SmolLM2-135M-Instruct-GGUF", "*Q4_K_M.gguf")

        `filename` is a file or a pattern that one model matches; `revision` a branch, tag or commit. The cache, offline mode and progress
        bars are huggingface_hub's. All other options are those of `load`.

        Raises:
            ModelNotFoundError: there is no such repository, revision or file, or it is not in the cache and the network is off.
            ModelLoadError: several models match (the text lists them), or a download failed.
        """
        from tabagent.hub import fetch_model  # noqa: PLC0415 (needed here alone)

        path = fetch_model(repo_id, filename, revision=revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only)
        return cls.load(path, **options)  # type: ignore[arg-type] # `load` checks each

    def create_context(
        self,
        *,
        context_size: int | None = None,
        batch_size: int | None = None,
        micro_batch_size: int | None = None,
        max_sequences: int = 1,
        threads: int | None = None,
        prompt_threads: int | None = None,
        kv_type: str | tuple[str, str] = "f16",
        flash_attention: Literal["auto", "on", "off"] = "auto",
        full_sliding_window: bool = False,
        kv_unified: bool = True,
        offload_kv: bool = True,
        offload_ops: bool = True,
        adapters: Adapters = None,
        control_vector: ControlVectors = None,
        captures: Sequence[str] = (),
        capture_limit: int = CAPTURE_LIMIT,
    ) -> Context:
        """A context of one's own beside the model's, for decoding step by step.

        Sizes are in tokens; None is the model's setting. `full_sliding_window` keeps everything that sliding-window layers would forget, so that
        sequences can be cut back anywhere. With `max_sequences` above 1, they share the context's tokens, unless `kv_unified` is False: then each
        has `context_size / max_sequences` of its own, rounded up to a multiple of 256, and no token may belong to several sequences. The other
        options are those of `load`. `adapters` and `control_vector` are what
        `Context.set_adapters` and `Context.set_control_vector` set.

        `captures` are patterns such as `l_out-*` of names of tensors inside of the model: after each `decode`, `Context.captures` has their
        numbers, which may take `capture_limit` bytes. Each captured tensor makes all threads wait for each other once more.

        Raises:
            TypeError: an argument has the wrong type.
            ValueError: a size, a scale or a pattern is wrong.
            AdapterError: an adapter is of another model.
            ClosedError: an adapter is closed.
            OutOfMemoryError: it does not fit.
            UnsupportedModelError: the model was loaded with `vocab_only`.
        """
        options = {
            "context_size": optional_int(context_size, "context_size", 1),
            "batch_size": optional_int(batch_size, "batch_size", 1),
            "micro_batch_size": optional_int(micro_batch_size, "micro_batch_size", 1),
            "max_sequences": as_int(max_sequences, "max_sequences", 1, INT32_MAX),
            "threads": optional_int(threads, "threads", 1),
            "prompt_threads": optional_int(prompt_threads, "prompt_threads", 1),
            **cache_options(
                kv_type=kv_type,
                flash_attention=flash_attention,
                full_sliding_window=full_sliding_window,
                kv_unified=kv_unified,
                offload_kv=offload_kv,
                offload_ops=offload_ops,
            ),
            "captures": as_texts(captures, "captures"),
            "capture_limit": as_int(capture_limit, "capture_limit", 1, 2**63 - 1),
        }
        scaled = as_adapters(adapters, "adapters")
        vectors = as_control_vectors(control_vector, "control_vector")
        native = self._native.create_context(options)
        if scaled:
            native.set_adapters(scaled)
        if vectors:
            native.set_control_vectors(vectors, None)
        return Context(native, self)

    def load_adapter(self, path: str | os.PathLike[str]) -> Adapter:
        """Load a low-rank adapter (LoRA) for this model: a GGUF file, a folder of the `peft` library, or the `.safetensors` file in one.

            with model.load_adapter("style.gguf") as style:
                print(model.generate("Once upon a time", adapters={style: 0.8}, max_tokens=64).result().text)

        Shapes, types, ranks and all numbers are checked against the model's tensors, and the model computes one token with it, which shows
        whether llama.cpp uses all of it. Blocks meanwhile.

        Raises:
            AdapterError: it is damaged, is no adapter, or does not fit the model.
            UnsupportedModelError: the model was loaded with `vocab_only`, or does not generate text.
            OutOfMemoryError: it does not fit.
            OSError: it cannot be read.
            ClosedError: the model is closed.
        """
        try:
            return Adapter(self._native.load_adapter(as_path(path, "path")))
        finally:
            log.forward()

    def load_control_vector(self, source: str | os.PathLike[str] | ArrayLike | Mapping[int, ArrayLike]) -> ControlVector:
        """Load a control vector for this model: a GGUF file of the architecture `controlvector`, or numbers.

        Numbers are a matrix with a row for each layer from 1 on, or a mapping from layers to vectors, as wide as `info.embedding_dim`. Layer 0
        cannot be moved.

        Raises:
            AdapterError: it is damaged, is no control vector, has another width, has layers that the model does not have, or has numbers that are
                not finite.
            UnsupportedModelError: llama.cpp applies no control vectors to models of this architecture.
            TypeError, ValueError: the numbers are no matrix, and no vectors by layer.
            OSError: the file cannot be read.
            ClosedError: the model is closed.
        """
        if isinstance(source, (str, os.PathLike)):
            return ControlVector(self._native.load_control_vector(as_path(source, "source")))
        return ControlVector(self._native.control_vector("directions", as_directions(source, "source")))

    @property
    def info(self) -> ModelInfo:
        """Facts about the model, its devices and the llama.cpp that runs it. There after `close` too."""
        if self._info.used_devices and not self.closed and (why := self._native.moved_to_cpu()) is not None:
            said = f"{why}; the model runs on the CPU since then"
            self._info = dataclasses.replace(self._info, used_devices=(), layers_on_gpu=0, gpu_layers=0, adjustments=(*self._info.adjustments, said))
        return self._info

    @property
    def metadata(self) -> dict[str, str]:
        """The file's metadata as text, without long arrays. A copy, there after `close` too."""
        return dict(self._metadata)

    def metrics(self) -> Metrics:
        """What the model did since it was loaded: requests, tokens, how many shared a step, and latencies.

            print(model.metrics().token_gap.p99_s)

        Raises:
            ClosedError, ForkedError: the model is closed, or was loaded before a fork.
        """
        return Metrics.of(self._native)

    @property
    def stats(self) -> ModelStats:
        """What the model is doing now."""
        numbers = self._native.stats()
        return ModelStats(**{name: numbers[name] for name in ("active", "queued", "parked", "cells_used", "threads", "prompt_threads")})

    def chat_template(self, name: str | None = None) -> str | None:
        """The file's template for conversations, or its template of that name; None if there is none."""
        return self._native.chat_template(None if name is None else as_text(name, "name"))

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._native.closed

    def close(self) -> None:
        """End all streams (they raise `ClosedError` when read to the end), and free the memory. Closing again is fine."""
        self._native.close()

    def __enter__(self) -> Self:
        if self.closed:
            message = "the model is closed; load it again"
            raise ClosedError(message)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return f"<Model {self._info.description!r} from {self._info.path!r}{state}>"


def _info(facts: Mapping[str, Any], path: str, library: LoadedLibrary, adjustments: Sequence[str]) -> ModelInfo:
    """The facts about the model and those about its library, together."""
    ours = {"path": path, "devices": library.devices, "variant": library.variant, "adjustments": tuple(adjustments)}
    ours |= {"memory": MemoryNeed.from_native(facts["memory"]), "kv_types": tuple(facts["kv_types"]), "used_devices": tuple(facts["used_devices"])}
    known = {name: facts[name] for name in ModelInfo.__dataclass_fields__ if name not in ours}
    return ModelInfo(**known, **ours)  # type: ignore[arg-type] # the contract of the core gives each its type


def _callback(progress: Any) -> Callable[[float], object] | None:
    if progress is None or callable(progress):
        return progress  # type: ignore[no-any-return] # a function can only be tried
    message = f"`progress` must be a function of one number, got {type_name(progress)}"
    raise TypeError(message)
