"""The Dataset resource: create, read, list and update.

A dataset that was never created exists as long as it has a store: stores can be created in any.
"""

import re
import zoneinfo
from collections.abc import Callable, Iterator
from typing import Any

from dicomferry.resource_names import DatasetName, LocationName, id_folder
from dicomferry.storage.base import Storage
from dicomferry.store.dicom_store import Resource, store_in
from dicomferry.store.resource_versions import MAX_ATTEMPTS, highest, write_version
from dicomferry.store.validation import ResourceError

_NEW_ID = re.compile(r"[\w.-]{1,256}")


class DatasetNotFoundError(LookupError):
    """There is no such dataset."""


class DatasetExistsError(ValueError):
    """A dataset of that name exists already."""


class DatasetBusyError(RuntimeError):
    """Other writers changed the resource first, at every attempt."""


def create_dataset(root: Storage, name: DatasetName, resource: Resource) -> Resource:
    """Create a dataset; return its resource.

    Raises:
        DatasetExistsError: the name is taken.
        ResourceError: the id or the resource breaks a rule of the reference.
    """
    _check_new_id(name.dataset)
    resource = {**resource, "name": str(name)}
    _check_resource(resource)
    root.check_writable()
    for _ in range(MAX_ATTEMPTS):
        version, found = _newest(root, name)
        if found is not None:
            break
        if _write(root, name, version + 1, resource):
            return resource
    raise DatasetExistsError(f"{name} exists already")


def get_dataset(root: Storage, name: DatasetName) -> Resource:
    """Return a dataset's resource.

    Raises:
        DatasetNotFoundError: there is no such dataset.
    """
    found = find_dataset(root, name)
    if found is None:
        raise DatasetNotFoundError(f"{name} does not exist")
    return found


def find_dataset(root: Storage, name: DatasetName) -> Resource | None:
    """Return a dataset's resource; None if there is no such dataset."""
    return _newest(root, name)[1]


def list_datasets(root: Storage, parent: LocationName, after: str = "") -> Iterator[Resource]:
    """Yield the datasets of a location whose ids come after another, in the order of their ids."""
    names = [name for name in dataset_names(root, parent.datasets_folder) if name.dataset > after]
    for name in sorted(names):
        if (found := find_dataset(root, name)) is not None:
            yield found


def dataset_names(root: Storage, folder: str) -> Iterator[DatasetName]:
    """Yield the names of the datasets that have a folder in one, whether or not they exist."""
    for each in root.folders(folder):
        plain = DatasetName(*f"{folder}/{each}".split("/")[1::2])
        if all(id_folder(part) == part for part in plain):
            yield plain
        elif name := _name_of_hash(root, f"{folder}/{each}"):
            yield name


def update_dataset(
    root: Storage, name: DatasetName, change: Callable[[Resource], Resource]
) -> Resource:
    """Apply a change to the newest version, again whenever another writer was faster.

    Raises:
        DatasetNotFoundError: there is no such dataset.
        ResourceError: the changed resource breaks a rule of the reference.
        DatasetBusyError: other writers were faster, at every attempt.
    """
    for _ in range(MAX_ATTEMPTS):
        version, found = _newest(root, name)
        if found is None:
            break
        resource = {**change(dict(found)), "name": str(name)}
        _check_resource(resource)
        if _write(root, name, version + 1, resource):
            return resource
    else:
        raise DatasetBusyError(f"{name} was changed {MAX_ATTEMPTS} times meanwhile; try again")
    return get_dataset(root, name)  # raises DatasetNotFoundError


def mark_dataset_deleted(root: Storage, name: DatasetName) -> None:
    """Delete the resource of a dataset, whose stores are deleted already."""
    for _ in range(MAX_ATTEMPTS):
        version, record = highest(root, name.folder)
        if record is None or record["deleted"]:
            return
        if write_version(root, name.folder, version + 1, {**record, "deleted": True}):
            return
    raise DatasetBusyError(f"{name} was changed {MAX_ATTEMPTS} times meanwhile; try again")


def _newest(root: Storage, name: DatasetName) -> tuple[int, Resource | None]:
    """Return the newest version and its resource; None if the dataset does not exist."""
    version, record = highest(root, name.folder)
    if record and not record["deleted"]:
        return version, record["dataset"]
    folder = f"{name.folder}/dicomStores"
    if any(store_in(root, f"{folder}/{each}") for each in root.folders(folder)):
        return version, {"name": str(name)}
    return version, None


def _name_of_hash(root: Storage, folder: str) -> DatasetName | None:
    """Return the name of a dataset whose folder is a hash of it; None if nothing in it tells."""
    _, record = highest(root, folder)
    if record:
        return DatasetName(*record["dataset"]["name"].split("/")[1::2])
    for each in root.folders(f"{folder}/dicomStores"):
        if store := store_in(root, f"{folder}/dicomStores/{each}"):
            return store.name.parent
    return None


def _write(root: Storage, name: DatasetName, version: int, resource: Resource) -> bool:
    return write_version(root, name.folder, version, {"dataset": resource, "deleted": False})


def _check_new_id(dataset_id: str) -> None:
    if not _NEW_ID.fullmatch(dataset_id):
        raise ResourceError("the id of a dataset has 1 to 256 letters, digits, '_', '-' or '.'")


def _check_resource(resource: dict[str, Any]) -> None:
    if "encryptionSpec" in resource:
        raise ResourceError(
            "encryption_spec: this service does not encrypt with customer-managed keys; leave "
            "it out, and encrypt the disk or the bucket instead"
        )
    zone = resource.get("timeZone", "")
    if zone and zone not in zoneinfo.available_timezones():
        raise ResourceError(
            "time_zone must be a name of the IANA database, such as America/New_York, or empty"
        )
