//! Numbers of segments: rising, and never given again by a node, whatever became of its segments.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::limits::SEGMENT_NUMBERS_STEP;
use crate::state::write_whole;

/// The numbers of a node. The state directory remembers an upper bound, so that a number is not given again after a crash, after
/// tmpfs went with a reboot, or after the segments were removed.
#[derive(Debug)]
pub(crate) struct Numbers {
    path: PathBuf,
    next: u64,
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
        Ok(Self { path, next })
    }

    /// The next numbers, which follow those of the last time.
    ///
    /// # Errors
    /// The state directory could not be told that they are taken.
    pub(crate) fn reserve(&mut self) -> io::Result<Range<u64>> {
        let end = self.next.saturating_add(SEGMENT_NUMBERS_STEP);
        write_whole(&self.path, format!("{end}\n").as_bytes())?;
        let reserved = self.next..end;
        self.next = end;
        Ok(reserved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_never_given_again() {
        let state = tempfile::tempdir().unwrap();
        let mut last = 0;
        for _ in 0..3 {
            let mut numbers = Numbers::open(state.path(), None).unwrap();
            for _ in 0..2 {
                let more = numbers.reserve().unwrap();
                assert!(last <= more.start && more.start < more.end);
                last = more.end;
            }
        }
        let mut numbers = Numbers::open(state.path(), Some(u64::from(u32::MAX))).unwrap();
        assert_eq!(numbers.reserve().unwrap().start, 1 << 32, "also after what lies in shared memory");
    }
}
