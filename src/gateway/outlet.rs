//! Writes without waiting for whoever reads: a log that nobody reads, or whose reader is gone, holds nothing up.

use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

/// What a pipe takes whole once it says that it can be written to (POSIX `PIPE_BUF`): more may be waited for there.
pub(crate) const PIECE_BYTES: usize = 4096;

/// Writes what the other side takes within `patience`, at most `piece_bytes` (not 0) at a time, and says how many bytes that was.
///
/// # Errors
/// The system call's, where nothing was written before it: a closed pipe, a full disk.
pub(crate) fn write_soon(
    out: &impl AsFd,
    bytes: &[u8],
    piece_bytes: usize,
    patience: Duration,
) -> io::Result<usize> {
    let until = Instant::now() + patience;
    let mut written = 0;
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        if !writable(out, until.saturating_duration_since(Instant::now()))? {
            break;
        }
        match rustix::io::write(out, rest.get(..piece_bytes).unwrap_or(rest)) {
            Ok(count) => written += count,
            // A pipe that others write too, full again.
            Err(Errno::INTR | Errno::AGAIN) if Instant::now() < until => {}
            Err(Errno::INTR | Errno::AGAIN) => break,
            // Said the next time.
            Err(_) if written > 0 => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(written)
}

/// Waits until it can be written to, or until that fails.
fn writable(out: &impl AsFd, patience: Duration) -> io::Result<bool> {
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    let mut ask = [PollFd::new(out, PollFlags::OUT)];
    match poll(&mut ask, Some(&patience)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Standard error for a log: a line that it does not take is lost, and nobody waits or fails for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct StandardError;

/// Held while a line is written.
static WRITING: Mutex<()> = Mutex::new(());

/// How long a line of the log is offered.
const LINE_PATIENCE: Duration = Duration::from_millis(20);

impl io::Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // One at a time: two threads that see the last room in a pipe would both write, and one of them wait.
        let _alone = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        // There is nowhere to say it.
        write_soon(&io::stderr(), bytes, PIECE_BYTES, LINE_PATIENCE).ok();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pipe_that_nobody_reads_takes_what_it_holds_and_keeps_nobody_waiting() {
        let (mut reader, writer) = io::pipe().unwrap();
        let bytes: Vec<u8> = (0..1 << 20).map(|n| (n % 251) as u8).collect();
        let held = write_soon(&writer, &bytes, PIECE_BYTES, Duration::from_millis(1)).unwrap();
        assert!(held >= PIECE_BYTES && held < bytes.len());
        assert_eq!(write_soon(&writer, &bytes[held..], PIECE_BYTES, Duration::ZERO).unwrap(), 0);
        let mut taken = vec![0; held];
        reader.read_exact(&mut taken).unwrap();
        assert_eq!(taken, bytes[..held]);
        assert!(write_soon(&writer, &bytes[held..], PIECE_BYTES, Duration::from_millis(1)).unwrap() > 0);
    }

    #[test]
    fn a_closed_pipe_is_an_error_and_no_signal() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let error = write_soon(&writer, b"line\n", PIECE_BYTES, Duration::from_secs(1)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
