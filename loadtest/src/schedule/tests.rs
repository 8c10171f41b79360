//! The laws of the schedule: how many, when, and how they are spread.

use proptest::prelude::{ProptestConfig, prop_assert, proptest};

use super::{Arrivals, Piece, Schedule, parse_rate, parse_steps};

fn times(pieces: &[Piece], arrivals: Arrivals, threads: usize) -> Vec<u64> {
    let mut all = Vec::new();
    for thread in 0..threads {
        let mut schedule = Schedule::new(pieces, arrivals, thread, threads, 42);
        while let Some(arrival) = schedule.peek() {
            all.push(arrival.at_ns);
            schedule.advance();
        }
    }
    all.sort_unstable();
    all
}

#[test]
fn a_constant_rate_is_a_metronome_over_all_threads() {
    let pieces = parse_rate("1k", 2.0).unwrap();
    for threads in [1, 3, 7] {
        let times = times(&pieces, Arrivals::Constant, threads);
        assert_eq!(times.len(), 2000);
        for (place, at_ns) in times.iter().enumerate() {
            assert!(at_ns.abs_diff(place as u64 * 1_000_000) <= 1, "{place}: {at_ns}");
        }
    }
}

#[test]
fn a_ramp_has_the_area_below_it_and_ends_at_its_rate() {
    let pieces = parse_rate("1k:9k/4s", 6.0).unwrap();
    let times = times(&pieces, Arrivals::Constant, 2);
    assert_eq!(times.len(), 5_000 * 4 + 9_000 * 2);
    let within =
        |from: u64, to: u64| times.iter().filter(|at| (from..to).contains(&(**at / 1_000_000))).count();
    // The mean rate of the k-th second of the ramp is 2k + 2 thousand.
    assert!(within(0, 1000).abs_diff(2000) <= 1);
    assert!(within(3000, 4000).abs_diff(8000) <= 1);
    assert!(within(5000, 6000).abs_diff(9000) <= 1);
}

#[test]
fn a_ramp_may_begin_at_nothing_and_go_down() {
    assert_eq!(times(&parse_rate("0:100", 2.0).unwrap(), Arrivals::Constant, 1).len(), 100);
    assert_eq!(times(&parse_rate("100:0", 2.0).unwrap(), Arrivals::Constant, 1).len(), 100);
    assert!(parse_rate("0", 2.0).is_err());
}

#[test]
fn steps_know_which_they_are() {
    let pieces = parse_steps("10,20,40/1s").unwrap();
    let mut schedule = Schedule::new(&pieces, Arrivals::Constant, 0, 1, 1);
    let mut counts = [0; 3];
    while let Some(arrival) = schedule.peek() {
        assert_eq!(arrival.at_ns / 1_000_000_000, u64::from(arrival.piece));
        counts[usize::from(arrival.piece)] += 1;
        schedule.advance();
    }
    assert_eq!(counts, [10, 20, 40]);
    assert!(parse_steps("10,20").is_err() && parse_steps("10/0s").is_err());
}

/// The gaps of a Poisson process are exponential: Kolmogorov-Smirnov against the law, at a significance of 0.1 %.
#[test]
fn poisson_gaps_are_exponential_over_all_threads() {
    for threads in [1, 4] {
        let times = times(&parse_rate("10k", 5.0).unwrap(), Arrivals::Poisson, threads);
        let mut gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e5).collect();
        gaps.sort_unstable_by(f64::total_cmp);
        let count = gaps.len() as f64;
        let distance = gaps.iter().enumerate().fold(0.0, |most: f64, (place, gap)| {
            let law = 1.0 - (-gap).exp();
            most.max((law - place as f64 / count).abs()).max((law - (place + 1) as f64 / count).abs())
        });
        assert!(distance < 1.95 / count.sqrt(), "{threads} threads: {distance}");
        assert!((count - 50_000.0).abs() < 4.0 * 50_000f64.sqrt(), "{threads} threads: {count}");
    }
}

/// On a ramp the gaps, rescaled by the rate, are exponential as well.
#[test]
fn poisson_arrivals_follow_a_ramp() {
    let times = times(&parse_rate("0:20k", 5.0).unwrap(), Arrivals::Poisson, 2);
    let half = times.iter().filter(|at| **at < 2_500_000_000).count() as f64;
    assert!((half - 12_500.0).abs() < 4.0 * 12_500f64.sqrt(), "{half}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn arrivals_never_go_back_and_stay_within(from in 0.0..2000.0f64, to in 1.0..2000.0f64, seconds in 0.1..3.0f64, threads in 1usize..5) {
        let pieces = [Piece { seconds, from, to }, Piece { seconds, from: to, to }];
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            for thread in 0..threads {
                let mut schedule = Schedule::new(&pieces, arrivals, thread, threads, 9);
                let mut before = 0;
                while let Some(arrival) = schedule.peek() {
                    prop_assert!(arrival.at_ns >= before);
                    prop_assert!(arrival.at_ns as f64 <= seconds * 2e9);
                    before = arrival.at_ns;
                    schedule.advance();
                }
            }
        }
    }
}
