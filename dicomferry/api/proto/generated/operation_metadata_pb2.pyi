import datetime

from dicomferry.api.proto.generated import error_details_pb2 as _error_details_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class OperationMetadata(_message.Message):
    __slots__ = ("api_method_name", "create_time", "end_time", "logs_url", "cancel_requested", "counter", "request", "place_in_queue", "lagging")
    API_METHOD_NAME_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    LOGS_URL_FIELD_NUMBER: _ClassVar[int]
    CANCEL_REQUESTED_FIELD_NUMBER: _ClassVar[int]
    COUNTER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    PLACE_IN_QUEUE_FIELD_NUMBER: _ClassVar[int]
    LAGGING_FIELD_NUMBER: _ClassVar[int]
    api_method_name: str
    create_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    logs_url: str
    cancel_requested: bool
    counter: ProgressCounter
    request: OperationRequest
    place_in_queue: int
    lagging: _containers.RepeatedCompositeFieldContainer[_error_details_pb2.ErrorDetail]
    def __init__(self, api_method_name: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., logs_url: _Optional[str] = ..., cancel_requested: _Optional[bool] = ..., counter: _Optional[_Union[ProgressCounter, _Mapping]] = ..., request: _Optional[_Union[OperationRequest, _Mapping]] = ..., place_in_queue: _Optional[int] = ..., lagging: _Optional[_Iterable[_Union[_error_details_pb2.ErrorDetail, _Mapping]]] = ...) -> None: ...

class OperationRequest(_message.Message):
    __slots__ = ("flags", "principal", "version")
    class FlagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    PRINCIPAL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    flags: _containers.ScalarMap[str, str]
    principal: str
    version: str
    def __init__(self, flags: _Optional[_Mapping[str, str]] = ..., principal: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class ProgressCounter(_message.Message):
    __slots__ = ("pending", "success", "failure", "secondary_success", "secondary_failure")
    PENDING_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SECONDARY_SUCCESS_FIELD_NUMBER: _ClassVar[int]
    SECONDARY_FAILURE_FIELD_NUMBER: _ClassVar[int]
    pending: int
    success: int
    failure: int
    secondary_success: int
    secondary_failure: int
    def __init__(self, pending: _Optional[int] = ..., success: _Optional[int] = ..., failure: _Optional[int] = ..., secondary_success: _Optional[int] = ..., secondary_failure: _Optional[int] = ...) -> None: ...
