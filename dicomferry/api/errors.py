"""Errors of the API: google.rpc.Status, over gRPC and REST."""


class ApiError(Exception):
    """A request that cannot be served.

    Attributes:
        code: a google.rpc.Code.
        message: the problem and the remedy, for the caller; no patient data.
        http_status: status of the answer in REST where the code has another one; else None.
    """

    def __init__(self, code: int, message: str, http_status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.http_status = http_status
