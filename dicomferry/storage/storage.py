"""A folder or a bucket prefix, and the few things that a store does with it.

Everything is written whole or not at all: local puts go through a temporary file
that is linked or renamed, bucket puts are atomic by nature.
"""

import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import obstore
from obstore.exceptions import AlreadyExistsError, NotFoundError, PreconditionError
from obstore.store import LocalStore, ObjectStore

from dicomferry.storage import gcs
from dicomferry.storage.partial_files import partial_name
from dicomferry.storage.retries import ShortReadError, list_with_resume, with_retries

if TYPE_CHECKING:
    from obstore import ObjectMeta

_CHUNK_BYTES = 1 << 20
_SPOOL_BYTES = 64 << 20
_NOT_FOUND = (NotFoundError, FileNotFoundError)  # obstore raises either


class StorageError(ValueError):
    """A root or destination that cannot serve; the message says what to do."""


class Entry(NamedTuple):
    """A file or object: path below the storage's root, bytes, time of last change."""

    path: str
    size: int
    modified: datetime


class Storage:
    """Files below one root: a local folder or gs://bucket/prefix.

    Picklable; each process opens its own connection. Paths are relative to the
    root, use '/', and are made of UIDs, hashes and fixed names, never of user input.
    """

    def __init__(self, root: str) -> None:
        """Name the root; nothing is touched yet.

        Raises:
            StorageError: the scheme is neither gs:// nor a local path.
        """
        if root.startswith("gs://"):
            bucket, _, prefix = root[len("gs://") :].partition("/")
            if not bucket:
                raise StorageError(f"{root!r} names no bucket: use gs://bucket/prefix")
            self.is_local = False
            self.root = f"gs://{bucket}/{prefix.strip('/')}".rstrip("/")
        elif "://" in root and not root.startswith("file://"):
            scheme = root.partition("://")[0]
            raise StorageError(
                f"{scheme}:// is not supported: use a local folder or gs://bucket/prefix"
            )
        elif re.match(r"(?:gs|file|bq|duckdb|delta):(?!//)", root):
            # It would be a folder of that name.
            raise StorageError(
                f"{root!r} is no folder: use a local one or gs://bucket/prefix; tables are for "
                "exports to tables"
            )
        else:
            self.is_local = True
            self.root = os.path.abspath(root.removeprefix("file://"))
        self._store: ObjectStore | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"is_local": self.is_local, "root": self.root, "_store": None}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Storage) and other.root == self.root

    def __hash__(self) -> int:
        return hash(self.root)

    @property
    def store(self) -> ObjectStore:
        """The obstore object behind, made when first used; local folders are created."""
        if self._store is None:
            if self.is_local:
                self._store = LocalStore(self.root, mkdir=True)
            else:
                bucket, _, prefix = self.root[len("gs://") :].partition("/")
                self._store = gcs.bucket_store(bucket, prefix)
        return self._store

    def uri(self, path: str = "") -> str:
        """Absolute path or gs:// URI of something below the root."""
        return f"{self.root}/{path}" if path else self.root

    def below(self, path: str) -> "Storage":
        """The same storage, rooted deeper."""
        return Storage(self.uri(path))

    def read(self, path: str) -> bytes:
        """Return a whole file.

        Raises:
            FileNotFoundError: there is none.
        """
        try:
            return bytes(obstore.get(self.store, path).bytes())
        except _NOT_FOUND:
            raise FileNotFoundError(self.uri(path)) from None

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length); both must lie in the file."""
        if length == 0:
            return b""

        def read() -> bytes:
            try:
                content = bytes(obstore.get_range(self.store, path, start=offset, length=length))
            except _NOT_FOUND:
                raise FileNotFoundError(self.uri(path)) from None
            if len(content) != length:
                raise ShortReadError(f"{self.uri(path)}: {len(content)} bytes of {length}")
            return content

        return read() if self.is_local else with_retries(read)

    def head(self, path: str) -> Entry | None:
        """Size and time of a file, or None if there is none."""
        if self.is_local and not os.path.isdir(self.root):
            return None
        try:
            meta = obstore.head(self.store, path)
        except _NOT_FOUND:
            return None
        return Entry(path, meta["size"], meta["last_modified"])

    def create(self, path: str, data: bytes) -> bool:
        """Write a file unless it exists; return whether this call wrote it.

        In a bucket False may mean that it did, if the answer to its first try was lost: who must
        know has to read what is there.
        """
        try:
            obstore.put(self.store, path, data, mode="create")
        except (AlreadyExistsError, PreconditionError):
            return False
        return True

    def write(self, path: str, data: bytes | Iterable[bytes]) -> None:
        """Write a file, replacing an earlier one at once; nothing if the chunks break off."""
        if isinstance(data, bytes):
            obstore.put(self.store, path, data)
        elif self.is_local:
            with self._replacing(path) as temporary, open(temporary, "xb") as file:
                file.writelines(data)
        else:
            # Chunks that are themselves read through obstore must not be taken inside a put.
            with tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as spool:
                spool.writelines(data)
                spool.seek(0)
                obstore.put(self.store, path, spool)

    def chunks(self, path: str) -> Iterator[bytes]:
        """A file's bytes, 1 MiB at a time.

        Raises:
            FileNotFoundError: there is none.
        """
        if self.is_local:
            with open(os.path.join(self.root, path), "rb") as file:
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
            return
        try:
            yield from map(bytes, obstore.get(self.store, path).stream(_CHUNK_BYTES))
        except _NOT_FOUND:
            raise FileNotFoundError(self.uri(path)) from None

    @contextmanager
    def _replacing(self, path: str) -> Iterator[str]:
        """Yield a temporary name beside a local file, which then takes its place."""
        full = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        temporary = partial_name(full)
        try:
            yield temporary
            os.replace(temporary, full)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """Every file below a folder (no order), none if the folder does not exist."""
        if self.is_local and not os.path.isdir(os.path.join(self.root, prefix)):
            return

        def list_after(last: str | None) -> "Iterable[Sequence[ObjectMeta]]":
            return obstore.list(self.store, prefix or None, offset=last, chunk_size=1000)

        entries = itertools.chain.from_iterable(list_after(None))
        for meta in entries if self.is_local else list_with_resume(list_after):
            yield Entry(meta["path"], meta["size"], meta["last_modified"])

    def folders(self, prefix: str) -> Iterator[str]:
        """Names of the folders directly below one, sorted."""
        if self.is_local and not os.path.isdir(os.path.join(self.root, prefix)):
            return
        listing = with_retries(lambda: obstore.list_with_delimiter(self.store, prefix or None))
        for path in sorted(listing["common_prefixes"]):
            yield path.rstrip("/").rpartition("/")[2]

    def delete(self, paths: Iterable[str]) -> None:
        """Delete files; those already gone are no error."""
        for path in paths:
            try:
                obstore.delete(self.store, path)
            except _NOT_FOUND:
                continue

    def remove_all(self) -> None:
        """Delete everything below the root, the root itself last."""
        if self.is_local:
            if os.path.isdir(self.root):
                shutil.rmtree(self.root)
        else:
            self.delete(entry.path for entry in self.list())

    def sync(self, paths: Iterable[str]) -> None:
        """Make local files and their folders survive a power cut; buckets always do."""
        if not self.is_local:
            return
        folders = set()
        for path in paths:
            full = os.path.join(self.root, path)
            _sync(full, os.fdatasync)
            folders.add(os.path.dirname(full))
        for folder in sorted(folders):
            _sync(folder, os.fsync)

    def check_writable(self) -> None:
        """Find out before any work whether the root can be written as a store needs.

        Raises:
            StorageError: no folder, no permission, or a file system without the hard
                links that a create-only write takes.
        """
        if not self.is_local:
            return
        try:
            os.makedirs(self.root, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.root, prefix=".probe-") as file:
                link = f"{file.name}-link"
                os.link(file.name, link)
                os.unlink(link)
        except OSError as error:
            raise StorageError(
                f"{self.root} cannot hold a store ({error.strerror}): it must be a writable "
                "folder on a file system with hard links; name another with --root or "
                "DICOMFERRY_ROOT"
            ) from error


class StorageFile:
    """A file of a storage as a `dicomferry.dicom.range_reader.RangeReader`; a context manager."""

    def __init__(self, storage: Storage, path: str, size: int) -> None:
        """Name a file of known size; it is opened on entry."""
        self.size = size
        self._storage = storage
        self._path = path
        self._descriptor = -1

    def __enter__(self) -> "StorageFile":
        if self._storage.is_local:
            self._descriptor = os.open(os.path.join(self._storage.root, self._path), os.O_RDONLY)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer at the end of the file."""
        length = max(min(length, self.size - offset), 0)
        if self._descriptor >= 0:
            return os.pread(self._descriptor, length, offset)
        return self._storage.read_range(self._path, offset, length)


def _sync(path: str, sync: Callable[[int], None]) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)
