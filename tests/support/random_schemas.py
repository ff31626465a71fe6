"""Random JSON schemas that mix all keywords, and values that fit them or nearly do."""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy
from decimal import Decimal
from typing import Any, Final

from support.schema_oracle import parts

NAMES: Final = ("a", "b", "c", "ab", "x1", "é")
# Patterns that Python, ECMAScript and Rust read alike.
PATTERNS: Final = ("a", "^a", "b$", "^[ab]+$", "^(x|y)?1$", "^[a-c]{1,2}$", "^.{2,3}$", "é")
# A format, and a text that has it.
FORMATS: Final = {
    "date": "2024-02-29",
    "time": "12:30:00Z",
    "date-time": "2024-02-29T12:30:00Z",
    "ipv4": "127.0.0.1",
    "uuid": "2eb8aa08-aa98-11ea-b4aa-73b441d16380",
    "email": "a@b.cd",
    "duration": "P1DT2H",
}
TEXTS: Final = ("", "a", "b", "ab", "aab", "x1", "1", "é", "abc", 'q"\\', *FORMATS.values())
NUMBERS: Final = tuple(map(Decimal, ("0.5", "-0.5", "1.5", "0.1", "0.25", "2.75", "-3.5", "100.5")))
VALUES: Final[tuple[Any, ...]] = (None, True, False, 0, 1, 2, 3, -1, 10, 12, *NUMBERS[:3], *TEXTS[:6], [], [1], {}, {"a": 1}, {"b": "a"})
TYPES: Final = ("null", "boolean", "integer", "number", "string", "array", "object")
DEPTH: Final = 3


