"""Files of a Python package index, fetched by name and SHA-256.

Standard library only, and of the rest of the package only `_cache_path`: the build backend loads both files by their paths, so that there is a
single copy of the code that talks to an index.

The index may answer with the JSON form (PEP 691) or the HTML form (PEP 503). Proxies are taken from the usual environment variables and
certificates from `SSL_CERT_FILE` and `SSL_CERT_DIR`, as Python's own `urllib` and `ssl` do.
"""

from __future__ import annotations

import base64
import configparser
import contextlib
import errno
import filecmp
import hashlib
import http.client
import json
import os
import re
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, Any, BinaryIO, Final, TypeVar

from tabagent._cache_path import cache_path

__all__ = [
    "WEB",
    "FetchError",
    "HashMismatchError",
    "IndexFile",
    "NotInIndexError",
    "OfflineError",
    "Progress",
    "Redirects",
    "atomic_file",
    "cache_folder",
    "fetch",
    "index_url",
    "is_offline",
    "make_folder",
    "sha256_of",
    "terminal_progress",
]

T = TypeVar("T")

Progress = Callable[[int, "int | None"], None]
"""Called with the bytes done so far and the bytes in all (`None` when the server does not say)."""

DEFAULT_INDEX: Final = "https://pypi.org/simple"
ATTEMPTS: Final = 3
TIMEOUT_SECONDS: Final = 60.0
RETRY_PAUSE_SECONDS: float = 1.0
CHUNK_BYTES: Final = 1 << 18
ACCEPT: Final = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
TRUE_WORDS: Final = frozenset({"1", "true", "yes", "on"})
HTTP_NOT_FOUND: Final = 404
HTTP_SERVER_ERROR: Final = 500
MAX_PAGE_BYTES: Final = 64 << 20
"""No page of an index is longer."""

MAX_FILE_BYTES: Final = 4 << 30
"""No file that is fetched is larger."""

LOCAL_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EIO})
"""What writing fails with, which no other attempt mends."""

WEB: Final = ("http", "https")
RETRIED_STATUS: Final = frozenset({408, 425, 429})


class FetchError(OSError):
    """A file could not be fetched; the text says why and what to do."""


class OfflineError(FetchError):
    """A download is needed, but the environment forbids the network."""


class NotInIndexError(FetchError):
    """The index does not know the project or does not hold the file."""


class HashMismatchError(FetchError):
    """The bytes are not the pinned ones."""


@dataclass(frozen=True)
class IndexFile:
    """One file of a project in a package index, pinned by its content."""

    project: str
    file_name: str
    sha256: str


def is_offline() -> bool:
    """Whether `TABAGENT_OFFLINE` or `HF_HUB_OFFLINE` forbids downloads."""
    return any(os.environ.get(name, "").strip().lower() in TRUE_WORDS for name in ("TABAGENT_OFFLINE", "HF_HUB_OFFLINE"))


def cache_folder() -> Path:
    """The folder for everything that is fetched or built once.

    `TABAGENT_CACHE` if set, else `$XDG_CACHE_HOME/tabagent`, else `~/.cache/tabagent`. It need not exist.

    Raises:
        FetchError: a `~` in it stands for no home directory.
    """
    try:
        return Path(cache_path())
    except LookupError as error:
        raise FetchError(error.args[0]) from error


def make_folder(folder: Path) -> None:
    """Make a folder of the cache, and those above it.

    Raises:
        FetchError: the system refuses.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"cannot make the cache folder `{folder}`: {reason}; set `TABAGENT_CACHE` to a folder that can be written"
        raise FetchError(message) from error


def index_url() -> str:
    """The package index: `PIP_INDEX_URL`, else `UV_DEFAULT_INDEX`, else `index-url` of pip's configuration files, else the official one."""
    for name in ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"):
        if url := os.environ.get(name, "").strip():
            return url.rstrip("/")
    return (_pip_configured_index() or DEFAULT_INDEX).rstrip("/")


