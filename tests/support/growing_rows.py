"""Shows two rows on the terminal, each once a line has come on stdin."""

import sys

from tabagent.cli.benchmark_rows import rows_for
from tabagent.cli.variant_benchmark import Measurement

with rows_for(json=False) as rows:
    rows.begin("the first")
    sys.stdin.readline()
    rows.add(Measurement(variant="haswell", threads=None, micro_batch_size=512, prompt_rate=1234.56, text_rate=78.9))
    rows.begin("the second")
    sys.stdin.readline()
    rows.add(Measurement(variant="haswell", threads=2, micro_batch_size=512, problem="exit code 1: no\nroom \x1b[2J"))
