//! A file that appears whole or not at all.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::GgufError;

/// A file that is being written beside the one that it will replace. Dropped before [`NewFile::commit`] it leaves nothing behind.
pub(crate) struct NewFile {
    path: PathBuf,
    out: BufWriter<NamedTempFile>,
}

impl NewFile {
    /// Starts a file that will be at `path`; its temporary file lies in the same directory.
    pub(crate) fn create(path: &Path) -> Result<Self, GgufError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tabagent-").suffix(".gguf.part");
        let old = std::fs::metadata(path).ok();
        // A rename would put a file in the place of `/dev/null`.
        if old.as_ref().is_some_and(|old| !old.is_file() && !old.is_dir()) {
            return Err(failed(path, io::Error::other("it is a device or a pipe; give the path of a file")));
        }
        let old = old.map(|metadata| metadata.permissions());
        if let Some(permissions) = old.clone().or_else(default_permissions) {
            builder.permissions(permissions);
        }
        let make = || {
            let file = builder.tempfile_in(directory(path))?;
            // Unlike at creation, the umask does not count here.
            old.map_or(Ok(()), |permissions| file.as_file().set_permissions(permissions))?;
            Ok(file)
        };
        let file = make().map_err(|source| failed(path, source))?;
        Ok(Self { path: path.to_owned(), out: BufWriter::with_capacity(1 << 18, file) })
    }

    /// Where to write.
    pub(crate) fn out(&mut self) -> &mut impl Write {
        &mut self.out
    }

    /// Moves everything to the disk, without showing the file yet.
    pub(crate) fn finish(self) -> Result<FinishedFile, GgufError> {
        let Self { path, out } = self;
        let file = out.into_inner().map_err(|error| failed(&path, error.into_error()))?;
        file.as_file().sync_all().map_err(|source| failed(&path, source))?;
        Ok(FinishedFile { path, file })
    }

    /// Moves everything to the disk, then puts the file in the old one's place in one step.
    pub(crate) fn commit(self) -> Result<(), GgufError> {
        self.finish()?.show()
    }
}

/// A complete file that nobody sees yet. Dropped before [`FinishedFile::show`] it leaves nothing behind.
pub(crate) struct FinishedFile {
    path: PathBuf,
    file: NamedTempFile,
}

impl FinishedFile {
    /// Puts the file in its place.
    pub(crate) fn show(self) -> Result<(), GgufError> {
        let Self { path, file } = self;
        file.persist(&path).map_err(|error| failed(&path, error.error))?;
        // The new name outlives a power cut only when the directory is on the disk, too. Some file systems cannot do that; the
        // file is whole in any case.
        if cfg!(unix)
            && let Ok(directory) = File::open(directory(&path))
        {
            let _ = directory.sync_all();
        }
        Ok(())
    }
}

pub(crate) fn failed(path: &Path, source: io::Error) -> GgufError {
    GgufError::Write { path: path.to_owned(), source }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The mode that an ordinary new file gets, before the process's umask.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "other systems have no such mode")]
fn default_permissions() -> Option<Permissions> {
    use std::os::unix::fs::PermissionsExt as _;
    Some(Permissions::from_mode(0o666))
}

/// Windows files take the directory's access list.
#[cfg(not(unix))]
fn default_permissions() -> Option<Permissions> {
    None
}
