"""The options of sampling, called and written as llama.cpp has them."""

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from tabagent.cli.escapes import unescape
from tabagent.cli.failure import UsageError
from tabagent.cli.options import naming_options, option

if TYPE_CHECKING:
    from tabagent import SamplerConfig
    from tabagent.sampling import Stage

__all__ = ["SamplerOptions", "parse_biases", "parse_breakers", "parse_order"]

SAMPLING: Final = "Sampling"


@dataclass(frozen=True, kw_only=True)
class SamplerOptions:
    """How tokens are chosen; what is None has `SamplerConfig`'s default."""

    temperature: Annotated[
        float | None,
        option(SAMPLING, "--temp", "--temperature", metavar="F", text="How random: 0 always takes the most probable token (default 0.8)."),
    ] = None
    top_k: Annotated[int | None, option(SAMPLING, "--top-k", metavar="N", text="Keep the N most probable tokens; 0: all (default 40).")] = None
    top_p: Annotated[
        float | None,
        option(SAMPLING, "--top-p", metavar="F", text="Keep the most probable tokens that hold this probability; 1: all (default 0.95)."),
    ] = None
    min_p: Annotated[
        float | None,
        option(SAMPLING, "--min-p", metavar="F", text="Keep tokens with this share of the best one's probability; 0: all (default 0.05)."),
    ] = None
    typical_p: Annotated[
        float | None, option(SAMPLING, "--typical", "--typical-p", metavar="F", text="Locally typical sampling; 1: off (default 1).")
    ] = None
    repeat_penalty: Annotated[
        float | None, option(SAMPLING, "--repeat-penalty", metavar="F", text="Make tokens of the window less likely; 1: off (default 1).")
    ] = None
    repeat_window: Annotated[
        int | None, option(SAMPLING, "--repeat-last-n", metavar="N", text="The window of the penalties in tokens; 0: none, -1: all (default 64).")
    ] = None
    frequency_penalty: Annotated[
        float | None, option(SAMPLING, "--frequency-penalty", metavar="F", text="Penalty for each time a token was used (default 0).")
    ] = None
    presence_penalty: Annotated[
        float | None, option(SAMPLING, "--presence-penalty", metavar="F", text="Penalty for tokens that were used at all (default 0).")
    ] = None
    mirostat: Annotated[int | None, option(SAMPLING, "--mirostat", metavar="N", text="1: mirostat, 2: mirostat 2.0, 0: off (default 0).")] = None
    mirostat_eta: Annotated[
        float | None, option(SAMPLING, "--mirostat-lr", "--mirostat-eta", metavar="F", text="Mirostat's learning rate (default 0.1).")
    ] = None
    mirostat_tau: Annotated[
        float | None, option(SAMPLING, "--mirostat-ent", "--mirostat-tau", metavar="F", text="Mirostat's target surprise (default 5).")
    ] = None
    dynatemp_range: Annotated[
        float | None, option(SAMPLING, "--dynatemp-range", metavar="F", text="How far the temperature moves with the entropy; 0: off (default 0).")
    ] = None
    dynatemp_exponent: Annotated[
        float | None, option(SAMPLING, "--dynatemp-exp", metavar="F", text="The power of the entropy in that (default 1).")
    ] = None
    top_n_sigma: Annotated[
        float | None,
        option(
            SAMPLING,
            "--top-nsigma",
            "--top-n-sigma",
            metavar="F",
            text="Keep tokens so many standard deviations below the best; -1: all (default -1).",
        ),
    ] = None
    xtc_probability: Annotated[
        float | None, option(SAMPLING, "--xtc-probability", metavar="F", text="The chance to remove the most probable tokens; 0: off (default 0).")
    ] = None
    xtc_threshold: Annotated[
        float | None, option(SAMPLING, "--xtc-threshold", metavar="F", text="The least probability of the tokens so removed (default 0.1).")
    ] = None
    dry_multiplier: Annotated[
        float | None, option(SAMPLING, "--dry-multiplier", metavar="F", text="Penalty for tokens that continue a repetition; 0: off (default 0).")
    ] = None
    dry_base: Annotated[
        float | None, option(SAMPLING, "--dry-base", metavar="F", text="What that penalty grows by with each token repeated (default 1.75).")
    ] = None
    dry_allowed_length: Annotated[
        int | None, option(SAMPLING, "--dry-allowed-length", metavar="N", text="The longest repetition without that penalty (default 2).")
    ] = None
    dry_window: Annotated[
        int | None, option(SAMPLING, "--dry-penalty-last-n", metavar="N", text="How many tokens are searched for it; 0: none, -1: all (default 64).")
    ] = None
    dry_breakers: Annotated[
        list[str] | None,
        option(
            SAMPLING,
            "--dry-sequence-breaker",
            metavar="TEXT",
            text='Where repetitions end; may be given several times, `none` for nowhere (default newline, `:`, `"` and `*`).',
        ),
    ] = None
    adaptive_target: Annotated[
        float | None, option(SAMPLING, "--adaptive-target", metavar="F", text="Prefer tokens of about this probability; -1: off (default -1).")
    ] = None
    adaptive_decay: Annotated[
        float | None, option(SAMPLING, "--adaptive-decay", metavar="F", text="How much of the past that remembers, up to 0.99 (default 0.9).")
    ] = None
    order: Annotated[
        str | None,
        option(SAMPLING, "--samplers", metavar="NAMES", text="The stages to run, in this order, such as `penalties;top_k;temperature`."),
    ] = None
    logit_bias: Annotated[
        list[str] | None,
        option(
            SAMPLING,
            "--logit-bias",
            "-l",
            metavar="ID(+|-)BIAS",
            text="Make a token likelier, as `15043+1`, or less likely; may be given several times.",
        ),
    ] = None
    seed: Annotated[
        int | None, option(SAMPLING, "--seed", "-s", metavar="N", text="The same seed gives the same text; -1: another one each time (default).")
    ] = None

    def config(self) -> "SamplerConfig":
        """The configuration that they stand for.

        Raises:
            UsageError: a value cannot be read, or is out of range.
        """
        from tabagent import SamplerConfig  # noqa: PLC0415 (not needed for `--help`)

        given: dict[str, Any] = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        given["dry_breakers"] = parse_breakers(self.dry_breakers)
        given["order"] = parse_order(self.order)
        given["logit_bias"] = parse_biases(self.logit_bias)
        given["seed"] = None if self.seed == -1 else self.seed
        try:
            return SamplerConfig(**{name: value for name, value in given.items() if value is not None})
        except (TypeError, ValueError) as error:
            raise UsageError(naming_options(str(error), SamplerOptions)) from error


