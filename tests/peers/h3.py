"""HTTP/3 clients of aioquic's making, honest and hostile. Each command prints one JSON object a line.

    h3.py get ADDRESS PORT CA PATH...          requests one after the other on one connection
    h3.py reachable ADDRESS PORT CA            whether a connection comes about within two seconds
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
PATIENCE = 20


def say(**values):
    print(json.dumps(values), flush=True)


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.replies = {}

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

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
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


def drawn(address, port, packets, wait=1.5):
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for packet in packets:
        one.sendto(packet, (address, int(port)))
    one.settimeout(wait)
    came, until = [], time.monotonic() + 2 * wait
    try:
        while time.monotonic() < until:
            came.append(one.recv(65536))
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
    short = drawn(address, port, [bytes(packet[:600])], 0.3)
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
    for command in (get, reachable, together, post, moving, flood, amplified, versions, spki)
}


def main():
    command = COMMANDS[sys.argv[1]]
    arguments = sys.argv[2:]
    if asyncio.iscoroutinefunction(command):
        asyncio.run(command(arguments[0], int(arguments[1]), *arguments[2:]))
    else:
        command(*arguments)


main()
