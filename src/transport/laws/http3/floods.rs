//! Peers that make work: each is cut off at a named bound, and others go on.

use super::*;

on_both! {
    a_flood_of_cancelled_requests_ends_the_connection => resets;
    a_flood_of_malformed_requests_ends_the_connection => malformed;
    cancelling_some_of_many_answered_requests_is_no_flood => some_resets;
    frames_without_end_end_the_connection => endless;
    a_flood_of_streams_of_unknown_kinds_ends_the_connection => unknown;
    a_flood_of_priorities_ends_the_connection => priorities;
}

async fn never(incoming: crate::http3::Incoming, _: Rc<Seen>) {
    let mut sender = incoming.sender;
    poll_fn(|cx| sender.poll_closed(cx)).await;
}

/// Another connection's request is answered.
async fn others_go_on(pair: &Pair) {
    let calling = pair.call().await;
    let call = calling.call(Method::Get).await.unwrap();
    let mut sender = call.sender;
    sender.send_encoded(&with(&[]), After::Nothing).unwrap();
    let mut reply = call.reply;
    assert_eq!(reply.head().await.unwrap().status(), 200);
}

async fn ends_excessive(connection: &Connection) {
    let error = ringway_rt::until_ns(soon(), connection.closed()).await.unwrap();
    assert_eq!(closed_with(&error), Error::ExcessiveLoad.number());
}

fn resets(choice: DriverChoice) {
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, never);
        let connection = pair.connect().await;
        let code = VarInt::from_u32(Error::RequestCancelled.number() as u32);
        let mut opened = 0;
        while let Ok((mut send, mut recv)) = connection.open_bi().await {
            let _ = send.write_all(&with(&[])).await;
            let _ = send.reset(code);
            let _ = recv.stop(code);
            opened += 1;
            assert!(opened < 10_000, "it goes on for ever");
        }
        ends_excessive(&connection).await;
        until(|| pair.seen.endings.borrow().len() == 1).await;
        assert_eq!(*pair.seen.endings.borrow(), [Ending::Flood]);
    });
}

fn malformed(choice: DriverChoice) {
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, echo);
        let connection = pair.connect().await;
        let mut opened = 0;
        while let Ok((mut send, _)) = connection.open_bi().await {
            let _ = send.write_all(&with(&[("A", "b")])).await;
            let _ = send.finish();
            opened += 1;
            assert!(opened < 10_000, "it goes on for ever");
        }
        ends_excessive(&connection).await;
        others_go_on(&pair).await;
    });
}

fn some_resets(choice: DriverChoice) {
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, echo);
        let calling = pair.call().await;
        for round in 0..600 {
            let call = calling.call(Method::Get).await.unwrap();
            let (mut sender, mut reply) = (call.sender, call.reply);
            if round % 2 == 0 {
                sender.send_encoded(&with(&[]), After::Nothing).unwrap();
                assert_eq!(reply.head().await.unwrap().status(), 200);
                assert_eq!(collect(&mut reply.receiver()).await.unwrap().0, b"hello");
            } else {
                sender.send_encoded(&with(&[]), After::Content).unwrap();
                sender.flush().unwrap();
                sender.reset(Code::Cancel);
            }
        }
        assert!(calling.connection().close_reason().is_none());
    });
}

fn endless(choice: DriverChoice) {
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, echo);
        let mut unknown = vec![0x21];
        varint::write(&mut unknown, varint::VARINT_MAX);
        let nothing = [0, 0].repeat(8_000);
        for (head, more) in [(Vec::new(), unknown.clone()), (with(&[]), unknown), (with(&[]), nothing)] {
            let connection = pair.connect().await;
            let (mut send, _recv) = connection.open_bi().await.unwrap();
            let _ = send.write_all(&[head, more].concat()).await;
            let mut sent = 0;
            while send.write_all(&[0; 4096]).await.is_ok() {
                sent += 4096;
                assert!(sent < 64 << 20, "it goes on for ever");
            }
            ends_excessive(&connection).await;
        }
        others_go_on(&pair).await;
    });
}

fn unknown(choice: DriverChoice) {
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, echo);
        let connection = pair.connect().await;
        let mut opened = 0;
        while let Ok(mut send) = connection.open_uni().await {
            let _ = send.write_all(&[0x21]).await;
            opened += 1;
            assert!(opened < 10_000, "it goes on for ever");
        }
        ends_excessive(&connection).await;
        others_go_on(&pair).await;
    });
}

fn priorities(choice: DriverChoice) {
    worker(choice, || async {
        let pair = Pair::new(PATIENCE, echo);
        let connection = pair.connect().await;
        let mut send = connection.open_uni().await.unwrap();
        let mut update = Vec::new();
        wire::write_priority_update(&mut update, 0, b"u=1");
        send.write_all(&[0, 4, 0]).await.unwrap();
        let mut sent = 0;
        while send.write_all(&update).await.is_ok() {
            sent += 1;
            assert!(sent < 1_000_000, "it goes on for ever");
        }
        ends_excessive(&connection).await;
        others_go_on(&pair).await;
    });
}
