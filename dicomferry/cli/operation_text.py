"""Operations as commands show them: a row of a list, and everything about one."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from dicomferry.cli.columns import Layout
from dicomferry.cli.job_report import Failure, write_failures
from dicomferry.cli.output import write, write_columns, write_fields
from dicomferry.operations.folder import OperationFolder
from dicomferry.operations.outcomes import ProgressCounter
from dicomferry.operations.record import Method, OperationRecord, now
from dicomferry.operations.state import state_in_words, state_of

_LIST = Layout("from or to", ("took", "started", "of", "method"))


def row_of(record: OperationRecord) -> dict[str, Any]:
    """Return an operation as a row for programs."""
    counter = record.metadata.counter or ProgressCounter()
    flags = record.asked.flags if record.asked else {}
    metadata = record.metadata
    return {
        "id": record.id,
        "started": metadata.create_time.isoformat(),
        "ended": metadata.end_time.isoformat() if metadata.end_time else None,
        "seconds": round(_seconds(record), 3),
        "method": str(metadata.method),
        "store": record.store.id,
        "state": state_of(record),
        **({"placeInQueue": record.place} if record.place else {}),
        "succeeded": counter.success,
        "failed": counter.failure,
        "total": record.total,
        "source": flags.get("source") or flags.get("retry_failed") or "",
        "destination": flags.get("destination") or flags.get("table") or "",
    }


def write_list(rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a list of operations for people."""
    heads = ("id", "started", "method", "store", "state", "took", "succeeded", "failed", "of")
    table: list[Sequence[str]] = [(*heads, "from or to")]
    for row in rows:
        table.append(
            (
                row["id"],
                _local(datetime.fromisoformat(row["started"])),
                Method(row["method"]).verb.lower(),
                row["store"],
                _state_text(row),
                duration(row["seconds"]),
                f"{row['succeeded']:,}",
                f"{row['failed']:,}",
                f"{row['total']:,}",
                row["source"] or row["destination"],
            )
        )
    if len(table) > 1:
        write_columns(table, _LIST)


def write_operation(
    record: OperationRecord, folder: OperationFolder, failures: Sequence[Failure]
) -> None:
    """Write everything about an operation for people."""
    counter = record.metadata.counter or ProgressCounter()
    asked, metadata = record.asked, record.metadata
    counts = f"{counter.success:,} succeeded, {counter.failure:,} failed of {record.total:,}"
    flags = asked.flags if asked else {}
    ended = _local(metadata.end_time) if metadata.end_time else ""
    write_fields(
        (
            ("operation", record.name),
            ("state", state_in_words(record)),
            ("method", metadata.method.verb.lower()),
            ("store", record.store.id),
            *((name.replace("_", " "), text) for name, text in flags.items()),
            ("requested by", asked.principal if asked else ""),
            ("version", asked.version if asked else ""),
            ("started", _local(metadata.create_time)),
            ("ended", ended),
            ("took", duration(_seconds(record))),
            (f"{metadata.method.noun}s", counts if metadata.counter else ""),
            ("error", record.error.message if record.error else ""),
            *(("not all sent", f"{each.resource}: {each.message}") for each in metadata.lagging),
            ("log", record.logs),
            ("results", folder.storage.uri()),
        )
    )
    if failures:
        write("")
    write_failures(failures, limit=20)


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units: 1h05m, 2m09s, 12s."""
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if days:
        return f"{days}d{hours % 24:02}h"
    if hours:
        return f"{hours}h{minutes % 60:02}m"
    return f"{minutes}m{whole % 60:02}s" if minutes else f"{whole}s"


def _seconds(record: OperationRecord) -> float:
    """Return how long an operation took, or has taken so far."""
    end = record.metadata.end_time or now()
    return max((end - record.metadata.create_time).total_seconds(), 0)


def _local(time: datetime) -> str:
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"


def _state_text(row: Mapping[str, Any]) -> str:
    place = row.get("placeInQueue")
    return f"{row['state']}, place {place}" if place else str(row["state"])
