//! How much a connection may have under way: a share of what its endpoint spends on all of them, so that a few far clients
//! get the windows that their distance needs, and many get what memory allows.

use quinn::{Connection, VarInt};

use crate::limits::{
    QUIC_RECEIVE_WINDOW_BYTES_MAX, QUIC_SEND_WINDOW_BYTES_MAX, QUIC_WINDOW_BYTES_MIN, QUIC_WINDOWS_BYTES,
};

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

    /// Gives them to a connection.
    pub(super) fn apply(self, connection: &Connection) {
        connection.set_send_window(u64::from(self.send));
        if self.receive > QUIC_WINDOW_BYTES_MIN {
            connection.set_receive_window(VarInt::from_u32(self.receive));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
