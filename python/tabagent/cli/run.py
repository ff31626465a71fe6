"""`tabagent run`: continue a text, or converse."""

import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tabagent.cli import options as opt
from tabagent.cli.conversation import Conversation
from tabagent.cli.escapes import unescape
from tabagent.cli.failure import UsageError, explained, one_line
from tabagent.cli.generation import Answer, GenerationOptions, generate
from tabagent.cli.gguf_summary import summarize
from tabagent.cli.line_reader import LineReader
from tabagent.cli.model_source import ModelSource, model_path
from tabagent.cli.output import is_terminal, write_json, write_note, write_tables, write_text
from tabagent.cli.progress import ProgressBar
from tabagent.cli.prompt_source import read_prompt
from tabagent.cli.report import completion_json, logprobs_table, timings_line
from tabagent.cli.sampler_options import parse_biases, parse_breakers, parse_order
from tabagent.cli.structure import structure_of, trigger_of
from tabagent.cli.xray import Xray
from tabagent.errors import TabagentError

if TYPE_CHECKING:
    from tabagent import Completion, Model, SamplerConfig

__all__ = ["run"]


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """What is printed besides the text."""

    as_json: bool
    timings: bool
    display_prompt: bool
    explain: bool = False


@explained
def run(
    model: opt.ModelName = None,
    *,
    prompt: opt.Prompt = None,
    file: opt.PromptFile = None,
    escape: opt.Escape = False,
    interactive: opt.Interactive = False,
    n_predict: opt.PredictTokens = -1,
    ctx_size: opt.ContextTokens = None,
    stop: opt.Stop = None,
    ignore_eos: opt.IgnoreEos = False,
    json_schema: opt.JsonSchema = None,
    grammar: opt.GrammarText = None,
    regex: opt.Regex = None,
    choices: opt.Choices = None,
    trigger: opt.Triggers = None,
    trigger_token: opt.TriggerTokens = None,
    trigger_then: opt.TriggerThen = "stop",
    trigger_optional: opt.TriggerOptional = False,
    temp: opt.Temperature = None,
    top_k: opt.TopK = None,
    top_p: opt.TopP = None,
    min_p: opt.MinP = None,
    typical: opt.Typical = None,
    repeat_penalty: opt.RepeatPenalty = None,
    repeat_last_n: opt.RepeatLastN = None,
    frequency_penalty: opt.FrequencyPenalty = None,
    presence_penalty: opt.PresencePenalty = None,
    mirostat: opt.Mirostat = None,
    mirostat_eta: opt.MirostatEta = None,
    mirostat_tau: opt.MirostatTau = None,
    dynatemp_range: opt.DynatempRange = None,
    dynatemp_exp: opt.DynatempExp = None,
    top_nsigma: opt.TopNSigma = None,
    xtc_probability: opt.XtcProbability = None,
    xtc_threshold: opt.XtcThreshold = None,
    dry_multiplier: opt.DryMultiplier = None,
    dry_base: opt.DryBase = None,
    dry_allowed_length: opt.DryAllowedLength = None,
    dry_penalty_last_n: opt.DryLastN = None,
    dry_sequence_breaker: opt.DryBreakers = None,
    adaptive_target: opt.AdaptiveTarget = None,
    adaptive_decay: opt.AdaptiveDecay = None,
    samplers: opt.Samplers = None,
    logit_bias: opt.LogitBias = None,
    seed: opt.Seed = None,
    n_gpu_layers: opt.GpuLayers = "auto",
    variant: opt.Variant = "auto",
    threads: opt.Threads = None,
    batch_size: opt.BatchSize = None,
    kv_type: opt.KvType = "f16",
    mmap: opt.Mmap = True,
    mlock: opt.Mlock = False,
    check_tensors: opt.CheckTensors = False,
    hf: opt.Hf = None,
    hf_file: opt.HfFile = None,
    display_prompt: opt.DisplayPrompt = False,
    show_timings: opt.ShowTimings = False,
    logprobs: opt.Logprobs = None,
    explain: opt.Explain = False,
    json: opt.Json = False,
    verbose: opt.Verbose = False,
) -> int:
    """Continue a text with a model, printing it as it comes.

    The prompt is given with -p, with -f, or piped in; it is printed again
    with --display-prompt only. Special tokens in it, such as <|im_start|>,
    are understood as such.

    With -i, each line that you type (or pipe in) is a turn. Turns and answers
    are one growing plain text that the model continues: chat templates are
    not applied. Ctrl-C stops an answer, and leaves at the prompt, as Ctrl-D.

    Exit code: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C.
    """
    if json and interactive:
        message = "`--json` prints one object at the end, and `-i` has no end; give one of them"
        raise UsageError(message)
    if explain and (json or interactive):
        message = f"`--explain` prints a table for each token, which `{'--json' if json else '-i'}` has no place for; give one of them"
        raise UsageError(message)
    source = ModelSource.parse(model, hf, hf_file)
    sampling = _sampling(
        temperature=temp,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        typical_p=typical,
        repeat_penalty=repeat_penalty,
        repeat_window=repeat_last_n,
        frequency_penalty=frequency_penalty,
        presence_penalty=presence_penalty,
        mirostat=mirostat,
        mirostat_eta=mirostat_eta,
        mirostat_tau=mirostat_tau,
        dynatemp_range=dynatemp_range,
        dynatemp_exponent=dynatemp_exp,
        top_n_sigma=top_nsigma,
        xtc_probability=xtc_probability,
        xtc_threshold=xtc_threshold,
        dry_multiplier=dry_multiplier,
        dry_base=dry_base,
        dry_allowed_length=dry_allowed_length,
        dry_window=dry_penalty_last_n,
        dry_breakers=parse_breakers(dry_sequence_breaker),
        adaptive_target=adaptive_target,
        adaptive_decay=adaptive_decay,
        order=parse_order(samplers),
        logit_bias=parse_biases(logit_bias),
        seed=None if seed == -1 else seed,
    )
    generation = GenerationOptions(
        max_tokens=None if n_predict < 0 else n_predict,
        sampling=sampling,
        stop=[unescape(text) if escape else text for text in stop or ()],
        ignore_eos=ignore_eos,
        structure=structure_of(
            json_schema,
            grammar,
            regex,
            choices,
            trigger=trigger_of(
                [unescape(text) if escape else text for text in trigger or ()], trigger_token or (), then=trigger_then, optional=trigger_optional
            ),
        ),
        logprobs=logprobs,
    )
    settings = {
        "variant": variant,
        "gpu_layers": _gpu_layers(n_gpu_layers),
        "context_size": ctx_size,
        "max_sequences": 1,
        "threads": threads,
        "batch_size": batch_size,
        "kv_type": _kv_type(kv_type),
        "use_mmap": mmap,
        "mlock": mlock,
        "check_tensors": check_tensors,
    }
    output = OutputOptions(as_json=json, timings=verbose or show_timings, display_prompt=display_prompt, explain=explain)
    text = read_prompt(prompt, file, escape=escape, interactive=interactive)
    try:
        started = time.monotonic()
        with load(source, settings) as loaded:
            load_s = time.monotonic() - started
            if verbose and generation.structure:
                _note_limitations(loaded, generation)
            if interactive:
                _converse(loaded, text, generation, output)
            else:
                _complete(loaded, text or "", generation, output, load_s)
    except (TabagentError, ValueError) as error:
        raise _in_options(error) from error
    return 0


