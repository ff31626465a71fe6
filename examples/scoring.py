"""Choose among answers by their probability, without generating: `python examples/scoring.py "I loved every minute of it." model.gguf`."""

from __future__ import annotations

import sys

from tabagent import ChoiceScore, Model

LABELS = (" good", " bad")


def rate(model: Model, review: str) -> ChoiceScore:
    """The label that the model finds the most probable."""
    prompt = f"Review: {review}\nIn one word, good or bad: it is"
    return max(model.score(prompt, LABELS), key=lambda score: score.probability)


def main(review: str = "I loved every minute of it.", path: str = "demo") -> None:
    with Model.load(path) as model:
        best = rate(model, review)
        print(f"{best.text.strip()} ({best.probability:.0%})")
        print(f"perplexity of the review: {model.perplexity(review).perplexity:.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
