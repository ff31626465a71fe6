"""Ray: many prompts worked through by the actors of Ray Data, and a server of several machines by Ray Serve.

`TabagentPredictor` and `TabagentEmbedder` are for `Dataset.map_batches`, `TabagentDeployment` for `serve.run`. They need Ray (`pip install
"tabagent[ray]"`), on each machine of the cluster the package and, unless the model comes from the hub, its file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tabagent.integrations.ray.deployment import ModelServer, TabagentDeployment
    from tabagent.integrations.ray.embedder import TabagentEmbedder
    from tabagent.integrations.ray.predictor import TabagentPredictor

__all__ = ["ModelServer", "TabagentDeployment", "TabagentEmbedder", "TabagentPredictor"]

MODULES = {"ModelServer": "deployment", "TabagentDeployment": "deployment", "TabagentEmbedder": "embedder", "TabagentPredictor": "predictor"}


def __getattr__(name: str) -> object:
    """A public name, with its module: Ray Data is used without what Ray Serve needs, and the other way round."""
    if name not in MODULES:
        message = f"module `{__name__}` has no attribute `{name}`"
        raise AttributeError(message)
    from importlib import import_module  # noqa: PLC0415 (needed here alone)

    return getattr(import_module(f"{__name__}.{MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
