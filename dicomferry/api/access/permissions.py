"""Permission that each method requires, as in the API reference."""

from dicomferry.resource_names import DatasetName, StoreName

METHOD_PERMISSIONS = {
    "CreateDataset": "healthcare.datasets.create",
    "GetDataset": "healthcare.datasets.get",
    "ListDatasets": "healthcare.datasets.list",
    "UpdateDataset": "healthcare.datasets.update",
    "DeleteDataset": "healthcare.datasets.delete",
    "CreateDicomStore": "healthcare.dicomStores.create",
    "GetDicomStore": "healthcare.dicomStores.get",
    "ListDicomStores": "healthcare.dicomStores.list",
    "UpdateDicomStore": "healthcare.dicomStores.update",
    "DeleteDicomStore": "healthcare.dicomStores.delete",
    "ImportDicomData": "healthcare.dicomStores.import",
    "ExportDicomData": "healthcare.dicomStores.export",
    "GetDicomStoreMetrics": "healthcare.dicomStores.get",
    "ListOperations": "healthcare.operations.list",
    "GetOperation": "healthcare.operations.get",
    "WaitOperation": "healthcare.operations.get",
    "CancelOperation": "healthcare.operations.cancel",
}

# Fields of a DicomStore that send what is imported elsewhere, and what setting one needs as well.
DELIVERIES = ("stream_configs", "notification_config", "notification_configs")
DELIVERY_PERMISSION = METHOD_PERMISSIONS["ExportDicomData"]

# Those of a method that is for datasets and for stores. Every caller may ask what itself may.
POLICY_PERMISSIONS: dict[str, dict[type, str]] = {
    "GetIamPolicy": {
        DatasetName: "healthcare.datasets.getIamPolicy",
        StoreName: "healthcare.dicomStores.getIamPolicy",
    },
    "TestIamPermissions": {},
    "SetIamPolicy": {},  # refused
}


def permissions_of_methods() -> dict[str, tuple[str, ...]]:
    """Return the permissions of every method: one of them is needed, by the kind of resource."""
    return {
        **{method: (permission,) for method, permission in METHOD_PERMISSIONS.items()},
        **{method: tuple(by_kind.values()) for method, by_kind in POLICY_PERMISSIONS.items()},
    }
