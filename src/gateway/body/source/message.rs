//! A body on a stream of HTTP/2 or HTTP/3: its frames come parsed, and what went on is given back as flow-control credit.

use bytes::Bytes;
use ringway_transport::{Code, MessageEnd, Received, Receiver};
use ringway_wire::head::Framing;
use ringway_wire::trailers::Trailers;

use super::{SourceEnd, Step};

/// Content of one stream.
pub(super) struct MessageBody {
    /// None once a tunnel has it.
    receiver: Option<Box<Receiver>>,
    /// What came last, and whether it was shown.
    chunk: Bytes,
    shown: bool,
    trailers: Trailers,
    /// Something came: the message cannot be sent once more.
    begun: bool,
    done: bool,
    malformed: bool,
}

impl MessageBody {
    pub(super) fn new(receiver: Box<Receiver>, framing: Framing) -> Self {
        let done = framing == Framing::Empty;
        Self {
            receiver: Some(receiver),
            chunk: Bytes::new(),
            shown: false,
            trailers: Trailers::default(),
            begun: false,
            done,
            malformed: false,
        }
    }

    pub(super) fn step(&mut self) -> Result<Step<'_>, SourceEnd> {
        while !self.done {
            let Some(receiver) = &mut self.receiver else { return Ok(Step::End) };
            let next = receiver.try_next();
            self.malformed |= matches!(next, Err(MessageEnd::Malformed(_)));
            match next.map_err(ended)? {
                Received::Data(chunk) => {
                    (self.chunk, self.shown, self.begun) = (chunk, true, true);
                    return Ok(Step::Data(&self.chunk));
                }
                Received::Trailers(trailers) => self.trailers = trailers,
                Received::End => self.done = true,
                Received::Nothing => return Ok(Step::More),
            }
        }
        Ok(Step::End)
    }

    pub(super) fn consume(&mut self) {
        if std::mem::take(&mut self.shown) {
            let chunk = std::mem::take(&mut self.chunk);
            if let Some(receiver) = &mut self.receiver {
                receiver.consumed(chunk.len());
            }
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn is_malformed(&self) -> bool {
        self.malformed
    }

    pub(super) fn pristine(&self) -> bool {
        !self.begun
    }

    pub(super) fn trailers(&self) -> &Trailers {
        &self.trailers
    }

    pub(super) fn stop(&mut self) {
        if let Some(receiver) = self.receiver.as_mut().filter(|_| !self.done) {
            receiver.stop(Code::NoError);
        }
    }

    pub(super) fn take_receiver(&mut self) -> Option<Box<Receiver>> {
        self.done = true;
        self.receiver.take()
    }

    pub(super) async fn wait(&mut self, until_ns: u64) -> Result<(), SourceEnd> {
        let Some(receiver) = &mut self.receiver else { return Ok(()) };
        ringway_rt::until_ns(until_ns, receiver.readable()).await.ok_or(SourceEnd::Timeout)
    }
}

fn ended(end: MessageEnd) -> SourceEnd {
    match end {
        MessageEnd::Malformed(reject) => SourceEnd::Malformed(reject),
        MessageEnd::Reset | MessageEnd::Refused | MessageEnd::TooLarge | MessageEnd::Closed => {
            SourceEnd::Reset
        }
    }
}
