"""The DicomStore resource: create, read, list, update and delete.

A version of the resource (`resource_versions`) names the data folder. The highest version of a
deleted store marks it as deleted; a store recreated later has another data folder and never sees
old data.
"""

import json
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple

from dicomferry.resource_names import DatasetName, StoreName, parse_store
from dicomferry.storage.base import Storage
from dicomferry.store.formats import FORMAT, StoreFormatError, check_format, format_of
from dicomferry.store.index import add_columns, create_index
from dicomferry.store.resource_versions import MAX_ATTEMPTS, highest, write_version
from dicomferry.store.sources_table import create_known_sources
from dicomferry.store.validation import check_new_id, check_resource

# A resource as proto JSON: camelCase keys, as the API shows it.
Resource = dict[str, Any]


class StoreNotFoundError(LookupError):
    """There is no such DICOM store."""


class StoreExistsError(ValueError):
    """A DICOM store of that name exists already."""


class StoreBusyError(RuntimeError):
    """Other writers changed the resource first, at every attempt."""


class DicomStore(NamedTuple):
    """One version of a store's resource.

    Attributes:
        name: full resource name.
        resource: the DicomStore message as proto JSON.
        data: storage rooted at the store's data folder.
        version: n of resource/{n}.json.
        format: of its data; a later one than `FORMAT` can be listed, and nothing else.
    """

    name: StoreName
    resource: Resource
    data: Storage
    version: int
    format: int


def create_store(root: Storage, name: StoreName, resource: Resource | None = None) -> DicomStore:
    """Create a store.

    Raises:
        StoreExistsError: the name is taken.
        ResourceError: the id or the resource breaks a rule.
        StorageError: the root cannot hold a store.
    """
    resource = {**(resource or {}), "name": str(name)}
    check_new_id(name.id)
    check_resource(resource)
    root.check_delta()
    root.check_writable()
    for _ in range(MAX_ATTEMPTS):
        latest, record = _latest(root, name)
        if record and not record["deleted"]:
            break
        record = {
            "format": FORMAT,
            "dicomStore": resource,
            "dataFolder": secrets.token_hex(8),
            "deleted": False,
        }
        data = root.subfolder(f"{name.folder}/data/{record['dataFolder']}")
        create_index(data)
        create_known_sources(data)
        if write_version(root, name.folder, latest + 1, record):
            return get_store(root, name)
    raise StoreExistsError(f"{name} exists already")


def get_store(root: Storage, name: StoreName) -> DicomStore:
    """Return the newest version of a store's resource.

    Raises:
        StoreNotFoundError: it was never created, or is deleted.
    """
    version, record = _latest(root, name)
    if not record or record["deleted"]:
        raise StoreNotFoundError(
            f"{name} does not exist under {root.root}; "
            f"`dicomferry stores create {name.id}` makes it, `dicomferry stores list` shows others"
        )
    return _store(root, name, version, record)


def find_store(root: Storage, name: StoreName) -> DicomStore | None:
    """Return the newest version of a store's resource; None if there is no such store."""
    try:
        return get_store(root, name)
    except StoreNotFoundError:
        return None


def store_in(root: Storage, folder: str) -> DicomStore | None:
    """Return the store in a folder below the root; None if it is deleted."""
    version, record = highest(root, folder)
    if not record or record["deleted"]:
        return None
    resource = record["dicomStore"]
    data = root.subfolder(f"{folder}/data/{record['dataFolder']}")
    return DicomStore(parse_store(resource["name"]), resource, data, version, format_of(record))


def list_stores(root: Storage, parent: DatasetName, after: str = "") -> Iterator[DicomStore]:
    """Yield the stores of a dataset whose ids come after another, in the order of their ids."""
    folder = f"{parent.folder}/dicomStores"
    stores = []
    for store_folder in root.folders(folder):
        version, record = highest(root, f"{folder}/{store_folder}")
        if record and not record["deleted"]:
            name = parse_store(record["dicomStore"]["name"])
            if name.id > after:
                stores.append(_store(root, name, version, record))
    # The order of folders is not that of ids: names can be hashes of ids.
    yield from sorted(stores, key=lambda store: store.name)


