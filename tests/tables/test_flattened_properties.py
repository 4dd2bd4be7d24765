import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicomferry.tables.bigquery_table import BIGQUERY
from dicomferry.tables.flattened import FlattenedRows, merge_flattened
from dicomferry.tables.limits import EMBEDDED
from dicomferry.tables.schema import widened
from tests.tables.instances import encoded, instance_of, make_instance, misfits, schema_of
from tests.tables.strategies import data_sets, metadata

# Values that break the rules are the point.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=150, deadline=None, suppress_health_check=_SLOW)
@given(st.lists(data_sets(), min_size=1, max_size=3))
def test_any_data_set_that_pydicom_builds_gives_a_row_that_fits(datasets):
    instances = [instance_of(encoded(dataset)) for dataset in datasets]
    _judge(instances)


@settings(max_examples=300, deadline=None, suppress_health_check=_SLOW)
@given(st.lists(metadata(), min_size=1, max_size=3))
def test_any_metadata_at_all_gives_a_row_that_fits(elements):
    _judge([make_instance(one) for one in elements])


def _judge(instances):
    for limits in (EMBEDDED, BIGQUERY):
        writer = FlattenedRows(limits)
        rows = [json.loads(writer.row(instance).line) for instance in instances]
        assert [misfits(row, writer.schema) for row in rows] == [[]] * len(rows)
        # The schema of each row alone is part of the whole, and no more is in the whole.
        parts = [schema_of(instance["Metadata"], limits) for instance in instances]
        assert merge_flattened(*parts) == writer.schema
        for row, part in zip(rows, parts, strict=True):
            assert misfits(row, part) == []
            assert set(row) == {field.name for field in part}


@settings(max_examples=150, deadline=None, suppress_health_check=_SLOW)
@given(metadata(), st.lists(metadata(), max_size=2))
def test_the_values_of_an_instance_do_not_depend_on_its_neighbors(elements, before):
    alone, among = FlattenedRows(EMBEDDED), FlattenedRows(EMBEDDED)
    for neighbor in before:
        among.row(make_instance(neighbor))
    assert among.row(make_instance(elements)) == alone.row(make_instance(elements))


@settings(max_examples=150, deadline=None, suppress_health_check=_SLOW)
@given(metadata())
def test_no_text_of_an_element_is_lost_without_a_warning(elements):
    row = FlattenedRows(EMBEDDED).row(make_instance(elements))
    kept = json.dumps(json.loads(row.line), ensure_ascii=False)
    for tag, element in elements.items():
        if element["vr"] in ("LO", "ST") and not row.warnings:
            texts = [value for value in element.get("Value", ()) if isinstance(value, str)]
            assert all(json.dumps(text, ensure_ascii=False)[1:-1] in kept for text in texts) or (
                _becomes_another_form(tag)
            )


def _becomes_another_form(tag):
    """Dates, times and instants change their form, bulk data has no column."""
    (field,) = schema_of(json.dumps({tag: {"vr": "LO", "Value": ["x"]}}), EMBEDDED)[:1] or (None,)
    return field is None or field.type in ("DATE", "TIME", "TIMESTAMP", "FLOAT")


@settings(max_examples=150, deadline=None, suppress_health_check=_SLOW)
@given(metadata(), metadata(), metadata())
def test_merging_is_associative_and_commutative(one, two, three):
    a, b, c = (schema_of(json.dumps(elements), EMBEDDED) for elements in (one, two, three))
    assert merge_flattened(a, b) == merge_flattened(b, a)
    assert merge_flattened(merge_flattened(a, b), c) == merge_flattened(a, merge_flattened(b, c))
    assert merge_flattened(a, a) == a == merge_flattened((), a)


@settings(max_examples=100, deadline=None, suppress_health_check=_SLOW)
@given(metadata(), metadata())
def test_a_widened_table_keeps_its_columns_where_they_were(first, second):
    existing, new = (schema_of(json.dumps(elements), EMBEDDED) for elements in (first, second))
    after = widened(existing, new)
    assert [field.name for field in after[: len(existing)]] == [field.name for field in existing]
    assert merge_flattened(after, ()) == after
    assert widened(after, new) == after
