//! The layouts of llama.cpp's parameter structs since build 3681 of September 2024. A new one is a new file here, which `tools/make_layout.py` writes together
//! with its column of `symbols.txt`, and a line in [`KNOWN`].
//!
//! Each file is named after the first build that is known to have the layout. Builds between two known builds of a layout have it, too.

mod b10229;
mod b10566;
mod b10809;
mod b11549;
mod b3681;
mod b3750;
mod b4167;
mod b4501;
mod b5028;
mod b5311;
mod b5346;
mod b5429;
mod b5913;
mod b6049;
mod b6325;
mod b6700;
mod b7407;
mod b7627;
mod b7668;
mod b7668_buffered;
mod b9294;
mod b9538;
mod b9713;

use crate::layout::{AbiLayout, Field, FieldKind};

/// Every supported layout, the newest last.
pub const KNOWN: &[AbiLayout] = &[
    b3681::LAYOUT,
    b3750::LAYOUT,
    b4167::LAYOUT,
    b4501::LAYOUT,
    b5028::LAYOUT,
    b5311::LAYOUT,
    b5346::LAYOUT,
    b5429::LAYOUT,
    b5913::LAYOUT,
    b6049::LAYOUT,
    b6325::LAYOUT,
    b6700::LAYOUT,
    b7407::LAYOUT,
    b7627::LAYOUT,
    b7668::LAYOUT,
    b7668_buffered::LAYOUT,
    b9294::LAYOUT,
    b9538::LAYOUT,
    b9713::LAYOUT,
    b10229::LAYOUT,
    b10566::LAYOUT,
    b10809::LAYOUT,
    b11549::LAYOUT,
];

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

    #[test]
    fn fields_of_known_layouts_do_not_overlap_and_fit() {
        for structure in KNOWN.iter().flat_map(|l| [&l.model_params, &l.context_params]) {
            let mut end = 0;
            for field in structure.fields {
                assert!(field.offset >= end, "{}.{}", structure.name, field.name);
                assert_eq!(field.offset % field.kind.size(), 0, "{}.{}", structure.name, field.name);
                end = field.offset + field.kind.size();
            }
            assert!(end <= structure.size && structure.size < end + 8);
        }
    }

    #[test]
    fn names_and_stems_of_layouts_are_their_own() {
        for (index, layout) in KNOWN.iter().enumerate() {
            assert_eq!(AbiLayout::named(layout.name).map(|found| found.stem), Some(layout.stem));
            assert!(KNOWN[..index].iter().all(|other| other.stem != layout.stem), "{}", layout.stem);
        }
    }

    /// Four fields that every build has in one place, whatever else moved.
    #[test]
    fn the_first_fields_of_a_context_never_moved() {
        for layout in KNOWN {
            for (name, offset) in [("n_ctx", 0), ("n_batch", 4), ("n_ubatch", 8), ("n_seq_max", 12)] {
                let field = layout.context_params.field(name, FieldKind::Int);
                assert_eq!(field.map(|field| field.offset), Some(offset), "{} {name}", layout.name);
            }
        }
    }
}
