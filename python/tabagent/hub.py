"""Models by the name of their repository on the Hugging Face Hub."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch, fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tabagent import log
from tabagent._arguments import as_path, as_text, type_name
from tabagent.errors import ModelLoadError, ModelNotFoundError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["fetch_model"]

SHARD: Final = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)
SHOWN: Final = 12
NO_MODELS: Final = ("mmproj", "imatrix")
"""Words in the names of files that lie beside models: projectors for images and sound, and importance matrices. A pattern with such a word asks for
them."""


def fetch_model(
    repo_id: str,
    filename: str = "*.gguf",
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
) -> str:
    """The local path of one model of a repository, downloading what is not in the cache; of a split model the first part's path.

    `filename` is a file or a shell pattern, matched against file names and paths in the repository, without regard to case if nothing fits
    otherwise. Projectors (`mmproj`) and importance matrices (`imatrix`) are left out unless it has that word. Exactly one model must match; the parts
    of a split model count as one. Cache, tokens, progress bars, mirrors and offline mode are huggingface_hub's own (`HF_HOME`, `HF_TOKEN`,
    `HF_ENDPOINT`, `HF_HUB_OFFLINE`, `HF_HUB_DISABLE_PROGRESS_BARS`). Without a connection the cache is used.

    Raises:
        TypeError: an argument has the wrong type.
        ModelNotFoundError: there is no such repository, revision or file, or it is not in the cache and the network is off.
        ModelLoadError: several models match, or a download failed.
    """
    as_text(repo_id, "repo_id")
    as_text(filename, "filename")
    if revision is not None:
        as_text(revision, "revision")
    repository = _Repository(repo_id, revision, token=token, cache_dir=cache_dir, local_files_only=local_files_only)
    files = _files_of_one_model(repo_id, filename, repository.files())
    paths = [repository.fetch(file) for file in files]
    return paths[0]


class _Repository:
    """One revision of a repository; errors of huggingface_hub become ours here."""

    def __init__(
        self, repo_id: str, revision: str | None, *, token: str | bool | None, cache_dir: str | os.PathLike[str] | None, local_files_only: bool
    ) -> None:
        from huggingface_hub import constants  # noqa: PLC0415 (slow to import, and only needed here)

        self.repo_id = repo_id
        self.revision = revision
        self.token = token
        self.cache_dir = None if cache_dir is None else Path(as_path(cache_dir, "cache_dir"))
        self.is_offline = local_files_only or bool(constants.HF_HUB_OFFLINE)

    def files(self) -> list[str]:
        """The repository's files: from the Hub, or those in the cache."""
        from huggingface_hub import HfApi  # noqa: PLC0415 (optional, and slow to import)
        from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415 (optional, and slow to import)

        if self.is_offline:
            return self._cached_files(None)
        try:
            return [file.rfilename for file in HfApi(token=self.token).model_info(self.repo_id, revision=self.revision).siblings or ()]
        except HfHubHTTPError as error:
            if _status(error) < 500:  # the Hub has answered
                raise self._explained(error) from error
            return self._cached_files(error)
        except ValueError as error:
            raise self._explained(error) from error
        except Exception as error:  # noqa: BLE001 (whatever the HTTP client in use raises when there is no connection)
            return self._cached_files(error)

    def fetch(self, file: str) -> str:
        """One file's path in the cache."""
        from huggingface_hub import hf_hub_download  # noqa: PLC0415 (optional, and slow to import)

        try:
            return hf_hub_download(
                self.repo_id, file, revision=self.revision, cache_dir=self.cache_dir, token=self.token, local_files_only=self.is_offline
            )
        except Exception as error:
            raise self._explained(error, file) from error

    def _cached_files(self, reason: Exception | None) -> list[str]:
        """The files of the revision that are in the cache."""
        from huggingface_hub import snapshot_download  # noqa: PLC0415 (optional, and slow to import)

        try:
            # No file matches this pattern: nothing is to be downloaded, only the folder to be found.
            folder = Path(
                snapshot_download(
                    self.repo_id, revision=self.revision, cache_dir=self.cache_dir, local_files_only=True, allow_patterns=["/"], token=self.token
                )
            )
        except Exception as error:  # noqa: BLE001 (it is raised again in other words)
            cause = reason or error
            raise self._explained(cause) from cause
        if reason is not None:
            log.package_log.warning("cannot reach the hub (%s); looking for `%s` in the cache", _first_line(reason), self.repo_id)
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]

    def _explained(self, error: Exception, file: str | None = None) -> ModelLoadError:
        """Our error for one of huggingface_hub: what failed, and what to do."""
        from huggingface_hub import errors  # noqa: PLC0415 (optional, and slow to import)

        what = f"`{self.repo_id}`" if file is None else f"`{file}` of `{self.repo_id}`"
        at = f" at revision `{self.revision}`" if self.revision else ""
        cases: tuple[tuple[type[Exception], type[ModelLoadError], Callable[[], str]], ...] = (
            (
                errors.GatedRepoError,
                ModelLoadError,
                lambda: f"access to {what} is restricted; accept its terms on its page, then log in with `hf auth login` or set `HF_TOKEN`",
            ),
            (
                errors.RepositoryNotFoundError,
                ModelNotFoundError,
                lambda: f"there is no repository {what}, or it is private; check the name, and for a private one set `HF_TOKEN`",
            ),
            (errors.RevisionNotFoundError, ModelNotFoundError, lambda: f"{what} has no revision `{self.revision}`; check the branch, tag or commit"),
            (
                errors.LocalEntryNotFoundError,
                ModelNotFoundError,
                lambda: (
                    f"{what}{at} is not in the cache and the network is off or cannot be reached; fetch it once with a connection "
                    "(`HF_HUB_OFFLINE` unset), or load a file by its path"
                ),
            ),
            (errors.EntryNotFoundError, ModelNotFoundError, lambda: f"there is no file {what}{at}"),
            (errors.HFValidationError, ModelLoadError, lambda: f"`{self.repo_id}` is no repository name ({_first_line(error)}); write `owner/name`"),
        )
        for kind, ours, text in cases:
            if isinstance(error, kind):
                return ours(text())
        return ModelLoadError(f"cannot fetch {what}{at}: {_first_line(error)}; check the connection, `HF_ENDPOINT` and the free disk space")


