"""What `tabagent run` was told about the text's form, as the package's own arguments."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from tabagent.cli.arguments import argument_text
from tabagent.cli.escapes import unescape
from tabagent.cli.failure import UsageError
from tabagent.cli.options import option
from tabagent.cli.prompt_source import decode_utf8

if TYPE_CHECKING:
    from tabagent import Trigger

__all__ = ["StructureOptions", "structure_of", "trigger_of"]

FORM: Final = "Form of the text (one of these)"
TRIGGER: Final = "Where the form begins (if not at once)"


@dataclass(frozen=True, kw_only=True)
class StructureOptions:
    """What the text must look like, and where that begins."""

    json_schema: Annotated[
        str | None,
        option(FORM, "--json-schema", "-j", metavar="FILE|JSON", text="JSON that fits a schema: a file, or the schema itself; `{}` for any."),
    ] = None
    grammar: Annotated[
        str | None, option(FORM, "--grammar", metavar="FILE|TEXT", text="What a grammar allows, in GBNF (with a rule `root ::=`) or Lark.")
    ] = None
    regex: Annotated[str | None, option(FORM, "--regex", metavar="REGEX", text="What matches a regular expression, as a whole.")] = None
    choices: Annotated[list[str] | None, option(FORM, "--choices", metavar="TEXT", text="One of these texts; to be given several times.")] = None
    trigger: Annotated[
        list[str] | None,
        option(TRIGGER, "--trigger", metavar="TEXT", text="Any text until this one, such as </think>; given several times: until the first."),
    ] = None
    trigger_token: Annotated[list[int] | None, option(TRIGGER, "--trigger-token", metavar="ID", min=0, text="The same with a token's number.")] = None
    trigger_then: Annotated[
        str,
        option(TRIGGER, "--trigger-then", metavar="stop|free", text="After the form: the end, or any text up to the next trigger (default stop)."),
    ] = "stop"
    trigger_optional: Annotated[bool, option(TRIGGER, "--trigger-optional", text="Let the model end its text before a trigger has come.")] = False

    def arguments(self, *, escape: bool) -> dict[str, Any]:
        """The arguments of `Model.generate` that they stand for; with `escape` triggers are written with escapes.

        Raises:
            UsageError, OSError: as for `structure_of` and `trigger_of`.
        """
        texts = [unescape(text) if escape else text for text in self.trigger or ()]
        trigger = trigger_of(texts, self.trigger_token or (), then=self.trigger_then, optional=self.trigger_optional)
        return structure_of(self.json_schema, self.grammar, self.regex, self.choices, trigger=trigger)


def structure_of(
    json_schema: str | None, grammar: str | None, regex: str | None, choices: Sequence[str] | None, *, trigger: "Trigger | None" = None
) -> dict[str, Any]:
    """The arguments of `Model.generate` that say what the text must look like; none if nothing was asked for.

    Raises:
        UsageError: more than one form was asked for, a trigger but no form, or the schema is neither a file nor JSON, or no schema,
            or the grammar is neither a file nor has rules.
        OSError: a file cannot be read.
    """
    given = {"json_schema": json_schema, "grammar": grammar, "regex": regex, "choices": list(choices) if choices else None}
    asked = {name: value for name, value in given.items() if value is not None}
    if len(asked) > 1:
        flags = " and ".join(f"`--{name.replace('_', '-')}`" for name in asked)
        message = f"{flags} were given; the text can have one form only"
        raise UsageError(message)
    if json_schema is not None:
        asked["json_schema"] = _schema(json_schema)
    if grammar is not None:
        asked["grammar"] = _grammar(grammar)
    if trigger is None:
        return asked
    if not asked:
        message = "`--trigger` says where a form begins, and none was given; add `--json-schema`, `--grammar`, `--regex` or `--choices`"
        raise UsageError(message)
    return {**asked, "trigger": trigger}


def trigger_of(texts: Sequence[str], tokens: Sequence[int], *, then: str, optional: bool) -> "Trigger | None":
    """Where the form begins; None if that is at the first token.

    Raises:
        UsageError: there is no text and no token to wait for, but something is said about it; or one of them cannot be waited for.
    """
    if not texts and not tokens:
        if then != "stop" or optional:
            message = (
                f"`{'--trigger-optional' if optional else '--trigger-then'}` was given without `--trigger` and `--trigger-token`; add one of them"
            )
            raise UsageError(message)
        return None
    if then not in {"stop", "free"}:
        message = f"`--trigger-then {then}` is neither `stop` nor `free`"
        raise UsageError(message)
    if "" in texts:
        message = "`--trigger` needs a text; leave it out if the form begins at once"
        raise UsageError(message)
    from tabagent import Trigger  # noqa: PLC0415 (brings the compiled core, which `--help` does not need)

    return Trigger((*texts, *tokens), then="free" if then == "free" else "stop", required=not optional)


def _schema(given: str) -> Any:
    text, is_file = _file_or_text(given, "`--json-schema`")
    try:
        schema = json.loads(text)
    except RecursionError as error:
        message = "`--json-schema` nests too deeply; put the inner schemas under `$defs` and refer to them with `$ref`"
        raise UsageError(message) from error
    except ValueError as error:
        what = f"the file `{given}` holds no JSON" if is_file else f"`--json-schema {text:.40}` is neither a file nor JSON"
        message = f"{what}: {error}"
        raise UsageError(message) from error
    if not isinstance(schema, (dict, bool)):
        message = f"`--json-schema` must be a JSON object, such as `{{}}` for any JSON, not `{text.strip():.40}`"
        raise UsageError(message)
    return schema


def _grammar(given: str) -> str:
    text, is_file = _file_or_text(given, "`--grammar`")
    if not is_file and ":" not in text:  # no rule is written without one
        message = f'`--grammar {text:.80}` is neither a file nor a grammar, which has rules such as `root ::= "yes" | "no"`'
        raise UsageError(message)
    return text


def _file_or_text(given: str, option: str) -> tuple[str, bool]:
    """A file's text if there is such a file; else what was given, which is the text itself. Says whether it is a file's."""
    path = os.path.expanduser(given)  # noqa: PTH111 (a grammar's text may be no valid path)
    try:
        is_file = Path(path).is_file()
    except (OSError, ValueError):
        is_file = False
    try:
        return (decode_utf8(Path(path).read_bytes(), f"the file `{given}`") if is_file else argument_text(given, option)), is_file
    except ValueError as error:
        raise UsageError(str(error)) from error
