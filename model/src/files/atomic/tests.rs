use std::os::unix::fs::{MetadataExt, symlink};

use super::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A directory with `victim`, which must not change.
fn place() -> (tempfile::TempDir, PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let victim = place.path().join("victim");
    fs::write(&victim, "precious").unwrap();
    (place, victim)
}

#[test]
fn planted_links_do_not_redirect_writes() {
    let (place, victim) = place();
    let out = place.path().join("out");
    fs::create_dir(&out).unwrap();
    let path = out.join("summary.json");
    symlink(&victim, &path).unwrap();
    // Names formerly used for temporary files.
    for suffix in [".part", ".partial", ".tmp"] {
        let mut planted = path.clone().into_os_string();
        planted.push(suffix);
        symlink(&victim, planted).unwrap();
    }
    create_new(&path, b"new").unwrap_err();
    replace(&path, b"new").unwrap();
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert!(fs::symlink_metadata(&path).unwrap().is_file());
    // A dangling link also occupies a name.
    let dangling = out.join("dangling");
    symlink(place.path().join("nowhere"), &dangling).unwrap();
    let error = create_new(&dangling, b"new").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert!(!place.path().join("nowhere").exists());
}

#[test]
fn linked_directories_are_followed() {
    let (place, _) = place();
    let real = place.path().join("real");
    fs::create_dir(&real).unwrap();
    symlink(&real, place.path().join("out")).unwrap();
    replace(&place.path().join("out/file"), b"new").unwrap();
    assert_eq!(fs::read(real.join("file")).unwrap(), b"new");
}

#[test]
fn temporary_names_are_unpredictable_and_removed() {
    let (place, _) = place();
    let path = place.path().join("pool.parquet");
    let one = AtomicFile::create(&path, Existing::Keep).unwrap();
    let other = AtomicFile::create(&path, Existing::Keep).unwrap();
    assert_ne!(one.temporary(), other.temporary());
    assert_eq!(one.temporary().parent(), Some(place.path()));
    let name = one.temporary().file_name().unwrap();
    assert_eq!(final_name(name), path.file_name(), "{name:?}");
    drop(one);
    drop(other);
    assert_eq!(names(place.path()), ["victim"]);
}

#[test]
fn second_commit_does_not_replace_a_kept_file() {
    let (place, _) = place();
    let path = place.path().join("pool");
    let mut one = AtomicFile::create(&path, Existing::Keep).unwrap();
    let mut other = AtomicFile::create(&path, Existing::Keep).unwrap();
    one.write_all(b"one").unwrap();
    other.write_all(b"other").unwrap();
    one.commit().unwrap();
    let error = other.commit().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"one");
    assert_eq!(names(place.path()), ["pool", "victim"]);
}

#[test]
fn files_of_other_types_are_not_replaced() {
    let (place, _) = place();
    let fifo = place.path().join("fifo");
    mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let dir = place.path().join("dir");
    fs::create_dir(&dir).unwrap();
    for (path, why) in [
        (fifo.as_path(), "FIFO"),
        (&dir, "directory"),
        (Path::new("/dev/null"), "device"),
        (Path::new("/"), "directory"),
        (Path::new(".."), "directory"),
        (Path::new(""), "names no file"),
    ] {
        for existing in [Existing::Replace, Existing::Keep] {
            let error = AtomicFile::create(path, existing).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
            assert!(error.to_string().contains(why), "{path:?}: {error}");
        }
    }
}

#[test]
fn permissions_of_the_replaced_file_are_kept() {
    let (place, victim) = place();
    fs::set_permissions(&victim, Permissions::from_mode(0o600)).unwrap();
    replace(&victim, b"new").unwrap();
    assert_eq!(fs::metadata(&victim).unwrap().mode() & 0o777, 0o600);
    // A new file has default permissions according to the umask.
    let (new, usual) = (place.path().join("new"), place.path().join("usual"));
    replace(&new, b"new").unwrap();
    fs::write(&usual, b"new").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode();
    assert_eq!(mode(&new), mode(&usual));
}

#[test]
fn longest_file_name_can_be_written() {
    let (place, _) = place();
    let longest = place.path().join("n".repeat(255));
    replace(&longest, b"new").unwrap();
    assert_eq!(fs::read(&longest).unwrap(), b"new");
    let error = replace(&place.path().join("n".repeat(5000)), b"new").unwrap_err();
    assert_eq!(
        rustix::io::Errno::from_io_error(&error),
        Some(rustix::io::Errno::NAMETOOLONG)
    );
}

#[test]
fn similar_names_are_not_leftovers() {
    let (place, _) = place();
    let kept = [
        "last",
        "last.part",
        "last.short.part",
        "last.toolongname.part",
        "late.abcdEF12.part",
    ];
    for name in kept {
        fs::write(place.path().join(name), "").unwrap();
    }
    fs::write(place.path().join("last.abcdEF12.part"), "").unwrap();
    fs::create_dir_all(place.path().join("last.12345678.part/1")).unwrap();
    remove_leftovers(place.path(), |name| name == "last").unwrap();
    let mut want = kept.map(str::to_owned).to_vec();
    want.push("victim".to_owned());
    want.sort();
    assert_eq!(names(place.path()), want);
}
