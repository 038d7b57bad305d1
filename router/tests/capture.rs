//! Captures of the router with a virtual clock, read back.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "../../testbed/tests/emulator/shared_file.rs"]
mod shared_file;

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use l4sllm_abi::{Action, Ecn, Queue, Reason};
use l4sllm_router::{CaptureObserver, CaptureThread, Header, Observer, Side};
use l4sllm_testbed::aqm::Departure;
use l4sllm_testbed::capture::{About, CaptureCounts, SNAP_BYTES};
use l4sllm_testbed::net::{Bottleneck, RateSchedule, Service};
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::{Block, PcapNgReader};

use common::{MS, Setup, US, dualpi2, fifo, packet, scenario};
use shared_file::SharedFile;

const ABOUT: About<'_> = About {
    interface: "l4s1",
    discipline: "dualpi2",
    comment: "a test",
};

/// Time at which the router starts.
fn started() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

/// Packets of a file up to its end or first incomplete block.
fn read(file: &[u8]) -> Vec<EnhancedPacketBlock<'static>> {
    let mut reader = PcapNgReader::new(file).unwrap();
    let mut packets = Vec::new();
    while let Some(Ok(block)) = reader.next_block() {
        if let Block::EnhancedPacket(packet) = block.into_owned() {
            packets.push(packet);
        }
    }
    packets
}

fn comment<'a>(packet: &'a EnhancedPacketBlock<'_>) -> &'a str {
    let comment = packet.options.iter().find_map(|option| match option {
        EnhancedPacketOption::Comment(comment) => Some(comment.as_ref()),
        _ => None,
    });
    comment.unwrap()
}

