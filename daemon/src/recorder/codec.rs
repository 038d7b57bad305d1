//! Bytes of a recording: the only module that knows bincode.
//!
//! ```text
//! segment = header, frame ...
//! header  = magic (8) · version (u16) · 0 (u16) · header length (u32) · segment number (u64)
//!           · CRC-32C of the bytes before it (u32)
//! frame   = length of the content (u32) · CRC-32C of length and content (u32) · content
//! content = a `Frame`, encoded by bincode 2.0.1 (standard configuration, serde)
//! ```
//!
//! All numbers are little-endian. A segment ends at its last whole frame with a
//! matching checksum; bytes after it are a frame that was being written when the
//! process or the disk stopped it.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};

use super::frame::Frame;

/// Beginning of every segment.
pub const MAGIC: [u8; 8] = *b"L4SFLIGH";

/// Version of header, frames and their content. Raised with every change of
/// [`Frame`] or of anything in it.
pub const VERSION: u16 = 3;

/// Bytes of the header.
pub const HEADER: usize = 28;

/// Bytes before a frame's content.
pub const FRAME_HEADER: usize = 8;

/// Maximum size of a frame's content, bytes: several times a turn of the worker.
pub const MAX_FRAME: usize = 64 << 20;

/// Also limits what a hostile length makes the decoder allocate.
const CONFIG: Configuration<LittleEndian, Varint, Limit<MAX_FRAME>> =
    bincode::config::standard().with_limit::<MAX_FRAME>();

/// A header that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum HeaderError {
    /// It is not a segment, or its header was not completely written.
    #[error("not a flight recording: its header is missing or damaged")]
    Foreign,
    /// Another version.
    #[error("version {0} of the recording; this program reads version {VERSION}")]
    Version(u16),
}

/// The header of segment `number`.
pub fn header(number: u64) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(&MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&(HEADER as u32).to_le_bytes());
    out[16..24].copy_from_slice(&number.to_le_bytes());
    let checksum = crc32c::crc32c(&out[..24]);
    out[24..].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// The number of the segment that begins with these bytes.
///
/// # Errors
/// They are not a header of this version.
pub fn segment_number(bytes: &[u8]) -> Result<u64, HeaderError> {
    let head: &[u8; HEADER] = bytes.first_chunk().ok_or(HeaderError::Foreign)?;
    if head[..8] != MAGIC || u32_at(head, 24) != crc32c::crc32c(&head[..24]) {
        return Err(HeaderError::Foreign);
    }
    let version = u16::from_le_bytes([head[8], head[9]]);
    if version != VERSION || u32_at(head, 12) as usize != HEADER {
        return Err(HeaderError::Version(version));
    }
    let (low, high) = (u32_at(head, 16), u32_at(head, 20));
    Ok(u64::from(low) | u64::from(high) << 32)
}

/// Encodes a frame with its length and checksum into `out`, which is cleared.
/// False if it exceeds [`MAX_FRAME`]; `out` is then empty.
pub fn encode(frame: &Frame, out: &mut Vec<u8>) -> bool {
    out.clear();
    out.resize(FRAME_HEADER, 0);
    // Into a vector, encoding fails only beyond the limit.
    if bincode::serde::encode_into_std_write(frame, out, CONFIG).is_err()
        || out.len() - FRAME_HEADER > MAX_FRAME
    {
        out.clear();
        return false;
    }
    let length = (out.len() - FRAME_HEADER) as u32;
    out[..4].copy_from_slice(&length.to_le_bytes());
    let checksum = checksum(length, &out[FRAME_HEADER..]);
    out[4..8].copy_from_slice(&checksum.to_le_bytes());
    true
}

/// The frames of a segment, after its header, in order.
#[derive(Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

/// The frames in `segment`, a header and what follows.
pub fn frames(segment: &[u8]) -> Frames<'_> {
    Frames {
        rest: segment.get(HEADER..).unwrap_or_default(),
    }
}

impl Frames<'_> {
    /// Bytes after the last whole frame.
    pub fn torn(&self) -> usize {
        self.rest.len()
    }
}

impl Iterator for Frames<'_> {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        let head: &[u8; FRAME_HEADER] = self.rest.first_chunk()?;
        let length = u32_at(head, 0);
        let content = self
            .rest
            .get(FRAME_HEADER..FRAME_HEADER + length as usize)?;
        if u32_at(head, 4) != checksum(length, content) {
            return None;
        }
        let (frame, used) = bincode::serde::decode_from_slice(content, CONFIG).ok()?;
        if used != content.len() {
            return None;
        }
        self.rest = &self.rest[FRAME_HEADER + length as usize..];
        Some(frame)
    }
}

fn checksum(length: u32, content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), content)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    four.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(four)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn segment(frames: &[Frame]) -> Vec<u8> {
        let mut out = header(7).to_vec();
        let mut one = Vec::new();
        for frame in frames {
            assert!(encode(frame, &mut one));
            out.extend_from_slice(&one);
        }
        out
    }

    #[test]
    fn a_cut_anywhere_loses_only_the_last_frame() {
        let written = [
            Frame::Torn(3),
            Frame::IdleBudget(Some(0.004)),
            Frame::Opened,
        ];
        let whole = segment(&written);
        let ends: Vec<usize> = (0..=3).map(|n| segment(&written[..n]).len()).collect();
        for cut in HEADER..=whole.len() {
            let expected = ends.iter().filter(|end| **end <= cut).count() - 1;
            let mut read = frames(&whole[..cut]);
            let got: Vec<Frame> = read.by_ref().collect();
            assert_eq!(got, written[..expected], "cut at {cut}");
            assert_eq!(read.torn(), cut - ends[expected]);
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_segment_before_its_frame() {
        let whole = segment(&[Frame::Opened, Frame::Torn(9)]);
        let first = segment(&[Frame::Opened]).len();
        for bit in first * 8..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(frames(&bytes).count(), 1, "bit {bit}");
        }
    }

    #[test]
    fn a_header_names_its_segment_and_version() {
        assert_eq!(segment_number(&header(u64::MAX)), Ok(u64::MAX));
        assert_eq!(segment_number(&[0; HEADER]), Err(HeaderError::Foreign));
        assert_eq!(segment_number(&header(1)[..20]), Err(HeaderError::Foreign));
        for other in [VERSION - 1, VERSION + 1] {
            let mut foreign = header(1);
            foreign[8..10].copy_from_slice(&other.to_le_bytes());
            let sum = crc32c::crc32c(&foreign[..24]);
            foreign[24..].copy_from_slice(&sum.to_le_bytes());
            assert_eq!(segment_number(&foreign), Err(HeaderError::Version(other)));
        }
    }

    proptest! {
        #[test]
        fn foreign_content_with_a_right_checksum_is_refused_or_decoded(
            content in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut bytes = header(1).to_vec();
            let length = content.len() as u32;
            bytes.extend(length.to_le_bytes());
            bytes.extend(checksum(length, &content).to_le_bytes());
            bytes.extend(content);
            let _ = frames(&bytes).count();
        }
    }
}
