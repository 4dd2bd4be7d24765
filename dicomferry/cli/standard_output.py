"""Standard output that can close or fill up: a command does its work to the end all the same."""

import errno
import os
import sys
from types import TracebackType
from typing import Any, TextIO

_BROKEN = 3  # as in exit_codes


class StandardOutput:
    """Takes the place of `sys.stdout` for the length of a block; writes to it do not fail.

    Attributes:
        is_wanted: whether anything was written.
        error: of the first write that failed; None if none did.
        look_up: the command that shows the result of a job again; '' if there was no job.
    """

    def __init__(self) -> None:
        """Take the place at once: workers and logs find it."""
        self._before = sys.stdout
        self._is_closed = self._before is None
        # The lowest free descriptor: no file that is opened later becomes standard output.
        self._stream: TextIO = self._before or open(os.devnull, "w")  # noqa: SIM115 (closed on exit)
        self.is_wanted = False
        self.error: OSError | None = None
        self.look_up = ""

    def __enter__(self) -> "StandardOutput":
        sys.stdout = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.flush()
        sys.stdout = self._before
        if self._is_closed:
            self._stream.close()

    def __getattr__(self, name: str) -> Any:
        """Whatever else a stream has."""
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, unless a write has failed before."""
        self.is_wanted = True
        if self.error is None:
            try:
                return self._stream.write(text)
            except OSError as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def end(self, code: int) -> tuple[int, str]:
        """Return the exit code, and what to say of a result that nobody got; '' for nothing.

        A reader that has read enough, such as `head`, leaves the command its own code.

        Args:
            code: of the command.
        """
        self.flush()
        again = f"; the job itself is done: `{self.look_up}`" if self.look_up else ""
        if self._is_closed and self.is_wanted:
            return code, f"standard output is closed, so the result cannot be printed{again}"
        if self.error is None or self.error.errno == errno.EPIPE:
            return code, ""
        reason = os.strerror(self.error.errno or errno.EIO)
        return code or _BROKEN, f"standard output cannot be written ({reason}){again}"

    def _lose(self, error: OSError) -> None:
        """Drop what is buffered, which Python would try to write again at its exit."""
        self.error = self.error or error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)


def name_job(look_up: str) -> None:
    """Name the command that shows the result of a job again, where standard output is lost."""
    if isinstance(sys.stdout, StandardOutput):
        sys.stdout.look_up = look_up
