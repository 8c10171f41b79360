"""A call of gRPC over HTTP/3, by aioquic: what came, as one JSON object.

    grpc3.py ADDRESS PORT CA PATH
"""

import asyncio
import sys

from aioquic.h3.events import HeadersReceived
from h3 import client, say


async def call(address, port, ca, path):
    async with client(address, int(port), ca) as held:
        sections, parse = [], held.http.handle_event

        def parsed(event):
            happened = parse(event)
            for one in happened:
                if isinstance(one, HeadersReceived):
                    sections.append({name.decode(): value.decode() for name, value in one.headers})
            return happened

        held.http.handle_event = parsed
        fields = [("content-type", "application/grpc+proto"), ("te", "trailers")]
        status, body = await held.ask("POST", path, b"\0\0\0\0\x03abc", fields)
        say(status=status, body=body.hex(), trailers=sections[1:], head=sections[0])


asyncio.run(call(*sys.argv[1:]))
