//! What comes on one request stream: pieces from QUIC, taken apart by `wire`.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use quinn::{ReadError, RecvStream};
use ringway_wire::http3::{Code, Event, Fault, MessageReader, Role};

use super::line::{Exchange, Line};
use super::{end_of_reset, number};
use crate::message::MessageEnd;

/// Pieces that are taken from QUIC at once: each is a packet's content, and all of them cost one lock.
const PIECES: usize = 4;

/// The receiving half of a stream. Dropped before its end, it asks the peer to stop.
pub(super) struct Inflow {
    stream: RecvStream,
    pub(super) exchange: Rc<Exchange>,
    pub(super) reader: MessageReader,
    pieces: [Bytes; PIECES],
    /// The piece that is being read; all are when it is `PIECES`.
    at: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// More may come.
    Open,
    /// The peer has ended it in order.
    Finished,
    /// Nothing more is read.
    Over(MessageEnd),
}

/// What came next.
pub(super) enum Next {
    /// A field section of so many bytes, which the reader shows; the bytes up to its end.
    Section(usize, Bytes),
    /// One that is too large.
    TooLarge,
    /// Content.
    Data(Bytes),
    /// The message is whole.
    End,
}

/// Why nothing more comes.
pub(super) enum Stop {
    /// The peer, or the connection.
    Ended(MessageEnd),
    /// The peer broke a rule.
    Fault(Fault),
}

impl Inflow {
    /// In a box, so that it is moved cheaply from whoever reads the head to whoever reads the content.
    pub(super) fn new(stream: RecvStream, exchange: Rc<Exchange>, reader: MessageReader) -> Box<Self> {
        let pieces = [const { Bytes::new() }; PIECES];
        Box::new(Self { stream, exchange, reader, pieces, at: PIECES, state: State::Open })
    }

    pub(super) fn line(&self) -> &Rc<Line> {
        &self.exchange.line
    }

    /// The next thing that came.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Next, Stop>> {
        loop {
            if let Some(next) = self.next_of_pieces() {
                return Poll::Ready(next);
            }
            match self.state {
                State::Over(end) => return Poll::Ready(Err(Stop::Ended(end))),
                State::Finished => {
                    return Poll::Ready(self.reader.finish().map(|()| Next::End).map_err(Stop::Fault));
                }
                State::Open => match self.poll_read(cx) {
                    Poll::Ready(()) => {}
                    Poll::Pending => return Poll::Pending,
                },
            }
        }
    }

    /// Whether the stream has ended behind what was read: known once it has, or something else has come.
    pub(super) fn poll_at_end(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            while self.pieces.get(self.at).is_some_and(Bytes::is_empty) {
                self.at += 1;
            }
            if self.at < PIECES {
                return Poll::Ready(false);
            }
            match self.state {
                State::Open => ready!(self.poll_read(cx)),
                State::Finished => return Poll::Ready(true),
                State::Over(_) => return Poll::Ready(false),
            }
        }
    }

    /// What the peer has sent is not read any more.
    pub(super) fn stop(&mut self, code: Code) {
        if self.state == State::Open {
            // Fails where it has ended, which is as good.
            let _ = self.stream.stop(number(code));
        }
        self.at = PIECES;
        self.state = State::Over(MessageEnd::Closed);
    }

    fn next_of_pieces(&mut self) -> Option<Result<Next, Stop>> {
        while let Some(piece) = self.pieces.get_mut(self.at) {
            if piece.is_empty() {
                self.at += 1;
                continue;
            }
            let (taken, event) = match self.reader.next(piece) {
                Ok(read) => read,
                Err(fault) => return Some(Err(Stop::Fault(fault))),
            };
            let mut taken = piece.split_to(taken);
            match event {
                Event::NeedMore => {}
                Event::Data(count) => {
                    let head = taken.len().saturating_sub(count);
                    return Some(Ok(Next::Data(taken.split_off(head))));
                }
                Event::Section(_, len) => return Some(Ok(Next::Section(len, taken))),
                Event::TooLarge(_) => return Some(Ok(Next::TooLarge)),
            }
        }
        None
    }

    /// Takes pieces from QUIC, which gives the peer credit for as many.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let polled = pin!(self.stream.read_chunks(&mut self.pieces)).poll(cx);
        match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(Some(count))) => {
                // What lies behind those is old, and empty.
                self.pieces.iter_mut().skip(count).for_each(Bytes::clear);
                self.at = 0;
            }
            Poll::Ready(Ok(None)) => self.state = State::Finished,
            Poll::Ready(Err(error)) => self.state = State::Over(self.ended(&error)),
        }
        Poll::Ready(())
    }

    fn ended(&self, error: &ReadError) -> MessageEnd {
        match error {
            ReadError::Reset(code) => {
                self.exchange.cancelled.set(true);
                end_of_reset(*code)
            }
            _ => MessageEnd::Closed,
        }
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        // A server needs no more (RFC 9114 §4.1); a client wants no more.
        let client = self.line().role == Role::Client;
        self.stop(if client { Code::RequestCancelled } else { Code::NoError });
    }
}
