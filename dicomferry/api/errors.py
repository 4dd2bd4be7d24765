"""An answer that is an error: google.rpc.Status, over gRPC and REST alike."""

# google.rpc.Code
CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = 1, 2, 3, 4, 5
ALREADY_EXISTS, PERMISSION_DENIED, FAILED_PRECONDITION, ABORTED = 6, 7, 9, 10
UNIMPLEMENTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 12, 13, 14, 16


class ApiError(Exception):
    """A request that cannot be served.

    Attributes:
        code: a google.rpc.Code.
        message: what is wrong and what to do, for the caller; no patient data.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
