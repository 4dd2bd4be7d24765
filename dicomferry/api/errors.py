"""Errors of the API: google.rpc.Status, over gRPC and REST."""


class ApiError(Exception):
    """A request that cannot be served.

    Attributes:
        code: a google.rpc.Code.
        message: the problem and the remedy, for the caller; no patient data.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
