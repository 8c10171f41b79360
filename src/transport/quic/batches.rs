//! How many datagrams a connection prepares and sends at once: few until it has filled them, and then as many as one send takes.
//!
//! quinn keeps a buffer for each connection, and makes it as large as all the datagrams that the socket takes at once, as soon as it
//! sends more than one: 14 KiB, of which the answer to a ClientHello fills two or three, and a connection that waits needs nothing.
//! It asks the socket, which is that of all connections, whenever it is about to send: so the socket has to know who asks.
//!
//! And quinn sends no more than ten datagrams at once, twice in a turn. One send of forty costs the kernel little more than one of
//! ten, and wakes a receiver once: so full batches of one driver's turn are held, and leave together ([`super::outgoing`]).

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::outgoing::Outgoing;

/// Datagrams that a driver prepares at once before it has sent as many.
const DATAGRAMS_FIRST: usize = 2;
/// quinn's own: so many in one poll say that there is more.
const DATAGRAMS_PER_POLL: usize = 20;
/// Polls of a driver in one turn, as long as there is more: together they fill one send.
const POLLS_PER_TURN: usize = 2;

/// What is known of the driver that is polled.
#[derive(Clone, Copy, Default)]
struct Polled {
    /// Datagrams that it may prepare at once; `None` once it has filled them, and for whoever is no driver.
    allowed: Option<usize>,
    /// Datagrams that it has sent in this poll.
    sent: usize,
    /// A driver is polled.
    driver: bool,
}

thread_local! {
    static POLLED: Cell<Polled> = const { Cell::new(Polled { allowed: None, sent: 0, driver: false }) };
    /// The socket that holds something back until the driver's turn is over.
    static HOLDS: RefCell<Option<Rc<Outgoing>>> = const { RefCell::new(None) };
}

/// A driver of quinn's, an endpoint's or a connection's.
pub(super) struct Driver {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    allowed: Option<usize>,
}

impl Driver {
    pub(super) fn new(future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Self {
        Self { future, allowed: Some(DATAGRAMS_FIRST) }
    }
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut polled = Poll::Pending;
        for _ in 0..POLLS_PER_TURN {
            let turn = Turn::begin(self.allowed);
            polled = self.future.as_mut().poll(cx);
            let Polled { allowed, sent, .. } = POLLED.get();
            drop(turn);
            self.allowed = allowed;
            if polled.is_ready() || sent < DATAGRAMS_PER_POLL {
                break;
            }
        }
        if let Some(holds) = HOLDS.take() {
            holds.let_go();
        }
        polled
    }
}

/// While a driver is polled, and no longer, even if it panics.
struct Turn;

impl Turn {
    fn begin(allowed: Option<usize>) -> Self {
        POLLED.set(Polled { allowed, sent: 0, driver: true });
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        POLLED.take();
    }
}

/// How many of the datagrams that the socket takes at once may be prepared now.
pub(super) fn allowed(datagrams_max: usize) -> usize {
    POLLED.get().allowed.map_or(datagrams_max, |allowed| allowed.min(datagrams_max))
}

/// So many are sent at once.
pub(super) fn sent(datagrams: usize) {
    let Polled { allowed, sent, driver } = POLLED.get();
    let allowed = allowed.filter(|allowed| datagrams < *allowed);
    POLLED.set(Polled { allowed, sent: sent + datagrams, driver });
}

/// Whether what is held now is let go when the driver's turn is over: only in a driver's.
pub(super) fn may_hold() -> bool {
    POLLED.get().driver
}

/// Has it let go then.
pub(super) fn holds(outgoing: &Rc<Outgoing>) {
    HOLDS.with_borrow_mut(|holds| {
        if holds.is_none() {
            *holds = Some(Rc::clone(outgoing));
        }
    });
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_driver_prepares_more_once_it_has_filled_what_it_may() {
        let mut turn = 0;
        let mut driver = pin!(Driver::new(Box::pin(poll_fn(move |_| {
            turn += 1;
            let wanted = if turn < 3 { DATAGRAMS_FIRST } else { 10 };
            assert_eq!(allowed(10), wanted, "{turn}");
            assert_eq!(allowed(1), 1);
            assert!(may_hold());
            sent(if turn < 2 { DATAGRAMS_FIRST - 1 } else { DATAGRAMS_FIRST });
            if turn < 4 { Poll::Pending } else { Poll::Ready(()) }
        }))));
        let mut cx = Context::from_waker(Waker::noop());
        while driver.as_mut().poll(&mut cx).is_pending() {
            assert_eq!(allowed(10), 10, "whoever is no driver is not held back");
            assert!(!may_hold());
        }
    }

    #[test]
    fn a_driver_that_has_more_is_polled_again_but_not_for_ever() {
        let polls = Rc::new(Cell::new(0));
        let seen = polls.clone();
        let mut driver = pin!(Driver {
            future: Box::pin(poll_fn({
                let polls = super::super::bound::Bound::new(polls);
                move |_| {
                    polls.home().unwrap().set(polls.home().unwrap().get() + 1);
                    sent(DATAGRAMS_PER_POLL / 2);
                    sent(DATAGRAMS_PER_POLL / 2);
                    Poll::Pending
                }
            })),
            allowed: None,
        });
        assert!(driver.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(seen.get(), POLLS_PER_TURN);
    }
}
