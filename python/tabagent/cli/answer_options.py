"""What requests have that do not say otherwise, and how conversations are read."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from tabagent.cli.adapter_options import parse_scaled
from tabagent.cli.failure import UsageError
from tabagent.cli.options import option
from tabagent.cli.server_options import listed

if TYPE_CHECKING:
    from tabagent import ContextShift

__all__ = ["AnswerOptions"]

ANSWERS: Final = "Answers"
POOLING: Final = ("none", "mean", "cls", "last", "rank")


@dataclass(frozen=True, kw_only=True)
class AnswerOptions:
    """What requests have that do not say otherwise, and how conversations are read."""

    max_tokens: Annotated[
        int, option(ANSWERS, "-n", "--predict", "--n-predict", metavar="N", min=-1, text="Most tokens of a text; -1: until it ends (default).")
    ] = -1
    chat_template: Annotated[
        str | None, option(ANSWERS, "--chat-template", metavar="TEXT", text="In place of the file's template: a text, or a name such as `chatml`.")
    ] = None
    chat_template_file: Annotated[Path | None, option(ANSWERS, "--chat-template-file", metavar="FILE", text="The same, from a file.")] = None
    prefill: Annotated[
        bool,
        option(ANSWERS, "--prefill-assistant/--no-prefill-assistant", text="Continue a last message of the assistant (default), or answer it."),
    ] = True
    stop: Annotated[
        list[str] | None,
        option(ANSWERS, "-r", "--reverse-prompt", "--stop", metavar="TEXT", text="End before this text; may be given several times."),
    ] = None
    ignore_eos: Annotated[bool, option(ANSWERS, "--ignore-eos", text="Go on when the model ends its text.")] = False
    cache_prompt: Annotated[
        bool, option(ANSWERS, "--cache-prompt/--no-cache-prompt", text="Let texts that begin alike share what is decoded (default), or not.")
    ] = True
    cache_ram: Annotated[
        int | None,
        option(ANSWERS, "-cram", "--cache-ram", metavar="MIB", min=0, text="Host memory for the beginnings of texts, in MiB (default 256)."),
    ] = None
    cache_disk: Annotated[
        Path | None,
        option(
            ANSWERS,
            "--cache-disk",
            metavar="DIR",
            text="Folder for those that have no room there, and for all at the end.",
        ),
    ] = None
    cache_disk_size: Annotated[
        int | None, option(ANSWERS, "--cache-disk-size", metavar="MIB", min=0, text="Limit of that folder's files, in MiB (default 4096).")
    ] = None
    jinja: Annotated[
        bool, option(ANSWERS, "--jinja/--no-jinja", text="Let conversations have tools (default), or not. Templates are always Jinja.")
    ] = True
    thinking: Annotated[
        str,
        option(ANSWERS, "-rea", "--reasoning", metavar="on|off|auto", text="Have models think that can be told, or not (default auto)."),
    ] = "auto"
    reasoning_format: Annotated[
        str,
        option(ANSWERS, "--reasoning-format", metavar="NAME", text="`none` leaves what models think in the content (default `auto`: apart from it)."),
    ] = "auto"
    reasoning_effort: Annotated[
        str | None,
        option(
            ANSWERS, "--reasoning-effort", metavar="LEVEL", text="Tell templates that read it how hard to think, such as `low` (default: nothing)."
        ),
    ] = None
    reasoning_budget: Annotated[
        int, option(ANSWERS, "--reasoning-budget", metavar="N", min=-1, text="Most tokens of thinking; -1: any number (default).")
    ] = -1
    reasoning_budget_message: Annotated[
        str | None,
        option(ANSWERS, "--reasoning-budget-message", metavar="TEXT", text="What the model is made to say when they are used up."),
    ] = None
    template_kwargs: Annotated[
        str | None,
        option(
            ANSWERS, "--chat-template-kwargs", metavar="TEXT", text='Variables of the chat template, a JSON object: `{"enable_thinking": false}`.'
        ),
    ] = None
    pooling: Annotated[
        str | None,
        option(
            ANSWERS,
            "--pooling",
            metavar="NAME",
            text="How a text's vectors become one: mean, cls, last; none: not at all (default, and rank: the model's way).",
        ),
    ] = None
    embedding_norm: Annotated[
        int,
        option(
            ANSWERS,
            "--embd-normalize",
            metavar="N",
            min=-1,
            max=1024,
            text="How long vectors are: 2: length 1 (default), -1: as they are, 0: the largest number is 32760, other p: p-norm 1.",
        ),
    ] = 2
    context_shift: Annotated[
        bool,
        option(ANSWERS, "--context-shift", text="When a text fills its context, go on without the older half of what comes after its beginning."),
    ] = False
    keep: Annotated[
        int | None, option(ANSWERS, "--keep", metavar="N", min=0, text="With --context-shift: how many of the first tokens stay (default 4).")
    ] = None
    lora: Annotated[
        list[str] | None, option(ANSWERS, "--lora", metavar="FILE", text="Load a LoRA adapter with the model; several after commas, or given again.")
    ] = None
    lora_scaled: Annotated[
        list[str] | None, option(ANSWERS, "--lora-scaled", metavar="FILE:SCALE", text="The same, with how much of it requests get (default 1).")
    ] = None
    lora_without: Annotated[bool, option(ANSWERS, "--lora-init-without-apply", text="Give adapters to no request that does not ask for them.")] = (
        False
    )
    cont_batching: Annotated[bool, option(ANSWERS, "-cb", "--cont-batching", text="Decode requests together, which is always so.")] = True

    def arguments(self) -> dict[str, Any]:
        """The arguments of `Server`.

        Raises:
            UsageError: a value is none that there is.
        """
        return {
            "prefill": self.prefill,
            "tools": self.jinja,
            "thinking": {"on": True, "off": False, "auto": None}[_one_of(self.thinking, "--reasoning", ("on", "off", "auto"))],
            "reasoning_in_content": _one_of(self.reasoning_format, "--reasoning-format", ("auto", "deepseek", "none")) == "none",
            "pooling": None if self.pooling is None else _one_of(self.pooling, "--pooling", POOLING),
            "embedding_norm": self.embedding_norm,
        }

    def of_model(self) -> dict[str, Any]:
        """What `Server` takes for each model.

        Raises:
            UsageError: there are two templates, a scale is no number, or something is not what it should be.
        """
        if self.keep is not None and not self.context_shift:
            message = "`--keep` says what stays when the context shifts; give `--context-shift` too"
            raise UsageError(message)
        plain = [(file, 1.0) for text in self.lora or () for file in listed(text)]
        scaled = [parse_scaled(text, ":") for given in self.lora_scaled or () for text in listed(given)]
        adapters = [(file, 0.0 if self.lora_without else scale) for file, scale in [*plain, *scaled]]
        return {
            "chat_template": self.template(),
            "max_tokens": None if self.max_tokens < 0 else self.max_tokens,
            "overflow": self._overflow(),
            "adapters": adapters,
            "stop": self.stop or (),
            "ignore_eos": self.ignore_eos,
            "cache_prompt": self.cache_prompt,
            "template_variables": self._variables(),
            "reasoning_budget": None if self.reasoning_budget < 0 else self.reasoning_budget,
            "reasoning_budget_message": self.reasoning_budget_message or "",
        }

    def _overflow(self) -> "ContextShift | str | None":
        if self.keep is None:
            return "shift" if self.context_shift else None
        from tabagent import ContextShift  # noqa: PLC0415 (not needed for `--help`)

        return ContextShift(keep=self.keep)

    def _variables(self) -> dict[str, Any]:
        """The variables of templates.

        Raises:
            UsageError: they are no JSON object.
        """
        try:
            given = json.loads("{}" if self.template_kwargs is None else self.template_kwargs)
        except ValueError as error:
            message = f"`--chat-template-kwargs` is not JSON: {error}"
            raise UsageError(message) from None
        if not isinstance(given, dict):
            message = '`--chat-template-kwargs` must be a JSON object, such as `{"enable_thinking": false}`'
            raise UsageError(message)
        variables: dict[str, Any] = given
        if self.reasoning_effort not in {None, "default"}:
            variables["reasoning_effort"] = self.reasoning_effort
        return variables

    def template(self) -> str | Path | None:
        """The template that is meant.

        Raises:
            UsageError: there are two.
        """
        if self.chat_template is not None and self.chat_template_file is not None:
            message = "`--chat-template` and `--chat-template-file` exclude each other; give one of them"
            raise UsageError(message)
        return self.chat_template_file if self.chat_template is None else self.chat_template


def _one_of(word: str, flag: str, known: tuple[str, ...]) -> str:
    if word not in known:
        message = f"`{flag} {word}` is not known; there are {', '.join(f'`{name}`' for name in known)}"
        raise UsageError(message)
    return word
