"""Resource names of the API, and their folders."""

import hashlib
import re
import unicodedata
from typing import NamedTuple

_PLAIN_ID = re.compile(r"[a-z0-9_-]{1,64}")
_STORE_NAME = re.compile(r"projects/([^/]+)/locations/([^/]+)/datasets/([^/]+)/dicomStores/([^/]+)")
_DATASET_NAME = re.compile(r"projects/([^/]+)/locations/([^/]+)/datasets/([^/]+)")
_LOCATION_NAME = re.compile(r"projects/([^/]+)/locations/([^/]+)")
_MAX_ID_CHARACTERS = 256
# Below a data folder; a store exists as long as its index does.
INDEX_FOLDER = "index"


class ResourceNameError(ValueError):
    """A malformed resource name; the message shows the right form."""


class LocationName(NamedTuple):
    """projects/{project}/locations/{location}."""

    project: str
    location: str

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}"

    @property
    def datasets_folder(self) -> str:
        """The folder of its datasets below the root."""
        return f"projects/{id_folder(self.project)}/locations/{id_folder(self.location)}/datasets"


class DatasetName(NamedTuple):
    """projects/{project}/locations/{location}/datasets/{dataset}."""

    project: str = "local"
    location: str = "local"
    dataset: str = "default"

    def __str__(self) -> str:
        return f"projects/{self.project}/locations/{self.location}/datasets/{self.dataset}"

    @property
    def folder(self) -> str:
        """The dataset's folder below the root."""
        return f"{self.parent.datasets_folder}/{id_folder(self.dataset)}"

    @property
    def parent(self) -> LocationName:
        """The location that it is in."""
        return LocationName(self.project, self.location)


class StoreName(NamedTuple):
    """A dataset's name and the DICOM store's id in it."""

    parent: DatasetName
    id: str

    def __str__(self) -> str:
        return f"{self.parent}/dicomStores/{self.id}"

    @property
    def folder(self) -> str:
        """The store's folder below the root."""
        return f"{self.parent.folder}/dicomStores/{id_folder(self.id)}"


def parse_store(text: str) -> StoreName:
    """Parse a full resource name, or a short id in the local default dataset.

    Raises:
        ResourceNameError: it is neither; an id cannot have a '/'.
    """
    if match := _STORE_NAME.fullmatch(text):
        *parent, store_id = match.groups()
        return StoreName(DatasetName(*map(_checked, parent)), _checked(store_id))
    if "/" in text:
        raise ResourceNameError(
            f"{text!r} is not the name of a DICOM store: use an id without '/', or "
            "projects/P/locations/L/datasets/D/dicomStores/ID"
        )
    return StoreName(DatasetName(), _checked(text))


def parse_dataset(text: str) -> DatasetName:
    """Parse the full name of a dataset; '' is the local default.

    Raises:
        ResourceNameError: it is not of the form projects/P/locations/L/datasets/D.
    """
    if not text:
        return DatasetName()
    if match := _DATASET_NAME.fullmatch(text):
        return DatasetName(*map(_checked, match.groups()))
    raise ResourceNameError(f"{text!r} is not a dataset: use projects/P/locations/L/datasets/D")


def parse_location(text: str) -> LocationName:
    """Parse the full name of a location.

    Raises:
        ResourceNameError: it is not of the form projects/P/locations/L.
    """
    if match := _LOCATION_NAME.fullmatch(text):
        return LocationName(*map(_checked, match.groups()))
    raise ResourceNameError(f"{text!r} is not a location: use projects/P/locations/L")


def id_folder(resource_id: str) -> str:
    """Return the folder of an id: the id if it is plain, else '~' and a hash.

    Ids can have 256 characters of any kind, while names on ext4 have at most 255 bytes and macOS
    folds case. The JSON of the resource has the id itself.
    """
    if _PLAIN_ID.fullmatch(resource_id):
        return resource_id
    return "~" + hashlib.sha256(resource_id.encode()).hexdigest()[:40]


def _checked(resource_id: str) -> str:
    if not resource_id or len(resource_id) > _MAX_ID_CHARACTERS:
        raise ResourceNameError(
            f"an id has 1 to {_MAX_ID_CHARACTERS} characters, got {len(resource_id)}"
        )
    try:
        resource_id.encode()
    except UnicodeEncodeError:
        raise ResourceNameError("an id must be valid Unicode text") from None
    if any(unicodedata.category(character) == "Cc" for character in resource_id):
        raise ResourceNameError("an id has no control characters")
    return resource_id
