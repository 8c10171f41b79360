//! The content that a peer sends on one HTTP/3 stream.

use std::task::{Context, Poll};

use bytes::Bytes;
use ringway_wire::http3::qpack::SectionEnd;
use ringway_wire::http3::{Code, Fault, read_trailers};
use ringway_wire::limits::ChunkLimits;
use ringway_wire::reject::Reject;

use super::code_of;
use super::inflow::{Inflow, Next, Stop};
use crate::message::{self, MessageEnd, Received};

/// The receiving half of a message, after its head.
pub struct Receiver {
    inflow: Box<Inflow>,
    /// Why nothing more comes.
    over: Option<MessageEnd>,
}

impl Receiver {
    pub(super) fn new(inflow: Box<Inflow>) -> Self {
        Self { inflow, over: None }
    }

    /// See [`crate::Receiver::stop`].
    pub fn stop(&mut self, code: message::Code) {
        self.inflow.stop(code_of(code));
        self.over = Some(MessageEnd::Closed);
    }

    /// What comes next; after its end or a failure, that again.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Received, MessageEnd>> {
        if let Some(over) = self.over {
            return Poll::Ready(Err(over));
        }
        let next = match self.inflow.poll_next(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(next)) => next,
            Poll::Ready(Err(Stop::Ended(end))) => return Poll::Ready(Err(self.end(end))),
            Poll::Ready(Err(Stop::Fault(fault))) => {
                return Poll::Ready(Err(self.fault(fault, Reject::StreamContent)));
            }
        };
        Poll::Ready(match next {
            Next::Data(bytes) => Ok(Received::Data(bytes)),
            Next::End => Ok(Received::End),
            Next::Section(len, taken) => self.trailers(len, &taken),
            Next::TooLarge => Err(self.fault(Fault::Stream(Code::ExcessiveLoad), Reject::TrailersTooLarge)),
        })
    }

    fn trailers(&mut self, len: usize, taken: &Bytes) -> Result<Received, MessageEnd> {
        let section = self.inflow.reader.section(taken, len);
        match read_trailers(section, &ChunkLimits::DEFAULT) {
            Ok(trailers) => Ok(Received::Trailers(trailers)),
            Err(SectionEnd::Undecodable) => {
                let fault = Fault::Connection(Code::QpackDecompressionFailed);
                Err(self.fault(fault, Reject::TrailerSyntax))
            }
            Err(SectionEnd::Stopped(reject)) => Err(self.fault(Fault::Stream(Code::Message), reject)),
        }
    }

    /// The peer broke a rule: nothing more is read of it.
    fn fault(&mut self, fault: Fault, reject: Reject) -> MessageEnd {
        let code = self.inflow.line().fault(fault);
        self.inflow.exchange.cancelled.set(true);
        self.inflow.exchange.fault.set(Some(code));
        self.inflow.stop(code);
        self.end(MessageEnd::Malformed(reject))
    }

    fn end(&mut self, end: MessageEnd) -> MessageEnd {
        self.over = Some(end);
        end
    }
}
