//! Samples of errors.

use tabagent_model::{ErrorKind, Failure};

/// An error, and what is expected of it.
pub(crate) struct Sample {
    /// Type and variant.
    pub(crate) name: &'static str,
    pub(crate) error: Box<dyn Failure>,
    pub(crate) kind: ErrorKind,
    /// The part of its text that says what to do or what was found.
    pub(crate) part: &'static str,
}

/// `samples!(Enum { Variant { field: value } => Kind, "part of its text"; ... })`: a sample of every variant of an enum. It does not compile
/// while a variant has none.
macro_rules! samples {
    ($enum:ident { $($variant:ident $({ $($fields:tt)* })? $(( $($value:tt)* ))? => $kind:ident, $part:expr;)+ }) => {{
        let _every_variant = |error: &$enum| match error {
            $($enum::$variant { .. } => (),)+
        };
        vec![$($crate::sample::Sample {
            name: concat!(stringify!($enum), "::", stringify!($variant)),
            error: Box::new($enum::$variant $({ $($fields)* })? $(( $($value)* ))?),
            kind: tabagent_model::ErrorKind::$kind,
            part: $part,
        }),+]
    }};
}
pub(crate) use samples;

/// An error of another process, which has the kind that it names.
pub(crate) fn elsewhere() -> tabagent_model::ElsewhereError {
    let (kind, text) = ("grammar".to_owned(), "no such rule".to_owned());
    tabagent_model::ElsewhereError { kind, text, file: None, fault: None }
}

/// A sample of an error that is a struct.
pub(crate) fn sample<E: Failure + 'static>(
    name: &'static str,
    error: E,
    kind: ErrorKind,
    part: &'static str,
) -> Sample {
    Sample { name, error: Box::new(error), kind, part }
}
