"""The options of `tabagent run`: their names, as people know them from llama.cpp, and what they mean."""

from typing import Annotated, Any, Final

import typer

from tabagent.cli.arguments import text_argument

KV_TYPES: Final = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")

TEXTS: Final = {"TEXT", "REGEX", "NAMES", "PATTERN", "OWNER/REPO"}
"""What stands for a text, as opposed to a file, a number or a word of ours."""

FLAGS: Final = {
    "adaptive_decay": "--adaptive-decay",
    "adaptive_target": "--adaptive-target",
    "batch_size": "-b",
    "check_tensors": "--check-tensors",
    "choices": "--choices",
    "context_size": "-c",
    "dry_allowed_length": "--dry-allowed-length",
    "dry_base": "--dry-base",
    "dry_breakers": "--dry-sequence-breaker",
    "dry_multiplier": "--dry-multiplier",
    "dry_window": "--dry-penalty-last-n",
    "dynatemp_exponent": "--dynatemp-exp",
    "dynatemp_range": "--dynatemp-range",
    "frequency_penalty": "--frequency-penalty",
    "gpu_layers": "-ngl",
    "grammar": "--grammar",
    "json_schema": "--json-schema",
    "kv_type": "--kv-type",
    "logit_bias": "--logit-bias",
    "max_tokens": "-n",
    "min_p": "--min-p",
    "mirostat": "--mirostat",
    "mirostat_eta": "--mirostat-lr",
    "mirostat_tau": "--mirostat-ent",
    "mlock": "--mlock",
    "order": "--samplers",
    "presence_penalty": "--presence-penalty",
    "regex": "--regex",
    "repeat_penalty": "--repeat-penalty",
    "repeat_window": "--repeat-last-n",
    "seed": "--seed",
    "stop": "--stop",
    "temperature": "--temp",
    "threads": "-t",
    "top_k": "--top-k",
    "top_n_sigma": "--top-nsigma",
    "top_p": "--top-p",
    "trigger": "--trigger",
    "typical_p": "--typical",
    "use_mmap": "--no-mmap",
    "variant": "--variant",
    "xtc_probability": "--xtc-probability",
    "xtc_threshold": "--xtc-threshold",
}
"""What the package's parameters are called here, so that its errors can name the option to change."""


def _kv_types(incomplete: str) -> list[str]:
    return [name for name in KV_TYPES if name.startswith(incomplete)]


def _variants(incomplete: str) -> list[str]:
    from tabagent import list_available_variants  # noqa: PLC0415 (only when Tab is pressed)

    names = ["auto", *(variant.name for variant in list_available_variants() if variant.usable)]
    return [name for name in names if name.startswith(incomplete)]


def _option(panel: str, *names: str, text: str, **settings: Any) -> Any:
    settings.setdefault("metavar", "")  # typer would call a flag `<bool>`
    if settings["metavar"] in TEXTS:
        settings["parser"] = text_argument
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=False, **settings)


PROMPT, LENGTH, SAMPLING, HARDWARE, OUTPUT = "Prompt", "Length", "Sampling", "Model and machine", "Output"
FORM, TRIGGER = "Form of the text (one of these)", "Where the form begins (if not at once)"

ModelName = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A GGUF file (of a split model, its first part), `demo`, or `hf:OWNER/REPO/FILE` with a name or pattern.",
        show_default=False,
    ),
]
Hf = Annotated[str | None, _option(HARDWARE, "--hf", metavar="OWNER/REPO", text="A repository on the Hugging Face Hub, instead of MODEL.")]
HfFile = Annotated[str | None, _option(HARDWARE, "--hf-file", metavar="PATTERN", text="The file in that repository, such as `*Q4_K_M.gguf`.")]

Prompt = Annotated[str | None, _option(PROMPT, "-p", "--prompt", metavar="TEXT", text="The text to continue. Without it and -f: standard input.")]
PromptFile = Annotated[
    str | None, _option(PROMPT, "-f", "--file", metavar="FILE", text="A file with the text to continue, in UTF-8; `-` is standard input.")
]
Escape = Annotated[bool, _option(PROMPT, "-e", "--escape", text="Replace \\n, \\t, \\xHH and the like in the prompt and in stop texts.")]
Interactive = Annotated[bool, _option(PROMPT, "-i", "--interactive", text="A conversation: each line is a turn, and all turns stay in the context.")]

