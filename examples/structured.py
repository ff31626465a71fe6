"""Take data out of a text, as objects of a type: `python examples/structured.py "Ada is 36 and lives in London." model.gguf`."""

from __future__ import annotations

import dataclasses
import sys

from tabagent import Model, SamplerConfig


@dataclasses.dataclass
class Person:
    name: str
    age: int
    city: str


def extract(model: Model, text: str) -> Person | None:
    """The person that a text is about; None if the model did not come to an end."""
    prompt = f"Text: {text}\nThe person in it as JSON: "
    done = model.generate(prompt, json_schema=Person, compact_json=True, max_tokens=100, sampling=SamplerConfig.greedy()).result()
    person: Person | None = done.parsed
    return person


def main(text: str = "Ada is 36 years old and lives in London.", path: str = "demo") -> None:
    with Model.load(path) as model:
        print(extract(model, text))


if __name__ == "__main__":
    main(*sys.argv[1:])
