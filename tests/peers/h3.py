"""HTTP/3 clients of aioquic's making, honest and hostile. Each command prints one JSON object a line.

    h3.py get ADDRESS PORT CA PATH...          requests one after the other on one connection
    h3.py reachable ADDRESS PORT CA            whether a connection comes about within two seconds
    h3.py waiting ADDRESS PORT CA PATH         a request, its reply, and the end of the connection
    h3.py outliving ADDRESS PORT CA PATH       a request, a line of input, and a request that fails
    h3.py resets ADDRESS PORT CA PATH COUNT    requests that are reset at once
    h3.py greedy ADDRESS PORT CA PATH COUNT    connections that ask for much and take nothing
    h3.py together ADDRESS PORT CA PATH COUNT  so many requests at once on one connection
    h3.py post ADDRESS PORT CA PATH BYTES      a body of so many bytes
    h3.py moving ADDRESS PORT CA PATH ROUNDS   a request after each change of the client's address
    h3.py flood ADDRESS PORT COUNT             first packets of so many clients that never answer
    h3.py amplified ADDRESS PORT               how many bytes one first packet draws
    h3.py versions ADDRESS PORT                what an unknown version draws
    h3.py spki CERTIFICATE                     the hash that Chromium's flag wants
"""

import asyncio
import base64
import hashlib
import json
import socket
import ssl
import sys
import threading
import time

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, StreamReset

HOST = "api.test"
PATIENCE = 60


def say(**values):
    print(json.dumps(values), flush=True)


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.replies = {}
        self.ended = None

    def start(self, method, path, body=b"", fields=()):
        stream = self._quic.get_next_available_stream_id()
        pseudo = [(":method", method), (":scheme", "https"), (":authority", HOST), (":path", path)]
        head = [(name.encode(), value.encode()) for name, value in pseudo + list(fields)]
        self.replies[stream] = [None, bytearray(), asyncio.get_event_loop().create_future()]
        self.http.send_headers(stream, head, end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        return stream

    async def reply(self, stream):
        status, body, done = self.replies[stream]
        await asyncio.wait_for(asyncio.shield(done), PATIENCE)
        return self.replies[stream][0], bytes(self.replies[stream][1])

    async def ask(self, method, path, body=b"", fields=()):
        return await self.reply(self.start(method, path, body, fields))

    def datagram_received(self, data, address):
        # aioquic keeps the tokens of stateless resets and never looks for them (RFC 9000 section 10.3.1).
        if data[-16:] == self._quic._peer_cid.stateless_reset_token:
            for reply in self.replies.values():
                if not reply[2].done():
                    reply[2].set_exception(ConnectionResetError("stateless reset"))
        super().datagram_received(data, address)

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.ended = event.error_code
            for reply in self.replies.values():
                if not reply[2].done():
                    reply[2].set_exception(ConnectionError(f"{event.error_code:#x} {event.reason_phrase}"))
            return
        if isinstance(event, StreamReset) and event.stream_id in self.replies:
            reply = self.replies[event.stream_id]
            if not reply[2].done():
                reply[2].set_exception(ConnectionError(f"reset {event.error_code:#x}"))
            return
        for happened in self.http.handle_event(event):
            reply = self.replies.get(happened.stream_id)
            if reply is None:
                continue
            if isinstance(happened, HeadersReceived):
                if reply[0] is None or reply[0] < 200:
                    reply[0] = int(dict(happened.headers)[b":status"])
            elif isinstance(happened, DataReceived):
                reply[1] += happened.data
            if happened.stream_ended and not reply[2].done():
                reply[2].set_result(None)


def configuration(ca):
    made = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=HOST)
    made.load_verify_locations(ca)
    return made


def client(address, port, ca):
    return connect(
        address,
        port,
        configuration=configuration(ca),
        create_protocol=Client,
    )


async def get(address, port, ca, *paths):
    async with client(address, port, ca) as held:
        for path in paths:
            status, body = await held.ask("GET", path)
            say(status=status, body=body.decode(errors="replace")[:200], length=len(body))


async def reachable(address, port, ca):
    made = configuration(ca)
    made.idle_timeout = 2
    try:
        async with connect(address, port, configuration=made, create_protocol=Client):
            say(connected=True)
    except ConnectionError:
        say(connected=False)


async def waiting(address, port, ca, path):
    """Says when the request is out, then its reply, then how the connection ended."""
    async with client(address, port, ca) as held:
        stream = held.start("GET", path)
        say(asked=True)
        status, body = await held.reply(stream)
        say(status=status, body=body.decode())
        await asyncio.wait_for(held.wait_closed(), PATIENCE)
        say(closed=True, code=held.ended)


async def outliving(address, port, ca, path):
    """A request, then after a line of input another one, which is to fail soon."""
    async with client(address, port, ca) as held:
        status, _ = await held.ask("GET", path)
        say(status=status)
        await asyncio.get_event_loop().run_in_executor(None, sys.stdin.readline)
        began = time.monotonic()
        try:
            await held.ask("GET", path)
            say(lost=False)
        except (ConnectionError, asyncio.TimeoutError) as error:
            say(lost=True, seconds=time.monotonic() - began, reset=isinstance(error, ConnectionResetError))


