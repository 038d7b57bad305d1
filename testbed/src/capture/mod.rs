//! Captures for Wireshark: pcapng with a block for every packet on which a queue
//! took a verdict, and a comment with the verdict, its reason, the sojourn time and
//! the control in force.
//!
//! [`Capture`] writes the format; the router fills it with real packets, and
//! [`EmulatorCapture`] with headers made for the segments of a simulation.

mod comment;
mod emulated;
mod headers;

pub use emulated::EmulatorCapture;
pub use headers::headers;

use std::borrow::Cow;
use std::io::{self, Write};
use std::time::Duration;

use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::interface_statistics::{
    InterfaceStatisticsBlock, InterfaceStatisticsOption,
};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use pcap_file::{DataLink, Endianness, PcapError};

use crate::aqm::Departure;
use crate::router::InForce;

/// Maximum bytes kept of each packet: its headers, also those of tunnels.
pub const SNAP_BYTES: usize = 256;

/// Bytes that are collected before a write.
const PART: usize = 64 << 10;

/// The beginning of a capture.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Name of the interface that the packets leave by.
    pub interface: &'a str,
    /// Name of the queue discipline, for verdicts that depend on it.
    pub discipline: &'static str,
    /// Counts of a capture.
    pub comment: &'a str,
}

/// A packet on which a queue took a verdict.
#[derive(Debug, Clone, Copy)]
pub struct Verdict<'a> {
    /// Time of the verdict since 1970.
    pub at: Duration,
    /// The verdict.
    pub departure: &'a Departure,
    /// The control in force; `None` for a discipline without a device.
    pub in_force: Option<&'a InForce>,
    /// The packet after the verdict, from its IP header; at most [`SNAP_BYTES`] are
    /// kept.
    pub packet: &'a [u8],
    /// Number of packets that were not captured since the previous one.
    pub missing: u64,
}

/// Packets of a capture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptureCounts {
    /// Packets in the file.
    pub written: u64,
    /// Packets that were not captured.
    pub missing: u64,
}

/// A pcapng file that is being written.
///
/// Only whole blocks are passed to the output, so that the file can be read up to
/// its end even if the program is killed.
pub struct Capture<W: Write> {
    /// Blocks for the next write.
    writer: PcapNgWriter<Vec<u8>>,
    out: W,
    discipline: &'static str,
    comment: String,
    counts: CaptureCounts,
    /// Time of the last packet, since 1970.
    last: Duration,
}

impl<W: Write> Capture<W> {
    /// Writes the beginning of a capture.
    ///
    /// # Errors
    /// The output's.
    pub fn begin(out: W, about: About<'_>) -> io::Result<Capture<W>> {
        let section = SectionHeaderBlock {
            // pcap-file writes the time of an interface's statistics as one
            // integer, which has the format's order of words only in big-endian
            // files.
            endianness: Endianness::Big,
            options: vec![
                SectionHeaderOption::Comment(Cow::Owned(about.comment.to_owned())),
                SectionHeaderOption::UserApplication(Cow::Borrowed(APPLICATION)),
            ],
            ..SectionHeaderBlock::default()
        };
        let mut writer = PcapNgWriter::with_section_header(Vec::with_capacity(2 * PART), section)
            .map_err(io_error)?;
        let interface = InterfaceDescriptionBlock {
            linktype: DataLink::RAW,
            snaplen: SNAP_BYTES as u32,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(about.interface)),
                // 10^-9 s, the crate's unit of times.
                InterfaceDescriptionOption::IfTsResol(9),
            ],
        };
        writer.write_pcapng_block(interface).map_err(io_error)?;
        let mut capture = Capture {
            writer,
            out,
            discipline: about.discipline,
            comment: String::new(),
            counts: CaptureCounts::default(),
            last: Duration::ZERO,
        };
        capture.flush()?;
        Ok(capture)
    }

    /// Adds a packet.
    ///
    /// # Errors
    /// The output's.
    pub fn add(&mut self, verdict: &Verdict<'_>) -> io::Result<()> {
        self.comment.clear();
        let Verdict { departure, .. } = verdict;
        comment::write(
            &mut self.comment,
            departure,
            self.discipline,
            verdict.in_force,
        );
        let mut options = vec![EnhancedPacketOption::Comment(Cow::Borrowed(&self.comment))];
        if verdict.missing > 0 {
            options.push(EnhancedPacketOption::DropCount(verdict.missing));
        }
        let kept = verdict.packet.len().min(SNAP_BYTES);
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: verdict.at,
            original_len: departure.bytes,
            data: Cow::Borrowed(&verdict.packet[..kept]),
            options,
        };
        self.writer.write_pcapng_block(block).map_err(io_error)?;
        self.counts.written += 1;
        self.counts.missing += verdict.missing;
        self.last = verdict.at;
        match self.writer.get_ref().len() < PART {
            true => Ok(()),
            false => self.flush(),
        }
    }

    /// Passes all packets so far to the output.
    ///
    /// # Errors
    /// The output's.
    pub fn flush(&mut self) -> io::Result<()> {
        let blocks = self.writer.get_mut();
        let result = self.out.write_all(blocks);
        blocks.clear();
        result?;
        self.out.flush()
    }

    /// Ends the capture with its counters; `missing` packets were not captured since
    /// the last one.
    ///
    /// # Errors
    /// The output's.
    pub fn finish(mut self, missing: u64) -> io::Result<CaptureCounts> {
        self.counts.missing += missing;
        let CaptureCounts { written, missing } = self.counts;
        let statistics = InterfaceStatisticsBlock {
            interface_id: 0,
            timestamp: self.last.as_nanos() as u64,
            options: vec![
                InterfaceStatisticsOption::IsbIfRecv(written + missing),
                InterfaceStatisticsOption::IsbIfDrop(missing),
            ],
        };
        let written = self.writer.write_block(&statistics.into_block());
        written.map_err(io_error)?;
        self.flush()?;
        Ok(self.counts)
    }
}

impl<W: Write> std::fmt::Debug for Capture<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

const APPLICATION: &str = concat!("l4sllm ", env!("CARGO_PKG_VERSION"));

fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}
