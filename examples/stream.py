"""Stream a text while the model writes it: `python examples/stream.py "Once upon a time" model.gguf`."""

from __future__ import annotations

import sys

from tabagent import Model, SamplerConfig


def main(prompt: str = "Once upon a time", path: str = "demo") -> None:
    sampling = SamplerConfig(temperature=0.7, seed=1)
    # Leaving the `with` block ends the generation, whatever led out of it.
    with Model.load(path) as model, model.generate(prompt, max_tokens=64, sampling=sampling, stop="\n\n") as stream:
        print(prompt, end="")
        for text in stream:
            print(text, end="", flush=True)
        done = stream.result()
    print(f"\n{done.usage.completion_tokens} tokens, ended by `{done.finish_reason}`", file=sys.stderr)


if __name__ == "__main__":
    main(*sys.argv[1:])
