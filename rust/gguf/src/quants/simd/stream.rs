//! Writes past the caches.

/// Writes numbers to memory without fetching what is there: for arrays that are larger than the caches, where the fetch would be half of all traffic.
/// Dropping it waits until everything is written.
pub(in crate::quants) struct Stream(());

impl Stream {
    pub(in crate::quants) fn new() -> Self {
        Self(())
    }

    /// Copies `from` to `to`, which is as long.
    #[expect(clippy::unused_self, reason = "its end is what makes the writes seen by other threads")]
    pub(in crate::quants) fn write(&mut self, from: &[f32], to: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{__m128, _mm_loadu_ps, _mm_stream_ps};
            assert_eq!(from.len(), to.len());
            // SAFETY: `__m128` is four `f32`, and any bits are one.
            let (head, middle, tail) = unsafe { to.align_to_mut::<__m128>() };
            let (from_head, from) = from.split_at(head.len());
            head.copy_from_slice(from_head);
            let (from_middle, from_tail) = from.as_chunks::<4>();
            for (to, from) in middle.iter_mut().zip(from_middle) {
                // SAFETY: reads the four floats of `from`.
                let four = unsafe { _mm_loadu_ps(from.as_ptr()) };
                // SAFETY: writes the four floats of `to`, which has the alignment of `__m128`; other threads read them only after this
                // one has dropped the `Stream`, which waits for the write. This thread itself sees its writes in order.
                unsafe { _mm_stream_ps(std::ptr::from_mut(to).cast(), four) };
            }
            tail.copy_from_slice(from_tail);
        }
        #[cfg(not(target_arch = "x86_64"))]
        to.copy_from_slice(from);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // SAFETY: every x86-64 processor has the instruction.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            std::arch::x86_64::_mm_sfence();
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_arrives_wherever_it_lies() {
        let from: Vec<f32> = (0..67).map(|i| i as f32).collect();
        for start in 0..5 {
            for end in start..from.len() {
                let mut to = vec![f32::NAN; from.len() + 1];
                let middle = usize::midpoint(start, end);
                let mut stream = Stream::new();
                stream.write(&from[start..middle], &mut to[start..middle]);
                stream.write(&from[middle..end], &mut to[middle..end]);
                drop(stream);
                assert_eq!(to[start..end], from[start..end]);
                assert!(to[..start].iter().chain(&to[end..]).all(|x| x.is_nan()));
            }
        }
    }
}
