"""`tabagent chat` with a model that answers from a script."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from chat_script import Reply, Script
from tabagent import ChatDelta, ChatMessage, ContentDelta, ContextFullError, ReasoningDelta, SamplerConfig
from tabagent.chat import Chatter
from tabagent.cli import main
from tabagent.cli.line_reader import LineReader
from tabagent.cli.talk import Talk
from tabagent.conversation import Conversation


class Lines(LineReader):
    """A terminal, or a pipe, with a script: lines, exceptions, and at its end Ctrl-D."""

    def __init__(self, *script: str | BaseException, terminal: bool = True) -> None:
        super().__init__()
        self.is_terminal = terminal
        self.script = list(script)

    def read(self, prompt: str = "> ") -> str | None:
        if not self.script:
            return None
        item = self.script.pop(0)
        if isinstance(item, BaseException):
            raise item
        return item


def talk(
    reader: Lines, *replies: Reply, first: str | None = None, system: str | None = None, options: dict[str, Any] | None = None
) -> tuple[Conversation, Script]:
    script = Script(*replies)
    settings: dict[str, Any] = {"messages": (), "tools": None, "max_rounds": 8, "tool_timeout": None, "approve": None, "shorten": None, "options": {}}
    conversation = Conversation(cast("Chatter", script), system=system, **settings)
    Talk(conversation, reader, lambda message: f"stats of {message.content}", options).run(first)
    return conversation, script


def test_turns_and_answers_alternate(capsys: pytest.CaptureFixture[str]) -> None:
    _, script = talk(Lines("one", "", "two \\", "three", '"""', "a", "/b", '"""', terminal=False), "A", "B\n", "C", "D", first="zero")
    assert capsys.readouterr() == ("A\nB\nC\nD\n", "")
    assert [asked[-1]["content"] for asked in script.asked] == ["zero", "one", "two \nthree", "a\n/b"]


def test_commands_change_the_conversation(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    script = ["hello", "/stats", f"/save {path}", "/system Be kind.", "/undo", "/undo", "/clear", f"/load {path}", "/system", "/bye", "never"]
    conversation, _ = talk(Lines(*script), "hi", system="Be brief.")
    assert [message["content"] for message in conversation.messages] == ["hello", "hi"]
    assert path.exists()
    out, err = capsys.readouterr()
    assert out == "hi\n"
    notes = [line.removeprefix("tabagent: ") for line in err.splitlines()]
    assert notes[1:] == ["stats of hi", "taken back: hello", "there is no turn to take back"]


def test_wrong_commands_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    talk(Lines("/foo", "/save", f"/load {tmp_path / 'none'}", "/stats", "/help"))
    err = capsys.readouterr().err
    for part in ("no command `/foo`", "`/save` needs the name of a file", "none", "no answer yet", "/system TEXT"):
        assert part in err


def test_ctrl_c_ends_answers_and_never_the_conversation(capsys: pytest.CaptureFixture[str]) -> None:
    cut: list[ChatDelta | BaseException] = [ContentDelta("Once "), KeyboardInterrupt()]
    conversation, script = talk(Lines("go", KeyboardInterrupt(), "and?"), cut, "then")
    assert [message["content"] for message in conversation.messages] == ["go", "Once ", "and?", "then"]
    assert len(script.asked) == 2
    assert capsys.readouterr().out == "Once \n\nthen\n"


def test_thoughts_stand_apart_from_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    thinking: list[ChatDelta | BaseException] = [ReasoningDelta("hm"), ReasoningDelta("m"), ContentDelta("yes")]
    conversation, _ = talk(Lines("is it?"), thinking)
    assert capsys.readouterr().out == "hmm\nyes\n"
    assert conversation.messages[-1]["reasoning_content"] == "hmm"


def test_a_full_context_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    conversation, _ = talk(Lines("long", "/clear", "short"), ContextFullError("the context is full"), "ok")
    assert "/clear begins anew" in capsys.readouterr().err
    assert [message["content"] for message in conversation.messages] == ["short", "ok"]
    with pytest.raises(ContextFullError):
        talk(Lines("long", terminal=False), ContextFullError("the context is full"))


def test_wrong_options_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["chat", "m.gguf", "--reasoning", "deep"]) == 2
    assert "`--reasoning deep` is not known" in capsys.readouterr().err
    assert main(["chat", "m.gguf", "--draft-max", "4"]) == 2
    assert "give one of them too" in capsys.readouterr().err
    assert main(["chat", "m.gguf", "--speculative", "lookup", "-md", "small.gguf"]) == 2
    assert "both say who guesses" in capsys.readouterr().err


def test_messages_of_the_package_are_taken_too() -> None:
    assert ChatMessage(content="a").as_dict() == {"role": "assistant", "content": "a"}


def test_settings_change_the_turns_after_them(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        "one",
        "/set temp 0.2",
        "/set max_tokens 7",
        "/set reasoning off",
        "/set top_k 5",
        "two",
        "/set max_tokens -1",
        "/set seed 3",
        "three",
        "/set",
    ]
    _, script = talk(Lines(*lines), "A", "B", "C", options={"sampling": SamplerConfig(), "max_tokens": None, "reasoning": "auto"})
    first, second, third = script.options
    assert (first["sampling"], first["max_tokens"], first["reasoning"]) == (SamplerConfig(), None, "auto")
    assert (second["sampling"], second["max_tokens"], second["reasoning"]) == (SamplerConfig(temperature=0.2, top_k=5), 7, "off")
    assert (third["sampling"], third["max_tokens"]) == (SamplerConfig(temperature=0.2, top_k=5, seed=3), None)
    notes = [" ".join(line.removeprefix("tabagent: ").split()) for line in capsys.readouterr().err.splitlines()]
    assert notes[1:6] == ["max_tokens until the model ends", "reasoning off", "seed 3", "temperature 0.2", "top_k 5"]


@pytest.mark.parametrize(
    ("words", "note"),
    [
        ("/set temprature 1", "there is no setting `temprature`; did you mean `temperature`?"),
        ("/set temperature", "`/set temperature` needs a value"),
        ("/set temperature hot", "`temperature` must be a number, got `hot`"),
        ("/set top_p 7", "`top_p` must be"),
        ("/set top_k 1.5", "`top_k` must be"),
    ],
)
def test_wrong_settings_change_nothing(words: str, note: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, script = talk(Lines(words, "one"), "A", options={"sampling": SamplerConfig()})
    assert note in capsys.readouterr().err
    assert script.options[0]["sampling"] == SamplerConfig()


def test_markdown_is_styled_on_a_terminal_alone(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answer: list[ChatDelta | BaseException] = [ReasoningDelta("so *much*"), ContentDelta("**bo"), ContentDelta("ld** \x1b[31m"), ContentDelta("`x`")]
    talk(Lines("hi"), answer)
    assert "**bold**" in capsys.readouterr().out
    monkeypatch.setattr("tabagent.cli.talk.takes_styles", lambda _: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    talk(Lines("hi"), answer)
    out = capsys.readouterr().out
    assert "so *much*" in out
    assert "\x1b[1mbold\x1b[22m" in out
    assert "\x1b[36mx\x1b[39m" in out
    assert "\x1b[31m" not in out
