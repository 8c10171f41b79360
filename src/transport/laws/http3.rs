//! HTTP/3 over real sockets: our server against our client, and against a peer that writes what it likes on raw streams.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use quinn::{Connection, ConnectionError, ReadError, VarInt};
use ringway_rt::{DriverChoice, UdpSocket, now, spawn};
use ringway_wire::head::Framing;
use ringway_wire::http3::{self as wire, Code as Error, varint};
use ringway_wire::limits::{ChunkLimits, HeadLimits};
use ringway_wire::method::Method;
use ringway_wire::{OutgoingHead, Overlay, Reject, Trailers};

use super::{Authority, PATIENCE_NS, SECOND, on_both, profile, seed, soon, worker};
use crate::http3::{
    Accepting, Arrived, CallEnd, Calling, Control, Ending, NoHead, Patience, Receiver, Sender,
};
use crate::message::{After, Code, MessageEnd, Received};
use crate::{
    Alpn, ClientProfile, ClientTls, QuicClient, QuicEndpoint, QuicIdentity, QuicKeys, QuicLimits, QuicTls,
    Verify, Version,
};

mod faults;
mod floods;

on_both! {
    heads_content_and_trailers_go_both_ways => exchange;
    interim_replies_come_before_the_final_one => interims;
    a_peer_that_takes_its_request_back_is_noticed => cancelled;
    a_reader_that_reads_nothing_bounds_what_is_sent => slow_reader;
    a_connection_ends_in_two_steps_and_loses_no_reply => farewell;
    goodbye_is_said_twice => goodbyes;
    a_silent_connection_ends => silence;
    the_urgent_reply_goes_first => urgency;
    replies_of_one_rank_share => equals;
    an_urgent_reply_that_nobody_reads_holds_up_no_other => unread;
}

const LIMITS: QuicLimits = QuicLimits { streams: 64, idle_ms: 30_000 };
const PATIENCE: Patience = Patience { head_ns: PATIENCE_NS, idle_ns: PATIENCE_NS };
const PSEUDO: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "https"), (":authority", "x.wild.test"), (":path", "/")];

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn keys() -> QuicKeys {
    QuicKeys::new(&[3; 32], &[4; 32], &[5; 16]).unwrap()
}

/// What a server has seen, and how it is told to end.
#[derive(Default)]
struct Seen {
    heads: RefCell<Vec<String>>,
    none: RefCell<Vec<String>>,
    ends: RefCell<Vec<MessageEnd>>,
    endings: RefCell<Vec<Ending>>,
    controls: RefCell<Vec<Control>>,
}

/// A server and a client's endpoint.
struct Pair {
    seen: Rc<Seen>,
    address: SocketAddr,
    client: QuicClient,
}

impl Pair {
    /// `serve` answers each request.
    fn new<F: Future<Output = ()> + 'static>(
        patience: Patience,
        serve: fn(crate::http3::Incoming, Rc<Seen>) -> F,
    ) -> Self {
        let authority = Authority::new("ca");
        let tls = QuicTls::build(&profile(&authority), &seed(), &keys(), LIMITS).unwrap();
        let socket = UdpSocket::bind_group(loopback(), 1).unwrap().remove(0);
        let address = socket.local_addr().unwrap();
        let identity = QuicIdentity { worker: 0, workers: 1, keys: keys() };
        let endpoint = QuicEndpoint::new(socket, &identity, &tls).unwrap();
        let seen = Rc::new(Seen::default());
        let told = Rc::clone(&seen);
        spawn(async move {
            while let Some(arriving) = endpoint.accept().await {
                let seen = Rc::clone(&told);
                spawn(async move {
                    let Ok((connection, _)) = arriving.handshake(soon()).await else { return };
                    requests(
                        Accepting::new(connection, patience, HeadLimits::DEFAULT, LIMITS.streams),
                        seen,
                        serve,
                    )
                    .await;
                });
            }
        });
        let tls = ClientTls::build(&ClientProfile {
            name: "test".to_owned(),
            ca: vec![authority.der()],
            certificate: None,
            alpn: vec![Alpn::Http3],
            minimum: Version::Tls13,
            verify: Verify::Full,
        })
        .unwrap();
        Self { seen, address, client: QuicClient::bind(loopback(), &tls, LIMITS).unwrap() }
    }

    async fn connect(&self) -> Connection {
        self.client.connect(self.address, "x.wild.test", soon()).await.unwrap()
    }

    async fn call(&self) -> Calling {
        Calling::new(self.connect().await, HeadLimits::DEFAULT)
    }
}

