//! Work on several requests at once, between two decodes.

use std::cell::OnceCell;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Work below this is done by the decode thread alone: waking a thread takes about a tenth of it, and longer where the engine's threads still spin.
const WORTH_SHARING: Duration = Duration::from_micros(400);

/// Does a step's work for each request, on several threads where it pays.
pub(crate) struct Crew {
    /// Made when it is needed first.
    pool: OnceCell<Option<rayon::ThreadPool>>,
    n_threads: usize,
    /// Seconds that one request's work took lately.
    each: f64,
}

impl Crew {
    /// `n_threads` counts the decode thread.
    pub(crate) fn new(n_threads: usize) -> Self {
        Self { pool: OnceCell::new(), n_threads, each: 0.0 }
    }

    /// Calls `work` for each item, in no certain order.
    pub(crate) fn each<T: Send>(&mut self, items: &mut [T], work: impl Fn(&mut T) + Sync) {
        let started = Instant::now();
        let n_items = items.len();
        let shared =
            n_items > 1 && self.n_threads > 1 && self.each * n_items as f64 > WORTH_SHARING.as_secs_f64();
        let n_busy = if shared { self.share(items, &work) } else { 1 };
        if n_busy == 1 {
            items.iter_mut().for_each(work);
        }
        if n_items > 0 {
            let each = started.elapsed().as_secs_f64() * n_busy as f64 / n_items as f64;
            self.each += 0.25 * (each - self.each);
        }
    }

    /// Does the work on the decode thread and others; returns how many took part, or 1 if there are no others and nothing was done.
    fn share<T: Send>(&mut self, items: &mut [T], work: &(impl Fn(&mut T) + Sync)) -> usize {
        let n_helpers = (self.n_threads - 1).min(items.len() - 1);
        let n_pool = self.n_threads - 1;
        let pool = self.pool.get_or_init(|| {
            let named = |index| format!("tabagent-sample-{index}");
            rayon::ThreadPoolBuilder::new().num_threads(n_pool).thread_name(named).build().ok()
        });
        // None where the system gives no threads.
        let Some(pool) = pool else { return 1 };
        let queue = Mutex::new(items.iter_mut());
        let take = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        let run = || {
            while let Some(item) = take() {
                work(item);
            }
        };
        pool.in_place_scope(|scope| {
            for _ in 0..n_helpers {
                scope.spawn(|_| run());
            }
            run();
        });
        1 + n_helpers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_worked_on_once_whatever_the_number_of_threads() {
        for n_threads in [1, 2, 5] {
            let mut crew = Crew::new(n_threads);
            for n_items in [0, 1, 2, 7, 40] {
                for each in [0.0, 1.0] {
                    crew.each = each;
                    let mut items = vec![0; n_items];
                    crew.each(&mut items, |item| *item += 1);
                    assert_eq!(items, vec![1; n_items]);
                }
            }
        }
    }

    #[test]
    fn panic_in_a_helper_reaches_the_caller() {
        let mut crew = Crew::new(3);
        crew.each = 1.0;
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            crew.each(&mut [1, 2, 3, 4], |item| assert_ne!(*item, 3));
        }));
        assert!(outcome.is_err());
    }
}
