//! A file that appears whole or not at all.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::GgufError;

/// A file that is being written beside the one that it will replace. Dropped before [`NewFile::finish`] it leaves nothing behind.
pub(crate) struct NewFile {
    path: PathBuf,
    out: BufWriter<Unnamed>,
}

impl NewFile {
    /// Starts a file that will be at `path`; its temporary file lies in the same directory.
    pub(crate) fn create(path: &Path) -> Result<Self, GgufError> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".tabagent-").suffix(".gguf.part");
        let old = std::fs::metadata(path).ok();
        if old.as_ref().is_some_and(std::fs::Metadata::is_dir) {
            return Err(failed(path, io::ErrorKind::IsADirectory.into()));
        }
        // A rename would put a file in the place of `/dev/null`.
        if old.as_ref().is_some_and(|old| !old.is_file()) {
            let problem = "it is a device or a pipe; give the path of a file";
            return Err(failed(path, io::Error::new(io::ErrorKind::InvalidInput, problem)));
        }
        check_directory(path)?;
        let permissions = old.map(|metadata| metadata.permissions());
        let mut code = None;
        let made = builder.make_in(directory(path), |new| {
            open_new(new, permissions.as_ref()).inspect_err(|error| code = error.raw_os_error())
        });
        // `tempfile` reports the temporary file's name instead of the system's error number.
        let file = made.map_err(|error| failed(path, code.map_or(error, io::Error::from_raw_os_error)))?;
        // Unlike at creation, the umask does not count here.
        if let Some(permissions) = permissions {
            file.as_file().set_permissions(permissions).map_err(|source| failed(path, source))?;
        }
        Ok(Self { path: path.to_owned(), out: BufWriter::with_capacity(1 << 18, Unnamed(file)) })
    }

    /// Where to write.
    pub(crate) fn out(&mut self) -> &mut impl Write {
        &mut self.out
    }

    /// Moves everything to the disk, without showing the file yet.
    pub(crate) fn finish(self) -> Result<FinishedFile, GgufError> {
        let Self { path, out } = self;
        let Unnamed(file) = out.into_inner().map_err(|error| failed(&path, error.into_error()))?;
        file.as_file().sync_all().map_err(|source| failed(&path, source))?;
        Ok(FinishedFile { path, file })
    }
}

/// Writes to a temporary file without putting its path into errors, as `tempfile` does in place of the system's number.
struct Unnamed(NamedTempFile);

impl Write for Unnamed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.as_file_mut().flush()
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
        file.persist(&path).map_err(|error| failed(&path, told_in_use(error.error)))?;
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

/// What the system says where it refuses to replace a file, with what to do about it on Windows, which refuses it for files in use.
fn told_in_use(error: io::Error) -> io::Error {
    /// `ERROR_ACCESS_DENIED`, `ERROR_SHARING_VIOLATION` and `ERROR_USER_MAPPED_FILE` of `winerror.h`.
    const IN_USE: [i32; 3] = [5, 32, 1224];
    if cfg!(windows) && error.raw_os_error().is_some_and(|code| IN_USE.contains(&code)) {
        let advice = "if the file is open in a program, or loaded as a model, close it there first";
        return io::Error::new(io::ErrorKind::PermissionDenied, format!("{error}; {advice}"));
    }
    error
}

/// Refuses a path in no directory, or without a name.
fn check_directory(path: &Path) -> Result<(), GgufError> {
    let directory = directory(path);
    let (kind, problem) = match std::fs::metadata(directory) {
        _ if path.as_os_str().is_empty() => {
            (io::ErrorKind::NotFound, "the path is empty; give the path of the file to write".to_owned())
        }
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => {
            (io::ErrorKind::NotADirectory, format!("`{}` is a file, not a directory", directory.display()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (error.kind(), format!("there is no directory `{}`; make it first", directory.display()))
        }
        Err(error) => return Err(failed(path, error)),
    };
    Err(failed(path, io::Error::new(kind, problem)))
}

/// Creates the file at `path`, which must not exist, with the permissions of the old one; without one, with those that the umask allows.
fn open_new(path: &Path, old: Option<&Permissions>) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    if let Some(old) = old {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        options.mode(old.mode());
    }
    #[cfg(not(unix))]
    let _ = old;
    options.open(path)
}

/// The error for the file at `path`, which is what the caller named: not the temporary one beside it.
pub(crate) fn failed(path: &Path, source: io::Error) -> GgufError {
    GgufError::Write { path: path.to_owned(), source }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
