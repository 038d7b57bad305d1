//! Detection of a file's format from its first bytes.

use std::io::{Cursor, Read};
use std::path::Path;

use super::table::{Header, LineEnds, decode};
use super::{CaptureReader, PoolError};
use crate::files::open_regular;
use crate::log::unpack;

/// Number of bytes examined.
const HEAD: u64 = 1 << 16;

/// Format of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// A Parquet pool.
    Parquet,
    /// A JSON pool.
    Json,
    /// A device capture.
    Capture,
    /// A table with a header.
    Table,
    /// Lines of text, possibly of the kernel log, with the reason why they are
    /// not a table.
    Text(String),
    /// An unsupported format: its name and what to do.
    Foreign(String),
}

/// The accepted formats, for messages.
pub const ACCEPTED: &str = "kernel logs (plain, gzip, Zstandard), tables with a header (CSV), \
                            captures of a device; pools are Parquet or JSON";

impl Format {
    /// Detects the format of a regular file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of(path: &Path) -> Result<Format, PoolError> {
        let mut head = Vec::new();
        let file = open_regular(path).map_err(PoolError::io("open", path))?;
        let read = file.take(HEAD).read_to_end(&mut head);
        read.map_err(PoolError::io("read", path))?;
        Ok(Format::of_head(&head))
    }

    /// Detects the format from the beginning of a file.
    pub fn of_head(head: &[u8]) -> Format {
        if head.starts_with(b"PAR1") {
            return Format::Parquet;
        }
        if CaptureReader::is_one(head) {
            return Format::Capture;
        }
        if let Some(name) = foreign(head) {
            return Format::Foreign(name);
        }
        let mut unpacked = Vec::new();
        let packed = head.starts_with(&[0x1f, 0x8b]) || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]);
        if packed {
            if let Ok(file) = unpack::unpack(Cursor::new(head.to_vec()), Default::default()) {
                // The head ends in the middle of a character; the text before
                // it counts.
                let _ = file.take(HEAD).read_to_end(&mut unpacked);
            }
            if let Some(name) = foreign(&unpacked) {
                return Format::Foreign(format!("compressed; it contains {name}"));
            }
            if unpacked.starts_with(b"PAR1") || unpacked.starts_with(b"{") {
                let reason = "a compressed pool: decompress it";
                return Format::Foreign(reason.to_owned());
            }
        }
        let mut text = Vec::new();
        let whole = if packed { &unpacked } else { head };
        // Invalid encodings are reported below.
        let _ = LineEnds::new(decode(whole)).read_to_end(&mut text);
        of_text(&text)
    }
}

fn of_text(text: &[u8]) -> Format {
    let has = |what: &str| memchr::memmem::find(text, what.as_bytes()).is_some();
    match text.trim_ascii_start().first() {
        Some(b'{') if has("\"__REALTIME_TIMESTAMP\"") => {
            let reason = "journalctl's JSON: export it with journalctl -o short-iso-precise";
            Format::Foreign(reason.to_owned())
        }
        Some(b'{') => Format::Json,
        _ if has("ecn_marking-start") => Format::Text("a kernel log".to_owned()),
        Some(b'[') if has("{\"") => {
            let reason = "a JSON list of rows: write a table, df.to_csv(\"pool.csv\", index=False)";
            Format::Foreign(reason.to_owned())
        }
        _ => match Header::find(text) {
            Ok(_) => Format::Table,
            Err(what) => Format::Text(what),
        },
    }
}