async fn requests<F: Future<Output = ()> + 'static>(
    mut accepting: Accepting,
    seen: Rc<Seen>,
    serve: fn(crate::http3::Incoming, Rc<Seen>) -> F,
) {
    seen.controls.borrow_mut().push(accepting.control());
    while let Some(arrived) = accepting.next().await {
        spawn(request(arrived, Rc::clone(&seen), serve));
    }
    seen.endings.borrow_mut().push(accepting.ending());
}

async fn request<F: Future<Output = ()>>(
    arrived: Arrived,
    seen: Rc<Seen>,
    serve: fn(crate::http3::Incoming, Rc<Seen>) -> F,
) {
    match arrived.head().await {
        Ok(incoming) => {
            let head = &incoming.head;
            let line = format!(
                "{} {} {:?}",
                String::from_utf8_lossy(head.method_bytes()),
                String::from_utf8_lossy(head.path()),
                head.framing()
            );
            seen.heads.borrow_mut().push(line);
            serve(incoming, seen).await;
        }
        Err(NoHead::Refused(reject, halves)) => {
            seen.none.borrow_mut().push(format!("refused {reject}"));
            let (_receiver, mut sender) = *halves;
            own(&mut sender, reject.status(), After::Nothing).unwrap();
        }
        Err(NoHead::Malformed(reject)) => seen.none.borrow_mut().push(format!("malformed {reject}")),
        Err(NoHead::Late) => seen.none.borrow_mut().push("late".to_owned()),
        Err(NoHead::Ended(end)) => seen.none.borrow_mut().push(format!("{end:?}")),
    }
}

fn own(sender: &mut Sender, status: u16, after: After) -> Result<usize, MessageEnd> {
    let overlay = Overlay::take();
    let fields = [(&b"x-own"[..], &b"yes"[..])];
    let framing = if after == After::Nothing { Framing::Length(0) } else { Framing::Chunked };
    sender.send_head(&OutgoingHead::own(status, &fields, &overlay, framing, None).unwrap(), after)
}

async fn send_all(sender: &mut Sender, mut bytes: &[u8]) -> Result<(), MessageEnd> {
    while !bytes.is_empty() {
        match sender.try_send(bytes)? {
            0 => poll_fn(|cx| sender.poll_writable(cx)).await,
            count => bytes = &bytes[count..],
        }
    }
    Ok(())
}

async fn flush(sender: &mut Sender) -> Result<(), MessageEnd> {
    while !sender.flush()? {
        poll_fn(|cx| sender.poll_writable(cx)).await;
    }
    Ok(())
}

/// Content and trailers to the message's end.
async fn collect(receiver: &mut Receiver) -> Result<(Vec<u8>, Option<Trailers>), MessageEnd> {
    let (mut content, mut trailers) = (Vec::new(), None);
    loop {
        match poll_fn(|cx| receiver.poll_next(cx)).await? {
            Received::Data(bytes) => content.extend_from_slice(&bytes),
            Received::Trailers(came) => trailers = Some(came),
            Received::End => return Ok((content, trailers)),
            Received::Nothing => {}
        }
    }
}

/// Sends back what came, trailers too.
async fn echo(incoming: crate::http3::Incoming, seen: Rc<Seen>) {
    let crate::http3::Incoming { head, mut receiver, mut sender } = incoming;
    let collected = match head.framing() {
        Framing::Empty => Ok((b"hello".to_vec(), None)),
        _ => collect(&mut receiver).await,
    };
    let result = async {
        let (content, trailers) = collected?;
        own(&mut sender, 200, After::Content)?;
        send_all(&mut sender, &content).await?;
        sender.finish(trailers.as_ref())?;
        flush(&mut sender).await
    };
    if let Err(end) = result.await {
        seen.ends.borrow_mut().push(end);
    }
}

fn encoded(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    wire::write_headers(&mut out, |out| {
        wire::qpack::write_prefix(out);
        for (name, value) in fields {
            wire::qpack::write_field(out, name.as_bytes(), value.as_bytes());
        }
    });
    out
}

