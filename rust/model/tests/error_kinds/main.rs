//! A sample of every variant of every error that a face can get: what kind it is, what it says, and how.

mod adapter;
mod chat;
mod gguf;
mod llama;
mod model;
mod sample;

use std::collections::BTreeSet;

use sample::Sample;
use tabagent_model::{ErrorKind, Failure};

fn samples() -> Vec<Sample> {
    [model::samples(), llama::samples(), gguf::samples(), adapter::samples(), chat::samples()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn every_variant_has_its_kind_and_says_what_was_found_or_what_to_do() {
    for Sample { name, error, kind, part } in samples() {
        assert_eq!(error.kind(), kind, "{name}");
        let text = error.to_string();
        assert!(text.contains(part), "{name} does not say `{part}`: {text}");
    }
}

#[test]
fn texts_are_lower_case_without_a_full_stop() {
    for Sample { name, error, .. } in samples() {
        let text = error.to_string();
        assert!(text.starts_with(|first: char| first == '`' || first.is_lowercase()), "{name}: {text}");
        assert!(!text.ends_with(['.', ' ', ':', ';', ',', '\n']), "{name}: {text}");
        assert!(!text.contains('\n'), "{name}: {text}");
    }
}

#[test]
fn texts_are_for_people() {
    for Sample { name, error, .. } in samples() {
        let text = error.to_string();
        // What `Debug` makes of texts and paths, of options, of structs, and of names of types.
        for sign in ["\"", "Some(", "None", " { ", "::", "[]"] {
            assert!(!text.contains(sign), "{name} has `{sign}`: {text}");
        }
        assert!(text.matches('`').count().is_multiple_of(2), "{name}: {text}");
        assert!(!text.contains("``") && !text.contains("  "), "{name}: {text}");
    }
}

#[test]
fn errors_of_the_operating_system_have_their_path_and_reason_and_no_others_do() {
    let mut found = 0;
    for Sample { name, error, kind, .. } in samples() {
        let Some((path, source)) = error.io() else {
            assert_ne!(kind, ErrorKind::Io, "{name}");
            continue;
        };
        assert_eq!(kind, ErrorKind::Io, "{name}");
        let text = error.to_string();
        assert!(text.contains(&format!("`{}`", path.display())), "{name}: {text}");
        assert!(text.contains(&source.to_string()), "{name}: {text}");
        found += 1;
    }
    assert!(found > 0);
}

#[test]
fn every_kind_is_that_of_an_error() {
    let led_to: BTreeSet<&str> = samples().iter().map(|sample| sample.kind.name()).collect();
    let all: BTreeSet<&str> = ErrorKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(led_to, all);
    assert_eq!(all.len(), ErrorKind::ALL.len(), "two kinds have one name");
}

/// Errors of which others are made keep what a face passes on: a file's path and reason, and the rule of GGUF that it breaks.
#[test]
fn wrapping_errors_pass_on_facts() {
    use tabagent_gguf::{ConvertError, GgufError, LoraError, QuantizeError};
    use tabagent_model::{AdapterError, ControlVectorError, Error, ModelError};

    let broken = || GgufError::Parts {
        file: "x.gguf".to_owned(),
        subject: tabagent_gguf::Subject::Header,
        problem: "is another".to_owned(),
    };
    let wrapped: [(Box<dyn Failure>, ErrorKind); 8] = [
        (Box::new(ConvertError::from(broken())), ErrorKind::Gguf),
        (Box::new(LoraError::from(broken())), ErrorKind::Gguf),
        (Box::new(QuantizeError::from(broken())), ErrorKind::Gguf),
        (Box::new(ModelError::from(broken())), ErrorKind::InvalidModel),
        (Box::new(Error::from(ModelError::from(broken()))), ErrorKind::InvalidModel),
        (Box::new(AdapterError::from(LoraError::from(broken()))), ErrorKind::Adapter),
        (Box::new(Error::from(AdapterError::from(LoraError::from(broken())))), ErrorKind::Adapter),
        (Box::new(Error::from(ControlVectorError::from(broken()))), ErrorKind::Adapter),
    ];
    for (error, kind) in wrapped {
        assert_eq!(error.kind(), kind, "{error}");
        assert!(matches!(error.gguf(), Some(GgufError::Parts { .. })), "{error}");
        assert!(error.io().is_none(), "{error}");
    }

    let unwritten =
        || GgufError::Write { path: "/x/y".into(), source: std::io::Error::from_raw_os_error(28) };
    let wrapped: [Box<dyn Failure>; 5] = [
        Box::new(ConvertError::from(unwritten())),
        Box::new(LoraError::from(unwritten())),
        Box::new(QuantizeError::from(unwritten())),
        Box::new(Error::from(AdapterError::from(LoraError::from(unwritten())))),
        Box::new(Error::from(ControlVectorError::from(unwritten()))),
    ];
    for error in wrapped {
        assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        let code = error.io().and_then(|(path, source)| {
            assert_eq!(path, std::path::Path::new("/x/y"));
            source.raw_os_error()
        });
        assert_eq!(code, Some(28), "{error}");
    }
}

/// The same error is of the same kind, however it is wrapped.
#[test]
fn cancelled_and_refused_work_keeps_its_kind_in_every_wrapper() {
    use tabagent_gguf::{ConvertError, GgufError, LoraError, QuantizeError};

    for (make, kind) in [
        ((|| GgufError::Cancelled) as fn() -> GgufError, ErrorKind::GgufCancelled),
        (|| GgufError::SameFile { path: "/x/y".into() }, ErrorKind::Value),
    ] {
        assert_eq!(make().kind(), kind);
        assert_eq!(ConvertError::from(make()).kind(), kind);
        assert_eq!(LoraError::from(make()).kind(), kind);
        assert_eq!(QuantizeError::from(make()).kind(), kind);
    }
}
