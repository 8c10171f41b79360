//! Numbers of segments: rising, and never given again by a node, whatever became of its segments.

use std::io;
use std::path::{Path, PathBuf};

use crate::limits::SEGMENT_NUMBERS_STEP;
use crate::state::write_whole;

/// The numbers of a node. The state directory remembers an upper bound, so that a number is not given again after a crash, after
/// tmpfs went with a reboot, or after the segments were removed.
#[derive(Debug)]
pub(crate) struct Numbers {
    path: PathBuf,
    next: u64,
    reserved: u64,
}

impl Numbers {
    /// Goes on where the state directory says, and after `newest`, which lies in shared memory.
    ///
    /// # Errors
    /// What it says cannot be read, or is no number.
    pub(crate) fn open(state: &Path, newest: Option<u64>) -> io::Result<Self> {
        let path = state.join("segment.next");
        let told = match std::fs::read_to_string(&path) {
            Ok(text) => {
                text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not a number"))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(error),
        };
        let next = newest.map_or(told, |newest| told.max(newest.saturating_add(1)));
        Ok(Self { path, next, reserved: next })
    }

    /// The next number.
    ///
    /// # Errors
    /// The state directory could not be told that it is taken.
    pub(crate) fn take(&mut self) -> io::Result<u64> {
        if self.next >= self.reserved {
            let reserved = self.next.saturating_add(SEGMENT_NUMBERS_STEP);
            write_whole(&self.path, format!("{reserved}\n").as_bytes())?;
            self.reserved = reserved;
        }
        let number = self.next;
        self.next += 1;
        Ok(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_given_again() {
        let state = tempfile::tempdir().unwrap();
        let mut last = None;
        for _ in 0..3 {
            let mut numbers = Numbers::open(state.path(), None).unwrap();
            for _ in 0..SEGMENT_NUMBERS_STEP / 2 + 1 {
                let number = numbers.take().unwrap();
                assert!(last < Some(number));
                last = Some(number);
            }
        }
        let mut numbers = Numbers::open(state.path(), Some(u64::from(u32::MAX))).unwrap();
        assert_eq!(numbers.take().unwrap(), 1 << 32, "also after what lies in shared memory");
    }
}
