"""Datasets and their stores, a page at a time."""

from collections.abc import Iterator
from typing import NamedTuple

from dicomferry.api.access import Principal
from dicomferry.resource_names import DatasetName
from dicomferry.storage.base import Storage
from dicomferry.store.dataset import dataset_names
from dicomferry.store.dicom_store import DicomStore, store_in

STORES_PAGE = 48
# A caller with few permissions must not make the server read everything for one page.
_MAX_LOOKED_AT = 500


class StoresPage(NamedTuple):
    """Some stores, and where the next page starts; '' at the end."""

    stores: list[DicomStore]
    after: str


def datasets(root: Storage, principal: Principal) -> list[DatasetName]:
    """Return the datasets with something that a principal may see; the local default first."""
    names = [name for name in _datasets(root) if principal.may_see_below(str(name))]
    return sorted(names, key=lambda name: (name != DatasetName(), name))


def page_of_stores(
    root: Storage, parent: DatasetName, principal: Principal, after: str
) -> StoresPage:
    """Return stores that a principal may see, in the order of their folders."""
    folder = f"{parent.folder}/dicomStores"
    may_list = principal.may("healthcare.dicomStores.list", str(parent))
    names = [name for name in root.folders(folder) if name > after]
    stores: list[DicomStore] = []
    for looked_at, name in enumerate(names):
        if len(stores) == STORES_PAGE or looked_at == _MAX_LOOKED_AT:
            return StoresPage(stores, names[looked_at - 1])
        store = store_in(root, f"{folder}/{name}")
        if store and (may_list or principal.may("healthcare.dicomStores.get", str(store.name))):
            stores.append(store)
    return StoresPage(stores, "")


def _datasets(root: Storage) -> Iterator[DatasetName]:
    for project in root.folders("projects"):
        for location in root.folders(f"projects/{project}/locations"):
            yield from dataset_names(root, f"projects/{project}/locations/{location}/datasets")