PredictTokens = Annotated[
    int,
    _option(
        LENGTH,
        "-n",
        "--n-predict",
        metavar="N",
        min=-2,
        text="How many tokens to generate at most; -1: until the model ends or the context is full (default).",
    ),
]
ContextTokens = Annotated[
    int | None,
    _option(
        LENGTH,
        "-c",
        "--ctx-size",
        metavar="N",
        min=0,
        text="How many tokens the context holds; 0: as many as the model was trained for (default: the same, up to 4,096).",
    ),
]
Stop = Annotated[list[str] | None, _option(LENGTH, "--stop", metavar="TEXT", text="End before this text; may be given several times.")]
IgnoreEos = Annotated[bool, _option(LENGTH, "--ignore-eos", text="Go on when the model ends its text.")]

JsonSchema = Annotated[
    str | None, _option(FORM, "-j", "--json-schema", metavar="FILE|JSON", text="JSON that fits a schema: a file, or the schema itself; `{}` for any.")
]
GrammarText = Annotated[
    str | None, _option(FORM, "--grammar", metavar="FILE|TEXT", text="What a grammar allows, in GBNF (with a rule `root ::=`) or Lark.")
]
Regex = Annotated[str | None, _option(FORM, "--regex", metavar="REGEX", text="What matches a regular expression, as a whole.")]
Choices = Annotated[list[str] | None, _option(FORM, "--choices", metavar="TEXT", text="One of these texts; to be given several times.")]
Triggers = Annotated[
    list[str] | None,
    _option(TRIGGER, "--trigger", metavar="TEXT", text="Any text until this one, such as </think>; given several times: until the first."),
]
TriggerTokens = Annotated[list[int] | None, _option(TRIGGER, "--trigger-token", metavar="ID", min=0, text="The same with a token's number.")]
TriggerThen = Annotated[
    str, _option(TRIGGER, "--trigger-then", metavar="stop|free", text="After the form: the end, or any text up to the next trigger (default stop).")
]
TriggerOptional = Annotated[bool, _option(TRIGGER, "--trigger-optional", text="Let the model end its text before a trigger has come.")]

Temperature = Annotated[
    float | None, _option(SAMPLING, "--temp", "--temperature", metavar="F", text="How random: 0 always takes the most probable token (default 0.8).")
]
TopK = Annotated[int | None, _option(SAMPLING, "--top-k", metavar="N", text="Keep the N most probable tokens; 0: all (default 40).")]
TopP = Annotated[
    float | None, _option(SAMPLING, "--top-p", metavar="F", text="Keep the most probable tokens that hold this probability; 1: all (default 0.95).")
]
MinP = Annotated[
    float | None, _option(SAMPLING, "--min-p", metavar="F", text="Keep tokens with this share of the best one's probability; 0: all (default 0.05).")
]
Typical = Annotated[float | None, _option(SAMPLING, "--typical", "--typical-p", metavar="F", text="Locally typical sampling; 1: off (default 1).")]
RepeatPenalty = Annotated[
    float | None, _option(SAMPLING, "--repeat-penalty", metavar="F", text="Make tokens of the window less likely; 1: off (default 1).")
]
RepeatLastN = Annotated[
    int | None, _option(SAMPLING, "--repeat-last-n", metavar="N", text="The window of the penalties in tokens; 0: none, -1: all (default 64).")
]
FrequencyPenalty = Annotated[
    float | None, _option(SAMPLING, "--frequency-penalty", metavar="F", text="Penalty for each time a token was used (default 0).")
]
PresencePenalty = Annotated[
    float | None, _option(SAMPLING, "--presence-penalty", metavar="F", text="Penalty for tokens that were used at all (default 0).")
]
Mirostat = Annotated[int | None, _option(SAMPLING, "--mirostat", metavar="N", text="1: mirostat, 2: mirostat 2.0, 0: off (default 0).")]
MirostatEta = Annotated[
    float | None, _option(SAMPLING, "--mirostat-lr", "--mirostat-eta", metavar="F", text="Mirostat's learning rate (default 0.1).")
]
MirostatTau = Annotated[
    float | None, _option(SAMPLING, "--mirostat-ent", "--mirostat-tau", metavar="F", text="Mirostat's target surprise (default 5).")
]
DynatempRange = Annotated[
    float | None, _option(SAMPLING, "--dynatemp-range", metavar="F", text="How far the temperature moves with the entropy; 0: off (default 0).")
]
DynatempExp = Annotated[float | None, _option(SAMPLING, "--dynatemp-exp", metavar="F", text="The power of the entropy in that (default 1).")]
TopNSigma = Annotated[
    float | None,
    _option(
        SAMPLING, "--top-nsigma", "--top-n-sigma", metavar="F", text="Keep tokens so many standard deviations below the best; -1: all (default -1)."
    ),
]
XtcProbability = Annotated[
    float | None, _option(SAMPLING, "--xtc-probability", metavar="F", text="The chance to remove the most probable tokens; 0: off (default 0).")
]
XtcThreshold = Annotated[
    float | None, _option(SAMPLING, "--xtc-threshold", metavar="F", text="The least probability of the tokens so removed (default 0.1).")
]
DryMultiplier = Annotated[
    float | None, _option(SAMPLING, "--dry-multiplier", metavar="F", text="Penalty for tokens that continue a repetition; 0: off (default 0).")
]
DryBase = Annotated[
    float | None, _option(SAMPLING, "--dry-base", metavar="F", text="What that penalty grows by with each token repeated (default 1.75).")
]
DryAllowedLength = Annotated[
    int | None, _option(SAMPLING, "--dry-allowed-length", metavar="N", text="The longest repetition without that penalty (default 2).")
]
DryLastN = Annotated[
    int | None, _option(SAMPLING, "--dry-penalty-last-n", metavar="N", text="How many tokens are searched for it; 0: none, -1: all (default 64).")
]
DryBreakers = Annotated[
    list[str] | None,
    _option(
        SAMPLING,
        "--dry-sequence-breaker",
        metavar="TEXT",
        text='Where repetitions end; may be given several times, `none` for nowhere (default newline, `:`, `"` and `*`).',
    ),
]
AdaptiveTarget = Annotated[
    float | None, _option(SAMPLING, "--adaptive-target", metavar="F", text="Prefer tokens of about this probability; -1: off (default -1).")
]
AdaptiveDecay = Annotated[
    float | None, _option(SAMPLING, "--adaptive-decay", metavar="F", text="How much of the past that remembers, up to 0.99 (default 0.9).")
]
Samplers = Annotated[
    str | None,
    _option(SAMPLING, "--samplers", metavar="NAMES", text="The stages to run, in this order, such as `penalties;top_k;temperature`."),
]
LogitBias = Annotated[
    list[str] | None,
    _option(
        SAMPLING, "-l", "--logit-bias", metavar="ID(+|-)BIAS", text="Make a token likelier, as `15043+1`, or less likely; may be given several times."
    ),
]
Seed = Annotated[
    int | None, _option(SAMPLING, "-s", "--seed", metavar="N", text="The same seed gives the same text; -1: another one each time (default).")
]

