"""The gRPC transport: all methods, from the descriptors of the contract."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.code_pb2 import CANCELLED, INVALID_ARGUMENT

from dicomferry.api.dispatch import Dispatcher
from dicomferry.api.errors import ApiError
from dicomferry.api.grpc.health import health_handler
from dicomferry.api.grpc.reflection import reflection_handlers
from dicomferry.api.rpcs import Rpc

MAX_MESSAGE_BYTES = 1 << 20
_THREADS = 32
_CALLS = 256
_CALLS_OF_A_CONNECTION = 100
_HANDSHAKE_MS = 10_000
_MAX_METADATA_BYTES = 16 << 10
# Clients accept 8 KiB of metadata, where the message stands twice: a byte that is not ASCII takes
# three in its text, and one and a third in the status.
_MAX_DETAILS_BYTES = 1500
_STATUS_KEY = "grpc-status-details-bin"
_STATUS = {status.value[0]: status for status in grpc.StatusCode}


def make_server(rpcs: Sequence[Rpc], dispatcher: Dispatcher) -> grpc.Server:
    """Return a server without a port, not started yet."""
    server = grpc.server(
        ThreadPoolExecutor(_THREADS, thread_name_prefix="grpc"),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # Otherwise a second server on this port would silently get half of the calls.
            ("grpc.so_reuseport", 0),
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
            ("grpc.max_concurrent_streams", _CALLS_OF_A_CONNECTION),
            ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
        ],
        # More are refused with RESOURCE_EXHAUSTED: a queue of them would grow without a bound.
        maximum_concurrent_rpcs=_CALLS,
    )
    by_service: dict[str, dict[str, grpc.RpcMethodHandler]] = defaultdict(dict)
    for rpc in rpcs:
        # On the wire the same as one message. It is read here, after authentication: a stranger
        # who starts a call and sends no message would occupy a thread.
        by_service[rpc.service][rpc.name] = grpc.stream_unary_rpc_method_handler(
            _behavior(rpc, dispatcher),
            response_serializer=rpc.response_class.SerializeToString,
        )
    server.add_generic_rpc_handlers(
        [
            *(grpc.method_handlers_generic_handler(*service) for service in by_service.items()),
            health_handler(by_service.keys()),
            *reflection_handlers(list(by_service), _login(dispatcher)),
        ]
    )
    return server


def _behavior(
    rpc: Rpc, dispatcher: Dispatcher
) -> Callable[[Iterator[bytes], grpc.ServicerContext], Any]:
    def answer(messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        metadata = dict(context.invocation_metadata())
        try:
            return dispatcher.answer(
                rpc, lambda: _read(rpc, messages), metadata.get("authorization")
            )
        except ApiError as error:
            _abort(context, error)

    return answer


def _login(dispatcher: Dispatcher) -> Callable[[grpc.ServicerContext], None]:
    def login(context: grpc.ServicerContext) -> None:
        metadata = dict(context.invocation_metadata())
        try:
            dispatcher.require_login("ServerReflectionInfo", metadata.get("authorization"))
        except ApiError as error:
            _abort(context, error)

    return login


def _abort(context: grpc.ServicerContext, error: ApiError) -> None:
    details = error.message.encode()[:_MAX_DETAILS_BYTES].decode(errors="ignore")
    status = error.status(details).SerializeToString()
    context.set_trailing_metadata(((_STATUS_KEY, status),))
    context.abort(_STATUS[error.code], details)


def _read(rpc: Rpc, messages: Iterator[bytes]) -> Any:
    try:
        return rpc.request_class.FromString(next(messages))
    except StopIteration:
        raise ApiError(INVALID_ARGUMENT, f"{rpc.name} takes a message, but none was sent") from None
    except DecodeError:
        name = rpc.request_class.DESCRIPTOR.name
        raise ApiError(INVALID_ARGUMENT, f"the message is not a {name}") from None
    except grpc.RpcError:  # has no details: the caller is gone
        raise ApiError(CANCELLED, "the call was cancelled") from None