def update_store(
    root: Storage, name: StoreName, change: Callable[[Resource], Resource]
) -> DicomStore:
    """Apply a change to the newest version, again whenever another writer was faster.

    Raises:
        StoreNotFoundError: there is no such store.
        ResourceError: the changed resource breaks a rule of the reference.
        StoreBusyError: other writers were faster, at every attempt.
    """
    for _ in range(MAX_ATTEMPTS):
        version, record = _latest(root, name)
        if not record or record["deleted"]:
            break
        resource = {**change(dict(record["dicomStore"])), "name": str(name)}
        check_resource(resource)
        if write_version(root, name.folder, version + 1, {**record, "dicomStore": resource}):
            return get_store(root, name)
    else:
        raise _too_busy(name)
    return get_store(root, name)  # raises StoreNotFoundError


def upgrade_store(root: Storage, name: StoreName) -> DicomStore:
    """Bring a store to the newest format, with all columns of the index.

    Jobs of earlier versions of the software must have ended.

    Raises:
        StoreNotFoundError: there is no such store.
        StoreFormatError: it is of a later format.
        StoreBusyError: other writers were faster, at every attempt.
    """
    for _ in range(MAX_ATTEMPTS):
        store = get_store(root, name)
        version, record = _latest(root, name)
        add_columns(store.data)
        if store.format == FORMAT:
            return store
        if record and write_version(root, name.folder, version + 1, {**record, "format": FORMAT}):
            return get_store(root, name)
    raise _too_busy(name)


def mark_deleted(root: Storage, name: StoreName) -> None:
    """Delete a store for readers; its data is left to `deletion`.

    Raises:
        StoreNotFoundError: there is no such store.
        StoreBusyError: other writers were faster, at every attempt.
    """
    for _ in range(MAX_ATTEMPTS):
        version, record = _latest(root, name)
        if not record or record["deleted"]:
            get_store(root, name)  # raises StoreNotFoundError
        if write_version(root, name.folder, version + 1, {**(record or {}), "deleted": True}):
            return
    raise _too_busy(name)


def deleted_data(root: Storage, name: StoreName) -> list[Storage]:
    """Return the data folders of all deleted stores of a name, whether or not they are empty."""
    return _deleted_data(root, name.folder)


def all_deleted_data(root: Storage, parent: DatasetName) -> Iterator[Storage]:
    """Yield the data folders of all deleted stores of a dataset, whether or not they are empty."""
    folder = f"{parent.folder}/dicomStores"
    folders = [f"{folder}/{each}" for each in root.folders(folder)]
    with ThreadPoolExecutor(root.capabilities.concurrency) as threads:
        for data in threads.map(lambda each: _deleted_data_if_known(root, each), folders):
            yield from data


def _deleted_data_if_known(root: Storage, folder: str) -> list[Storage]:
    try:
        return _deleted_data(root, folder)
    except StoreFormatError:  # the software that wrote it has to look
        return []


def _deleted_data(root: Storage, folder: str) -> list[Storage]:
    store = store_in(root, folder)
    folders = set()
    for entry in root.list(f"{folder}/resource"):
        with suppress(ValueError):  # a power cut left it: it never counted
            folders.add(json.loads(root.read(entry.path))["dataFolder"])
    data = [root.subfolder(f"{folder}/data/{each}") for each in sorted(folders) if each]
    return [each for each in data if store is None or each != store.data]


def _too_busy(name: StoreName) -> StoreBusyError:
    return StoreBusyError(f"{name} was changed {MAX_ATTEMPTS} times meanwhile; try again")


def _store(root: Storage, name: StoreName, version: int, record: dict[str, Any]) -> DicomStore:
    data = root.subfolder(f"{name.folder}/data/{record['dataFolder']}")
    return DicomStore(name, record["dicomStore"], data, version, format_of(record))


def _latest(root: Storage, name: StoreName) -> tuple[int, dict[str, Any] | None]:
    """Return the highest version and its record.

    Raises:
        StoreFormatError: a later version of the software wrote it.
    """
    version, record = highest(root, name.folder)
    if record and not record["deleted"]:
        check_format(format_of(record), name)
    return version, record
