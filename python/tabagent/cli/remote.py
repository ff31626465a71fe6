"""The header of a GGUF file on a server: metadata and tensor table, without the tensors."""

import http.client
import logging
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from email.message import Message
from http import HTTPStatus
from typing import IO, TYPE_CHECKING, Any, Final
from typing import cast as typed

from tabagent._fetch import WEB, FetchError, Redirects
from tabagent.errors import GgufError

if TYPE_CHECKING:
    from tabagent import _native

__all__ = ["RemoteFile", "is_remote", "read_header"]

LOG: Final = logging.getLogger("tabagent.cli")
FIRST_BYTES: Final = 256 * 1024
"""Bytes of the first request. Metadata without a vocabulary nearly always fits."""

MAX_BYTES: Final = 512 * 1024 * 1024
"""No header is larger; a file that claims more is damaged."""

CONNECTIONS: Final = 8
"""Parts that are fetched at a time."""

MAX_PARTS: Final = 1000
"""The largest models have a few hundred; headers of more would take too much memory."""

PART: Final = re.compile(r"-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf(?=$|[?#])")
TIMEOUT_S: Final = 30.0
SCHEMES: Final = ("https://", "http://", "hf://", "hf:")


def is_remote(name: str) -> bool:
    """Whether a name is an address and not a path."""
    return name.startswith(SCHEMES)


class RemoteFile:
    """A file on a server that is read from its beginning, each byte once."""

    def __init__(self, address: str) -> None:
        self.name = address
        self._url, self._headers = _resolved(address)
        self._token_host = _host(address, self._url)
        self._tag: str | None = None
        self.size: int | None = None
        self.data = b""

    def fetch(self, needed: int) -> None:
        """Have at least the first `needed` bytes here, or all if there are fewer.

        Raises:
            OSError: the server cannot be reached or refuses.
            GgufError: the file has changed meanwhile, or its header is implausibly large.
        """
        if needed > MAX_BYTES:
            message = f"`{self.name}` claims a header of {needed:,} bytes; no model's is over {MAX_BYTES:,}, so the file is damaged"
            raise GgufError(message)
        start = len(self.data)
        if start >= needed or start == self.size:
            return
        try:
            self._take(start, needed)
        except FetchError:
            raise
        except (http.client.HTTPException, ValueError, OverflowError) as error:
            message = f"the server of `{self.name}` answers with what is no HTTP, or the address is wrong: {_reason(error)}"
            raise FetchError(message) from error
        except OSError as error:
            message = f"reading `{self.name}` failed: {_reason(error)}; try again"
            raise FetchError(message) from error

    def _take(self, start: int, needed: int) -> None:
        """Fetch the bytes from `start` on; connection errors pass through unchanged."""
        with self._request(start, needed) as response:
            if response.status == HTTPStatus.PARTIAL_CONTENT:
                first, total = _range(response.headers)
                if first != start:
                    message = f"the server of `{self.name}` sends another part of the file than was asked for; download it first"
                    raise FetchError(message)
            elif response.status == HTTPStatus.OK:  # a server without ranges sends the whole file: skip what is here already
                total = _number(response.headers.get("Content-Length"))
                _skip(response, start)
            else:
                raise FetchError(_refusal(self.name, response.status))
            if total is None:
                message = f"the server of `{self.name}` does not say how large the file is, so its header cannot be checked; download it first"
                raise FetchError(message)
            self._check_unchanged(response.headers, total)
            self.size = total
            # The rest is not read: the connection is closed instead.
            self.data += _read(response, min(needed, total) - start, self.name)

    def _check_unchanged(self, headers: Message, total: int) -> None:
        tag = headers.get("ETag")
        if self.size is not None and (self.size, self._tag) != (total, tag):
            message = f"`{self.name}` was replaced while it was read; try again"
            raise GgufError(message)
        self._tag = tag

    def _request(self, start: int, end: int) -> Any:
        request = urllib.request.Request(self._url, headers={"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"})  # noqa: S310 (schemes are checked)
        for name, value in self._headers.items():
            # Not sent on to another server: the hub redirects to a store, which needs no token and must not see it.
            request.add_unredirected_header(name, value)
        LOG.debug("fetching bytes %d to %d of %s", start, end - 1, self._url)
        try:
            redirects = Redirects(self._token_host, self._headers, keeps_encryption=True)
            return urllib.request.build_opener(redirects).open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            raise FetchError(_refusal(self.name, error.code, error.msg)) from error
        except urllib.error.URLError as error:
            message = f"cannot reach the server of `{self.name}`: {_reason(error.reason)}"
            raise FetchError(message) from error


