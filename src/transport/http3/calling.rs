//! The client's side of a connection: for the load generator and for tests.

use std::future::poll_fn;
use std::rc::Rc;

use quinn::Connection;
use ringway_wire::head::{Content, Framing, ResponseHead};
use ringway_wire::http3::qpack::SectionEnd;
use ringway_wire::http3::{Code, Fault, MessageLimits, MessageReader, Role, Settings, read_response};
use ringway_wire::limits::HeadLimits;
use ringway_wire::method::Method;
use ringway_wire::reject::ResponseReject;

use super::inflow::{Inflow, Next, Stop};
use super::line::{Exchange, Line};
use super::{Receiver, Sender, streams};
use crate::message::MessageEnd;

/// A connection to a server that speaks HTTP/3. Dropped, it is closed.
pub struct Calling {
    line: Rc<Line>,
    head_limits: HeadLimits,
}

/// Why there is no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallEnd {
    /// The stream or the connection ended.
    Ended(MessageEnd),
    /// What came is no reply.
    Malformed(ResponseReject),
    /// The server said GOAWAY: another connection is needed.
    GoingAway,
}

impl Calling {
    /// Takes a connection over. On a worker.
    #[must_use]
    pub fn new(connection: Connection, head_limits: HeadLimits) -> Self {
        let line = Line::new(connection, Role::Client, Settings::DEFAULT);
        streams::start(&line);
        Self { line, head_limits }
    }

    /// What the server has announced, once it has.
    #[must_use]
    pub fn settings(&self) -> Option<Settings> {
        self.line.theirs.get()
    }

    /// The id in the server's last GOAWAY.
    #[must_use]
    pub fn going_away(&self) -> Option<u64> {
        self.line.goaway_seen.get()
    }

    /// The connection below.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.line.connection
    }

    /// Opens a stream for a request, as soon as the server admits another.
    ///
    /// # Errors
    /// [`CallEnd::GoingAway`], or the connection is gone.
    pub async fn call(&self, method: Method) -> Result<Call, CallEnd> {
        if self.line.goaway_seen.get().is_some() {
            return Err(CallEnd::GoingAway);
        }
        let opened = self.line.connection.open_bi().await;
        let (send, recv) = opened.map_err(|_| CallEnd::Ended(MessageEnd::Closed))?;
        let exchange = Exchange::new(Rc::clone(&self.line), u64::from(send.id()));
        let reader = MessageReader::new(Role::Client, MessageLimits::DEFAULT);
        let inflow = Inflow::new(recv, Rc::clone(&exchange), reader);
        let reply = Reply { inflow, method, head_limits: self.head_limits };
        Ok(Call { sender: Sender::new(send, exchange), reply })
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        self.line.close(Code::NoError);
    }
}

/// A request in the making, and the reply to it.
pub struct Call {
    /// Sends the request.
    pub sender: Sender,
    /// The reply.
    pub reply: Reply,
}

/// A reply that has not begun.
pub struct Reply {
    inflow: Box<Inflow>,
    method: Method,
    head_limits: HeadLimits,
}

impl Reply {
    /// Waits for the next head: an interim one may come before the final one, after which [`Reply::receiver`] has the content. May
    /// be given up.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn head(&mut self) -> Result<ResponseHead, CallEnd> {
        let next = poll_fn(|cx| self.inflow.poll_next(cx)).await;
        let (len, taken) = match next {
            Ok(Next::Section(len, taken)) => (len, taken),
            Ok(Next::TooLarge) => return Err(self.malformed(ResponseReject::HeadTooLarge)),
            Ok(Next::End | Next::Data(_)) => return Err(self.malformed(ResponseReject::StatusLine)),
            Err(Stop::Ended(end)) => return Err(CallEnd::Ended(end)),
            Err(Stop::Fault(fault)) => {
                let code = self.inflow.line().fault(fault);
                self.inflow.stop(code);
                return Err(CallEnd::Malformed(ResponseReject::StatusLine));
            }
        };
        let section = self.inflow.reader.section(&taken, len);
        // Whether content follows shows when it comes: an announced length is held against it.
        let head = match read_response(section, Content::Follows, self.method, &self.head_limits) {
            Ok(head) => head,
            Err(SectionEnd::Undecodable) => {
                self.inflow.line().fault(Fault::Connection(Code::QpackDecompressionFailed));
                return Err(CallEnd::Malformed(ResponseReject::StatusLine));
            }
            Err(SectionEnd::Stopped(reject)) => return Err(self.malformed(reject)),
        };
        match head.framing() {
            _ if head.is_interim() => self.inflow.reader.expect_another_head(),
            Framing::Length(length) => self.inflow.reader.expect_content(length),
            Framing::Empty => self.inflow.reader.expect_content(0),
            Framing::Chunked | Framing::UntilClose => {}
        }
        Ok(head)
    }

    /// The content, after the final head.
    #[must_use]
    pub fn receiver(self) -> Receiver {
        Receiver::new(self.inflow)
    }

    fn malformed(&mut self, reject: ResponseReject) -> CallEnd {
        self.inflow.stop(Code::Message);
        CallEnd::Malformed(reject)
    }
}
