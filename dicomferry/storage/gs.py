"""Cloud Storage: the storage of gs://bucket/prefix."""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from obstore.store import GCSStore

from dicomferry.storage import gs_clients
from dicomferry.storage.base import Storage
from dicomferry.storage.capabilities import Capabilities, ServerSideCopy
from dicomferry.storage.server_side_copy import GsCopy

if TYPE_CHECKING:
    from google.cloud.storage import Bucket


class GsStorage(Storage):
    """Objects below a prefix of a bucket."""

    capabilities = Capabilities(
        is_shared=True, is_networked=True, concurrency=16, has_empty_folders=False
    )

    def _connect(self) -> GCSStore:
        return gs_clients.bucket_store(self.bucket)

    def is_missing(self) -> bool:
        """Whether the bucket is known not to exist; see `Storage.is_missing`."""
        return gs_clients.is_missing(self.bucket)

    def kept_crc32c(self, path: str) -> int:
        """Return the CRC-32C that Cloud Storage keeps of an object; see `Storage.kept_crc32c`."""
        return GsCopy(self, self.uri(path)).crc32c()

    def copier(self, source_uri: str, version: str = "") -> ServerSideCopy | None:
        """Return how Cloud Storage copies one of its objects; see `Storage.copier`."""
        return GsCopy(self, source_uri, version) if source_uri.startswith("gs://") else None

    def delete_older(self, paths: Iterable[str], cutoff: float) -> Sequence[str]:
        """Delete objects whose generation is that of a time; see `Storage.delete_older`."""
        bucket = gs_clients.client().bucket(self.bucket)

        def delete(path: str) -> str:
            return path if _delete_older(bucket, self._key(path), cutoff) else ""

        with ThreadPoolExecutor(gs_clients.MAX_THREADS) as threads:
            return [path for path in threads.map(delete, paths) if path]

    def _rewrite(self, path: str) -> bool:
        """Copy an object onto itself, which makes a new generation; see `Storage.touch`."""
        try:
            GsCopy(self, self.uri(path)).replace(path)
        except FileNotFoundError:
            return False
        return True

    def delta_options(self) -> dict[str, str]:
        """Return the `storage_options` with which deltalake opens a gs:// table."""
        return gs_clients.delta_storage_options()


def _delete_older(bucket: "Bucket", name: str, cutoff: float) -> bool:
    from google.api_core.exceptions import NotFound, PreconditionFailed

    blob = bucket.get_blob(name)
    if blob is None or blob.updated.timestamp() > cutoff:
        return False
    try:
        blob.delete(if_generation_match=blob.generation)
    except (NotFound, PreconditionFailed):
        return False
    return True
