"""The package itself: its names, and what importing it costs."""

from __future__ import annotations

import tabagent
from child import check, run


def test_every_public_name_is_there() -> None:
    for name in tabagent.__all__:
        assert getattr(tabagent, name) is not None
    assert set(tabagent.__all__) <= set(dir(tabagent))


def test_unknown_name_is_an_attribute_error() -> None:
    ended = run("import tabagent; print(hasattr(tabagent, 'nothing')); from tabagent import nothing")
    assert ended.out == "False\n"
    assert "ImportError" in ended.err


def test_import_brings_nothing_heavy() -> None:
    loaded = check(
        """
        import sys
        before = set(sys.modules)
        import tabagent
        print(*sorted(set(sys.modules) - before))
        """
    )
    assert loaded.split() == ["tabagent"]


def test_classes_bring_neither_numpy_nor_the_network() -> None:
    heavy = check(
        """
        import sys
        from tabagent import Completion, Context, Model, SamplerConfig, TokenStream
        print(*sorted({"numpy", "huggingface_hub", "asyncio", "rich", "typer", "ssl", "http.client"} & set(sys.modules)))
        """
    )
    assert heavy == "\n"


def test_submodules_do_not_hide_public_names() -> None:
    check(
        """
        import tabagent.machine, tabagent.variants, tabagent.sampling, tabagent.stream, tabagent.hub, tabagent.context
        assert callable(tabagent.hardware)
        assert tabagent.hardware().default_threads >= 1
        """
    )


def test_a_command_brings_no_other() -> None:
    for arguments, others in (("serve --help", "chat run bench gguf convert"), ("--version", "serve chat run bench gguf convert")):
        loaded = check(
            f"""
            import contextlib, io, sys
            from tabagent.cli import main
            with contextlib.redirect_stdout(io.StringIO()):
                main({arguments.split()!r})
            print(*sorted(set({[f"tabagent.cli.{name}" for name in others.split()]!r}) & set(sys.modules)))
            """
        )
        assert loaded.split() == []
