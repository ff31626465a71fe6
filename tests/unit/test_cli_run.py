"""`tabagent run` with a model that answers from a script."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from cli_fakes import FakeModel, loader
from tabagent import ContextShift, Model, ModelNotFoundError, SamplerConfig, _native
from tabagent.cli import main
from tabagent.cli.load_options import KV_TYPES
from tabagent.cli.options import naming_options
from tabagent.cli.run import GROUPS


class Terminal(io.TextIOWrapper):
    """Standard input with somebody in front of it."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeModel:
    model = FakeModel(["lo, world", "second", "third"])
    monkeypatch.setattr(Model, "load", loader(model))
    return model


def pipe(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))


def options_of(model: FakeModel) -> dict[str, Any]:
    assert model.loaded is not None
    return model.loaded[1]


def test_text_is_printed_without_the_prompt_and_ends_with_a_newline(fake: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.gguf", "-p", "Hel"]) == 0
    assert capsys.readouterr() == ("lo, world\n", "")
    assert fake.closed
    assert fake.streams[0].closed


def test_display_prompt_prints_the_prompt_first(fake: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.gguf", "-p", "Hel", "--display-prompt"]) == 0
    assert capsys.readouterr().out == "Hello, world\n"


def test_prompt_comes_from_a_file_without_its_last_newline(fake: FakeModel, tmp_path: Path) -> None:
    file = tmp_path / "prompt.txt"
    file.write_bytes("\ufeffGrüße\n\n".encode())
    assert main(["run", "m.gguf", "-f", str(file)]) == 0
    assert fake.text_of(0) == "Grüße\n"


@pytest.mark.parametrize("arguments", [[], ["-f", "-"]])
def test_prompt_comes_from_a_pipe_in_utf8_whatever_the_locale(fake: FakeModel, monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    pipe(monkeypatch, "Grüße\r\n".encode())
    assert main(["run", "m.gguf", *arguments]) == 0
    assert fake.text_of(0) == "Grüße"


def test_prompt_that_is_not_utf8_is_an_error_that_says_where(
    fake: FakeModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe(monkeypatch, b"ab\xff")
    assert main(["run", "m.gguf"]) == 1
    assert capsys.readouterr().err.startswith("tabagent: error: standard input is not UTF-8 (byte 2 is 0xff)")


def test_no_prompt_at_a_terminal_is_wrong_usage(fake: FakeModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(io.BytesIO()))
    assert main(["run", "m.gguf"]) == 2
    error = capsys.readouterr().err
    assert "-p TEXT" in error
    assert "-i" in error
    assert fake.loaded is None


def test_escapes_are_replaced_only_when_asked_for(fake: FakeModel) -> None:
    assert main(["run", "m.gguf", "-p", r"a\nb\x41\q\\n"]) == 0
    assert main(["run", "m.gguf", "-e", "-p", r"a\nb\x41\q\\n", "--stop", r"\n\n"]) == 0
    assert fake.text_of(0) == r"a\nb\x41\q\\n"
    assert fake.text_of(1) == "a\nbA\\q\\n"
    assert fake.options[1]["stop"] == ["\n\n"]
    assert "ban" not in fake.options[1]
    assert main(["run", "m.gguf", "-e", "-p", "x", "--ban", r"a\n", "--ban", "b"]) == 0
    assert fake.options[2]["ban"] == ["a\n", "b"]


def test_options_reach_the_model(fake: FakeModel) -> None:
    flags = (
        "-n 7 -c 512 --temp 0.5 --top-k 3 --top-p 0.5 --min-p 0.25 --typical 0.5 --repeat-penalty 1.5 --repeat-last-n 9 --frequency-penalty 0.5"
        " --presence-penalty 0.25 --mirostat 2 --mirostat-lr 0.5 --mirostat-ent 3 -s 5 --stop A --stop B --ignore-eos -ngl 0 --backend haswell"
        " -t 2 -b 64 -ub 32 -ctk Q8_0 -ctv f16 -fa on --swa-full -no-kvu -nkvo --no-op-offload --no-mmap --mlock --check-tensors"
        " -tb 3 --override-kv a.b=int:4 -dev cuda:0,cuda:1 -sm row -mg 1 -ts 3,1 -ot ffn_(up|down)=CPU,attn=CUDA0 -ncmoe 4"
    )
    assert main(["run", "m.gguf", "-p", "x", *flags.split()]) == 0
    sampling = SamplerConfig(
        temperature=0.5,
        top_k=3,
        top_p=0.5,
        min_p=0.25,
        typical_p=0.5,
        repeat_penalty=1.5,
        repeat_window=9,
        frequency_penalty=0.5,
        presence_penalty=0.25,
        mirostat=2,
        mirostat_eta=0.5,
        mirostat_tau=3,
        seed=5,
    )
    assert fake.options == [{"max_tokens": 7, "sampling": sampling, "stop": ["A", "B"], "ignore_eos": True, "cache_prompt": True}]
    options = options_of(fake)
    assert callable(options.pop("progress"))
    assert options == {
        "variant": "haswell",
        "engine": "auto",
        "prompt_threads": 3,
        "metadata_overrides": {"a.b": 4},
        "gpu_layers": 0,
        "devices": ["cuda:0", "cuda:1"],
        "split_mode": "row",
        "main_gpu": 1,
        "tensor_split": [3.0, 1.0],
        "override_tensors": {"ffn_(up|down)": "CPU", "attn": "CUDA0"},
        "cpu_moe": 4,
        "context_size": 512,
        "max_sequences": 1,
        "threads": 2,
        "batch_size": 64,
        "micro_batch_size": 32,
        "kv_type": ("q8_0", "f16"),
        "flash_attention": "on",
        "full_sliding_window": True,
        "kv_unified": False,
        "offload_kv": False,
        "offload_ops": False,
        "use_mmap": False,
        "mlock": True,
        "check_tensors": True,
    }


def test_placements_that_cannot_be_read_are_refused(fake: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.gguf", "-p", "x", "-dev", "none", "-cmoe", "-ngl", "all"]) == 0
    options = options_of(fake)
    assert (options["devices"], options["cpu_moe"], options["gpu_layers"]) == (["cpu"], True, 2**31 - 1)
    for wrong, text in {
        "-sm rows": "`-sm rows` is not known; there are `none`, `layer`, `row`, `tensor`",
        "-ts 3,x": "`-ts 3,x` is no list of numbers",
        "-ot ffn": "`-ot ffn` is no pattern and memory",
        "-ngl most": "`-ngl most` is neither `auto`, `all` nor a number of layers",
    }.items():
        assert main(["run", "m.gguf", "-p", "x", *wrong.split()]) == 2
        assert text in capsys.readouterr().err


def test_isolation_reaches_the_model(fake: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.gguf", "-p", "x", "--isolation", "process", "--on-crash", "replay"]) == 0
    options = options_of(fake)
    assert (options["isolation"], options["on_crash"]) == ("process", "replay")
    for wrong, text in {
        "--isolation thread": "`--isolation thread` is not known; there is `process`",
        "--isolation process --on-crash retry": "`--on-crash retry` is not known; there are `error`, `replay`",
        "--on-crash replay": "`--on-crash` needs `--isolation process`",
    }.items():
        assert main(["run", "m.gguf", "-p", "x", *wrong.split()]) == 2
        assert text in capsys.readouterr().err


def test_servers_and_failing_gpus_bring_a_process_of_its_own(fake: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", "m.gguf", "-p", "x"]
    assert main([*run, "-dev", "cuda:0,rpc://a", "--rpc", "b:7, rpc://c ", "--on-crash", "replay"]) == 0
    options = options_of(fake)
    assert options["devices"] == ["cuda:0", "rpc://a", "rpc://b:7", "rpc://c"]
    assert (options["isolation"], options["on_crash"]) == ("process", "replay")
    assert main([*run, "--on-gpu-failure", "cpu"]) == 0
    options = options_of(fake)
    assert (options["devices"], options["isolation"], options["on_gpu_failure"]) == (None, "process", "cpu")
    assert main([*run, "--on-gpu-failure", "gpu"]) == 2
    assert "`--on-gpu-failure gpu` is not known; there is `cpu`" in capsys.readouterr().err


def test_sampler_options_reach_the_model(fake: FakeModel) -> None:
    flags = (
        "--dynatemp-range 0.25 --dynatemp-exp 2 --top-nsigma 1.5 --xtc-probability 0.5 --xtc-threshold 0.25 --dry-multiplier 0.5 --dry-base 2"
        " --dry-allowed-length 3 --dry-penalty-last-n -1 --dry-sequence-breaker \\n --dry-sequence-breaker x --adaptive-target 0.5"
        " --adaptive-decay 0.5 --samplers penalties;dry;top-k;temp --logit-bias 15+1 -l 7-inf"
    )
    assert main(["run", "m.gguf", "-p", "x", *flags.split()]) == 0
    assert fake.options[0]["sampling"] == SamplerConfig(
        dynatemp_range=0.25,
        dynatemp_exponent=2,
        top_n_sigma=1.5,
        xtc_probability=0.5,
        xtc_threshold=0.25,
        dry_multiplier=0.5,
        dry_base=2,
        dry_allowed_length=3,
        dry_window=-1,
        dry_breakers=["\n", "x"],
        adaptive_target=0.5,
        adaptive_decay=0.5,
        order=["penalties", "dry", "top_k", "temperature"],
        logit_bias={15: 1, 7: -math.inf},
    )


def test_types_of_the_contexts_memory_are_the_cores() -> None:
    assert list(KV_TYPES) == list(_native.KV_TYPES)


def test_every_option_of_a_group_is_named_in_errors_as_it_is_given() -> None:
    text = naming_options("`temperature` `context_size` `use_mmap` `json_schema` `trigger[1]` `other`", *GROUPS)
    assert text == "`--temp` `-c` `--no-mmap` `--json-schema` `--trigger` `other`"


def test_the_context_shifts_where_that_is_asked_for(fake: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    for flags, overflow in (("--context-shift", "shift"), ("--context-shift --keep 7", ContextShift(keep=7)), ("", None)):
        fake.options.clear()
        assert main(["run", "m.gguf", "-p", "x", *flags.split()]) == 0
        assert fake.options[0].get("overflow") == overflow
    assert main(["run", "m.gguf", "-p", "x", "--keep", "7"]) == 2
    assert "`--keep` says what stays when the context shifts; give `--context-shift` too" in capsys.readouterr().err


def test_defaults_are_the_packages_own(fake: FakeModel) -> None:
    assert main(["run", "m.gguf", "-p", "x"]) == 0
    assert fake.options[0]["sampling"] == SamplerConfig()
    assert fake.options[0]["max_tokens"] is None
    assert options_of(fake)["gpu_layers"] == "auto"


@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("--temp", "temperature"),
        ("--top-k", "top_k"),
        ("--top-p", "top_p"),
        ("--min-p", "min_p"),
        ("--repeat-last-n", "repeat_window"),
        ("--mirostat-lr", "mirostat_eta"),
        ("--mirostat-ent", "mirostat_tau"),
        ("--dynatemp-exp", "dynatemp_exponent"),
        ("--top-nsigma", "top_n_sigma"),
        ("--xtc-threshold", "xtc_threshold"),
        ("--dry-base", "dry_base"),
        ("--dry-allowed-length", "dry_allowed_length"),
        ("--dry-penalty-last-n", "dry_window"),
        ("--adaptive-target", "adaptive_target"),
        ("--adaptive-decay", "adaptive_decay"),
    ],
)
def test_help_states_the_real_defaults(option: str, field: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    assert main(["run", "--help"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if f"{option}," in line or f"{option} " in line)
    assert f"(default {getattr(SamplerConfig(), field):g})" in line


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--top-p", "3"], "`--top-p`"),
        (["--temp", "-1"], "`--temp`"),
        (["-ngl", "many"], "`-ngl many`"),
        (["--kv-type", "q3"], "`--kv-type q3`"),
        (["--kv-type", "a\nb"], "`--kv-type a; b`"),
        (["--a\nb"], "no such option `--a b`"),
        (["-n", "x"], "--n-predict"),
        (["--tmp", "1"], "did you mean `--temp`?"),
        (["-f", "x"], "`-f`"),
        (["--hf", "a/b"], "both name a model"),
        (["--hf-file", "x"], "`--hf OWNER/REPO`"),
        (["-i", "--json"], "`--json`"),
    ],
)
def test_wrong_usage_is_one_line_that_names_the_option(
    fake: FakeModel, arguments: Sequence[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "m.gguf", "-p", "x", *arguments]) == 2
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("tabagent: error: ")
    assert error.count("\n") == 1
    assert named in error
    assert fake.loaded is None


def test_model_of_the_hub_is_fetched_by_its_pattern(fake: FakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def fetch(repo_id: str, filename: str) -> str:
        asked.append((repo_id, filename))
        return f"/cache/{len(asked)}.gguf"

    monkeypatch.setattr("tabagent.hub.fetch_model", fetch)
    assert main(["run", "hf:me/it/sub/*Q4.gguf", "-p", "x"]) == 0
    assert main(["run", "--hf", "me/it", "--hf-file", "b.gguf", "-p", "x"]) == 0
    assert main(["run", "hf:me/it", "-p", "x"]) == 0
    assert asked == [("me/it", "sub/*Q4.gguf"), ("me/it", "b.gguf"), ("me/it", "*.gguf")]
    assert fake.loaded is not None
    assert fake.loaded[0] == "/cache/3.gguf"


def test_json_is_one_object_with_text_usage_and_timings(fake: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.gguf", "-p", "Hel", "--json"]) == 0
    out, error = capsys.readouterr()
    report = json.loads(out)
    assert error == ""
    assert report["text"] == "lo, world"
    assert report["finish_reason"] == "stop"
    assert report["usage"] == {
        "prompt_tokens": 4,
        "completion_tokens": 9,
        "cached_tokens": 0,
        "forced_tokens": 0,
        "drafted_tokens": 0,
        "accepted_tokens": 0,
        "dropped_tokens": 0,
        "total_tokens": 13,
    }
    assert report["timings"]["decode_s"] == 0.25
    assert report["model"]["variant"]["name"] == "haswell"


def test_verbose_adds_a_line_of_timings_to_stderr(fake: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.gguf", "-p", "Hel", "-v"]) == 0
    out, error = capsys.readouterr()
    assert out == "lo, world\n"
    assert "answer 9 tokens in 0.25 s (8.0/s)" in error


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_timings_can_be_shown_without_logs(fake: FakeModel, capsys: pytest.CaptureFixture[str], more: list[str]) -> None:
    assert main(["run", "m.gguf", "-p", "Hel", "--show-timings", *more]) == 0
    error = capsys.readouterr().err
    assert error.startswith("tabagent: load 0.")
    assert error.endswith("answer 9 tokens in 0.25 s (8.0/s); first token after 0.50 s; ended by stop; CPU module haswell, 1 thread\n")
    assert error.count("\n") == 1


def test_timings_are_not_shown_unless_asked_for(fake: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.gguf", "-p", "Hel", "--show-timings", "--no-show-timings"]) == 0
    assert capsys.readouterr() == ("lo, world\n", "")


def test_failure_is_one_line_and_a_traceback_only_with_verbose(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(path: str, **_: Any) -> Model:
        message = f"no model file `{path}`\nlook `context_size` up"
        raise ModelNotFoundError(message)

    monkeypatch.setattr(Model, "load", missing)
    assert main(["run", "m.gguf", "-p", "x"]) == 1
    assert capsys.readouterr().err == "tabagent: error: no model file `m.gguf`; look `-c` up\n"
    assert main(["run", "m.gguf", "-p", "x", "-v"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_defect_is_told_without_a_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(path: str, **_: Any) -> Model:
        raise ZeroDivisionError(path)

    monkeypatch.setattr(Model, "load", broken)
    assert main(["run", "m.gguf", "-p", "x"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("tabagent: error: unexpected ZeroDivisionError: m.gguf")
    assert error.count("\n") == 1


def test_interrupt_ends_with_130_and_stops_the_stream(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    model = FakeModel([["a", KeyboardInterrupt()]])
    monkeypatch.setattr(Model, "load", loader(model))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert main(["run", "m.gguf", "-p", "x"]) == 130
    assert capsys.readouterr() == ("a\n", "")
    assert model.streams[0].closed


def test_broken_pipe_ends_with_141_and_stops_the_stream(fake: FakeModel, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def gone(_: str) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("tabagent.cli.run.write_text", gone)
    assert main(["run", "m.gguf", "-p", "x"]) == 141
    assert capsys.readouterr().err == ""
    assert fake.streams[0].closed


def test_characters_that_stdout_cannot_hold_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Model, "load", loader(FakeModel(["né☃"])))
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", out)
    assert main(["run", "m.gguf", "-p", "x"]) == 0
    assert out.buffer.getvalue() == b"n\\xe9\\u2603\n"


@pytest.fixture
def chat_model(fake: FakeModel) -> FakeModel:
    """The scripted model with a chat template in its file."""
    fake.metadata["tokenizer.chat_template"] = "{{ messages }}"
    return fake


def test_models_with_a_template_are_asked_by_it(chat_model: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.gguf", "-p", "Hel"]) == 0
    assert chat_model.text_of(0) == "<user>Hel<assistant>"
    capsys.readouterr()


def test_system_messages_come_first_and_the_whole_prompt_is_shown(chat_model: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.gguf", "-p", "Hel", "-sys", "Be brief.", "--display-prompt"]) == 0
    assert chat_model.text_of(0) == "<system>Be brief.<user>Hel<assistant>"
    assert capsys.readouterr().out.startswith("<system>Be brief.<user>Hel<assistant>")


@pytest.mark.parametrize("flag", ["--raw", "-no-cnv", "--no-conversation"])
def test_raw_text_is_continued(chat_model: FakeModel, flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.gguf", "-p", "Hel", flag, "--display-prompt"]) == 0
    assert chat_model.text_of(0) == "Hel"
    assert capsys.readouterr().out.startswith("Hel")


def test_a_system_message_without_a_place_is_wrong_usage(fake: FakeModel, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "m.gguf", "-p", "x", "-sys", "s"]) == 2
    assert "this model's file has no chat template" in capsys.readouterr().err
    fake.metadata["tokenizer.chat_template"] = "x"
    assert main(["run", "m.gguf", "-p", "x", "-sys", "s", "--raw"]) == 2
    assert "leave `--raw` out" in capsys.readouterr().err
