"""Ray Data on a cluster of two nodes. Runs in the environment with Ray: `ray_data_child.py KIND MODEL FOLDER` prints what came of it as JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np

# Ray's own modules warn of each other.
warnings.simplefilter("ignore")

import ray  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

from tabagent import Model, SamplerConfig  # noqa: E402
from tabagent.integrations.ray import TabagentEmbedder, TabagentPredictor  # noqa: E402
from waiting import until  # noqa: E402

PROMPTS: Final[list[dict[str, Any]]] = [{"number": number, "prompt": f"{number} plus {number % 7} is"} for number in range(1000)]
OPTIONS: Final[dict[str, Any]] = {"max_tokens": 2, "sampling": SamplerConfig.greedy()}
LOAD: Final[dict[str, Any]] = {"context_size": 256, "deterministic": True}


class Traced(TabagentPredictor):
    """Says which process made a row, and tells a folder of each batch that it begins."""

    def __init__(self, folder: str, **options: Any) -> None:
        super().__init__(**options)
        self._folder = Path(folder)
        self._begun = 0

    def __call__(self, batch: Any) -> Any:
        self._begun += 1
        (self._folder / f"{os.getpid()}-{self._begun}").touch()
        done = super().__call__(batch)
        size = len(done["text"])
        node = ray.get_runtime_context().get_node_id()
        return {**done, "pid": np.full(size, os.getpid()), "node": np.array([node] * size, object)}


@contextmanager
def cluster() -> Iterator[None]:
    """A cluster of two nodes on this machine."""
    sizes = {"num_cpus": 2, "object_store_memory": 100 << 20}
    nodes = Cluster(initialize_head=True, head_node_args={**sizes, "include_dashboard": False})
    try:
        nodes.add_node(**sizes)
        nodes.wait_for_nodes()
        ray.init(address=nodes.address, logging_level="error", log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        yield
    finally:
        ray.shutdown()
        nodes.shutdown()


def killed(model: str, folder: str) -> dict[str, Any]:
    """A thousand prompts, and one of the two workers killed in the middle; then the same without Ray."""
    victims: list[int] = []

    def kill() -> None:
        until(lambda: len(list(Path(folder).iterdir())) >= 12, limit_s=600)
        begun = max(Path(folder).iterdir(), key=lambda path: path.stat().st_mtime_ns)
        victims.append(int(begun.name.partition("-")[0]))
        os.kill(victims[0], signal.SIGKILL)

    with cluster():
        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        data = ray.data.from_items(PROMPTS, override_num_blocks=20).map_batches(
            Traced,
            fn_constructor_kwargs={"folder": folder, "model": model, "load": LOAD, **OPTIONS},
            compute=ray.data.ActorPoolStrategy(size=2),
            batch_size=25,
            num_cpus=1,
            scheduling_strategy="SPREAD",
        )
        rows = data.take_all()
        killer.join()
    with Model.load(model, threads=1, **LOAD) as plain:
        expected = [done.text for done in plain.generate_batch([row["prompt"] for row in PROMPTS], **OPTIONS)]
    return {
        "numbers": [row["number"] for row in rows],
        "is_equal": [row["text"] for row in rows] == expected,
        "texts": len({row["text"] for row in rows}),
        "tokens": sorted({row["completion_tokens"] for row in rows}),
        "reasons": sorted({row["finish_reason"] for row in rows}),
        "nodes": len({row["node"] for row in rows}),
        "victim": victims[0],
        "pids": sorted({int(path.name.partition("-")[0]) for path in Path(folder).iterdir()}),
        "last_of_victim": max((row["number"] for row in rows if row["pid"] == victims[0]), default=-1),
    }


def kinds(model: str, folder: str) -> dict[str, Any]:
    """Conversations, tokens, rows that cannot be answered, and vectors."""
    answers: dict[str, Any] = {}

    def run(name: str, rows: list[dict[str, Any]], worker: Any = TabagentPredictor, **arguments: Any) -> None:
        data = ray.data.from_items(rows, override_num_blocks=2)
        kwargs = {"model": model, "load": {"context_size": 256}, **arguments}
        answers[name] = data.map_batches(worker, fn_constructor_kwargs=kwargs, compute=ray.data.ActorPoolStrategy(size=1)).take_all()

    parts = [{"type": "text", "text": "Say hello."}]
    conversations = [
        {"messages": [{"role": "system", "content": "Be brief.", "name": "boss"}, {"role": "user", "content": "Say hello."}]},
        {"messages": [{"role": "user", "content": "What is 2 + 2?"}]},
    ]
    with cluster():
        run("conversations", conversations, column="messages", max_tokens=8, prefix="answer_")
        run("parts", [{"messages": [{"role": "user", "content": parts}]}], column="messages", max_tokens=8)
        run("tokens", [{"prompt": [504, 905]}, {"prompt": [504]}], max_tokens=2)
        run("errors", [{"prompt": "Hello"}, {"prompt": "long " * 1000}, {"prompt": None}, {"prompt": "Bye"}], max_tokens=2, errors="column")
        run("vectors", [{"text": "One"}, {"text": "Two"}], TabagentEmbedder)
        failures: dict[str, Callable[[], None]] = {
            "long": lambda: run("", [{"prompt": "long " * 1000}], max_tokens=2),
            "column": lambda: run("", [{"question": "Hello"}]),
            "taken": lambda: run("", [{"prompt": "Hello", "text": "Hello"}], max_tokens=1),
            "option": lambda: run("", [{"prompt": "Hello"}], max_tokns=1),
        }
        for name, fail in failures.items():
            try:
                fail()
            except Exception as error:  # noqa: BLE001 (its text is what the test looks at)
                answers[name] = str(error)
    answers["vectors"] = [list(map(float, row["embedding"])) for row in answers["vectors"]]
    return answers


if __name__ == "__main__":
    found = {"killed": killed, "kinds": kinds}[sys.argv[1]](sys.argv[2], sys.argv[3])
    sys.stdout.write("\n" + json.dumps(found, default=lambda value: value.tolist()) + "\n")
