"""The compiled core. Not public: import from `tabagent` instead.

Every method that can take over ~50 µs runs without the GIL. Waits wake every 50 ms for signals, so Ctrl-C works.
Errors are the classes of `tabagent.errors`; wrong arguments are plain `TypeError` and `ValueError`.
"""

import builtins
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Final, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CAPTURE_LIMIT",
    "GGUF_MAX_THREADS",
    "KV_TYPES",
    "Adapter",
    "ChatParser",
    "ChatTemplate",
    "Constraint",
    "Context",
    "ControlVector",
    "GgufArray",
    "GgufFile",
    "GgufImatrix",
    "GgufWriter",
    "Grammar",
    "HookWorker",
    "JsonReader",
    "Model",
    "PreparedChat",
    "Server",
    "Session",
    "Stop",
    "Stream",
    "TokenEvent",
    "TokenLogprob",
    "Tokenizer",
    "TopLogprob",
    "__version__",
    "chat_template_names",
    "check_sampling",
    "drain_log",
    "error_kinds",
    "gguf_convert",
    "gguf_convert_lora",
    "gguf_dequantize",
    "gguf_edit",
    "gguf_file_type_name",
    "gguf_file_types",
    "gguf_info_json",
    "gguf_merge_lora",
    "gguf_out_types",
    "gguf_parse_size",
    "gguf_quantize",
    "gguf_quantize_model",
    "gguf_room",
    "gguf_swap_bytes",
    "gguf_types",
    "hardware_json",
    "loaded_library",
    "open_library",
    "sampler_facts",
    "sampling_distribution",
    "select_variant_json",
    "set_log_levels",
    "stop_jobs",
    "variants_json",
]

__version__: str

CAPTURE_LIMIT: Final[int]
"""Bytes that a context's captured tensors may take unless told otherwise."""
KV_TYPES: Final[Sequence[str]]
"""The types that a context's memory may have."""

def chat_template_names() -> list[str]:
    """The names of the templates that need no text."""

def error_kinds() -> dict[str, type[Exception]]:
    """The class that each kind of error of the core is raised as, by the kind's name, such as `context_full`."""

def check_sampling(config: Mapping[str, Any]) -> None:
    """Checks the fields of a `SamplerConfig` (its `to_dict()`); raises `ValueError` that names the field and its range."""

def sampler_facts() -> tuple[
    list[tuple[str, float, str, tuple[int, int] | None]],
    list[tuple[str, list[str]]],
    list[str],
    list[str],
    list[str],
]:
    """What the core knows of sampling: each setting (name, default, range in words, the least and the greatest of an integer), each stage with
    the settings that it reads, the default order of stages, llama.cpp's, and the texts where repetitions end for DRY."""

def sampling_distribution(
    config: Mapping[str, Any], logits: NDArray[np.float32], history: Sequence[int], *, explain: bool, model: Model | None
) -> tuple[NDArray[np.float32], list[tuple[str, list[tuple[str, float]], int, float, list[tuple[int, float, float]]]] | None]:
    """The probabilities that a `SamplerConfig` (its `to_dict()`) draws from, shape (vocab_size,), and with `explain` for each stage its
    name, parameters, how many tokens it kept, their probability before it, and the best tokens with their probability before and after."""

def drain_log() -> list[tuple[str, int, str]]:
    """Lines of llama.cpp's log, then of the core's own, since the last call: logger, `logging` level and text, oldest first."""

def stop_jobs(seconds: float) -> bool:
    """Tell all calls that run to stop, and wait so long for them at the most; True if none runs any more."""

def set_log_levels(llama: int, core: int) -> None:
    """Keeps only lines at or above these `logging` levels from now on: llama.cpp's, and the core's own."""

def hardware_json() -> str:
    """Facts about the machine, as JSON."""

def variants_json(
    environment: str | None,
    companions: Sequence[tuple[str, str, Sequence[str]]],
    bundled: str | None,
    probe: tuple[str, str | None] | None = None,
    packages: Sequence[tuple[str, str]] | None = None,
) -> str:
    """Every known variant, best first, with its verdict and reason, as JSON.

    Companions are names, directories and libraries to load before their modules. `probe` is the program of child processes, which tries libraries and
    tells what GPUs there are, and the folder that keeps what it said. `packages` are names and library directories of other installed packages.
    """

def select_variant_json(
    request: str,
    environment: str | None,
    companions: Sequence[tuple[str, str, Sequence[str]]],
    bundled: str | None,
    probe: tuple[str, str | None] | None = None,
    packages: Sequence[tuple[str, str]] | None = None,
    allow_unverified: bool = False,
) -> str:
    """The variant that `request` (`auto`, a name, or a path) stands for, as JSON; raises `VariantError`. It was tried in a child process."""

