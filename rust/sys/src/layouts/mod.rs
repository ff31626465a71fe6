//! The builds of llama.cpp whose ABI is known. A new one is a new file here, which `tools/make_layout.py` writes, and a line in [`KNOWN`].

mod llama_0_5_0;

use crate::layout::{AbiLayout, Field, FieldKind};

/// Every supported layout, the newest last.
pub const KNOWN: &[AbiLayout] = &[llama_0_5_0::LAYOUT];

const fn int(name: &'static str, offset: usize, default: i32) -> Field {
    Field { name, offset, kind: FieldKind::Int, default: default as u32 as u64 }
}

const fn float(name: &'static str, offset: usize, default: f32) -> Field {
    Field { name, offset, kind: FieldKind::Float, default: default.to_bits() as u64 }
}

const fn word(name: &'static str, offset: usize) -> Field {
    Field { name, offset, kind: FieldKind::Word, default: 0 }
}

const fn boolean(name: &'static str, offset: usize, default: bool) -> Field {
    Field { name, offset, kind: FieldKind::Bool, default: default as u64 }
}

impl AbiLayout {
    /// The known layout of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|layout| layout.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Api;

    #[test]
    fn fields_of_known_layouts_do_not_overlap_and_fit() {
        for structure in KNOWN.iter().flat_map(|l| [&l.model_params, &l.context_params]) {
            let mut end = 0;
            for field in structure.fields {
                assert!(field.offset >= end, "{}.{}", structure.name, field.name);
                assert_eq!(field.offset % field.kind.size(), 0, "{}.{}", structure.name, field.name);
                end = field.offset + field.kind.size();
            }
            assert!(end <= structure.size);
        }
    }

    #[test]
    fn every_build_has_the_functions_it_needs_among_its_symbols() {
        for layout in KNOWN {
            assert_eq!(AbiLayout::named(layout.name).map(|found| found.name), Some(layout.name));
            let symbols: Vec<_> = layout.symbols.lines().collect();
            for name in layout.required_symbols().filter(|name| name.starts_with("llama_")) {
                assert!(symbols.contains(&name), "{} lacks `{name}`", layout.name);
            }
        }
    }

    #[test]
    fn a_renamed_function_is_asked_for_by_its_old_name() {
        let layout = AbiLayout {
            renamed: &[("llama_memory_seq_rm", "llama_kv_self_seq_rm")],
            ..*KNOWN.last().unwrap()
        };
        assert_eq!(layout.symbol_of("llama_memory_seq_rm"), "llama_kv_self_seq_rm");
        assert_eq!(layout.symbol_of("llama_decode"), "llama_decode");
        let required: Vec<_> = layout.required_symbols().collect();
        assert!(required.contains(&"llama_kv_self_seq_rm") && !required.contains(&"llama_memory_seq_rm"));
        assert_eq!(required.len(), Api::REQUIRED.len());
    }
}
