"""Both ends of gRPC by grpcio, without generated code: messages are bytes. Each command prints one JSON object a line.

    grpc_peer.py serve [KEY CERTIFICATE]                a service with all four forms of calls, and its health: its port, then
                                                        what it sees of calls that wait
    grpc_peer.py call ADDRESS AUTHORITY [CERTIFICATE]   calls through a gateway, one after the other; one of them is cancelled
                                                        when a line of input comes
    grpc_peer.py watch ADDRESS AUTHORITY [CERTIFICATE]  the health of the service, as it changes
"""

import json
import sys
import threading
from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

PATIENCE = 20
LARGE = 16 << 20
ANY_SIZE = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
RAW = b"\x00\xff\x01,\x02"


SAYING = threading.Lock()


def say(**values):
    # Of several threads: a line each.
    with SAYING:
        sys.stdout.write(json.dumps(values) + "\n")
        sys.stdout.flush()


def unary(request, context):
    told = context.invocation_metadata()
    left = context.time_remaining()
    context.send_initial_metadata((("x-early", "yes"),))
    context.set_trailing_metadata((
        ("x-many", ",".join(value for name, value in told if name == "x-many")),
        ("x-raw-bin", dict(told).get("x-raw-bin", b"")),
        ("x-left", "none" if left is None else str(10 < left <= PATIENCE)),
    ))
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "100 % wrong\u00e9")
    return request[::-1]


def wait(request, context):
    # Until the caller, or its deadline, gives up: the gateway must tell us.
    ended = threading.Event()
    if not context.add_callback(ended.set):
        ended.set()
    say(event="waiting")
    ended.wait(PATIENCE)
    say(event="still there" if context.is_active() else "cancelled")
    return b""


def begin_and_wait(request, context):
    yield b"first"
    wait(request, context)


def echo_and_wait(requests, context):
    yield next(requests)
    wait(None, context)


def count_down(request, context):
    for number in range(int(request), 0, -1):
        yield b"%d" % number


def add_up(requests, context):
    total = 0
    for request in requests:
        if request == b"no":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no number")
        total += int(request)
    return b"%d" % total


def echo(requests, context):
    yield from requests


def serve(key=None, certificate=None):
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Wait": grpc.unary_unary_rpc_method_handler(wait),
        "BeginAndWait": grpc.unary_stream_rpc_method_handler(begin_and_wait),
        "CountDown": grpc.unary_stream_rpc_method_handler(count_down),
        "AddUp": grpc.stream_unary_rpc_method_handler(add_up),
        "Echo": grpc.stream_stream_rpc_method_handler(echo),
        "EchoAndWait": grpc.stream_stream_rpc_method_handler(echo_and_wait),
    }
    service = grpc.server(futures.ThreadPoolExecutor(16), options=ANY_SIZE)
    service.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("ringway.Test", handlers),))
    healthy = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(healthy, service)
    healthy.set("ringway.Test", health_pb2.HealthCheckResponse.SERVING)
    if key is None:
        port = service.add_insecure_port("127.0.0.1:0")
    else:
        pair = (open(key, "rb").read(), open(certificate, "rb").read())
        port = service.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    service.start()
    say(port=port)
    # A line of input: it is not well any more.
    sys.stdin.readline()
    healthy.set("ringway.Test", health_pb2.HealthCheckResponse.NOT_SERVING)
    service.wait_for_termination()


def open_channel(address, authority, certificate=None):
    options = ANY_SIZE + [("grpc.default_authority", authority), ("grpc.enable_retries", 0)]
    if certificate is None:
        return grpc.insecure_channel(address, options)
    trusted = grpc.ssl_channel_credentials(open(certificate, "rb").read())
    return grpc.secure_channel(address, trusted, options + [("grpc.ssl_target_name_override", authority)])


