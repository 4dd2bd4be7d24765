"""grpc.health.v1.Health, which load balancers and Kubernetes ask, without a token.

Its two messages are read and written as well-known ones that are the same on the wire: the request
has one text, the response one number.
"""

import threading
from collections.abc import Collection, Iterator

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from dicomferry.api.errors import ApiError
from dicomferry.api.grpc.calls import Calls, expect_end

NAME = "grpc.health.v1.Health"
_SERVING: bytes = Int32Value(value=1).SerializeToString()
# Anybody can withhold a message, or leave the answer unread. So of a message that does not come at
# once nothing is known, and the answer is for the whole server.
_MAX_READING = 4
_CALLS_OF_AN_ADDRESS = 16
_SECONDS = 5.0


def health_handler(services: Collection[str]) -> grpc.GenericRpcHandler:
    """Return the handlers of the service.

    Args:
        services: full names of those that are served; '' stands for all.
    """
    calls = Calls()
    reading = threading.BoundedSemaphore(_MAX_READING)

    def check(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        expect_end(context, _SECONDS)
        try:
            calls.admit(_address(context), context, _CALLS_OF_AN_ADDRESS)
        except ApiError as error:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, error.message)
        if reading.acquire(blocking=False):
            try:
                name = StringValue.FromString(next(messages, b"")).value
            except DecodeError:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a HealthCheckRequest")
            finally:
                reading.release()
            if name and name not in services:
                context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return _SERVING

    def watch(_messages: Iterator[bytes], context: grpc.ServicerContext) -> None:
        # Each would occupy a thread for as long as its caller likes.
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "call Check instead")

    return grpc.method_handlers_generic_handler(
        NAME,
        {
            "Check": grpc.stream_unary_rpc_method_handler(check),
            "Watch": grpc.stream_unary_rpc_method_handler(watch),
        },
    )


def _address(context: grpc.ServicerContext) -> str:
    """Return the address of a caller, without its port: ipv4:127.0.0.1."""
    return str(context.peer()).rpartition(":")[0]
