"""Permissions of callers.

An `Authenticator` turns the Authorization header of a request into a `Principal`. Every
method calls its `require`, with the permission that the API reference names, before it looks up a
resource:

    method                        permission                      resources
    CreateDataset                 healthcare.datasets.create      the location, the new name
    ListDatasets                  healthcare.datasets.list        the location
    Get…, Update…, DeleteDataset  healthcare.datasets.get, …      the dataset
    CreateDicomStore              healthcare.dicomStores.create   the dataset, the new store's name
    ListDicomStores               healthcare.dicomStores.list     the dataset
    Get…, GetDicomStoreMetrics    healthcare.dicomStores.get      the store
    Update…, DeleteDicomStore     …update, …delete                the store
    Import…, ExportDicomData      …import, …export                the store
    GetIamPolicy                  ….getIamPolicy                  the dataset or the store
    operations get, wait, cancel  healthcare.operations.get, …    the operation, and its store
    operations list               healthcare.operations.list      the dataset
    pictures of the console       …dicomStores.dicomWebRead       the store
    patient data in the console   …dicomStores.viewPatientData    the store; no pattern covers it

Where there are two resources, a grant on one of them is enough. To set `stream_configs`,
`notification_config` or `notification_configs`, which send what is imported elsewhere, …export on
the store is needed too. `dicomferry.places` says which places a request may name.
"""

from dicomferry.api.access.oidc import OidcLogin, OidcSettings
from dicomferry.api.access.principal import (
    ALL_PERMISSIONS,
    ANYONE,
    SEE_IMAGES,
    VIEW_PATIENT_DATA,
    Authenticator,
    Grant,
    NoLogin,
    Principal,
)
from dicomferry.api.access.token_file import AuthFileError, TokenFile, make_token

__all__ = [
    "ALL_PERMISSIONS",
    "ANYONE",
    "SEE_IMAGES",
    "VIEW_PATIENT_DATA",
    "AuthFileError",
    "Authenticator",
    "Grant",
    "NoLogin",
    "OidcLogin",
    "OidcSettings",
    "Principal",
    "TokenFile",
    "make_token",
]
