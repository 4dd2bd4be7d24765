"""What each disposition does to each kind of table."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from dicomferry.tables.destination import Load, WriteDisposition
from dicomferry.tables.errors import SchemaConflictError, TableError, TableNotEmptyError
from dicomferry.tables.schema import Field

EMPTY, TRUNCATE, APPEND = WriteDisposition

MODALITY = Field("Modality", "STRING")
ROWS = Field("Rows", "INTEGER")
IMAGES = Field("Images", "RECORD", "REPEATED", (Field("UID", "STRING"),))
WIDER_IMAGES = Field(
    "Images",
    "RECORD",
    "REPEATED",
    (Field("Date", "DATE"), Field("UID", "STRING"), Field("Of", "RECORD", "REPEATED", (ROWS,))),
)
CT = {"Modality": "CT", "Images": [{"UID": "1.2"}]}
MR = {"Modality": "MR", "Rows": 5}
WIDE = {"Modality": "XA", "Images": [{"UID": "1.3", "Date": "2026-01-02", "Of": [{"Rows": 7}]}]}


@pytest.fixture
def put(table, shards):
    """Load rows: put(disposition, schema, row, …); every load is a job of its own."""
    count = 0

    def _put(disposition, schema, *rows, job=None):
        nonlocal count
        count += 1
        name = job or f"operation-{count}"
        table.destination.load(Load(shards(list(rows)), tuple(schema), disposition, name))

    return _put


def modalities(table):
    return sorted(row["Modality"] for row in table.rows())


@pytest.mark.parametrize("disposition", [EMPTY, TRUNCATE, APPEND])
def test_a_missing_table_is_made(table, put, disposition):
    table.destination.check(disposition, (MODALITY, IMAGES))
    assert table.columns() is None
    put(disposition, [MODALITY, IMAGES], CT)
    assert table.columns() == ["Modality", "Images"]
    assert table.rows() == [CT]


@pytest.mark.parametrize("disposition", [EMPTY, TRUNCATE, APPEND])
def test_a_load_without_rows_leaves_a_table_without_rows(table, put, disposition):
    put(disposition, [MODALITY])
    assert (table.columns(), table.rows()) == (["Modality"], [])


@pytest.mark.parametrize("disposition", [EMPTY, TRUNCATE, APPEND])
def test_a_load_without_columns_makes_those_that_every_instance_has(table, put, disposition):
    put(disposition, [])
    assert table.columns() == ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


def test_write_empty_refuses_a_table_with_rows_and_leaves_it_untouched(table, put):
    put(EMPTY, [MODALITY, IMAGES], CT)
    with pytest.raises(TableNotEmptyError, match="Choose WRITE_TRUNCATE") as refused:
        table.destination.check(EMPTY)
    assert table.destination.uri in str(refused.value)
    with pytest.raises(TableNotEmptyError):
        put(EMPTY, [MODALITY, ROWS], MR)
    assert (table.columns(), table.rows()) == (["Modality", "Images"], [CT])


def test_write_empty_fills_an_empty_table_and_widens_it(table, put):
    put(EMPTY, [MODALITY, IMAGES])
    table.destination.check(EMPTY, (MODALITY, ROWS, WIDER_IMAGES))
    put(EMPTY, [MODALITY, ROWS, WIDER_IMAGES], MR)
    assert table.columns() == ["Modality", "Images", "Rows"]
    assert modalities(table) == ["MR"]


def test_write_empty_refuses_an_empty_table_with_another_type(table, put):
    put(EMPTY, [MODALITY, Field("Rows", "STRING")])
    for refuse in (check_of(table, EMPTY, (ROWS,)), lambda: put(EMPTY, [ROWS], {"Rows": 5})):
        with pytest.raises(SchemaConflictError, match="column Rows is STRING"):
            refuse()
    assert table.rows() == []


def test_write_truncate_replaces_rows_and_schema(table, put):
    put(EMPTY, [MODALITY, IMAGES], CT, CT)
    other = Field("Modality", "INTEGER")
    table.destination.check(TRUNCATE, (ROWS, other))
    put(TRUNCATE, [ROWS, other], {"Rows": 5, "Modality": 1})
    assert table.columns() == ["Rows", "Modality"]
    assert table.rows() == [{"Rows": 5, "Modality": 1}]


def test_a_reader_sees_the_old_table_or_the_new_one_while_it_is_replaced(table, put):
    old, new = [MODALITY, IMAGES], [ROWS, MODALITY]
    put(EMPTY, old, *[CT] * 5)
    over = threading.Event()
    seen = []

    def read():
        while not over.is_set():
            columns, rows = table.read()
            seen.append((tuple(columns), len(rows)))

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read)
        try:
            for _ in range(3):
                put(TRUNCATE, new, *[MR] * 3000)
                put(TRUNCATE, old, *[CT] * 5)
            put(TRUNCATE, new, *[MR] * 3000)
        finally:
            over.set()
        reader.result(60)
    assert {(("Modality", "Images"), 5), (("Rows", "Modality"), 3000)} >= set(seen) != set()
    assert len(table.rows()) == 3000


def test_write_append_adds_rows_and_columns(table, put):
    put(APPEND, [MODALITY, IMAGES], CT)
    table.destination.check(APPEND, (MODALITY, ROWS))
    put(APPEND, [MODALITY, ROWS], MR)
    assert table.columns() == ["Modality", "Images", "Rows"]
    assert modalities(table) == ["CT", "MR"]
    assert [row.get("Rows") for row in table.rows() if row["Modality"] == "CT"] == [None]


def test_write_append_widens_nested_records_too(table, put):
    put(APPEND, [MODALITY, IMAGES], CT)
    put(APPEND, [MODALITY, WIDER_IMAGES], WIDE)
    assert modalities(table) == ["CT", "XA"]
    images = {row["Modality"]: row["Images"] for row in table.rows()}
    assert images["CT"][0]["UID"] == "1.2"
    assert not images["CT"][0].get("Date")
    assert images["XA"][0]["UID"] == "1.3"
    assert str(images["XA"][0]["Date"]) == "2026-01-02"
    assert images["XA"][0]["Of"] == [{"Rows": 7}]
    # A later load that knows the old columns only still fits.
    put(APPEND, [MODALITY, IMAGES], CT)
    assert modalities(table) == ["CT", "CT", "XA"]


def test_a_job_that_is_appended_again_adds_nothing(table, put):
    put(APPEND, [MODALITY], {"Modality": "CT"})
    for _ in range(2):
        put(APPEND, [MODALITY, ROWS], MR, job="operation-again")
    assert modalities(table) == ["CT", "MR"]
    put(APPEND, [MODALITY, ROWS], MR, job="operation-other")
    assert modalities(table) == ["CT", "MR", "MR"]


@pytest.mark.parametrize(
    ("existing", "new", "column"),
    [
        (ROWS, Field("Rows", "STRING"), "Rows"),
        (ROWS, Field("Rows", "INTEGER", "REPEATED"), "Rows"),
        (
            IMAGES,
            Field("Images", "RECORD", "REPEATED", (Field("UID", "INTEGER"),)),
            "Images.UID",
        ),
    ],
)
def test_write_append_refuses_another_type_by_the_columns_name(table, put, existing, new, column):
    put(APPEND, [MODALITY, existing], {"Modality": "CT"})
    for refuse in (
        check_of(table, APPEND, (MODALITY, new)),
        lambda: put(APPEND, [MODALITY, new], {"Modality": "MR"}),
    ):
        with pytest.raises(SchemaConflictError) as refused:
            refuse()
        assert refused.value.column == column
    assert modalities(table) == ["CT"]


@pytest.mark.parametrize("disposition", [TRUNCATE, APPEND])
def test_a_load_that_fails_half_way_changes_nothing(table, put, shards, disposition):
    put(EMPTY, [MODALITY, IMAGES], CT)
    bad = shards([{"Modality": "MR", "Rows": 5}] * 3000, [{"Modality": "XA", "Rows": "DOE^JOHN"}])
    schema = (MODALITY, ROWS)
    with pytest.raises(TableError) as refused:
        table.destination.load(Load(bad, schema, disposition, "bad"))
    assert "DOE" not in str(refused.value)
    assert refused.value.__cause__ is None
    assert (table.columns(), table.rows()) == (["Modality", "Images"], [CT])


def test_rows_of_several_shards_all_arrive(table, shards):
    files = [[{"Modality": f"{shard}-{row}"} for row in range(50)] for shard in range(4)]
    table.destination.load(Load(shards(*files), (MODALITY,), EMPTY, "j"))
    assert modalities(table) == sorted(row["Modality"] for rows in files for row in rows)


def test_every_type_arrives_as_it_is(table, put):
    schema = [
        Field("S", "STRING"),
        Field("I", "INTEGER"),
        Field("F", "FLOAT"),
        Field("D", "DATE"),
        Field("T", "TIME"),
        Field("M", "TIMESTAMP"),
        Field("L", "STRING", "REPEATED"),
        Field("J", "JSON"),
    ]
    row = {
        "S": "山田\u0000\u2028'\"\\",
        "I": -(2**63),
        "F": "NaN",
        "D": "0001-01-01",
        "T": "23:59:59.999999",
        "M": "1900-01-02T03:04:05.000006Z",
        "L": ["", "x"],
        "J": {"00080060": {"vr": "CS", "Value": ["é"]}},
    }
    put(EMPTY, schema, row, {})
    stored = next(row for row in table.rows() if row.get("S"))
    assert stored["S"] == row["S"]
    assert stored["I"] == row["I"]
    assert str(float(stored["F"])) == "nan"
    assert str(stored["D"]) == row["D"]
    assert str(stored["T"]) == row["T"]
    assert str(stored["M"])[:10] == "1900-01-02"
    assert "03:04:05.000006" in str(stored["M"])
    assert stored["L"] == ["", "x"]
    assert "é" in str(stored["J"])


def check_of(table, disposition, schema):
    return lambda: table.destination.check(disposition, schema)
