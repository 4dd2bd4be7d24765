"""google.cloud.healthcare.v1.dicom.DicomService: the handlers of its methods."""

from typing import Any

from google.protobuf import empty_pb2
from google.rpc.code_pb2 import (
    INVALID_ARGUMENT,
    UNIMPLEMENTED,
)

from dicomferry.api import resources
from dicomferry.api.access import Principal
from dicomferry.api.access.permissions import METHOD_PERMISSIONS
from dicomferry.api.deliveries import check_deliveries
from dicomferry.api.error_translation import (
    translate_job_errors,
    translate_place_errors,
    translate_store_errors,
)
from dicomferry.api.errors import ApiError
from dicomferry.api.field_mask import apply_mask
from dicomferry.api.job_requests import export_request, import_request
from dicomferry.api.label_filter import parse_filter
from dicomferry.api.paging import last_of_page_before, next_page_token, page_size
from dicomferry.api.proto.generated import dicom_service_pb2 as pb
from dicomferry.api.request_fields import dataset_name, store_name
from dicomferry.jobs import launch
from dicomferry.jobs.launch import JobRunner
from dicomferry.places import Access, PlaceRules
from dicomferry.resource_names import StoreName
from dicomferry.storage.base import Storage
from dicomferry.storage.failures import storage_errors
from dicomferry.store import dicom_store, maintenance
from dicomferry.store.dicom_store import Resource
from dicomferry.tables.destination import kind_of


