"""`tabagent run`: the form of the text, log-probabilities and the look into sampling, with a model that answers from a script."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cli_fakes import FakeModel, loader
from tabagent import Model, Trigger
from tabagent.cli import main
from tabagent.cli.report import logprobs_json, logprobs_table
from tabagent.cli.structure import structure_of


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    model = FakeModel(["lo, world"])
    monkeypatch.setattr(Model, "load", loader(model))
    return model


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], {}),
        (["--json-schema", '{"type": "integer"}'], {"json_schema": {"type": "integer"}}),
        (["-j", "true"], {"json_schema": True}),
        (["--regex", "[a-z]+"], {"regex": "[a-z]+"}),
        (["--choices", "yes", "--choices", "no"], {"choices": ["yes", "no"]}),
        (["--grammar", 'root ::= "a"'], {"grammar": 'root ::= "a"'}),
        (["--regex", "a", "--trigger", "</think>"], {"regex": "a", "trigger": Trigger("</think>")}),
        (["--regex", "a", "-e", "--trigger", r"\n\n", "--trigger", "x"], {"regex": "a", "trigger": Trigger(("\n\n", "x"))}),
        (
            ["--regex", "a", "--trigger-token", "7", "--trigger-then", "free", "--trigger-optional"],
            {"regex": "a", "trigger": Trigger(7, then="free", required=False)},
        ),
    ],
)
def test_form_of_the_text_reaches_the_model(fake: FakeModel, arguments: Sequence[str], wanted: dict[str, Any]) -> None:
    assert main(["run", "m.gguf", "-p", "x", *arguments]) == 0
    options = fake.options[0]
    assert {name: options[name] for name in ("json_schema", "regex", "choices", "grammar", "trigger") if name in options} == wanted


def test_schema_and_grammar_are_read_from_files(tmp_path: Path) -> None:
    schema, grammar = tmp_path / "schema.json", tmp_path / "grammar.gbnf"
    schema.write_text('\ufeff{"const": "é"}', encoding="utf-8")
    grammar.write_text('root ::= "é"\n', encoding="utf-8")
    assert structure_of(str(schema), None, None, None) == {"json_schema": {"const": "é"}}
    assert structure_of(None, str(grammar), None, None) == {"grammar": 'root ::= "é"\n'}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--json-schema", "no/such/file.json"], "`--json-schema no/such/file.json` is neither a file nor JSON"),
        (["--json-schema", "[1]"], "`--json-schema` must be a JSON object, such as `{}` for any JSON, not `[1]`"),
        (["--json-schema", "[" * 100_000], "`--json-schema` nests too deeply"),
        (["--grammar", "no/such/file.gbnf"], "`--grammar no/such/file.gbnf` is neither a file nor a grammar"),
        (["--grammar", ""], "is neither a file nor a grammar"),
        (["--json-schema", "{}", "--regex", "a"], "`--json-schema` and `--regex` were given"),
        (["--trigger", "</think>"], "`--trigger` says where a form begins, and none was given"),
        (["--regex", "a", "--trigger", ""], "`--trigger` needs a text"),
        (["--regex", "a", "--trigger", "b", "--trigger-then", "go"], "`--trigger-then go` is neither `stop` nor `free`"),
        (["--regex", "a", "--trigger-then", "free"], "`--trigger-then` was given without `--trigger` and `--trigger-token`"),
        (["--regex", "a", "--trigger-optional"], "`--trigger-optional` was given without `--trigger` and `--trigger-token`"),
        (["--regex", "a", "--trigger-token", "-1"], "--trigger-token"),
        (["--logprobs", "-1"], "--logprobs"),
        (["--explain", "--json"], "`--explain` prints a table for each token, which `--json` has no place for"),
        (["--explain", "-i"], "which `-i` has no place for"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_option(
    fake: FakeModel, arguments: Sequence[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "m.gguf", "-p", "x", *arguments]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1)
    assert named in error
    assert fake.loaded is None


def entry(text: str, logprob: float, top: Sequence[Any] = ()) -> Any:
    return SimpleNamespace(token=7, text=text, bytes=text.encode(), logprob=logprob, top=list(top))


def test_logprobs_are_written_in_openais_shape() -> None:
    (found,) = logprobs_json([entry("é", -0.5, [entry("a", float("-inf"))])])
    assert found == {
        "token": "é",
        "id": 7,
        "logprob": -0.5,
        "bytes": [195, 169],
        "top_logprobs": [{"token": "a", "id": 7, "logprob": None, "bytes": [97]}],
    }
    json.dumps(found, allow_nan=False)


def test_logprobs_table_has_a_line_for_each_token() -> None:
    table = logprobs_table([entry("a", 0.0, [entry("a", 0.0), entry("[b]", -2.0)]), entry("\n", float("-inf"))])
    assert table.row_count == 2
    assert [str(cell) for cell in table.columns[0].cells] == ['"a"', '"\\n"']
    assert [str(cell) for cell in table.columns[2].cells] == ["100%", "0%"]
    assert '"[b]" 13.5%' in str(next(iter(table.columns[3].cells)))