def _pip_config_files() -> list[Path]:
    """Where pip looks for its configuration, the strongest last (https://pip.pypa.io/en/stable/topics/configuration/)."""
    chosen = os.environ.get("PIP_CONFIG_FILE", "")
    if chosen == os.devnull:
        return []
    files = [Path(chosen)] if chosen else []
    if sys.platform == "win32":
        files += [Path(os.environ[name], "pip", "pip.ini") for name in ("PROGRAMDATA", "APPDATA") if name in os.environ]
        return [*files, Path(sys.prefix, "pip.ini")]
    system = [folder for folder in os.environ.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep) if folder]
    files += [Path(folder, "pip", "pip.conf") for folder in reversed(system)]
    files.append(Path("/etc/pip.conf"))
    with contextlib.suppress(RuntimeError):  # no home directory
        home = Path.home()
        files += [home / ".pip" / "pip.conf", Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config", "pip", "pip.conf")]
        if sys.platform == "darwin":
            files.append(home / "Library" / "Application Support" / "pip" / "pip.conf")
    return [*files, Path(sys.prefix, "pip.conf")]


def _pip_configured_index() -> str | None:
    """`index-url` of pip's configuration, section `install` before `global`; a file that cannot be read or parsed counts as absent."""
    found: dict[str, str] = {}
    for file in _pip_config_files():
        parser = configparser.RawConfigParser()
        with contextlib.suppress(OSError, UnicodeDecodeError, configparser.Error):
            parser.read_string(file.read_text(encoding="utf-8"))
            for section in ("global", "install"):
                if url := parser.get(section, "index-url", fallback="").strip():
                    found[section] = url
    return found.get("install") or found.get("global")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's content, as lower-case hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


@contextlib.contextmanager
def atomic_file(destination: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name only when the block ends without an exception.

    The bytes go to a temporary file in the same folder, which is flushed to disk and renamed, or removed.
    """
    make_folder(destination.parent)
    try:
        handle, name = tempfile.mkstemp(prefix=f".{destination.name}.", suffix=".part", dir=destination.parent)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"cannot write to the folder `{destination.parent}`: {reason}; set `TABAGENT_CACHE` to a folder that can be written"
        raise FetchError(message) from error
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        _put_in_place(temporary, destination)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _put_in_place(temporary: Path, destination: Path) -> None:
    """Rename the file, over an older one if there is one. Windows refuses that while a program has the older one open."""
    try:
        temporary.replace(destination)
    except PermissionError as error:
        if sys.platform != "win32" or not destination.is_file():
            raise
        if filecmp.cmp(temporary, destination, shallow=False):
            # Another process was faster, and uses its copy.
            temporary.unlink()
            return
        reason = (error.strerror or str(error)).lower()
        message = f"cannot replace `{destination}`: {reason}; if the file is open in a program, or loaded as a model, close it there first"
        raise FetchError(message) from error


def fetch(wanted: IndexFile, destination: Path, *, progress: Progress | None = None, remedy: str = "") -> Path:
    """Put the pinned file at `destination`, downloading it unless it is there already.

    An existing file is trusted only if its hash is the pinned one. `remedy` ends every error text: what else the user can do.

    Raises:
        OfflineError: a download is needed and `TABAGENT_OFFLINE` or `HF_HUB_OFFLINE` is set.
        NotInIndexError: the index has no such project or file.
        HashMismatchError: the index offers, or sent, other bytes than the pinned ones.
        FetchError: the network failed three times.
    """
    if destination.is_file() and sha256_of(destination) == wanted.sha256:
        return destination
    hint = f"; {remedy}" if remedy else ""
    if is_offline():
        message = (
            f"`{wanted.file_name}` is not in the cache and downloads are off (`TABAGENT_OFFLINE` or `HF_HUB_OFFLINE` is set); unset it once{hint}"
        )
        raise OfflineError(message)
    index = index_url()
    url, advertised = _retrying(lambda: _find(index, wanted, hint), f"read the index page of `{wanted.project}`", index, hint)
    if advertised is not None and advertised != wanted.sha256:
        raise _wrong_hash(wanted, advertised, f"the index `{_redacted(index)}` offers", hint)
    _retrying(lambda: _download(url, wanted, destination, progress, hint), f"download `{wanted.file_name}`", url, hint)
    return destination


def _retrying(action: Callable[[], T], what: str, url: str, hint: str) -> T:
    """Run `action` up to three times while it fails for reasons that may pass."""
    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(RETRY_PAUSE_SECONDS * attempt)
        try:
            return action()
        except FetchError:
            raise
        except urllib.error.HTTPError as error:
            error.close()
            reason = f"the server answered {error.code} {' '.join(str(error.reason).split())}"
            if error.code < HTTP_SERVER_ERROR and error.code not in RETRIED_STATUS:
                break
        except urllib.error.URLError as error:
            reason = str(error.reason)
        except (http.client.InvalidURL, ValueError, OverflowError) as error:
            reason = f"it is no address ({error})"
            break
        except (http.client.HTTPException, OSError) as error:
            if isinstance(error, OSError) and error.errno in LOCAL_ERRORS:
                message = f"cannot {what}: {(error.strerror or str(error)).lower()}; free some space, or set `TABAGENT_CACHE` to another folder{hint}"
                raise FetchError(message) from error
            reason = str(error) or type(error).__name__
    message = f"cannot {what} from `{_redacted(url)}`: {reason}; check the network, proxy and index settings (`PIP_INDEX_URL`){hint}"
    raise FetchError(message)


def _open(url: str, accept: str) -> http.client.HTTPResponse:
    """Open a URL; a user name and password in it become basic authentication."""
    parts = urllib.parse.urlsplit(url)
    secrets: dict[str, str] = {}
    if parts.username is not None:
        user = urllib.parse.unquote(parts.username)
        password = urllib.parse.unquote(parts.password or "")
        secrets["Authorization"] = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        url = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if parts.scheme not in WEB or not parts.hostname:
        message = f"the index address `{_redacted(url)}` must start with `https://` or `http://` and name a server; correct `PIP_INDEX_URL`"
        raise FetchError(message)
    request = urllib.request.Request(url, headers={"Accept": accept, "User-Agent": "tabagent"})  # noqa: S310 (the scheme is checked above)
    for name, value in secrets.items():
        request.add_unredirected_header(name, value)
    opener = urllib.request.build_opener(Redirects(urllib.parse.urlsplit(url).netloc, secrets))
    response: http.client.HTTPResponse = opener.open(request, timeout=TIMEOUT_SECONDS)
    return response


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects within the web; secret headers go along on the same server only."""

    def __init__(self, host: str, secrets: Mapping[str, str], *, keeps_encryption: bool = False) -> None:
        self._host = host
        self._secrets = secrets
        self._keeps_encryption = keeps_encryption

    def redirect_request(  # noqa: PLR0917 (urllib's own signature)
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in WEB:
            message = f"`{_redacted(req.full_url)}` leads to `{_redacted(newurl)}`, which is no web address; refused"
            raise FetchError(message)
        if self._keeps_encryption and req.full_url.startswith("https://") and scheme != "https":
            message = f"`{_redacted(req.full_url)}` leads to `{_redacted(newurl)}`, which is not encrypted; refused"
            raise FetchError(message)
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and urllib.parse.urlsplit(newurl).netloc == self._host:
            for name, value in self._secrets.items():
                following.add_unredirected_header(name, value)
        return following


def _find(index: str, wanted: IndexFile, hint: str) -> tuple[str, str | None]:
    """The file's address and the hash that the index states for it, if any."""
    name = re.sub(r"[-_.]+", "-", wanted.project).lower()
    page_url = f"{index}/{name}/"
    try:
        with _open(page_url, ACCEPT) as response:
            body = response.read(MAX_PAGE_BYTES + 1)
            if len(body) > MAX_PAGE_BYTES:
                message = f"the index `{_redacted(index)}` sends an endless page; choose another with `PIP_INDEX_URL`{hint}"
                raise FetchError(message)
            kind = response.headers.get_content_type()
            base = response.geturl()
    except urllib.error.HTTPError as error:
        if error.code == HTTP_NOT_FOUND:
            error.close()
            message = f"the index `{_redacted(index)}` has no project `{name}`; choose another with `PIP_INDEX_URL`{hint}"
            raise NotInIndexError(message) from error
        raise
    links = _json_links(body) if kind.endswith("json") else _html_links(body)
    for link, file_name, digest in links:
        if file_name == wanted.file_name:
            return _with_credentials(urllib.parse.urljoin(base, link), index), digest
    message = f"the index `{_redacted(index)}` has `{name}` but not its file `{wanted.file_name}`; choose another with `PIP_INDEX_URL`{hint}"
    raise NotInIndexError(message)


def _json_links(body: bytes) -> Iterator[tuple[str, str, str | None]]:
    """Links of a PEP 691 page: address, file name, SHA-256."""
    try:
        page = json.loads(body)
        for file in page["files"]:
            yield str(file["url"]), str(file["filename"]), file.get("hashes", {}).get("sha256")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = f"the index answered with JSON of another form than PEP 691 ({error})"
        raise OSError(message) from error


class _Anchors(HTMLParser):
    """Collects the `href` of every anchor and of a `base` element."""

    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        href = dict(attrs).get("href")
        if href and tag == "a":
            self.found.append(href)
        elif href and tag == "base" and not self.base:
            self.base = href


def _html_links(body: bytes) -> Iterator[tuple[str, str, str | None]]:
    """Links of a PEP 503 page: address, file name, SHA-256 from the fragment."""
    anchors = _Anchors()
    anchors.feed(body.decode("utf-8", errors="replace"))
    for href in anchors.found:
        address, fragment = urllib.parse.urldefrag(urllib.parse.urljoin(anchors.base, href) if anchors.base else href)
        file_name = urllib.parse.unquote(urllib.parse.urlsplit(address).path.rpartition("/")[2])
        digest = fragment.removeprefix("sha256=").lower() if fragment.startswith("sha256=") else None
        yield address, file_name, digest


def _with_credentials(url: str, index: str) -> str:
    """The file's address with the index's user name and password when both are on the same host."""
    ours, theirs = urllib.parse.urlsplit(index), urllib.parse.urlsplit(url)
    if "@" in ours.netloc and theirs.username is None and (theirs.scheme, theirs.hostname, theirs.port) == (ours.scheme, ours.hostname, ours.port):
        user_info = ours.netloc.rpartition("@")[0]
        return urllib.parse.urlunsplit(theirs._replace(netloc=f"{user_info}@{theirs.netloc}"))
    return url


def _download(url: str, wanted: IndexFile, destination: Path, progress: Progress | None, hint: str) -> None:
    """One attempt at the file; nothing stays behind when it fails."""
    with atomic_file(destination) as file:
        digest = hashlib.sha256()
        done = 0
        with _open(url, "*/*") as response:
            stated = response.headers.get("Content-Length")
            total = int(stated) if stated is not None and stated.isascii() and stated.isdigit() and len(stated) < 19 else None
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                if done > MAX_FILE_BYTES:
                    message = f"`{_redacted(url)}` sends more than {MAX_FILE_BYTES:,} bytes; choose another index with `PIP_INDEX_URL`{hint}"
                    raise FetchError(message)
                if progress is not None:
                    progress(done, total)
        if total is not None and done != total:
            message = f"the connection closed after {done:,} of {total:,} bytes"
            raise ConnectionError(message)
        if digest.hexdigest() != wanted.sha256:
            raise _wrong_hash(wanted, digest.hexdigest(), f"`{_redacted(url)}` sent", hint)


def _wrong_hash(wanted: IndexFile, found: str, who: str, hint: str) -> HashMismatchError:
    return HashMismatchError(
        f"{who} a `{wanted.file_name}` of another content: expected sha256 `{wanted.sha256}`, found `{found}`; "
        f"a proxy or mirror may have altered it, so try another index with `PIP_INDEX_URL`{hint}"
    )


def _redacted(url: str) -> str:
    """The URL without user name and password."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:  # such as of brackets that do not match
        return url.rpartition("@")[2]
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def terminal_progress(label: str) -> Progress | None:
    """A progress callback that rewrites one line of a terminal's stderr, or `None` when stderr is no terminal."""
    if not sys.stderr.isatty():
        return None
    shown = -1

    def show(done: int, total: int | None) -> None:
        nonlocal shown
        now = done * 100 // total if total else done >> 20
        if now != shown:
            shown = now
            text = f"{now:3d} % of {total / 1e6:.0f} MB" if total else f"{done / 1e6:.0f} MB"
            sys.stderr.write(f"\r{label}: {text}" + ("\n" if total and done >= total else ""))
            sys.stderr.flush()

    return show
