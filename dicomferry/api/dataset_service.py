"""google.cloud.healthcare.v1.dataset.DatasetService: the handlers of its methods."""

from typing import Any

from google.protobuf import empty_pb2

from dicomferry.api import resources
from dicomferry.api.access import Principal
from dicomferry.api.access.permissions import METHOD_PERMISSIONS
from dicomferry.api.error_translation import translate_store_errors
from dicomferry.api.field_mask import apply_mask
from dicomferry.api.paging import last_of_page_before, next_page_token, page_size
from dicomferry.api.proto.generated import dataset_service_pb2 as pb
from dicomferry.api.request_fields import dataset_name, location_name
from dicomferry.jobs import launch
from dicomferry.jobs.launch import JobRunner
from dicomferry.operations.asked import asked_by
from dicomferry.operations.folder import OperationFolder, new_operation_id
from dicomferry.operations.record import Method
from dicomferry.resource_names import StoreName
from dicomferry.storage.base import Storage
from dicomferry.store import dataset, dicom_store
from dicomferry.store.dicom_store import Resource
from dicomferry.store.formats import check_format


class DatasetService:
    """One method per rpc: takes its request, returns its response or raises an ApiError."""

    def __init__(self, root: Storage, runner: JobRunner | None = None, url: str = "") -> None:
        """Serve the datasets below a root.

        Args:
            root: where stores are.
            runner: where deletions run; default: as processes on this machine, any number at once.
            url: of the server, for links to its page.
        """
        self._root = root
        self._url = url
        self._runner = runner or JobRunner()

    def create_dataset(self, request: Any, principal: Principal) -> Any:
        """Create a dataset; the operation has ended."""
        parent = location_name(request.parent)
        name = dataset_name(f"{parent}/datasets/{request.dataset_id}")
        principal.require(METHOD_PERMISSIONS["CreateDataset"], str(parent), str(name))
        with translate_store_errors(name):
            made = dataset.create_dataset(
                self._root, name, resources.dataset_resource(request.dataset)
            )
        folder = OperationFolder(self._root, name, new_operation_id())
        asked = asked_by(principal.name)
        record = folder.record_ended(StoreName(name, ""), Method.CREATE_DATASET, asked, made)
        return resources.operation_message(record, self._url)

    def get_dataset(self, request: Any, principal: Principal) -> Any:
        """Return a dataset's resource."""
        name = dataset_name(request.name)
        principal.require(METHOD_PERMISSIONS["GetDataset"], str(name))
        with translate_store_errors(name):
            return resources.dataset_message(dataset.get_dataset(self._root, name))

    def list_datasets(self, request: Any, principal: Principal) -> Any:
        """Return a page of a location's datasets, by name."""
        parent = location_name(request.parent)
        principal.require(METHOD_PERMISSIONS["ListDatasets"], str(parent))
        size = page_size(request.page_size)
        scope = ("ListDatasets", str(parent))
        after = last_of_page_before(request.page_token, *scope)
        response = pb.ListDatasetsResponse()
        for resource in dataset.list_datasets(self._root, parent, after):
            if len(response.datasets) == size:
                last = dataset_name(response.datasets[-1].name).dataset
                response.next_page_token = next_page_token(last, *scope)
                break
            response.datasets.append(resources.dataset_message(resource))
        return response

    def update_dataset(self, request: Any, principal: Principal) -> Any:
        """Change the fields that the mask names."""
        given, paths = request.dataset, request.update_mask.paths
        name = dataset_name(given.name)
        principal.require(METHOD_PERMISSIONS["UpdateDataset"], str(name))
        apply_mask(paths, given, pb.Dataset())  # refused before the dataset is read

        def change(resource: Resource) -> Resource:
            changed = resources.dataset_message(resource)
            apply_mask(paths, given, changed)
            return resources.dataset_resource(changed)

        with translate_store_errors(name):
            return resources.dataset_message(dataset.update_dataset(self._root, name, change))

    def delete_dataset(self, request: Any, principal: Principal) -> Any:
        """Delete a dataset with its stores; one that breaks off goes on when it is called again."""
        name = dataset_name(request.name)
        principal.require(METHOD_PERMISSIONS["DeleteDataset"], str(name))
        with translate_store_errors(name):
            dataset.get_dataset(self._root, name)
            stores = list(dicom_store.list_stores(self._root, name))
            for store in stores:
                check_format(store.format, store.name)
        for store in stores:
            with translate_store_errors(store.name):
                launch.start_deletion(self._root, store.name, self._runner, principal.name)
        with translate_store_errors(name):
            dataset.mark_dataset_deleted(self._root, name)
        return empty_pb2.Empty()
