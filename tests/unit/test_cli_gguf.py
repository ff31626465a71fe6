"""`tabagent gguf`, and `tabagent info` of files on a server."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import pytest

from support.tiny_models import tiny_llama
from tabagent import gguf
from tabagent.cli import main
from tabagent.cli.failure import UsageError
from tabagent.cli.gguf import parse_assignment, parse_size
from tabagent.cli.remote import FIRST_BYTES, part_addresses

Out = pytest.CaptureFixture[str]


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_llama().to_bytes())
    return path


def test_sizes_and_assignments_are_read() -> None:
    assert [parse_size(text) for text in ("7", "2G", "1.5 kib", "10MB")] == [7, 2_000_000_000, 1536, 10_000_000]
    assert parse_assignment("a.b:u32=x=y") == ("a.b", "u32", "x=y")
    assert parse_assignment("a=") == ("a", None, "")
    for wrong in ("0", "-1", "2 stones", ""):
        with pytest.raises(UsageError):
            parse_size(wrong)
    for wrong in ("a", "=1"):
        with pytest.raises(UsageError):
            parse_assignment(wrong)


def test_set_metadata_keeps_types_and_says_how(tiny: Path, capsys: Out) -> None:
    assert main(["gguf", "set-metadata", str(tiny), "llama.context_length=77"]) == 0
    assert capsys.readouterr().err == f"tabagent: changed `{tiny}` in place\n"
    template = tiny.with_suffix(".jinja")
    template.write_text("{{ 'é' }}\n", encoding="utf-8")
    changes = ["general.name=12", f"tokenizer.chat_template=@{template}", "new.list=[1, 2]", "new.text=words", "new.flag=true", "new.small:u8=3"]
    assert main(["gguf", "set-metadata", str(tiny), *changes, "--remove", "general.file_type"]) == 0
    assert capsys.readouterr().err == f"tabagent: wrote `{tiny}`\n"
    metadata = gguf.open(tiny, check="full").metadata
    assert (metadata["llama.context_length"], metadata["general.name"], metadata["tokenizer.chat_template"]) == (77, "12", "{{ 'é' }}\n")
    assert [metadata[f"new.{name}"] for name in ("list", "text", "flag", "small")] == [[1, 2], "words", True, 3]
    assert metadata.type("new.small") == "u8"
    assert "general.file_type" not in metadata


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "there is nothing to change"),
        (["novalue"], 2, "`novalue` sets nothing"),
        (["llama.context_length=many"], 2, "`many` is no value of type `u32`"),
        (["llama.context_length=-1"], 1, "does not fit in `u32`"),
        (["a:u99=1"], 1, "`u99` is no type of metadata"),
        (["--remove", "absent"], 1, "has no metadata `absent`"),
    ],
)
def test_set_metadata_refuses_in_one_line(arguments: list[str], code: int, text: str, tiny: Path, capsys: Out) -> None:
    before = tiny.read_bytes()
    assert main(["gguf", "set-metadata", str(tiny), *arguments]) == code
    error = capsys.readouterr().err
    assert text in error
    assert error.count("\n") == 1
    assert tiny.read_bytes() == before


def test_split_and_merge_are_inverse(tiny: Path, tmp_path: Path, capsys: Out) -> None:
    assert main(["gguf", "split", str(tiny), str(tmp_path / "part"), "--max-size", "20K", "--no-tensor-first-split"]) == 0
    parts = capsys.readouterr().out.splitlines()
    assert all(Path(part).is_file() for part in parts)
    assert main(["info", parts[-1], "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (len(report["parts"]), report["problem"], report["tensor_count"]) == (len(parts), None, 20)
    moved = tmp_path / "elsewhere" / Path(parts[1]).name
    moved.parent.mkdir()
    moved.write_bytes(Path(parts[1]).read_bytes())
    assert main(["info", str(moved)]) == 0
    out = capsys.readouterr().out
    assert f"part 2 of {len(parts)}" in out
    assert "put the missing ones beside it" in out
    assert main(["gguf", "merge", parts[1], str(tmp_path / "whole.gguf")]) == 0
    assert (tmp_path / "whole.gguf").read_bytes() == tiny.read_bytes()
    assert main(["gguf", "split", str(tiny), "x"]) == 2
    assert main(["gguf", "split", str(tiny), "x", "--max-tensors", "0"]) == 2


def test_a_manifest_is_verified(tiny: Path, capsys: Out) -> None:
    assert main(["gguf", "hash", str(tiny)]) == 0
    lines = capsys.readouterr().out
    assert lines.count("\n") == 20 + 2
    manifest = tiny.with_suffix(".manifest")
    manifest.write_text(lines)
    assert main(["gguf", "verify", str(tiny), "--manifest", str(manifest)]) == 0
    assert "is in order" in capsys.readouterr().err
    data = bytearray(tiny.read_bytes())
    data[-40] ^= 1
    tiny.write_bytes(data)
    assert main(["gguf", "verify", str(tiny), "--manifest", str(manifest), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert [problem.split(" has ")[0] for problem in report["problems"]] == ["tensor `blk.1.ffn_down.weight`", "the weights", "file `tiny.gguf`"]
    assert main(["gguf", "hash", str(tiny), "--json", "--no-tensors"]) == 0
    assert set(json.loads(capsys.readouterr().out)) == {"file", "weights", "files"}


def test_verify_says_where_a_file_is_damaged(tiny: Path, capsys: Out) -> None:
    tiny.write_bytes(tiny.read_bytes()[:-64])
    assert main(["gguf", "verify", str(tiny)]) == 1
    assert "at byte" in capsys.readouterr().err
    assert main(["gguf", "verify", str(tiny), "--level", "deep"]) == 2


def test_diff_tells_differences_and_ends_with_1(tiny: Path, capsys: Out) -> None:
    other = tiny.with_name("other.gguf")
    gguf.edit_metadata(tiny, {"general.name": "two"}, output=other)
    assert main(["gguf", "diff", str(tiny), str(tiny)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["gguf", "diff", str(tiny), str(other)]) == 1
    assert capsys.readouterr().out == "key `general.name` is `tiny` in the first file and `two` in the second\n"
    assert main(["gguf", "diff", str(tiny), str(other), "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["differences"]) == 1


@pytest.mark.parametrize("command", ["set-metadata", "split", "merge", "hash", "diff", "verify"])
def test_help_has_examples(command: str, capsys: Out) -> None:
    assert main(["gguf", command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"   tabagent gguf {command}" in out[out.index("Examples:") :]


@dataclass
class Server:
    """Files by path, and what was asked for and sent."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    sent: int = 0
    ranges: bool = True


