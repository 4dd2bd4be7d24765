"""Cloud Storage: the storage of gs://bucket/prefix."""

from obstore.store import GCSStore

from dicomferry.storage import gs_clients
from dicomferry.storage.base import Storage
from dicomferry.storage.capabilities import Capabilities, ServerSideCopy
from dicomferry.storage.server_side_copy import GsCopy


class GsStorage(Storage):
    """Objects below a prefix of a bucket."""

    capabilities = Capabilities(
        is_shared=True, is_networked=True, concurrency=16, has_empty_folders=False
    )

    def _connect(self) -> GCSStore:
        return gs_clients.bucket_store(self.bucket)

    def kept_crc32c(self, path: str) -> int:
        """Return the CRC-32C that Cloud Storage keeps of an object; see `Storage.kept_crc32c`."""
        return GsCopy(self, self.uri(path)).crc32c()

    def copier(self, source_uri: str, version: str = "") -> ServerSideCopy | None:
        """Return how Cloud Storage copies one of its objects; see `Storage.copier`."""
        return GsCopy(self, source_uri, version) if source_uri.startswith("gs://") else None

    def delta_options(self) -> dict[str, str]:
        """Return the `storage_options` with which deltalake opens a gs:// table."""
        return gs_clients.delta_storage_options()
