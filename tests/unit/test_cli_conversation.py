"""`tabagent run -i` with a model that answers from a script."""

from __future__ import annotations

import io
import sys

import pytest

from cli_fakes import CONTEXT, FakeModel, loader
from tabagent import ContextFullError, Model, SamplerConfig
from tabagent.cli import main
from tabagent.cli.conversation import Conversation
from tabagent.cli.generation import GenerationOptions
from tabagent.cli.line_reader import LineReader


class ScriptedReader(LineReader):
    """A terminal with a script: lines, exceptions, and at its end Ctrl-D."""

    def __init__(self, script: list[str | BaseException], *, agrees: bool = True) -> None:
        super().__init__()
        self.is_terminal = True
        self.script = script
        self.agrees = agrees
        self.questions: list[str] = []

    def read(self, prompt: str = "> ") -> str | None:
        if not self.script:
            return None
        item = self.script.pop(0)
        if isinstance(item, BaseException):
            raise item
        return item

    def confirm(self, question: str) -> bool:
        self.questions.append(question)
        return self.agrees


def converse(model: FakeModel, reader: ScriptedReader, first: str | None = None) -> None:
    options = GenerationOptions(max_tokens=8, sampling=SamplerConfig())
    Conversation(model, options, reader, lambda _: None).run(first)  # type: ignore[arg-type] # a fake for the model


def test_each_piped_line_is_a_turn_and_all_stay_in_the_context(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = FakeModel(["B", "D\n", "F"])
    monkeypatch.setattr(Model, "load", loader(model))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("é\n\nE\n".encode()), encoding="ascii"))
    assert main(["run", "m.gguf", "-i", "-p", "A"]) == 0
    assert capsys.readouterr() == ("B\nD\nF\n", "")
    assert [model.text_of(index) for index in range(3)] == ["A", "AB\né", "AB\néD\n\nE"]
    assert [prompt.count(0) for prompt in model.prompts] == [1, 1, 1]
    assert all(options["cache_prompt"] for options in model.options)


def test_interrupted_answer_stays_in_the_context_and_the_conversation_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    model = FakeModel([["x", "y", KeyboardInterrupt()], "z"])
    converse(model, ScriptedReader(["A", "B"]))
    assert model.text_of(1) == "Axy\nB"
    assert capsys.readouterr().out == "xy\nz\n"
    assert model.streams[0].closed


def test_interrupt_at_the_prompt_ends_the_conversation() -> None:
    model = FakeModel(["x", "never"])
    converse(model, ScriptedReader(["A", KeyboardInterrupt(), "B"]))
    assert len(model.prompts) == 1


def test_full_context_is_told_with_its_numbers_and_a_new_conversation_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    model = FakeModel(["x" * 30, "again"])
    reader = ScriptedReader(["A" * 20, "B" * 20])
    converse(model, reader)
    assert model.text_of(1) == "B" * 20
    assert len(reader.questions) == 1
    error = capsys.readouterr().err
    assert f"prompt has 72 tokens but the context holds {CONTEXT}; raise `-c`" in error


def test_full_context_ends_the_conversation_when_a_new_one_is_declined() -> None:
    model = FakeModel(["x" * 30, "never"])
    converse(model, ScriptedReader(["A" * 20, "B" * 20, "C"], agrees=False))
    assert len(model.prompts) == 1


def test_turn_that_is_too_long_alone_is_an_error() -> None:
    with pytest.raises(ContextFullError):
        converse(FakeModel([]), ScriptedReader(["A" * 100]))


def test_full_context_of_a_piped_conversation_is_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(Model, "load", loader(FakeModel(["x" * 30])))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"A" * 20 + b"\n" + b"B" * 20 + b"\n")))
    assert main(["run", "m.gguf", "-i"]) == 1
    assert capsys.readouterr().err == (
        f"tabagent: error: the context is full: prompt has 72 tokens but the context holds {CONTEXT}; raise `-c` or shorten the prompt\n"
    )


def test_turns_of_models_with_a_template_are_messages(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = FakeModel(["B", "D"])
    model.metadata["tokenizer.chat_template"] = "{{ messages }}"
    monkeypatch.setattr(Model, "load", loader(model))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"C\n"), encoding="ascii"))
    assert main(["run", "m.gguf", "-i", "-p", "A", "-sys", "S"]) == 0
    assert capsys.readouterr() == ("B\nD\n", "")
    assert model.text_of(0) == "<system>S<user>A<assistant>"
    assert model.text_of(1) == "<system>S<user>A<assistant>B<user>C<assistant>"