def open_library(
    path: str,
    module: str | None,
    crash_file: str | None = None,
    backends: Sequence[str] | None = None,
    needed: Sequence[str] | None = None,
    allow_unverified: bool = False,
) -> str:
    """Loads llama.cpp from a directory with a CPU module (None: ggml's pick), the modules `backends` and no others, and describes it, as JSON.

    `needed` are libraries to load before these modules. With `allow_unverified`, a build that is not known loads where exactly one layout fits.
    Keys: directory, build, layout, evidence, unverified, ggml_version, cpu_module, cpu_module_file, added, devices (name,
    id, description, kind, memory_free, memory_total).
    """

def loaded_library() -> str | None:
    """What `open_library` said, for the library of this process; None when none is loaded."""

def gguf_info_json(path: str, array_items: int) -> str:
    """Metadata and tensors of a model (all its parts), as JSON; arrays cut to `array_items`. Checks the files; raises `GgufError`, `OSError`.

    Keys: file, size (of all parts), version, byte_order, alignment, architecture, split (null, or [number, count] of a part that was opened
    alone), parts (names), metadata (list of {key, type, value, length}), tensors (list of {name, type, shape (GGUF order), part, offset (from
    the part's start), bytes}), problem (null, or why llama.cpp could not load it).
    """

GGUF_MAX_THREADS: Final[int]
"""The most threads that a call of `tabagent.gguf` can be told to use."""

def gguf_out_types() -> tuple[list[str], list[str], list[str]]:
    """Names of the types that results can have: of a converted model, of a merged one, and of a converted adapter."""

def gguf_parse_size(text: str) -> int:
    """Bytes from a size as people write it, such as `90MB`, `2G` or `1.5GiB`; raises `ValueError`."""

def gguf_types() -> list[tuple[str, int, int, int]]:
    """Every tensor type: name, ggml's number, weights in a block, bytes of a block."""

def gguf_convert(
    source: str, output: str, out_type: str, pre_tokenizer: str | None, progress: Callable[[int, int], object] | None
) -> tuple[str, str, int, int]:
    """Converts a folder or a BitNet file: architecture, type of the matrices, tensors, parameters."""

def gguf_convert_lora(
    source: str, output: str, base: str | None, out_type: str, progress: Callable[[int, int], object] | None
) -> tuple[str, int, int, list[str]]:
    """Converts a PEFT adapter: architecture, tensors, parameters, and names of tensors that were passed over."""

def gguf_merge_lora(
    base: str,
    adapters: Sequence[tuple[str, float]],
    output: str,
    out_type: str,
    imatrix: GgufImatrix | None,
    threads: int | None,
    progress: Callable[[int, int], object] | None,
) -> tuple[int, int, list[str]]:
    """Merges adapters with scales into a model: tensors, changed tensors, and names of tensors that were passed over."""

def gguf_edit(
    path: str,
    changes: Sequence[tuple[str, tuple[str, Any] | None]],
    output: str | None,
    progress: Callable[[int, int], object] | None,
) -> Literal["unchanged", "in place", "rewritten"]:
    """Sets (type, value) or removes (None) metadata, of the file itself or of a copy at `output`. Types are written `u32` or `arr[str]`."""

def gguf_dequantize(data: NDArray[np.uint8], kind: str, out: NDArray[Any], dtype: str, threads: int | None, is_new: bool) -> None:
    """Decodes contiguous stored bytes into `out`, on all cores or `threads`: `float32`, or the bits of `float16` or `bfloat16` as uint16.

    `is_new`: nothing of `out` was written to, as the fastest way depends on it."""

def gguf_room(n_bytes: int) -> tuple[NDArray[np.uint8], bool] | None:
    """Writable bytes for a large result, and whether nothing was written to them before; None where an array of numpy's does as well."""

def gguf_swap_bytes(data: NDArray[np.uint8], kind: str) -> NDArray[np.uint8]:
    """A copy with every number in the other byte order."""

def gguf_quantize(
    values: NDArray[np.float32], row_length: int, kind: str, importance: NDArray[np.float32] | None, threads: int | None
) -> NDArray[np.uint8]:
    """The stored bytes of rows of `row_length` weights, on all cores or `threads`. `importance`: a weight for each element of a row."""

def gguf_file_type_name(number: int) -> str | None:
    """The name of the file type with llama.cpp's number `number`, as in `general.file_type`."""

def gguf_file_types() -> list[tuple[str, int | None, float, str]]:
    """Every file type that models can be quantized to: name, llama.cpp's number, bits of a weight of its default type, what it is."""

