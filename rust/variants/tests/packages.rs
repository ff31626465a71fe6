//! Libraries of other installed packages: listed, and used by those who name them.
// Helpers outside `#[test]` functions may fail as tests do.
#![allow(clippy::unwrap_used)]

use tabagent_variants::{
    Hardware, LibrarySource, System, VariantRequest, discover, discover_packages, rank, select,
};

fn library(folder: &std::path::Path) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join(System::host().library_file()), "").unwrap();
}

#[test]
fn a_library_of_another_package_is_taken_by_name_and_never_by_itself() {
    let root = tempfile::tempdir().unwrap();
    let (theirs, ours) = (root.path().join("theirs"), root.path().join("ours"));
    library(&theirs);
    let packages = [
        ("llama-cpp-python".to_owned(), theirs.clone()),
        ("nothing-there".to_owned(), root.path().join("no-such-folder")),
    ];
    let mut dirs = discover_packages(&packages);
    assert_eq!(dirs.len(), 1);
    assert_eq!(dirs[0].source, LibrarySource::Package { name: "llama-cpp-python".to_owned() });
    let alone = rank(&Hardware::probe(), &dirs);
    assert!(select(&VariantRequest::Auto, &alone).is_err());

    library(&ours);
    dirs.extend(discover(None, None, &[], Some(&ours)).into_iter().flatten());
    let verdicts = rank(&Hardware::probe(), &dirs);
    let chosen = |request: &str| select(&request.parse().unwrap(), &verdicts).unwrap();
    assert_eq!(chosen("auto").verdict.source, LibrarySource::Bundled);
    assert_eq!(chosen("auto").warning, None);
    let named = chosen("llama-cpp-python").verdict;
    assert_eq!((named.path.file_name(), named.only_named), (theirs.file_name(), true));
    assert!(named.reason.contains("the installed package `llama-cpp-python`"), "{}", named.reason);
}
