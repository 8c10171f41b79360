//! Hostile HTTP/2 clients: each connection ends as it should, memory stays bounded, and nobody else notices.

use crate::http2_client::{
    CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PRIORITY,
    PRIORITY_UPDATE, RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, frame, get, request,
};
use crate::node::{Node, also_on_epoll};
use crate::raw::Raw;
use crate::scripted::Scripted;
use crate::site::Site;

also_on_epoll!(frames_that_do_no_work_end_their_connection_and_no_other);

/// What the gateway has in memory, in KiB.
fn resident_kib(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.gateway_id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn frames_that_do_no_work_end_their_connection_and_no_other() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut other = Client::connect(node.address);
    assert_eq!(other.ask(1, "/").0, 200);
    let open = frame(HEADERS, END_HEADERS, 1, request("POST", "/", &[]));
    let mut rapid_reset = Vec::new();
    for number in 0..2000u32 {
        rapid_reset.extend(frame(HEADERS, WHOLE, 2 * number + 1, get("/")));
        rapid_reset.extend(frame(RST_STREAM, 0, 2 * number + 1, 8u32.to_be_bytes()));
    }
    let many = |frame: Vec<u8>| frame.repeat(3000);
    let floods: Vec<(&str, Vec<u8>)> = vec![
        ("settings", many(frame(SETTINGS, 0, 0, [0, 3, 0, 0, 0, 100]))),
        ("ping", many(frame(PING, 0, 0, "12345678"))),
        ("ping-ack", many(frame(PING, 1, 0, "12345678"))),
        ("priority", many(frame(PRIORITY, 0, 1, [0, 0, 0, 3, 1]))),
        ("priority-update", many(frame(PRIORITY_UPDATE, 0, 0, b"\0\0\0\x01u=1"))),
        ("window-update", many(frame(WINDOW_UPDATE, 0, 0, 1u32.to_be_bytes()))),
        ("unknown", many(frame(0xbb, 0, 0, "x"))),
        ("empty-data", [open.clone(), many(frame(DATA, 0, 1, ""))].concat()),
        ("padding-alone", [open, many(frame(DATA, 8, 1, [3, 0, 0, 0]))].concat()),
        ("rapid-reset", rapid_reset),
        (
            "continuation",
            [frame(HEADERS, 1, 1, get("/")), many(frame(CONTINUATION, 0, 1, "\0\x01a\x01b"))].concat(),
        ),
        (
            "empty-continuation",
            [frame(HEADERS, 1, 1, get("/")), many(frame(CONTINUATION, 0, 1, ""))].concat(),
        ),
    ];
    let before_kib = resident_kib(&node);
    for (place, (name, bytes)) in floods.iter().enumerate() {
        let mut hostile = Client::connect(node.address);
        let goaway = hostile.send_bytes(bytes).rest().into_iter().rev().find(|frame| frame.kind == 7);
        let goaway = goaway.unwrap_or_else(|| panic!("{name}: no GOAWAY"));
        assert_eq!(goaway.code(), ENHANCE_YOUR_CALM, "{name}");
        node.wait_metric("ringway_http2_floods_total", "", |ended| ended == (place + 1) as f64);
        let stream = 2 * u32::try_from(place).unwrap() + 3;
        assert_eq!(other.ask(stream, "/").0, 200, "after {name} the other client is served");
    }
    assert!(resident_kib(&node) < before_kib + 16 * 1024, "memory grew from {before_kib} KiB");
    node.wait_metric("ringway_streams_open", "", |open| open == 0.0);
}

#[test]
fn slower_resets_end_the_connection_all_the_same() {
    let upstream = Scripted::start(|connection| while connection.request().is_some() {});
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut hostile = Client::connect(node.address);
    // Each frame in a write of its own, so that most streams were looked at before they are reset: h2 does not count those.
    for number in 0..1200u32 {
        hostile.send(HEADERS, WHOLE, 2 * number + 1, get("/"));
        hostile.send(RST_STREAM, 0, 2 * number + 1, 8u32.to_be_bytes());
    }
    hostile.assert_goes_away(ENHANCE_YOUR_CALM);
    node.wait_metric("ringway_streams_open", "", |open| open == 0.0);
}

#[test]
fn faults_that_make_the_gateway_reset_streams_end_the_connection() {
    // MadeYouReset (CVE-2025-8671): the client never sends RST_STREAM itself.
    let upstream = Scripted::start(|connection| while connection.request().is_some() {});
    let node = Node::start(&Site::to(upstream.address).http2());
    let mut hostile = Client::connect(node.address);
    let mut bytes = Vec::new();
    for number in 0..300u32 {
        bytes.extend(frame(HEADERS, WHOLE, 2 * number + 1, get("/")));
        // More than a window can be: the stream's fault, and ours to reset it.
        bytes.extend(frame(WINDOW_UPDATE, 0, 2 * number + 1, 0x7fff_ffffu32.to_be_bytes()));
    }
    hostile.send_bytes(&bytes).assert_goes_away(ENHANCE_YOUR_CALM);
    node.wait_metric("ringway_streams_open", "", |open| open == 0.0);
    node.wait_metric("ringway_http2_floods_total", "", |ended| ended == 1.0);
}

