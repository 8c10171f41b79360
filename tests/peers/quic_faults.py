"""A client that breaks a rule of QUIC or of TLS inside it, and says with which code its connection was closed. QUIC is aioquic's,
changed where it writes.

    quic_faults.py ADDRESS PORT CA NAME FAULTS

FAULTS is a JSON list, each for a connection of its own, one after the other; each is an object of one or more of

    {"application": hex}     frames at the front of the first 1-RTT packet
    {"handshake": hex}       frames at the front of each Handshake packet
    {"reserved": "short"}    reserved bits are set in 1-RTT packets; or "long": in Handshake packets
    {"empty": true}          a 1-RTT packet without a frame
    {"parameters": {"3": hex, "15": null}}   transport parameters that are added, or left out
    {"extension": 65445}     transport parameters in an extension of this number; null: in none
    {"alpn": [name]}         protocols that are offered
    {"before": hex}, {"after": hex}   TLS messages around Finished

For each one line says {"closed": code}: null when the connection lived on.
"""

import asyncio
import json
import sys

from aioquic import tls
from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import Buffer
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted

PATIENCE = 60
PARAMETERS = tls.ExtensionType.QUIC_TRANSPORT_PARAMETERS


def parameters_of(data, changes):
    """The transport parameters of `data`, with some added or left out."""
    buffer, kept = Buffer(data=data), {}
    while not buffer.eof():
        number = buffer.pull_uint_var()
        kept[number] = buffer.pull_bytes(buffer.pull_uint_var())
    for number, value in changes.items():
        kept.pop(int(number), None)
        if value is not None:
            kept[int(number)] = bytes.fromhex(value)
    out = Buffer(capacity=4096)
    for number, value in kept.items():
        out.push_uint_var(number)
        out.push_uint_var(len(value))
        out.push_bytes(value)
    return out.data


class Client(QuicConnectionProtocol):
    fault = {}

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.closed_with, self.over, self.shaken = None, asyncio.Event(), asyncio.Event()
        initialize = self._quic._initialize

        def initialized(peer_cid):
            initialize(peer_cid)
            self.break_rules()

        self._quic._initialize = initialized

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.shaken.set()
        if isinstance(event, ConnectionTerminated):
            self.closed_with = event.error_code
            self.over.set()
            self.shaken.set()

    def break_rules(self):
        quic, fault = self._quic, self.fault
        ((_, parameters),) = quic.tls.handshake_extensions
        parameters = parameters_of(parameters, fault.get("parameters", {}))
        number = fault.get("extension", PARAMETERS)
        quic.tls.handshake_extensions = [] if number is None else [(number, parameters)]
        self.rewrite(tls.Epoch.ONE_RTT, self.application)
        self.rewrite(tls.Epoch.HANDSHAKE, self.handshake)
        push = quic._push_crypto_data

        def pushed():
            written = quic._crypto_buffers[tls.Epoch.HANDSHAKE].tell() > 0
            sender = quic._crypto_streams[tls.Epoch.HANDSHAKE].sender
            if written and "before" in fault:
                sender.write(bytes.fromhex(fault["before"]))
            push()
            if written and "after" in fault:
                sender.write(bytes.fromhex(fault["after"]))

        quic._push_crypto_data = pushed

    def rewrite(self, epoch, change):
        pair = self._quic._cryptos[epoch]
        encrypt = pair.encrypt_packet
        pair.encrypt_packet = lambda header, payload, number: encrypt(*change(bytes(header), bytes(payload), number), number)

    def application(self, header, payload, number):
        # Once the handshake is over (before, it may overtake what the keys are made of, and be dropped), and where there is room.
        if self.shaken.is_set() and len(payload) < 600:
            payload = bytes.fromhex(self.fault.pop("application", "")) + payload
            if self.fault.get("reserved") == "short":
                header = bytes([header[0] | 0x18]) + header[1:]
            if self.fault.pop("empty", False):
                # A packet number of four bytes, so that there is enough to sample.
                return bytes([header[0] | 3]) + header[1:-2] + number.to_bytes(4, "big"), b""
        return header, payload

    def handshake(self, header, payload, number):
        added = bytes.fromhex(self.fault.get("handshake", ""))
        if added:
            length = int.from_bytes(header[-4:-2], "big") + len(added)
            header = header[:-4] + length.to_bytes(2, "big") + header[-2:]
        if self.fault.get("reserved") == "long":
            header = bytes([header[0] | 0x0C]) + header[1:]
        return header, added + payload


async def closed(address, port, made, fault):
    def protocol(*args, **kwargs):
        client = Client(*args, **kwargs)
        client.fault = dict(fault)
        return client

    made.alpn_protocols = fault.get("alpn", ["h3"])
    async with connect(address, int(port), configuration=made, create_protocol=protocol, wait_connected=False) as held:
        held.transmit()
        try:
            await asyncio.wait_for(held.shaken.wait(), PATIENCE)
            if not held.over.is_set():
                # Something to send it with.
                held._quic.send_ping(1)
                held.transmit()
            await asyncio.wait_for(held.over.wait(), fault.get("patience", PATIENCE))
        except asyncio.TimeoutError:
            pass
        return held.closed_with


async def main(address, port, ca, name, faults):
    for fault in json.loads(faults):
        made = QuicConfiguration(is_client=True, server_name=name)
        made.load_verify_locations(ca)
        print(json.dumps({"closed": await closed(address, port, made, fault)}), flush=True)


asyncio.run(main(*sys.argv[1:]))
