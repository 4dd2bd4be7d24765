"""Append the rows of new instances to the tables of a store's stream_configs."""

import dataclasses
import hashlib
import json
import logging
from collections.abc import Sequence

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

from stores import gcs
from stores.operations import OperationFolder
from tables.destination import parse_destination
from tables.errors import TableError
from tables.loading import Connections
from tables.stream import Stream, append_rows
from transforms.write_rows import warning_line

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass
class AppendToStreams(beam.PTransform):
    """Append committed batches of index rows to every stream's table.

    At least once. What cannot be appended, a row above 1 MB or a table that refuses, is
    logged and listed in stream-errors-*.jsonl beside the operation; the import goes on. Values
    that do not fit their columns are listed in stream-warnings-*.jsonl.

    Counters, in namespace "stream": rows, skipped, refused, warnings.
    """

    streams: Sequence[Stream]
    folder: OperationFolder

    def expand(self, committed: beam.PCollection[pa.Table]) -> beam.PCollection[None]:
        """Wire it."""
        return committed | "Append" >> beam.Map(_append, self.streams, self.folder)


def _append(rows: pa.Table, streams: Sequence[Stream], folder: OperationFolder) -> None:
    # The same batch has the same name in every attempt, so no load is made twice.
    uids = "\n".join(rows["SOPInstanceUID"].to_pylist())
    batch = hashlib.sha256(uids.encode()).hexdigest()[:16]
    errors: list[dict[str, str]] = []
    warnings: list[dict[str, str]] = []
    instances = rows.to_pylist()
    for number, stream in enumerate(streams):
        try:
            appended = append_rows(
                parse_destination(stream.table_uri),
                instances,
                f"{folder.id}-{number}-{batch}",
                flattened=stream.flattened,
                source_store=stream.source_store,
                connections=Connections(gcs.delta_storage_options()),
            )
        except TableError as error:
            Metrics.counter("stream", "refused").inc(rows.num_rows)
            errors.append({"table": stream.table_uri, "code": "REFUSED", "reason": str(error)})
            continue
        Metrics.counter("stream", "rows").inc(appended.rows)
        Metrics.counter("stream", "skipped").inc(len(appended.skipped))
        Metrics.counter("stream", "warnings").inc(len(appended.warnings))
        warnings += [
            {"table": stream.table_uri, **warning_line(uid, warning)}
            for uid, warning in appended.warnings
        ]
        errors += [
            {
                "table": stream.table_uri,
                "sopInstanceUid": uid,
                "code": "ROW_TOO_LARGE",
                "reason": "its row is larger than 1 MB, which streams do not take",
            }
            for uid in appended.skipped
        ]
    for line in errors:
        _LOGGER.warning("not streamed: %s", json.dumps(line))
    for name, found in (("errors", errors), ("warnings", warnings)):
        if found:
            text = "".join(f"{json.dumps(each)}\n" for each in found)
            folder.storage.write(f"stream-{name}-{batch}.jsonl", text.encode())
