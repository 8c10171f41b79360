"""A client that writes what it is told to on streams of HTTP/3, rule or no rule; QUIC is aioquic's.

    h3_script.py ADDRESS PORT CA NAME SCRIPTS

SCRIPTS is a JSON list of scripts, each for a connection of its own, one after the other; a script is a list of steps; each is an
object:

    {"open": "a"}                      a request stream of this name; {"open": "a", "uni": true} another
    {"send": "a", "frames": [...], "end": true}   frames: ["headers", [[name, value], ...]], ["data", text],
                                       ["fill", bytes] (a DATA frame), ["raw", hex], ["zeros", bytes] (no frame)
    {"reset": "a", "code": 268}, {"stop": "a", "code": 268}
    {"head": "a"}                      waits for a head
    {"bytes": "a", "count": n}         waits for so much content
    {"end": "a"}                       waits for its end or reset
    {"goaway": n}                      waits for so many GOAWAY
    {"say": text}                      says {"said": text}
    {"hear": true}                     waits for a line of input
    {"closed": true}                   waits for the connection's end
    {"times": n, "do": [steps]}        as often, until the connection ends; "*" in names is the number of the round
    {"refused": "a*", "do": [steps]}   again and again, until this stream was reset or got a status from 400

At the end of each script one line says what every stream named without a digit at its end saw, which GOAWAY came, and how the
connection ended.
"""

import asyncio
import itertools
import json
import sys

import pylsqpack
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StopSendingReceived, StreamDataReceived, StreamReset

PATIENCE = 20
CONTROL = 3


def varint(value):
    for size, bits in ((1, 6), (2, 14), (4, 30), (8, 62)):
        if value < 1 << bits:
            return (value | (size.bit_length() - 1) << (8 * size - 2)).to_bytes(size, "big")
    raise ValueError(value)


def unvarint(data, at):
    size = 1 << (data[at] >> 6) if at < len(data) else 9
    if at + size > len(data):
        return None, at
    return int.from_bytes(data[at : at + size], "big") & ((1 << (8 * size - 2)) - 1), at + size


def integer(flags, prefix, value):
    most = (1 << prefix) - 1
    if value < most:
        return bytes([flags | value])
    out, value = bytearray([flags | most]), value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out) + bytes([value])


def section(fields):
    """Literal names and values, not coded: what no encoder would refuse to write."""
    out = b"\0\0"
    for name, value in fields:
        name, value = name.encode("latin-1"), value.encode("latin-1")
        out += integer(0x20, 3, len(name)) + name + integer(0, 7, len(value)) + value
    return out


def frame(kind, payload):
    return varint(kind) + varint(len(payload)) + payload


def encode(kind, what):
    if kind == "headers":
        return frame(1, section(what))
    if kind == "data":
        return frame(0, what.encode())
    if kind == "fill":
        return frame(0, bytes(what))
    if kind == "zeros":
        return bytes(what)
    return bytes.fromhex(what)


