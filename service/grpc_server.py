"""The gRPC surface: the same methods, from the descriptors of the contract."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from service.dispatch import Dispatcher
from service.errors import ApiError
from service.rpcs import Rpc

MAX_MESSAGE_BYTES = 1 << 20
_THREADS = 32
_STATUS = {status.value[0]: status for status in grpc.StatusCode}


def make_server(rpcs: Sequence[Rpc], dispatcher: Dispatcher) -> grpc.Server:
    """Return a server that has no port yet and is not started."""
    server = grpc.server(
        ThreadPoolExecutor(_THREADS, thread_name_prefix="grpc"),
        options=[
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            # Else a second server takes half of the calls from the first, and nobody is told.
            ("grpc.so_reuseport", 0),
        ],
    )
    by_service: dict[str, dict[str, grpc.RpcMethodHandler]] = defaultdict(dict)
    for rpc in rpcs:
        by_service[rpc.service][rpc.name] = grpc.unary_unary_rpc_method_handler(
            _behaviour(rpc, dispatcher),
            request_deserializer=rpc.request_class.FromString,
            response_serializer=rpc.response_class.SerializeToString,
        )
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(*each) for each in by_service.items()]
    )
    return server


def _behaviour(rpc: Rpc, dispatcher: Dispatcher) -> Callable[[Any, grpc.ServicerContext], Any]:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        metadata = dict(context.invocation_metadata())
        try:
            return dispatcher.answer(rpc, request, metadata.get("authorization"))
        except ApiError as error:
            context.abort(_STATUS[error.code], error.message)

    return answer