class Handler(http.server.BaseHTTPRequestHandler):
    server_state: ClassVar[Server]

    def do_GET(self) -> None:
        state = self.server_state
        state.asked.append((self.path, self.headers.get("Range"), self.headers.get("Authorization")))
        if self.path.startswith("/owner/repo/resolve/"):
            self.send_response(302)
            # Another host by name: the token must not go there.
            self.send_header("Location", state.url.replace("127.0.0.1", "localhost") + "/" + self.path.rpartition("/")[2])
            self.end_headers()
            return
        data = state.files.get(self.path.lstrip("/"))
        if data is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        if asked and state.ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            part = data[int(first) : int(last) + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{int(first) + len(part) - 1}/{len(data)}")
        else:
            part = data
            self.send_response(200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", '"one"')
        self.end_headers()
        for start in range(0, len(part), 1 << 16):
            try:
                self.wfile.write(part[start : start + (1 << 16)])
            except OSError:  # the client has read enough
                return
            state.sent += len(part[start : start + (1 << 16)])

    def log_message(self, *args: object) -> None:
        """Nothing on stderr."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()
    handler = type("BoundHandler", (Handler,), {"server_state": state})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        state.url = f"http://127.0.0.1:{web.server_address[1]}"
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
        yield state
        web.shutdown()
        thread.join()


def large_model() -> bytes:
    """A header of some 700 KiB, and 40 MiB of tensors."""
    writer = gguf.GgufWriter().set("general.architecture", "llama").set("general.name", "large")
    writer.set("tokenizer.ggml.tokens", [f"token number {number}" for number in range(25_000)])
    return writer.add_tensor("t", bytes(40 << 20), type="I8", shape=(40, 1 << 20)).to_bytes()


def test_info_of_an_address_fetches_only_the_header(server: Server, capsys: Out) -> None:
    server.files["large.gguf"] = data = large_model()
    assert main(["info", f"{server.url}/large.gguf", "--json", "--tensors"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["name"], report["vocabulary"], report["size"]) == ("large", 25_000, len(data))
    assert report["tensors"][0]["shape"] == [1 << 20, 40]
    header = data.index(b"token number 24999") + 100
    assert FIRST_BYTES < header < server.sent < 3 * header
    starts = [int((asked or "").removeprefix("bytes=").partition("-")[0]) for _, asked, _ in server.asked]
    assert starts == sorted(set(starts)), "a byte was fetched twice"


def test_info_of_a_model_in_parts_fetches_the_headers_of_all(server: Server, tiny: Path, tmp_path: Path, capsys: Out) -> None:
    parts = gguf.split(tiny, tmp_path / "part", max_tensors=7)
    server.files |= {part.name: part.read_bytes() for part in parts}
    assert main(["info", str(parts[0]), "--json", "--tensors"]) == 0
    here = json.loads(capsys.readouterr().out)
    for part in parts:
        address = f"{server.url}/{part.name}"
        assert main(["info", address, "--json", "--tensors"]) == 0
        assert json.loads(capsys.readouterr().out) == {**here, "file": address}
    assert main(["info", f"{server.url}/{parts[1].name}"]) == 0
    assert f"{len(parts)} parts" in capsys.readouterr().out
    del server.files[parts[2].name]
    assert main(["info", f"{server.url}/{parts[0].name}"]) == 1
    assert f"there is no `{server.url}/{parts[2].name}`" in capsys.readouterr().err
    # Another model's part in the place of one.
    server.files[parts[2].name] = parts[1].read_bytes()
    assert main(["info", f"{server.url}/{parts[0].name}"]) == 1
    assert "split.no" in capsys.readouterr().err
    server.files["only-00001-of-00009.gguf"] = tiny.read_bytes()
    assert main(["info", f"{server.url}/only-00001-of-00009.gguf", "--metadata", "general.name"]) == 0


def test_parts_at_an_address_have_their_numbers_in_the_name() -> None:
    assert part_addresses("https://h/a-00002-of-00003.gguf?x=1") == [f"https://h/a-0000{number}-of-00003.gguf?x=1" for number in (1, 2, 3)]
    for alone in ("https://h/a.gguf", "https://h/a-00004-of-00003.gguf", "https://h/a-00001-of-00003.gguf/b", "hf://o/r/a-00001-of-99999.gguf"):
        assert part_addresses(alone) == [alone]


def test_the_byte_order_is_converted_there_and_back(tiny: Path, tmp_path: Path, capsys: Out) -> None:
    big, back = tmp_path / "big.gguf", tmp_path / "back.gguf"
    assert main(["gguf", "convert-endian", str(tiny), str(big), "--to", "big"]) == 0
    assert main(["info", str(big), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["byte_order"] == "big"
    assert main(["gguf", "convert-endian", str(big), str(back), "--to", "little"]) == 0
    assert back.read_bytes() == tiny.read_bytes()
    assert main(["gguf", "convert-endian", str(big), str(back), "--to", "big"]) == 1
    assert "is big-endian already" in capsys.readouterr().err
    assert main(["gguf", "convert-endian", str(big), str(back), "--to", "middle"]) == 2


def test_info_of_a_server_without_ranges_closes_the_connection(server: Server, capsys: Out) -> None:
    server.ranges = False
    server.files["large.gguf"] = data = large_model()
    assert main(["info", f"{server.url}/large.gguf", "--metadata", "general.name"]) == 0
    assert capsys.readouterr().out == "large\n"
    assert server.sent < len(data)


def test_info_of_a_hub_file_sends_the_token_to_the_hub_only(server: Server, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out) -> None:
    server.files["tiny.gguf"] = tiny.read_bytes()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert main(["info", "hf://owner/repo/tiny.gguf", "--metadata", "general.name"]) == 0
    assert capsys.readouterr().out == "tiny\n"
    assert [(path, token) for path, _, token in server.asked] == [
        ("/owner/repo/resolve/main/tiny.gguf", "Bearer hf_secret"),
        ("/tiny.gguf", None),
    ]


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("{url}/absent.gguf", "there is no `{url}/absent.gguf` (status 404)"),
        ("{url}/text.gguf", "a GGUF file starts with `GGUF`"),
        ("{url}/cut.gguf", "cut off"),
        ("hf://owner/repo", "does not name a file"),
        ("http://127.0.0.1:1/x.gguf", "cannot reach the server"),
    ],
)
def test_info_of_a_wrong_address_is_one_line(address: str, text: str, server: Server, tiny: Path, capsys: Out) -> None:
    server.files |= {"text.gguf": b"<html>hello</html>" * 9, "cut.gguf": tiny.read_bytes()[:300]}
    assert main(["info", address.format(url=server.url)]) == 1
    error = capsys.readouterr().err
    assert text.format(url=server.url) in error
    assert error.count("\n") == 1


def test_counts_of_one_are_singular_and_temporary_files_are_not_named(tiny: Path, tmp_path: Path, capsys: Out) -> None:
    assert main(["gguf", "merge", str(tiny), str(tmp_path / "whole.gguf")]) == 0
    assert "of 1 part, " in capsys.readouterr().err
    assert main(["gguf", "merge", str(tiny), str(tmp_path / "missing" / "whole.gguf")]) == 1
    missing = tmp_path / "missing"
    assert capsys.readouterr().err == f"tabagent: error: `{missing / 'whole.gguf'}`: there is no directory `{missing}`; make it first\n"


@pytest.mark.parametrize(("number", "name"), [(15, "Q4_K_M"), (15 + 1024, "Q4_K_M"), (39, "NVFP4"), (33, "type 33")])
def test_info_names_the_file_type(number: int, name: str, tiny: Path, capsys: Out) -> None:
    gguf.edit_metadata(tiny, {"general.file_type": number})
    assert main(["info", str(tiny), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["file_type"] == name


def test_help_and_documents_list_the_types_of_the_core(capsys: Out) -> None:
    for command, types in ((["convert"], gguf.OUT_TYPES), (["gguf", "merge-lora"], gguf.MERGE_TYPES)):
        assert main([*command, "--help"]) == 0
        shown = capsys.readouterr().out.replace("\n", " ")
        assert all(name in shown for name in types)
