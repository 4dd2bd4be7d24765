"""A filter names studies, series and instances."""

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomferry.store.instance_filter import FilterError, read_instance_filter

_LEVELS = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
uid = st.sampled_from(["1", "1.2", "1.2.3"])
rows = st.lists(st.tuples(uid, uid, uid), max_size=8)
paths = st.lists(st.lists(uid, min_size=1, max_size=3), min_size=1, max_size=5)


def path_of(uids):
    names = ("studies", "series", "instances")
    return "".join(f"/{name}/{uid}" for name, uid in zip(names, uids, strict=False))


def read(folder, text):
    file = folder / "filter.txt"
    file.write_bytes(text.encode())
    return read_instance_filter(str(file))


@settings(deadline=None)
@given(rows=rows, wanted=paths, end=st.sampled_from(["\n", "\r\n"]))
def test_a_row_is_meant_if_a_path_is_a_prefix_of_its_uids(tmp_path_factory, rows, wanted, end):
    found = read(tmp_path_factory.mktemp("f"), end.join(map(path_of, wanted)) + end)
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(_LEVELS)})
    table = table.cast(pa.schema([(name, pa.string()) for name in _LEVELS]))
    expected = [any(list(row[: len(p)]) == p for p in wanted) for row in rows]
    assert found.mask(table).to_pylist() == expected
    matched, unmatched = found.find(table.to_batches())
    assert matched == sum(expected)
    missing = [p for p in wanted if not any(list(row[: len(p)]) == p for row in rows)]
    assert unmatched == sorted({path_of(p) for p in missing})


@pytest.mark.parametrize(
    "text", ["", "\n\n", "studies/1.2", "/studies/x", "/studies/1.2/instances/3", "/studies/1/../2"]
)
def test_what_is_no_path_is_refused_by_its_line(tmp_path, text):
    with pytest.raises(FilterError, match="/studies/UID"):
        read(tmp_path, text)


def test_a_missing_file_is_said_so(tmp_path):
    with pytest.raises(FilterError, match="there is no filter file"):
        read_instance_filter(str(tmp_path / "none"))
