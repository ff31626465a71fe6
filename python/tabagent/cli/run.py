"""`tabagent run`: answer or continue a text, or converse."""

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from tabagent.cli.adapter_options import AdapterOptions
from tabagent.cli.conversation import Conversation
from tabagent.cli.escapes import unescape
from tabagent.cli.failure import UsageError, explained, one_line
from tabagent.cli.generation import Answer, GenerationOptions, LengthOptions, OverflowOptions, SpeedOptions, generate
from tabagent.cli.line_reader import LineReader
from tabagent.cli.load_options import LoadOptions, load
from tabagent.cli.options import OUTPUT, Verbose, in_groups, naming_options, option
from tabagent.cli.output import write_json, write_note, write_tables, write_text
from tabagent.cli.prompt_source import PromptOptions
from tabagent.cli.report import completion_json, logprobs_table, timings_line
from tabagent.cli.sampler_options import SamplerOptions
from tabagent.cli.structure import StructureOptions
from tabagent.cli.transcript import Transcript, transcript_of
from tabagent.cli.xray import Xray
from tabagent.errors import TabagentError

if TYPE_CHECKING:
    from tabagent import Completion, Model

__all__ = ["run"]

ModelName = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="A GGUF file (of a split model, its first part), `demo`, or `hf:OWNER/REPO/FILE` with a name or pattern.",
        show_default=False,
    ),
]


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """What is printed besides the text."""

    display_prompt: Annotated[
        bool, option(OUTPUT, "--display-prompt/--no-display-prompt", text="Print the prompt before the text, or not (default).")
    ] = False
    show_timings: Annotated[
        bool,
        option(
            OUTPUT,
            "--show-timings/--no-show-timings",
            text="Print a line of figures after the text, on stderr: tokens, speed, CPU module; or not (default).",
        ),
    ] = False
    logprobs: Annotated[
        int | None,
        option(OUTPUT, "--logprobs", metavar="N", min=0, text="Print each token's log-probability at the end, and the N most probable tokens there."),
    ] = None
    explain: Annotated[
        bool,
        option(
            OUTPUT,
            "--explain",
            text="Print what each sampling stage did at each token, and the text at the end. XTC, mirostat and adaptive-p are shown as at the first.",
        ),
    ] = False
    json: Annotated[bool, option(OUTPUT, "--json", text="Print one JSON object at the end: text, finish reason, usage, timings.")] = False


GROUPS: Final = (
    PromptOptions,
    LengthOptions,
    OverflowOptions,
    SpeedOptions,
    StructureOptions,
    SamplerOptions,
    AdapterOptions,
    LoadOptions,
    OutputOptions,
)


@explained
@in_groups
def run(
    model: ModelName = None,
    *,
    prompt: PromptOptions,
    length: LengthOptions,
    overflow: OverflowOptions,
    speed: SpeedOptions,
    structure: StructureOptions,
    sampling: SamplerOptions,
    adapters: AdapterOptions,
    machine: LoadOptions,
    output: OutputOptions,
    verbose: Verbose = False,
) -> int:
    """Have a model answer or continue a text, printing what it writes as it comes.

    The prompt is given with -p, with -f, or piped in. A model whose file has
    a chat template is asked by it, and answers; with --raw, and without a
    template, it continues the text, in which special tokens such as
    <|im_start|> are understood as such. The prompt is printed again with
    --display-prompt only.

    With -i, each line that you type (or pipe in) is a turn, by the template
    or as one growing plain text. Ctrl-C stops an answer, and leaves at the
    prompt, as Ctrl-D. `tabagent chat` has more for conversations.

    Exit code: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C.
    """
    _check(prompt, speed, output)
    overflow.check()
    source = machine.source(model)
    options = GenerationOptions(
        max_tokens=None if length.max_tokens < 0 else length.max_tokens,
        sampling=sampling.config(),
        stop=[unescape(text) if prompt.escape else text for text in length.stop or ()],
        ban=[unescape(text) if prompt.escape else text for text in length.ban or ()],
        ignore_eos=length.ignore_eos,
        structure=structure.arguments(escape=prompt.escape),
        logprobs=output.logprobs,
        overflow=overflow.overflow,
    )
    adapters.parsed()  # what is wrong with them is said before the model is loaded
    settings = machine.settings()
    text = prompt.read()
    if verbose:
        output = dataclasses.replace(output, show_timings=True)
    try:
        started = time.monotonic()
        with load(source, settings) as loaded, speed.config(settings) as speculative:
            options = dataclasses.replace(options, changes=adapters.load(loaded), speculative=speculative)
            load_s = time.monotonic() - started
            if verbose and options.structure:
                _note_limitations(loaded, options)
            transcript = transcript_of(loaded, raw=prompt.raw, system=prompt.system)
            if prompt.interactive:
                _converse(transcript, text, options, output)
            else:
                _complete(transcript, text or "", options, output, load_s)
    except (TabagentError, ValueError) as error:
        raise _in_options(error) from error
    return 0


