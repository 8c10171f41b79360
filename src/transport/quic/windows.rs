//! How much a connection may have under way: a share of what its endpoint spends on all of them, so that a few far clients
//! get the windows that their distance needs, and many get what memory allows.
//!
//! What is sent has no more than the distance needs, either: bytes that wait for a near client have left the processor's cache by the
//! time they are made into packets, which costs a download a tenth of its CPU time.

use std::ops::Deref;
use std::time::Duration;

use quinn::{Connection, VarInt};

use crate::limits::{
    QUIC_NEAR_WINDOW_BYTES, QUIC_RECEIVE_WINDOW_BYTES_MAX, QUIC_SEND_BYTES_PER_US,
    QUIC_SEND_WINDOW_BYTES_MAX, QUIC_WINDOW_BYTES_MIN, QUIC_WINDOWS_BYTES,
};

/// An established connection of a client's, and its windows.
#[derive(Debug)]
pub struct QuicConnection {
    connection: Connection,
    windows: Windows,
    /// The window of what is sent, in bytes.
    send: u32,
}

impl QuicConnection {
    pub(super) fn new(connection: Connection, windows: Windows) -> Self {
        windows.apply_receive(&connection);
        let mut own = Self { connection, windows, send: QUIC_WINDOW_BYTES_MIN };
        own.follow_distance();
        own
    }

    /// Gives what is sent the window that the distance of the moment needs; a small difference changes nothing. Now and then, as when
    /// a request comes.
    pub fn follow_distance(&mut self) {
        let send = self.windows.send_at(self.connection.rtt());
        if send.abs_diff(self.send) > self.send / 4 {
            self.send = send;
            self.connection.set_send_window(u64::from(send));
        }
    }
}

impl Deref for QuicConnection {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// Both windows of one connection, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Windows {
    receive: u32,
    send: u32,
}

impl Windows {
    /// Those of a newcomer where `open` connections are open, itself included. A connection keeps its own: n of them add up to
    /// less than the endpoint's sum times the n-th harmonic number, and each idle one holds nothing.
    pub(super) fn share(open: usize) -> Self {
        let open = u32::try_from(open.max(1)).unwrap_or(u32::MAX);
        let share = (QUIC_WINDOWS_BYTES / open).max(QUIC_WINDOW_BYTES_MIN);
        Self {
            receive: share.min(QUIC_RECEIVE_WINDOW_BYTES_MAX),
            send: share.min(QUIC_SEND_WINDOW_BYTES_MAX),
        }
    }

    /// Gives them to a connection, whatever its distance.
    pub(super) fn apply(self, connection: &Connection) {
        connection.set_send_window(u64::from(self.send));
        self.apply_receive(connection);
    }

    /// What is sent to a peer at this distance.
    fn send_at(self, rtt: Duration) -> u32 {
        let wanted = rtt.as_micros().saturating_mul(u128::from(QUIC_SEND_BYTES_PER_US));
        self.send.min(u32::try_from(wanted).unwrap_or(u32::MAX).max(QUIC_NEAR_WINDOW_BYTES))
    }

    fn apply_receive(self, connection: &Connection) {
        if self.receive > QUIC_WINDOW_BYTES_MIN {
            connection.set_receive_window(VarInt::from_u32(self.receive));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_far_get_more_under_way_than_the_near_but_no_more_than_their_share() {
        let alone = Windows::share(1);
        let at = |windows: Windows, ms| windows.send_at(Duration::from_millis(ms));
        assert_eq!(at(alone, 0), QUIC_NEAR_WINDOW_BYTES);
        assert_eq!(at(alone, 1), QUIC_NEAR_WINDOW_BYTES);
        assert_eq!(at(alone, 20), 20_000 * QUIC_SEND_BYTES_PER_US);
        assert_eq!(at(alone, 100), QUIC_SEND_WINDOW_BYTES_MAX);
        assert_eq!(alone.send_at(Duration::MAX), QUIC_SEND_WINDOW_BYTES_MAX);
        let crowded = Windows::share(100_000);
        assert_eq!((at(crowded, 0), at(crowded, 100)), (QUIC_WINDOW_BYTES_MIN, QUIC_WINDOW_BYTES_MIN));
    }

    #[test]
    fn few_get_much_and_many_get_little() {
        let most = Windows { receive: QUIC_RECEIVE_WINDOW_BYTES_MAX, send: QUIC_SEND_WINDOW_BYTES_MAX };
        let least = Windows { receive: QUIC_WINDOW_BYTES_MIN, send: QUIC_WINDOW_BYTES_MIN };
        assert_eq!(Windows::share(0), most);
        assert_eq!(Windows::share(1), most);
        assert_eq!(Windows::share(100_000), least);
        let (mut before, mut sum) = (most, 0u64);
        for open in 1..=1000 {
            let windows = Windows::share(open);
            assert!(windows.send <= before.send && windows.receive <= before.receive);
            sum += u64::from(windows.send);
            before = windows;
        }
        // The harmonic number of 1,000 is 7.5.
        assert!(sum < 8 * u64::from(QUIC_WINDOWS_BYTES), "{sum}");
    }
}
