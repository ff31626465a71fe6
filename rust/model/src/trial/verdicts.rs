//! The folder in which verdicts are kept: a small file for each, named by its key.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde_json::{Value as Json, json};

/// Verdicts that are kept, at most; when there are more, the oldest quarter goes.
const MOST: usize = 4096;

/// How a trial ended that is not held again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The child computed its tokens.
    Survived,
    /// The child died, with these words.
    Died(String),
}

/// A folder of verdicts, which many processes may use at once.
pub(super) struct Verdicts<'a> {
    folder: &'a Path,
}

impl<'a> Verdicts<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self { folder }
    }

    /// What is known; `None` also where the file cannot be read, as it is then tried again.
    pub(super) fn get(&self, key: &str) -> Option<Verdict> {
        let kept: Json = serde_json::from_slice(&fs::read(self.folder.join(key)).ok()?).ok()?;
        match (kept["verdict"].as_str()?, kept["words"].as_str()) {
            ("survived", None) => Some(Verdict::Survived),
            ("died", Some(words)) => Some(Verdict::Died(words.to_owned())),
            _ => None,
        }
    }

    /// Keeps a verdict: others see the whole file or none.
    pub(super) fn put(&self, key: &str, verdict: &Verdict) -> io::Result<()> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(self.folder)?;
        let content = match verdict {
            Verdict::Survived => json!({"verdict": "survived"}),
            Verdict::Died(words) => json!({"verdict": "died", "words": words}),
        };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let part = self.folder.join(format!(".{key}.{}.{number}.part", std::process::id()));
        let done =
            fs::write(&part, content.to_string()).and_then(|()| fs::rename(&part, self.folder.join(key)));
        if done.is_err() {
            // What is left of it is of no use; the first error says why.
            let _ = fs::remove_file(&part);
        }
        done?;
        self.shrink()
    }

    fn shrink(&self) -> io::Result<()> {
        let entries: Vec<_> = fs::read_dir(self.folder)?.flatten().collect();
        if entries.len() <= MOST {
            return Ok(());
        }
        let mut aged: Vec<(SystemTime, PathBuf)> = entries
            .iter()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        aged.sort();
        for (_, path) in aged.iter().take(MOST / 4) {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read_back_and_what_is_broken_is_unknown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trials");
        let verdicts = Verdicts::new(&path);
        assert_eq!(verdicts.get("a"), None);
        for verdict in [Verdict::Survived, Verdict::Died("was killed by `SIGABRT`".to_owned())] {
            verdicts.put("a", &verdict).unwrap();
            assert_eq!(verdicts.get("a"), Some(verdict));
        }
        for broken in ["", "{}", r#"{"verdict": "died"}"#, r#"{"verdict": 1}"#] {
            fs::write(path.join("a"), broken).unwrap();
            assert_eq!(verdicts.get("a"), None, "{broken}");
        }
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    }

    #[test]
    fn the_oldest_verdicts_go() {
        let folder = tempfile::tempdir().unwrap();
        let verdicts = Verdicts::new(folder.path());
        let long_ago = SystemTime::UNIX_EPOCH;
        for number in 0..MOST {
            let file = fs::File::create(folder.path().join(format!("{number:08}"))).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        verdicts.put("new", &Verdict::Survived).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), MOST + 1 - MOST / 4);
        assert_eq!(verdicts.get("new"), Some(Verdict::Survived));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().join("trials");
        assert!(Verdicts::new(&path).put("a", &Verdict::Survived).is_err());
    }
}