def _files_of_one_model(repo_id: str, filename: str, files: Sequence[str]) -> list[str]:
    """The files of the one model that a pattern means, first part first."""
    there = [file for file in files if file.lower().endswith(".gguf")]
    unnamed = [word for word in NO_MODELS if word not in filename.lower()]
    models = [file for file in there if not any(word in file.rpartition("/")[2].lower() for word in unnamed)]
    matching = [file for file in models if _matches(file, filename, fnmatchcase)]
    matching = matching or [file for file in models if _matches(file.lower(), filename.lower(), fnmatch)]
    groups: dict[str, list[str]] = {}
    for file in sorted(matching):
        parts = list(_parts(file))
        groups.setdefault(parts[0], parts)
    if not groups:
        has = f"it has {_listed(models or there)}" if there else "it has no GGUF files at all"
        message = f"no GGUF file of `{repo_id}` matches `{filename}`; {has}"
        raise ModelNotFoundError(message)
    if len(groups) > 1:
        message = f"{len(groups)} models of `{repo_id}` match `{filename}`: {_listed(list(groups))}; give a narrower pattern or a whole file name"
        raise ModelLoadError(message)
    (parts,) = groups.values()
    missing = [part for part in parts if part not in files]
    if missing:
        message = f"`{repo_id}` lacks {_listed(missing)} of the split model `{parts[0]}`; without all parts it cannot be loaded"
        raise ModelNotFoundError(message)
    return parts


def _parts(file: str) -> Iterator[str]:
    """All parts of the split model that a file belongs to; the file alone if it is whole."""
    match = SHARD.fullmatch(file)
    if match is None:
        yield file
        return
    count, ending = int(match["count"]), file[-5:]
    for number in range(1, max(count, 1) + 1):
        yield f"{match['stem']}-{number:05}-of-{match['count']}{ending}"


def _matches(file: str, pattern: str, match: Callable[[str, str], bool]) -> bool:
    return match(file, pattern) or match(file.rpartition("/")[2], pattern)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown


def _status(error: Exception) -> int:
    """The HTTP status that an error of huggingface_hub stands for; 0 if there was no answer."""
    status = getattr(getattr(error, "response", None), "status_code", 0)
    return status if isinstance(status, int) else 0


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return text.splitlines()[0].rstrip(".") if text else type_name(error)
