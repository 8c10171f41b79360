"""A WebSocket's tunnel over HTTP/3 (RFC 9220): what comes in goes into DATA frames, what comes back goes out. HTTP/3 is aioquic's.

    h3_tunnel.py ADDRESS PORT CA NAME PATH

The first line says the status of the reply. The end of the input ends our half of the stream; the output ends with the peer's
half. It exits when both have ended, or at once and with 1 where the stream was reset.
"""

import asyncio
import json
import os
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

CHUNK = 256 * 1024


class Tunnel(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.stream, self.answered = None, asyncio.get_event_loop().create_future()
        self.over = asyncio.get_event_loop().create_future()

    def begin(self, name, path):
        self.stream = self._quic.get_next_available_stream_id()
        head = {":method": "CONNECT", ":protocol": "websocket", ":scheme": "https", ":authority": name, ":path": path}
        head["sec-websocket-version"] = "13"
        self.http.send_headers(self.stream, [(name.encode(), value.encode()) for name, value in head.items()])
        self.transmit()

    def quic_event_received(self, event):
        if isinstance(event, (ConnectionTerminated, StreamReset)):
            self.end(1)
        for happened in self.http.handle_event(event):
            if isinstance(happened, HeadersReceived) and not self.answered.done():
                self.answered.set_result(int(dict(happened.headers)[b":status"]))
            elif isinstance(happened, DataReceived):
                self.write(happened.data)
                if happened.stream_ended:
                    self.end(0)

    def write(self, data):
        while data:
            data = data[os.write(1, data) :]

    def end(self, code):
        for future in (self.over, self.answered):
            if not future.done():
                future.set_result(code)

    async def up(self):
        loop = asyncio.get_running_loop()
        while data := await loop.run_in_executor(None, os.read, 0, CHUNK):
            self.http.send_data(self.stream, data, end_stream=False)
            self.transmit()
            # No more is taken than the peer takes.
            while len(self._quic._streams[self.stream].sender._buffer) > 4 * CHUNK and not self.over.done():
                await asyncio.sleep(0.001)
        self.http.send_data(self.stream, b"", end_stream=True)
        self.transmit()


async def main(address, port, ca, name, path):
    made = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name=name)
    made.load_verify_locations(ca)
    async with connect(address, int(port), configuration=made, create_protocol=Tunnel) as held:
        held.begin(name, path)
        print(json.dumps({"status": await held.answered}), flush=True)
        up = asyncio.ensure_future(held.up())
        code = await held.over
        os.close(1)
        if code == 0:
            await up
            # What was sent before the answer to this has arrived.
            await held.ping()
    # Where the stream was reset, a read of the input may still be going on.
    os._exit(code)


asyncio.run(main(*sys.argv[1:]))
