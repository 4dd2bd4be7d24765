"""Studies, series and instances of a store in the order of their UIDs, a page at a time."""

from typing import Any, NamedTuple

from dicomferry.console.queries.slow import connect
from dicomferry.storage.base import Storage
from dicomferry.store.index import Index

PAGE = 24
INSTANCES_PAGE = 60
_MODALITIES = 6
_INSTANCE = (
    "SOPInstanceUID, SOPClassUID, TransferSyntaxUID, NumberOfFrames, BlobStorageSize, BlobUri, "
    "Crc32c"
)


class Study(NamedTuple):
    """One study: counts of what it has, bytes, and some of its modalities."""

    uid: str
    series: int
    instances: int
    size: int
    modalities: list[str]


class StudySeries(NamedTuple):
    """One series of a study; the blob is that of its middle instance."""

    uid: str
    modality: str
    instances: int
    frames: int
    size: int
    blob: str


class StoredRow(NamedTuple):
    """One instance, as its row of the index has it; `blob` is below the data folder."""

    uid: str
    sop_class: str
    transfer_syntax: str
    frames: int
    size: int
    blob: str
    crc32c: int


class Page(NamedTuple):
    """Some rows, and the UID after which the next page starts; '' at the end."""

    rows: list[Any]
    after: str


def studies(data: Storage, after: str) -> Page:
    """Return the studies after a UID."""
    connection = connect(Index(data).dataset())
    uids = [
        uid
        for (uid,) in connection.execute(
            "SELECT DISTINCT StudyInstanceUID FROM instances WHERE StudyInstanceUID > ? "
            "ORDER BY 1 LIMIT ?",
            [after, PAGE + 1],
        ).fetchall()
    ]
    if not uids:
        return Page([], "")
    rows = connection.execute(
        # The bounds let row groups be left out by their statistics.
        "SELECT StudyInstanceUID, count(DISTINCT SeriesInstanceUID), count(*), "
        "sum(BlobStorageSize)::BIGINT, "
        f"list_sort(list(DISTINCT coalesce(Modality, '')))[:{_MODALITIES}] "
        "FROM instances WHERE StudyInstanceUID >= ? AND StudyInstanceUID <= ? "
        "GROUP BY 1 ORDER BY 1",
        [uids[0], uids[-1]],
    ).fetchall()
    return _page([Study(*row) for row in rows], PAGE)


def series_of_study(data: Storage, study: str, after: str) -> Page:
    """Return the series of a study after a UID."""
    rows = (
        connect(Index(data).dataset())
        .execute(
            # A space sorts before all that a UID has: the middle is that by SOP Instance UID.
            "SELECT SeriesInstanceUID, any_value(Modality), count(*), sum(NumberOfFrames)::BIGINT, "
            "sum(BlobStorageSize)::BIGINT, quantile_disc(SOPInstanceUID || ' ' || BlobUri, 0.5) "
            "FROM instances WHERE StudyInstanceUID = ? AND SeriesInstanceUID > ? "
            "GROUP BY 1 ORDER BY 1 LIMIT ?",
            [study, after, PAGE + 1],
        )
        .fetchall()
    )
    found = [
        StudySeries(uid, modality or "", instances, frames, size, middle.partition(" ")[2])
        for uid, modality, instances, frames, size, middle in rows
    ]
    return _page(found, PAGE)


def instances_of_series(data: Storage, study: str, series: str, after: str) -> Page:
    """Return the instances of a series after a UID."""
    return _page(_instances(data, (study, series, after), INSTANCES_PAGE + 1), INSTANCES_PAGE)


def first_instances(data: Storage, study: str, series: str, limit: int) -> list[StoredRow]:
    """Return the first instances of a series, at most `limit`."""
    return _instances(data, (study, series, ""), limit)


def one_instance(data: Storage, study: str, series: str, uid: str) -> list[StoredRow]:
    """Return the row of an instance; none if there is no such instance."""
    rows = (
        connect(Index(data).dataset())
        .execute(
            f"SELECT {_INSTANCE} FROM instances WHERE SOPInstanceUID = ? "
            "AND StudyInstanceUID = ? AND SeriesInstanceUID = ? LIMIT 1",
            [uid, study, series],
        )
        .fetchall()
    )
    return [StoredRow(*row) for row in rows]


def _instances(data: Storage, after: tuple[str, str, str], limit: int) -> list[StoredRow]:
    rows = (
        connect(Index(data).dataset())
        .execute(
            f"SELECT {_INSTANCE} FROM instances WHERE StudyInstanceUID = ? "
            "AND SeriesInstanceUID = ? AND SOPInstanceUID > ? ORDER BY 1 LIMIT ?",
            [*after, limit],
        )
        .fetchall()
    )
    return [StoredRow(*row) for row in rows]


def _page(rows: list[Any], limit: int) -> Page:
    has_more = len(rows) > limit
    return Page(rows[:limit], rows[limit - 1].uid if has_more else "")
