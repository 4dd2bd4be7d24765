"""The same instances in every kind of table are the same rows, and answer the same questions."""

import collections
import datetime
import json
import math

import duckdb
import pydicom
import pytest
from deltalake import DeltaTable

from dicomferry.errors import InstanceError
from dicomferry.tables.destination import Load, WriteDisposition, parse_destination
from dicomferry.tables.row_writer import row_writer
from dicomferry.tables.shards import Shards
from tests.corpus import corpus_files
from tests.tables.fake_bigquery import PROJECT
from tests.tables.instances import instance_of, make_instance, misfits, packaged_files

EMPTY = WriteDisposition.WRITE_EMPTY


def instances(paths):
    for path in paths:
        try:
            with open(path, "rb") as file:
                yield instance_of(file.read())
        except InstanceError:
            continue


def export(paths, destination, tmp_path, flattened=True):
    """Export instances as a job does; the rows as they were written."""
    writer = row_writer(destination, flattened=flattened)
    destination.check(EMPTY)
    lines = [writer.row(instance).line for instance in instances(paths)]
    shard = tmp_path / f"{type(destination).__name__}-{flattened}.ndjson"
    shard.write_bytes(b"".join(line + b"\n" for line in lines))
    destination.load(Load(Shards((str(shard),)), writer.schema, EMPTY, "operation"))
    rows = [json.loads(line) for line in lines]
    assert all(misfits(row, writer.schema) == [] for row in rows)
    return rows


def plain(value):
    """A value without what engines show differently: types of dates, empty values, order."""
    if isinstance(value, dict):
        found = {name: plain(inner) for name, inner in value.items()}
        return {name: inner for name, inner in found.items() if inner not in (None, [], {})}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime.datetime):
        return value.replace(tzinfo=None).isoformat() + "Z"
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, float):
        special = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
        return value if math.isfinite(value) else special[repr(value)]
    return value


def by_uid(rows):
    return sorted((json.dumps(plain(row), sort_keys=True) for row in rows), key=str)


def duckdb_rows(destination):
    with duckdb.connect(destination.path) as connection:
        relation = connection.sql(f"FROM {destination.table}")
        names = relation.columns
        return [dict(zip(names, row, strict=True)) for row in relation.fetchall()]


def delta_rows(destination):
    return DeltaTable(destination.location).to_pyarrow_table().to_pylist()


@pytest.fixture(params=["pydicom", "corpus"])
def paths(request):
    return packaged_files() if request.param == "pydicom" else corpus_files()


def test_what_is_written_is_what_is_read_from_duckdb_and_delta(paths, tmp_path):
    duck = parse_destination(f"duckdb:{tmp_path}/t.duckdb#instances")
    delta = parse_destination(f"delta:{tmp_path}/delta")
    written = export(paths, duck, tmp_path)
    assert written == export(paths, delta, tmp_path)
    assert len(written) > 50
    assert by_uid(duckdb_rows(duck)) == by_uid(written)
    assert by_uid(delta_rows(delta)) == by_uid(written)


def test_bigquery_takes_the_same_rows_less_what_is_dropped_by_name(paths, tmp_path, bigquery):
    duck = parse_destination(f"duckdb:{tmp_path}/t.duckdb#instances")
    target = parse_destination(f"bq://{PROJECT}.data.instances")
    written = export(paths, duck, tmp_path)
    export(paths, target, tmp_path)
    for ours, theirs in zip(written, bigquery.tables["data.instances"]["rows"], strict=True):
        dropped = {entry["TagName"] for entry in theirs.pop("DroppedTags", ())}
        assert {name: ours[name] for name in ours if name not in dropped} == theirs


