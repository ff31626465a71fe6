//! What stops a template, inside the interpreter.

/// The kinds of fault that the interpreter tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FaultKind {
    /// The text is no template.
    Syntax,
    /// The template called `raise_exception`.
    Raised,
    /// Something undefined was used as a value.
    Undefined,
    /// An operation on values of other types (Python's `TypeError`).
    Type,
    /// An operation on values outside of its range (Python's `ValueError`, `KeyError`, `OverflowError` and others).
    Value,
    /// An operation that the sandbox forbids.
    Security,
    /// The template asked for more than one render may use.
    Limit,
}

/// One fault: its kind, what failed, and the line of the template where known.
#[derive(Debug, Clone)]
pub(crate) struct Fault(Box<Body>);

#[derive(Debug, Clone)]
pub(crate) struct Body {
    pub(crate) kind: FaultKind,
    pub(crate) message: String,
    pub(crate) line: Option<u32>,
}

/// A result of the interpreter.
pub(crate) type Outcome<T> = Result<T, Fault>;

impl Fault {
    pub(crate) fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self(Box::new(Body { kind, message: message.into(), line: None }))
    }

    pub(crate) fn at(kind: FaultKind, line: u32, message: impl Into<String>) -> Self {
        Self(Box::new(Body { kind, message: message.into(), line: Some(line) }))
    }

    /// Sets the line, unless it is known.
    pub(crate) fn in_line(mut self, line: u32) -> Self {
        self.0.line.get_or_insert(line);
        self
    }

    pub(crate) fn into_body(self) -> Body {
        *self.0
    }
}

/// A fault of a wrong type.
pub(crate) fn type_fault(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Type, message)
}

/// A fault of a wrong value.
pub(crate) fn value_fault(message: impl Into<String>) -> Fault {
    Fault::new(FaultKind::Value, message)
}
