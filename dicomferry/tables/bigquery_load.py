"""Check and load a BigQuery table, by one load job: BigQuery makes it visible as a whole.

The load job's ID comes from `Load.job`, so a load that is repeated meets the load job of the first
time instead of loading twice.
"""

import re
import time
from typing import TYPE_CHECKING

from google.api_core.exceptions import Conflict, NotFound
from google.cloud import bigquery

from dicomferry.tables.bigquery_calls import (
    ASKING,
    FOLLOWING,
    REQUEST_SECONDS,
    client_for,
    reaching,
)
from dicomferry.tables.bigquery_types import from_schema_fields, refuse_unloadable, to_schema_fields
from dicomferry.tables.concatenated_files import ConcatenatedFiles
from dicomferry.tables.destination import Load, WriteDisposition
from dicomferry.tables.errors import TableBusyError, TableError, TableNotEmptyError
from dicomferry.tables.schema import Schema, widened
from dicomferry.tables.shards import Shards

if TYPE_CHECKING:
    from dicomferry.tables.bigquery_table import BigQueryTable

_ATTEMPTS = 5
_BACKOFF_S = 2.0
_LONGEST_PAUSE_S = 10.0
_UPLOAD_RETRIES = 3
# Until the answer to a chunk of 100 MB that was sent.
_CHUNK_SECONDS = 60.0
# Reasons of a failed job after which BigQuery's documentation says to try again.
_TRANSIENT = frozenset(
    (
        "backendError",
        "internalError",
        "jobBackendError",
        "jobInternalError",
        "jobRateLimitExceeded",
        "rateLimitExceeded",
        "tableUnavailable",
    )
)
# "Quotas and limits" of BigQuery's documentation.
_MAX_FILES = 10_000


def check(destination: "BigQueryTable", disposition: WriteDisposition, schema: Schema) -> None:
    """Refuse what `load` would refuse, as far as it can be known; changes nothing.

    Raises:
        TableNotEmptyError, SchemaConflictError, TableOutOfReachError, TableError.
    """
    client = client_for(destination)
    with reaching(destination):
        _location(client, destination)
        refuse_unloadable(schema)
        _existing(_table(client, destination), destination, disposition, schema)


def load(destination: "BigQueryTable", load: Load) -> None:
    """Put the rows in by one load job, all or none, and once for a `Load.job`.

    A further load job is started only after the last is known to have failed, and for a reason
    that passes. BigQuery itself reads shards in Cloud Storage; others are uploaded.

    Raises:
        TableNotEmptyError, SchemaConflictError, TableBusyError, TableError: no row was added.
        TableOutOfReachError: BigQuery did not answer, or lets nobody in. The load may still happen;
            calling again with the same `Load.job` finds out.
    """
    refuse_unloadable(load.schema)
    if _is_readable(load.shards) and len(load.shards.uris) > _MAX_FILES:
        raise TableError(
            f"{len(load.shards.uris)} shards exceed the limit of one BigQuery load job, which is"
            f" {_MAX_FILES} files and 15 TB. Export the store in several parts, by filters and with"
            " WRITE_APPEND."
        )
    client = client_for(destination)
    with reaching(destination):
        location = _location(client, destination)
    for attempt in range(_ATTEMPTS):
        job_id = f"dicomferry_{re.sub('[^A-Za-z0-9_-]', '-', load.job)}_{attempt}"
        with reaching(destination, f"{location}.{job_id}"):
            load_job = _known_job(client, job_id, location)
            if load_job is None:
                load_job = _start(client, destination, load, job_id, location)
            _await_end(load_job)
        if not load_job.error_result:
            return
        _refuse_failed(load_job, destination)
        time.sleep(_BACKOFF_S * (attempt + 1))
    raise TableBusyError(
        f"{_ATTEMPTS} load jobs into {destination.uri} failed in BigQuery itself. Try again later."
    )


def _await_end(load_job: bigquery.LoadJob) -> None:
    """Wait until a load job has ended: as long as BigQuery says that it goes on."""
    pause = 1.0
    while not load_job.done(**FOLLOWING):
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)


