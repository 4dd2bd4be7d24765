"""One file or object of an import, as it was listed."""

import base64
from typing import NamedTuple

EXPORT_MARKER = ".dicomferry-export"
"""Name of the object by which an export to files says whose the folder is; it is no source."""


class Source(NamedTuple):
    """One file or object as it was listed.

    Attributes:
        uri: scheme://bucket/object, or an absolute local path (`uri.local_path` reads it).
        size: bytes.
        version: changes whenever the content does: the generation of a gs:// object; the entity tag
            of another; mtime and ctime of a local file, in nanoseconds. The inode is left out: some
            network file systems number files anew at each mount, and a file that replaces another
            has a new ctime anyway.
        code: "" for a file; else why it cannot be read as one, a `Reason`.
        crc32c: of an object, as Cloud Storage keeps it: base64 of four bytes, big endian; "" where
            it is not known.
    """

    uri: str
    size: int
    version: str
    code: str = ""
    crc32c: str = ""

    def is_crc32c(self, crc32c: int) -> bool:
        """Whether the checksum of all bytes is the one that was listed, if one was."""
        return not self.crc32c or base64.b64decode(self.crc32c) == crc32c.to_bytes(4, "big")