BIAS: Final = re.compile(r"(\d+)([+-])(inf|\d+\.?\d*|\.\d+)", re.IGNORECASE)


def parse_biases(texts: Sequence[str] | None) -> list[tuple[int, float]] | None:
    """Tokens with what to add to their logits, from `15043+1` or `15043-inf`."""
    if not texts:
        return None
    biases = []
    for text in texts:
        parts = BIAS.fullmatch(text.strip())
        if parts is None:
            message = f"`--logit-bias {text}` is not a token id with `+` or `-` and a number, such as `15043+1` or `15043-inf`"
            raise UsageError(message)
        biases.append((int(parts[1]), float(parts[2] + parts[3])))
    return biases


def parse_breakers(texts: Sequence[str] | None) -> list[str] | None:
    """The texts given, with escapes for newlines and the like replaced; `none` among them is nothing."""
    return None if not texts else [unescape(text) for text in texts if text != "none"]


def parse_order(names: str | None) -> "tuple[Stage, ...] | None":
    """The stages named, separated by semicolons (or commas)."""
    if names is None:
        return None
    from tabagent.sampling import stages_by_name  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    try:
        return stages_by_name(name.strip() for name in re.split("[;,]", names) if name.strip())
    except ValueError as error:
        message = f"`--samplers {names}`: {error}"
        raise UsageError(message) from error
