"""Errors of the API: google.rpc.Status, over gRPC and REST."""

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

DOMAIN = "dicomferry"
_MAX_VALUE = 500


class ApiError(Exception):
    """A request that cannot be served.

    Attributes:
        code: a google.rpc.Code.
        message: the problem and the remedy, for the caller; no patient data.
        http_status: status of the answer in REST where the code has another one; else None.
        reason: of ErrorInfo, for programs; by default the name of the code.
        facts: of ErrorInfo: names and values.
    """

    def __init__(
        self,
        code: int,
        message: str,
        http_status: int | None = None,
        reason: str = "",
        facts: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status
        self.reason = reason or Code.Name(code)
        self.facts = facts or {}

    def status(self, message: str) -> Any:
        """Return the google.rpc.Status with its details.

        Args:
            message: what a transport can carry of the message.
        """
        facts = {name: value[:_MAX_VALUE] for name, value in self.facts.items()}
        detail = AnyMessage()
        detail.Pack(ErrorInfo(reason=self.reason, domain=DOMAIN, metadata=facts))
        return Status(code=self.code, message=message, details=[detail])
