"""Who may do what, and which paths the API may touch.

An `Authenticator` turns the Authorization header of a request into a `Principal`, whose `require`
every method calls with the reference's permission before it looks whether a resource exists:

    method                        permission                      resources
    CreateDicomStore              healthcare.dicomStores.create   the dataset, the new store's name
    ListDicomStores               healthcare.dicomStores.list     the dataset
    Get…, GetDicomStoreMetrics    healthcare.dicomStores.get      the store
    Update…, DeleteDicomStore     …update, …delete                the store
    Import…, ExportDicomData      …import, …export                the store
    operations get, wait, cancel  healthcare.operations.get, …    the operation, and its store
    operations list               healthcare.operations.list      the dataset
    pictures of the console       …dicomStores.dicomWebRead       the store

Where two resources stand, a grant on one of them is enough.
"""

from dicomferry.api.access.path_rules import PathRules
from dicomferry.api.access.principal import (
    ALL_PERMISSIONS,
    ANYONE,
    Authenticator,
    Grant,
    NoLogin,
    Principal,
)
from dicomferry.api.access.token_file import AuthFileError, TokenFile, make_token

__all__ = [
    "ALL_PERMISSIONS",
    "ANYONE",
    "AuthFileError",
    "Authenticator",
    "Grant",
    "NoLogin",
    "PathRules",
    "Principal",
    "TokenFile",
    "make_token",
]
