use super::*;
use crate::layouts::KNOWN;

fn observed(layout: &StructLayout) -> DefaultBytes {
    let block = layout.default_block();
    let bytes = (0..layout.size).map(|i| block.get::<1>(i).map(|b| b[0])).collect();
    DefaultBytes { bytes }
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
fn a_removed_symbol_is_refused_and_named() {
    let mut evidence = evidence_of(&KNOWN[0]);
    assert!(evidence.symbols.remove("llama_decode"));
    let error = identify(&evidence, KNOWN).unwrap_err();
    assert_eq!(error.evidence, ["1 symbols are missing (`llama_decode`)"]);
    assert!(error.to_string().contains(KNOWN[0].name));
}

#[test]
fn a_new_symbol_is_refused_and_named() {
    let mut evidence = evidence_of(&KNOWN[0]);
    evidence.symbols.insert("llama_brand_new".to_owned());
    assert_eq!(identify(&evidence, KNOWN).unwrap_err().evidence, ["1 symbols are new (`llama_brand_new`)"]);
}

#[test]
fn another_version_is_refused_before_anything_was_probed() {
    let mut evidence = evidence_of(&KNOWN[0]);
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
        let mut evidence = evidence_of(&KNOWN[0]);
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
    let layout = &KNOWN[0];
    for field in layout.context_params.fields {
        let mut evidence = evidence_of(layout);
        let byte = &mut evidence.context_defaults.as_mut().unwrap().bytes[field.offset];
        *byte = byte.map(|b| b ^ 0x10);
        let error = identify(&evidence, KNOWN).unwrap_err();
        assert_eq!(error.evidence.len(), 1);
        assert!(error.evidence[0].contains(field.name), "{error}");
    }
}

#[test]
fn setting_a_field_that_is_not_there_names_it() {
    let layout = &KNOWN[0].model_params;
    let mut block = layout.default_block();
    assert_eq!(
        layout.set_bool(&mut block, "use_mmap", true).unwrap_err().to_string(),
        "`llama_model_params` of this llama.cpp build has no Bool field `use_mmap`"
    );
    assert!(layout.set_int(&mut block, "vocab_only", 1).is_err(), "a bool is not an int");
    layout.set_bool(&mut block, "vocab_only", true).unwrap();
    assert_eq!(block.get::<1>(72), Some([1]));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn observe_sees_exactly_the_bytes_a_function_writes() {
    #[repr(C)]
    struct Small {
        words: [u64; 5],
    }
    extern "C-unwind" fn defaults() -> Small {
        Small { words: [1, 2, 3, 4, 0x0506_0708_090A_0B0C] }
    }
    let function = defaults as extern "C-unwind" fn() -> Small;
    // SAFETY: both are function pointers; `observe` undoes the difference in the result type by the hidden pointer.
    let function = unsafe { std::mem::transmute::<extern "C-unwind" fn() -> Small, DefaultsFn>(function) };
    // SAFETY: `defaults` takes nothing and returns 40 bytes.
    let seen = unsafe { observe(function) };
    assert_eq!(seen.extent(), 40);
    assert_eq!(seen.bytes[32], Some(0x0C));
    assert_eq!(seen.bytes[40], None);
}