def test_the_json_schema_keeps_every_element_in_every_table(paths, tmp_path):
    duck = parse_destination(f"duckdb:{tmp_path}/t.duckdb#instances")
    delta = parse_destination(f"delta:{tmp_path}/delta")
    written = export(paths, duck, tmp_path, flattened=False)
    export(paths, delta, tmp_path, flattened=False)
    expected = sorted(json.dumps(row["Metadata"], sort_keys=True) for row in written)
    for rows in (duckdb_rows(duck), delta_rows(delta)):
        stored = [json.dumps(json.loads(row["Metadata"]), sort_keys=True) for row in rows]
        assert sorted(stored) == expected


def test_the_deepest_and_the_largest_sequences_are_in_duckdb_and_delta(tmp_path):
    name = {"0040A075": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}}
    names = {"00081048": {"vr": "PN", "Value": [{"Alphabetic": "C"}, {"Ideographic": "D"}]}}
    deep = {**name, **names, "00080020": {"vr": "DA", "Value": ["20260102"]}}
    for _ in range(127):
        deep = {"0040A730": {"vr": "SQ", "Value": [deep, {}]}, **names}
    items = [{"00081155": {"vr": "UI", "Value": [f"1.2.{n}"]}} for n in range(60_000)]
    large = {"00081140": {"vr": "SQ", "Value": items}}
    for flattened in (True, False):
        tables = [
            parse_destination(f"duckdb:{tmp_path}/t.duckdb#t{flattened:d}"),
            parse_destination(f"delta:{tmp_path}/delta{flattened:d}"),
        ]
        for table in tables:
            writer = row_writer(table, flattened=flattened)
            lines = [writer.row(make_instance(each)).line for each in (deep, large)]
            shard = tmp_path / "rows.ndjson"
            shard.write_bytes(b"".join(line + b"\n" for line in lines))
            table.load(Load(Shards((str(shard),)), writer.schema, EMPTY, "operation"))
        stored = [duckdb_rows(tables[0]), delta_rows(tables[1])]
        if flattened:
            written = by_uid(map(json.loads, lines))
            assert [by_uid(rows) for rows in stored] == [written, written]
            assert len(lines[1]) > 1 << 20
        else:
            for rows in stored:
                assert [json.loads(row["Metadata"]) for row in rows] == [deep, large]


def series_by_pydicom():
    found = collections.defaultdict(set)
    for path in packaged_files():
        try:
            instance_of(path.read_bytes())
        except InstanceError:
            continue
        dataset = pydicom.dcmread(path, force=True, stop_before_pixels=True)
        key = (dataset.get("Modality") or None, dataset.get("BodyPartExamined") or None)
        found[key].add(dataset.SeriesInstanceUID)
    return found


def test_a_researchers_questions_are_short_queries(tmp_path):
    duck = parse_destination(f"duckdb:{tmp_path}/t.duckdb#instances")
    export(packaged_files(), duck, tmp_path)
    with duckdb.connect(duck.path) as connection:
        series = connection.sql(
            "SELECT Modality, BodyPartExamined, count(DISTINCT SeriesInstanceUID) AS Series"
            " FROM instances GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        thickness = connection.sql(
            "SELECT TRY_CAST(SliceThickness AS DOUBLE) AS mm, count(*) AS Instances"
            " FROM instances WHERE Modality = 'CT' GROUP BY ALL ORDER BY ALL"
        ).fetchall()
        frames = connection.sql(
            "SELECT Manufacturer, ManufacturerModelName,"
            " sum(coalesce(TRY_CAST(NumberOfFrames AS BIGINT), 1)) AS Frames"
            " FROM instances WHERE Modality = 'RTDOSE' GROUP BY ALL ORDER BY ALL"
        ).fetchall()
    assert series == sorted(
        ((*key, len(uids)) for key, uids in series_by_pydicom().items()),
        key=lambda answer: [part or "~" for part in answer[:2]],  # NULL comes last
    )
    assert ("CR", "CHEST", 2) in series
    assert thickness == [(5.0, 3)]
    device = ("Manufacturer name here", "Treatment Planning System name here")
    assert frames == [(*device, 49)]
