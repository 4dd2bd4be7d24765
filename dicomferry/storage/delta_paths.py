"""Paths of local folders that delta-rs, which reads paths as URLs, cannot use.

Measured with deltalake 1.6: brackets and the like cause a panic, control characters an error, and
%XX is decoded, so that the table is not found.
"""

import os
import re

_UNFIT = re.compile(r"[\[\]\\^|\x00-\x1f\x7f\ud800-\udfff]|%[0-9A-Fa-f]{2}")


def unsupported_character(folder: str) -> str:
    """Return the part of a folder's whole path that Delta tables cannot have; '' if none."""
    match = _UNFIT.search(os.path.abspath(folder))
    return match[0] if match else ""
