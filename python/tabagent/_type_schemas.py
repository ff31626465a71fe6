"""Types as JSON schemas that say all that pydantic will ask of a text, as far as a schema can.

pydantic's own schemas describe an API to people and leave much to validation: the digits of a decimal, the scheme of a URL, the version of a UUID,
the tag of a union that has a default. A model that follows such a schema writes texts which the type then refuses.
"""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Final, Literal, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

__all__ = ["TypeSchema", "culprit", "with_tags"]

DIGITS: Final = 15
"""Digits that a double holds exactly: decimals are read through one."""
LARGEST: Final = 10**30
"""Bounds of numbers that must be finite: with an exponent they could go beyond what a double holds."""
YEAR: Final = r"([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
LEAP_YEAR: Final = r"([0-9]{2}(0[48]|[2468][048]|[13579][26])|(0[48]|[2468][048]|[13579][26])00)"
DAY: Final = r"((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8]))"
DATE: Final = rf"({YEAR}-{DAY}|{LEAP_YEAR}-02-29)"
TIME: Final = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?"
OFFSET: Final = r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
CLOCK: Final = r"(([0-9]{1,4}H)([0-9]{1,4}M)?([0-9]{1,4}S)?|([0-9]{1,4}M)([0-9]{1,4}S)?|[0-9]{1,4}(\.[0-9]{1,6})?S)"
DURATION: Final = rf"P([0-9]{{1,6}}D(T{CLOCK})?|T{CLOCK})"
HOST: Final = r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?(\.[a-z]([a-z0-9-]{0,30}[a-z0-9])?)*(:[1-9][0-9]{0,3})?"
PATH: Final = r"(/[A-Za-z0-9._~-]*)*(\?[A-Za-z0-9._~=&-]*)?(#[A-Za-z0-9._~-]*)?"
KEYS: Final = {"integer": r"^(0|-?[1-9][0-9]{0,17})$", "number": r"^-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?$", "boolean": "^(true|false)$"}
SIZE: Final = r"[0-9]{1,12}(\.[0-9]{1,3})?( ?([KMGTPE]?B|[KMGTPE]iB))?"
STRIPPED: Final = r"^([^\s\u0085]([\s\S]*[^\s\u0085])?)?$"
"""No white space at either end."""
UNENFORCED: Final = {
    "import_string": "import-string",
    "PathType.validate_new": "new-path",
    "PathType.validate_socket": "socket-path",
    "PaymentCardNumber.validate": "payment-card-number",
}
"""pydantic's own validators of texts that no schema can describe, and the formats by which they are named as not enforced."""
BOUNDS: Final = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


class UnreadableField(PydanticInvalidForJsonSchema):
    """An error that names its field already."""