#[test]
fn a_header_bomb_is_not_unpacked() {
    let upstream = Scripted::ok();
    let node = Node::start(&Site::to(upstream.address).http2());
    let before_kib = resident_kib(&node);
    for _ in 0..20 {
        let mut hostile = Client::connect(node.address);
        // One field of 4,000 bytes in the table, and then a byte for each further mention of it.
        let mut head = request("GET", "/", &[]);
        head.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
        head.extend([b'v'; 4000]);
        head.extend([0xbe; 8000]);
        hostile.send(HEADERS, WHOLE, 1, &head);
        let frames = hostile.rest();
        let refused = frames.iter().any(|frame| frame.kind == HEADERS && frame.status() == 431)
            || frames.iter().any(|frame| frame.kind == 7 && frame.code() != 0);
        assert!(refused, "{frames:?}");
    }
    assert!(resident_kib(&node) < before_kib + 16 * 1024);
    upstream.assert_untouched();
}

#[test]
fn windows_that_never_open_hold_little_and_end_in_time() {
    let content = "x".repeat(2_000_000);
    let upstream =
        Scripted::answering(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{content}", content.len()));
    let patient = "timeout: {connect: 10s}";
    let site = Site::with_keys(&[upstream.address], patient).http2().settings("timeouts: {write_stall: 1s}");
    let node = Node::start(&site);
    let before_kib = resident_kib(&node);
    let mut hostile: Vec<Client> = (0..5)
        .map(|_| {
            let mut client = Client::with_settings(Raw::connect(node.address), &[(1, 0), (4, 0)]);
            for stream in 0..20 {
                client.send(HEADERS, WHOLE, 2 * stream + 1, get("/"));
            }
            client
        })
        .collect();
    let mut other = Client::connect(node.address);
    other.send(WINDOW_UPDATE, 0, 0, (1u32 << 24).to_be_bytes());
    assert_eq!(other.send(HEADERS, WHOLE, 1, get("/")).next_of_stream().status(), 200);
    for client in &mut hostile {
        let mut resets = 0;
        while resets < 20 {
            let frame = client.next_of_stream();
            resets += usize::from(frame.kind == RST_STREAM);
        }
    }
    let grown_kib = resident_kib(&node).saturating_sub(before_kib);
    assert!(grown_kib < 24 * 1024, "100 streams that take nothing hold {grown_kib} KiB");
    node.wait_metric("ringway_streams_open", "", |open| open <= 1.0);
}

#[test]
fn an_upload_that_nobody_takes_is_held_up_by_the_window() {
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let upstream = Scripted::start(move |connection| {
        // Reads nothing of the content.
        connection.head().unwrap();
        let _ = held.lock().unwrap().recv();
    });
    let site = Site::to(upstream.address).http2().settings("timeouts: {write_stall: 2s}");
    let node = Node::start(&site);
    let before_kib = resident_kib(&node);
    let mut client = Client::connect(node.address);
    client.send(HEADERS, END_HEADERS, 1, request("POST", "/", &[]));
    // Sends whatever both windows admit, until the gateway gives the upstream up.
    let (mut windows, mut sent) = ([65_535u64, 1 << 20], 0);
    loop {
        while windows.iter().all(|window| *window >= 16_000) {
            client.send(DATA, 0, 1, [7; 16_000]);
            windows = windows.map(|window| window - 16_000);
            sent += 16_000;
        }
        let frame = client.next().unwrap();
        match frame.kind {
            WINDOW_UPDATE => {
                let bytes = u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
                windows[usize::from(frame.stream == 1)] += u64::from(bytes);
            }
            HEADERS => break assert_eq!(frame.status(), 504),
            _ => {}
        }
    }
    let grown_kib = resident_kib(&node).saturating_sub(before_kib);
    assert!(grown_kib < 16 * 1024, "{grown_kib} KiB for one upload of {sent} bytes");
    assert!(sent < 32 << 20, "{sent} bytes went to nobody");
    drop(release);
}

#[test]
fn more_streams_than_were_offered_are_refused_and_the_rest_is_served() {
    let upstream = Scripted::ok();
    let patient = "timeout: {connect: 10s}";
    let node = Node::start(&Site::with_keys(&[upstream.address], patient).http2());
    let mut client = Client::connect(node.address);
    let mut bytes = Vec::new();
    for number in 0..140u32 {
        bytes.extend(frame(HEADERS, END_HEADERS, 2 * number + 1, request("POST", "/", &[])));
    }
    client.send_bytes(&bytes);
    let mut refused = 0;
    while refused < 12 {
        let frame = client.next_of_stream();
        if frame.kind == RST_STREAM {
            assert_eq!((frame.code(), frame.stream > 256), (7, true), "REFUSED_STREAM");
            refused += 1;
        }
    }
    client.send(DATA, END_STREAM, 1, "x");
    let head = client.next_of_stream();
    assert_eq!((head.stream, head.status()), (1, 200));
}
