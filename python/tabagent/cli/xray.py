"""What each sampling stage did at each token."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tabagent.cli.explain import stages_table, visible
from tabagent.cli.generation import Answer
from tabagent.cli.output import write_line, write_tables

if TYPE_CHECKING:
    from tabagent import Grammar, Model, SamplerConfig
    from tabagent.sampling import StageReport

__all__ = ["Xray"]


class Xray(Answer):
    """Records what each stage would do before each token is chosen, and shows it when the token comes; passes the text on to another answer."""

    def __init__(self, model: "Model", sampling: "SamplerConfig", answer: Answer, grammar: "Grammar | None" = None) -> None:
        super().__init__(lambda _: None)
        self._answer = answer
        self._model = model
        self._sampling = sampling
        self._constraint = None if grammar is None else grammar.start()
        self._steps: list[list[StageReport]] = []
        self._seen: int | None = None
        self._shown = 0

    def look(self, tokens: Any, logits: Any) -> None:
        """A logits processor that changes nothing."""
        if self._constraint is not None:
            logits = self._allowed(tokens, logits)
        _, reports = self._sampling.probabilities(logits, tokens, explain=True, model=self._model)
        self._steps.append(reports)

    def _allowed(self, tokens: Any, logits: Any) -> Any:
        """The logits with those of tokens that the grammar forbids at negative infinity, as the stages get them."""
        import numpy as np  # noqa: PLC0415 (slow to import, and needed here alone)

        constraint: Any = self._constraint
        for token in tokens[len(tokens) if self._seen is None else self._seen :]:
            constraint.accept(int(token))
        self._seen = len(tokens)
        return np.where(constraint.mask(), logits, -np.inf)

    def add(self, text: str, tokens: Sequence[int]) -> None:
        """Take the next piece, and write the steps that it came from."""
        self._answer.add(text, tokens)
        text_of = token_text(self._model)
        for token, reports in zip(tokens, self._steps[self._shown :], strict=False):
            self._shown += 1
            write_tables(stages_table(reports, text_of, title=f"token {self._shown}: {visible(text_of(token))}"))
            write_line()


def token_text(model: "Model") -> Callable[[int], str]:
    """A function that gives the text of a token."""
    return lambda token: model.token_to_bytes(token).decode(errors="replace")
