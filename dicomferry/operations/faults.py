"""Whatever our code raises for one instance is the failure of that instance, never of the job.

`fails_alone` is the seam: everything that is done on behalf of one instance, picture, row or
message runs in it. What comes out is an `InstanceError`, whose code becomes the outcome of the
instance, or a failure that is not the instance's: storage that is gone, a full disk, no memory,
an interrupt. Those go through: the runner retries, then the job ends.
"""

import logging
import traceback
from types import TracebackType

from dicomferry.errors import Fault, InstanceError, Reason
from dicomferry.storage.failures import storage_errors

_LOGGER = logging.getLogger(__name__)
_PACKAGE = __name__.partition(".")[0]
# Nothing here touches a file: an OSError without a number is a library's word on the content, as
# Pillow's are.
_WITHOUT_FILES = tuple(
    f"{_PACKAGE}/{name}/" for name in ("pixels/codecs", "pixels/render", "tables")
)
# An endless recursion has a thousand frames.
_OUTER_FRAMES, _INNER_FRAMES = 12, 20

# Places that this process has logged.
_logged: set[str] = set()


class fails_alone:  # noqa: N801 (used as a function, like contextlib.suppress)
    """Context manager: exceptions of the code inside become an `InstanceError`.

    An INTERNAL_ERROR names the kind of the exception and its place in our code, and each place is
    logged once per process.

    Raises:
        InstanceError: as raised inside, or INTERNAL_ERROR.
        MemoryError, KeyboardInterrupt, SystemExit, `storage_errors()`: as raised inside.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            return
        failure = as_instance_error(error)
        if failure is None:
            return
        if failure.fault:
            _log_once(failure.fault)
        if failure is not error:
            raise failure from None


def as_instance_error(error: BaseException) -> InstanceError | None:
    """Return the failure of the instance that an exception stands for; None if it is the job's."""
    if isinstance(error, InstanceError):
        return error
    fault = fault_of(error)
    return None if _ends_job(error, fault) else InstanceError(Reason.INTERNAL_ERROR, fault)


def _ends_job(error: BaseException, fault: Fault) -> bool:
    if not isinstance(error, Exception):
        # A panic of a Rust library, which pyo3 lets through `except Exception`.
        return fault.kind != "pyo3_runtime.PanicException"
    if isinstance(error, OSError) and error.errno is None:
        return not fault.place.startswith(_WITHOUT_FILES)
    return isinstance(error, (MemoryError, *storage_errors()))


def fault_of(error: BaseException) -> Fault:
    """Return kind and places of an exception; no text and no value of it."""
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    place, frames = "", []
    for frame, line in traceback.walk_tb(error.__traceback__):
        name = str(frame.f_globals.get("__name__", "?"))
        where = f"{name.replace('.', '/')}.py:{line}"
        if name.partition(".")[0] == _PACKAGE:
            place = where
        frames.append(f"{where} {frame.f_code.co_name}")
    if len(frames) > _OUTER_FRAMES + _INNER_FRAMES:
        frames = [*frames[:_OUTER_FRAMES], "...", *frames[-_INNER_FRAMES:]]
    return Fault(f"{module}{kind.__qualname__}", place, tuple(frames))


def _log_once(fault: Fault) -> None:
    if fault.place not in _logged:
        _logged.add(fault.place)
        _LOGGER.error(
            "a bug in dicomferry, please report it: %s; called by: %s",
            fault,
            ", ".join(fault.frames),
        )
