//! What requests are decoded with besides the model.

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

/// What requests are decoded with besides the model itself, such as adapters. Requests of one group are decoded together and use what others of it have
/// decoded; those of different groups are in no batch together, and share no cells.
///
/// Groups are equal if their keys are. The default group is the model as it is. Cheap to clone.
#[derive(Clone, Default)]
pub struct Group(Option<Arc<Inner>>);

struct Inner {
    key: Arc<[u64]>,
    content: Box<dyn Any + Send + Sync>,
}

impl Group {
    /// A group with what the engine's [`Decoder`](crate::Decoder) needs for it. What changes the logits must be in the `key`, which outlives the content: no later
    /// group that is another may have it.
    pub fn new(key: impl Into<Arc<[u64]>>, content: impl Any + Send + Sync) -> Self {
        Self(Some(Arc::new(Inner { key: key.into(), content: Box::new(content) })))
    }

    /// Whether it is the default group.
    pub fn is_default(&self) -> bool {
        self.0.is_none()
    }

    /// What it was made with; `None` for the default group, and for one with content of another type.
    pub fn content<T: Any>(&self) -> Option<&T> {
        self.0.as_ref()?.content.downcast_ref()
    }

    fn key(&self) -> Option<&Arc<[u64]>> {
        self.0.as_ref().map(|inner| &inner.key)
    }
}

impl PartialEq for Group {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Group {}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Group").field(&self.key()).finish()
    }
}

/// Numbers that stand for groups, in the scheduler. None is ever used for another group.
#[derive(Debug, Default)]
pub(crate) struct GroupNumbers {
    numbers: HashMap<Arc<[u64]>, u64>,
    last: u64,
    /// At so many, those that nothing is kept of are forgotten.
    limit: usize,
}

impl GroupNumbers {
    /// The number of a group: 0 for the default one. `in_use` are the numbers that must stay known.
    pub(crate) fn number(&mut self, group: &Group, in_use: impl FnOnce() -> HashSet<u64>) -> u64 {
        let Some(key) = group.key() else { return 0 };
        if let Some(number) = self.numbers.get(key) {
            return *number;
        }
        if self.numbers.len() >= self.limit {
            let in_use = in_use();
            self.numbers.retain(|_, number| in_use.contains(number));
            self.limit = 64 + 2 * self.numbers.len();
        }
        self.last += 1;
        self.numbers.insert(Arc::clone(key), self.last);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_keys_make_equal_groups() {
        let (one, same) = (Group::new([1, 2], "x"), Group::new(vec![1, 2], 7_i32));
        assert_eq!(one, same);
        assert_ne!(one, Group::new([2, 1], "x"));
        assert_ne!(Group::default(), Group::new([], "x"));
        assert_eq!(one.content::<&str>(), Some(&"x"));
        assert_eq!(same.content::<&str>(), None);
        assert_eq!(Group::default().content::<&str>(), None);
        assert!(Group::default().is_default() && !one.is_default());
    }

    #[test]
    fn numbers_stay_while_they_are_in_use_and_never_come_again() {
        let mut numbers = GroupNumbers::default();
        let none = HashSet::new;
        assert_eq!(numbers.number(&Group::default(), none), 0);
        let kept = Group::new([0], ());
        let number = numbers.number(&kept, none);
        assert_ne!(number, 0);
        let mut seen = HashSet::from([0, number]);
        for key in 1..5000 {
            assert!(seen.insert(numbers.number(&Group::new([key], ()), || HashSet::from([number]))));
        }
        assert_eq!(numbers.number(&kept, none), number);
        assert!(numbers.numbers.len() < 100, "those that are not in use are forgotten");
        assert!(seen.insert(numbers.number(&Group::new([1], ()), none)));
    }
}
