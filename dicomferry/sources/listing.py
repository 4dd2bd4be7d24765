"""Listing: every file or object that a source pattern means.

Our own, since Beam's globs differ from the reference's wildcards, and since obstore's listings hide
names that it cannot hold. What cannot be read as a file is listed too, with the code of the reason:
it neither vanishes nor stops a job.
"""

from collections.abc import Iterator
from typing import NamedTuple

from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.uri import SourcePattern


class Source(NamedTuple):
    """One file or object as it was listed.

    Attributes:
        uri: gs://bucket/object, or an absolute local path (`source_uri.local_path` reads it).
        size: bytes.
        version: changes whenever the content does: the generation of an object; mtime and ctime of
            a local file, in nanoseconds. The inode is left out: some network file systems number
            files anew at each mount, and a file put in place of another has a new ctime anyway.
        code: "" for a file; else why it cannot be read as one, a `Reason`.
        crc32c: of an object, as Cloud Storage has it: base64 of four bytes, big endian; "" where
            it is not known.
    """

    uri: str
    size: int
    version: str
    code: str = ""
    crc32c: str = ""


def list_sources(
    pattern: SourcePattern, allowed_folders: AllowedFolders | None = None
) -> Iterator[Source]:
    """List what a pattern means, in no order, each file once.

    Args:
        pattern: what is meant.
        bounds: local folders that must not be left; a link out of them has the code
            LINK_LEADS_OUT.

    Raises:
        OSError: a folder cannot be listed for another reason than its permissions.
        google.api_core.exceptions.GoogleAPIError: the bucket cannot be listed.
    """
    if pattern.is_gcs:
        from dicomferry.sources import bucket

        return bucket.list_objects(pattern)
    from dicomferry.sources import local

    return local.list_files(pattern, allowed_folders)


def no_match_message(pattern: SourcePattern) -> str:
    """Return what to tell a user whose source matches nothing."""
    if pattern.is_gcs:
        from dicomferry.sources import bucket

        hint = bucket.hint(pattern)
    else:
        from dicomferry.sources import local

        hint = local.hint(pattern)
    return f"source {pattern.uri!r} matches no files{hint}"