def gguf_quantize_model(
    source: str,
    destination: str | None,
    kind: str | None,
    arguments: Mapping[str, Any],
    progress: Callable[[int, int], object] | None,
) -> tuple[list[str | PathLike[str]], int, list[tuple[str, list[int], str, str, str, bool, int, int]], str | None]:
    """Quantizes a model, or without `destination` says what would become of it.

    `arguments` has the keyword arguments of `tabagent.gguf.quantize_model`, all of them. Answers the paths written, the number of the file
    type, for each tensor (name, shape in GGUF's order, types before and after, reason, whether its rows do not fit the blocks of another
    type, bytes before and after), and of a dry run why it would be refused.
    """

@final
class GgufArray:
    """An array of a file's metadata, decoded item by item; it keeps the file open."""

    @property
    def item_type(self) -> str: ...
    def __len__(self) -> int: ...
    def get(self, index: int) -> Any: ...
    def to_list(self, start: int, stop: int) -> list[Any]: ...
    def numpy(self) -> NDArray[Any] | None:
        """A copy; None for strings and arrays."""

@final
class Tokenizer:
    """A file's tokenizer, without an engine. Long work runs in a thread and ends soon after a signal."""

    @staticmethod
    def from_file(path: str) -> Tokenizer:
        """Reads the metadata of a GGUF file, or a `tokenizer.json`."""
    @property
    def kind(self) -> str: ...
    def vocab_size(self) -> int: ...
    def special_tokens(self) -> tuple[int | None, int | None, int | None]:
        """BOS, EOS and the token of a line break."""
    def additions(self) -> tuple[bool, bool]:
        """Whether BOS and EOS are added to texts."""
    def is_eog(self, token: int) -> bool: ...
    def token_text(self, token: int) -> str: ...
    def token_to_bytes(self, token: int, special: bool) -> bytes: ...
    def tokenize(self, text: str, add_special: bool, parse_special: bool) -> list[int]: ...
    def tokenize_batch(self, texts: Sequence[str], add_special: bool, parse_special: bool) -> list[list[int]]: ...
    def offsets(self, text: str, add_special: bool, parse_special: bool) -> list[tuple[int, int]]:
        """Of each token the first character that it stands for, and the one behind its last."""
    def detokenize(self, tokens: Sequence[int], remove_special: bool, unparse_special: bool) -> str: ...
    def detokenize_batch(self, lists: Sequence[Sequence[int]], remove_special: bool, unparse_special: bool) -> list[str]: ...

