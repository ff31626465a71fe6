//! Memory that this process shares with a child of it.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::MmapRaw;

/// Memory that two processes have in common: a flag that one raises and the other looks at, and numbers that one writes and the other reads.
///
/// It has no name, so nothing of it is left behind when both have ended. Its size cannot be changed by either, so that reading it never fails.
/// Who reads and who writes at what time, the two agree on by other means.
#[derive(Debug)]
pub struct SharedMemory {
    map: MmapRaw,
    n_floats: usize,
}

/// Bytes in front of the numbers: the flag, whether work has begun, and room so that the numbers begin on a cache line of their own.
const HEAD: usize = 64;

impl SharedMemory {
    /// Makes memory for `n_floats` numbers, and the file by which another process maps it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn new(n_floats: usize) -> io::Result<(Self, File)> {
        let size = n_floats.checked_mul(4).and_then(|bytes| bytes.checked_add(HEAD));
        let size = size.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let file = anonymous(size as u64)?;
        Ok((Self::open(&file)?, file))
    }

    /// Maps the memory of a file that [`SharedMemory::new`] made.
    ///
    /// # Errors
    /// What the operating system says; [`io::ErrorKind::InvalidData`] for a file that is too short.
    pub fn open(file: &File) -> io::Result<Self> {
        let map = MmapRaw::map_raw(file)?;
        let n_bytes =
            map.len().checked_sub(HEAD).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(Self { map, n_floats: n_bytes / 4 })
    }

    /// How many numbers it holds.
    pub fn len(&self) -> usize {
        self.n_floats
    }

    /// Whether it holds the flag alone.
    pub fn is_empty(&self) -> bool {
        self.n_floats == 0
    }

    /// Raises the flag, or lowers it.
    pub fn set_flag(&self, raised: bool) {
        self.flag().store(u32::from(raised), Ordering::Release);
    }

    /// Whether the flag is raised.
    pub fn is_raised(&self) -> bool {
        self.flag().load(Ordering::Acquire) != 0
    }

    /// Notes whether the other process has begun with what it was asked for.
    pub fn set_begun(&self, begun: bool) {
        self.begun().store(u32::from(begun), Ordering::Release);
    }

    /// Whether the other process has begun with what it was asked for. There after its death, too.
    pub fn has_begun(&self) -> bool {
        self.begun().load(Ordering::Acquire) != 0
    }

    /// Writes numbers, the first of them at index `at`; false, and nothing is written, if they do not fit.
    pub fn write(&mut self, at: usize, numbers: &[f32]) -> bool {
        if at.checked_add(numbers.len()).is_none_or(|end| end > self.n_floats) {
            return false;
        }
        // SAFETY: `at` lies inside of the mapping, as was checked.
        let target = unsafe { self.numbers().cast_mut().add(at) };
        // SAFETY: the mapping has room for them from there on, as was checked; `numbers` are this process's own and overlap nothing of it.
        unsafe { std::ptr::copy_nonoverlapping(numbers.as_ptr(), target, numbers.len()) };
        true
    }

    /// The numbers from `at` on; empty if there are not so many. The other process does not write while they are in use, which the caller sees to.
    pub fn read(&self, at: usize, len: usize) -> &[f32] {
        if at.checked_add(len).is_none_or(|end| end > self.n_floats) {
            return &[];
        }
        // SAFETY: `at` lies inside of the mapping, as was checked.
        let start = unsafe { self.numbers().add(at) };
        // SAFETY: the mapping has so many numbers from there on and lives as long as `self`; the file behind it is sealed or has no name, so it is not
        // cut; any bits are an `f32`; the other process writes only while it answers, and the caller reads between answers.
        unsafe { std::slice::from_raw_parts(start, len) }
    }

    fn numbers(&self) -> *const f32 {
        self.map.as_ptr().wrapping_add(HEAD).cast()
    }

    fn flag(&self) -> &AtomicU32 {
        self.word(0)
    }

    fn begun(&self) -> &AtomicU32 {
        self.word(1)
    }

    /// One of the first words: 0 or 1.
    #[expect(clippy::cast_ptr_alignment, reason = "a mapping begins on a page")]
    fn word(&self, index: usize) -> &AtomicU32 {
        let word = self.map.as_mut_ptr().cast::<u32>().wrapping_add(index);
        // SAFETY: a mapping begins on a page, so each of its words is aligned for an `AtomicU32`; it has at least `HEAD` bytes, which the two words are
        // part of, and lives as long as `self`; both processes use these bytes as atomic numbers only.
        unsafe { AtomicU32::from_ptr(word) }
    }
}

/// A file of `size` bytes without a name.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn anonymous(size: u64) -> io::Result<File> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
    let file = File::from(memfd_create("tabagent", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.set_len(size)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// A file of `size` bytes whose name is taken away at once.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn anonymous(size: u64) -> io::Result<File> {
    let file = tempfile::tempfile()?;
    file.set_len(size)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_see_the_same() {
        let (mut ours, file) = SharedMemory::new(10).unwrap();
        let theirs = SharedMemory::open(&file).unwrap();
        assert!(ours.write(2, &[1.0, f32::NAN, 3.0]));
        assert_eq!((theirs.read(2, 1), theirs.read(4, 1)), (&[1.0][..], &[3.0][..]));
        assert!(theirs.read(3, 1)[0].is_nan());
        theirs.set_flag(true);
        assert!(ours.is_raised());
        ours.set_flag(false);
        assert!(!theirs.is_raised() && !ours.has_begun());
        theirs.set_begun(true);
        assert!(ours.has_begun() && !ours.is_raised());
    }

    #[test]
    fn what_does_not_fit_is_neither_written_nor_read() {
        let (mut memory, _file) = SharedMemory::new(4).unwrap();
        assert!(!memory.write(2, &[1.0; 3]) && !memory.write(usize::MAX, &[1.0]));
        assert!(memory.read(2, 3).is_empty() && memory.read(usize::MAX, 2).is_empty());
        assert_eq!(memory.read(0, 4), [0.0; 4]);
        assert!(SharedMemory::new(usize::MAX).is_err());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn nobody_can_cut_it() {
        let (_memory, file) = SharedMemory::new(4).unwrap();
        assert!(file.set_len(0).is_err());
    }
}