def read_header(address: str) -> "_native.GgufFile":
    """The metadata and tensor table of the model at an address; fetches its beginning, and more only as far as it is needed.

    Of a model in several files, named by any of them, the beginnings of all are fetched.

    Raises:
        GgufError: it is no intact GGUF file, or the parts do not belong together.
        OSError: the server cannot be reached or refuses.
    """
    from tabagent import _native  # noqa: PLC0415 (not needed for `--help`)

    named, file = _beginning(address)
    addresses = part_addresses(address)
    count = file.value("split.count") if "split.count" in file.keys() else 1  # noqa: SIM118 (the compiled class is no mapping)
    # A part that was renamed, or a whole model whose name looks like a part's, is shown as it is.
    if count != len(addresses) or count < 2:
        return file
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        parts = list(pool.map(lambda other: named if other == address else _beginning(other)[0], addresses))
    return _native.GgufFile.from_beginnings([(part.data, typed("int", part.size), _file_name(part.name)) for part in parts])


def part_addresses(address: str) -> list[str]:
    """The addresses of all parts of a model in several files, in order, given that of any one; any other address alone."""
    found = PART.search(address)
    if found is None or not 1 <= int(found["number"]) <= int(found["count"]) <= MAX_PARTS:
        return [address]
    start, end = found.span("number")
    return [f"{address[:start]}{number:05}{address[end:]}" for number in range(1, int(found["count"]) + 1)]


def _beginning(address: str) -> "tuple[RemoteFile, _native.GgufFile]":
    """The beginning of a file, as long as its header, and the header read from it."""
    from tabagent import _native  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    remote = RemoteFile(address)
    needed = FIRST_BYTES
    while True:
        remote.fetch(needed)
        file = _native.GgufFile.from_beginning(remote.data, typed("int", remote.size), _file_name(address))
        if not isinstance(file, int):
            return remote, file
        # The length of a vocabulary shows only string by string; asking for twice as much each time keeps the requests few.
        needed = max(file, len(remote.data) * 2)


def _resolved(address: str) -> tuple[str, dict[str, str]]:
    """The URL and the headers to send with it."""
    if not address.startswith("hf:"):
        return address, {}
    from huggingface_hub import get_token, hf_hub_url  # noqa: PLC0415 (slow to import, and only needed here)

    owner, _, rest = address.removeprefix("hf:").removeprefix("//").partition("/")
    repository, _, file = rest.partition("/")
    repository, _, revision = repository.partition("@")
    if not (owner and repository and file) or "*" in file:
        message = f"`{address}` does not name a file; write `hf://OWNER/REPO/FILE.gguf`"
        raise ValueError(message)
    url = hf_hub_url(f"{owner}/{repository}", file, revision=revision or None, endpoint=os.environ.get("HF_ENDPOINT") or None)
    token = get_token()
    return url, {"Authorization": f"Bearer {token}"} if token else {}


def _file_name(address: str) -> str:
    return urllib.parse.unquote(urllib.parse.urlsplit(address).path.rpartition("/")[2]) or address


def _host(address: str, url: str) -> str:
    """The server that an address names.

    Raises:
        FetchError: it names none, or is not of the web.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        is_web = parts.scheme in WEB and bool(parts.hostname)
    except ValueError:  # such as of brackets that do not match
        is_web = False
    if not is_web:
        message = f"`{address}` is no address of a file on a server; write `https://SERVER/PATH`"
        raise FetchError(message)
    return parts.netloc


def _range(headers: Message) -> tuple[int | None, int | None]:
    """The first byte and the whole file's size from `Content-Range: bytes 0-99/1234`."""
    part, _, total = (headers.get("Content-Range") or "").partition("/")
    return _number(part.removeprefix("bytes").strip().partition("-")[0]), _number(total.strip())


def _number(text: str | None) -> int | None:
    """The number of at most 18 digits that a server writes."""
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 19 else None


def _reason(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _skip(response: IO[bytes], count: int) -> None:
    while count > 0:
        piece = response.read(min(count, 1 << 20))
        if not piece:
            break
        count -= len(piece)


def _read(response: IO[bytes], count: int, name: str) -> bytes:
    pieces = []
    while count > 0:
        piece = response.read(min(count, 1 << 20))
        if not piece:
            message = f"the server of `{name}` sends less of the file than it says; try again"
            raise FetchError(message)
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _refusal(name: str, status: int, text: str = "") -> str:
    if 300 <= status < 400:
        # urllib appends what the server says, in further lines.
        why = (text or "").partition("\n")[0].rstrip(".").strip()
        return f"the server of `{name}` sends on to nowhere, in a circle, or to no web address (status {status}: {why})"
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return f"`{name}` is private or restricted (status {status}); log in with `hf auth login` or set `HF_TOKEN`"
    if status == HTTPStatus.NOT_FOUND:
        return f"there is no `{name}` (status {status})"
    return f"the server of `{name}` refuses (status {status})"
