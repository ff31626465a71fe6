"""Opens a model, generates and closes it, many times, and prints how the process's memory grows.

`python benches/cycles.py MODEL [CYCLES]`
"""

import sys
from pathlib import Path

import tabagent

PAGE_MIB = 4096 / 2**20


def resident_mib() -> float:
    """Memory of this process that is in RAM and its own, in MiB."""
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return (int(fields[1]) - int(fields[2])) * PAGE_MIB


def main() -> None:
    """Prints the memory after a tenth of the cycles and at the end."""
    cycles = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    warm = 0.0
    for cycle in range(1, cycles + 1):
        with tabagent.Model.load(sys.argv[1], context_size=256, max_sequences=1, threads=1) as model:
            model.generate("Once upon a time", max_tokens=2).result()
        if cycle == max(cycles // 10, 1):
            warm = resident_mib()
            print(f"after {cycle:,} cycles: {warm:.1f} MiB")
    end = resident_mib()
    print(f"after {cycles:,} cycles: {end:.1f} MiB, {end - warm:+.1f} MiB since")


if __name__ == "__main__":
    main()
