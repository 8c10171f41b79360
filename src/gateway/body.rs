//! A body on its way: a source that yields parsed bytes, a sink that frames them anew, and the relay
//! between the two. Memory is constant whatever the length; back-pressure is the sink's `await`.

use std::pin::pin;

mod direct;
mod sink;
mod source;

use self::direct::Moved;
pub(crate) use self::sink::{Coding, Own, Sink, SinkEnd};
pub(crate) use self::source::{Source, SourceEnd, SourceLimits, Step};

/// Reads between two turns given away by a relay that never has to wait.
const FILLS_PER_TURN: u32 = 16;

/// Why a relay did not reach the end of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RelayEnd {
    /// The sender.
    Source(SourceEnd),
    /// The receiver.
    Sink(SinkEnd),
}

/// Moves the whole body from `source` to `sink` and flushes it. What is buffered goes out before
/// anything is waited for, so that event streams are not held back.
///
/// May be dropped at any `await`: reads and writes are synchronous, no byte is lost or sent twice.
///
/// # Errors
/// Which side ended it.
pub(crate) async fn relay(source: &mut Source<'_>, sink: &mut Sink<'_>) -> Result<(), RelayEnd> {
    let mut filled = 0u32;
    let mut turn = async || {
        filled += 1;
        if filled.is_multiple_of(FILLS_PER_TURN) {
            // Two fast peers never make us wait: the others get their turn.
            ringway_rt::turn().await;
        }
    };
    loop {
        let moved = direct::step(source, sink).await?;
        if moved == Moved::Some {
            turn().await;
            continue;
        }
        match source.step().map_err(RelayEnd::Source)? {
            Step::Data(bytes) => {
                sink.data(bytes).await.map_err(RelayEnd::Sink)?;
                source.consume();
            }
            Step::End => {
                sink.end(source.trailers()).await.map_err(RelayEnd::Sink)?;
                return Ok(());
            }
            Step::More => {
                // An end that has come already shows before anything is said of a message that it makes none.
                if moved == Moved::Nothing && source.try_fill().map_err(RelayEnd::Source)? {
                    turn().await;
                    continue;
                }
                sink.flush().await.map_err(RelayEnd::Sink)?;
                if sink.is_watched() {
                    // A caller that leaves, or takes its stream back, ends a silent reply, too.
                    sink.unless_closed(pin!(source.ready()))
                        .await
                        .map_err(RelayEnd::Sink)?
                        .map_err(RelayEnd::Source)?;
                } else {
                    source.ready().await.map_err(RelayEnd::Source)?;
                }
            }
        }
    }
}

#[cfg(test)]
mod laws;
