//! A tunnel after 101 (RFC 9110 §7.8): bytes both ways until both ends have closed, or nothing moves
//! for `tunnel_idle`. It pins no generation, holds no buffer while it is silent, and counts its bytes.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

use ringway_rt::Side;
use ringway_transport::{Code, MessageEnd, Received, Receiver, Sender, Stream};
use ringway_wire::buffer::{Buffer, Class, memory};

/// Reads between two turns given away by a tunnel that never has to wait.
const READS_PER_TURN: u32 = 16;

/// Why a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TunnelEnd {
    /// Both ends closed in order.
    Closed,
    /// Nothing moved for too long.
    Idle,
    /// One end was reset or did not take bytes.
    Broken,
}

/// What a tunnel did.
pub(crate) struct Tunnelled {
    /// Why it ended.
    pub(crate) end: TunnelEnd,
    /// Bytes from downstream to upstream.
    pub(crate) up_bytes: u64,
    /// Bytes from upstream to downstream.
    pub(crate) down_bytes: u64,
}

/// The tunnel's one clock: bytes in either direction push the deadline of both ends, so that a silent
/// direction does not end a tunnel whose other direction flows.
struct Activity<'s> {
    ends: [&'s Stream; 2],
    idle_ns_max: u64,
}

impl Activity<'_> {
    fn touch(&self) {
        let at = ringway_rt::now().mono_ns.saturating_add(self.idle_ns_max);
        for end in self.ends {
            // Both sides: the wait of a writer whose reader has stopped ends with the tunnel's clock, too.
            end.deadline().arm(Side::Read, at);
            end.deadline().arm(Side::Write, at);
        }
    }

    /// What an end that failed means.
    fn failed(&self) -> TunnelEnd {
        if self.expired() { TunnelEnd::Idle } else { TunnelEnd::Broken }
    }

    fn expired(&self) -> bool {
        self.ends.iter().any(|end| end.deadline().expired().is_some())
    }
}

/// Joins two streams. `first_up` and `first_down` are bytes that were read behind the heads.
pub(crate) async fn join(
    downstream: &Stream,
    upstream: &Stream,
    first_up: &[u8],
    first_down: &[u8],
    idle_ns_max: u64,
) -> Tunnelled {
    let activity = Activity { ends: [downstream, upstream], idle_ns_max };
    activity.touch();
    let (up_bytes, down_bytes) = (Cell::new(0), Cell::new(0));
    let up = pump(downstream, upstream, first_up, &up_bytes, &activity);
    let down = pump(upstream, downstream, first_down, &down_bytes, &activity);
    let end = both(up, down).await;
    Tunnelled { end, up_bytes: up_bytes.get(), down_bytes: down_bytes.get() }
}

/// Joins a stream of HTTP/2 or HTTP/3 with an upstream's connection (RFC 8441, RFC 9220).
pub(crate) async fn join_stream(
    receiver: &mut Receiver,
    sender: &mut Sender,
    upstream: &Stream,
    first_down: &[u8],
    idle_ns_max: u64,
) -> Tunnelled {
    let clock = Cell::new(ringway_rt::now().mono_ns);
    let (up_bytes, down_bytes) = (Cell::new(0), Cell::new(0));
    let end = {
        let up = pump_up(receiver, upstream, &up_bytes, &clock);
        let mut both = pin!(both(up, pump_down(upstream, sender, first_down, &down_bytes, &clock)));
        loop {
            let until_ns = clock.get().saturating_add(idle_ns_max);
            match ringway_rt::until_ns(until_ns, both.as_mut()).await {
                Some(end) => break end,
                None if clock.get().saturating_add(idle_ns_max) <= until_ns => break TunnelEnd::Idle,
                None => {}
            }
        }
    };
    if end != TunnelEnd::Closed {
        sender.reset(Code::Cancel);
    }
    Tunnelled { end, up_bytes: up_bytes.get(), down_bytes: down_bytes.get() }
}

