//! The engine against its own endpoint, without a proxy between them.

use super::*;

/// One GET over and over.
fn get(target: &str) -> Requests {
    Requests::all([("bench.local".to_owned(), target.to_owned(), String::new())], 0)
}

fn run(requests: &Requests, arrivals: Arrivals, fresh: bool) -> Measured {
    let mut endpoint = Endpoint::new().unwrap();
    let port = endpoint.port().unwrap();
    let mut engine = Engine::new(Some(&mut endpoint)).unwrap();
    let load = Load {
        port,
        requests,
        connections: 4,
        arrivals,
        warm: Duration::from_millis(20),
        length: Duration::from_millis(80),
        tls: None,
        fresh,
        spin: true,
        seed: 7,
    };
    let reading = std::cell::Cell::new(0);
    engine.run(&load, &|| reading.replace(reading.get() + 5)).unwrap()
}

#[test]
fn a_closed_loop_is_answered_without_a_failure() {
    let large = get("/x?b=300000");
    let posts = Requests::all([("bench.local".to_owned(), "/x?b=10".to_owned(), String::new())], 70_000);
    for requests in [get("/x?b=128"), large, posts, Requests::websocket("bench.local", 64)] {
        let measured = run(&requests, Arrivals::Closed, false);
        assert!(measured.completed > 20, "{measured:?}");
        assert_eq!((measured.failed, measured.refused, measured.retried, measured.closed), (0, 0, 0, 0));
        assert_eq!(measured.cpu_ns, 5);
        assert!(measured.latency.quantile_us(0.5) > 0.0);
    }
}

#[test]
fn a_fresh_connection_for_each_request_works_as_well() {
    let measured = run(&get("/x?b=128"), Arrivals::Closed, true);
    assert!(measured.completed > 20, "{measured:?}");
    assert_eq!((measured.failed, measured.closed), (0, 0));
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let mut instants = Instants::new(Arrivals::Poisson(1000.0), 3);
    let count = std::iter::from_fn(|| instants.next_until(10_000_000_000)).count();
    assert!((9_500..10_500).contains(&count), "{count} in ten seconds");
    let measured = run(&get("/x?b=128"), Arrivals::Poisson(2000.0), false);
    assert!(measured.completed > 20 && measured.completed < 400, "{measured:?}");
    assert_eq!(measured.failed, 0);
}
