"""Slots by number, and saving, restoring and erasing what they have; adapters by number."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from server.http import ask
from tabagent import Model, Server

pytestmark = pytest.mark.model

PROMPT: Final = "The quick brown fox jumps over the lazy dog. "


@pytest.fixture
def server(smollm2_path: Path, tmp_path: Path) -> Iterator[Server]:
    with (
        Model.load(smollm2_path, context_size=1024, sequence_size=256, max_sequences=2, threads=1) as model,
        Server(model, port=0, slots=True, slot_save_path=tmp_path) as server,
    ):
        yield server


def complete(server: Server, prompt: str, slot: int | None, **more: Any) -> Any:
    body = {"prompt": prompt, "n_predict": 4, "temperature": 0, **({} if slot is None else {"id_slot": slot}), **more}
    reply = ask(server, "POST", "/completion", body)
    assert reply.status == 200, reply.body
    return reply.json()


def test_each_slot_has_its_part(server: Server) -> None:
    slots = ask(server, "GET", "/slots").json()
    assert [(slot["id"], slot["n_ctx"], slot["is_processing"]) for slot in slots] == [(0, 256, False), (1, 256, False)]
    assert ask(server, "GET", "/props").json()["default_generation_settings"]["n_ctx"] == 256
    reply = ask(server, "POST", "/completion", {"prompt": "word " * 300})
    assert (reply.status, reply.json()["error"]["n_ctx"]) == (400, 256)
    made = complete(server, "Once", None, n_predict=-1, ignore_eos=True)
    assert made["tokens_evaluated"] + made["tokens_predicted"] in (256, 257)


def test_a_slot_is_saved_restored_and_erased(server: Server, tmp_path: Path) -> None:
    first = complete(server, PROMPT * 3 + "Then it", 1)
    assert (first["id_slot"], first["timings"]["cache_n"]) == (1, 0)
    saved = ask(server, "POST", "/slots/1?action=save", {"filename": "one.bin"}).json()
    assert saved["n_saved"] == first["timings"]["prompt_n"] + first["timings"]["predicted_n"]
    assert (saved["id_slot"], saved["filename"], saved["n_written"]) == (1, "one.bin", (tmp_path / "one.bin").stat().st_size)
    restored = ask(server, "POST", "/slots/0?action=restore", {"filename": "one.bin"}).json()
    assert (restored["n_restored"], restored["n_read"]) == (saved["n_saved"], saved["n_written"])
    again = complete(server, PROMPT * 3 + "Then he", 0)
    assert again["timings"]["cache_n"] > again["timings"]["prompt_n"]
    erased = ask(server, "POST", "/slots/0?action=erase").json()
    assert (erased["id_slot"], erased["n_erased"] > 0) == (0, True)
    whole = complete(server, PROMPT * 3 + "Then it", 0)
    assert (whole["timings"]["cache_n"], whole["content"]) == (0, first["content"])


def test_a_slot_that_was_not_asked_for_can_be_saved(server: Server) -> None:
    made = complete(server, PROMPT, None)
    saved = ask(server, "POST", f"/slots/{made['id_slot']}?action=save", {"filename": "any.bin"}).json()
    assert saved["n_saved"] == made["timings"]["prompt_n"] + made["timings"]["predicted_n"]


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/slots/0?action=save", {"filename": "../out.bin"}, "`filename` must be the name of a file"),
        ("/slots/0?action=save", {"filename": "a/b"}, "`filename` must be the name of a file"),
        ("/slots/0?action=save", {}, "`filename` is missing"),
        ("/slots/0?action=save", {"filename": "x.bin"}, "slot 0 has nothing to save"),
        ("/slots/0?action=restore", {"filename": "none.bin"}, "none.bin"),
        ("/slots/9?action=erase", {}, "`id_slot` must be between 0 and 1"),
        ("/slots/x?action=erase", {}, "`x` is no slot"),
        ("/slots/0?action=burn", {}, "`action` must be `save`, `restore` or `erase`"),
        ("/slots/0", {}, "`action` must be"),
    ],
)
def test_wrong_actions_are_refused(server: Server, tmp_path: Path, path: str, body: Any, text: str) -> None:
    reply = ask(server, "POST", path, body)
    assert (reply.status, text in reply.json()["error"]["message"]) == (400, True), reply.body
    assert str(tmp_path) not in reply.body.decode()


def test_a_file_that_is_no_slot_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "wrong.bin").write_bytes(b"x" * 100)
    reply = ask(server, "POST", "/slots/0?action=restore", {"filename": "wrong.bin"})
    assert (reply.status, reply.json()["error"]["param"]) == (400, "filename")
    assert complete(server, PROMPT, 0)["timings"]["predicted_n"] == 4


def test_slots_are_not_saved_without_a_folder(steady_server: Server) -> None:
    reply = ask(steady_server, "POST", "/slots/0?action=save", {"filename": "x.bin"})
    assert (reply.status, "--slot-save-path" in reply.json()["error"]["message"]) == (501, True)


def test_a_slot_serves_one_request_at_a_time(server: Server) -> None:
    wrong = ask(server, "POST", "/completion", {"prompt": "a", "id_slot": 2})
    assert (wrong.status, wrong.json()["error"]["param"]) == (400, "id_slot")
    chat = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2, "id_slot": 1}
    assert ask(server, "POST", "/v1/chat/completions", chat).status == 200
    assert complete(server, PROMPT, -1)["id_slot"] in (0, 1)


def test_a_text_goes_on_past_its_context_where_the_server_shifts(smollm2_path: Path) -> None:
    with (
        Model.load(smollm2_path, context_size=256, max_sequences=1, threads=1) as model,
        Server(model, port=0, overflow="shift") as server,
    ):
        made = complete(server, PROMPT * 12, None, n_predict=200, ignore_eos=True)
        assert made["tokens_predicted"] == 200
        assert made["tokens_evaluated"] + 200 > 256
    with pytest.raises(ValueError, match="overflow"):
        Server({"small": smollm2_path}, overflow="cut")  # type: ignore[arg-type]
