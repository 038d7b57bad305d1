//! The order of rotated files.

use std::path::{Path, PathBuf};

/// Files of one log, the oldest first: as newsyslog(8) counts, `messages.1` is
/// older than `messages.0`, and that than `messages`.  A suffix of compression
/// does not count.  Logs of different names stay in the order given.
pub fn oldest_first(paths: &[PathBuf]) -> Vec<PathBuf> {
    let keys: Vec<(PathBuf, Option<u64>)> = paths.iter().map(|path| key(path)).collect();
    let mut order: Vec<usize> = (0..paths.len()).collect();
    order.sort_by_key(|i| {
        let (stem, number) = &keys[*i];
        let first = keys.iter().position(|(other, _)| other == stem);
        // The current file has no number and is the newest.
        (first, number.map_or(1, |_| 0), std::cmp::Reverse(*number))
    });
    order.into_iter().map(|i| paths[i].clone()).collect()
}

fn key(path: &Path) -> (PathBuf, Option<u64>) {
    let mut path = path.to_owned();
    let packed = path.extension().and_then(|e| e.to_str());
    if matches!(packed, Some("gz" | "zst" | "bz2" | "xz")) {
        path.set_extension("");
    }
    let number = path.extension().and_then(|e| e.to_str()?.parse().ok());
    if number.is_some() {
        path.set_extension("");
    }
    (path, number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_come_oldest_first() {
        let order = |names: &[&str]| {
            let paths: Vec<PathBuf> = names.iter().map(PathBuf::from).collect();
            oldest_first(&paths)
                .iter()
                .map(|p| p.display().to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            order(&["messages", "messages.0.gz", "messages.10.zst", "messages.2"]),
            ["messages.10.zst", "messages.2", "messages.0.gz", "messages"]
        );
        assert_eq!(
            order(&["b.log", "a.log", "b.log.0"]),
            ["b.log.0", "b.log", "a.log"]
        );
        assert_eq!(order(&["-"]), ["-"]);
    }
}
