"""Work that is no Beam job, recorded as an operation that this process owns."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from google.rpc.code_pb2 import CANCELLED, FAILED_PRECONDITION, INTERNAL, NOT_FOUND, UNAVAILABLE

from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.ownership import OwnedOperation, ProgressCallback
from dicomferry.storage.failures import storage_errors, storage_message


@contextmanager
def recorded(
    folder: OperationFolder, on_progress: ProgressCallback | None = None
) -> Iterator[OwnedOperation]:
    """Own an operation for the length of a block, which finishes it.

    Where the block raises, the operation ends with that error; running it again goes on.

    Args:
        folder: the operation's, with this process as its owner.
        on_progress: called with the progress twice a second.
    """
    with OwnedOperation(folder, on_progress) as owned:
        try:
            yield owned
        except BaseException as error:
            if not owned.is_done:
                with suppress(*storage_errors()):
                    owned.fail(*_explain(error))
            raise


def _explain(error: BaseException) -> tuple[int, str]:
    """Return a google.rpc.Code and a message without patient data."""
    if isinstance(error, KeyboardInterrupt):
        return CANCELLED, "interrupted"
    if isinstance(error, storage_errors()):
        return UNAVAILABLE, storage_message(error)
    if isinstance(error, LookupError | ValueError):
        return NOT_FOUND if isinstance(error, LookupError) else FAILED_PRECONDITION, str(error)
    return INTERNAL, f"it broke with {type(error).__name__}; please report this"