/// Drives both directions until both have closed in order, or one ends otherwise.
async fn both(up: impl Future<Output = TunnelEnd>, down: impl Future<Output = TunnelEnd>) -> TunnelEnd {
    let (mut up, mut down) = (pin!(up), pin!(down));
    let (mut up_end, mut down_end) = (None, None);
    poll_fn(|context| {
        if up_end.is_none()
            && let Poll::Ready(end) = up.as_mut().poll(context)
        {
            up_end = Some(end);
        }
        if down_end.is_none()
            && let Poll::Ready(end) = down.as_mut().poll(context)
        {
            down_end = Some(end);
        }
        match (up_end, down_end) {
            (Some(TunnelEnd::Closed), Some(TunnelEnd::Closed)) => Poll::Ready(TunnelEnd::Closed),
            (Some(end), _) | (_, Some(end)) if end != TunnelEnd::Closed => Poll::Ready(end),
            _ => Poll::Pending,
        }
    })
    .await
}

/// Moves what a stream brings to the upstream, until its end, which is passed on as a half close.
async fn pump_up(receiver: &mut Receiver, to: &Stream, moved: &Cell<u64>, clock: &Cell<u64>) -> TunnelEnd {
    let mut reads = 0u32;
    loop {
        match receiver.try_next() {
            Ok(Received::Data(bytes)) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    match to.try_write(rest) {
                        Ok(Some(count)) => {
                            rest = rest.get(count..).unwrap_or_default();
                            moved.set(moved.get() + count as u64);
                            clock.set(ringway_rt::now().mono_ns);
                        }
                        Ok(None) if to.writable().await.is_ok() => {}
                        Ok(None) | Err(_) => return TunnelEnd::Broken,
                    }
                }
                receiver.consumed(bytes.len());
                reads = reads.wrapping_add(1);
                if reads.is_multiple_of(READS_PER_TURN) {
                    ringway_rt::turn().await;
                }
            }
            Ok(Received::Nothing) => receiver.readable().await,
            Ok(Received::Trailers(_)) => {}
            Ok(Received::End) => {
                let _ = to.shutdown_write().await;
                return TunnelEnd::Closed;
            }
            Err(_) => return TunnelEnd::Broken,
        }
    }
}

/// Moves what the upstream sends to a stream, until its end, which ends our half of the stream.
async fn pump_down(
    from: &Stream,
    sender: &mut Sender,
    first: &[u8],
    moved: &Cell<u64>,
    clock: &Cell<u64>,
) -> TunnelEnd {
    if send_all(sender, first, moved, clock).await.is_err() {
        return TunnelEnd::Broken;
    }
    let mut reads = 0u32;
    loop {
        reads = reads.wrapping_add(1);
        if reads.is_multiple_of(READS_PER_TURN) {
            ringway_rt::turn().await;
        }
        let mut buffer = Buffer::take(Class::K16);
        match from.try_read_append(buffer.vec_mut()) {
            Ok(Some(0)) => {
                let finished = finish(sender).await;
                return if finished.is_ok() { TunnelEnd::Closed } else { TunnelEnd::Broken };
            }
            Err(_) => return TunnelEnd::Broken,
            Ok(Some(_)) => {
                if send_all(sender, &buffer, moved, clock).await.is_err() {
                    return TunnelEnd::Broken;
                }
            }
            Ok(None) => {
                drop(buffer);
                if readable_unless_closed(from, sender).await.is_err() {
                    return TunnelEnd::Broken;
                }
            }
        }
    }
}

/// Ends our half of a stream, with all that is still held.
async fn finish(sender: &mut Sender) -> Result<(), MessageEnd> {
    sender.finish(None)?;
    while !sender.flush()? {
        sender.writable().await;
    }
    Ok(())
}

/// Waits for the upstream, unless the caller takes its stream back before.
async fn readable_unless_closed(from: &Stream, sender: &mut Sender) -> Result<(), MessageEnd> {
    let mut readable = pin!(from.readable());
    poll_fn(|context| match readable.as_mut().poll(context) {
        Poll::Ready(woken) => Poll::Ready(woken.map_err(|_| MessageEnd::Closed)),
        Poll::Pending => sender.poll_closed(context).map(Err),
    })
    .await
}