GpuLayers = Annotated[str, _option(HARDWARE, "-ngl", "--n-gpu-layers", metavar="N|auto", text="How many layers to put on the GPU (default auto).")]
Variant = Annotated[
    str,
    _option(
        HARDWARE,
        "--variant",
        "--backend",
        metavar="NAME",
        autocompletion=_variants,
        text="Which build of llama.cpp: a name of `tabagent variants`, or a path (default auto).",
    ),
]
Threads = Annotated[
    int | None,
    _option(HARDWARE, "-t", "--threads", metavar="N", min=1, text="How many threads to compute with (default: the cores that may be used)."),
]
BatchSize = Annotated[
    int | None, _option(HARDWARE, "-b", "--batch-size", metavar="N", min=1, text="How many tokens of a prompt to decode in one go.")
]
KvType = Annotated[
    str,
    _option(
        HARDWARE,
        "--kv-type",
        metavar="TYPE",
        autocompletion=_kv_types,
        text=f"The type of the context's memory: {', '.join(KV_TYPES)} (default f16).",
    ),
]
Mmap = Annotated[bool, _option(HARDWARE, "--mmap/--no-mmap", text="Map the file into memory instead of reading it (default), or not.")]
Mlock = Annotated[bool, _option(HARDWARE, "--mlock", text="Keep the model in memory, never swapped out.")]
CheckTensors = Annotated[bool, _option(HARDWARE, "--check-tensors", text="Look for invalid numbers in all weights while loading.")]

DisplayPrompt = Annotated[bool, _option(OUTPUT, "--display-prompt/--no-display-prompt", text="Print the prompt before the text, or not (default).")]
ShowTimings = Annotated[
    bool,
    _option(
        OUTPUT,
        "--show-timings/--no-show-timings",
        text="Print a line of figures after the text, on stderr: tokens, speed, CPU module; or not (default).",
    ),
]
Logprobs = Annotated[
    int | None,
    _option(OUTPUT, "--logprobs", metavar="N", min=0, text="Print each token's log-probability at the end, and the N most probable tokens there."),
]
Explain = Annotated[
    bool,
    _option(
        OUTPUT,
        "--explain",
        text="Print what each sampling stage did at each token, and the text at the end. XTC, mirostat and adaptive-p are shown as at the first.",
    ),
]
Json = Annotated[bool, _option(OUTPUT, "--json", text="Print one JSON object at the end: text, finish reason, usage, timings.")]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", metavar="", help="Logs, timings and tracebacks on stderr.", rich_help_panel=OUTPUT, show_default=False)
]