@final
class GgufFile:
    """The parts of a model, mapped. Long work runs in a thread; `progress` gets the bytes done and in all on the calling thread, and stops
    the work (`GgufCancelledError`) by returning False."""

    @staticmethod
    def open(path: str) -> GgufFile: ...
    @staticmethod
    def open_part(path: str) -> GgufFile:
        """Maps one file, also where it is a part of a model or says so wrongly."""
    @property
    def split(self) -> tuple[int, int] | None:
        """The number of the part that the file is, from 0, and how many there are; None for a whole model."""
    @staticmethod
    def from_descriptor(descriptor: int, name: str) -> GgufFile:
        """Maps the file behind an open descriptor, from its start."""
    @staticmethod
    def from_bytes(data: bytes, name: str) -> GgufFile:
        """Reads the bytes where they lie."""
    @staticmethod
    def from_beginning(data: bytes, size: int, name: str) -> GgufFile | int:
        """Reads the beginning of a file of `size` bytes; an integer says how many of its first bytes are needed at least."""
    @staticmethod
    def from_beginnings(parts: Sequence[tuple[bytes, int, str]]) -> GgufFile:
        """Reads the beginnings of all parts of a model: bytes, the part's size and its name each."""
    @property
    def version(self) -> int: ...
    @property
    def byte_order(self) -> str: ...
    @property
    def alignment(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def part_names(self) -> list[str]: ...
    @property
    def is_header_only(self) -> bool: ...
    def keys(self) -> list[str]: ...
    def value_type(self, key: str) -> str: ...
    def value(self, key: str) -> Any: ...
    def tensors(self) -> list[tuple[str, str, list[int], int, int, int]]:
        """Name, type, dimensions in GGUF's order, number of the part, start in the part, bytes."""
    def raw(self, name: str) -> NDArray[np.uint8]:
        """A read-only view of the file that keeps it open."""
    def check(self, model: bool, data: bool, progress: Callable[[int, int], object] | None) -> None: ...
    def describe(self, file: str, array_items: int) -> str:
        """As `gguf_info_json`."""
    def hashes(self, progress: Callable[[int, int], object] | None) -> dict[str, Any]:
        """SHA-256 in hexadecimal: `files` and `tensors` (by name), and `weights`."""
    def differences(self, other: GgufFile) -> list[str]: ...

@final
class GgufImatrix:
    """An importance matrix, read from a file."""

    @staticmethod
    def open(path: str) -> GgufImatrix: ...
    @staticmethod
    def from_importances(entries: Sequence[tuple[str, Sequence[float] | NDArray[np.float32]]]) -> GgufImatrix: ...
    @property
    def names(self) -> list[str]: ...
    @property
    def datasets(self) -> list[str]: ...
    @property
    def n_chunks(self) -> int: ...
    @property
    def chunk_size(self) -> int: ...
    def importances(self, name: str) -> NDArray[np.float32] | None:
        """A copy."""

    def write(self, path: str) -> None: ...

@final
class GgufWriter:
    """Collects metadata and tensors, and writes them."""

    def __new__(cls, byte_order: str, version: int) -> GgufWriter: ...
    @staticmethod
    def of_model(file: GgufFile, byte_order: str | None) -> GgufWriter: ...
    def set(self, key: str, kind: str, value: Any) -> None: ...
    def remove(self, key: str) -> None: ...
    def add_tensor(self, name: str, kind: str, dims: Sequence[int], n_bytes: int, make: Callable[[], bytes], data: Any) -> None:
        """`dims` in GGUF's order; `make` returns the data when its turn comes, and may raise. Files that `data` looks into are not replaced."""
    def write(self, path: str, progress: Callable[[int, int], object] | None) -> None: ...
    def to_bytes(self) -> bytes: ...
    def write_parts(
        self,
        prefix: str,
        max_bytes: int | None,
        max_tensors: int | None,
        first_without_tensors: bool,
        progress: Callable[[int, int], object] | None,
    ) -> list[str]: ...

@final
class TopLogprob:
    """One of the most probable tokens at some place."""

    def __new__(cls, token: int, logprob: float, bytes: builtins.bytes) -> TopLogprob: ...  # noqa: A002 (named as what it sets)
    @property
    def token(self) -> int: ...
    @property
    def logprob(self) -> float:
        """The natural logarithm of its probability."""
    @property
    def bytes(self) -> bytes:
        """The bytes of its text (the marker of a control token), which may be a part of a character."""
    @property
    def text(self) -> str:
        """The bytes as text, with U+FFFD for what is no character."""

@final
class TokenLogprob:
    """A token with its natural-log probability, in the distribution that `logprobs_mode` names."""

    def __new__(cls, token: int, logprob: float, bytes: builtins.bytes, top: Sequence[TopLogprob]) -> TokenLogprob: ...  # noqa: A002 (named as what it sets)
    @property
    def token(self) -> int: ...
    @property
    def logprob(self) -> float:
        """The natural logarithm of its probability; minus infinity if that is 0."""
    @property
    def bytes(self) -> bytes:
        """The bytes of its text (the marker of a control token), which may be a part of a character."""
    @property
    def text(self) -> str:
        """The bytes as text, with U+FFFD for what is no character."""
    @property
    def top(self) -> list[TopLogprob]:
        """The most probable tokens at this place, best first."""

@final
class TokenEvent:
    """A piece of a stream: text of whole characters, and the tokens that it came from."""

    def __new__(
        cls, text: str, token_ids: Sequence[int], logprobs: Sequence[TokenLogprob], prompt_progress: tuple[int, int, int] | None = None
    ) -> TokenEvent: ...
    @property
    def text(self) -> str: ...
    @property
    def token_ids(self) -> list[int]: ...
    @property
    def logprobs(self) -> list[TokenLogprob]: ...
    @property
    def prompt_progress(self) -> tuple[int, int, int] | None:
        """Tokens of the prompt that are in memory, all of them, and those that were there before; None of a piece of text. Such an event has no
        text, and comes before the first token, with `generate(progress=True)`."""

@final
class Stop:
    """Ends work that another thread waits for."""

    def __new__(cls) -> Stop: ...
    def set(self) -> None: ...

@final
class Server:
    """A server that listens, with threads of its own that never run Python."""

    def __new__(
        cls,
        models: list[dict[str, Any]],
        *,
        settings: dict[str, Any],
        any_name: bool,
        autoload: bool,
        memory_limit: int | None,
        max_models: int | None,
        keep_alive: float | None,
        reload: Callable[[], list[dict[str, Any]]] | None,
        hub: dict[str, Any] | None,
    ) -> Server:
        """Listens. Each of `models` has name, aliases, tags, path, template, template_text, defaults (options of `generate` as `Model.generate` has
        them here), adapters (paths with scales), keep_alive and identity (a text that changes when the model does), and says how it is loaded: by
        `model`, which is; by functions `borrow` and `give_back`, called on threads that load models; by `load` (library, module and options, as of
        `Model.load`) from its path; or by `load` and `hub` (command and name) from what that program fetches. `any_name` has the only model answer
        to all names. `reload`, called on a thread that may block, gives models anew; `hub` (command, load and defaults) fetches those that clients
        ask for.

        `settings` has listen_hosts, port, unix_path, prefix, keys, hosts, origins, threads, max_connections, max_body_bytes, head_timeout, timeout,
        drain_timeout, ping, max_choices, metrics, slots, slot_save_path, props, embeddings, reranking, prefill, tools, thinking,
        reasoning_in_content, pooling; missing ones have their defaults."""
    def urls(self) -> list[str]:
        """All addresses: `http://host:port`, or `unix:path`."""
    def port(self) -> tuple[str, int] | None:
        """Host and port of the first one; None of a socket in the file system."""
    def load(self, name: str) -> None:
        """Has a model loaded, without waiting."""
    def stop(self) -> None:
        """Stops gracefully, and waits for that."""

@final
class Stream:
    """The consumer's end of one request. Dropping it cancels the request."""

    def next_event(self) -> TokenEvent | None:
        """Waits for the next event; None at the end. Raises what ended the stream if that was an error."""
    def poll_event(self) -> TokenEvent | None:
        """The next event if there is one now. None: nothing yet, or the end (`finished` tells). Raises as `next_event`."""
    @property
    def finished(self) -> bool:
        """Whether all events were taken and the stream has ended."""
    def wake_fd(self) -> int:
        """A file descriptor that is readable whenever `poll_event` has something new. Owned by the stream."""
    def clear_wake(self) -> None:
        """Makes the descriptor unreadable until the next event; call before polling."""
    def cancel(self) -> None: ...
    def take_hook(self) -> HookWorker | None:
        """The end of the thread that changes logits, the first time, of a stream made with `hooked`."""
    def summary(self) -> dict[str, Any] | None:
        """None while it runs, else finish_reason (str: stop, length, cancelled, timeout, error), stop_match (None, or a dict with kind
        `string`, `token`, `eog` or `constraint` and value), prompt_tokens, cached_tokens, completion_tokens, forced_tokens,
        drafted_tokens, accepted_tokens, dropped_tokens, constraint_complete (None without a grammar), step_requests, and seconds: queued_s, prompt_s,
        decode_s, first_token_s (None without a token), token_gaps_s (three quantiles; None with fewer than two tokens)."""

@final
class Session:
    """A conversation that is kept. All calls but `closed` wait for a cancelled text to end."""

    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def is_running(self) -> bool:
        """Whether a text is being generated that nobody has cancelled; all other calls raise then."""
    def tokens(self) -> list[int]: ...
    def append(self, input: str | Sequence[int], add_special: bool, parse_special: bool) -> list[int]:  # noqa: A002 (named as what it takes)
        """The tokens that were added."""
    def generate(
        self,
        *,
        options: Mapping[str, Any],
        sampling: Mapping[str, Any] | None,
        grammar: Grammar | None,
        hooked: bool,
        draft: _Draft | None = None,
    ) -> Stream:
        """As `Model.generate`; `sampling` replaces the session's."""
    def set_sampling(self, sampling: Mapping[str, Any]) -> None:
        """The random generator goes on from where it is."""
    def rewind(self, n: int) -> None: ...
    def branch(self) -> Session: ...
    def save(self, path: str, note: str) -> None: ...

@final
class HookWorker:
    """Brings a stream's logits to a Python thread and back. Dropping it ends the stream when it has another row to change."""

    def next_row(self) -> tuple[NDArray[np.int32], NDArray[np.float32]] | None:
        """Waits for the next row: all tokens so far (read-only) and the logits to change, in arrays that own their memory. None: the
        stream has ended. Not for the main thread: signals do not end the wait."""
    def give_back(self, logits: NDArray[np.float32]) -> None: ...
    def fail(self, message: str) -> None:
        """Ends the stream with `SamplingError`."""

@final
class ChatParser:
    """Reads an answer while it comes. What is new comes as kind (`content`, `reasoning`, `call`, `call id`, `arguments`, `end of call`, `dropped`),
    the call's place, text (of `call` the tool's name) and id."""

    def feed(self, text: str) -> list[tuple[str, int, str, str | None]]: ...
    def finish(self) -> list[tuple[str, int, str, str | None]]: ...
    def message(self) -> tuple[str, str | None, list[tuple[str | None, str, str]], list[str]]:
        """As `ChatTemplate.parse`."""

@final
class ChatTemplate:
    """A parsed chat template. A `request` has the arguments of `tabagent.ChatTemplate.render` by their names: lists, bools, `now` as a tuple of
    numbers, `continue_final_message` as a field's name or None, and `variables`."""

    def __new__(cls, text: str, bos_token: str, eos_token: str) -> ChatTemplate: ...
    @staticmethod
    def named(name: str, bos_token: str, eos_token: str) -> ChatTemplate: ...
    @property
    def text(self) -> str: ...
    @property
    def bos_token(self) -> str: ...
    @property
    def eos_token(self) -> str: ...
    def reads(self, name: str) -> bool:
        """Whether the template has a variable of this name anywhere."""
    def capabilities(self) -> dict[str, bool]: ...
    def parse(
        self, text: str, tools: list[dict[str, Any]] | None, partial: bool, prompt: str | None, continued: str | None
    ) -> tuple[str, str | None, list[tuple[str | None, str, str]], list[str]]:
        """Content, reasoning, calls (id, name, arguments as JSON text) and warnings."""

    def render(self, request: dict[str, Any]) -> str: ...
    def render_segments(self, request: dict[str, Any]) -> list[tuple[str, bool]]:
        """Each part of the prompt, with whether special tokens count in it."""

@final
class PreparedChat:
    """A request for an answer, made ready by `Model.prepare_chat`."""

    @property
    def tokens(self) -> list[int]:
        """The prompt's."""
    @property
    def grammar(self) -> Grammar | None:
        """What the answer is held to: calls, content of a form, or either."""
    @property
    def unenforced(self) -> list[tuple[str, str, str]]:
        """What of the tools' schemas the grammar does not enforce: tool, parameter, keyword."""
    @property
    def reasoning_end(self) -> str | None:
        """What ends the reasoning that the prompt leaves the model in; None if it is in none."""
    @property
    def stop(self) -> list[str]:
        """What ends a turn in the template and is no end in the vocabulary."""
    @property
    def thought(self) -> dict[str, Any] | None:
        """The budget of thoughts, as `reasoning_budget` of `generate` takes it; None if nothing limits them."""
    def parser(self) -> ChatParser: ...

@final
class Grammar:
    """A grammar compiled for a model."""

    def start(self) -> Constraint: ...
    @property
    def limitations(self) -> list[tuple[str, str, str]]:
        """JSON pointer, keyword and message."""

@final
class Constraint:
    """A grammar at work on one sequence. Raises `GrammarError`."""

    def mask(self, n_vocab: int) -> NDArray[np.bool_]: ...
    def accept(self, token: int) -> None: ...
    def forced(self) -> list[int]: ...
    def rollback(self, count: int) -> None: ...
    @property
    def can_end(self) -> bool: ...
    @property
    def is_finished(self) -> bool: ...

@final
class JsonReader:
    """Reads JSON while it is written. Raises `ValueError` where the text is not JSON."""

    def __new__(cls) -> JsonReader: ...
    def feed(self, piece: str) -> list[tuple[str, Any]]:
        """What the piece has, as pairs: `{`, `[`, `end`, `key` with a name, `string`, `text` with more of the string, `end of string`, `number`
        with its text, `value` with True, False or None."""

    def finish(self) -> list[tuple[str, Any]]:
        """Says that the text ends here."""

    @property
    def is_complete(self) -> bool: ...

@final
class Model:
    """A loaded model with its decode thread."""

    @staticmethod
    def load(
        path: str,
        *,
        library: str,
        module: str | None,
        options: Mapping[str, Any],
        progress: Callable[[float], object] | None,
    ) -> Model:
        """Loads on a thread of its own. `progress` gets the part loaded, 0 to 1, on the calling thread; returning False, or raising,
        stops the load (`ModelLoadCancelledError`, or the exception itself).

        `options`: engine (auto, llama.cpp or rust), gpu_layers, context_size, sequence_size, max_sequences, max_queue, deterministic, cache_bytes,
        cache_disk, cache_disk_bytes,
        threads, batch_size, micro_batch_size, kv_type (a name, or a list of two: of keys and of values), flash_attention (auto, on or off),
        full_sliding_window, kv_unified, offload_kv, offload_ops, use_mmap, mlock, vocab_only, check_tensors, metadata_overrides, fit (the fewest
        tokens of a context that may be taken in place of one that does not fit), trial (program, verdicts, always), isolation (program, on_crash,
        on_gpu_failure, crash_file); what is None or not there has its default."""
    @staticmethod
    def predict_memory(path: str | PathLike[str], *, library: str, module: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
        """Bytes that `load` would take: mapped, weights, cache, compute, vocabulary; those that are free, available (None: not known);
        context_size and kv_types. `options` are those of `load`."""
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    def library(self) -> str | None:
        """What `open_library` says, of the library of the model's own process; None if that is this one."""
    def moved_to_cpu(self) -> str | None:
        """How the process of the model ended after which the model was moved from its devices to the CPU; None if it was not."""
    def facts(self) -> dict[str, Any]:
        """description, architecture, name, engine, quantization, parameters, size, context_train_size, embedding_dim, layers, heads, kv_heads,
        sliding_window, has_encoder, has_decoder, recurrent, hybrid, layers_on_gpu, vocab_size, vocab_kind, context_size, max_sequences,
        batch_size, threads (the last four are 0 with vocab_only), adds_bos, adds_eos, kv_types (of keys and of values), memory (bytes: mapped,
        weights, cache, compute, vocabulary), fitted (None, or asked and taken, each as `predict_memory` gives it), rewritten
        (None, or the path of the file that was loaded in place of one with `I2_S` tensors, and whether it was written just now)."""
    def metadata(self) -> dict[str, str]: ...
    def chat_template(self, name: str | None) -> str | None: ...
    def chat_tokens(self) -> tuple[str, str]:
        """The texts of the tokens that begin and end a text; empty where there are none."""
    def chat_template_for(self, tools: bool, documents: bool) -> ChatTemplate:
        """The file's template for a conversation with tools, or with documents. Raises `ChatTemplateError` if it has none."""
    def infill_prompt(self, request: dict[str, Any]) -> list[int]:
        """The tokens after which the missing text comes; see `Model.infill`. Raises `UnsupportedModelError`."""
    def prepare_chat(self, template: ChatTemplate | None, conversation: dict[str, Any], asked: dict[str, Any]) -> PreparedChat:
        """The prompt of a conversation, a request as for `ChatTemplate.render`, and what its answer is held to. Without a template it is the file's.
        `asked`: tool_choice (`auto`, `none`, `required`), tool_name (of the one tool to call, or None), parallel, content (None, or a request as
        `compile_grammar` takes it), thinking (None, or tokens and a message)."""
    def chat_prompt(self, template: ChatTemplate, request: dict[str, Any]) -> tuple[str, list[int]]:
        """The prompt of a conversation and its tokens; the request is as for `ChatTemplate.render`."""
    def special_tokens(self) -> dict[str, int | None]:
        """Keys bos, eos, eot, nl, pad, sep, mask, fim_pre, fim_suf, fim_mid, fim_pad, fim_rep, fim_sep."""
    def is_eog(self, token: int) -> bool: ...
    def is_control(self, token: int) -> bool: ...
    def token_text(self, token: int) -> str: ...
    def token_score(self, token: int) -> float: ...
    def token_attributes(self, token: int) -> list[str]: ...
    def token_to_bytes(self, token: int, special: bool) -> bytes: ...
    def tokenize(self, text: str, add_special: bool, parse_special: bool) -> list[int]: ...
    def tokenize_after(self, last: int | None, text: str, parse_special: bool) -> list[int]:
        """The tokens of a text that goes on with one whose last token is `last`: without a space of the tokenizer's in front."""
    def tokenize_batch(self, texts: Sequence[str], add_special: bool, parse_special: bool) -> list[list[int]]: ...
    def prompt(self, prompt: str | Sequence[int], add_special: bool, parse_special: bool, name: str | None, must_fit: bool = True) -> list[int]:
        """The tokens that `generate` makes of a prompt. Warns the caller of the calling function, in terms of an argument `name` (None: does
        not), of special tokens at the ends that `add_special` would have doubled."""
    def detokenize(
        self,
        tokens: Sequence[int],
        remove_special: bool,
        unparse_special: bool,
        clean_up_tokenization_spaces: bool = False,
        continuation: bool = False,
    ) -> str: ...
    def detokenize_batch(
        self,
        lists: Sequence[Sequence[int]],
        remove_special: bool,
        unparse_special: bool,
        clean_up_tokenization_spaces: bool = False,
        continuation: bool = False,
    ) -> list[str]: ...
    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        add_special: bool,
        parse_special: bool,
        options: Mapping[str, Any],
        grammar: Grammar | None,
        hooked: bool,
        changes: _Changes | None = None,
        fork: tuple[Stream, Sequence[int]] | None = None,
        draft: _Draft | None = None,
    ) -> Stream:
        """`fork` goes on after tokens that another stream of the prompt gave. `draft` guesses tokens ahead.

        With `hooked` the stream waits for its `take_hook` to change each row of logits.

        `options`: max_tokens, sampling (a `SamplerConfig`'s `to_dict()`), stop, ban, stop_tokens, ignore_eos, logprobs, logprobs_mode, show_special,
        cache_prompt, progress (events of the prompt), overflow (error, stop, shift, or a mapping of keep and discard),
        speculative (None, or a mapping of min_match, max_match, max_draft), priority, timeout (seconds), collect (the whole text in one event)."""
    def session(self, sampling: Mapping[str, Any], changes: _Changes | None = None) -> Session: ...
    def load_session(self, path: str, changes: _Changes | None = None) -> tuple[Session, str]:
        """The session of a file, with the default sampling, and its note."""
    def score(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]], cache_prompt: bool, changes: _Changes | None = None) -> Stream:
        """A stream with one event for each continuation, without text: its tokens with their log-probabilities."""
    def embed(
        self, texts: list[str | list[int]], options: Mapping[str, Any], stop: Stop, progress: Callable[[float], object] | None
    ) -> NDArray[np.float32]:
        """A row for each text. `options`: pooling (mean, cls, last), normalize, truncate, dimensions, add_special, parse_special. `progress` gets the
        part done, 0 to 1, on the calling thread; returning False, or raising, stops the work."""
    def embed_tokens(self, text: str | list[int], options: Mapping[str, Any], stop: Stop) -> NDArray[np.float32]:
        """A row for each token; of the options, pooling and dimensions do not count."""
    def rerank(self, query: str, documents: Sequence[str], truncate: bool, stop: Stop, progress: Callable[[float], object] | None) -> list[float]:
        """A score for each document, in their order."""
    def compile_grammar(self, request: Mapping[str, Any]) -> Grammar:
        """`request`: kind (json_schema, json_object, regex, choices, lark or gbnf), source (a text, for choices a list of them), compact,
        starts, free_after, required. Raises `GrammarError`."""
    def stats(self) -> dict[str, int]:
        """active, queued, parked, cells_used, threads, prompt_threads."""
    def metrics(self) -> dict[str, Any]:
        """The fields of `tabagent.metrics.Metrics`; latencies as dictionaries of those of `Latency`."""
    def prometheus(self) -> str:
        """The same and `stats`, in Prometheus' text format."""
    def create_context(self, options: Mapping[str, Any]) -> Context:
        """`options`: context_size, batch_size, micro_batch_size, max_sequences, threads, prompt_threads, kv_type, flash_attention,
        full_sliding_window, kv_unified, offload_kv, offload_ops, as `Model.load` has them; captures, capture_limit."""
    def load_adapter(self, path: str) -> Adapter: ...
    def load_control_vector(self, path: str) -> ControlVector: ...
    def control_vector(self, name: str, directions: Sequence[tuple[int, NDArray[np.float32]]]) -> ControlVector:
        """`directions`: layers with the vectors that are added to what they give; errors call it `name`."""

