"""`tabagent chat`: talk with a chat model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tabagent.cli.failure import UsageError, explained
from tabagent.cli.generation import LengthOptions, SpeedOptions
from tabagent.cli.line_reader import LineReader
from tabagent.cli.load_options import LoadOptions, load
from tabagent.cli.options import Verbose, in_groups, naming_options, option
from tabagent.cli.sampler_options import SamplerOptions
from tabagent.cli.talk import Talk
from tabagent.errors import TabagentError

if TYPE_CHECKING:
    from tabagent import ChatMessage, Model

__all__ = ["chat"]

CONVERSATION: Final = "Conversation"

ModelName = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="A GGUF file, `demo`, or `hf:OWNER/REPO/FILE` with a name or pattern.", show_default=False),
]


@dataclass(frozen=True, kw_only=True)
class ChatOptions:
    """What is said first, and by which template."""

    prompt: Annotated[str | None, option(CONVERSATION, "-p", "--prompt", metavar="TEXT", text="What to say first.")] = None
    system: Annotated[str | None, option(CONVERSATION, "-sys", "--system-prompt", metavar="TEXT", text="The system message.")] = None
    template: Annotated[
        str | None,
        option(CONVERSATION, "--chat-template", metavar="TEXT", text="In place of the file's template: a text, a file, or a name such as `chatml`."),
    ] = None
    reasoning: Annotated[
        str,
        option(
            CONVERSATION,
            "--reasoning",
            metavar="HOW",
            text="Whether to think first, of models that can be told: on, off, auto (default), or for how many tokens at most.",
        ),
    ] = "auto"
    budget_message: Annotated[
        str,
        option(CONVERSATION, "--reasoning-budget-message", metavar="TEXT", text="What is put in where the tokens of `--reasoning N` are used up."),
    ] = ""


GROUPS: Final = (ChatOptions, LengthOptions, SpeedOptions, SamplerOptions, LoadOptions)


@explained
@in_groups
def chat(
    model: ModelName = None,
    *,
    talk: ChatOptions,
    length: LengthOptions,
    speed: SpeedOptions,
    sampling: SamplerOptions,
    machine: LoadOptions,
    verbose: Verbose = False,  # noqa: ARG001 (`explained` reads it)
) -> int:
    """Talk with a chat model.

    What you type is said, by the model's chat template, and answered; /help
    lists commands. Each line of a pipe is a turn. What a model thinks is
    dimmed. Ctrl-C stops an answer; /bye and Ctrl-D leave (on Windows Ctrl-Z
    and Enter).

    Exit code: 0, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C.
    """
    is_number = talk.reasoning.isascii() and talk.reasoning.isdigit()
    if not is_number and talk.reasoning not in {"auto", "on", "off"}:
        message = f"`--reasoning {talk.reasoning}` is not known; there are `auto`, `on`, `off` and numbers of tokens"
        raise UsageError(message)
    speed.check()
    where, settings = machine.source(model), machine.settings()
    changing = {
        "max_tokens": None if length.max_tokens < 0 else length.max_tokens,
        "sampling": sampling.config(),
        "reasoning": int(talk.reasoning) if is_number else talk.reasoning,
    }
    options: dict[str, Any] = {
        "stop": list(length.stop or ()),
        "ban": list(length.ban or ()),
        "ignore_eos": length.ignore_eos,
        "reasoning_budget_message": talk.budget_message,
        "chat_template": talk.template,
    }
    try:
        with load(where, settings) as loaded, speed.config(settings) as speculative:
            if talk.template is None:
                # A model without a template says so before anything is typed.
                _ = loaded.chat_format
            conversation = loaded.conversation(system=talk.system, speculative=speculative, **options)
            Talk(conversation, LineReader(), lambda message: _report(loaded, message), changing).run(talk.prompt)
    except (TabagentError, ValueError) as error:
        raise _in_options(error) from error
    return 0


def _report(model: "Model", message: "ChatMessage") -> str:
    """Tokens and speed of an answer."""
    usage, timings = message.usage, message.timings
    if usage is None or timings is None:
        return "there is nothing to report"
    rate = "" if timings.decode_tokens_per_s is None else f" ({timings.decode_tokens_per_s:.1f}/s)"
    used = usage.total_tokens
    return (
        f"prompt {usage.prompt_tokens} tokens, {usage.cached_tokens} of them known; answer {usage.completion_tokens} tokens{rate}; "
        f"{used:,} of {model.info.context_size:,} tokens of context"
    )


def _in_options(error: Exception) -> Exception:
    """The error with the package's parameters named as the options that set them."""
    text = str(error)
    renamed = naming_options(text, *GROUPS).replace("`chat_template`", "`--chat-template`")
    return error if renamed == text else type(error)(renamed)
