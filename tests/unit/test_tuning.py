"""Settings that were measured to be fastest: kept by kind of model, used where nothing else is asked for."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.tiny_models import tiny_llama
from tabagent import Model, gguf, list_available_variants
from tabagent.cli import main, variant_benchmark
from tabagent.cli.benchmark_rows import rows_for
from tabagent.cli.variant_benchmark import Measurement
from tabagent.served_models import described
from tabagent.tuning import Tuning, keep, kind_of, known_tuning


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TABAGENT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> str:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    return str(path)


def test_nothing_is_known_at_first(model: str, cache: Path) -> None:
    assert known_tuning(model) == Tuning()
    assert not cache.exists()
    with Model.load(model) as loaded:
        assert loaded.info.adjustments == ()


def test_what_is_kept_counts_for_models_of_its_kind(model: str, tmp_path: Path) -> None:
    kept = Tuning(variant="haswell", threads=1, micro_batch_size=128)
    assert keep(kind_of(model), kept) is not None
    assert known_tuning(model) == kept
    twin = tmp_path / "twin.gguf"
    twin.write_bytes(Path(model).read_bytes())
    assert known_tuning(str(twin)) == kept
    gguf.edit_metadata(twin, {"general.file_type": 7})
    assert kind_of(str(twin)) != kind_of(model)
    assert known_tuning(str(twin)) == Tuning()
    keep(kind_of(model), Tuning())
    assert known_tuning(model) == Tuning()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": 3}', '{"tuning": {"threads": 1}}'])
def test_a_spoilt_file_is_none(model: str, content: str) -> None:
    place = keep(kind_of(model), Tuning(threads=1))
    assert place is not None
    Path(place).write_text(content, encoding="utf-8")
    assert known_tuning(model) == Tuning()


@pytest.mark.parametrize("threads", [0, -1, True, "2", 1 << 40, 1.5, None])
def test_no_spoilt_number_is_used(model: str, threads: object) -> None:
    place = keep(kind_of(model), Tuning(threads=1, micro_batch_size=64))
    assert place is not None
    found = json.loads(Path(place).read_text(encoding="utf-8"))
    found["tuning"]["threads"] = threads
    Path(place).write_text(json.dumps(found), encoding="utf-8")
    assert known_tuning(model) == Tuning(micro_batch_size=64)


def test_a_file_that_is_no_model_has_none(model: str, tmp_path: Path) -> None:
    keep(kind_of(model), Tuning(threads=1))
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    assert known_tuning(str(broken)) == Tuning()
    assert known_tuning(str(tmp_path / "missing.gguf")) == Tuning()


def test_load_uses_it_and_says_so(model: str) -> None:
    keep(kind_of(model), Tuning(threads=1, micro_batch_size=64))
    with Model.load(model) as loaded:
        assert loaded.info.threads == 1
        (said,) = loaded.info.adjustments
        assert said.endswith("and that is used: threads 1, micro-batch 64")


def test_what_is_asked_for_counts_more(model: str) -> None:
    keep(kind_of(model), Tuning(threads=1, micro_batch_size=64))
    with Model.load(model, threads=2, batch_size=32) as loaded:
        assert (loaded.info.threads, loaded.info.adjustments) == (2, ())
    with Model.load(model, variant=loaded.info.variant.name) as loaded:
        assert loaded.info.adjustments == ()


LOAD = "import sys; from tabagent import Model; m = Model.load(sys.argv[1]); v = m.info.variant; print(v.requested, v.name, v.reason, sep='|')"


def chosen(model: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", LOAD, model], capture_output=True, text=True, check=True)
    return done.stdout.strip().split("|")


def test_the_variant_is_taken_where_the_process_has_none_yet(model: str) -> None:
    usable = [variant.name for variant in list_available_variants() if variant.usable]
    other = usable[-1]
    keep(kind_of(model), Tuning(variant=other))
    asked, name, reason = chosen(model)
    assert (asked, name) == ("auto", other)
    assert "--benchmark" in reason
    # One that is no longer there leaves the choice as it was.
    keep(kind_of(model), Tuning(variant="never-built"))
    assert chosen(model)[:2] == ["auto", usable[0]]


def test_benchmark_measures_each_usable_variant_and_keeps_the_best(
    model: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("PROMPT", 16), ("TEXT", 4), ("REPETITIONS", 1)):
        monkeypatch.setattr(variant_benchmark, name, value)
    assert main(["variants", "--benchmark", model, "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    usable = {variant["name"] for variant in found["variants"] if variant["usable"] and not variant["source"].startswith("package ")}
    rows = found["benchmark"]["measurements"]
    assert {row["variant"] for row in rows} == usable
    assert [row["problem"] for row in rows] == [None] * len(rows)
    assert all(row["prompt_rate"] > 0 for row in rows)
    assert {row["micro_batch_size"] for row in rows} == {128, 256, 512}
    assert 1 in {row["threads"] for row in rows}
    assert known_tuning(model) == Tuning(**found["benchmark"]["tuning"])
    assert Path(found["benchmark"]["kept"]).is_file()
    assert err.count("tabagent: measuring ") == len(rows)
    # A title, and a line for each.
    assert len(err.splitlines()) == 1 + 2 * len(rows)


class NoRows:
    """Shows nothing."""

    def begin(self, what: str) -> None: ...

    def add(self, row: Measurement) -> None: ...


@pytest.mark.parametrize(("rates", "kept"), [([100, 200, 100, 200], True), ([100, 200, 200, 200], False), ([100, 100], False)])
def test_what_is_faster_once_has_to_be_so_twice(model: str, monkeypatch: pytest.MonkeyPatch, rates: list[float], kept: bool) -> None:  # noqa: FBT001 (a case)
    first, second = [variant for variant in list_available_variants() if variant.usable][:2]
    left = {first.name: rates[::2], second.name: rates[1::2]}

    def measured(path: str, arguments: list[str], wanted: Measurement) -> Measurement:
        is_default = wanted.threads is None and wanted.micro_batch_size == 512 and "-ub" not in arguments
        is_again = "-ub" in arguments and "-n" not in arguments
        rate = left[wanted.variant].pop(0) if is_default or is_again else 1
        return dataclasses.replace(wanted, prompt_rate=rate, text_rate=rate)

    monkeypatch.setattr(variant_benchmark, "_measured", measured)
    found = variant_benchmark.run_benchmark(model, [first, second], first, NoRows())  # type: ignore[arg-type] # all that is called
    assert found.tuning == (Tuning(variant=second.name) if kept else Tuning())
    assert known_tuning(model) == found.tuning
    assert left == {first.name: [], second.name: []}


def some_rows() -> list[Measurement]:
    return [
        Measurement(variant="haswell", threads=None, micro_batch_size=512, prompt_rate=1234.56, text_rate=78.9),
        Measurement(variant="haswell", threads=2, micro_batch_size=512, problem="exit code 1: no\nroom \x1b[2J"),
    ]


def test_rows_come_as_lines_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with rows_for(json=False) as rows:
        for row in some_rows():
            rows.begin("something")
            assert capsys.readouterr().err == "tabagent: measuring something\n"
            rows.add(row)
            # At once, not at the end.
            line = capsys.readouterr().out
            assert line.startswith("haswell  ")
            assert line.endswith(" 1,234.6        78.9\n" if row.problem is None else "  exit code 1: no room \ufffd[2J\n")


def test_rows_come_as_a_growing_table_on_a_terminal() -> None:
    code = "import support.growing_rows"
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen([sys.executable, "-c", code], stdout=theirs, stdin=subprocess.PIPE, env=environment) as child:
        os.close(theirs)
        shown = ""

        def wait_for(text: str) -> None:
            nonlocal shown
            while text not in shown:
                shown += os.read(ours, 1 << 16).decode()

        wait_for("measuring the first")
        assert "1,234.6" not in shown
        assert child.stdin is not None
        child.stdin.write(b"\n")
        child.stdin.flush()
        wait_for("1,234.6")
        wait_for("measuring the second")
        child.stdin.write(b"\n")
        child.stdin.close()
        wait_for("exit code 1: no")
    os.close(ours)
    assert child.returncode == 0
    assert "\x1b[2J" not in shown


def plans(model: str, **options: object) -> dict[str, Any]:
    (entry,) = described({"tiny": {"path": model, **options}}, {})
    found: dict[str, Any] = entry["load"]["options"]
    return found


def test_a_server_loads_its_models_by_it(model: str) -> None:
    assert plans(model)["threads"] is None
    keep(kind_of(model), Tuning(threads=1, micro_batch_size=64))
    assert (plans(model)["threads"], plans(model)["micro_batch_size"]) == (1, 64)
    asked = plans(model, threads=2, batch_size=32)
    assert (asked["threads"], asked["micro_batch_size"]) == (2, None)
    assert plans(model, variant=list_available_variants()[0].name)["threads"] is None


SERVE = "import sys; from tabagent import Server; s = Server({'tiny': sys.argv[1]}, port=0); s.close(); "
SERVE += "from tabagent import _native; import json; print(json.loads(_native.loaded_library())['cpu_module'])"


def test_a_servers_first_model_decides_about_the_variant(model: str) -> None:
    usable = [variant.name for variant in list_available_variants() if variant.usable]
    keep(kind_of(model), Tuning(variant=usable[-1]))
    done = subprocess.run([sys.executable, "-c", SERVE, model], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == usable[-1]


def test_a_variant_that_fails_is_a_row_with_the_reason(model: str) -> None:
    row = variant_benchmark._measured(model, [], Measurement(variant="never-built", threads=None, micro_batch_size=512))
    assert row.problem is not None
    assert "never-built" in row.problem
    assert row.seconds == float("inf")


def test_noise_does_not_win() -> None:
    default = Measurement(variant="a", threads=None, micro_batch_size=512, prompt_rate=100, text_rate=10)
    little, much = (Measurement(variant="b", threads=None, micro_batch_size=512, prompt_rate=100 * by, text_rate=10 * by) for by in (1.02, 1.1))
    assert variant_benchmark._fastest([default, little], default) == default
    assert variant_benchmark._fastest([default, little, much], default) == much


def test_a_file_that_is_no_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    assert main(["variants", "--benchmark", str(broken)]) == 1
    assert "broken.gguf" in capsys.readouterr().err