async fn send_all(
    sender: &mut Sender,
    bytes: &[u8],
    moved: &Cell<u64>,
    clock: &Cell<u64>,
) -> Result<(), MessageEnd> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match sender.try_send(rest)? {
            0 => sender.writable().await,
            count => {
                rest = rest.get(count..).unwrap_or_default();
                moved.set(moved.get() + count as u64);
                clock.set(ringway_rt::now().mono_ns);
            }
        }
    }
    Ok(())
}

/// Moves bytes one way until the end of `from`, which is passed on as a half close.
async fn pump(
    from: &Stream,
    to: &Stream,
    first: &[u8],
    moved: &Cell<u64>,
    activity: &Activity<'_>,
) -> TunnelEnd {
    if write_all(to, first, moved, activity).await.is_err() {
        return activity.failed();
    }
    let mut reads = 0u32;
    let mut class = Class::K16;
    loop {
        reads = reads.wrapping_add(1);
        if reads.is_multiple_of(READS_PER_TURN) {
            ringway_rt::turn().await;
        }
        let mut buffer = Buffer::take(class);
        match from.try_read_append(buffer.vec_mut()) {
            Ok(Some(0)) if activity.expired() => return TunnelEnd::Idle,
            Ok(Some(0)) => {
                let _ = to.shutdown_write().await;
                return TunnelEnd::Closed;
            }
            Ok(Some(_)) => {
                if write_all(to, &buffer, moved, activity).await.is_err() {
                    return activity.failed();
                }
                let full = buffer.spare() == 0;
                if full {
                    class = class.larger().unwrap_or(class).min(largest());
                }
                // Where there was room for more, there was no more. With TLS it may be in a record, or behind it.
                if full || from.is_tls() {
                    continue;
                }
                drop(buffer);
            }
            Ok(None) => {
                drop(buffer);
                class = Class::K16;
            }
            Err(_) => return activity.failed(),
        }
        if from.readable().await.is_err() {
            return activity.failed();
        }
    }
}

/// Of the buffers of what flows.
fn largest() -> Class {
    if memory::is_short() { Class::K16 } else { Class::K64 }
}

async fn write_all(to: &Stream, bytes: &[u8], moved: &Cell<u64>, activity: &Activity<'_>) -> io::Result<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match to.try_write(rest)? {
            Some(count) => {
                rest = rest.get(count..).unwrap_or_default();
                moved.set(moved.get() + count as u64);
                activity.touch();
            }
            None => to.writable().await?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};

    use ringway_rt::{DriverChoice, Ended, Options};

    use super::*;

    async fn pair(listener: &TcpListener) -> (Stream, TcpStream) {
        let until_ns = ringway_rt::now().mono_ns + 60_000_000_000;
        let ours = ringway_rt::Stream::connect(listener.local_addr().unwrap(), until_ns).await.unwrap();
        (Stream::Plain(ours), listener.accept().unwrap().0)
    }

    #[test]
    fn a_tunnel_whose_only_reader_has_stopped_ends_with_its_clock() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let options = Options { driver: DriverChoice::Epoll, ..Options::default() };
        let ended = ringway_rt::run(&options, |_| async move {
            let (downstream, caller) = pair(&listener).await;
            let (upstream, mut sender) = pair(&listener).await;
            // The caller says no more and reads nothing; the endpoint sends for as long as it is let.
            caller.shutdown(Shutdown::Write).unwrap();
            sender.write_all(&[7; 1024]).unwrap();
            let flood = std::thread::spawn(move || while sender.write_all(&[7; 65536]).is_ok() {});
            let tunnelled = join(&downstream, &upstream, b"", b"", 200_000_000).await;
            assert_eq!(tunnelled.end, TunnelEnd::Idle);
            assert!(tunnelled.down_bytes > 0);
            drop((downstream, upstream));
            flood.join().unwrap();
        });
        assert_eq!(ended.unwrap(), Ended::Finished(()));
    }
}
