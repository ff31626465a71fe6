//! The keywords that rule something out, by what they speak of. All others are annotations.

/// Those that apply other schemas to the value at hand, and those that speak of values of any type.
const OF_ANY: [&str; 11] =
    ["$ref", "$dynamicRef", "$recursiveRef", "allOf", "anyOf", "oneOf", "not", "if", "type", "enum", "const"];

/// Those that speak of objects.
pub(super) const OF_OBJECTS: [&str; 11] = [
    "properties",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "required",
    "minProperties",
    "maxProperties",
    "dependentRequired",
    "dependentSchemas",
    "dependencies",
];

/// Those that speak of lists by themselves.
pub(super) const OF_ARRAYS: [&str; 8] = [
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "minItems",
    "maxItems",
    "uniqueItems",
];

/// Those that speak of texts and numbers.
const OF_SCALARS: [&str; 9] = [
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
];

/// Those that say nothing without `contains`.
const OF_CONTAINS: [&str; 2] = ["minContains", "maxContains"];

/// All of them, the one first that says most about a schema.
pub(super) fn constraints() -> impl Iterator<Item = &'static str> {
    let groups: [&[&str]; 5] = [&OF_ANY, &OF_OBJECTS, &OF_ARRAYS, &OF_SCALARS, &OF_CONTAINS];
    groups.into_iter().flatten().copied()
}

/// Whether the keyword rules something out.
pub(super) fn is_constraint(keyword: &str) -> bool {
    constraints().any(|known| known == keyword)
}
