"""Requests for jobs, from the messages of the contract."""

from typing import Any

from dicomferry.api.proto.generated import dicom_service_pb2 as pb
from dicomferry.pipelines.export_request import ExportRequest, TableSchema
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.pixels.formats import parse_format
from dicomferry.places import Bounds, PlaceRules
from dicomferry.resource_names import StoreName
from dicomferry.sources.uri import parse_source
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from dicomferry.tables.destination import WriteDisposition, parse_destination, parse_disposition


def import_request(message: Any, store: StoreName, root: Storage, bounds: Bounds) -> ImportRequest:
    """Return the import of an ImportDicomDataRequest.

    Args:
        message: the request.
        store: store to import into.
        root: where stores are.
        bounds: places that the job may read and write.

    Raises:
        ValueError: the source is wrong, with the remedy.
    """
    return ImportRequest(
        root=root,
        store=store,
        source=parse_source(message.gcs_source.uri),
        bounds=bounds,
    )


def export_request(
    message: Any, store: StoreName, root: Storage, rules: PlaceRules
) -> ExportRequest:
    """Return the export of an ExportDicomDataRequest, to files or to a table.

    Args:
        message: the request.
        store: store to export.
        root: where stores are.
        rules: for the places that the job may read and write.

    Raises:
        ValueError: the destination is wrong, with the remedy.
    """
    filter_uri = message.filter_config.resource_paths_gcs_uri
    if message.HasField("gcs_destination"):
        return ExportRequest(
            root=root,
            store=store,
            destination=open_storage(message.gcs_destination.uri_prefix),
            mime_type=parse_format(message.gcs_destination.mime_type),
            filter=filter_uri,
            bounds=rules.bounds,
            overwrite=rules.overwrite,
        )
    table = message.bigquery_destination
    return ExportRequest(
        root=root,
        store=store,
        table=parse_destination(table.table_uri),
        write_disposition=_disposition(table),
        schema=TableSchema.JSON if table.HasField("schema_json") else TableSchema.FLATTENED,
        include_source_store=table.include_source_store,
        filter=filter_uri,
        bounds=rules.bounds,
    )


def _disposition(table: Any) -> WriteDisposition:
    given = pb.BigQueryDestination.WriteDisposition.DESCRIPTOR.values_by_number[
        table.write_disposition
    ]
    return parse_disposition(given.name, force=table.force)
