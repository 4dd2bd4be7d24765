"""Sources by their exact URIs, as an earlier job listed them: for another try."""

from collections.abc import Iterable, Iterator

from dicomferry.errors import Reason
from dicomferry.sources.listing import Source
from dicomferry.sources.local import describe_file
from dicomferry.sources.uri import local_path, split_gcs
from dicomferry.storage import gs_clients


def describe_sources(uris: Iterable[str]) -> Iterator[Source]:
    """List files and objects by name, wildcards being ordinary characters here.

    One that is gone has the code SOURCE_GONE.
    """
    for uri in uris:
        found = _describe_object(uri) if uri.startswith("gs://") else describe_file(local_path(uri))
        yield found or Source(uri, 0, "", Reason.SOURCE_GONE)


def _describe_object(uri: str) -> Source | None:
    bucket, name = split_gcs(uri)
    blob = gs_clients.client().bucket(bucket).get_blob(name)
    if blob is None:
        return None
    return Source(uri, blob.size, str(blob.generation), crc32c=blob.crc32c or "")
