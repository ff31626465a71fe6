"""Which model a command line means."""

from dataclasses import dataclass
from typing import Final, Literal

from tabagent.cli.failure import UsageError

__all__ = ["ModelSource", "model_path"]

ANY_FILE: Final = "*.gguf"
DEMO: Final = "demo"


def model_path(name: str) -> str:
    """The path that a name stands for: for `demo` that of the demo model, which is downloaded if it is not here; any other is a path itself.

    Raises:
        FetchError: the demo model cannot be downloaded.
    """
    if name != DEMO:
        return name
    from tabagent._demo import find_demo_model  # noqa: PLC0415 (brings the code for downloads)
    from tabagent.cli.progress import ProgressBar  # noqa: PLC0415 (only needed here)

    with ProgressBar("downloading the demo model", in_bytes=True, patience_s=0.0) as bar:
        return str(find_demo_model(bar.bytes))


@dataclass(frozen=True)
class ModelSource:
    """A model by path, the demo model, or a file of a repository on the Hugging Face Hub."""

    kind: Literal["file", "demo", "hub"]
    name: str
    """The path, `demo`, or `owner/repo`."""
    pattern: str = ""
    """The file's name, or a pattern for it, inside of the repository."""

    @classmethod
    def parse(cls, model: str | None, hf: str | None, hf_file: str | None) -> "ModelSource":
        """Read `MODEL`, or `--hf` with `--hf-file`.

        Raises:
            UsageError: no model, two of them, or something that is no repository.
        """
        if hf is not None:
            if model is not None:
                message = f"`{model}` and `--hf {hf}` both name a model; give one of them"
                raise UsageError(message)
            return cls._hub(hf.removeprefix("hf:"), hf_file, f"--hf {hf}")
        if hf_file is not None:
            message = "`--hf-file` needs `--hf OWNER/REPO`"
            raise UsageError(message)
        if model is None or model == "":
            message = "there is no model; give the path of a GGUF file, `demo`, or `hf:OWNER/REPO/FILE`"
            raise UsageError(message)
        if model == DEMO:
            return cls("demo", model)
        if model.startswith("hf:"):
            owner, _, rest = model[3:].partition("/")
            repository, _, pattern = rest.partition("/")
            return cls._hub(f"{owner}/{repository}", pattern, model)
        return cls("file", model)

    @classmethod
    def _hub(cls, repository: str, pattern: str | None, given: str) -> "ModelSource":
        parts = repository.split("/")
        if len(parts) != 2 or not all(parts):
            message = f"`{given}` does not name a repository; write `OWNER/REPO`"
            raise UsageError(message)
        return cls("hub", repository, pattern or ANY_FILE)

    def __str__(self) -> str:
        """As it is typed."""
        return f"hf:{self.name}/{self.pattern}" if self.kind == "hub" else self.name
