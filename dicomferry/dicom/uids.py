"""Unique identifiers (PS3.5 Section 9): they become paths, so nothing else may pass as one."""

import re
from functools import lru_cache

_UID = re.compile(rb"[0-9]+(?:\.[0-9]+)*")
MAX_UID_CHARACTERS = 64


def parse_uid(value: bytes) -> str:
    """Return the UID in an encoded value, without its padding; "" if it is not one UID.

    Components with leading zeros and spaces before the UID are let in: they occur in old archives.
    """
    value = value.strip(b"\0 ")
    if len(value) > MAX_UID_CHARACTERS or not _UID.fullmatch(value):
        return ""
    return value.decode("ascii")


# Of SOP classes and transfer syntaxes, which are few.
parse_class_uid = lru_cache(maxsize=256)(parse_uid)
