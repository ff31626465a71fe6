"""Stream texts to web clients from one model.

    pip install starlette uvicorn
    uvicorn --app-dir examples async_web:app
    curl -N localhost:8000/generate -d '{"prompt": "Once upon a time"}'

A client that goes away ends its generation. No thread is needed: the event loop serves others while the model computes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tabagent import Model, TokenStream


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Load the model before the first request, and close it after the last one."""
    with Model.load(os.environ.get("MODEL", "demo")) as model:
        app.state.model = model
        yield


async def pieces(stream: TokenStream) -> AsyncIterator[str]:
    # When the client goes away, this is cancelled or closed, and so is the stream.
    async with stream:
        async for text in stream:
            yield text


async def generate(request: Request) -> Response:
    body = await request.json()
    model: Model = request.app.state.model
    try:
        stream = model.generate(body["prompt"], max_tokens=min(int(body.get("max_tokens", 64)), 512))
    except (KeyError, TypeError, ValueError) as error:
        return JSONResponse({"error": str(error)}, status_code=400)
    return StreamingResponse(pieces(stream), media_type="text/plain; charset=utf-8")


app = Starlette(routes=[Route("/generate", generate, methods=["POST"])], lifespan=lifespan)
