"""The classes of errors."""

from __future__ import annotations

import pytest

import tabagent
from tabagent import errors


def test_all_errors_are_tabagent_errors_and_public() -> None:
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, errors.TabagentError)
        assert getattr(tabagent, name) is kind
        assert kind.__doc__


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.LibraryLoadError, OSError),
        (errors.IncompatibleLibraryError, errors.LibraryLoadError),
        (errors.ModelLoadError, OSError),
        (errors.ModelNotFoundError, FileNotFoundError),
        (errors.InvalidModelError, ValueError),
        (errors.GgufError, ValueError),
        (errors.ContextFullError, ValueError),
        (errors.OutOfMemoryError, MemoryError),
        (errors.VariantError, ValueError),
        (errors.ForkedError, RuntimeError),
    ],
)
def test_errors_have_the_builtin_base_that_fits(kind: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(kind, builtin)
    assert str(kind("text")) == "text"
