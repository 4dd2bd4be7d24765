import pickle

import pytest

from dicomferry.tables.errors import SchemaConflictError, TableNotEmptyError
from dicomferry.tables.flattened import merge_flattened
from dicomferry.tables.schema import Field, widened


def test_new_columns_follow_at_every_level():
    existing = (
        Field("B", "RECORD", "REPEATED", (Field("Y", "STRING"),)),
        Field("Z", "DATE"),
    )
    new = (
        Field("A", "STRING"),
        Field("B", "RECORD", "REPEATED", (Field("X", "INTEGER"), Field("Y", "STRING"))),
    )
    assert widened(existing, new) == (
        Field("B", "RECORD", "REPEATED", (Field("Y", "STRING"), Field("X", "INTEGER"))),
        Field("Z", "DATE"),
        Field("A", "STRING"),
    )


def _nested(type_):
    record = Field("T", "RECORD", "NULLABLE", (Field("U", type_),))
    return Field("S", "RECORD", "REPEATED", (record,))


@pytest.mark.parametrize(
    ("existing", "new", "column"),
    [
        (Field("Rows", "STRING"), Field("Rows", "INTEGER"), "Rows"),
        (Field("rows", "STRING"), Field("Rows", "INTEGER"), "rows"),
        (Field("Rows", "INTEGER", "REPEATED"), Field("Rows", "INTEGER"), "Rows"),
        (_nested("DATE"), _nested("TIME"), "S.T.U"),
    ],
)
def test_a_column_of_another_type_or_mode_is_refused_by_its_name(existing, new, column):
    with pytest.raises(SchemaConflictError) as refused:
        widened((existing,), (new,))
    assert refused.value.column == column
    assert f"column {column} is " in str(refused.value)
    assert "WRITE_TRUNCATE" in str(refused.value)


def test_merging_flattened_schemas_sorts_by_tag():
    one, other = (Field("Rows", "INTEGER"),), (Field("Modality", "STRING"),)
    assert merge_flattened(one, other) == (*other, *one)


def test_errors_cross_processes():
    conflict = SchemaConflictError("Rows", "STRING", "INTEGER")
    assert str(pickle.loads(pickle.dumps(conflict))) == str(conflict)
    not_empty = TableNotEmptyError("bq://p.d.t")
    assert str(pickle.loads(pickle.dumps(not_empty))) == str(not_empty)