fn drop_counts(packets: &[EnhancedPacketBlock<'_>]) -> Vec<u64> {
    let options = packets.iter().flat_map(|packet| &packet.options);
    let counts = options.filter_map(|option| match option {
        EnhancedPacketOption::DropCount(count) => Some(*count),
        _ => None,
    });
    counts.collect()
}

/// More packets than the link can send, of all codepoints, for two seconds.
fn overloaded() -> (Setup, CaptureThread, SharedFile) {
    let mut setup = Setup::new(&scenario(4_000_000, 0), dualpi2());
    let file = SharedFile::default();
    let (observer, thread) = CaptureObserver::start(file.clone(), started(), ABOUT).unwrap();
    setup.forwarder.observe(Box::new(observer));
    for number in 0..2000 {
        let ecn = Ecn::ALL[number as usize % 4];
        let bytes = 100 + (number as usize * 37) % 1400;
        setup.arrive_at(
            u64::from(number) * MS,
            Side::In,
            &packet(ecn, bytes, 1, number),
        );
    }
    (setup, thread, file)
}

#[test]
fn captured_packets_equal_the_queues_counters() {
    let (setup, thread, file) = overloaded();
    let measured = setup.forwarder.measured(setup.bench.now_ns);
    let queue = measured.queue;
    let sent = setup.bench.sent.clone();
    drop(setup);
    let counts = thread.finish().unwrap();
    let file = file.contents();
    let packets = read(&file);
    let left = queue.forwarded + queue.dropped;
    assert_eq!((counts.written, counts.missing), (left, 0));
    assert_eq!(packets.len() as u64, left);
    let with = |verdict: &str| {
        let of = packets
            .iter()
            .filter(|packet| comment(packet).starts_with(verdict));
        of.count() as u64
    };
    let marked: u64 = measured.counts.marked.iter().sum();
    assert!(
        queue.dropped > 100 && marked > 100,
        "{queue:?}, {marked} marked"
    );
    assert_eq!(with("dropped; "), queue.dropped);
    assert_eq!(with("enqueued; ") + with("marked; "), queue.forwarded);
    // Packets that arrive with CE keep it, and may be marked again.
    assert!(with("marked; ") >= marked);
    // The packets are those that leave, with their marks.
    let forwarded = packets
        .iter()
        .filter(|packet| !comment(packet).starts_with("dropped"));
    for (packet, sent) in forwarded.zip(&sent) {
        assert_eq!(packet.original_len as usize, sent.packet.len());
        assert_eq!(
            &packet.data[..],
            &sent.packet[..sent.packet.len().min(SNAP_BYTES)]
        );
        let ce = Header::parse(&packet.data).unwrap().ecn == Ecn::Ce;
        assert_eq!(comment(packet).contains("; CE; "), ce);
    }
    assert!(packets.is_sorted_by_key(|packet| packet.timestamp));
    assert!(packets[0].timestamp >= Duration::from_secs(1_700_000_000));
    assert!(packets[0].timestamp < Duration::from_secs(1_700_000_001));
}

/// A file that ends anywhere, as after a kill, has all whole packets.
#[test]
fn truncated_captures_are_readable() {
    let (setup, thread, file) = overloaded();
    drop(setup);
    thread.finish().unwrap();
    let file = file.contents();
    let (all, mut before) = (read(&file).len(), 0);
    for end in (2_000..file.len()).step_by(8_191) {
        let got = read(&file[..end]).len();
        assert!(got >= before && got <= all, "{got} packets in {end} bytes");
        before = got;
    }
    assert!(before > all / 2);
}

/// Passes only when the test permits it.
struct Gate {
    out: SharedFile,
    entered: Sender<()>,
    permit: Receiver<()>,
}

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.entered.send(()).unwrap();
        // Without the test's end, everything passes.
        let _ = self.permit.recv();
        self.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A bottleneck, and packets that it would have forwarded.
fn forward(observer: &mut CaptureObserver, numbers: std::ops::Range<u64>) {
    let rate = RateSchedule::constant(1_000_000);
    let bottleneck = Bottleneck::new(fifo(1), rate, Service::Free);
    for number in numbers {
        let departure = Departure {
            cookie: number,
            bytes: 60,
            ecn: Ecn::NotEct,
            queue: Queue::Classic,
            action: Action::Enqueue,
            sojourn_ns: 0,
            reason: Reason::Base,
        };
        let packet = packet(Ecn::NotEct, 60, 1, number as u32);
        observer.left(number * US, &departure, &packet, &bottleneck);
    }
}

/// While the disk is slow, packets are counted instead of waiting for it, in the file
/// and in total.
#[test]
fn packets_beyond_the_space_are_counted() {
    let out = SharedFile::default();
    let (entered, entries) = channel();
    let (permits, permit) = channel();
    let gate = Gate {
        out: out.clone(),
        entered,
        permit,
    };
    // The beginning of the file.
    permits.send(()).unwrap();
    let (mut observer, thread) = CaptureObserver::with_space(gate, started(), ABOUT, 8).unwrap();
    entries.recv().unwrap();
    // The thread writes the first packet until the permit; the next 8 wait.
    forward(&mut observer, 0..1);
    entries.recv().unwrap();
    forward(&mut observer, 1..12);
    permits.send(()).unwrap();
    // It writes them, too, so there is space for another one.
    entries.recv().unwrap();
    forward(&mut observer, 12..13);
    drop(permits);
    drop(observer);
    let counts = thread.finish().unwrap();
    let packets = read(&out.contents());
    assert_eq!((counts.written, counts.missing), (10, 3));
    assert_eq!((packets.len(), drop_counts(&packets)), (10, vec![3]));
    assert_eq!(drop_counts(&packets[9..]), [3]);
}

#[test]
fn a_full_disk_ends_the_capture_but_not_the_router() {
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.0.checked_sub(bytes.len()) {
                Some(left) => {
                    self.0 = left;
                    Ok(bytes.len())
                }
                None => Err(io::ErrorKind::StorageFull.into()),
            }
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut setup = Setup::new(&scenario(12_000_000, 0), dualpi2());
    let (observer, thread) = CaptureObserver::start(Full(1_000), started(), ABOUT).unwrap();
    setup.forwarder.observe(Box::new(observer));
    for number in 0..100 {
        setup.arrive_at(
            u64::from(number) * MS,
            Side::In,
            &packet(Ecn::Ect1, 500, 1, number),
        );
    }
    setup.run_until(200 * MS);
    assert_eq!(setup.bench.sent.len(), 100);
    drop(setup);
    assert_eq!(
        thread.finish().unwrap_err().kind(),
        io::ErrorKind::StorageFull
    );
}

#[test]
fn an_idle_capture_is_complete() {
    let file = SharedFile::default();
    let (observer, thread) = CaptureObserver::start(file.clone(), started(), ABOUT).unwrap();
    drop(observer);
    assert_eq!(thread.finish().unwrap(), CaptureCounts::default());
    assert!(read(&file.contents()).is_empty());
}
