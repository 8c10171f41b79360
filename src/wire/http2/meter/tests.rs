//! The laws of the meter.

use proptest::prelude::*;

use super::super::PREFACE;
use super::{Excess, Meter, Seen};
use crate::priority::Priority;

const SECOND: u64 = 1_000_000_000;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A meter whose client's preface came.
fn begun() -> Meter {
    let mut meter = Meter::new(0);
    meter.read(PREFACE, 0, |_| ()).unwrap();
    meter
}

/// How many of these frames pass within one instant.
fn passing(meter: &mut Meter, frame: &[u8], now_ns: u64) -> (usize, Option<Excess>) {
    for count in 0..5000 {
        let mut next = meter.clone();
        if let Err(excess) = next.read(frame, now_ns, |_| ()) {
            return (count, Some(excess));
        }
        *meter = next;
    }
    (5000, None)
}

#[test]
fn a_stream_is_opened_by_its_first_head() {
    let mut meter = begun();
    let mut seen = Vec::new();
    for (kind, stream) in [(1, 1), (1, 3), (0, 3), (1, 3), (1, 7), (1, 5), (9, 9)] {
        meter.read(&frame(kind, 4, stream, b"x"), 0, |event| seen.push(event)).unwrap();
    }
    assert_eq!(seen, [Seen::Opened(1), Seen::Opened(3), Seen::Opened(7)]);
}

#[test]
fn the_size_of_a_list_and_resets_are_seen_however_they_are_cut() {
    let settings =
        [&[0, 3, 0, 0, 0, 9][..], &[0, 6, 0, 1, 2, 3], &[0, 4, 0, 0, 0, 6], &[0, 6, 0, 0, 0, 7]].concat();
    let bytes = [frame(4, 0, 0, &settings), frame(3, 0, 5, &[0; 4]), frame(4, 1, 0, &[])].concat();
    for size in [1, 2, 5, 6, 7, 100] {
        let (mut meter, mut seen) = (begun(), Vec::new());
        for piece in bytes.chunks(size) {
            meter.read(piece, 0, |event| seen.push(event)).unwrap();
        }
        assert_eq!(seen, [Seen::ListBytesMax(0x1_0203), Seen::ListBytesMax(7), Seen::Reset(5)], "{size}");
    }
}

#[test]
fn each_kind_that_carries_nothing_forward_has_its_allowance_and_regains_it_with_time() {
    for (kind, flags, payload, excess) in [
        (4, 0, &[][..], Excess::Settings),
        (6, 0, &[0; 8], Excess::Ping),
        (6, 1, &[0; 8], Excess::Ping),
        (2, 0, &[0; 5], Excess::Priority),
        (16, 0, &[0, 0, 0, 1, b'i'], Excess::Priority),
        (8, 0, &[0, 0, 0, 1], Excess::WindowUpdate),
        (3, 0, &[0; 4], Excess::Reset),
        (0, 0, &[], Excess::EmptyData),
        (0, 8, &[3, 0, 0, 0], Excess::EmptyData),
        (0x21, 0, b"grease", Excess::Unknown),
        (7, 0, &[0; 8], Excess::Unknown),
    ] {
        let mut meter = begun();
        let bytes = frame(kind, flags, 1, payload);
        let burst = excess.allowance().burst as usize;
        assert_eq!(passing(&mut meter, &bytes, SECOND / 2), (burst, Some(excess)));
        let second = excess.allowance().per_second as usize;
        assert_eq!(passing(&mut meter, &bytes, SECOND), (second, Some(excess)), "{excess:?}");
        assert_eq!(passing(&mut meter, &bytes, SECOND * 3 / 2), (0, Some(excess)), "half a second adds none");
    }
}

#[test]
fn what_does_work_is_never_counted() {
    let mut meter = begun();
    for (kind, flags, payload) in [(1, 4, &[0x82][..]), (0, 0, b"content"), (0, 1, b""), (4, 1, b"")] {
        assert_eq!(passing(&mut meter, &frame(kind, flags, 1, payload), 0), (5000, None));
    }
}

#[test]
fn useful_work_earns_the_frames_that_go_with_it() {
    let mut meter = begun();
    let (ping, update, reset) = (frame(6, 0, 0, &[0; 8]), frame(8, 0, 0, &[0; 4]), frame(3, 0, 1, &[0; 4]));
    for bytes in [&ping, &update, &reset] {
        assert!(passing(&mut meter, bytes, 0).1.is_some());
    }
    meter.data_sent(3);
    meter.reply_sent();
    assert_eq!(passing(&mut meter, &ping, 0).0, 3);
    assert_eq!(passing(&mut meter, &update, 0).0, 12);
    assert_eq!(passing(&mut meter, &reset, 0).0, 1);
    meter.data_sent(u32::MAX);
    assert_eq!(meter.left(Excess::Ping), Excess::Ping.allowance().burst, "the store has a size");
}