fn with(more: &[(&str, &str)]) -> Vec<u8> {
    encoded(&[PSEUDO, more].concat())
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// Waits until something is so, giving everybody turns.
async fn until(mut so: impl FnMut() -> bool) {
    let until_ns = soon();
    while !so() {
        assert!(now().mono_ns < until_ns, "it never came");
        ringway_rt::turn().await;
    }
}

fn exchange(choice: DriverChoice) {
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, echo);
        let calling = pair.call().await;
        for size in [0, 1, 3_000, 100_000, 3_000_000] {
            let content = pattern(size);
            let call = calling.call(Method::Post).await.unwrap();
            let (mut sender, mut reply) = (call.sender, call.reply);
            sender.send_encoded(&with(&[("content-type", "x/y")]), After::Content).unwrap();
            let sent = content.clone();
            spawn(async move {
                send_all(&mut sender, &sent).await.unwrap();
                let mut trailers = Trailers::default();
                trailers.push(b"x-sum", b"12", &ChunkLimits::DEFAULT).unwrap();
                sender.finish(Some(&trailers)).unwrap();
                flush(&mut sender).await.unwrap();
            });
            let head = reply.head().await.unwrap();
            assert_eq!((head.status(), head.field_named(b"x-own")), (200, Some(&b"yes"[..])));
            let (came, trailers) = collect(&mut reply.receiver()).await.unwrap();
            assert!(came == content, "{size}");
            assert_eq!(
                trailers.unwrap().fields().next().map(|(_, value, _)| value.to_vec()),
                Some(b"12".to_vec())
            );
        }
        let call = calling.call(Method::Get).await.unwrap();
        let mut sender = call.sender;
        sender.send_encoded(&with(&[]), After::Nothing).unwrap();
        let mut reply = call.reply;
        assert_eq!(reply.head().await.unwrap().status(), 200);
        assert_eq!(collect(&mut reply.receiver()).await.unwrap().0, b"hello");
        assert_eq!(pair.seen.heads.borrow().last().unwrap(), "GET / Empty");
        assert!(pair.seen.ends.borrow().is_empty());
        assert!(calling.settings().unwrap().extended_connect);
        drop((calling, sender));
        until(|| pair.seen.endings.borrow().len() == 1).await;
        assert_eq!(*pair.seen.endings.borrow(), [Ending::Closed]);
    });
}

fn interims(choice: DriverChoice) {
    async fn serve(incoming: crate::http3::Incoming, _: Rc<Seen>) {
        let mut sender = incoming.sender;
        sender.send_head(&OutgoingHead::Continue, After::Content).unwrap();
        own(&mut sender, 103, After::Content).unwrap();
        own(&mut sender, 204, After::Nothing).unwrap();
        flush(&mut sender).await.unwrap();
    }
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, serve);
        let calling = pair.call().await;
        let call = calling.call(Method::Get).await.unwrap();
        let mut sender = call.sender;
        sender.send_encoded(&with(&[]), After::Nothing).unwrap();
        let mut reply = call.reply;
        for status in [100, 103, 204] {
            assert_eq!(reply.head().await.unwrap().status(), status);
        }
        assert_eq!(collect(&mut reply.receiver()).await.unwrap().0, b"");
    });
}

fn cancelled(choice: DriverChoice) {
    async fn serve(incoming: crate::http3::Incoming, seen: Rc<Seen>) {
        let mut sender = incoming.sender;
        let end = poll_fn(|cx| sender.poll_closed(cx)).await;
        seen.ends.borrow_mut().push(end);
    }
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, serve);
        let calling = pair.call().await;
        let call = calling.call(Method::Get).await.unwrap();
        let mut sender = call.sender;
        sender.send_encoded(&with(&[]), After::Nothing).unwrap();
        until(|| pair.seen.heads.borrow().len() == 1).await;
        drop(call.reply);
        until(|| pair.seen.ends.borrow().len() == 1).await;
        assert_eq!(*pair.seen.ends.borrow(), [MessageEnd::Reset]);
        // The same when the connection goes.
        let call = calling.call(Method::Get).await.unwrap();
        let mut another = call.sender;
        another.send_encoded(&with(&[]), After::Nothing).unwrap();
        until(|| pair.seen.heads.borrow().len() == 2).await;
        drop(calling);
        until(|| pair.seen.ends.borrow().len() == 2).await;
        assert_eq!(pair.seen.ends.borrow()[1], MessageEnd::Closed);
    });
}

