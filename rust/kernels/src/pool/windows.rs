//! Parts of a result that several threads write at once.

use std::marker::PhantomData;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};

/// Rows of equal length, cut into windows of some rows and some columns, each of which is taken once.
#[derive(Debug)]
pub(crate) struct Windows<'a, T> {
    data: NonNull<T>,
    n_rows: usize,
    n_cols: usize,
    window_rows: usize,
    window_cols: usize,
    taken: Vec<AtomicBool>,
    borrowed: PhantomData<&'a mut [T]>,
}

/// A part of the rows and columns, that nobody else can read or write.
#[derive(Debug)]
pub(crate) struct Window<'a, T> {
    data: NonNull<T>,
    stride: usize,
    rows: Range<usize>,
    cols: Range<usize>,
    borrowed: PhantomData<&'a mut [T]>,
}

// SAFETY: the only way to the numbers is `take`, which gives each window to one thread once; windows do not overlap. So sharing `Windows` sends
// parts of a `&mut [T]` to other threads, which `T: Send` allows.
unsafe impl<T: Send> Sync for Windows<'_, T> {}

impl<'a, T> Windows<'a, T> {
    /// Cuts `data`, rows of `n_cols`, into windows of up to `window_rows` and `window_cols`.
    ///
    /// # Panics
    ///
    /// If a size is zero or `data` is no whole number of rows.
    pub(crate) fn new(data: &'a mut [T], n_cols: usize, window_rows: usize, window_cols: usize) -> Self {
        assert!(n_cols > 0 && window_rows > 0 && window_cols > 0, "windows have a size");
        assert!(data.len().is_multiple_of(n_cols), "whole rows");
        let n_rows = data.len() / n_cols;
        let n_windows = n_rows.div_ceil(window_rows) * n_cols.div_ceil(window_cols);
        let taken = (0..n_windows).map(|_| AtomicBool::new(false)).collect();
        let data = NonNull::from(data).cast();
        Self { data, n_rows, n_cols, window_rows, window_cols, taken, borrowed: PhantomData }
    }

    /// How many windows there are. Windows of the same columns follow each other.
    pub(crate) fn len(&self) -> usize {
        self.taken.len()
    }

    /// Window `at`, for the first who asks for it.
    pub(crate) fn take(&self, at: usize) -> Option<Window<'_, T>> {
        if self.taken.get(at)?.swap(true, Ordering::Relaxed) {
            return None;
        }
        let per_col = self.n_rows.div_ceil(self.window_rows);
        let (row, col) = (at % per_col * self.window_rows, at / per_col * self.window_cols);
        Some(Window {
            data: self.data,
            stride: self.n_cols,
            rows: row..(row + self.window_rows).min(self.n_rows),
            cols: col..(col + self.window_cols).min(self.n_cols),
            borrowed: PhantomData,
        })
    }
}

impl<T> Window<'_, T> {
    /// The rows, by their numbers in the whole.
    pub(crate) fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The columns, by their numbers in the whole.
    pub(crate) fn cols(&self) -> Range<usize> {
        self.cols.clone()
    }

    /// The window's part of row `row` of the whole.
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [T] {
        assert!(self.rows.contains(&row), "a row of the window");
        // SAFETY: `row` is a row of the data, and `cols.start` a column of it (checked when the window was cut), so the offset stays inside.
        let first = unsafe { self.data.add(row * self.stride + self.cols.start) };
        // SAFETY: `cols` lies within the row. No other window has these elements, each window exists once, and the slice borrows this one mutably.
        unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), self.cols.len()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_all_once() {
        for (n_rows, n_cols, window_rows, window_cols) in
            [(1, 1, 1, 1), (5, 7, 2, 3), (4, 6, 8, 8), (3, 4, 1, 2), (0, 3, 1, 1)]
        {
            let mut data = vec![0u32; n_rows * n_cols];
            let windows = Windows::new(&mut data, n_cols, window_rows, window_cols);
            std::thread::scope(|scope| {
                for first in 0..2 {
                    let windows = &windows;
                    scope.spawn(move || {
                        for at in (first..windows.len()).step_by(2) {
                            let mut window = windows.take(at).unwrap();
                            assert!(windows.take(at).is_none());
                            for row in window.rows() {
                                window.row_mut(row).iter_mut().for_each(|x| *x += 1);
                            }
                        }
                    });
                }
            });
            assert!(windows.take(windows.len()).is_none());
            assert!(data.iter().all(|x| *x == 1));
        }
    }
}