#[test]
fn a_header_block_has_so_many_continuations() {
    let mut meter = begun();
    meter.read(&frame(1, 1, 1, b"x"), 0, |_| ()).unwrap();
    assert_eq!(passing(&mut meter, &frame(9, 0, 1, b"x"), 0), (8, Some(Excess::Continuation)));
    let mut meter = begun();
    for _ in 0..100 {
        meter.read(&frame(1, 1, 1, b"x"), 0, |_| ()).unwrap();
        meter.read(&frame(9, 0, 1, b"x"), 0, |_| ()).unwrap();
        meter.read(&frame(9, 4, 1, b""), 0, |_| ()).unwrap();
    }
    meter.read(&frame(1, 1, 1, b"x"), 0, |_| ()).unwrap();
    assert_eq!(passing(&mut meter, &frame(9, 0, 1, b""), 0), (2, Some(Excess::EmptyContinuation)));
}

#[test]
fn what_is_incomplete_is_known_since_when() {
    let mut meter = Meter::new(5);
    assert_eq!(meter.open_since_ns(), Some(5), "the preface");
    meter.read(PREFACE, 6, |_| ()).unwrap();
    assert_eq!(meter.open_since_ns(), None);
    let headers = frame(1, 0, 1, b"abc");
    meter.read(&headers[..4], 10, |_| ()).unwrap();
    meter.read(&headers[4..], 20, |_| ()).unwrap();
    assert_eq!(meter.open_since_ns(), Some(10), "the block is open still");
    let last = frame(9, 4, 1, b"abc");
    let next = frame(4, 0, 0, b"");
    meter.read(&[&last[..], &next[..5]].concat(), 30, |_| ()).unwrap();
    assert_eq!(meter.open_since_ns(), Some(30), "another frame began");
    meter.read(&next[5..], 40, |_| ()).unwrap();
    let data = frame(0, 0, 1, b"abc");
    meter.read(&data[..10], 50, |_| ()).unwrap();
    assert_eq!(meter.open_since_ns(), None, "the pace of content is measured elsewhere");
}

#[test]
fn the_connection_s_window_is_told() {
    let mut seen = Vec::new();
    let mut meter = begun();
    for (stream, payload) in
        [(0, &[0x80, 0, 1, 0][..]), (1, &[0, 0, 1, 0]), (0, &[0, 0, 1]), (0, &[0, 0, 0, 9, 9])]
    {
        meter.read(&frame(8, 0, stream, payload), 0, |event| seen.push(event)).unwrap();
    }
    assert_eq!(seen, [Seen::Window(256)]);
}

#[test]
fn priority_updates_are_told() {
    let mut seen = Vec::new();
    let mut meter = begun();
    for byte in frame(16, 0, 0, b"\x80\x00\x00\x05u=1, i") {
        meter.read(&[byte], 0, |event| seen.push(event)).unwrap();
    }
    let priority = Priority { urgency: 1, incremental: true };
    assert_eq!(seen, [Seen::Priority { stream: 5, priority }]);
    let long = [&b"\x00\x00\x00\x05u=1"[..], &[b' '; 90]].concat();
    meter.read(&frame(16, 0, 0, &long), 0, |event| seen.push(event)).unwrap();
    meter.read(&frame(16, 0, 0, b"abc"), 0, |event| seen.push(event)).unwrap();
    assert_eq!(seen.len(), 1, "neither too long nor too short a one says anything");
}

proptest! {
    #[test]
    fn how_bytes_are_cut_makes_no_difference(
        frames in prop::collection::vec((0u8..18, any::<u8>(), 0u32..9, prop::collection::vec(any::<u8>(), 0..40)), 0..200),
        cuts in prop::collection::vec(1usize..50, 1..40),
    ) {
        let mut bytes = PREFACE.to_vec();
        for (kind, flags, stream, payload) in &frames {
            bytes.extend(frame(*kind, *flags, *stream, payload));
        }
        let (mut whole, mut seen) = (Meter::new(0), Vec::new());
        let verdict = whole.read(&bytes, 0, |event| seen.push(event));
        let (mut cut, mut cut_seen) = (Meter::new(0), Vec::new());
        let (mut rest, mut cut_verdict) = (&bytes[..], Ok(()));
        for length in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*length).min(rest.len()));
            cut_verdict = cut.read(piece, 0, |event| cut_seen.push(event));
            rest = after;
            if rest.is_empty() || cut_verdict.is_err() {
                break;
            }
        }
        prop_assert_eq!((verdict, &seen), (cut_verdict, &cut_seen));
        prop_assert_eq!(whole.left, cut.left);
        if verdict.is_ok() {
            prop_assert_eq!(whole.open_since_ns(), cut.open_since_ns());
        }
    }

    #[test]
    fn any_bytes_end_in_a_verdict(bytes in prop::collection::vec(any::<u8>(), 0..4096)) {
        let mut meter = begun();
        let _ = meter.read(&bytes, 0, |_| ());
        for excess in Excess::ALL {
            prop_assert!(meter.left(excess) <= excess.allowance().burst);
        }
    }
}
