"""The server's routes in replicas of Ray Serve."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tabagent._arguments import type_name
from tabagent.integrations.ray._worker import ModelSource, needed, open_model
from tabagent.model import Model
from tabagent.server import Server

serve = needed("ray.serve")

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from tabagent.served_models import Served

__all__ = ["ModelServer", "TabagentDeployment"]

LISTENING: Final = frozenset({"host", "port", "unix_path", "inherit_sockets", "ssl_cert_file", "ssl_key_file"})
"""What `Server` takes that is decided by Ray Serve here."""


class ModelServer:
    """A replica: a model, the HTTP server that answers with it, and what passes requests on to that.

        from ray import serve

        serve.run(TabagentDeployment.options(ray_actor_options={"num_cpus": 1}).bind("demo", load={"context_size": 2048}))

    The server listens at a socket in a folder that only this user may enter. Its threads are Rust's own, so that Python does no more than to copy
    bytes. Made by Ray Serve from `TabagentDeployment`.
    """

    _model: Model | None = None
    """Closed at the end; None of a mapping, whose models are the server's."""

    def __init__(self, model: ModelSource | Mapping[str, Served], *, load: Mapping[str, Any] | None = None, **server: Any) -> None:
        """Load the model and begin to serve.

        Args:
            model: a path that is the same on all machines, `demo`, `hf:OWNER/REPO/FILE` of the hub, a function that loads and returns the model, or
                a mapping of names to models as `Server` takes it.
            load: arguments of `Model.load`; not with a mapping, whose models each have their own.
            **server: arguments of `Server` but those that say where it listens.

        Raises:
            ImportError: Ray Serve is not installed.
            TypeError, ValueError: an argument is wrong.
            Others: as `Model.load` and `Server`.
        """
        from tabagent.integrations.ray._forwarder import Forwarder  # noqa: PLC0415 (the driver that deploys it needs no HTTP)

        if taken := LISTENING & server.keys():
            message = f"`{min(taken)}` is for a server of one's own; here Ray Serve listens (`serve.start(http_options=...)`)"
            raise ValueError(message)
        if isinstance(model, Mapping):
            if load is not None:
                message = f"`load` is for one model, got {type_name(model)}; give each model of the mapping its own arguments"
                raise ValueError(message)
        else:
            self._model = open_model(model, load)
        self._folder = tempfile.TemporaryDirectory(prefix="tabagent-")
        socket = Path(self._folder.name) / "socket"
        self._server = Server(model if isinstance(model, Mapping) else self._model, unix_path=socket, **server)  # type: ignore[arg-type] # one of the two
        self._forward = Forwarder(socket)

    async def __call__(self, request: Request) -> Response:
        """Answer a request of Ray Serve's proxy."""
        return await self._forward(request)

    async def check_health(self) -> None:
        """Raise where the server takes no requests; Ray Serve asks every `health_check_period_s` and replaces the replica then.

        Raises:
            RuntimeError: it does not.
        """
        if not await self._forward.is_healthy():
            message = "the model's server does not answer `/health`"
            raise RuntimeError(message)

    def __del__(self) -> None:
        """Stop. Ray Serve calls this once no requests run any more, or `graceful_shutdown_timeout_s` is over."""
        if hasattr(self, "_forward"):
            self._forward.close()
            self._server.close()
            self._folder.cleanup()
        if self._model is not None:
            self._model.close()


TabagentDeployment: Any = serve.deployment(name="tabagent", max_ongoing_requests=256)(ModelServer)
"""The deployment of Ray Serve. `bind` takes the arguments of `ModelServer`, `options` those of Ray. A replica takes 256 requests at a time
(`max_ongoing_requests`); those that its model cannot decode yet wait in it."""