def _check(prompt: PromptOptions, speed: SpeedOptions, output: OutputOptions) -> None:
    """Refuse options that do not go together.

    Raises:
        UsageError: they do not.
    """
    speed.check()
    if output.json and prompt.interactive:
        message = "`--json` prints one object at the end, and `-i` has no end; give one of them"
        raise UsageError(message)
    if output.explain and (output.json or prompt.interactive):
        message = f"`--explain` prints a table for each token, which `{'--json' if output.json else '-i'}` has no place for; give one of them"
        raise UsageError(message)


def _note_limitations(model: "Model", options: GenerationOptions) -> None:
    """Tell what the text's form demands and nothing enforces."""
    for limit in model.compile_grammar(**options.structure).limitations:
        write_note(f"not enforced: `{limit.keyword}` at `{limit.path}` of the schema: {limit.message}")


def _complete(transcript: Transcript, prompt: str, options: GenerationOptions, output: OutputOptions, load_s: float) -> None:
    model, tokens = transcript.model, transcript.with_turn(prompt)
    if not tokens:
        message = "the prompt is empty, and this model cannot begin without one; give some text"
        raise ValueError(message)
    pieces: list[str] = []
    answer = Answer(pieces.append if output.json or output.explain else write_text)
    xray = None
    if output.explain:
        xray = Xray(model, options.sampling, answer, model.compile_grammar(**options.structure) if options.structure else None)
    shown = transcript.shown(prompt, tokens) if output.display_prompt else ""
    if shown and not output.json:
        write_text(shown)
    try:
        completion = generate(model, tokens, options, xray or answer, [xray.look] if xray else ())
    except KeyboardInterrupt:
        answer.end_line()
        raise
    answer.end_line()
    if output.explain:
        write_text("".join(pieces))
    if output.json:
        report = completion_json(completion, model.info, load_s)
        write_json({"prompt": shown, **report} if output.display_prompt else report)
    elif completion.logprobs is not None:
        write_tables(logprobs_table(completion.logprobs))
    if output.show_timings:
        write_note(timings_line(completion, model.info, load_s))


def _converse(transcript: Transcript, first: str | None, options: GenerationOptions, output: OutputOptions) -> None:
    model = transcript.model

    def report(completion: "Completion") -> None:
        if output.show_timings:
            write_note(timings_line(completion, model.info, None))
        elif completion.finish_reason == "length" and completion.usage.completion_tokens != options.max_tokens:
            write_note(f"the answer ends here: the context of {model.info.context_size:,} tokens is full")

    Conversation(model, options, LineReader(), report, transcript).run(first)


def _in_options(error: Exception) -> Exception:
    """The error with the package's parameters named as the options that set them."""
    text = one_line(error)
    renamed = naming_options(text, *GROUPS)
    if renamed == text:
        return error
    return type(error)(renamed)