class TypeSchema(GenerateJsonSchema):
    """Makes the schema of a type. What cannot be read from JSON is an error that names the field."""

    # An alternative that JSON cannot write is left out, and defaults play no part.
    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 (as the base class has it)

    def generate_inner(self, schema: Any) -> JsonSchemaValue:
        """The schema of a part; where a validator of pydantic's asks for more than a schema can say, a format names that."""
        out = super().generate_inner(schema)
        validator = _own_validator(schema)
        if validator == "ByteSize._validate":
            return {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": f"^{SIZE}$"}]}
        return {**out, "format": UNENFORCED[validator]} if validator in UNENFORCED else out

    # Numbers

    def float_schema(self, schema: Any) -> JsonSchemaValue:
        """A number; a finite one within what is finite."""
        return super().float_schema(schema) if schema.get("allow_inf_nan", True) else _within(super().float_schema(schema))

    def decimal_schema(self, schema: Any) -> JsonSchemaValue:
        """A number with no more digits than allowed."""
        out: JsonSchemaValue = {"type": "number"}
        for name, keyword in BOUNDS.items():
            if schema.get(name) is not None:
                out[keyword] = _plain(schema[name])
        if schema.get("multiple_of") is not None:
            out["multipleOf"] = _plain(schema["multiple_of"])
        digits, places = schema.get("max_digits"), schema.get("decimal_places")
        if digits is None and places is None:
            return _within(out)
        if places is None:
            return {"allOf": [out, {"anyOf": [_digits(digits - count, count) for count in range(min(digits, DIGITS) + 1)]}]}
        return {"allOf": [out, _digits(max((digits or DIGITS) - places, 0), min(places, DIGITS))]}

    # Texts

    def str_schema(self, schema: Any) -> JsonSchemaValue:
        """A text; one that is stripped before it is checked has no white space to strip, so that lengths and patterns stay true."""
        out = super().str_schema(schema)
        stripped = schema.get("strip_whitespace", getattr(getattr(self, "_config", None), "str_strip_whitespace", False))
        return {"allOf": [out, {"pattern": STRIPPED}]} if stripped and {"minLength", "pattern"} & set(out) else out

    def bytes_schema(self, schema: Any) -> JsonSchemaValue:
        """Characters of one byte each: lengths are counted in bytes."""
        least, most = schema.get("min_length"), schema.get("max_length")
        if least is None and most is None:
            return super().bytes_schema(schema)
        return {"type": "string", "pattern": f"^[ -~]{{{least or 0},{'' if most is None else most}}}$"}

    def date_schema(self, schema: Any) -> JsonSchemaValue:
        """A date of the years that Python has; whether it is in the past or the future is named as a format that nothing enforces."""
        return _moment(DATE, schema)

    def time_schema(self, schema: Any) -> JsonSchemaValue:
        """A time, without leap seconds, which Python has not."""
        zone = schema.get("tz_constraint")
        return _moment(TIME + ("" if zone == "naive" else OFFSET if zone == "aware" else f"{OFFSET}?"), schema)

    def datetime_schema(self, schema: Any) -> JsonSchemaValue:
        """A date and time, with or without an offset as the type asks for."""
        return _moment(f"{DATE}T{TIME}" + ("" if schema.get("tz_constraint") == "naive" else OFFSET), schema)

    def timedelta_schema(self, schema: Any) -> JsonSchemaValue:
        """A duration in days and less: a timedelta has no years and months, and no more than a billion days."""
        plain = super().timedelta_schema(schema)
        return {"type": "string", "pattern": f"^{DURATION}$"} if plain.get("type") == "string" else plain

    def uuid_schema(self, schema: Any) -> JsonSchemaValue:
        """A UUID of the version that the type asks for."""
        version = schema.get("version")
        if version is None:
            return super().uuid_schema(schema)
        return {"type": "string", "pattern": f"^[0-9a-f]{{8}}-[0-9a-f]{{4}}-{version}[0-9a-f]{{3}}-[89ab][0-9a-f]{{3}}-[0-9a-f]{{12}}$"}

    def url_schema(self, schema: Any) -> JsonSchemaValue:
        """A URL of one of the schemes that the type asks for."""
        schemes = schema.get("allowed_schemes")
        if not schemes:
            return super().url_schema(schema)
        host = "" if set(schemes) == {"file"} else HOST
        path = "(/[A-Za-z0-9._~-]+)+" if set(schemes) == {"file"} else PATH
        out: JsonSchemaValue = {"type": "string", "pattern": f"^({'|'.join(schemes)})://{host}{path}$"}
        if schema.get("max_length") is not None:
            out["maxLength"] = schema["max_length"]
        return out

    def json_schema(self, schema: Any) -> JsonSchemaValue:  # noqa: ARG002 (the base class has it)
        """A text that is JSON itself, which is named as a format that nothing enforces."""
        return {"type": "string", "format": "json-string"}

    # Values

    def literal_schema(self, schema: Any) -> JsonSchemaValue:
        """The values that can be read from JSON: members of most enumerations cannot."""
        readable = [value for value in schema["expected"] if not isinstance(value, enum.Enum) or _reads(value)]
        if not readable:
            message = f"`{schema['expected'][0]}` cannot be read from JSON; use its enumeration as the type, or its plain value"
            raise PydanticInvalidForJsonSchema(message)
        kept: Any = {**schema, "expected": readable}
        return super().literal_schema(kept)

    def complex_schema(self, schema: Any) -> JsonSchemaValue:  # noqa: ARG002 (the base class has it)
        """A number, which stands for itself."""
        return _within({"type": "number"})

    def is_subclass_schema(self, schema: Any) -> JsonSchemaValue:
        """No JSON stands for a class."""
        message = f"a subclass of `{schema['cls'].__name__}` cannot be read from JSON; leave it out"
        raise PydanticInvalidForJsonSchema(message)

    def chain_schema(self, schema: Any) -> JsonSchemaValue:
        """The first step of a chain; lists and objects cannot be hashed, if that is asked for."""
        asks_for_hash = any(step["type"] == "is-instance" and step["cls"] is Hashable for step in schema["steps"])
        return {"type": ["string", "number", "boolean", "null"]} if asks_for_hash else super().chain_schema(schema)

    # Objects

    def dict_schema(self, schema: Any) -> JsonSchemaValue:
        """A mapping, whose keys can be read as the type asks for."""
        out = super().dict_schema(schema)
        # Keys with a pattern: pydantic lets all others be anything.
        patterns = out.pop("patternProperties", {})
        for pattern, values in patterns.items():
            out["propertyNames"], out["additionalProperties"] = {"pattern": pattern}, values
        if "keys_schema" in schema and "propertyNames" not in out:
            pattern = KEYS.get(self.generate_inner(schema["keys_schema"]).get("type", ""))
            if pattern is not None:
                out["propertyNames"] = {"pattern": pattern}
        return out

    def model_fields_schema(self, schema: Any) -> JsonSchemaValue:
        """The fields of a model."""
        self._check_fields(schema.get("model_name"), schema["fields"].items())
        return super().model_fields_schema(schema)

    def typed_dict_schema(self, schema: Any) -> JsonSchemaValue:
        """The items of a typed dictionary."""
        self._check_fields(schema.get("cls_name"), schema["fields"].items())
        return super().typed_dict_schema(schema)

    def dataclass_args_schema(self, schema: Any) -> JsonSchemaValue:
        """The fields of a dataclass."""
        self._check_fields(schema.get("dataclass_name"), ((field["name"], field) for field in schema["fields"]))
        return super().dataclass_args_schema(schema)

    def _check_fields(self, owner: object, fields: Iterable[tuple[str, Any]]) -> None:
        for name, field in fields:
            label = f"field `{owner}.{name}`" if owner else f"field `{name}`"
            alias = field.get("validation_alias")
            # A list of places: one of them with more than one step leads into another value, unless a plain name comes first.
            first = alias[0] if isinstance(alias, list) and alias else None
            if isinstance(alias, list) and (len(first) > 1 if isinstance(first, list) else len(alias) > 1):
                message = f"{label} takes its value from inside of another one (`AliasPath`), which a schema cannot say; give it a name of its own"
                raise UnreadableField(message)
            try:
                self.generate_inner(field)
            except UnreadableField:
                raise
            except PydanticInvalidForJsonSchema as error:
                message = f"{label}: {error.message}"
                raise UnreadableField(message) from error


def culprit(kind: Any) -> str | None:
    """The field of a class that pydantic has no schema for, if it is one."""
    try:
        hints = get_type_hints(kind, include_extras=True)
    except (NameError, TypeError, AttributeError):
        return None
    for name, annotation in hints.items():
        try:
            TypeAdapter(annotation)
        except PydanticUserError:
            return f"{kind.__name__}.{name}"
        except Exception:  # noqa: BLE001, S112 (an annotation that cannot be looked at alone tells nothing)
            continue
    return None


def with_tags(schema: Any) -> Any:
    """A schema in which each member of a union by a tag must have its tag, also where that has a default: without it pydantic finds no member."""
    definitions: dict[str, Any] = schema.get("$defs", {}) if isinstance(schema, dict) else {}
    _require_tags(schema, definitions)
    return schema


def _require_tags(part: Any, definitions: Mapping[str, Any]) -> None:
    if isinstance(part, list):
        for item in part:
            _require_tags(item, definitions)
    if not isinstance(part, dict):
        return
    discriminator = part.get("discriminator")
    tag = discriminator.get("propertyName") if isinstance(discriminator, dict) else None
    if isinstance(tag, str):
        for member in part.get("oneOf", ()):
            _require(member, tag, definitions)
    for value in part.values():
        _require_tags(value, definitions)


def _require(member: Any, tag: str, definitions: Mapping[str, Any]) -> None:
    reference = member.get("$ref") if isinstance(member, dict) else None
    if isinstance(reference, str):
        member = definitions.get(reference.removeprefix("#/$defs/"), {})
    for inner in member.get("oneOf", ()):
        _require(inner, tag, definitions)
    if tag in member.get("properties", {}) and tag not in member.get("required", ()):
        member["required"] = [*member.get("required", ()), tag]


def _own_validator(schema: Any) -> str | None:
    """The name of the validator of a part, if it is one of pydantic's own."""
    function = schema.get("function")
    function = function.get("function") if isinstance(function, dict) else None
    is_own = str(getattr(function, "__module__", "")).partition(".")[0] == "pydantic"
    return getattr(function, "__qualname__", None) if is_own else None


def _plain(number: Any) -> int | float:
    return int(number) if number == int(number) else float(number)


def _within(schema: JsonSchemaValue) -> JsonSchemaValue:
    out = dict(schema)
    if not {"minimum", "exclusiveMinimum"} & set(out):
        out["minimum"] = -LARGEST
    if not {"maximum", "exclusiveMaximum"} & set(out):
        out["maximum"] = LARGEST
    return out


def _digits(whole: int, places: int) -> JsonSchemaValue:
    """Numbers of so many digits before and after the point."""
    limit = 10 ** min(whole, DIGITS)
    return {"multipleOf": 1 if places == 0 else float(f"1e-{places}"), "exclusiveMinimum": -limit, "exclusiveMaximum": limit}


def _moment(pattern: str, schema: Any) -> JsonSchemaValue:
    out: JsonSchemaValue = {"type": "string", "pattern": f"^{pattern}$"}
    bounded = any(schema.get(name) is not None for name in BOUNDS)
    return {**out, "format": schema.get("now_op") or "within-bounds"} if schema.get("now_op") or bounded else out


def _reads(member: enum.Enum) -> bool:
    try:
        only: Any = Literal[member]
        TypeAdapter(only).validate_json(json.dumps(member.value))
    except (ValidationError, TypeError, ValueError):
        return False
    return not (isinstance(member.value, float) and not math.isfinite(member.value))
