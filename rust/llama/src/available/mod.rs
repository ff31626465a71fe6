//! How much memory this process may still take: what the machine has left, and the limits set for the process.

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::available_memory;
#[cfg(windows)]
pub(crate) use windows::available_memory;

#[cfg(test)]
mod tests {
    #[cfg(any(target_os = "linux", windows))]
    #[test]
    fn some_memory_is_left() {
        assert!(super::available_memory(0).is_some_and(|bytes| bytes > 1 << 20));
    }
}
