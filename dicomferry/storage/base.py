"""Storage: files below one root, and the few things that jobs do with them.

There is one class per URI scheme, which `registry` finds. This base class is a bucket reached
through obstore. A kind of storage states its capabilities, connects, and overrides the methods for
which it has something better. No caller asks a storage which kind it is.

Everything is written whole or not at all, and what was written survives a power cut.
"""

import abc
import itertools
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, ClassVar, Self, TypeVar

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import ObjectStore

from dicomferry.storage.capabilities import Capabilities, Entry, ServerSideCopy
from dicomferry.storage.clock import clock_of
from dicomferry.storage.errors import ChangedFileError, ShortReadError, StorageError
from dicomferry.storage.range_file import RangeFile, SeekableObject, StoredFile
from dicomferry.storage.retries import list_with_resume, with_retries

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta
    from pyarrow.fs import FileSystem

T = TypeVar("T")

CHUNK_BYTES = 1 << 20
_SPOOL_BYTES = 64 << 20
# Obstore sends ten requests at once for a batch.
_DELETE_BATCH = 200
_REMOVED_AT_ONCE = 10_000
NOT_FOUND = (NotFoundError, FileNotFoundError)  # obstore raises either


class Storage(abc.ABC):
    """Files below one root, such as gs://bucket/prefix.

    Picklable, and equal to another of the same root; each process opens its own connection. Paths
    are relative to the root, use '/', and are made of UIDs, hashes and fixed names, never of user
    input.
    """

    capabilities: ClassVar[Capabilities]

    def __init__(self, root: str) -> None:
        """Name the root; nothing is touched yet.

        Raises:
            StorageError: it names no bucket.
        """
        scheme, _, rest = root.partition("://")
        self.bucket, _, prefix = rest.partition("/")
        if not self.bucket:
            raise StorageError(f"{root!r} names no bucket: use {scheme}://bucket/prefix")
        prefix = prefix.strip("/")
        self.root = f"{scheme}://{self.bucket}/{prefix}".rstrip("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self._store: ObjectStore | None = None

    @abc.abstractmethod
    def _connect(self) -> ObjectStore:
        """Return the obstore object of the whole bucket."""

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        return type(self), (self.root,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Storage) and other.root == self.root

    def __hash__(self) -> int:
        return hash(self.root)

    @property
    def store(self) -> ObjectStore:
        """The obstore object behind, connected when first used."""
        if self._store is None:
            self._store = self._connect()
        return self._store

    def uri(self, path: str = "") -> str:
        """Return the URI, or the absolute local path, of something below the root."""
        return f"{self.root}/{path}" if path else self.root

    def local_path(self, path: str = "") -> str | None:
        """Return the path of something in this machine's file system; None if it is not in one."""
        return None

    def subfolder(self, path: str) -> Self:
        """Return the same storage, rooted deeper."""
        return type(self)(self.uri(path))

    def is_missing(self) -> bool:
        """Whether the bucket is known not to exist, by a quick look; False if that is not known."""
        return False

    # Reading

    def read(self, path: str) -> bytes:
        """Return a whole file.

        Raises:
            FileNotFoundError: there is none.
        """
        try:
            return bytes(obstore.get(self.store, self._key(path)).bytes())
        except NOT_FOUND:
            raise FileNotFoundError(self.uri(path)) from None

    def read_range(self, path: str, offset: int, length: int, version: str = "") -> bytes:
        """Return the bytes [offset, offset + length), all of which must be in the file.

        Args:
            path: the file.
            offset: of the first byte.
            length: in bytes.
            version: the file must be the one that was listed as this `Entry.version`; '' for any.

        Raises:
            FileNotFoundError: there is no such file.
            ChangedFileError: it has another version.
        """
        if length == 0:
            return b""
        options: GetOptions = {"range": (offset, offset + length)}
        if version:
            options["if_match"] = version

        def read() -> bytes:
            try:
                found = obstore.get(self.store, self._key(path), options=options)
                content = bytes(found.bytes())
            except NOT_FOUND:
                raise FileNotFoundError(self.uri(path)) from None
            except PreconditionError:
                raise ChangedFileError(self.uri(path)) from None
            if len(content) != length:
                raise ShortReadError(f"{self.uri(path)}: {len(content)} bytes of {length}")
            return content

        return self.retry(read)

    def chunks(self, path: str) -> Iterator[bytes]:
        """Yield a file's bytes, 1 MiB at a time.

        Raises:
            FileNotFoundError: there is none.
        """
        try:
            yield from map(bytes, obstore.get(self.store, self._key(path)).stream(CHUNK_BYTES))
        except NOT_FOUND:
            raise FileNotFoundError(self.uri(path)) from None

    def open(self, path: str, size: int) -> StoredFile:
        """Return a file of known size, for a `with` block that reads it by ranges."""
        return RangeFile(self, path, size)

    def open_seekable(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """Open a file for a library that seeks in it, such as a Parquet reader."""
        return SeekableObject.buffered(self.store, self._key(path))

    def head(self, path: str) -> Entry | None:
        """Return size and time of a file, or None if there is none."""
        try:
            return self._entry(obstore.head(self.store, self._key(path)))
        except NOT_FOUND:
            return None

    def kept_crc32c(self, path: str) -> int | None:
        """Return the CRC-32C that the storage itself keeps of a file; None if it keeps none.

        Raises:
            FileNotFoundError: there is no such file.
        """
        return None

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Yield every file below a folder, in no order; nothing if the folder does not exist."""
        key = self._key(prefix) or None

        def list_after(last: str | None) -> "Iterable[Sequence[ObjectMeta]]":
            return obstore.list(self.store, key, offset=last, chunk_size=1000)

        yield from map(self._entry, list_with_resume(list_after))

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names of the folders directly below one, sorted."""
        key = self._key(prefix) or None
        listing = self.retry(lambda: obstore.list_with_delimiter(self.store, key))
        for path in sorted(listing["common_prefixes"]):
            yield path.rstrip("/").rpartition("/")[2]

    def partial_files(self, prefix: str) -> Iterator[Entry]:
        """Yield files below a folder that a process was writing when it was killed."""
        return iter(())

    def retry(self, call: Callable[[], T]) -> T:
        """Call a function that may be called any number of times until the storage answers."""
        return with_retries(call)

    def clock(self) -> datetime:
        """Return the time by the clock that `Entry.modified` has; ours if it fails."""
        try:
            return self.own_clock()
        except (OSError, BaseError):
            return datetime.now(UTC)

    def own_clock(self) -> datetime:
        """Return the time by the clock that `Entry.modified` has: of a file written for that."""
        path = f".clock-{secrets.token_hex(8)}"
        self.write(path, b"")
        entry = self.head(path)
        self.delete([path])
        if entry is None:
            raise FileNotFoundError(self.uri(path))
        return entry.modified

    # Writing

    def create(self, path: str, data: bytes) -> bool:
        """Write a file unless it exists; return whether this call wrote it.

        Where `is_networked`, False can mean that it did, if the answer to its first attempt was
        lost: a caller who must know has to read the file.
        """
        try:
            obstore.put(self.store, self._key(path), data, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def write(self, path: str, data: bytes | Iterable[bytes]) -> None:
        """Write a file, replacing an earlier one at once; nothing if the chunks break off."""
        if isinstance(data, bytes):
            obstore.put(self.store, self._key(path), data)
            return
        # Chunks that are themselves read through obstore must not be consumed inside a put.
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
            spool.writelines(data)
            spool.seek(0)
            obstore.put(self.store, self._key(path), spool)

    @contextmanager
    def writing(self, folder: str = "") -> Iterator[tuple[IO[bytes], Callable[[str], None]]]:
        """Write a file of any size, in one pass, before its name is known.

        Args:
            folder: where a storage that renames files may keep it until then.

        Yields:
            An open file, and a function that gives it a path when it is complete, replacing an
            earlier file at once. A file that gets no path is dropped.
        """
        with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:

            def keep(path: str) -> None:
                spool.seek(0)
                obstore.put(self.store, self._key(path), spool)

            yield spool, keep

    @contextmanager
    def batch(self) -> Iterator[Self]:
        """Write many files at the speed of a few: they survive a power cut once the block ends.

        Before, a cut can leave the name of a file without its bytes: what makes a file count is
        written after the block.
        """
        yield self

    def copier(self, source_uri: str, version: str = "") -> ServerSideCopy | None:
        """Return how this storage copies an object by itself; None if bytes have to be read.

        Args:
            source_uri: the object, of any storage.
            version: of the object; '' for the newest.
        """
        return None

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files, many at once; it is not an error if one is gone already."""
        with ThreadPoolExecutor(self.capabilities.concurrency) as threads:
            keys = map(self._key, paths)
            batches = iter(lambda: list(itertools.islice(keys, _DELETE_BATCH)), [])
            # A few batches at a time, or all names would be in memory.
            while some := list(itertools.islice(batches, 4 * self.capabilities.concurrency)):
                list(threads.map(self._delete_batch, some))

    def _delete_batch(self, keys: Sequence[str]) -> None:
        try:
            obstore.delete(self.store, keys)
        except NOT_FOUND:  # the others may not have been tried
            for key in keys:
                with suppress(*NOT_FOUND):
                    obstore.delete(self.store, key)

    def delete_older(self, paths: Iterable[str], cutoff: float) -> Sequence[str]:
        """Delete those of some files that were last written at or before a time.

        Each is compared and deleted in one step: one that another process writes, touches or copies
        anew meanwhile, in a block of `sparing`, stays.

        Args:
            paths: of the files; it is not an error if one is gone already.
            cutoff: seconds since the epoch, by the storage's own clock.

        Returns:
            The paths of those that were deleted.

        Raises:
            StorageError: this kind of storage cannot.
        """
        raise StorageError(
            f"{self.root} cannot delete an object on condition that it is unchanged; "
            "nothing was deleted"
        )

    def sparing(self, path: str) -> AbstractContextManager[object]:
        """Return a block in which a file can be replaced while `delete_older` looks at it."""
        return nullcontext()

    def touch(self, path: str, after: float = 0.0) -> bool:
        """Give a file a new time of last change, and nothing else.

        Args:
            path: the file.
            after: the time is a later one: seconds since the epoch, by the storage's own clock.

        Returns:
            Whether the file is there.
        """
        if after:
            clock_of(self).wait_until(after)
        return self._rewrite(path)

    def _rewrite(self, path: str) -> bool:
        try:
            self.write(path, self.read(path))
        except FileNotFoundError:
            return False
        return True

    def remove_all(self, on_removed: Callable[[Sequence[str]], None] = lambda paths: None) -> None:
        """Delete everything below the root, the root itself last.

        Args:
            on_removed: called with the paths of files that are gone, many at once.
        """
        paths = (entry.path for entry in self.list())
        while some := list(itertools.islice(paths, _REMOVED_AT_ONCE)):
            self.delete(some)
            on_removed(some)

    def remove_partial(self, folder: str) -> None:  # noqa: B027 - a bucket needs none
        """Remove files that ended writers on this host left in a folder under partial names."""

    def sync(self, paths: Iterable[str]) -> None:  # noqa: B027 - a bucket needs none
        """Make files that were not written through this class survive a power cut.

        In a `batch`, they do when the block ends.
        """

    def check_writable(self) -> None:  # noqa: B027 - a bucket needs none
        """Find out before any work whether the root can be written as a store needs.

        Raises:
            StorageError: it cannot, with the reason.
        """

    # Delta tables

    def for_delta(self) -> "Storage":
        """Return the storage in which Delta finds the tables that belong below this root."""
        return self

    def delta_options(self) -> dict[str, str] | None:
        """Return the `storage_options` with which deltalake reaches this storage."""
        return None

    def arrow_filesystem(self) -> "FileSystem | None":
        """Return a file system rooted here that pyarrow reads faster; None for deltalake's own."""
        return None

    def check_delta(self) -> None:  # noqa: B027 - a bucket needs none
        """Find out whether Delta tables can be below this root.

        Raises:
            StorageError: they cannot, with the reason.
        """

    def _key(self, path: str) -> str:
        return f"{self._prefix}{path}"

    def _entry(self, meta: "ObjectMeta") -> Entry:
        path = meta["path"].removeprefix(self._prefix)
        return Entry(path, meta["size"], meta["last_modified"], meta["e_tag"] or "")
