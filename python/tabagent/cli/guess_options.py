"""How a server guesses tokens ahead, under llama-server's names."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

from tabagent.cli.failure import UsageError
from tabagent.cli.load_options import layers_of
from tabagent.cli.model_source import ModelSource, model_path
from tabagent.cli.options import option
from tabagent.cli.placement_options import devices_of

if TYPE_CHECKING:
    from tabagent import SpeculativeConfig

__all__ = ["GuessOptions"]

GUESSES: Final = "Guessing ahead"
LOOKUP: Final = "lookup"
KINDS: Final = {"none": None, "draft-simple": "draft", "lookup": LOOKUP, "ngram-simple": LOOKUP}
"""The ways that there are, by llama-server's names and ours."""
MOST: Final = 64
OTHERS: Final = ("draft-eagle3", "draft-mtp", "draft-dflash", "draft-dspark", "ngram-map-k", "ngram-map-k4v", "ngram-mod", "ngram-cache")
"""llama-server's other ways."""


@dataclass(frozen=True, kw_only=True)
class GuessOptions:
    """Who guesses for all requests, and how much."""

    spec_type: Annotated[
        str | None,
        option(
            GUESSES,
            "--spec-type",
            "--speculative",
            metavar="HOW",
            text="`lookup` (`ngram-simple`): what followed the last tokens before; `draft-simple`: a draft model (default with one); `none`.",
        ),
    ] = None
    draft_model: Annotated[
        str | None,
        option(
            GUESSES,
            "-md",
            "--model-draft",
            "--spec-draft-model",
            metavar="MODEL",
            text="A smaller model of the same vocabulary that guesses; loaded with the model.",
        ),
    ] = None
    draft_hf: Annotated[
        str | None,
        option(GUESSES, "-hfd", "--hf-repo-draft", "--spec-draft-hf", metavar="OWNER/REPO", text="The same, from the Hugging Face Hub."),
    ] = None
    max_draft: Annotated[
        int | None,
        option(
            GUESSES,
            "--spec-draft-n-max",
            "--spec-ngram-simple-size-m",
            "--draft-max",
            metavar="N",
            min=1,
            max=MOST,
            text="Most tokens to guess in a step (default 16, of a draft model 8).",
        ),
    ] = None
    min_draft: Annotated[
        int | None,
        option(
            GUESSES, "--spec-draft-n-min", "--draft-min", metavar="N", min=0, max=MOST, text="Fewest tokens that a draft model guesses (default 0)."
        ),
    ] = None
    min_probability: Annotated[
        float | None,
        option(
            GUESSES,
            "--spec-draft-p-min",
            "--draft-p-min",
            metavar="P",
            min=0.0,
            max=1.0,
            text="How probable guesses must be to a draft model (default 0.3).",
        ),
    ] = None
    ngram_size: Annotated[
        int | None,
        option(
            GUESSES, "--spec-ngram-simple-size-n", metavar="N", min=1, max=MOST, text="How many last tokens must have come before (default 2 to 4)."
        ),
    ] = None
    draft_gpu_layers: Annotated[
        str | None,
        option(
            GUESSES,
            "-ngld",
            "--spec-draft-ngl",
            "--gpu-layers-draft",
            "--n-gpu-layers-draft",
            metavar="N|auto|all",
            text="How many of the draft model's layers to put on GPUs (default auto).",
        ),
    ] = None
    draft_devices: Annotated[
        str | None,
        option(
            GUESSES, "-devd", "--spec-draft-device", "--device-draft", metavar="NAMES", text="The devices of the draft model (default: as the model)."
        ),
    ] = None

    def of_model(self) -> dict[str, Any]:
        """What `Server` takes for each model.

        Raises:
            UsageError: options do not go together, or a value is none that there is.
        """
        draft = self._draft()
        kind = self._kind(has_draft=draft is not None)
        limits = self._limits(kind)
        if kind == "draft":
            return {"draft_model": draft, "speculative": limits}
        return {"draft_model": None, "speculative": limits if kind == LOOKUP else None}

    def _draft(self) -> dict[str, Any] | None:
        if self.draft_model is None and self.draft_hf is None:
            if self.draft_gpu_layers is not None or self.draft_devices is not None:
                message = "`-ngld` and `-devd` say where a draft model goes; give one with `-md`"
                raise UsageError(message)
            return None
        source = ModelSource.parse(self.draft_model, self.draft_hf, None)
        options: dict[str, Any] = {"path": str(source) if source.kind == "hub" else model_path(source.name)}
        if self.draft_gpu_layers is not None:
            options["gpu_layers"] = layers_of(self.draft_gpu_layers, "-ngld")
        if self.draft_devices is not None:
            options["devices"] = devices_of(self.draft_devices, None)
        return options

    def _kind(self, *, has_draft: bool) -> str | None:
        """Who guesses: `draft`, `lookup` or nobody.

        Raises:
            UsageError: the way is not there, or does not go with a draft model.
        """
        if self.spec_type is None:
            return "draft" if has_draft else None
        if self.spec_type in OTHERS or "," in self.spec_type:
            message = f"`--spec-type {self.spec_type}` is not there; there are `draft-simple` and `ngram-simple`, one at a time"
            raise UsageError(message)
        if self.spec_type not in KINDS:
            message = f"`--spec-type {self.spec_type}` is not known; there are {', '.join(f'`{name}`' for name in KINDS)}"
            raise UsageError(message)
        kind = KINDS[self.spec_type]
        if kind == "draft" and not has_draft:
            message = "`--spec-type draft-simple` needs a draft model; give one with `-md`"
            raise UsageError(message)
        if kind == LOOKUP and has_draft:
            message = f"`--spec-type {self.spec_type}` and `-md` both say who guesses; give one of them"
            raise UsageError(message)
        return kind

    def _limits(self, kind: str | None) -> "SpeculativeConfig | None":
        """The limits that are given.

        Raises:
            UsageError: nothing guesses, or in another way.
        """
        of_draft = {"min_draft": self.min_draft, "min_probability": self.min_probability}
        given: dict[str, Any] = {"max_draft": self.max_draft, **(of_draft if kind != LOOKUP else {})}
        given = {name: value for name, value in given.items() if value is not None}
        if self.ngram_size is not None:
            given |= {"min_match": self.ngram_size, "max_match": self.ngram_size}
        if kind is None and given and self.spec_type is None:
            message = "limits of guesses are given, and nothing guesses; give `--spec-type lookup` or a draft model (`-md`)"
            raise UsageError(message)
        if kind != "draft" and any(value is not None for value in of_draft.values()) and self.spec_type != "none":
            message = "`--spec-draft-n-min` and `--spec-draft-p-min` are limits of a draft model; give one with `-md`"
            raise UsageError(message)
        if kind is None or (kind == "draft" and not given):
            return None
        if given.get("min_draft", 0) > given.get("max_draft", MOST):
            message = f"`--spec-draft-n-min {self.min_draft}` is more than `--spec-draft-n-max {self.max_draft}`; give a smaller one"
            raise UsageError(message)
        from tabagent import SpeculativeConfig  # noqa: PLC0415 (not needed for `--help`)

        most = {} if kind == LOOKUP or "max_draft" in given else {"max_draft": max(8, given.get("min_draft", 0))}
        return SpeculativeConfig(**(most | given))