class DicomService:
    """One method per rpc: takes its request, returns its response or raises an ApiError."""

    def __init__(
        self,
        root: Storage,
        rules: PlaceRules,
        runner: JobRunner | None = None,
        url: str = "",
    ) -> None:
        """Serve the stores below a root.

        Args:
            root: where stores are.
            rules: for the places that requests name.
            runner: where jobs run; default: as processes on this machine, any number at once.
            url: of the server, for links to its page.
        """
        self._root = root
        self._rules = rules
        self._runner = runner or JobRunner()
        self._url = url

    def create_dicom_store(self, request: Any, principal: Principal) -> Any:
        """Create a store."""
        name = store_name(f"{dataset_name(request.parent)}/dicomStores/{request.dicom_store_id}")
        principal.require(METHOD_PERMISSIONS["CreateDicomStore"], request.parent, str(name))
        check_deliveries(request.dicom_store, None, principal, self._rules, str(name))
        with translate_store_errors(name):
            made = dicom_store.create_store(
                self._root, name, resources.store_resource(request.dicom_store)
            )
        return resources.store_message(made.resource)

    def get_dicom_store(self, request: Any, principal: Principal) -> Any:
        """Return a store's resource."""
        name = store_name(request.name)
        principal.require(METHOD_PERMISSIONS["GetDicomStore"], str(name))
        return resources.store_message(self._store(name).resource)

    def list_dicom_stores(self, request: Any, principal: Principal) -> Any:
        """Return a page of the stores that match the filter, by name."""
        parent = dataset_name(request.parent)
        principal.require(METHOD_PERMISSIONS["ListDicomStores"], str(parent))
        size = page_size(request.page_size)
        label_filter = parse_filter(request.filter)
        scope = ("ListDicomStores", str(parent), request.filter)
        after = last_of_page_before(request.page_token, *scope)
        page: list[dicom_store.DicomStore] = []
        for store in dicom_store.list_stores(self._root, parent, after):
            if not label_filter.matches(store.resource.get("labels", {})):
                continue
            if len(page) == size:
                token = next_page_token(page[-1].name.id, *scope)
                break
            page.append(store)
        else:
            token = ""
        return pb.ListDicomStoresResponse(
            dicom_stores=[resources.store_message(store.resource) for store in page],
            next_page_token=token,
        )

    def update_dicom_store(self, request: Any, principal: Principal) -> Any:
        """Change the fields that the mask names."""
        given, paths = request.dicom_store, request.update_mask.paths
        name = store_name(given.name)
        principal.require(METHOD_PERMISSIONS["UpdateDicomStore"], str(name))
        apply_mask(paths, given, pb.DicomStore())  # refused before the store is read
        check_deliveries(given, paths, principal, self._rules, str(name))

        def change(resource: Resource) -> Resource:
            changed = resources.store_message(resource)
            apply_mask(paths, given, changed)
            return resources.store_resource(changed)

        with translate_store_errors(name):
            updated = dicom_store.update_store(self._root, name, change)
        return resources.store_message(updated.resource)

    def delete_dicom_store(self, request: Any, principal: Principal) -> Any:
        """Delete a store and all of its data."""
        name = store_name(request.name)
        principal.require(METHOD_PERMISSIONS["DeleteDicomStore"], str(name))
        with translate_store_errors(name):
            launch.start_deletion(self._root, name, self._runner, principal.name)
        return empty_pb2.Empty()

    def get_dicom_store_metrics(self, request: Any, principal: Principal) -> Any:
        """Count the studies, series, instances and bytes of a store."""
        name = store_name(request.name)
        principal.require(METHOD_PERMISSIONS["GetDicomStoreMetrics"], str(name))
        store = self._store(name)
        try:
            counts = maintenance.metrics(store)
        except storage_errors():
            self._store(name)  # raises if it was deleted meanwhile
            raise
        numbers = {field: int(count) for field, count in counts.items() if field != "name"}
        fields = pb.DicomStoreMetrics.DESCRIPTOR.fields_by_camelcase_name
        return pb.DicomStoreMetrics(
            name=str(name), **{fields[key].name: number for key, number in numbers.items()}
        )

    def import_dicom_data(self, request: Any, principal: Principal) -> Any:
        """Start an import."""
        name = store_name(request.name)
        principal.require(METHOD_PERMISSIONS["ImportDicomData"], str(name))
        if not request.gcs_source.uri:
            raise ApiError(
                INVALID_ARGUMENT, "gcs_source.uri is required: it names the files to import"
            )
        if request.blob_storage_settings.blob_storage_class > pb.BlobStorageSettings.STANDARD:
            raise ApiError(
                UNIMPLEMENTED,
                "blob_storage_settings: this service keeps all instances in one storage class; "
                "leave it out, or give STANDARD",
            )
        self._store(name)
        if kind_of(request.gcs_source.uri):
            raise ApiError(
                INVALID_ARGUMENT, "gcs_source.uri names a table: name files, as gs://bucket/dir/**"
            )
        rules = self._rules.also(principal.bounds)
        with translate_place_errors():
            rules.check(request.gcs_source.uri, Access.READ)
        # The caller does not choose where the store's streams and topics are.
        bounds = rules.bounds._replace(write=self._rules.bounds.write)
        with translate_job_errors():
            job = import_request(request, name, self._root, bounds)
            started = launch.start(job, self._runner, principal.name)
            return resources.operation_message(started.read(), self._url)

    def export_dicom_data(self, request: Any, principal: Principal) -> Any:
        """Start an export to files or to a table."""
        name = store_name(request.name)
        principal.require(METHOD_PERMISSIONS["ExportDicomData"], str(name))
        destination = request.gcs_destination.uri_prefix or request.bigquery_destination.table_uri
        if not destination:
            raise ApiError(
                INVALID_ARGUMENT,
                "gcs_destination.uri_prefix or bigquery_destination.table_uri is required",
            )
        self._store(name)
        rules = self._rules.also(principal.bounds)
        with translate_place_errors():
            rules.check(destination, Access.WRITE)
            if filter_uri := request.filter_config.resource_paths_gcs_uri:
                rules.check(filter_uri, Access.READ)
        with translate_job_errors():
            job = export_request(request, name, self._root, rules)
            started = launch.start(job, self._runner, principal.name)
            return resources.operation_message(started.read(), self._url)

    def _store(self, name: StoreName) -> dicom_store.DicomStore:
        with translate_store_errors(name):
            return dicom_store.get_store(self._root, name)
