//! One user at a time, in the order in which they came.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A value that one thread at a time uses, in the order in which they asked for it: whoever gives it back and asks again waits behind all others. A
/// thread that waits can give up.
#[derive(Debug, Default)]
pub(crate) struct Turns<T> {
    queue: Mutex<Queue>,
    changed: Condvar,
    value: Mutex<T>,
}

#[derive(Debug, Default)]
struct Queue {
    /// The tickets of those who wait and, in front, of the one whose turn it is.
    tickets: VecDeque<u64>,
    next: u64,
}

/// How often a thread that waits asks whether it should give up.
const SLICE: Duration = Duration::from_millis(20);

/// Somebody's turn, until it is dropped.
pub(crate) struct Turn<'a, T> {
    // Given back before the ticket, which is dropped after it.
    value: MutexGuard<'a, T>,
    _ticket: Ticket<'a, T>,
}

struct Ticket<'a, T> {
    turns: &'a Turns<T>,
    number: u64,
}

impl<T> Turns<T> {
    /// Waits for a turn; `None` once `give_up` says so.
    pub(crate) fn take(&self, give_up: impl Fn() -> bool) -> Option<Turn<'_, T>> {
        let mut queue = self.lock();
        let ticket = Ticket { turns: self, number: queue.next };
        queue.next += 1;
        queue.tickets.push_back(ticket.number);
        while queue.tickets.front() != Some(&ticket.number) {
            if give_up() {
                drop(queue);
                return None;
            }
            queue = self.changed.wait_timeout(queue, SLICE).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(queue);
        // Free, or becomes free at once: only the holder of the first ticket locks it.
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Turn { value, _ticket: ticket })
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Ticket<'_, T> {
    fn drop(&mut self) {
        self.turns.lock().tickets.retain(|ticket| *ticket != self.number);
        self.turns.changed.notify_all();
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn waiting(turns: &Turns<Vec<u32>>) -> usize {
        turns.lock().tickets.len()
    }

    /// Waits until so many threads hold tickets.
    fn until(turns: &Turns<Vec<u32>>, count: usize) {
        while waiting(turns) != count {
            std::thread::yield_now();
        }
    }

    #[test]
    fn turns_are_taken_in_the_order_of_asking_and_again_behind_all_others() {
        let turns = Turns::<Vec<u32>>::default();
        let first = turns.take(|| false).unwrap();
        std::thread::scope(|scope| {
            for number in 1..4 {
                let turns = &turns;
                scope.spawn(move || {
                    turns.take(|| false).unwrap().push(number);
                    turns.take(|| false).unwrap().push(number * 10);
                });
                until(turns, 1 + number as usize);
            }
            drop(first);
        });
        let order = turns.take(|| false).unwrap();
        let place = |number| order.iter().position(|found| *found == number).unwrap();
        assert!(place(1) < place(2) && place(2) < place(3), "{:?}", *order);
        assert!((1..4).all(|number| place(number) < place(number * 10)), "{:?}", *order);
    }

    #[test]
    fn whoever_gives_up_is_not_waited_for() {
        let turns = Turns::<Vec<u32>>::default();
        let first = turns.take(|| false).unwrap();
        let gone = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let impatient = scope.spawn(|| turns.take(|| gone.load(Ordering::Acquire)).is_none());
            until(&turns, 2);
            let patient = scope.spawn(|| turns.take(|| false).is_some());
            until(&turns, 3);
            gone.store(true, Ordering::Release);
            assert!(impatient.join().unwrap());
            until(&turns, 2);
            drop(first);
            assert!(patient.join().unwrap());
        });
        assert_eq!(waiting(&turns), 0);
    }
}
