"""The kernel's own bounds on what a process writes: Linux's Landlock (since 5.19).

A check of a path and its use are two moments, between which whoever can write to a folder can make
it a link to another. The kernel checks the file itself, when it is opened, made, renamed or
removed, for all libraries and for all processes that this one starts.
"""

import ctypes
import os
import stat
import sys
import tempfile
from collections.abc import Iterable

# The same on all architectures; <linux/landlock.h> has the rest.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION, _PATH_BENEATH, _NO_NEW_PRIVILEGES = 1, 1, 38
_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
# The first version in which files can be renamed between folders.
_REFER_VERSION, _TRUNCATE_VERSION = 2, 3
# What libraries write to beside the places of a job: temporary files, shared memory, caches.
_COMMON = ("/dev", "~/.cache", "~/.apache_beam")


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def can_confine() -> bool:
    """Whether the kernel can confine a process."""
    return _version() >= _REFER_VERSION


def confine_writes(folders: Iterable[str]) -> bool:
    """Let this process write into some folders only, for good, and all that it starts.

    Call it before a thread begins: others than the caller's are not confined. Files that are open
    stay so. Folders for temporary files and caches can be written, too.

    Args:
        folders: local ones; those that do not exist are left out.

    Returns:
        Whether the kernel does it.

    Raises:
        OSError: it refuses.
    """
    version = _version()
    if version < _REFER_VERSION:
        return False
    rights = _WRITE_FILE | _REMOVE_AND_MAKE | _REFER
    if version >= _TRUNCATE_VERSION:
        rights |= _TRUNCATE
    handled = ctypes.c_uint64(rights)
    ruleset = _call(_CREATE_RULESET, ctypes.byref(handled), ctypes.sizeof(handled), 0)
    try:
        for folder in {*folders, *map(os.path.expanduser, _COMMON), tempfile.gettempdir()}:
            _allow(ruleset, folder, rights)
        _check(ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return True


def _allow(ruleset: int, folder: str, rights: int) -> None:
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rule = _PathBeneath(rights, descriptor)
            _call(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)


def _version() -> int:
    """Return the version of Landlock; 0 if there is none."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE_RULESET, None, 0, _GET_VERSION)
    except OSError:
        return 0


def _call(number: int, *arguments: object) -> int:
    library = ctypes.CDLL(None, use_errno=True)
    return _check(library.syscall(ctypes.c_long(number), *arguments))


def _check(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
