"""What a store has, in counts: modalities, dates, transfer syntaxes, sizes."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import duckdb
from pydicom.uid import UID

from dicomferry.console.queries.slow import connect
from dicomferry.storage.base import Storage
from dicomferry.store.index import Index
from dicomferry.store.index_schema import Column

# Of each kind; the others are one bar.
MAX_BARS = 10
# Dates are in Metadata only: of more than this, none are read.
MAX_METADATA_BYTES = 1 << 30
_DATE = f"""json_extract_string({Column.METADATA}, '$."00080020".Value[0]')"""
# Bytes of an instance by powers of ten, from below 10 kB to 1 GB and more.
_MAGNITUDE = f"floor(log10(greatest({Column.BLOB_STORAGE_SIZE}, 1)))"
_SIZES = {
    3: "below 10 kB",
    4: "10 kB to 100 kB",
    5: "100 kB to 1 MB",
    6: "1 MB to 10 MB",
    7: "10 MB to 100 MB",
    8: "100 MB to 1 GB",
    9: "1 GB and more",
}


class Bar(NamedTuple):
    """One bar of a chart, and how many it stands for."""

    label: str
    number: int


class Survey(NamedTuple):
    """Counts of instances, and for dates of studies; `dates` is None if they were not read."""

    modalities: list[Bar]
    syntaxes: list[Bar]
    sizes: list[Bar]
    dates: list[Bar] | None


def survey(data: Storage) -> Survey:
    """Count the instances of a store by what pages show of them.

    Raises:
        LookupError: the store was deleted meanwhile.
    """
    connection = connect(Index(data).dataset())
    modalities = _counts(connection, f"coalesce({Column.MODALITY}, '')")
    syntaxes = _counts(connection, Column.TRANSFER_SYNTAX_UID)
    sizes = _counts(connection, f"cast(least(greatest({_MAGNITUDE}, 3), 9) AS INTEGER)")
    return Survey(
        most([(modality or "no modality", count) for modality, count in modalities]),
        most([(UID(syntax).name, count) for syntax, count in syntaxes]),
        [Bar(_SIZES[power], count) for power, count in sorted(sizes)],
        _dates(connection),
    )


def most(counts: Iterable[tuple[str, int]]) -> list[Bar]:
    """Return the most frequent labels first, and the rest as one bar."""
    ordered = sorted(counts, key=lambda each: (-each[1], each[0]))
    bars = [Bar(*each) for each in ordered[:MAX_BARS]]
    if rest := ordered[MAX_BARS:]:
        bars.append(Bar(f"{len(rest):,} others", sum(count for _, count in rest)))
    return bars


def periods(months: Iterable[tuple[str, int]]) -> list[Bar]:
    """Return counts by month, year or decade, whichever is the finest with few enough bars.

    Args:
        months: YYYYMM and counts; '' stands for those without a date.
    """
    by_month = Counter[str]()
    for month, count in months:
        by_month[month] += count
    without = by_month.pop("", 0)
    forms = (
        lambda month: f"{month[:4]}-{month[4:]}",
        lambda month: month[:4],
        lambda month: f"{month[:3]}0s",
    )
    for form in forms:
        bars = Counter[str]()
        for month, count in by_month.items():
            bars[form(month)] += count
        if len(bars) <= MAX_BARS * 2:
            break
    found = [Bar(*each) for each in sorted(bars.items())][-MAX_BARS * 2 :]
    if left := bars.total() - sum(bar.number for bar in found):
        found.insert(0, Bar("earlier", left))
    return [*found, Bar("no date", without)] if without else found


def _counts(connection: duckdb.DuckDBPyConnection, label: str) -> list[tuple[Any, int]]:
    return connection.execute(f"SELECT {label}, count(*) FROM instances GROUP BY 1").fetchall()


def _dates(connection: duckdb.DuckDBPyConnection) -> list[Bar] | None:
    """Return the studies by (0008,0020) Study Date."""
    total = f"SELECT coalesce(sum({Column.STRUCTURED_STORAGE_SIZE}), 0) FROM instances"
    [metadata] = connection.execute(total).fetchone() or (0,)
    if metadata > MAX_METADATA_BYTES:
        return None
    months = connection.execute(
        "SELECT CASE WHEN regexp_full_match(date, '[0-9]{4}(0[1-9]|1[0-2])[0-9]{2}') "
        "THEN date[:6] ELSE '' END, count(DISTINCT study) FROM "
        f"(SELECT {Column.STUDY_INSTANCE_UID} AS study, {_DATE} AS date FROM instances) GROUP BY 1"
    ).fetchall()
    return periods(months)
