use super::*;
use crate::layouts::KNOWN;

fn observed(layout: &StructLayout) -> DefaultBytes {
    let block = layout.default_block();
    let bytes = (0..layout.size).map(|i| block.get::<1>(i).map(|b| b[0])).collect();
    DefaultBytes { bytes }
}

fn newest() -> &'static AbiLayout {
    KNOWN.last().unwrap()
}

fn evidence_of(layout: &AbiLayout) -> Evidence {
    Evidence {
        version: VersionEvidence::Is(layout.versions[0].to_owned()),
        symbols: layout.symbols.lines().map(str::to_owned).collect(),
        model_defaults: Some(observed(&layout.model_params)),
        context_defaults: Some(observed(&layout.context_params)),
    }
}

#[test]
fn every_known_layout_identifies_itself() {
    for layout in KNOWN {
        assert_eq!(identify(&evidence_of(layout), KNOWN).unwrap().name, layout.name);
    }
}

#[test]
fn a_removed_symbol_is_refused_and_named() {
    let mut evidence = evidence_of(newest());
    assert!(evidence.symbols.remove("llama_decode"));
    let error = identify(&evidence, KNOWN).unwrap_err();
    assert_eq!(error.evidence, ["1 symbols are missing (`llama_decode`)"]);
    assert!(error.to_string().contains(newest().name));
}

#[test]
fn a_new_symbol_is_refused_and_named() {
    let mut evidence = evidence_of(newest());
    evidence.symbols.insert("llama_brand_new".to_owned());
    assert_eq!(identify(&evidence, KNOWN).unwrap_err().evidence, ["1 symbols are new (`llama_brand_new`)"]);
}

#[test]
fn another_version_is_refused_before_anything_was_probed() {
    let mut evidence = evidence_of(newest());
    evidence.model_defaults = None;
    evidence.context_defaults = None;
    assert!(identify(&evidence, KNOWN).is_ok());
    evidence.version = VersionEvidence::Is("99.0.0".to_owned());
    let error = identify(&evidence, KNOWN).unwrap_err();
    assert_eq!(error.evidence, ["`llama_version()` is `99.0.0`"]);
    evidence.version = VersionEvidence::Missing;
    assert!(identify(&evidence, KNOWN).unwrap_err().found.contains("before August 2026"));
}

#[test]
fn a_shifted_field_is_refused() {
    for shift in [4, 8, 16] {
        let mut evidence = evidence_of(newest());
        let bytes = &mut evidence.context_defaults.as_mut().unwrap().bytes;
        for _ in 0..shift {
            bytes.insert(16, Some(0));
        }
        let error = identify(&evidence, KNOWN).unwrap_err();
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
        let error = identify(&evidence, KNOWN).unwrap_err();
        assert_eq!(error.evidence.len(), 1);
        assert!(error.evidence[0].contains(field.name), "{error}");
    }
}
