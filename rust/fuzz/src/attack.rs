//! Giving a target all that it may meet.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;

use crate::mutation::Mutation;
use crate::targets::Target;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// An input may keep the processor busy for so long at most.
const PATIENCE: Duration = Duration::from_secs(20);
/// An input may take so many bytes of memory at most, with those of what runs beside it. Damaged seeds have a hundred kilobytes.
const MEMORY_LIMIT: usize = 1 << 30;

/// An input that a target does not survive.
#[derive(Debug)]
pub struct Failure {
    /// Where it lies now.
    pub file: PathBuf,
    /// What happened.
    pub what: String,
}

/// Gives `target` all its seeds, then damaged ones for `time`; returns how many there were.
///
/// Damage is the same in every run that has the same `start`. Each input is written to `scratch` before it is tried, so that it is there after an
/// abort, too.
///
/// # Errors
/// [`Failure`] for the first input that the target does not survive.
///
/// # Panics
/// If it has no seeds, or `scratch` cannot be written.
pub fn attack(target: &Target, scratch: &Path, start: u64, time: Duration) -> Result<usize, Failure> {
    let seeds = seeds_of(target);
    assert!(!seeds.is_empty(), "`{}` has no seeds", target.name);
    let file = scratch.join(format!("{}.input", target.name));
    let (mut mutation, began, mut count) = (Mutation::new(start), Instant::now(), 0);
    for seed in &seeds {
        attempt(target, seed, &file)?;
        count += 1;
    }
    while began.elapsed() < time {
        let seed = &seeds[mutation.below(seeds.len())];
        let other = &seeds[mutation.below(seeds.len())];
        attempt(target, &mutation.damage(seed, other), &file)?;
        count += 1;
    }
    let _ = fs::remove_file(&file);
    Ok(count)
}

fn attempt(target: &Target, input: &[u8], file: &Path) -> Result<(), Failure> {
    let fail = |what: String| Err(Failure { file: file.to_owned(), what });
    assert!(fs::write(file, input).is_ok(), "`{}` can be written", file.display());
    let began = busy();
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (target.run)(input))) {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        return fail(text.to_owned());
    }
    let taken = busy().saturating_sub(began);
    if taken > PATIENCE {
        return fail(format!("it took {} s of the processor", taken.as_secs()));
    }
    let taken = MEMORY.peak_usage().saturating_sub(before);
    if taken > MEMORY_LIMIT {
        return fail(format!("it took {} MiB", taken >> 20));
    }
    Ok(())
}

/// How long the processor was busy with this thread: a machine that does other things as well says nothing against an input.
fn busy() -> Duration {
    /// `sysconf(_SC_CLK_TCK)` on every Linux of today.
    const TICKS: u64 = 100;
    let stat = fs::read_to_string("/proc/thread-self/stat").unwrap_or_default();
    let numbers = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: u64 = numbers.filter_map(|number| number.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// The seeds of a target, in the order of their names.
fn seeds_of(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target.name);
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.iter().filter_map(|file| fs::read(file).ok()).collect()
}
