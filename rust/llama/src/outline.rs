//! What a model file's header tells of the memory that its model will take.

use tabagent_gguf::{GgufFile, Value};

/// Numbers of a model's header; 0 where it does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelOutline {
    /// Bytes of all its files.
    pub file_bytes: u64,
    /// Layers.
    pub layers: u64,
    /// Attention heads, the most of any layer.
    pub heads: u64,
    /// Numbers of keys and values that a token adds to a layer, at most.
    pub cache_row: u64,
    /// Context length in tokens that it was trained with.
    pub context_train_size: u32,
}

impl ModelOutline {
    pub(crate) fn of(file: &GgufFile, file_bytes: u64) -> Self {
        let architecture = file.architecture().unwrap_or_default();
        let number = |name: &str| {
            let value = file.metadata().get(&format!("{architecture}.{name}"));
            value.and_then(|value| largest(&value))
        };
        let width = number("embedding_length").unwrap_or(0);
        let heads = number("attention.head_count").unwrap_or(0);
        let kv_heads = number("attention.head_count_kv").unwrap_or(heads).max(1);
        let head = |name: &str| number(name).or(width.checked_div(heads)).unwrap_or(width);
        let numbers = head("attention.key_length").saturating_add(head("attention.value_length"));
        let tokens = number("context_length").and_then(|tokens| u32::try_from(tokens).ok());
        Self {
            file_bytes,
            layers: number("block_count").unwrap_or(0),
            heads,
            cache_row: numbers.saturating_mul(kv_heads),
            context_train_size: tokens.unwrap_or(0),
        }
    }
}

/// The number, or the largest of a list of them.
fn largest(value: &Value<'_>) -> Option<u64> {
    match value.as_array() {
        Some(items) => items.iter().filter_map(|item| item.as_u64()).max(),
        None => value.as_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tabagent_gguf::GgufWriter;

    #[test]
    fn the_largest_layer_counts_and_what_is_missing_is_nothing() {
        let writer = GgufWriter::new()
            .set("general.architecture", "lfm2")
            .set("lfm2.block_count", 6_u32)
            .set("lfm2.embedding_length", 64_u32)
            .set("lfm2.attention.head_count", 4_u32)
            .set("lfm2.attention.key_length", 24_u32)
            .set("lfm2.attention.head_count_kv", vec![0_u32, 2, 1]);
        let file = GgufFile::from_bytes(writer.to_bytes().unwrap()).unwrap();
        let outline = ModelOutline::of(&file, 9);
        let expected = ModelOutline {
            file_bytes: 9,
            layers: 6,
            heads: 4,
            cache_row: 2 * (24 + 16),
            context_train_size: 0,
        };
        assert_eq!(outline, expected);
        let empty = GgufFile::from_bytes(GgufWriter::new().to_bytes().unwrap()).unwrap();
        assert_eq!(ModelOutline::of(&empty, 0), ModelOutline { ..ModelOutline::default() });
    }
}