def _load_config(
    client: bigquery.Client, destination: "BigQueryTable", load: Load
) -> bigquery.LoadJobConfig:
    table = _table(client, destination)
    existing = _existing(table, destination, load.disposition, load.schema)
    columns = load.schema if existing is None else widened(existing, load.schema)
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
        schema=to_schema_fields(columns),
        write_disposition=str(load.disposition),
        create_disposition=bigquery.CreateDisposition.CREATE_IF_NEEDED,
        autodetect=False,
    )
    if load.disposition is WriteDisposition.WRITE_APPEND:
        addition = bigquery.SchemaUpdateOption.ALLOW_FIELD_ADDITION
        config.schema_update_options = [addition] if table is not None else []
    elif table is not None and existing is not None and columns != existing:
        # BigQuery adds columns while it loads under WRITE_APPEND only; this table is empty.
        table.schema = config.schema
        client.update_table(table, ["schema"], **ASKING)
    return config


def _start(
    client: bigquery.Client, destination: "BigQueryTable", load: Load, job_id: str, location: str
) -> bigquery.LoadJob:
    config = _load_config(client, destination, load)
    table, shards = _reference(destination), load.shards
    try:
        if _is_readable(shards):
            return client.load_table_from_uri(
                list(shards.uris),
                table,
                job_id=job_id,
                location=location,
                job_config=config,
                **ASKING,
            )
        with shards.local_paths() as paths, ConcatenatedFiles(paths) as stream:
            # No size: then the upload is one that resumes after a broken connection.
            return client.load_table_from_file(
                stream,
                table,
                num_retries=_UPLOAD_RETRIES,
                job_id=job_id,
                location=location,
                job_config=config,
                timeout=(REQUEST_SECONDS, _CHUNK_SECONDS),
            )
    except Conflict:  # an answer was lost, or another process has started the same load job
        return client.get_job(job_id, location=location, **FOLLOWING)


def _is_readable(shards: Shards) -> bool:
    """Return whether BigQuery itself can read the shards: it reads Cloud Storage only."""
    return bool(shards.uris) and all(uri.startswith("gs://") for uri in shards.uris)


def _refuse_failed(load_job: bigquery.LoadJob, destination: "BigQueryTable") -> None:
    """Raise unless the reason of a failed job is transient; its text can hold values of rows."""
    reason = load_job.error_result.get("reason", "unknown")
    if reason == "duplicate":  # rows came between the check and the job
        raise TableNotEmptyError(destination.uri)
    if reason not in _TRANSIENT:
        raise TableError(
            f"BigQuery refused to load {destination.uri}: {reason}. See why with: bq show -j"
            f" {load_job.project}:{load_job.location}.{load_job.job_id}"
        )


def _known_job(client: bigquery.Client, job_id: str, location: str) -> bigquery.LoadJob | None:
    try:
        return client.get_job(job_id, location=location, **ASKING)
    except NotFound:
        return None


def _location(client: bigquery.Client, destination: "BigQueryTable") -> str:
    dataset = bigquery.DatasetReference(destination.project, destination.dataset)
    try:
        return str(client.get_dataset(dataset, **ASKING).location)
    except NotFound:
        raise TableError(
            f"the BigQuery dataset {destination.project}.{destination.dataset} does not exist."
            f" Create it: bq mk --dataset {destination.project}:{destination.dataset}"
        ) from None


def _table(client: bigquery.Client, destination: "BigQueryTable") -> bigquery.Table | None:
    try:
        return client.get_table(_reference(destination), **ASKING)
    except NotFound:
        return None


def _existing(
    table: bigquery.Table | None,
    destination: "BigQueryTable",
    disposition: WriteDisposition,
    schema: Schema,
) -> Schema | None:
    """Return the columns that remain, None if the load replaces or creates the table.

    Raises:
        TableNotEmptyError, SchemaConflictError, TableError: the table refuses the rows.
    """
    if table is None:
        return None
    if table.table_type not in ("TABLE", None):
        raise TableError(
            f"{destination.uri} is not a table but a {table.table_type}. Choose another."
        )
    if disposition is WriteDisposition.WRITE_TRUNCATE:
        return None
    # num_rows does not count what was streamed in the last minutes.
    has_rows = table.num_rows or (table.streaming_buffer and table.streaming_buffer.estimated_rows)
    if disposition is WriteDisposition.WRITE_EMPTY and has_rows:
        raise TableNotEmptyError(destination.uri)
    existing = from_schema_fields(table.schema)
    widened(existing, schema)
    return existing


def _reference(destination: "BigQueryTable") -> bigquery.TableReference:
    dataset = bigquery.DatasetReference(destination.project, destination.dataset)
    return dataset.table(destination.table)
