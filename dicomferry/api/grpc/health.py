"""grpc.health.v1.Health, which load balancers and Kubernetes ask, without a token.

Its two messages are read and written as well-known ones that are the same on the wire: the request
has one text, the response one number.
"""

import threading
from collections.abc import Collection, Iterator

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

NAME = "grpc.health.v1.Health"
_SERVING: bytes = Int32Value(value=1).SerializeToString()
# Each occupies a thread until its message comes, which anybody can withhold; further calls are
# answered for the whole server.
_MAX_READING = 4


def health_handler(services: Collection[str]) -> grpc.GenericRpcHandler:
    """Return the handlers of the service.

    Args:
        services: full names of those that are served; '' stands for all.
    """
    reading = threading.BoundedSemaphore(_MAX_READING)

    def check(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
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