fn slow_reader(choice: DriverChoice) {
    thread_local! {
        static TAKEN: Cell<usize> = const { Cell::new(0) };
        static WAITING: Cell<bool> = const { Cell::new(false) };
    }
    async fn serve(incoming: crate::http3::Incoming, _: Rc<Seen>) {
        let mut sender = incoming.sender;
        own(&mut sender, 200, After::Content).unwrap();
        let piece = vec![7; 64 * 1024];
        loop {
            match sender.try_send(&piece) {
                Ok(0) => {
                    WAITING.set(true);
                    poll_fn(|cx| sender.poll_writable(cx)).await;
                    WAITING.set(false);
                }
                Ok(count) => TAKEN.set(TAKEN.get() + count),
                Err(_) => return,
            }
        }
    }
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, serve);
        let calling = pair.call().await;
        let call = calling.call(Method::Get).await.unwrap();
        let mut sender = call.sender;
        sender.send_encoded(&with(&[]), After::Nothing).unwrap();
        until(|| WAITING.get()).await;
        let (mut before, mut rounds) = (TAKEN.get(), 0);
        while rounds < 1_000 {
            ringway_rt::turn().await;
            rounds = if TAKEN.get() == before { rounds + 1 } else { 0 };
            before = TAKEN.get();
        }
        assert!(TAKEN.get() < 3 << 20, "{} bytes were taken for nobody", TAKEN.get());
        // Another request on the same connection is served.
        let other = calling.call(Method::Get).await.unwrap();
        let mut sender = other.sender;
        sender.send_encoded(&with(&[]), After::Nothing).unwrap();
        let mut reply = other.reply;
        assert_eq!(reply.head().await.unwrap().status(), 200);
    });
}

fn farewell(choice: DriverChoice) {
    async fn serve(incoming: crate::http3::Incoming, seen: Rc<Seen>) {
        // It goes on well into the end of its connection.
        let mut sender = incoming.sender;
        own(&mut sender, 200, After::Content).unwrap();
        flush(&mut sender).await.unwrap();
        until(|| !seen.none.borrow().is_empty()).await;
        send_all(&mut sender, &pattern(500_000)).await.unwrap();
        sender.finish(None).unwrap();
        flush(&mut sender).await.unwrap();
    }
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, serve);
        let calling = pair.call().await;
        let call = calling.call(Method::Get).await.unwrap();
        let mut sender = call.sender;
        sender.send_encoded(&with(&[]), After::Nothing).unwrap();
        let mut reply = call.reply;
        assert_eq!(reply.head().await.unwrap().status(), 200);
        pair.seen.controls.borrow()[0].drain();
        until(|| calling.going_away().is_some()).await;
        assert!(matches!(calling.call(Method::Get).await, Err(CallEnd::GoingAway)));
        until(|| calling.going_away() == Some(4)).await;
        // What comes too late is rejected, so that it may be sent elsewhere.
        let (mut send, mut recv) = calling.connection().open_bi().await.unwrap();
        send.write_all(&with(&[])).await.unwrap();
        let code = VarInt::from_u32(Error::RequestRejected.number() as u32);
        assert_eq!(recv.read_to_end(100).await.unwrap_err(), ReadError::Reset(code).into());
        pair.seen.none.borrow_mut().push("go on".to_owned());
        assert!(collect(&mut reply.receiver()).await.unwrap().0 == pattern(500_000));
        let error = calling.connection().closed().await;
        assert_eq!(closed_with(&error), Error::NoError.number());
        until(|| pair.seen.endings.borrow().len() == 1).await;
        assert_eq!(*pair.seen.endings.borrow(), [Ending::Closed]);
    });
}

fn goodbyes(choice: DriverChoice) {
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, echo);
        let connection = pair.connect().await;
        let mut control = connection.accept_uni().await.unwrap();
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&with(&[])).await.unwrap();
        send.finish().unwrap();
        recv.read_to_end(100).await.unwrap();
        pair.seen.controls.borrow()[0].drain();
        let (first, second) = ([7, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfc], [7, 1, 4]);
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !said.ends_with(&second) {
            control.read_exact(&mut byte).await.unwrap();
            said.extend(byte);
        }
        assert!(said.ends_with(&[&first[..], &second].concat()), "{said:?}");
    });
}

fn closed_with(error: &ConnectionError) -> u64 {
    match error {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other}"),
    }
}

fn silence(choice: DriverChoice) {
    worker(choice, || async {
        // Never a request.
        let pair = Pair::new(Patience { head_ns: SECOND / 5, idle_ns: PATIENCE_NS }, echo);
        let connection = pair.connect().await;
        assert_eq!(closed_with(&connection.closed().await), Error::NoError.number());
        // One request, and then none: it has to come in time, on any machine.
        let pair = Pair::new(Patience { head_ns: 10 * SECOND, idle_ns: 3 * SECOND }, echo);
        let calling = pair.call().await;
        let call = calling.call(Method::Get).await.unwrap();
        let mut sender = call.sender;
        sender.send_encoded(&with(&[]), After::Nothing).unwrap();
        let mut reply = call.reply;
        assert_eq!(reply.head().await.unwrap().status(), 200);
        drop(reply);
        drop(sender);
        assert_eq!(closed_with(&calling.connection().closed().await), Error::NoError.number());
        assert_eq!(calling.going_away(), Some(4));
        // A head that does not come, though it has begun in time.
        let pair = Pair::new(Patience { head_ns: 3 * SECOND, idle_ns: PATIENCE_NS }, echo);
        let connection = pair.connect().await;
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&[1]).await.unwrap();
        let code = VarInt::from_u32(Error::RequestRejected.number() as u32);
        assert_eq!(recv.read_to_end(100).await.unwrap_err(), ReadError::Reset(code).into());
        assert_eq!(pair.seen.none.borrow().last().unwrap(), "late");
    });
}

