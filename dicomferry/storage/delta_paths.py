"""Paths that delta-rs, which reads paths as URLs, cannot use, or takes for other ones.

Measured with deltalake 1.6: brackets and the like cause a panic, control characters an error, and
%XX is decoded, so that the table is not found. In a bucket, what comes after # or ? is cut off,
control characters are dropped, and so `.<TAB>.` leads a folder up.
"""

import os
import re

_UNFIT = re.compile(r"[\[\]\\^|\x00-\x1f\x7f\ud800-\udfff]|%[0-9A-Fa-f]{2}")

_UNFIT_IN_BUCKET = re.compile(_UNFIT.pattern + r"|[#?%]|(?<=/)\.{0,2}(?=/|$)")


def unsupported_in_bucket(path: str) -> str | None:
    """Return the part of a path after its bucket that a Delta table cannot have; None if none.

    Empty segments, `.` and `..` are such parts.
    """
    match = _UNFIT_IN_BUCKET.search(f"/{path}")
    return match[0] if match else None


def unsupported_character(folder: str) -> str:
    """Return the part of a folder's whole path that Delta tables cannot have; '' if none."""
    match = _UNFIT.search(os.path.abspath(folder))
    return match[0] if match else ""
