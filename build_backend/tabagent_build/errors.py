"""What the build says when it cannot go on."""

from __future__ import annotations

__all__ = ["BuildError"]


class BuildError(Exception):
    """The library cannot be built; the text says why and what to do."""
