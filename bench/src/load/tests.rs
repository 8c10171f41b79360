//! The engine against its own endpoint, without a proxy between them.

use super::*;

/// One GET over and over.
fn get(target: &str) -> Requests {
    Requests::all([("bench.local".to_owned(), target.to_owned(), String::new())], 0)
}

fn run(requests: &Requests, arrivals: Arrivals, fresh: bool, length: Duration) -> Measured {
    let mut endpoint = Endpoint::new().unwrap();
    let port = endpoint.port().unwrap();
    let mut engine = Engine::new(Some(&mut endpoint)).unwrap();
    let load = Load {
        port,
        requests,
        connections: 4,
        arrivals,
        warm: Duration::from_millis(20),
        length,
        tls: None,
        fresh,
        spin: true,
        compare: false,
        seed: 7,
    };
    let reading = std::cell::Cell::new(0);
    engine.run(&load, &|| reading.replace(reading.get() + 5)).unwrap()
}

/// Runs for as long as this machine needs for more than so many requests; for how long.
fn run_beyond(least: u64, requests: &Requests, arrivals: Arrivals, fresh: bool) -> (Measured, Duration) {
    let lengths = (0..10).map(|doubled| Duration::from_millis(80 << doubled));
    let mut runs = lengths.map(|length| (run(requests, arrivals, fresh, length), length));
    runs.find(|(measured, _)| measured.completed > least || measured.failed > 0)
        .expect("too few were answered")
}

#[test]
fn a_closed_loop_is_answered_without_a_failure() {
    let large = get("/x?b=300000");
    let posts = Requests::all([("bench.local".to_owned(), "/x?b=10".to_owned(), String::new())], 70_000);
    for requests in [get("/x?b=128"), large, posts, Requests::websocket("bench.local", 64)] {
        let (measured, _) = run_beyond(20, &requests, Arrivals::Closed, false);
        assert_eq!((measured.failed, measured.refused, measured.retried, measured.closed), (0, 0, 0, 0));
        assert_eq!(measured.cpu_ns, 5);
        assert!(measured.latency.quantile_us(0.5) > 0.0);
    }
}

#[test]
fn a_fresh_connection_for_each_request_works_as_well() {
    let (measured, _) = run_beyond(20, &get("/x?b=128"), Arrivals::Closed, true);
    assert_eq!((measured.failed, measured.closed), (0, 0));
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let mut instants = Instants::new(Arrivals::Poisson(1000.0), 3);
    let count = std::iter::from_fn(|| instants.next_until(10_000_000_000)).count();
    assert!((9_500..10_500).contains(&count), "{count} in ten seconds");
    let (measured, length) = run_beyond(20, &get("/x?b=128"), Arrivals::Poisson(2000.0), false);
    assert!((measured.completed as f64) < 5000.0 * length.as_secs_f64(), "{measured:?}");
    assert_eq!(measured.failed, 0);
}

#[test]
fn a_chunked_body_is_passed_however_it_is_cut() {
    use std::io::{Read, Write};
    let mut endpoint = Endpoint::new().unwrap();
    let port = endpoint.port().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| serve_until(&mut endpoint, &stop, Rest::Sleep));
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_nodelay(true).unwrap();
        let head = "GET /x?b=1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in [&["0\r\n\r\n"][..], &["", "0\r", "\n\r\n"], &["3\r\nab", "c\r\n0", "\r\n", "\r\n"]] {
            let (first, rest) = body.split_first().unwrap();
            stream.write_all(format!("{head}{first}").as_bytes()).unwrap();
            let mut reply = Vec::new();
            while !reply.ends_with(b"\r\n\r\n!") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                reply.extend_from_slice(&byte);
            }
            // One reply for each: a rest of the body that was taken for a request would be answered as well.
            assert!(reply.starts_with(b"HTTP/1.1 200 OK"), "{}", String::from_utf8_lossy(&reply));
            rest.iter().for_each(|part| stream.write_all(part.as_bytes()).unwrap());
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_long_reply_is_filled_up() {
    let (measured, _) = run_beyond(3, &get("/x?b=3000000"), Arrivals::Closed, false);
    assert_eq!(measured.failed, 0);
}

#[test]
fn content_of_both_ways_is_compared_before_it_is_only_counted() {
    let post =
        |bytes| Requests::all([("bench.local".to_owned(), "/x?b=20000".to_owned(), String::new())], bytes);
    for requests in [get("/x?b=128"), get("/x?b=3000000"), post(4096), post(700_000)] {
        let mut endpoint = Endpoint::new().unwrap();
        endpoint.compare(true);
        let port = endpoint.port().unwrap();
        let load = Load {
            port,
            requests: &requests,
            connections: 4,
            arrivals: Arrivals::Closed,
            warm: Duration::ZERO,
            length: Duration::from_secs(60),
            tls: None,
            fresh: false,
            spin: true,
            compare: true,
            seed: 7,
        };
        let mut engine = Engine::new(Some(&mut endpoint)).unwrap();
        assert_eq!(engine.one_each(&load).unwrap(), 4);
    }
}

#[test]
fn a_body_that_is_not_what_was_sent_gets_no_reply() {
    use std::io::{Read, Write};
    let mut endpoint = Endpoint::new().unwrap();
    endpoint.compare(true);
    let port = endpoint.port().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| serve_until(&mut endpoint, &stop, Rest::Sleep));
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        let head = "POST /x?b=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n";
        stream.write_all(format!("{head}????").as_bytes()).unwrap();
        // It ends the connection; whether by a reset or not does not matter.
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).ok();
        assert_eq!(String::from_utf8_lossy(&reply), "");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
