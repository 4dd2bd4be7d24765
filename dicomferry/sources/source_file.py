"""Reading sources by ranges, as they were when they were listed."""

from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.registry import kind_of
from dicomferry.sources.source import Source
from dicomferry.storage.range_file import StoredFile


def open_source(source: Source, allowed_folders: AllowedFolders | None = None) -> StoredFile:
    """Open a listed file or object for a `with` block.

    Args:
        source: which one.
        allowed_folders: local folders in which a local file must be, after following the links that
            are there by now.

    The block, at its start, in its reads or at its end, raises:
        InstanceError: SOURCE_CHANGED: it has other bytes than were listed; SOURCE_GONE: it is gone;
            UNREADABLE: permission to read a local file is missing; LINK_LEADS_OUT: it is outside
            the allowed folders; WRONG_CHECKSUM: an object that was read whole is not what Cloud
            Storage says it keeps, three times in a row.
        OSError, google.api_core.exceptions.GoogleAPIError, obstore.exceptions.BaseError: the file
            system or the service fails.
    """
    return kind_of(source.uri).open(source, allowed_folders)
