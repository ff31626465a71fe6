"""`python -m tabagent`: the same as the command `tabagent`."""

import sys

from tabagent.cli import main

if __name__ == "__main__":
    sys.exit(main())
