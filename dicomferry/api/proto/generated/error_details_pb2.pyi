from google.rpc import status_pb2 as _status_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ImportDicomDataErrorDetails(_message.Message):
    __slots__ = ("sample_errors",)
    SAMPLE_ERRORS_FIELD_NUMBER: _ClassVar[int]
    sample_errors: _containers.RepeatedCompositeFieldContainer[ErrorDetail]
    def __init__(self, sample_errors: _Optional[_Iterable[_Union[ErrorDetail, _Mapping]]] = ...) -> None: ...

class ExportDicomDataErrorDetails(_message.Message):
    __slots__ = ("sample_errors",)
    SAMPLE_ERRORS_FIELD_NUMBER: _ClassVar[int]
    sample_errors: _containers.RepeatedCompositeFieldContainer[ErrorDetail]
    def __init__(self, sample_errors: _Optional[_Iterable[_Union[ErrorDetail, _Mapping]]] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ("resource", "error")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    resource: str
    error: _status_pb2.Status
    def __init__(self, resource: _Optional[str] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...