class SchemaMaker:
    """Makes one schema after another from a random source."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def document(self) -> Any:
        """A whole schema, with definitions that may refer to each other and to the whole."""
        definitions = [f"d{index}" for index in range(self.chance.choice((0, 0, 1, 2)))]
        references = ["#", *(f"#/$defs/{name}" for name in definitions)] if definitions else []
        whole = self.schema(DEPTH, references)
        if definitions and isinstance(whole, dict):
            whole["$defs"] = {name: self.schema(DEPTH - 1, references) for name in definitions}
        elif definitions:
            whole = {}
        # No object may be in two places.
        return deepcopy_of_parts(whole)

    def maybe(self, share: float) -> bool:
        return self.chance.random() < share

    def some(self, values: tuple[Any, ...], most: int) -> list[Any]:
        return self.chance.sample(values, self.chance.randint(1, most))

    def schema(self, depth: int, references: list[str]) -> Any:
        if self.maybe(0.06):
            return self.maybe(0.7)
        if references and depth < DEPTH and self.maybe(0.2):
            return self.with_sibling({"$ref": self.chance.choice(references)}, depth, references)
        if depth == 0 or self.maybe(0.12):
            return self.leaf()
        out: dict[str, Any] = {}
        makers: list[Callable[[dict[str, Any], int, list[str]], None]] = [self.numbers, self.strings, self.arrays, self.objects, self.combine]
        weights = (2, 2, 3, 5, 4)
        for make in self.chance.choices(makers, weights, k=self.chance.choice((1, 1, 1, 2, 2, 3))):
            make(out, depth - 1, references)
        return out

    def with_sibling(self, out: dict[str, Any], depth: int, references: list[str]) -> dict[str, Any]:
        if depth > 0 and self.maybe(0.3):
            self.chance.choice((self.numbers, self.strings, self.arrays, self.objects))(out, depth - 1, references)
        return out

    def leaf(self) -> dict[str, Any]:
        kind = self.chance.randrange(4)
        if kind == 0:
            return {"type": self.chance.choice(TYPES)}
        if kind == 1:
            return {"type": self.some(TYPES, 3)}
        if kind == 2:
            return {"const": self.chance.choice(VALUES)}
        return {"enum": self.some(VALUES, 5)}

    def numbers(self, out: dict[str, Any], depth: int, references: list[str]) -> None:
        if self.maybe(0.7):
            out["type"] = self.chance.choice(("integer", "number"))
        for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if self.maybe(0.35):
                out[keyword] = self.chance.choice((-3, 0, 1, 2, 12, *NUMBERS))
        if self.maybe(0.35):
            out["multipleOf"] = self.chance.choice((1, 2, 3, 5, Decimal("0.5"), Decimal("0.1"), Decimal("0.25"), Decimal("1.5")))

    def strings(self, out: dict[str, Any], depth: int, references: list[str]) -> None:
        if self.maybe(0.7):
            out["type"] = "string"
        self.bounds(out, 0.4, {"minLength": 3, "maxLength": 4})
        if self.maybe(0.5):
            out["pattern"] = self.chance.choice(PATTERNS)
        if self.maybe(0.15):
            out["format"] = self.chance.choice(tuple(FORMATS))

    def bounds(self, out: dict[str, Any], share: float, most: dict[str, int]) -> None:
        for keyword, highest in most.items():
            if self.maybe(share):
                out[keyword] = self.chance.randint(0, highest)

    def arrays(self, out: dict[str, Any], depth: int, references: list[str]) -> None:
        if self.maybe(0.7):
            out["type"] = "array"
        if self.maybe(0.4):
            out["prefixItems"] = [self.schema(depth, references) for _ in range(self.chance.randint(1, 3))]
        if self.maybe(0.5):
            out["items"] = self.schema(depth, references)
        if self.maybe(0.3):
            out["contains"] = self.schema(depth, references)
            self.bounds(out, 0.4, {"minContains": 2, "maxContains": 3})
        self.bounds(out, 0.3, {"minItems": 3, "maxItems": 4})
        if self.maybe(0.15):
            out["uniqueItems"] = self.maybe(0.8)
        if self.maybe(0.15):
            out["unevaluatedItems"] = self.maybe(0.3) or self.schema(depth, references)

    def objects(self, out: dict[str, Any], depth: int, references: list[str]) -> None:
        if self.maybe(0.7):
            out["type"] = "object"
        if self.maybe(0.8):
            out["properties"] = {name: self.schema(depth, references) for name in self.some(NAMES, 3)}
        if self.maybe(0.5):
            out["required"] = self.some(NAMES, 2)
        if self.maybe(0.25):
            out["patternProperties"] = {pattern: self.schema(depth, references) for pattern in self.some(PATTERNS, 2)}
        if self.maybe(0.45):
            out["additionalProperties"] = False if self.maybe(0.5) else self.schema(depth, references)
        if self.maybe(0.15):
            out["propertyNames"] = self.chance.choice(
                ({"pattern": self.chance.choice(PATTERNS)}, {"maxLength": self.chance.randint(1, 2)}, {"enum": self.some(NAMES, 4)}, {"minLength": 2})
            )
        self.bounds(out, 0.2, {"minProperties": 2, "maxProperties": 3})
        self.dependencies(out, depth, references)

    def dependencies(self, out: dict[str, Any], depth: int, references: list[str]) -> None:
        if self.maybe(0.15):
            out["dependentRequired"] = {name: self.some(NAMES, 2) for name in self.some(NAMES, 2)}
        if self.maybe(0.12):
            out["dependentSchemas"] = {self.chance.choice(NAMES): self.schema(depth, references)}
        if self.maybe(0.12):
            out["unevaluatedProperties"] = False if self.maybe(0.6) else self.schema(depth, references)

    def combine(self, out: dict[str, Any], depth: int, references: list[str]) -> None:
        keyword = self.chance.choice(("allOf", "anyOf", "anyOf", "oneOf", "not", "if", "enum"))
        if keyword == "enum":
            out.update(self.leaf())
        elif keyword == "not":
            out["not"] = self.schema(depth, references)
        elif keyword == "if":
            out["if"] = self.schema(depth, references)
            for branch in ("then", "else"):
                if self.maybe(0.7):
                    out[branch] = self.schema(depth, references)
        else:
            out[keyword] = [self.schema(depth, references) for _ in range(self.chance.randint(1, 3))]


def deepcopy_of_parts(schema: Any) -> Any:
    """A copy in which no object is in two places."""
    if isinstance(schema, dict):
        return {key: deepcopy_of_parts(part) for key, part in schema.items()}
    return [deepcopy_of_parts(part) for part in schema] if isinstance(schema, list) else schema


class ValueMaker:
    """Makes values that a schema asks for, more or less."""

    def __init__(self, chance: random.Random, schema: Any) -> None:
        self.chance = chance
        self.whole = schema
        self.pointers = {f"#{pointer}": part for pointer, part in parts(schema)}

    def value(self) -> Any:
        """A value that the schema may find right, changed at one place half of the time."""
        value = self.fitting(self.whole, 5)
        for _ in range(self.chance.choice((0, 0, 0, 1, 1, 2))):
            value = self.changed(value)
        return deepcopy(value)

    def fitting(self, schema: Any, depth: int) -> Any:
        if depth == 0 or not isinstance(schema, dict):
            return self.chance.choice(VALUES)
        merged = self.merged(schema, 6)
        if "const" in merged:
            return merged["const"]
        if "enum" in merged:
            return self.chance.choice(merged["enum"])
        kinds = merged.get("type", self.likely_types(merged))
        kind = self.chance.choice(kinds) if isinstance(kinds, list) else kinds
        makers: dict[str, Callable[[], Any]] = {
            "integer": lambda: self.number(merged, "integer"),
            "number": lambda: self.number(merged, "number"),
            "string": lambda: self.text(merged),
            "array": lambda: self.array(merged, depth - 1),
            "object": lambda: self.object(merged, depth - 1),
            "boolean": lambda: self.chance.random() < 0.5,
            "null": lambda: None,
        }
        return makers[kind]()

    def merged(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """The schema with what its references and combinations say, one branch taken of each."""
        out = dict(schema)
        more: list[Any] = [self.pointers.get(schema["$ref"])] if "$ref" in schema else []
        more += schema.get("allOf", [])
        more += [self.chance.choice(schema[keyword]) for keyword in ("anyOf", "oneOf") if keyword in schema]
        more += [schema[self.chance.choice(("then", "else"))] for keyword in ("if",) if keyword in schema and "then" in schema and "else" in schema]
        more += list(schema.get("dependentSchemas", {}).values())
        for part in more:
            if isinstance(part, dict) and depth > 0:
                for key, value in self.merged(part, depth - 1).items():
                    known = out.get(key)
                    if isinstance(known, dict) and isinstance(value, dict):
                        out[key] = {**value, **known}
                    elif key == "required" and isinstance(known, list):
                        out[key] = list(dict.fromkeys([*known, *value]))
                    elif key not in out or self.chance.random() < 0.5:
                        out[key] = value
        return out

    def likely_types(self, schema: dict[str, Any]) -> list[str]:
        hints = {"properties": "object", "required": "object", "items": "array", "prefixItems": "array", "contains": "array", "pattern": "string"}
        hints |= {"minimum": "number", "maximum": "integer", "multipleOf": "number", "maxLength": "string", "minLength": "string"}
        hints |= dict.fromkeys(("patternProperties", "additionalProperties", "minProperties", "dependentRequired"), "object")
        return [kind for keyword, kind in hints.items() if keyword in schema] or list(TYPES)

    def number(self, schema: dict[str, Any], kind: str) -> Any:
        low = schema.get("minimum", schema.get("exclusiveMinimum", -2))
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 5))
        choices: list[Any] = [low, high, int(low) + 1, int(high) - 1, int(low + high) // 2]
        step = schema.get("multipleOf")
        if step is not None:
            choices += [step * int(low / step), step * (int(low / step) + 1), step * int(high / step), 0]
        if kind == "number":
            choices += [Decimal(low) + Decimal("0.5"), *NUMBERS[:2]]
        else:
            choices = [int(choice) for choice in choices]
        return self.chance.choice(choices)

    def text(self, schema: dict[str, Any]) -> str:
        if "format" in schema and schema["format"] in FORMATS and self.chance.random() < 0.8:
            return FORMATS[schema["format"]]
        least = schema.get("minLength", 0)
        text = self.chance.choice(TEXTS)
        return text + "a" * max(0, least - len(text)) if self.chance.random() < 0.8 else text

    def array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        first = schema.get("prefixItems", [])
        count = self.chance.randint(schema.get("minItems", 0), max(schema.get("minItems", 0), min(schema.get("maxItems", 4), 4)))
        rest = [schema[keyword] for keyword in ("items", "contains") if keyword in schema] or [True]
        return [self.fitting(first[index] if index < len(first) else self.chance.choice(rest), depth) for index in range(count)]

    def object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        known = schema.get("properties", {})
        names = list(schema.get("required", []))
        names += [name for name in known if self.chance.random() < 0.5]
        names += [name for name in NAMES if self.chance.random() < 0.12]
        out = {}
        for name in dict.fromkeys(names):
            out[name] = self.fitting(known.get(name, schema.get("additionalProperties", True)), depth)
        most = schema.get("maxProperties", 4)
        return dict(list(out.items())[: max(most, 0)]) if self.chance.random() < 0.7 else out

    def changed(self, value: Any) -> Any:
        """The value with one thing changed."""
        if isinstance(value, dict) and value and self.chance.random() < 0.8:
            return self.changed_object(value)
        if isinstance(value, list) and value and self.chance.random() < 0.8:
            return self.changed_array(value)
        if isinstance(value, (int, Decimal)) and not isinstance(value, bool) and self.chance.random() < 0.6:
            return value + self.chance.choice((1, -1, Decimal("0.5")))
        return self.chance.choice(VALUES)

    def changed_object(self, value: dict[str, Any]) -> dict[str, Any]:
        name = self.chance.choice(list(value))
        how = self.chance.randrange(4)
        if how == 0:
            return {key: part for key, part in value.items() if key != name}
        if how == 1:
            return {**value, self.chance.choice(NAMES): self.chance.choice(VALUES)}
        return {key: self.changed(part) if key == name else part for key, part in value.items()}

    def changed_array(self, value: list[Any]) -> list[Any]:
        index = self.chance.randrange(len(value))
        how = self.chance.randrange(4)
        if how == 0:
            return value[:index] + value[index + 1 :]
        if how == 1:
            return [*value, self.chance.choice((*VALUES, value[index]))]
        return [self.changed(part) if place == index else part for place, part in enumerate(value)]


def smaller(schema: Any) -> list[Any]:
    """Schemas with one part less, the largest cuts first."""
    found: list[tuple[int, Any]] = []
    for pointer, part in parts(schema):
        if isinstance(part, (dict, list)):
            keys: Any = part if isinstance(part, dict) else range(len(part))
            found += [(len(str(part[key])), _without(schema, pointer, key)) for key in keys]
            if isinstance(part, dict) and pointer:
                found += [(len(str(part)), _replaced(schema, pointer, other)) for other in (True, *part.values()) if isinstance(other, (dict, bool))]
    return [cut for _, cut in sorted(found, key=lambda one: -one[0])]


def _without(schema: Any, pointer: str, key: Any) -> Any:
    out = deepcopy_of_parts(schema)
    holder = next(part for at, part in parts(out) if at == pointer)
    del holder[key]
    return out


def _replaced(schema: Any, pointer: str, other: Any) -> Any:
    out = deepcopy_of_parts(schema)
    above, _, key = pointer.rpartition("/")
    holder = next(part for at, part in parts(out) if at == above)
    holder[int(key) if isinstance(holder, list) else key.replace("~1", "/").replace("~0", "~")] = deepcopy_of_parts(other)
    return out
