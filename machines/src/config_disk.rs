//! The configuration disk of a machine: an ISO 9660 (ECMA-119) image with one
//! directory of a few small files. FreeBSD shows it by its label, as
//! `/dev/iso9660/L4SLLM`.
//!
//! Names are those of interchange level 2, which FreeBSD shows in lower case.
//! They need no extension, and writing the image needs no other program.

use crate::Error;

/// Volume label.
pub const LABEL: &str = "L4SLLM";

/// Bytes of a logical block.
const BLOCK: usize = 2048;
/// The first 16 blocks are the system's.
const PRIMARY: usize = 16;
const TERMINATOR: usize = 17;
const PATHS_LE: usize = 18;
const PATHS_BE: usize = 19;
const ROOT: usize = 20;
const DATA: usize = 21;
/// Maximum size of one file, bytes: a key and settings are far smaller.
const MOST: usize = 1 << 20;

/// Returns an image with files of the given names, each 1 to 30 of `a`-`z`, digits, `_`
/// and at most one `.`.
///
/// # Errors
/// A file is larger than 1 MiB.
pub fn image(files: &[(&'static str, &[u8])]) -> Result<Vec<u8>, Error> {
    let mut records: Vec<(String, usize, &[u8])> = Vec::new();
    let mut next = DATA;
    for &(name, contents) in files {
        if contents.len() > MOST {
            return Err(Error::TooLarge {
                name,
                bytes: contents.len(),
                most: MOST,
            });
        }
        records.push((identifier(name), next, contents));
        // An empty file has a block too.
        next += contents.len().div_ceil(BLOCK).max(1);
    }
    // Directory records are in the order of their identifiers (ECMA-119, 9.3).
    records.sort();

    let mut image = vec![0; next * BLOCK];
    let mut put = |block: usize, bytes: &[u8]| {
        image[block * BLOCK..][..bytes.len()].copy_from_slice(bytes);
    };
    put(PRIMARY, &primary_descriptor(next));
    put(TERMINATOR, &[0xff, b'C', b'D', b'0', b'0', b'1', 1]);
    put(PATHS_LE, &path_table(u32::to_le_bytes, u16::to_le_bytes));
    put(PATHS_BE, &path_table(u32::to_be_bytes, u16::to_be_bytes));
    put(ROOT, &directory(&records));
    for (_, block, contents) in &records {
        put(*block, contents);
    }
    Ok(image)
}

/// Upper case, with a separator before the extension and a version.
fn identifier(name: &str) -> String {
    let dot = if name.contains('.') { "" } else { "." };
    format!("{}{dot};1", name.to_ascii_uppercase())
}

/// A number in both byte orders (ECMA-119, 7.3.3).
fn both32(number: usize) -> [u8; 8] {
    let number = number as u32;
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// ECMA-119, 8.4.
fn primary_descriptor(blocks: usize) -> [u8; BLOCK] {
    let mut bytes = [0; BLOCK];
    let mut put = |at: usize, value: &[u8]| bytes[at - 1..][..value.len()].copy_from_slice(value);
    put(1, &[1, b'C', b'D', b'0', b'0', b'1', 1]);
    put(9, &[b' '; 64]);
    put(41, LABEL.as_bytes());
    put(81, &both32(blocks));
    // One volume of a set of one; 7.2.3.
    put(121, &[1, 0, 0, 1, 1, 0, 0, 1]);
    put(129, &[0x00, 0x08, 0x08, 0x00]);
    put(133, &both32(10));
    put(141, &(PATHS_LE as u32).to_le_bytes());
    put(149, &(PATHS_BE as u32).to_be_bytes());
    put(157, &record(&[0], ROOT, BLOCK, true));
    put(191, &[b' '; 623]);
    // Unspecified times: digits zero, offset zero.
    for at in [814, 831, 848, 865] {
        put(at, &[b'0'; 16]);
    }
    put(882, &[1]);
    bytes
}

/// The root alone (ECMA-119, 9.4).
fn path_table(number: fn(u32) -> [u8; 4], short: fn(u16) -> [u8; 2]) -> Vec<u8> {
    [&[1, 0][..], &number(ROOT as u32), &short(1), &[0, 0]].concat()
}

fn directory(records: &[(String, usize, &[u8])]) -> Vec<u8> {
    let mut bytes = record(&[0], ROOT, BLOCK, true);
    bytes.extend(record(&[1], ROOT, BLOCK, true));
    for (name, block, contents) in records {
        bytes.extend(record(name.as_bytes(), *block, contents.len(), false));
    }
    debug_assert!(bytes.len() <= BLOCK);
    bytes
}

/// A directory record (ECMA-119, 9.1).
fn record(name: &[u8], block: usize, length: usize, directory: bool) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(both32(block));
    bytes.extend(both32(length));
    // 1 January 2025, so that the same files give the same image.
    bytes.extend([125, 1, 1, 0, 0, 0, 0]);
    bytes.extend([u8::from(directory) << 1, 0, 0]);
    bytes.extend([1, 0, 0, 1]);
    bytes.push(name.len() as u8);
    bytes.extend(name);
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes[0] = bytes.len() as u8;
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn number(bytes: &[u8], at: usize) -> usize {
        let little = u32::from_le_bytes(bytes[at..][..4].try_into().unwrap());
        let big = u32::from_be_bytes(bytes[at + 4..][..4].try_into().unwrap());
        assert_eq!(little, big);
        little as usize
    }

    /// Reads an image according to ECMA-119: names with their contents.
    fn files(image: &[u8]) -> Vec<(String, Vec<u8>)> {
        let descriptor = &image[16 * 2048..][..2048];
        assert_eq!(&descriptor[..7], b"\x01CD001\x01");
        assert_eq!(&descriptor[40..72], format!("{LABEL:32}").as_bytes());
        assert_eq!(number(descriptor, 80) * 2048, image.len());
        assert_eq!(&image[17 * 2048..][..7], b"\xffCD001\x01");
        let root = &descriptor[156..];
        let (block, length) = (number(root, 2), number(root, 10));
        // Both path tables lead to the same directory.
        let little = u32::from_le_bytes(descriptor[140..144].try_into().unwrap()) as usize;
        let big = u32::from_be_bytes(descriptor[148..152].try_into().unwrap()) as usize;
        let entry = |table: usize| <[u8; 4]>::try_from(&image[table * 2048 + 2..][..4]).unwrap();
        assert_eq!(u32::from_le_bytes(entry(little)) as usize, block);
        assert_eq!(u32::from_be_bytes(entry(big)) as usize, block);

        let directory = &image[block * 2048..][..length];
        let mut found = Vec::new();
        let mut at = 0;
        while directory[at] != 0 {
            let record = &directory[at..][..usize::from(directory[at])];
            assert_eq!(record.len() % 2, 0);
            let name = &record[33..][..usize::from(record[32])];
            if record[25] & 2 == 0 {
                let contents = &image[number(record, 2) * 2048..][..number(record, 10)];
                found.push((String::from_utf8(name.to_vec()).unwrap(), contents.to_vec()));
            } else {
                assert_eq!(number(record, 2), block);
            }
            at += record.len();
        }
        found
    }

    #[test]
    fn an_image_has_its_label_and_files() {
        let long = vec![b'x'; 5000];
        let image = image(&[
            ("role", b"router\n"),
            ("testbed.conf", b""),
            ("authorized_keys", &long),
        ])
        .unwrap();
        let expected = [
            ("AUTHORIZED_KEYS.;1", &long[..]),
            ("ROLE.;1", b"router\n"),
            ("TESTBED.CONF;1", b""),
        ];
        let expected = expected.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
        assert_eq!(files(&image), expected);
    }

    #[test]
    fn the_same_files_give_the_same_image() {
        let files: &[(&'static str, &[u8])] = &[("role", b"server\n")];
        assert_eq!(image(files).unwrap(), image(files).unwrap());
    }

    #[test]
    fn names_file_that_is_too_large() {
        let error = image(&[("testbed.conf", &vec![0; MOST + 1])]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "testbed.conf: 1048577 bytes exceed the maximum of a configuration disk, 1048576"
        );
    }
}
