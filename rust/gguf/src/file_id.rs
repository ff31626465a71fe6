//! Which file it is, whatever its name.

use std::fs::File;
use std::path::Path;

/// The identity of a file: equal for all its paths, symbolic and hard links. The numbers of its file system and of the file in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId(u64, u64);

impl FileId {
    /// The file that `path` leads to; `None` if there is none.
    pub(crate) fn of_path(path: &Path) -> Option<Self> {
        Facts::of_path(path).map(|facts| facts.id)
    }

    /// The identity of an open file.
    pub(crate) fn of_file(file: &File) -> Option<Self> {
        Facts::of_file(file).map(|facts| facts.id)
    }
}

/// How many names the file that `path` leads to has; `None` if there is none.
pub(crate) fn name_count(path: &Path) -> Option<u64> {
    Facts::of_path(path).map(|facts| facts.names)
}

struct Facts {
    id: FileId,
    names: u64,
}

#[cfg(unix)]
impl Facts {
    fn of_path(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().as_ref().map(Self::of_metadata)
    }

    fn of_file(file: &File) -> Option<Self> {
        file.metadata().ok().as_ref().map(Self::of_metadata)
    }

    fn of_metadata(metadata: &std::fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { id: FileId(metadata.dev(), metadata.ino()), names: metadata.nlink() }
    }
}

#[cfg(windows)]
impl Facts {
    fn of_path(path: &Path) -> Option<Self> {
        let handle = winapi_util::Handle::from_path_any(path).ok()?;
        winapi_util::file::information(&handle).ok().as_ref().map(Self::of_information)
    }

    fn of_file(file: &File) -> Option<Self> {
        winapi_util::file::information(file).ok().as_ref().map(Self::of_information)
    }

    fn of_information(found: &winapi_util::file::Information) -> Self {
        Self { id: FileId(found.volume_serial_number(), found.file_index()), names: found.number_of_links() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_all_its_names_and_when_open() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two, other) =
            (folder.path().join("one"), folder.path().join("two"), folder.path().join("other"));
        std::fs::write(&one, "same").unwrap();
        std::fs::write(&other, "same").unwrap();
        assert_eq!(name_count(&one), Some(1));
        std::fs::hard_link(&one, &two).unwrap();
        assert_eq!(FileId::of_path(&one), FileId::of_path(&two));
        assert_eq!(FileId::of_path(&one), FileId::of_file(&File::open(&two).unwrap()));
        assert_ne!(FileId::of_path(&one), FileId::of_path(&other));
        assert_eq!((name_count(&one), name_count(&other)), (Some(2), Some(1)));
        assert_eq!(
            (FileId::of_path(&folder.path().join("none")), name_count(Path::new("none"))),
            (None, None)
        );
    }
}