/// Name of an unsupported format, and what to do with it.
fn foreign(head: &[u8]) -> Option<String> {
    /// Advice for a compressed file, by the program that unpacks it.
    macro_rules! unpack {
        ($program:literal) => {
            concat!(
                "decompress it into a pipe: ",
                $program,
                " FILE | l4sllm pool import - --out POOL.parquet"
            )
        };
    }
    const CONVERT: &str = "write it as a table, df.to_csv(\"pool.csv\", index=False)";
    if is_pickle(head) {
        return Some(PICKLE.to_owned());
    }
    let has = |what: &[u8]| memchr::memmem::find(head, what).is_some();
    if head.starts_with(b"PK\x03\x04") {
        let name = match () {
            () if has(b"xl/") || has(b"[Content_Types].xml") => "an Excel workbook: save it as CSV",
            () if has(b".npy") => "a NumPy archive (.npz): write its arrays as a table",
            () if has(b"data.pkl") => {
                "a PyTorch file, which can run code when it is loaded: write a table from Python"
            }
            () => "a zip archive: unpack it",
        };
        return Some(name.to_owned());
    }
    const MAGIC: [(&[u8], &str, &str); 21] = [
        (
            b"\x93NUMPY",
            "a NumPy array (.npy)",
            "write it as a table, numpy.savetxt(..., header=...)",
        ),
        (
            b"ARROW1",
            "an Arrow or Feather file",
            "write it as Parquet or as a table",
        ),
        (
            b"FEA1",
            "a Feather file",
            "write it as Parquet or as a table",
        ),
        (
            b"\xff\xff\xff\xff",
            "an Arrow stream",
            "write it as Parquet or as a table",
        ),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file", CONVERT),
        (
            b"SQLite format 3\0",
            "an SQLite database",
            "export its table as CSV",
        ),
        (b"ORC", "an ORC file", "write it as Parquet or as a table"),
        (
            b"Obj\x01",
            "an Avro file",
            "write it as Parquet or as a table",
        ),
        (
            b"\xd0\xcf\x11\xe0",
            "an Excel workbook (.xls)",
            "save it as CSV",
        ),
        (
            b"LPKSHHRH",
            "a systemd journal",
            "export it, journalctl --file=FILE -o short-iso-precise",
        ),
        (
            b"\xd4\xc3\xb2\xa1",
            "a packet capture (pcap)",
            "expected the kernel log or a device's capture",
        ),
        (
            b"\x0a\x0d\x0d\x0a",
            "a packet capture (pcapng)",
            "expected the kernel log or a device's capture",
        ),
        (
            b"version https://git-lfs",
            "a Git LFS pointer",
            "get the file itself, git lfs pull",
        ),
        (b"<!DOCTYPE", "a web page", "get the file itself"),
        (b"<html", "a web page", "get the file itself"),
        (b"BZh", "compressed with bzip2", unpack!("bzip2 -dc")),
        (b"\xfd7zXZ\0", "compressed with xz", unpack!("xz -dc")),
        (
            b"\x04\x22\x4d\x18",
            "compressed with lz4",
            unpack!("lz4 -dc"),
        ),
        (
            b"\x1f\x9d",
            "compressed with compress",
            unpack!("uncompress -c"),
        ),
        (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it"),
        (b"\xff\xfe\0\0", "UTF-32 text", "save it as UTF-8"),
    ];
    let found = MAGIC.iter().find(|(magic, ..)| head.starts_with(magic));
    if let Some((_, name, advice)) = found {
        return Some(format!("{name}: {advice}"));
    }
    let at = |place: usize, what: &[u8]| head.get(place..).is_some_and(|h| h.starts_with(what));
    if at(257, b"ustar") {
        return Some("a tar archive: unpack it".to_owned());
    }
    at(8, b"DUCK").then(|| "a DuckDB database: COPY its table TO a Parquet file".to_owned())
}

/// Advice for a pickle; the command accepts dictionaries and objects of lists,
/// as the authors write them, with NumPy values.
const PICKLE: &str = "a Python pickle, which can run code when it is loaded, and is not read \
    here: if you trust it, convert it with python3 -c 'import json,pickle,sys; \
    p=pickle.load(open(sys.argv[1],\"rb\")); json.dump(p if isinstance(p,dict) else vars(p), \
    open(sys.argv[2],\"w\"), default=lambda x: x.tolist())' FILE pool.json, where the class that \
    it names can be imported, or a DataFrame with \
    pandas.read_pickle(FILE).to_csv(\"pool.csv\", index=False)";

fn is_pickle(head: &[u8]) -> bool {
    const OPCODES: &[u8] = b"\x95}](cN\x8cXKG";
    match head {
        // Protocol 2 and later: protocol number and first opcode.
        [0x80, 2..=5, opcode, ..] => OPCODES.contains(opcode),
        _ => [
            // Protocol 0.
            b"(dp".as_slice(),
            b"(lp",
            // Protocol 1: an empty dictionary or list, and its memo index.
            b"}q\0",
            b"]q\0",
            // Either: an instance of a class.
            b"(i",
            b"ccopy_reg\n",
            b"c__main__\n",
            b"cpandas",
            b"cnumpy",
        ]
        .iter()
        .any(|start| head.starts_with(start)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_named() {
        let long = |start: &[u8]| [start, &[b' '; 600]].concat();
        let mut tar = vec![b'x'; 600];
        tar[257..262].copy_from_slice(b"ustar");
        for (head, says) in [
            (
                b"\x80\x04\x95\x8a\0\0\0\0\0\0\0}\x94(".to_vec(),
                "Python pickle, which can run code",
            ),
            (b"\x80\x02}q\x00(X".to_vec(), "Python pickle"),
            (
                b"}q\0X\x06\0\0\0statesq\x01]q\x02".to_vec(),
                "Python pickle",
            ),
            (b"]q\0(K\x01K\x02e.".to_vec(), "Python pickle"),
            (
                b"ccopy_reg\n_reconstructor\nq\0(c__main__\nPool\n".to_vec(),
                "Python pickle",
            ),
            (b"(dp0\nS'states'\n".to_vec(), "Python pickle"),
            (long(b"\x93NUMPY\x01\0"), ".npy"),
            (
                long(b"PK\x03\x04 xl/workbook.xml"),
                "Excel workbook: save it as CSV",
            ),
            (long(b"PK\x03\x04 states.npy"), ".npz"),
            (long(b"PK\x03\x04 archive/data.pkl"), "PyTorch"),
            (long(b"PK\x03\x04"), "zip archive"),
            (long(b"ARROW1\0\0"), "Feather"),
            (long(b"LPKSHHRH"), "journalctl --file"),
            (
                long(b"version https://git-lfs.github.com/spec/v1\n"),
                "git lfs pull",
            ),
            (
                long(b"BZh9"),
                "bzip2 -dc FILE | l4sllm pool import - --out POOL.parquet",
            ),
            (long(b"\xfd7zXZ\0"), "xz -dc FILE | l4sllm"),
            (long(b"\x04\x22\x4d\x18"), "lz4 -dc FILE | l4sllm"),
            (long(b"\x1f\x9d"), "uncompress -c FILE | l4sllm"),
            (tar, "tar archive"),
            (
                b"{\"__REALTIME_TIMESTAMP\" : \"1\"}".to_vec(),
                "short-iso-precise",
            ),
            (b"[{\"action\": 1}]".to_vec(), "to_csv"),
        ] {
            match Format::of_head(&head) {
                Format::Foreign(name) => assert!(name.contains(says), "{says}: {name}"),
                other => panic!("{says}: {other:?}"),
            }
        }
        assert_eq!(Format::of_head(b"PAR1"), Format::Parquet);
        assert_eq!(Format::of_head(b" {\"states\": []}"), Format::Json);
        assert_eq!(Format::of_head(b"reward;Action\n1;0\n"), Format::Table);
        let is_text = |head: &[u8]| matches!(Format::of_head(head), Format::Text(_));
        assert!(is_text(b"Nov 20 10:11:12 gw kernel: x\n"));
        assert!(is_text(b"[ 12.5] l4s_ecn_marking-start,0"));
        assert!(is_text(b""));
        // Only begins like a known format: binary messages of a log daemon.
        assert!(is_text(&[0x80, 0x04, 0xff, b'a', b'\n']));
    }

    #[test]
    fn detects_format_of_compressed_and_encoded_text() {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"action,reward\n0,1\n").unwrap();
        let gzip = gzip.finish().unwrap();
        assert_eq!(Format::of_head(&gzip), Format::Table);
        assert_eq!(Format::of_head(&gzip[..gzip.len() - 4]), Format::Table);
        let utf16: Vec<u8> = "\u{feff}action\treward\r"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(Format::of_head(&utf16), Format::Table);
        let Format::Text(what) = Format::of_head(&utf16[2..]) else {
            panic!("was read");
        };
        assert!(what.contains("UTF-16 without"), "{what}");
    }
}
