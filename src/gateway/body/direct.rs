//! Content that goes from one plain HTTP/1 connection to another without being copied: through a pipe, by reference to where the kernel
//! received it. Only bytes that are certain to be content go this way ([`ringway_wire::http1::BodyReader::run_len`]); framing is read and
//! written as ever.

use std::io::ErrorKind;

use ringway_rt::Pipe;
use ringway_wire::buffer::memory;

use super::{RelayEnd, Sink, Source, SourceEnd};

/// Below this much, copying is as cheap.
const RUN_BYTES_MIN: u64 = 16 * 1024;
/// Moved at once.
const MOVE_BYTES_MAX: u64 = 256 * 1024;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    /// The next bytes are not of that kind.
    Nothing,
    /// They are, and have not come yet.
    NotYet,
    /// Some went on.
    Some,
}

/// Moves what is there of a long run of content, behind what was read before it.
///
/// May be dropped at any `await`, as [`super::relay`]: the source has counted what was taken from it, and the receiver lacks it.
pub(super) async fn step(source: &mut Source<'_>, sink: &mut Sink<'_>) -> Result<Moved, RelayEnd> {
    let Some((from, run)) = source.run_ahead().filter(|(_, run)| *run >= RUN_BYTES_MIN) else {
        return Ok(Moved::Nothing);
    };
    if !sink.takes_pipes() || memory::is_short() {
        return Ok(Moved::Nothing);
    }
    let Some(mut pipe) = Pipe::take() else { return Ok(Moved::Nothing) };
    let bytes_max = usize::try_from(run.min(MOVE_BYTES_MAX)).unwrap_or(usize::MAX);
    let failed = match from.try_read_into(&mut pipe, bytes_max) {
        Ok(None) => return Ok(Moved::NotYet),
        // The copying relay tells what an end means, behind what came before it; and a host may know no pipes from sockets.
        Ok(Some(0)) => return Ok(Moved::Nothing),
        Err(error) if error.kind() == ErrorKind::InvalidInput => return Ok(Moved::Nothing),
        Ok(Some(_)) => None,
        Err(error) => Some(SourceEnd::of(&error)),
    };
    if let Some(end) = failed.filter(|_| sink.can_be_taken_back()) {
        return Err(RelayEnd::Source(end));
    }
    source.step().map(drop).map_err(RelayEnd::Source)?;
    // INVARIANT: no `await` between the read and this: what has left the socket is never taken for what is still to come.
    source.passed(pipe.held()).map_err(RelayEnd::Source)?;
    sink.data_before_pipe(source.shown()).await.map_err(RelayEnd::Sink)?;
    source.consume();
    if let Some(end) = failed {
        return Err(RelayEnd::Source(end));
    }
    let _weight = memory::Weight::of(pipe.held());
    sink.data_from(&mut pipe).await.map_err(RelayEnd::Sink)?;
    Ok(Moved::Some)
}
