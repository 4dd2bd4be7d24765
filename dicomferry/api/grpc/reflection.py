"""gRPC server reflection, v1 and v1alpha: what the services are, for callers with a token.

The messages of the protocol are described here in a pool of their own, since a process that has
the package grpcio-reflection describes them as well.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.rpc.code_pb2 import NOT_FOUND, UNIMPLEMENTED

from dicomferry.api.grpc.calls import expect_end

NAMES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")
# Each occupies a thread for as long as its caller likes, up to a minute.
_MAX_CALLS = 4
_PACKAGE = "grpc.reflection.v1"
# By message: name, number and type of each field, which has * if it is repeated.
_MESSAGES: dict[str, tuple[tuple[str, int, str], ...]] = {
    "ServerReflectionRequest": (
        ("host", 1, "string"),
        ("file_by_filename", 3, "string"),
        ("file_containing_symbol", 4, "string"),
        ("list_services", 7, "string"),
    ),
    "ServerReflectionResponse": (
        ("valid_host", 1, "string"),
        ("original_request", 2, "ServerReflectionRequest"),
        ("file_descriptor_response", 4, "FileDescriptorResponse"),
        ("list_services_response", 6, "ListServiceResponse"),
        ("error_response", 7, "ErrorResponse"),
    ),
    "FileDescriptorResponse": (("file_descriptor_proto", 1, "bytes*"),),
    "ListServiceResponse": (("service", 1, "ServiceResponse*"),),
    "ServiceResponse": (("name", 1, "string"),),
    "ErrorResponse": (("error_code", 1, "int32"), ("error_message", 2, "string")),
}
_ASKED = ("file_by_filename", "file_containing_symbol", "list_services")
_Field = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
    "int32": _Field.TYPE_INT32,
}


def reflection_handlers(
    services: Sequence[str], login: Callable[[grpc.ServicerContext], None]
) -> list[grpc.GenericRpcHandler]:
    """Return the handlers of both versions, which are the same on the wire.

    Args:
        services: full names of those that are served.
        login: aborts the call of a caller without a known token.
    """
    request_class, response_class = _message_classes()
    files = _files_of(services)

    open_calls = threading.BoundedSemaphore(_MAX_CALLS)

    def answer(call: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        login(context)
        if not open_calls.acquire(blocking=False):
            context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_MAX_CALLS} such calls are open: end one"
            )
        expect_end(context)
        try:
            for content in call:
                try:
                    request = request_class.FromString(content)
                except DecodeError:
                    context.abort(grpc.StatusCode.INVALID_ARGUMENT, "no ServerReflectionRequest")
                response = response_class(valid_host=request.host, original_request=request)
                _fill(response, services, files)
                yield response.SerializeToString()
        finally:
            open_calls.release()

    method = grpc.stream_stream_rpc_method_handler(answer)
    return [
        grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})
        for name in NAMES
    ]


def _fill(response: Any, services: Sequence[str], files: dict[str, FileDescriptor]) -> None:
    request = response.original_request
    asked = request.WhichOneof("message_request")
    if asked == "list_services":
        for name in services:
            response.list_services_response.service.add(name=name)
        return
    found = None
    if asked == "file_by_filename":
        found = files.get(request.file_by_filename)
    elif asked == "file_containing_symbol":
        found = _file_of(request.file_containing_symbol, files)
    else:
        response.error_response.error_code = UNIMPLEMENTED
        response.error_response.error_message = (
            "a request names a file, a symbol or the list of services"
        )
        return
    if found is None:
        response.error_response.error_code = NOT_FOUND
        response.error_response.error_message = "there is no such file or symbol"
        return
    protos = [each.serialized_pb for each in _with_dependencies(found)]
    response.file_descriptor_response.file_descriptor_proto.extend(protos)


def _file_of(symbol: str, files: dict[str, FileDescriptor]) -> FileDescriptor | None:
    """Return the file that describes a service, method, message or enum; None if none does."""
    pool = descriptor_pool.Default()
    for name in (symbol, symbol.rpartition(".")[0]):  # the pool may not know methods
        try:
            return files.get(pool.FindFileContainingSymbol(name).name)
        except KeyError:
            continue
    return None


def _files_of(services: Sequence[str]) -> dict[str, FileDescriptor]:
    """Return the files that describe the services and all that they use, by name."""
    pool = descriptor_pool.Default()
    return {
        file.name: file
        for service in services
        for file in _with_dependencies(pool.FindServiceByName(service).file)
    }


def _with_dependencies(file: FileDescriptor) -> list[FileDescriptor]:
    found = {file.name: file}
    waiting = [file]
    while waiting:
        for each in waiting.pop().dependencies:
            if each.name not in found:
                found[each.name] = each
                waiting.append(each)
    return list(found.values())


def _message_classes() -> tuple[Any, Any]:
    """Return the classes of the request and the response."""
    file = descriptor_pb2.FileDescriptorProto(
        name="dicomferry/reflection.proto", package=_PACKAGE, syntax="proto3"
    )
    for message, fields in _MESSAGES.items():
        described = file.message_type.add(name=message)
        is_request = message == "ServerReflectionRequest"
        if is_request:
            described.oneof_decl.add(name="message_request")
        for name, number, kind in fields:
            field = described.field.add(name=name, number=number)
            field.label = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
            one = kind.rstrip("*")
            field.type = _TYPES.get(one, _Field.TYPE_MESSAGE)
            if one not in _TYPES:
                field.type_name = f".{_PACKAGE}.{one}"
            if is_request and name in _ASKED:
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    names = ("ServerReflectionRequest", "ServerReflectionResponse")
    request, response = (
        GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in names
    )
    return request, response