async def resets(address, port, ca, path, count):
    """Requests that are reset as soon as they are out, until the other side has had enough."""
    async with client(address, port, ca) as held:
        sent = 0
        while sent < int(count) and held.ended is None:
            for _ in range(50):
                stream = held.start("GET", path)
                held._quic.reset_stream(stream, 0x10C)
                held._quic.stop_stream(stream, 0x10C)
                sent += 1
            held.transmit()
            await asyncio.sleep(0.005)
        say(sent=sent, ended=held.ended)


async def greedy(address, port, ca, path, count):
    """Connections that ask for much and take next to nothing, until a line of input."""
    async def one():
        made = configuration(ca)
        made.max_data = made.max_stream_data = 64 * 1024
        async with connect(address, port, configuration=made, create_protocol=Client) as held:
            held._quic._write_connection_limits = lambda **_: None
            held._quic._write_stream_limits = lambda **_: None
            held.start("GET", path)
            say(asked=True)
            await until

    until = asyncio.get_event_loop().run_in_executor(None, sys.stdin.readline)
    await asyncio.gather(*(one() for _ in range(int(count))))


async def together(address, port, ca, path, count):
    async with client(address, port, ca) as held:
        streams = [held.start("GET", path) for _ in range(int(count))]
        replies = [await held.reply(stream) for stream in streams]
        say(statuses=sorted({status for status, _ in replies}), replies=len(replies))


async def post(address, port, ca, path, length):
    sent = bytes(index % 251 for index in range(int(length)))
    async with client(address, port, ca) as held:
        status, body = await held.ask("POST", path, sent)
        say(status=status, same=body == sent, length=len(body))


class Relay(threading.Thread):
    """Stands between a client and the server, and changes its address when it is told, as a NAT does."""

    def __init__(self, address, port):
        super().__init__(daemon=True)
        self.server = (address, port)
        self.inner = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.inner.bind(("127.0.0.1", 0))
        self.client = None
        self.outer = None
        self.move()
        threading.Thread(target=self.outward, daemon=True).start()

    def move(self):
        # The old one is closed: what is still sent to it is lost.
        old, self.outer = self.outer, socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.outer.bind(("127.0.0.1", 0))
        threading.Thread(target=self.inward, args=(self.outer,), daemon=True).start()
        if old is not None:
            old.close()

    def outward(self):
        while True:
            packet, self.client = self.inner.recvfrom(65536)
            self.outer.sendto(packet, self.server)

    def inward(self, outer):
        try:
            while True:
                self.inner.sendto(outer.recv(65536), self.client)
        except OSError:
            pass


async def moving(address, port, ca, path, rounds):
    relay = Relay(address, port)
    async with client("127.0.0.1", relay.inner.getsockname()[1], ca) as held:
        for _ in range(int(rounds)):
            status, body = await held.ask("GET", path)
            say(status=status, body=body.decode())
            relay.move()


def first_packets(server_name=HOST):
    """The first flight of a client of its own."""
    made = QuicConnection(
        configuration=QuicConfiguration(
            is_client=True, alpn_protocols=H3_ALPN, server_name=server_name, verify_mode=ssl.CERT_NONE
        )
    )
    made.connect(("127.0.0.1", 1), now=time.monotonic())
    return [packet for packet, _ in made.datagrams_to_send(now=time.monotonic())]


def flood(address, port, count):
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
    sent = 0
    for number in range(int(count)):
        for packet in first_packets():
            sockets[number % len(sockets)].sendto(packet, (address, int(port)))
            sent += len(packet)
    say(sent=sent)


def drawn(address, port, packets, wait=1.5, first=PATIENCE):
    """What comes until nothing has come for a while; of something that must come, the first may take its time."""
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for packet in packets:
        one.sendto(packet, (address, int(port)))
    one.settimeout(first)
    came, until = [], None
    try:
        while until is None or time.monotonic() < until:
            came.append(one.recv(65536))
            one.settimeout(wait)
            until = until or time.monotonic() + 2 * wait
    except TimeoutError:
        pass
    return came


def amplified(address, port):
    packets = first_packets()
    came = drawn(address, port, packets)
    say(sent=sum(map(len, packets)), drawn=sum(map(len, came)))


def versions(address, port):
    packet = bytearray(first_packets()[0])
    packet[1:5] = b"\x0a\x0a\x0a\x0a"
    came = drawn(address, port, [bytes(packet)], 0.5)
    short = drawn(address, port, [bytes(packet[:600])], first=0.3)
    answer = came[0] if came else b""
    say(
        negotiation=answer[1:5] == b"\0\0\0\0",
        v1=b"\0\0\0\x01" in answer,
        draft=b"\xff\0\0\x1d" in answer,
        to_short=len(short),
    )


def spki(path):
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    with open(path, "rb") as file:
        key = x509.load_pem_x509_certificate(file.read()).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    say(hash=base64.b64encode(hashlib.sha256(der).digest()).decode())


COMMANDS = {
    command.__name__: command
    for command in (get, reachable, waiting, outliving, resets, greedy, together, post, moving, flood, amplified, versions, spki)
}


def main():
    command = COMMANDS[sys.argv[1]]
    arguments = sys.argv[2:]
    if asyncio.iscoroutinefunction(command):
        asyncio.run(command(arguments[0], int(arguments[1]), *arguments[2:]))
    else:
        command(*arguments)


if __name__ == "__main__":
    main()