/// Answers with much content once three requests have come, so that none has a start.
async fn much_at_once(incoming: crate::http3::Incoming, seen: Rc<Seen>) {
    let mut sender = incoming.sender;
    until(|| seen.heads.borrow().len() == 3).await;
    own(&mut sender, 200, After::Content).unwrap();
    send_all(&mut sender, &pattern(MUCH)).await.unwrap();
    sender.finish(None).unwrap();
    flush(&mut sender).await.unwrap();
}

const MUCH: usize = 4_000_000;

/// Asks [`much_at_once`] with these priorities at once: which reply ended when, and how much of each of them had come by then.
async fn ask_for_much(priorities: [&'static str; 3]) -> Vec<(&'static str, [usize; 3])> {
    let pair = Pair::new(PATIENCE, much_at_once);
    let calling = pair.call().await;
    let came = Rc::new(RefCell::new([0; 3]));
    let ends = Rc::new(RefCell::new(Vec::new()));
    let mut senders = Vec::new();
    for (at, priority) in priorities.into_iter().enumerate() {
        let call = calling.call(Method::Get).await.unwrap();
        let mut sender = call.sender;
        sender.send_encoded(&with(&[("priority", priority)]), After::Nothing).unwrap();
        senders.push(sender);
        let (mut reply, came, ends) = (call.reply, Rc::clone(&came), Rc::clone(&ends));
        spawn(async move {
            reply.head().await.unwrap();
            let mut receiver = reply.receiver();
            loop {
                match poll_fn(|cx| receiver.poll_next(cx)).await.unwrap() {
                    Received::Data(bytes) => came.borrow_mut()[at] += bytes.len(),
                    Received::End => break,
                    _ => {}
                }
            }
            ends.borrow_mut().push((priority, *came.borrow()));
        });
    }
    until(|| ends.borrow().len() == 3).await;
    assert_eq!(*came.borrow(), [MUCH; 3]);
    ends.take()
}

fn urgency(choice: DriverChoice) {
    worker(choice, || async {
        let ends = ask_for_much(["u=7", "u=6, i", "u=0"]).await;
        let order: Vec<_> = ends.iter().map(|(priority, _)| *priority).collect();
        assert_eq!(order, ["u=0", "u=6, i", "u=7"], "{ends:?}");
        let [(_, first), (_, second), _] = ends[..] else { panic!("{ends:?}") };
        assert!(first[0] < MUCH / 2 && first[1] < MUCH / 2, "the others waited: {ends:?}");
        assert!(second[0] < MUCH / 2, "the last waited: {ends:?}");
    });
}

fn equals(choice: DriverChoice) {
    worker(choice, || async {
        let ends = ask_for_much(["u=3, i"; 3]).await;
        assert!(ends[0].1.iter().all(|came| *came > MUCH / 4), "one waited for the others: {ends:?}");
    });
}

fn unread(choice: DriverChoice) {
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, much_at_once);
        let calling = pair.call().await;
        let (mut senders, mut unread) = (Vec::new(), Vec::new());
        let whole = Rc::new(Cell::new(0));
        for priority in ["u=0", "u=1", "u=7"] {
            let call = calling.call(Method::Get).await.unwrap();
            let mut sender = call.sender;
            sender.send_encoded(&with(&[("priority", priority)]), After::Nothing).unwrap();
            senders.push(sender);
            let mut reply = call.reply;
            if priority == "u=0" {
                unread.push(reply);
                continue;
            }
            let whole = Rc::clone(&whole);
            spawn(async move {
                reply.head().await.unwrap();
                assert_eq!(collect(&mut reply.receiver()).await.unwrap().0.len(), MUCH);
                whole.set(whole.get() + 1);
            });
        }
        until(|| whole.get() == 2).await;
        assert_eq!(unread[0].head().await.unwrap().status(), 200);
    });
}
