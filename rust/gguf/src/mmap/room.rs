//! Reusable memory for large results.
//!
//! New memory is slow: the system clears each page at the first write, which takes longer than decoding weights into it. So memory that was given
//! back is kept for the next result of about its size, up to [`MAX_SPARE`] bytes, and marked as free: a system that needs memory takes the pages back
//! without asking, and they are new again.

use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, TryLockError};

use memmap2::MmapMut;

/// The most bytes that are kept. The largest tensors of small models take that much; those of large ones are rarely decoded.
const MAX_SPARE: usize = 256 << 20;
/// Sizes are multiples of a large page.
const PAGE: usize = 2 << 20;

static SPARE: Mutex<Spare> = Mutex::new(Spare(Vec::new()));

/// Writable memory for a large result: new and full of zeros, or used before and full of old bytes.
///
/// ```
/// use tabagent_gguf::Room;
/// let mut room = Room::of(Room::LEAST)?;
/// room.fill(7);
/// assert_eq!(room.len(), Room::LEAST);
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Room {
    map: Option<MmapMut>,
    len: usize,
    is_new: bool,
}

impl Room {
    /// The smallest size worth keeping. The allocator of the process reuses smaller pieces by itself.
    pub const LEAST: usize = 16 << 20;

    /// Room for `len` bytes.
    ///
    /// # Errors
    /// What the system says where it has no memory.
    pub fn of(len: usize) -> io::Result<Self> {
        if let Some(map) = spare(|spare| spare.take(len)).flatten() {
            return Ok(Self { map: Some(map), len, is_new: false });
        }
        let whole = len.max(1).checked_next_multiple_of(PAGE).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = MmapMut::map_anon(whole)?;
        // Without large pages it is only slower.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Self { map: Some(map), len, is_new: true })
    }

    /// Whether nothing was written to it yet, so that the system has yet to find and clear its pages.
    pub fn is_new(&self) -> bool {
        self.is_new
    }
}

impl Deref for Room {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_ref().and_then(|map| map.get(..self.len)).unwrap_or_default()
    }
}

impl DerefMut for Room {
    fn deref_mut(&mut self) -> &mut [u8] {
        let len = self.len;
        self.map.as_mut().and_then(|map| map.get_mut(..len)).unwrap_or_default()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Some(map) = self.map.take().filter(mark_free) else { return };
        // Unmapped outside of the lock, since that takes milliseconds.
        drop(spare(|spare| spare.put(map)));
    }
}

/// Tells the system that it may take the pages whenever it needs them; false where that is not possible.
#[cfg_attr(not(target_os = "linux"), expect(unused_variables, reason = "used on Linux"))]
fn mark_free(map: &MmapMut) -> bool {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: nothing refers to the bytes any more, and the next user of the mapping expects arbitrary bytes, zeros among them.
        unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::Free) }.is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    false
}

/// Calls `work` with the spare mappings; `None` if another thread holds the lock, or held it when the process was forked.
fn spare<T>(work: impl FnOnce(&mut Spare) -> T) -> Option<T> {
    match SPARE.try_lock() {
        Ok(mut spare) => Some(work(&mut spare)),
        Err(TryLockError::Poisoned(poisoned)) => Some(work(&mut poisoned.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Mappings that are not in use, the newest last.
struct Spare(Vec<MmapMut>);

impl Spare {
    /// Takes the smallest mapping that has `len` bytes or more, but not twice as many.
    fn take(&mut self, len: usize) -> Option<MmapMut> {
        let fits = |map: &MmapMut| (len..len.saturating_mul(2)).contains(&map.len());
        let found = self.0.iter().enumerate().filter(|(_, map)| fits(map)).min_by_key(|(_, map)| map.len());
        found.map(|(index, _)| index).map(|index| self.0.remove(index))
    }

    /// Keeps `map`, and returns the mappings that are no longer kept.
    fn put(&mut self, map: MmapMut) -> Vec<MmapMut> {
        self.0.push(map);
        let mut bytes = 0;
        let kept = self.0.iter().rev().take_while(|map| {
            bytes += map.len();
            bytes <= MAX_SPARE
        });
        let n_kept = kept.count();
        self.0.drain(..self.0.len() - n_kept).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pages: usize) -> MmapMut {
        MmapMut::map_anon(pages * PAGE).unwrap()
    }

    #[test]
    fn the_smallest_that_fits_is_taken_and_no_giant() {
        let mut spare = Spare(vec![map(12), map(9), map(40)]);
        assert_eq!(spare.take(8 * PAGE).map(|map| map.len()), Some(9 * PAGE));
        assert_eq!(spare.take(8 * PAGE).map(|map| map.len()), Some(12 * PAGE));
        assert!(spare.take(8 * PAGE).is_none());
        assert!(spare.take(41 * PAGE).is_none());
        assert!(spare.take(40 * PAGE).is_some());
    }

    #[test]
    fn what_is_kept_has_a_limit() {
        let mut spare = Spare(Vec::new());
        let pages = MAX_SPARE / PAGE;
        assert_eq!(spare.put(map(pages / 2)).len(), 0);
        assert_eq!(spare.put(map(pages / 2)).len(), 0);
        assert_eq!(spare.put(map(1)).len(), 1, "the oldest goes");
        assert_eq!(spare.put(map(pages + 1)).len(), 3, "a giant is not kept, nor what came before it");
        assert!(spare.0.is_empty());
    }

    #[test]
    fn room_is_as_long_as_asked_and_its_own() {
        for len in [0, 1, Room::LEAST, Room::LEAST + 4] {
            let (mut first, second) = (Room::of(len).unwrap(), Room::of(len).unwrap());
            assert_eq!((first.len(), second.len()), (len, len));
            let before = second.to_vec();
            first.fill(9);
            assert!(second[..] == before[..]);
        }
        assert!(Room::of(usize::MAX).is_err());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn room_that_was_given_back_is_used_again() {
        // A size that no other test asks for.
        let len = Room::LEAST + 6 * PAGE;
        let mut room = Room::of(len).unwrap();
        room.fill(1);
        drop(room);
        // Other tests may take the lock at that moment.
        let again = (0..100).map(|_| Room::of(len).unwrap()).find(|room| !room.is_new());
        assert_eq!(again.map(|room| room.len()), Some(len));
    }
}
