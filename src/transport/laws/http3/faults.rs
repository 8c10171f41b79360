//! What a peer may not do, and with which code it is told (RFC 9114 §8, RFC 9204 §6).

use super::*;

on_both! {
    faults_of_streams_close_the_connection_with_their_code => connections;
    malformed_requests_are_reset_and_others_go_on => messages;
    a_head_that_is_too_large_is_refused_by_its_length => too_large;
}

/// Settings, nothing more, as the control stream begins.
const CONTROL: &[u8] = &[0, 4, 0];

/// Where bytes are written.
enum On {
    /// A unidirectional stream that stays open.
    Uni(Vec<u8>),
    /// One that ends.
    UniEnded(Vec<u8>),
    /// A request stream that ends.
    Request(Vec<u8>),
}

fn frame(number: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    varint::write(&mut out, number);
    varint::write(&mut out, payload.len() as u64);
    out.extend_from_slice(payload);
    out
}

fn control(frames: &[Vec<u8>]) -> On {
    On::Uni([CONTROL, &frames.concat()].concat())
}

fn request(frames: &[Vec<u8>]) -> On {
    On::Request(frames.concat())
}

fn cases() -> Vec<(&'static str, Vec<On>, Error)> {
    let head = with(&[]);
    let uni = |bytes: &[u8]| On::Uni(bytes.to_vec());
    let ended = |bytes: &[u8]| On::UniEnded(bytes.to_vec());
    vec![
        ("no SETTINGS", vec![uni(&[0, 7, 1, 0])], Error::MissingSettings),
        ("SETTINGS twice", vec![control(&[frame(4, &[])])], Error::FrameUnexpected),
        ("a setting of HTTP/2", vec![uni(&[0, 4, 2, 2, 0])], Error::Settings),
        ("a setting twice", vec![uni(&[0, 4, 4, 6, 1, 6, 2])], Error::Settings),
        ("DATA on the control stream", vec![control(&[frame(0, b"x")])], Error::FrameUnexpected),
        ("HEADERS on the control stream", vec![control(&[frame(1, b"x")])], Error::FrameUnexpected),
        ("PING on the control stream", vec![control(&[frame(6, &[0; 8])])], Error::FrameUnexpected),
        ("a cut GOAWAY", vec![control(&[frame(7, &[0x40])])], Error::Frame),
        ("MAX_PUSH_ID that shrinks", vec![control(&[frame(13, &[5]), frame(13, &[4])])], Error::Id),
        ("CANCEL_PUSH of nothing", vec![control(&[frame(3, &[0])])], Error::Id),
        ("the control stream ends", vec![ended(CONTROL)], Error::ClosedCriticalStream),
        ("two control streams", vec![uni(CONTROL), uni(CONTROL)], Error::StreamCreation),
        ("a push from a client", vec![uni(&[1, 0])], Error::StreamCreation),
        ("two encoder streams", vec![uni(&[2]), uni(&[2])], Error::StreamCreation),
        ("the encoder stream ends", vec![ended(&[2])], Error::ClosedCriticalStream),
        ("the decoder stream ends", vec![ended(&[3])], Error::ClosedCriticalStream),
        ("a table", vec![uni(&[2, 0x3f, 0x01])], Error::QpackEncoderStream),
        ("an insert", vec![uni(&[2, 0xc1, 0])], Error::QpackEncoderStream),
        ("an increment of 0", vec![uni(&[3, 0])], Error::QpackDecoderStream),
        ("an acknowledgement", vec![uni(&[3, 0x80])], Error::QpackDecoderStream),
        ("DATA first", vec![request(&[frame(0, b"x")])], Error::FrameUnexpected),
        ("SETTINGS on a request", vec![request(&[head.clone(), frame(4, &[])])], Error::FrameUnexpected),
        ("CANCEL_PUSH on a request", vec![request(&[head.clone(), frame(3, &[0])])], Error::FrameUnexpected),
        ("WINDOW_UPDATE", vec![request(&[frame(8, &[0; 4])])], Error::FrameUnexpected),
        ("PUSH_PROMISE", vec![request(&[frame(5, &[0, 0, 0])])], Error::FrameUnexpected),
        ("a cut frame", vec![request(&[head.clone(), vec![0, 5, b'x']])], Error::Frame),
        (
            "DATA after trailers",
            vec![request(&[head.clone(), encoded(&[]), frame(0, b"x")])],
            Error::FrameUnexpected,
        ),
        ("no such row", vec![request(&[frame(1, &[0, 0, 0xff, 0x24])])], Error::QpackDecompressionFailed),
        ("a dynamic row", vec![request(&[frame(1, &[0, 0, 0x80])])], Error::QpackDecompressionFailed),
        ("a required insert", vec![request(&[frame(1, &[2, 0, 0x80])])], Error::QpackDecompressionFailed),
        (
            "trailers that cannot be decoded",
            vec![request(&[head, frame(1, &[0, 0, 0x80])])],
            Error::QpackDecompressionFailed,
        ),
    ]
}

