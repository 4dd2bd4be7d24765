"""The sorted listing of a local import: every source once, sorted by bytes, in parts."""

import itertools

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dicomferry.errors import Reason
from dicomferry.pipelines import sorted_listing
from dicomferry.sources.source import Source

URI = st.text("ab/%é日\U0001f600 ~", max_size=6)
SOURCE = st.builds(
    Source,
    URI,
    st.integers(0, 1 << 40),
    st.sampled_from(["", "17.17"]),
    st.sampled_from(["", Reason.LINK_LOOP]),
)


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    """Runs of 10 sources in batches of 3."""
    monkeypatch.setattr(sorted_listing, "LISTING_FILES", 5)
    monkeypatch.setattr(sorted_listing, "_RUN_FILES", 10)
    monkeypatch.setattr(sorted_listing, "_BATCH_FILES", 3)


# Three runs, each with something of the first part: found before a long search for a small example.
@example([Source(f"/{(7 * number) % 30:02}", 1, "v", "") for number in range(30)], 7)
@given(st.lists(SOURCE, max_size=60, unique_by=lambda source: source.uri), st.integers(1, 60))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_source_comes_once_in_the_order_of_its_bytes(sources, size):
    shown = []
    with sorted_listing.sort_listing(sources, shown.append) as listing:
        parts = list(listing.parts(size))
    assert listing.total == len(sources) == shown[-1]
    assert shown == sorted(shown)
    lists = list(itertools.chain(*parts))
    assert list(itertools.chain(*lists)) == sorted(sources, key=lambda each: each.uri.encode())
    assert all(len(each) <= 5 for each in lists)
    assert [sum(map(len, part)) for part in parts[:-1]] == [size] * (len(parts) - 1)


def test_what_breaks_the_listing_is_not_changed_by_sorting(tmp_path, monkeypatch):
    monkeypatch.setattr(sorted_listing.tempfile, "tempdir", str(tmp_path))

    def break_off():
        yield Source("/a", 1, "v")
        raise PermissionError("listing")

    with pytest.raises(PermissionError), sorted_listing.sort_listing(break_off(), lambda n: None):
        pass
    assert not list(tmp_path.iterdir())