class Seen:
    def __init__(self):
        self.data = bytearray()
        self.heads, self.content, self.text, self.trailers = [], 0, "", None
        self.ended, self.reset, self.stopped = False, None, None

    def told(self):
        last = self.heads[-1] if self.heads else []
        fields = dict(last)
        return {
            "status": int(fields[":status"]) if fields else None,
            "statuses": [int(dict(head)[":status"]) for head in self.heads],
            "fields": fields,
            "length": self.content,
            "text": self.text,
            "trailers": self.trailers,
            "ended": self.ended,
            "reset": self.reset,
            "stopped": self.stopped,
        }


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.names, self.seen, self.goaways = {}, {}, []
        self.decoder, self.control, self.closed_with = pylsqpack.Decoder(0, 0), bytearray(), None
        self.changed = asyncio.Event()

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.closed_with = event.error_code
        elif isinstance(event, StreamDataReceived):
            if event.stream_id == CONTROL:
                self.hear(event.data)
            elif event.stream_id in self.seen:
                self.read(event.stream_id, event.data, event.end_stream)
        elif isinstance(event, StreamReset) and event.stream_id in self.seen:
            self.seen[event.stream_id].reset = event.error_code
        elif isinstance(event, StopSendingReceived) and event.stream_id in self.seen:
            self.seen[event.stream_id].stopped = event.error_code
        self.changed.set()

    def hear(self, data):
        self.control += data
        at, self.goaways = 1, []
        while True:
            kind, at = unvarint(self.control, at)
            length, at = unvarint(self.control, at) if kind is not None else (None, at)
            if length is None or at + length > len(self.control):
                return
            if kind == 7:
                self.goaways.append(unvarint(self.control, at)[0])
            at += length

    def read(self, stream, data, end):
        seen = self.seen[stream]
        seen.data += data
        seen.ended = seen.ended or end
        while True:
            kind, at = unvarint(seen.data, 0)
            length, at = unvarint(seen.data, at) if kind is not None else (None, at)
            if length is None:
                return
            part = min(length, len(seen.data) - at)
            payload = bytes(seen.data[at : at + part])
            if kind == 0:
                seen.content += part
                seen.text += payload[: max(0, 200 - len(seen.text))].decode("latin-1")
                del seen.data[: at + part]
                if part < length:
                    seen.data[:0] = varint(0) + varint(length - part)
                    return
                continue
            if part < length:
                return
            del seen.data[: at + length]
            if kind == 1:
                _, fields = self.decoder.feed_header(stream, payload)
                fields = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in fields]
                if seen.heads and int(dict(seen.heads[-1])[":status"]) >= 200:
                    seen.trailers = fields
                else:
                    seen.heads.append(fields)

    async def until(self, so):
        async def wait():
            while not so() and self.closed_with is None:
                self.changed.clear()
                await self.changed.wait()

        await asyncio.wait_for(wait(), PATIENCE)

    async def step(self, step, number):
        def named(key):
            return step[key].replace("*", str(number))

        def of(key):
            return self.seen[self.names[named(key)]]

        def over(key):
            return of(key).ended or of(key).reset is not None

        quic = self._quic
        if "open" in step:
            stream = quic.get_next_available_stream_id(is_unidirectional=step.get("uni", False))
            # What aioquic holds back for want of credit it may still reset, beyond the limit.
            while not step.get("uni", False) and stream >= 4 * quic._remote_max_streams_bidi and self.closed_with is None:
                await asyncio.sleep(0.001)
            self.names[named("open")], self.seen[stream] = stream, Seen()
            quic.send_stream_data(stream, b"", False)
        elif "send" in step:
            data = b"".join(encode(*frame) for frame in step.get("frames", []))
            if of("send").stopped is None:
                quic.send_stream_data(self.names[named("send")], data, step.get("end", False))
            self.transmit()
        elif "reset" in step:
            quic.reset_stream(self.names[named("reset")], step["code"])
            self.transmit()
        elif "stop" in step:
            quic.stop_stream(self.names[named("stop")], step["code"])
            self.transmit()
        elif "head" in step:
            await self.until(lambda: of("head").heads or over("head"))
        elif "bytes" in step:
            await self.until(lambda: of("bytes").content >= step["count"] or over("bytes"))
        elif "end" in step:
            await self.until(lambda: over("end"))
        elif "goaway" in step:
            await self.until(lambda: len(self.goaways) >= step["goaway"])
        elif "say" in step:
            print(json.dumps({"said": step["say"]}), flush=True)
        elif "hear" in step:
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
        elif "closed" in step:
            await self.until(lambda: False)
        elif "times" in step:
            for turn in range(step["times"]):
                for inner in step["do"]:
                    if self.closed_with is None:
                        await self.step(inner, turn)
                await asyncio.sleep(0)
        elif "refused" in step:
            until = asyncio.get_running_loop().time() + PATIENCE
            for turn in itertools.count():
                for inner in step["do"]:
                    await self.step(inner, turn)
                told = self.seen[self.names[step["refused"].replace("*", str(turn))]].told()
                if told["reset"] is not None or (told["status"] or 0) >= 400 or self.closed_with is not None:
                    break
                assert asyncio.get_running_loop().time() < until, f"never refused: {told}"


async def main(address, port, ca, name, scripts):
    for script in json.loads(scripts):
        made = QuicConfiguration(is_client=True, alpn_protocols=["h3"], server_name=name)
        made.load_verify_locations(ca)
        async with connect(address, int(port), configuration=made, create_protocol=Client) as held:
            for step in script:
                await held.step(step, 0)
            named = {name: held.seen[stream].told() for name, stream in held.names.items() if not name[-1].isdigit()}
            print(json.dumps({"streams": named, "goaways": held.goaways, "closed": held.closed_with}), flush=True)


asyncio.run(main(*sys.argv[1:]))
