//! Framing of requests and replies on the Unix socket of an emulated device: a
//! fixed header, then `length` bytes.

use crate::bytes::{self, Plain};
use crate::{AbiError, Refusal, check, check_version, raw};

/// Bytes of a request's or reply's header.
pub const FRAME_SIZE: usize = size_of::<raw::l4s_request>();

/// Maximum number of bytes after a request's header.
pub const MAX_REQUEST: usize = 65_536;

/// Header of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The operation. Kept as a number: a device answers
    /// [`Refusal::Unsupported`] to an unknown one.
    pub op: u16,
    /// Chosen by the caller and returned in the reply.
    pub tag: u32,
    /// Bytes that follow, at most [`MAX_REQUEST`].
    pub length: u32,
}

impl Request {
    /// The header's bytes.
    pub fn to_bytes(&self) -> [u8; FRAME_SIZE] {
        frame_bytes(&raw::l4s_request {
            version: raw::L4S_ABI_VERSION as u16,
            op: self.op,
            tag: self.tag,
            length: self.length,
            pad: 0,
        })
    }

    /// Checks a header.
    ///
    /// # Errors
    /// Version, length beyond [`MAX_REQUEST`], or padding.
    pub fn from_bytes(frame: &[u8]) -> Result<Request, AbiError> {
        let r: raw::l4s_request = bytes::from_bytes(frame)?;
        let what = raw::l4s_request::NAME;
        check_version(what, r.version)?;
        let length = u64::from(r.length);
        check(
            length <= MAX_REQUEST as u64,
            what,
            "length",
            length,
            "at most 65536",
        )?;
        check(r.pad == 0, what, "pad", u64::from(r.pad), "0")?;
        Ok(Request {
            op: r.op,
            tag: r.tag,
            length: r.length,
        })
    }
}

/// Header of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Operation of the request.
    pub op: u16,
    /// Tag of the request.
    pub tag: u32,
    /// Number of bytes that follow, or the refusal.
    pub result: Result<u32, Refusal>,
}

impl Reply {
    /// The header's bytes.
    pub fn to_bytes(&self) -> [u8; FRAME_SIZE] {
        frame_bytes(&raw::l4s_reply {
            version: raw::L4S_ABI_VERSION as u16,
            op: self.op,
            tag: self.tag,
            error: self.result.err().map_or(0, Refusal::code),
            length: self.result.unwrap_or(0),
        })
    }

    /// Checks a header. `most` is the maximum length requested by the caller.
    ///
    /// # Errors
    /// Version, an unknown error number, or a length beyond `most`.
    pub fn from_bytes(frame: &[u8], most: usize) -> Result<Reply, AbiError> {
        let r: raw::l4s_reply = bytes::from_bytes(frame)?;
        let what = raw::l4s_reply::NAME;
        check_version(what, r.version)?;
        let length = u64::from(r.length);
        let result = if r.error == 0 {
            check(
                length <= most as u64,
                what,
                "length",
                length,
                "what was asked for",
            )?;
            Ok(r.length)
        } else {
            check(length == 0, what, "length", length, "0 with an error")?;
            Err(Refusal::try_from(r.error)?)
        };
        Ok(Reply {
            op: r.op,
            tag: r.tag,
            result,
        })
    }
}

fn frame_bytes<T: Plain>(frame: &T) -> [u8; FRAME_SIZE] {
    const { assert!(size_of::<T>() == FRAME_SIZE) };
    let mut out = [0; FRAME_SIZE];
    out.copy_from_slice(bytes::as_bytes(frame));
    out
}
