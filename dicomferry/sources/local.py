"""Listing of local files.

`os.scandir` returns names of any bytes. Links are followed, as users who link their archives
together expect; a link back to a folder above is listed but not entered.
"""

import errno
import os
import stat
from collections.abc import Iterator, Sequence

from dicomferry.errors import Reason
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.pattern import Segment, SourcePattern
from dicomferry.sources.source import Source
from dicomferry.sources.uri import local_uri

_Entry = os.DirEntry[str]

# ENAMETOOLONG: too deep for one path.
_DENIED = {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG}
# ELOOP: a link to itself, or links in a circle.
_MISSING = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


def list_files(
    pattern: SourcePattern, allowed_folders: AllowedFolders | None = None
) -> Iterator[Source]:
    """List the local files that a pattern matches; see `listing.list_sources`."""
    if pattern.is_recursive:
        yield from _list_below(pattern, allowed_folders)
        return
    for folder in _folders(pattern.segments[:-1], allowed_folders):
        yield from _list_in(folder, pattern.segments[-1], allowed_folders)


def describe_file(path: str) -> Source | None:
    """Describe one file by its exact path; None if it is gone or a folder."""
    try:
        status = os.stat(path)
    except OSError as error:
        return _without_stat(path, error)
    return None if stat.S_ISDIR(status.st_mode) else _describe(path, status)


def hint(pattern: SourcePattern) -> str:
    """Return a hint for a pattern that matches nothing, to end a sentence."""
    if pattern.uri.startswith("~"):
        return ": the shell does not expand '~' within quotes, use the full path"
    folder = os.path.dirname(pattern.prefix)
    if not os.path.isdir(folder):
        there = folder
        while not os.path.isdir(there):
            there = os.path.dirname(there)
        return f": there is no folder {folder!r}, only {there!r}"
    if pattern.is_recursive:
        return f": {folder!r} and the folders below hold no such file"
    matches = _folders(pattern.segments)
    if any(isinstance(match, str) and os.path.isdir(match) for match in matches):
        return ", only folders: did you mean " + repr(f"{folder.rstrip('/')}/**") + "?"
    return f": look into {folder!r} for what is there"


def _list_below(pattern: SourcePattern, allowed_folders: AllowedFolders | None) -> Iterator[Source]:
    """List by `**`: all files that start with the prefix, in all depths."""
    top, _, start = pattern.prefix.rpartition("/")
    shortest = len(start) + len(pattern.extension)
    extension = pattern.extension
    # Folders to enter, and whether a link led there: only then can one be a folder from above.
    todo = [(f"{top}/", False)]
    while todo:
        folder, is_linked = todo.pop()
        if allowed_folders and not allowed_folders.contains(folder):
            yield _leads_out(folder)
            continue
        for entry in _scan(folder):
            if isinstance(entry, Source):
                yield entry
                continue
            name = entry.name
            if start and not name.startswith(start):
                continue
            path = folder + name
            if _is_folder(entry):
                linked = is_linked or entry.is_symlink()
                if linked and _is_above(path, folder):
                    yield Source(local_uri(path), 0, "", Reason.LINK_LOOP)
                else:
                    todo.append((f"{path}/", linked))
            elif name.endswith(extension) and (not start or len(name) >= shortest):
                source = _source(entry, path, allowed_folders)
                if source is not None:
                    yield source
        if start:
            start = ""


def _folders(
    segments: Sequence[Segment], allowed_folders: AllowedFolders | None = None
) -> Iterator[str | Source]:
    """Yield the folders that segments match, with a '/' at the end; a `Source` is a failure."""
    todo = [("", 0)]
    while todo:
        path, depth = todo.pop()
        while depth < len(segments) and segments[depth].regex is None:
            path, depth = f"{path}{segments[depth].head}/", depth + 1
        if allowed_folders and not allowed_folders.contains(path or "/"):
            yield _leads_out(path)
            continue
        if depth == len(segments):
            yield path
            continue
        for entry in _scan(path):
            if isinstance(entry, Source):
                yield entry
            elif segments[depth].matches(entry.name) and _is_folder(entry):
                todo.append((f"{path}{entry.name}/", depth + 1))


def _list_in(
    folder: str | Source, last: Segment, allowed_folders: AllowedFolders | None
) -> Iterator[Source]:
    if isinstance(folder, Source):
        yield folder
    elif last.regex is None:
        path = folder + last.head
        is_out = allowed_folders is not None and not allowed_folders.contains(path)
        source = _leads_out(path) if is_out else describe_file(path)
        if source is not None:
            yield source
    else:
        for entry in _scan(folder):
            if isinstance(entry, Source):
                yield entry
            elif last.matches(entry.name) and not _is_folder(entry):
                source = _source(entry, folder + entry.name, allowed_folders)
                if source is not None:
                    yield source


def _scan(folder: str) -> Iterator[_Entry | Source]:
    """Yield the entries of a folder: nothing if it is gone, a failure if access is denied."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError as error:
        if error.errno in _DENIED:
            yield Source(local_uri(folder), 0, "", Reason.FOLDER_UNREADABLE)
        elif error.errno not in _MISSING:
            raise


def _is_folder(entry: _Entry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link through itself, or through an unreadable folder
        return False


def _is_above(path: str, folder: str) -> bool:
    """Return whether a path is a folder that the listing is in: `folder` or one above."""
    try:
        status = os.stat(path)
        while not os.path.samestat(status, os.stat(folder or "/")):
            if folder in {"", "/"}:
                return False
            folder = folder.rstrip("/").rpartition("/")[0]
    except FileNotFoundError:  # removed meanwhile; entering it will find out
        return False
    return True


def _leads_out(path: str) -> Source:
    return Source(local_uri(path), 0, "", Reason.LINK_LEADS_OUT)


def _source(entry: _Entry, path: str, allowed_folders: AllowedFolders | None) -> Source | None:
    if allowed_folders and entry.is_symlink() and not allowed_folders.contains(path):
        return _leads_out(path)
    try:
        status = entry.stat()
    except OSError as error:
        return _without_stat(path, error)
    return _describe(path, status)


def _describe(path: str, status: os.stat_result) -> Source:
    if not stat.S_ISREG(status.st_mode):
        return Source(local_uri(path), 0, "", Reason.NOT_A_FILE)
    version = f"{status.st_mtime_ns}.{status.st_ctime_ns}"
    return Source(local_uri(path), status.st_size, version)


def _without_stat(path: str, error: OSError) -> Source | None:
    """Describe a file without a stat: access denied, or a dangling link; None if it is gone."""
    if error.errno in _DENIED:
        return Source(local_uri(path), 0, "", Reason.UNREADABLE)
    if error.errno not in _MISSING:
        raise error
    return Source(local_uri(path), 0, "", Reason.DANGLING_LINK) if os.path.islink(path) else None
