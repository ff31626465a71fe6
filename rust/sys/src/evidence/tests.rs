use super::*;
use crate::layout::Field;
use crate::layouts::KNOWN;
use Strictness::{Known, Unverified};

/// What is seen of a compiler that leaves the bytes between fields alone.
fn observed(layout: &StructLayout) -> DefaultBytes {
    let mut seen = zeroed(layout);
    for (at, byte) in seen.bytes.iter_mut().enumerate() {
        *byte =
            byte.filter(|_| layout.fields.iter().any(|f| (f.offset..f.offset + f.kind.size()).contains(&at)));
    }
    seen
}

/// What is seen of a compiler that sets them to zero.
fn zeroed(layout: &StructLayout) -> DefaultBytes {
    let block = layout.default_block();
    let bytes = (0..layout.size).map(|i| block.get::<1>(i).map(|b| b[0])).collect();
    DefaultBytes { bytes }
}

fn newest() -> &'static AbiLayout {
    KNOWN.last().unwrap()
}

fn evidence_of(layout: &AbiLayout) -> Evidence {
    Evidence {
        version: layout
            .versions
            .map_or(VersionEvidence::Missing, |(_, highest)| VersionEvidence::Is(format!("{highest}-dev"))),
        symbols: symbols::expected(layout).must.into_iter().map(str::to_owned).collect(),
        model_defaults: Some(observed(&layout.model_params)),
        context_defaults: Some(observed(&layout.context_params)),
    }
}

#[test]
fn every_known_layout_identifies_itself() {
    for layout in KNOWN {
        for strictness in [Known, Unverified] {
            let mut evidence = evidence_of(layout);
            assert_eq!(identify(&evidence, KNOWN, strictness).unwrap().name, layout.name);
            evidence.symbols = symbols::expected(layout).may.into_iter().map(str::to_owned).collect();
            assert_eq!(identify(&evidence, KNOWN, strictness).unwrap().name, layout.name);
        }
    }
}

#[test]
fn a_removed_symbol_is_refused_and_named() {
    let mut evidence = evidence_of(newest());
    assert!(evidence.symbols.remove("llama_decode"));
    let error = identify(&evidence, KNOWN, Known).unwrap_err();
    assert_eq!(error.evidence, ["1 symbols are missing (`llama_decode`)"]);
    assert!(error.to_string().contains(newest().name));
}

#[test]
fn a_new_symbol_is_refused_and_named() {
    let mut evidence = evidence_of(newest());
    evidence.symbols.insert("llama_brand_new".to_owned());
    assert_eq!(
        identify(&evidence, KNOWN, Known).unwrap_err().evidence,
        ["1 symbols are new (`llama_brand_new`)"]
    );
}

#[test]
fn another_version_is_refused_before_anything_was_probed() {
    let mut evidence = evidence_of(newest());
    evidence.model_defaults = None;
    evidence.context_defaults = None;
    assert!(identify(&evidence, KNOWN, Known).is_ok());
    evidence.version = VersionEvidence::Is("99.0.0".to_owned());
    let error = identify(&evidence, KNOWN, Known).unwrap_err();
    assert_eq!(error.evidence, ["`llama_version()` is `99.0.0`"]);
    evidence.version = VersionEvidence::Missing;
    assert!(identify(&evidence, KNOWN, Known).unwrap_err().found.contains("before August 2026"));
}

#[test]
fn a_shifted_field_is_refused() {
    for shift in [4, 8, 16] {
        let mut evidence = evidence_of(newest());
        let bytes = &mut evidence.context_defaults.as_mut().unwrap().bytes;
        for _ in 0..shift {
            bytes.insert(16, Some(0));
        }
        let error = identify(&evidence, KNOWN, Known).unwrap_err();
        assert!(error.evidence.iter().any(|e| e.contains("has 1")), "{error}");
    }
}

#[test]
fn every_single_changed_default_is_refused() {
    let layout = newest();
    for field in layout.context_params.fields {
        let mut evidence = evidence_of(layout);
        let byte = &mut evidence.context_defaults.as_mut().unwrap().bytes[field.offset];
        *byte = byte.map(|b| b ^ 0x10);
        let error = identify(&evidence, KNOWN, Known).unwrap_err();
        assert_eq!(error.evidence.len(), 1);
        assert!(error.evidence[0].contains(field.name), "{error}");
    }
}

/// Whether what is written through `found` lands in the same fields of `real`.
fn fits(found: &StructLayout, real: &StructLayout) -> bool {
    let has = |field: &Field| {
        real.fields.iter().any(|f| (f.name, f.offset, f.kind) == (field.name, field.offset, field.kind))
    };
    found.size == real.size && found.fields.iter().all(has)
}

/// Symbols of neighbours may be alike: then the bytes decide. A field whose default is zero cannot be told from bytes between fields if symbols say that it is not there yet.
#[test]
fn bytes_of_a_layout_are_never_taken_for_those_of_another() {
    for layout in KNOWN {
        let mut evidence = evidence_of(layout);
        for other in KNOWN.iter().filter(|other| other.stem != layout.stem) {
            evidence.model_defaults = Some(observed(&other.model_params));
            evidence.context_defaults = Some(observed(&other.context_params));
            for strictness in [Known, Unverified] {
                if let Ok(found) = identify(&evidence, KNOWN, strictness) {
                    assert!(fits(&found.model_params, &other.model_params), "{} {}", found.name, other.name);
                    assert!(
                        fits(&found.context_params, &other.context_params),
                        "{} {}",
                        found.name,
                        other.name
                    );
                }
            }
        }
    }
}

#[test]
fn builds_that_are_not_known_load_unverified_where_bytes_and_used_functions_are_known() {
    let mut evidence = evidence_of(newest());
    evidence.version = VersionEvidence::Is("99.0.0".to_owned());
    evidence.symbols.insert("llama_brand_new".to_owned());
    assert!(evidence.symbols.remove("llama_process"));
    assert_eq!(identify(&evidence, KNOWN, Known).unwrap_err().evidence.len(), 3);
    assert_eq!(identify(&evidence, KNOWN, Unverified).unwrap().name, newest().name);
    let mut lacking = evidence.clone();
    assert!(lacking.symbols.remove("llama_vocab_bos"));
    assert_eq!(
        identify(&lacking, KNOWN, Unverified).unwrap_err().evidence,
        ["1 symbols are missing (`llama_vocab_bos`)"]
    );
    let mut mixed = evidence.clone();
    mixed.symbols.insert("llama_kv_cache_clear".to_owned());
    assert_eq!(
        identify(&mixed, KNOWN, Unverified).unwrap_err().evidence,
        ["1 symbols are new (`llama_kv_cache_clear`)"]
    );
    evidence.context_defaults.as_mut().unwrap().bytes[0] = Some(1);
    assert!(identify(&evidence, KNOWN, Unverified).is_err());
}

#[test]
fn versions_lie_between_the_known_ones() {
    let range = Some(("0.2.0", "0.5.0"));
    for version in ["0.2.0", "0.5.0-dev", "0.4.17"] {
        assert!(is_within(version, range), "{version}");
    }
    for version in ["0.1.9", "0.5.1", "0.5", "0.5.0.0", "", "x", "0.3.0-rc1"] {
        assert!(!is_within(version, range), "{version}");
    }
    assert!(!is_within("0.5.0", None));
}