def _note_limitations(model: "Model", options: GenerationOptions) -> None:
    """Tell what the text's form demands and nothing enforces."""
    for limit in model.compile_grammar(**options.structure).limitations:
        write_note(f"not enforced: `{limit.keyword}` at `{limit.path}` of the schema: {limit.message}")


def load(source: ModelSource, settings: Mapping[str, Any]) -> "Model":
    """Load a model, with a progress bar on a terminal for what takes long. A `context_size` of 0 is what the model was trained for."""
    from tabagent import Model  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    path = _fetch(source)
    if settings["context_size"] == 0:
        settings = {**settings, "context_size": summarize(path).context_length}
    with ProgressBar(f"loading {Path(path).name}") as bar:
        return Model.load(path, progress=bar.part, **settings)


def _fetch(source: ModelSource) -> str:
    """The local path of the model's file."""
    if source.kind == "hub":
        from tabagent.hub import fetch_model  # noqa: PLC0415 (its imports are slow)

        if not is_terminal(sys.stderr):
            os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        return fetch_model(source.name, source.pattern)
    return model_path(source.name)


def _complete(model: "Model", prompt: str, options: GenerationOptions, output: OutputOptions, load_s: float) -> None:
    tokens = model.tokenize(prompt, add_special=True, parse_special=True)
    if not tokens:
        message = "the prompt is empty, and this model cannot begin without one; give some text"
        raise ValueError(message)
    pieces: list[str] = []
    answer = Answer(pieces.append if output.as_json or output.explain else write_text)
    xray = None
    if output.explain:
        xray = Xray(model, options.sampling, answer, model.compile_grammar(**options.structure) if options.structure else None)
    if output.display_prompt and not output.as_json:
        write_text(prompt)
    try:
        completion = generate(model, tokens, options, xray or answer, [xray.look] if xray else ())
    except KeyboardInterrupt:
        answer.end_line()
        raise
    answer.end_line()
    if output.explain:
        write_text("".join(pieces))
    if output.as_json:
        report = completion_json(completion, model.info, load_s)
        write_json({"prompt": prompt, **report} if output.display_prompt else report)
    elif completion.logprobs is not None:
        write_tables(logprobs_table(completion.logprobs))
    if output.timings:
        write_note(timings_line(completion, model.info, load_s))


def _converse(model: "Model", first: str | None, options: GenerationOptions, output: OutputOptions) -> None:
    def show(completion: "Completion") -> None:
        if output.timings:
            write_note(timings_line(completion, model.info, None))
        elif completion.finish_reason == "length" and completion.usage.completion_tokens != options.max_tokens:
            write_note(f"the answer ends here: the context of {model.info.context_size:,} tokens is full")

    Conversation(model, options, LineReader(), show).run(first)


def _sampling(**given: Any) -> "SamplerConfig":
    from tabagent import SamplerConfig  # noqa: PLC0415 (not needed for `--help`)

    try:
        return SamplerConfig(**{name: value for name, value in given.items() if value is not None})
    except (TypeError, ValueError) as error:
        raise UsageError(_named_as_options(str(error))) from error


def _gpu_layers(text: str) -> int | str:
    if text == "auto":
        return text
    if not text.isdecimal():
        message = f"`-ngl {text}` is neither `auto` nor a number of layers"
        raise UsageError(message)
    return int(text)


def _kv_type(name: str) -> str:
    if name.lower() not in opt.KV_TYPES:
        message = f"`--kv-type {name}` is not known; there are {', '.join(f'`{known}`' for known in opt.KV_TYPES)}"
        raise UsageError(message)
    return name.lower()


def _in_options(error: Exception) -> Exception:
    """The error with the package's parameters named as the options that set them."""
    text = one_line(error)
    renamed = _named_as_options(text)
    if renamed == text:
        return error
    return type(error)(renamed)


def _named_as_options(text: str) -> str:
    def named(found: re.Match[str]) -> str:
        return f"`{opt.FLAGS[found[1]]}`" if found[1] in opt.FLAGS else found[0]

    return re.sub(r"`(\w+)(?:\[\d+\])?`", named, text)
