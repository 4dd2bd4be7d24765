"""Permission that each method requires, as in the API reference."""

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
