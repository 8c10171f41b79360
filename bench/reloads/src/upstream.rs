//! What the gateway forwards to: small replies, bodies that never end, WebSockets that echo.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::node::why;

/// Each connection has a thread; it needs little.
const STACK_BYTES: usize = 64 * 1024;
/// Between two pieces of an endless body.
const PIECE_EVERY: Duration = Duration::from_millis(50);
const SMALL: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const ENDLESS: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
const SWITCH: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// An endpoint that lives as long as the process.
pub(crate) struct Upstream {
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Upstream {
    pub(crate) fn start() -> Result<Self, String> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(why("bind the upstream"))?;
        let address = listener.local_addr().map_err(why("bind the upstream"))?;
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
                // Without a thread the connection is closed, and the gateway's caller sees it.
                drop(thread.spawn(move || serve(connection)));
            }
        });
        Ok(Self { address })
    }
}

fn serve(mut connection: TcpStream) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut bytes = Vec::with_capacity(4096);
    loop {
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            let mut piece = [0; 4096];
            match connection.read(&mut piece)? {
                0 => return Ok(()),
                count => bytes.extend_from_slice(piece.get(..count).unwrap_or_default()),
            }
        };
        if bytes.starts_with(b"GET /ws/") {
            connection.write_all(SWITCH)?;
            return echo(connection);
        }
        if bytes.starts_with(b"GET /endless/") {
            connection.write_all(ENDLESS)?;
            return never_end(connection);
        }
        connection.write_all(SMALL)?;
        bytes.drain(..end);
    }
}

fn echo(mut connection: TcpStream) -> io::Result<()> {
    let mut piece = [0; 256];
    loop {
        match connection.read(&mut piece)? {
            0 => return Ok(()),
            count => connection.write_all(piece.get(..count).unwrap_or_default())?,
        }
    }
}

fn never_end(mut connection: TcpStream) -> io::Result<()> {
    loop {
        connection.write_all(b"5\r\nmore\n\r\n")?;
        std::thread::sleep(PIECE_EVERY);
    }
}