fn connections(choice: DriverChoice) {
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, echo);
        for (name, streams, code) in cases() {
            let connection = pair.connect().await;
            let mut open = Vec::new();
            for stream in streams {
                let (bytes, ends, uni) = match stream {
                    On::Uni(bytes) => (bytes, false, true),
                    On::UniEnded(bytes) => (bytes, true, true),
                    On::Request(bytes) => (bytes, true, false),
                };
                let mut send = match uni {
                    true => connection.open_uni().await.unwrap(),
                    false => connection.open_bi().await.unwrap().0,
                };
                let _ = send.write_all(&bytes).await;
                if ends {
                    let _ = send.finish();
                }
                open.push(send);
            }
            assert_eq!(closed_with(&connection.closed().await), code.number(), "{name}");
            let endings = pair.seen.endings.borrow().len();
            until(|| pair.seen.endings.borrow().len() > endings.saturating_sub(1)).await;
        }
        assert!(pair.seen.endings.borrow().iter().all(|ending| matches!(ending, Ending::Malformed(_))));
    });
}

fn messages(choice: DriverChoice) {
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, echo);
        let connection = pair.connect().await;
        let without = |name: &str| {
            let kept: Vec<_> = PSEUDO.iter().copied().filter(|field| field.0 != name).collect();
            encoded(&kept)
        };
        let body =
            |announced: &str, sent: &[u8]| [with(&[("content-length", announced)]), frame(0, sent)].concat();
        let cases: Vec<(&str, Vec<u8>, Error)> = vec![
            ("no method", without(":method"), Error::Message),
            ("no path", without(":path"), Error::Message),
            ("no scheme", without(":scheme"), Error::Message),
            ("no authority", without(":authority"), Error::Message),
            ("a pseudo-field twice", with(&[(":path", "/b")]), Error::Message),
            ("a pseudo-field late", with(&[("a", "b"), (":path", "/b")]), Error::Message),
            ("a pseudo-field of replies", with(&[(":status", "200")]), Error::Message),
            ("upper case", with(&[("Upper", "b")]), Error::Message),
            ("a field of the connection", with(&[("connection", "close")]), Error::Message),
            ("te", with(&[("te", "gzip")]), Error::Message),
            ("a line break", with(&[("a", "b\nc")]), Error::Message),
            ("a pseudo-field in trailers", [with(&[]), encoded(&[(":path", "/")])].concat(), Error::Message),
            ("less content", body("5", b"four"), Error::Message),
            ("more content", body("3", b"four"), Error::Message),
            ("no content", with(&[("content-length", "3")]), Error::Message),
            ("nothing at all", Vec::new(), Error::RequestIncomplete),
            ("only unknown frames", frame(0x21, b"grease"), Error::RequestIncomplete),
        ];
        for (name, bytes, code) in cases {
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            let _ = send.write_all(&bytes).await;
            let _ = send.finish();
            let code = VarInt::from_u32(code.number() as u32);
            assert_eq!(recv.read_to_end(100_000).await.unwrap_err(), ReadError::Reset(code).into(), "{name}");
        }
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        let grease =
            [frame(0x21, b"a"), with(&[]), frame(0x40, b""), frame(0, b"content"), frame(0x5f, b"x")];
        send.write_all(&grease.concat()).await.unwrap();
        send.finish().unwrap();
        let reply = recv.read_to_end(1_000).await.unwrap();
        assert!(reply.ends_with(b"content"), "{reply:?}");
    });
}

fn too_large(choice: DriverChoice) {
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, echo);
        let calling = pair.call().await;
        // Larger than a frame may be; larger than a head may be; too many fields; a target that is too long.
        let mut endless = vec![1];
        varint::write(&mut endless, varint::VARINT_MAX);
        let large = with(&[("a", &"~".repeat(40_000))]);
        let many = with(&[("a", "b"); 101]);
        let path = "/".repeat(9_000);
        let long = encoded(&[&PSEUDO[..3], &[(":path", path.as_str())]].concat());
        for (head, status, reject) in [
            (endless, 431, Reject::HeadTooLarge),
            (large, 431, Reject::HeadTooLarge),
            (many, 431, Reject::TooManyFields),
            (long, 414, Reject::TargetTooLong),
        ] {
            let call = calling.call(Method::Get).await.unwrap();
            let mut sender = call.sender;
            sender.send_encoded(&head, After::Content).unwrap();
            sender.flush().unwrap();
            let mut reply = call.reply;
            assert_eq!(reply.head().await.unwrap().status(), status);
            assert_eq!(pair.seen.none.borrow().last().unwrap(), &format!("refused {reject}"));
            assert_eq!(poll_fn(|cx| sender.poll_closed(cx)).await, MessageEnd::Reset);
            sender.reset(Code::Cancel);
        }
    });
}
