"""Local folders that can hold a Delta table: delta-rs reads paths as URLs, and some not at all.

Measured with deltalake 1.6: brackets and the like end in a panic, control characters in an error,
and %XX is read as the character that it stands for, where there is no table.
"""

import os
import re

_UNFIT = re.compile(r"[\[\]\\^|\x00-\x1f\x7f\ud800-\udfff]|%[0-9A-Fa-f]{2}")


def unsupported_character(folder: str) -> str:
    """What in the whole path of a folder keeps Delta tables out of it; '' if nothing does."""
    found = _UNFIT.search(os.path.abspath(folder))
    return found[0] if found else ""
