"""transformers' own renderer, which ours is compared with."""

import datetime as dt
import warnings
from dataclasses import dataclass
from typing import Any

import jinja2
from transformers.utils import chat_template_utils

PINNED = dt.datetime(2026, 3, 5, 14, 7, 9)  # noqa: DTZ001


class PinnedDate(dt.datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: dt.tzinfo | None = None) -> "PinnedDate":
        assert tz is None
        return cls(PINNED.year, PINNED.month, PINNED.day, PINNED.hour, PINNED.minute, PINNED.second)


setattr(chat_template_utils, "datetime", PinnedDate)  # noqa: B010 (the module does not export it)


@dataclass(frozen=True)
class Outcome:
    """What a render gave: a text, or an error with its line."""

    text: str | None = None
    error: BaseException | None = None
    line: int | None = None

    @property
    def refused(self) -> bool:
        """Whether the template itself raised."""
        return type(self.error) is jinja2.exceptions.TemplateError


def line_of(error: BaseException) -> int | None:
    if isinstance(error, jinja2.exceptions.TemplateSyntaxError):
        return error.lineno
    found, frame = None, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == "<template>":
            found = frame.tb_lineno
        frame = frame.tb_next
    return found


def render(
    template: str,
    messages: list[dict[str, Any]],
    *,
    tools: Any = None,
    documents: Any = None,
    add_generation_prompt: Any = True,
    continue_final_message: Any = False,
    **variables: Any,
) -> Outcome:
    """Renders as `PreTrainedTokenizer.apply_chat_template` does."""
    try:
        rendered: Any = chat_template_utils.render_jinja_template(
            conversations=[chat_template_utils._normalize_chat_messages(messages)],
            tools=None if tools is None else list(tools),
            documents=documents,
            chat_template=template,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            **variables,
        )
    except Exception as error:  # noqa: BLE001
        return Outcome(error=error, line=line_of(error))
    return Outcome(text=rendered[0][0])


def render_expression(template: str, variables: dict[str, Any]) -> Outcome:
    """Renders any template with any variables."""
    try:
        with warnings.catch_warnings():
            # Python warns of odd operations on literals in what Jinja compiles.
            warnings.simplefilter("ignore", SyntaxWarning)
            return Outcome(text=chat_template_utils._compile_jinja_template(template).render(**variables))
    except Exception as error:  # noqa: BLE001
        return Outcome(error=error, line=line_of(error))
