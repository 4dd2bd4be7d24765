"""Listing: every file or object that a source pattern means.

Our own, since Beam's globs differ from the reference's wildcards, and since obstore's listings hide
names that it cannot hold. What cannot be read as a file is listed too, with the code of the reason:
it neither vanishes nor stops a job.
"""

from collections.abc import Iterator
from typing import NamedTuple

from stores.bounds import Bounds
from stores.source_uri import SourcePattern


class Source(NamedTuple):
    """One file or object as it was listed.

    Attributes:
        uri: gs://bucket/object, or an absolute local path (`source_uri.local_path` reads it).
        size: bytes.
        version: changes whenever the content does: the generation of an object; mtime and ctime of
            a local file, in nanoseconds. The inode is left out: some network file systems number
            files anew at each mount, and a file put in place of another has a new ctime anyway.
        code: "" for a file; else why it cannot be read as one, a key of `failures.REASONS`.
        crc32c: of an object, as Cloud Storage has it: base64 of four bytes, big endian; "" where
            it is not known.
    """

    uri: str
    size: int
    version: str
    code: str = ""
    crc32c: str = ""


def list_sources(pattern: SourcePattern, bounds: Bounds | None = None) -> Iterator[Source]:
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
        from stores import bucket_listing

        return bucket_listing.list_objects(pattern)
    from stores import folder_listing

    return folder_listing.list_files(pattern, bounds)


def no_match_message(pattern: SourcePattern) -> str:
    """Return what to tell a user whose source matches nothing."""
    if pattern.is_gcs:
        from stores import bucket_listing

        hint = bucket_listing.hint(pattern)
    else:
        from stores import folder_listing

        hint = folder_listing.hint(pattern)
    return f"source {pattern.uri!r} matches no files{hint}"
