//! Bodies that no memory holds, in both directions at once. `RINGWAY_TEST_GIBIBYTES` says how large (1 without it; the
//! settings allow 10).

use std::io::{Read, Write};

use crate::node::{Node, also_on_epoll};
use crate::scripted::Scripted;
use crate::site::Site;

also_on_epoll!(gibibytes_flow_both_ways_in_constant_memory);

/// What a gateway may grow by while a body of any length passes through it.
const GROWTH_KIB_MAX: u64 = 16 * 1024;

/// A line of `/proc/<pid>/status`, in KiB.
fn kibibytes(node: &Node, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.gateway_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

/// Sends so many bytes and takes as many back, comparing them.
fn exchange(node: &Node, head: &str, total: u64, chunked: bool) {
    let pattern: Vec<u8> = (0..1 << 20).map(|index: u32| (index % 253).to_le_bytes()[0]).collect();
    let mut client = node.connect();
    let mut writer = client.stream().try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(head.as_bytes()).unwrap();
            for _ in 0..total >> 20 {
                if chunked {
                    writer.write_all(b"100000\r\n").unwrap();
                }
                writer.write_all(&pattern).unwrap();
                if chunked {
                    writer.write_all(b"\r\n").unwrap();
                }
            }
            if chunked {
                writer.write_all(b"0\r\n\r\n").unwrap();
            }
        });
        client.until(b"\r\n\r\n");
        let mut stream = client.stream().try_clone().unwrap();
        let twice = [&pattern[..], &pattern[..]].concat();
        let mut at = 0_u64;
        let mut seen = client.take_read();
        let mut chunk = vec![0; 512 * 1024];
        loop {
            let from = usize::try_from(at % (1 << 20)).unwrap();
            assert!(twice[from..].starts_with(&seen), "other bytes came after {at}");
            at += seen.len() as u64;
            if at >= total {
                break;
            }
            let count = stream.read(&mut chunk).unwrap();
            assert!(count > 0, "ended after {at} of {total} bytes");
            seen.clear();
            seen.extend_from_slice(&chunk[..count]);
        }
        assert_eq!(at, total);
    });
}

#[test]
fn gibibytes_flow_both_ways_in_constant_memory() {
    let total = std::env::var("RINGWAY_TEST_GIBIBYTES").map_or(1, |text| text.parse::<u64>().unwrap()) << 30;
    let upstream = Scripted::start(move |connection| {
        while let Some(head) = connection.head() {
            let length = head.lines().find_map(|line| line.strip_prefix("X-Length: ")).unwrap().to_owned();
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
            let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
            let left = length.parse().unwrap();
            if chunked { echo_chunks(connection) } else { echo(connection, left) }
        }
    });
    let node = Node::start(&Site::to(upstream.address));
    let head = |length: u64| {
        format!(
            "POST /a HTTP/1.1\r\nHost: api.test\r\nX-Length: {length}\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    // Once for what is made with the first large body and kept.
    exchange(&node, &head(64 << 20), 64 << 20, false);
    node.assert_outcome("served");
    let before = kibibytes(&node, "VmRSS");
    exchange(&node, &head(total), total, false);
    let record = node.assert_outcome("served");
    assert_eq!((&record["body_in_bytes"], &record["body_out_bytes"]), (&total.into(), &total.into()));
    let chunked = format!(
        "POST /a HTTP/1.1\r\nHost: api.test\r\nX-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n",
        length = 64 << 20
    );
    exchange(&node, &chunked, 64 << 20, true);
    assert_eq!(node.assert_outcome("served")["body_in_bytes"], 64 << 20);
    let most = kibibytes(&node, "VmHWM");
    assert!(most <= before + GROWTH_KIB_MAX, "{before} KiB before, {most} KiB at most");
}

/// Sends so many bytes back while they come.
fn echo(connection: &mut crate::scripted::Accepted, mut left: u64) {
    while left > 0 {
        let Some(bytes) = connection.some() else { return };
        left -= bytes.len() as u64;
        connection.send(bytes);
    }
}

/// Sends the content of chunks back while they come.
fn echo_chunks(connection: &mut crate::scripted::Accepted) {
    while let Some(line) = connection.until(b"\r\n") {
        let size = usize::from_str_radix(String::from_utf8(line).unwrap().trim(), 16).unwrap();
        let Some(bytes) = connection.exactly(size + 2) else { return };
        if size == 0 {
            return;
        }
        connection.send(&bytes[..size]);
    }
}
