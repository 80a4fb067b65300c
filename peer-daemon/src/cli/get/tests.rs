//! Files on their way to their name.

use super::*;

fn meant(content: &[u8]) -> Meant {
    let mut hash = RunningSha256::default();
    hash.update(content);
    Meant { oid: hash.finish(), size: u64::try_from(content.len()).ok() }
}

#[test]
fn what_is_not_the_object_never_gets_its_name() {
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("source");
    let to = directory.path().join("sub").join("object");
    std::fs::write(&source, b"something else").expect("write");
    let told = copy(&source, meant(b"wanted"), &to).expect_err("not it").to_string();
    assert!(told.contains("thrown away"), "{told}");
    let left = std::fs::read_dir(directory.path().join("sub")).expect("made").count();
    assert_eq!(left, 0);
}

#[test]
fn a_copy_of_the_daemons_file_is_a_file_of_its_own() {
    use std::os::unix::fs::MetadataExt;
    let directory = tempfile::tempdir().expect("a directory");
    let (source, to) = (directory.path().join("source"), directory.path().join("object"));
    std::fs::write(&source, b"wanted").expect("write");
    copy(&source, meant(b"wanted"), &to).expect("it is the object");
    assert_eq!(std::fs::read(&to).expect("read"), b"wanted");
    let number = |path: &Path| std::fs::metadata(path).expect("there").ino();
    assert_ne!(number(&source), number(&to));
}

#[test]
fn a_header_is_name_and_value() {
    let parsed = header("Authorization:  Basic x:y").expect("a header");
    assert_eq!((parsed.name.as_str(), &parsed.value[..]), ("authorization", b"Basic x:y".as_slice()));
    assert!(header("nonsense").is_err());
}
