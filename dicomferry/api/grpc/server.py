"""The gRPC transport: all methods, from the descriptors of the contract."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.code_pb2 import CANCELLED, INVALID_ARGUMENT

from dicomferry.api.access import Principal
from dicomferry.api.dispatch import Dispatcher
from dicomferry.api.errors import ApiError
from dicomferry.api.grpc.calls import CALLS, Calls, expect_end, message_deadline
from dicomferry.api.grpc.health import health_handler
from dicomferry.api.grpc.reflection import reflection_handlers
from dicomferry.api.rpcs import Rpc

MAX_MESSAGE_BYTES = 1 << 20
MAX_CONNECTIONS = 2000
_CALLS_OF_A_CONNECTION = 100
_HANDSHAKE_MS = 10_000
# Without a call. Clients connect again by themselves.
_IDLE_MS = 120_000
_MAX_AGE_MS = 3_600_000
_AGE_GRACE_MS = 120_000
# Who does not answer a ping is gone. Who pings all the time is hung up on: that is gRPC's default.
_PING_MS = 60_000
_PING_TIMEOUT_MS = 20_000
_MAX_METADATA_BYTES = 16 << 10
# Clients accept 8 KiB of metadata, where the message stands twice: a byte that is not ASCII takes
# three in its text, and one and a third in the status.
_MAX_DETAILS_BYTES = 1500
_REFLECTION = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
_STATUS_KEY = "grpc-status-details-bin"
_STATUS = {status.value[0]: status for status in grpc.StatusCode}


def make_server(rpcs: Sequence[Rpc], dispatcher: Dispatcher) -> grpc.Server:
    """Return a server without a port, not started yet."""
    server = grpc.server(
        # A thread each, since most of them wait: for a message, or for their turn to work.
        ThreadPoolExecutor(CALLS, thread_name_prefix="grpc"),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # Otherwise a second server on this port would silently get half of the calls.
            ("grpc.so_reuseport", 0),
            ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MS),
            ("grpc.max_concurrent_streams", _CALLS_OF_A_CONNECTION),
            ("grpc.max_metadata_size", _MAX_METADATA_BYTES),
            ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
            ("grpc.max_connection_idle_ms", _IDLE_MS),
            ("grpc.max_connection_age_ms", _MAX_AGE_MS),
            ("grpc.max_connection_age_grace_ms", _AGE_GRACE_MS),
            ("grpc.keepalive_time_ms", _PING_MS),
            ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
            ("grpc.keepalive_permit_without_calls", 1),
        ],
        # More are refused with RESOURCE_EXHAUSTED: a queue of them would grow without a bound.
        maximum_concurrent_rpcs=CALLS,
    )
    calls = Calls()
    by_service: dict[str, dict[str, grpc.RpcMethodHandler]] = defaultdict(dict)
    for rpc in rpcs:
        # On the wire the same as one message. It is read here, after authentication: a stranger
        # who starts a call and sends no message would occupy a thread.
        by_service[rpc.service][rpc.name] = grpc.stream_unary_rpc_method_handler(
            _behavior(rpc, dispatcher, calls),
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
    rpc: Rpc, dispatcher: Dispatcher, calls: Calls
) -> Callable[[Iterator[bytes], grpc.ServicerContext], Any]:
    def answer(messages: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        metadata = dict(context.invocation_metadata())
        with ExitStack() as until_answered:

            def read(principal: Principal) -> Any:
                calls.admit(principal.name, context)
                with message_deadline(context):
                    message = _read(rpc, messages)
                until_answered.enter_context(calls.at_work(principal.name))
                return message

            try:
                return dispatcher.answer(rpc, read, metadata.get("authorization"), metadata)
            except ApiError as error:
                _abort(context, error)
            finally:
                expect_end(context)

    return answer


def _login(dispatcher: Dispatcher) -> Callable[[grpc.ServicerContext], None]:
    def login(context: grpc.ServicerContext) -> None:
        metadata = dict(context.invocation_metadata())
        try:
            dispatcher.require_login(_REFLECTION, metadata.get("authorization"), metadata)
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
