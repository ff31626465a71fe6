//! Tells running work that its result is no longer wanted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Tells a running decode, or other work, that its result is no longer wanted.
///
/// Clones share the flag. It is raised once and never lowered. Polling it costs at most two atomic loads, so an engine can poll it between
/// the operations of its compute graph.
#[derive(Clone, Debug, Default)]
pub struct AbortFlag {
    own: Arc<AtomicBool>,
    parent: Option<Arc<AtomicBool>>,
}

impl AbortFlag {
    /// A flag that is not raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag that is raised when it or `self` is raised; raising it leaves `self` alone.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { own: Arc::default(), parent: Some(Arc::clone(&self.own)) }
    }

    /// Raises the flag.
    pub fn raise(&self) {
        self.own.store(true, Ordering::Release);
    }

    /// Whether both are clones of one flag.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.own, &other.own)
    }

    /// Whether the flag, or the one it is a child of, was raised.
    pub fn is_raised(&self) -> bool {
        self.is_raised_itself() || self.parent.as_ref().is_some_and(|flag| flag.load(Ordering::Acquire))
    }

    /// Whether this flag itself was raised, whatever its parent says.
    pub fn is_raised_itself(&self) -> bool {
        self.own.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_follows_its_parent_but_not_the_other_way() {
        let parent = AbortFlag::new();
        let (first, second) = (parent.child(), parent.child());
        first.raise();
        assert!(first.is_raised() && !parent.is_raised() && !second.is_raised());
        parent.raise();
        assert!(second.is_raised() && !second.is_raised_itself());
    }
}
