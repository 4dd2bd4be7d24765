"""Rows of real files: those that are kept, and what a second implementation makes of the files."""

import json

import pytest

from dicomferry.errors import InstanceError
from dicomferry.tables.flattened import FlattenedRows
from dicomferry.tables.limits import EMBEDDED
from tests.corpus import corpus_files
from tests.tables import oracle
from tests.tables.golden_rows import FOLDER, NAMES, golden_of
from tests.tables.instances import instance_of, misfits, packaged_files
from tests.tables.test_equal_content import plain


@pytest.mark.parametrize("name", NAMES)
def test_the_row_of_a_known_file_is_the_one_that_is_kept(name):
    expected = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    found = golden_of(name)
    assert found == expected
    # Dictionaries are equal in any order; columns are not.
    assert json.dumps(found["schema"]) == json.dumps(expected["schema"])


def test_a_second_implementation_makes_the_same_rows_and_columns_of_pydicoms_files():
    assert judge(packaged_files()) >= 60


def test_a_second_implementation_makes_the_same_rows_and_columns_of_the_corpus():
    assert judge(corpus_files()) >= 300


def judge(paths):
    """Compare rows and columns with the oracle's; the number of instances that were compared."""
    compared = 0
    for path in paths:
        data = path.read_bytes()
        try:
            instance = instance_of(data)
        except InstanceError:
            continue
        writer = FlattenedRows(EMBEDDED)
        row = json.loads(writer.row(instance).line)
        assert misfits(row, writer.schema) == [], path
        theirs, columns = oracle.expected(data)
        assert plain(row) == plain(theirs), path
        assert columns_of(writer.schema) == columns, path
        compared += 1
    return compared


def columns_of(schema):
    return [(field.name, field.type, field.mode, columns_of(field.fields)) for field in schema]
