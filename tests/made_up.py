"""Requests that schemathesis makes up from `/openapi.json`: `python tests/made_up.py --minutes 60 MODEL` (`make schemathesis`).

No request may be answered with a status of 500 or later, hang or end the server. It needs the environment of `tests/clients.py`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import clients
from support.served import serving

__all__ = ["made_up"]

CHECKS = "not_a_server_error,content_type_conformance"


def made_up(url: str, *arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run schemathesis against a server. A request that takes a minute counts as one that hangs."""
    program = clients.interpreter(clients.environment("clients")).parent / "schemathesis"
    # 501 and 503 are answers: the server does not do that, or not now.
    config = Path(__file__).parent / "schemathesis.toml"
    command = [str(program), "--config-file", str(config), "run", f"{url}/openapi.json", "--checks", CHECKS, "--request-timeout", "60", *arguments]
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
    # It keeps a cache where it runs.
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environment, cwd=folder)


def main() -> int:
    """Make up requests until the time is up."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    end = time.monotonic() + options.minutes * 60
    seed = 0
    with serving(options.model, "--metrics", "--slots", "-c", "1024", "-np", "4", "-n", "16") as server:
        while time.monotonic() < end:
            seed += 1
            done = made_up(server.url, "--seed", str(seed), "--max-examples", "30", "--workers", "4", timeout=3600)
            if done.returncode:
                sys.stdout.write(f"seed {seed}\n{done.stdout}{done.stderr}")
                return 1
    sys.stdout.write(f"{seed} runs without a fault\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
