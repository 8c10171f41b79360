//! One connection's work: takes what is due, sends it, reads the reply, counts.

use std::rc::Rc;

use ringway_rt::{now, sleep_until_ns};

use super::Shared;
use super::pace::Due;
use crate::connection::{Link, Outcome};
use crate::failure::Failure;
use crate::limits::{RETRY_NS_MAX, RETRY_NS_MIN};
use crate::plan::Target;
use crate::request::After;

/// A lane: the links of one connection's worth of load, one an endpoint.
pub(super) struct Lane {
    shared: Rc<Shared>,
    number: usize,
    links: Vec<Link>,
    /// What is sent, where it has to be put together.
    scratch: Vec<u8>,
    /// How long to leave a closed loop alone after a connection that failed.
    pause_ns: u64,
}

/// A request's times.
struct Times {
    sent_ns: u64,
    ended_ns: u64,
}

impl Lane {
    pub(super) fn new(shared: Rc<Shared>, number: usize, links: Vec<Link>) -> Self {
        Self { shared, number, links, scratch: Vec::new(), pause_ns: RETRY_NS_MIN }
    }

    /// Works until there is nothing more to send.
    pub(super) async fn run(mut self) {
        let begin_ns = self.shared.measure_ns.get() - self.shared.plan.warm_up_ns;
        sleep_until_ns(begin_ns).await;
        let mut now_ns = now().mono_ns;
        let open = self.shared.plan.is_open();
        loop {
            let due =
                if open { self.shared.pace.next(self.number, now_ns).await } else { self.go_on(now_ns) };
            let Some(due) = due else { break };
            now_ns = self.serve(due).await;
            if !open && self.pause_ns > RETRY_NS_MIN {
                sleep_until_ns(now_ns + self.pause_ns / 2).await;
                now_ns = now().mono_ns;
            }
        }
        self.shared.lanes.leave();
    }

    /// The next request of a closed loop.
    #[inline]
    fn go_on(&self, now_ns: u64) -> Option<Due> {
        let shared = &self.shared;
        let left = shared.budget.get();
        if now_ns >= shared.end_ns.get() || left == 0 || shared.signals.is_stopped() {
            return None;
        }
        if now_ns >= shared.measure_ns.get() {
            shared.budget.set(left - 1);
        }
        Some(Due { intended_ns: now_ns, piece: 0, was_free: true })
    }

    /// Sends one request and counts what became of it. When it ended.
    async fn serve(&mut self, due: Due) -> u64 {
        let shared = self.shared.clone();
        let plan = &*shared.plan;
        shared.pace.set_in_flight(self.number, Some(due));
        let chosen = plan.choose(shared.values.borrow_mut().random());
        let (Some((place, target)), sent_ns) =
            (chosen, if due.was_free && !plan.is_open() { due.intended_ns } else { now().mono_ns })
        else {
            return due.intended_ns;
        };
        let Some(link) = self.links.get_mut(target.endpoint) else { return due.intended_ns };
        let last = plan.requests_per_connection.is_some_and(|most| link.served() + 1 >= most);
        let after = if last && !link.is_shared() { After::Close } else { After::Keep };
        let scratch = &mut self.scratch;
        let bytes = target.request.bytes(scratch, after, &mut shared.values.borrow_mut());
        shared.values.borrow_mut().advance();
        let outcome = link.exchange(plan, target, bytes, sent_ns + plan.timeout_ns).await;
        if last {
            link.close();
        }
        let ended_ns = now().mono_ns;
        shared.pace.set_in_flight(self.number, None);
        let no_connection =
            matches!(outcome.failure, Some(Failure::Connect | Failure::ConnectTimeout | Failure::Tls));
        self.pause_ns = if no_connection { (self.pause_ns * 2).min(RETRY_NS_MAX) } else { RETRY_NS_MIN };
        shared.count(due, place, target, &Times { sent_ns, ended_ns }, &outcome);
        ended_ns
    }
}

impl Shared {
    /// Counts one request that has ended.
    #[inline]
    fn count(&self, due: Due, place: usize, _target: &Target, times: &Times, outcome: &Outcome) {
        if due.intended_ns < self.measure_ns.get() {
            return;
        }
        if times.ended_ns > self.last_ns.get() {
            self.last_ns.set(times.ended_ns);
        }
        let mut tally = self.tally.borrow_mut();
        tally.sent += 1;
        tally.bytes_out += outcome.bytes_out;
        tally.bytes_in += outcome.bytes_in;
        if outcome.opened > 0 {
            tally.opened += u64::from(outcome.opened);
            tally.connecting.saturating_record(outcome.connecting_ns);
        }
        tally.resent += u64::from(outcome.resent);
        if outcome.status > 0 {
            tally.answer(outcome.status);
        }
        if let Some(failure) = outcome.failure {
            tally.fail(failure);
        }
        let corrected_ns = times.ended_ns.saturating_sub(due.intended_ns);
        // What was refused or cut off has no latency; what was too slow has at least the time that it took.
        let counts = outcome.status > 0 || outcome.failure == Some(Failure::Timeout);
        if counts {
            tally.corrected.saturating_record(corrected_ns);
        }
        if self.plan.is_open() {
            if counts {
                tally.service.saturating_record(times.ended_ns.saturating_sub(times.sent_ns));
            }
            let late_ns = if due.was_free { times.sent_ns.saturating_sub(due.intended_ns) } else { 0 };
            tally.lateness.saturating_record(late_ns);
            tally.waited += u64::from(!due.was_free);
        }
        drop(tally);
        let share = |share: Option<&mut crate::tally::Share>| {
            if let Some(share) = share {
                if counts {
                    share.latency.saturating_record(corrected_ns);
                }
                share.answered += u64::from(outcome.status > 0);
                share.failed += u64::from(outcome.failure.is_some());
            }
        };
        share(self.targets.borrow_mut().get_mut(place));
        let step = usize::from(due.piece).wrapping_sub(usize::from(self.plan.warm_up_ns > 0));
        share(self.steps.borrow_mut().get_mut(step));
    }
}