@final
class Adapter:
    """A low-rank adapter, loaded for a model."""

    def facts(self) -> dict[str, Any]:
        """name, path, rank, alpha (None: the rank), tensors, size, invocation_tokens, ignored."""
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...

@final
class ControlVector:
    """Directions that are added to what layers give."""

    @property
    def name(self) -> str: ...
    @property
    def model_hint(self) -> str | None: ...
    @property
    def layers(self) -> list[int]: ...

_Draft: TypeAlias = tuple[Model, Mapping[str, Any]]
"""A model that guesses, and its limits: max_draft, min_draft, min_probability."""
_Changes: TypeAlias = tuple[Sequence[tuple[Adapter, float]], Sequence[tuple[ControlVector, float]], tuple[int, int] | None]
"""Adapters and control vectors of a request, each with a scale, and the first and the last layer for the latter."""

@final
class Context:
    """A context of one's own, beside the decode thread's. Calls from several threads are served one after another."""

    def decode(self, tokens: Sequence[int], positions: Sequence[int] | None, sequences: Sequence[int], logits: Sequence[bool] | None) -> None:
        """Positions None: after what the first sequence holds. `sequences` holds each token. Logits None: for the last token."""
    def logits(self, index: int, copy: bool) -> NDArray[np.float32]:
        """Shape (vocab_size,). Negative indexes count from the end. Without `copy` a read-only view that pins the context: `decode` and
        whatever else would overwrite it raises `BufferError` until the view is dropped."""
    @property
    def context_size(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def max_sequences(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def sequence_size(self) -> int: ...
    def captures(self) -> dict[str, NDArray[np.float32]]:
        """The tensors that the last decode captured."""
    def set_adapters(self, adapters: Sequence[tuple[Adapter, float]]) -> None: ...
    def adapters(self) -> list[tuple[str, float]]: ...
    def set_control_vectors(self, vectors: Sequence[tuple[ControlVector, float]], layers: tuple[int, int] | None) -> None: ...
    def next_position(self, sequence: int) -> int: ...
    def remove(self, sequence: int, start: int, end: int | None) -> None: ...
    def copy(self, source: int, target: int) -> None: ...
    def clear(self) -> None: ...
    def save_state(self) -> bytes: ...
    def load_state(self, state: bytes) -> None: ...
    def save_state_file(self, path: str | PathLike[str]) -> None: ...
    def load_state_file(self, path: str | PathLike[str]) -> None: ...
    def clone(self) -> Context: ...
    def cancel(self) -> None:
        """Stops a decode that runs in another thread."""
    def close(self) -> None: ...
    @property
    def closed(self) -> bool: ...