class Calls:
    """One call after the other; what came of each is told."""

    def __init__(self, channel):
        self.channel = channel

    def tell(self, name, make):
        try:
            say(call=name, **make())
        except grpc.RpcError as error:
            say(call=name, code=error.code().name, details=error.details())

    def unary(self, path, message=b"hello", **more):
        return self.channel.unary_unary(path)(message, **{"timeout": PATIENCE, **more})

    def with_metadata(self):
        metadata = [("x-many", "1"), ("x-many", "2"), ("x-raw-bin", RAW)]
        call = self.channel.unary_unary("/ringway.Test/Unary")
        reply, ended = call.with_call(b"hello", timeout=PATIENCE, metadata=metadata)
        early, late = dict(ended.initial_metadata()), dict(ended.trailing_metadata())
        many = late["x-many"].replace(" ", "")
        return {"reply": reply.decode(), "early": early["x-early"], "many": many, "raw": late["x-raw-bin"] == RAW, "left": late["x-left"]}

    def without_deadline(self):
        call = self.channel.unary_unary("/ringway.Test/Unary")
        _, ended = call.with_call(b"")
        return {"left": dict(ended.trailing_metadata())["x-left"]}

    def in_turn(self):
        # Each message is sent when the one before came back.
        came, ready = [], threading.Semaphore(1)

        def messages():
            for number in range(5):
                ready.acquire()
                yield b"%d" % number

        for message in self.channel.stream_stream("/ringway.Test/Echo")(messages(), timeout=PATIENCE):
            came.append(message.decode())
            ready.release()
        return {"replies": came}

    def large(self):
        content = bytes(range(256)) * (LARGE // 256)
        one = self.unary("/ringway.Test/Unary", content) == content[::-1]
        many = self.channel.stream_stream("/ringway.Test/Echo")(iter([content] * 2), timeout=PATIENCE)
        return {"one": one, "many": [message == content for message in many]}

    def until_it_ends(self, stream, then=lambda: None):
        came = []
        try:
            for message in stream:
                came.append(message.decode())
                then()
        except grpc.RpcError as error:
            return {"replies": came, "code": error.code().name}
        return {"replies": came}

    def cancelled_before_a_reply(self):
        call = self.channel.unary_unary("/ringway.Test/Wait").future(b"", timeout=PATIENCE)
        sys.stdin.readline()
        call.cancel()
        return {"code": call.code().name}

    def cancelled_in_the_middle(self):
        stream = self.channel.unary_stream("/ringway.Test/BeginAndWait")(b"", timeout=PATIENCE)
        return self.until_it_ends(stream, stream.cancel)

    def unended(self, over, first):
        # A stream of messages whose end does not come before the call's.
        yield first
        over.wait(PATIENCE)

    def cancelled_while_sending(self):
        over = threading.Event()
        stream = self.channel.stream_stream("/ringway.Test/EchoAndWait")(self.unended(over, b"first"), timeout=PATIENCE)
        came = self.until_it_ends(stream, stream.cancel)
        over.set()
        return came

    def ended_while_sending(self, path, first):
        over = threading.Event()
        try:
            return {"reply": self.channel.stream_unary(path)(self.unended(over, first), timeout=PATIENCE).decode()}
        finally:
            over.set()

    def health(self):
        stub = health_pb2_grpc.HealthStub(self.channel)
        reply = stub.Check(health_pb2.HealthCheckRequest(service="ringway.Test"), timeout=PATIENCE)
        return {"status": health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status)}


def call(*where):
    calls = Calls(open_channel(*where))
    channel, path = calls.channel, "/ringway.Test/"
    calls.tell("unary", calls.with_metadata)
    calls.tell("unary without a deadline", calls.without_deadline)
    calls.tell("failing", lambda: {"reply": repr(calls.unary(path + "Unary", b"fail"))})
    calls.tell("unknown method", lambda: {"reply": repr(calls.unary(path + "Nothing"))})
    calls.tell("server streaming", lambda: calls.until_it_ends(channel.unary_stream(path + "CountDown")(b"3", timeout=PATIENCE)))
    calls.tell("client streaming", lambda: {"reply": channel.stream_unary(path + "AddUp")(iter([b"1", b"2", b"3"]), timeout=PATIENCE).decode()})
    calls.tell("both streaming", calls.in_turn)
    calls.tell("large messages", calls.large)
    calls.tell("health", calls.health)
    calls.tell("deadline", lambda: {"reply": repr(calls.unary(path + "Wait", timeout=5))})
    calls.tell("deadline in the middle", lambda: calls.until_it_ends(channel.unary_stream(path + "BeginAndWait")(b"", timeout=5)))
    calls.tell("cancelled before a reply", calls.cancelled_before_a_reply)
    calls.tell("cancelled in the middle", calls.cancelled_in_the_middle)
    calls.tell("cancelled while sending", calls.cancelled_while_sending)
    calls.tell("failing while sending", lambda: calls.ended_while_sending(path + "AddUp", b"no"))
    calls.tell("refused while sending", lambda: calls.ended_while_sending("/locked/AddUp", b"1"))
    for name in ("nowhere", "locked", "limited", "limited", "down", "unnamed", "slow"):
        calls.tell(name, lambda: {"reply": calls.unary(f"/{name}/" + ("Wait" if name == "slow" else "Unary")).decode()})


def watch(*where):
    stub = health_pb2_grpc.HealthStub(open_channel(*where))
    for reply in stub.Watch(health_pb2.HealthCheckRequest(service="ringway.Test"), timeout=PATIENCE):
        say(status=health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


if __name__ == "__main__":
    {"serve": serve, "call": call, "watch": watch}[sys.argv[1]](*sys.argv[2:])
