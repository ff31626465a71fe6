"""Write the greedy continuation that every platform must find, up to near ties: `python tests/support/continuation.py MODEL` prints it as JSON.

`rust/model/tests/data/continuation.json` is what it prints for the demo model on Linux on x86-64.
"""

from __future__ import annotations

import json
import sys
from typing import Final

from tabagent import Model, SamplerConfig

PROMPT: Final = "Once upon a time"
TOKENS: Final = 32


def main() -> None:
    """Print the tokens, and at each place what else was nearly as probable."""
    with Model.load(sys.argv[1], threads=2) as model:
        stream = model.generate(PROMPT, max_tokens=TOKENS, sampling=SamplerConfig.greedy(), ignore_eos=True, logprobs=5)
        steps = [one for event in stream.events() for one in event.logprobs]
        told = [{"token": step.token, "top": {str(top.token): round(top.logprob, 4) for top in step.top}} for step in steps]
        lines = ",\n  ".join(json.dumps(step) for step in told)
        head = f'"prompt": {json.dumps(PROMPT)},\n "text": {json.dumps(stream.result().text)}'
        sys.stdout.write(f'{{{head},\n "steps": [\n  {lines}\n]}}\n')


if __name__ == "__main__":
    main()
