"""What tables hold after a job, in a form in which all kinds of table are equal."""

import json

import duckdb
from deltalake import DeltaTable

from dicomferry.pipelines import export_dicom
from dicomferry.storage.gs_clients import delta_storage_options
from dicomferry.tables.destination import parse_destination
from tests.pipelines.jobs import run
from tests.tables.test_equal_content import plain

NAME = "dicom.instances"


def run_table_export(root, table, *flags, workers=0):
    """Export into a table in this process."""
    return run(export_dicom.main, root, f"--table={table}", f"--workers={workers}", *flags)


def query(path, sql):
    """The answer of a duckdb file, as dictionaries."""
    with duckdb.connect(str(path), read_only=True) as connection:
        relation = connection.sql(sql)
        return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def read_table(uri):
    """The rows of a duckdb: or delta: table, without their empty values."""
    destination = parse_destination(uri)
    if uri.startswith("duckdb:"):
        found = query(destination.path, f"FROM {destination.schema}.{destination.table}")
    else:
        found = delta_table(uri).to_pyarrow_table().to_pylist()
    return [plain(row) for row in found]


def delta_table(uri):
    """A delta: table, local or in the emulated bucket."""
    location = parse_destination(uri).location
    options = delta_storage_options() if location.startswith("gs://") else None
    return DeltaTable(location, storage_options=options)


def in_order(rows):
    """Rows as sorted texts, to be compared."""
    return sorted(json.dumps(plain(row), sort_keys=True, ensure_ascii=False) for row in rows)


def uids(uri):
    """The SOP Instance UIDs of a table, sorted."""
    return sorted(row["SOPInstanceUID"] for row in read_table(uri))
