"""Which copy is kept depends on the copies and the store alone."""

from hypothesis import given
from hypothesis import strategies as st

from dicomferry.transforms import dedupe
from dicomferry.transforms.dedupe import by_source
from tests.factories import make_instance

A = make_instance(source_uri="/in/a.dcm")
B = make_instance(source_uri="/in/b.dcm")
B_CHANGED = make_instance(source_uri="/in/b.dcm", sha256="bb")
B_OTHER_STUDY = make_instance(source_uri="/in/b.dcm", study_instance_uid="1.9")

copies = st.lists(
    st.builds(
        make_instance,
        source_uri=st.sampled_from(["/a", "/b", "/c"]),
        source_version=st.sampled_from("12"),
        sha256=st.sampled_from(["xx", "yy"]),
        study_instance_uid=st.sampled_from(["1.1", "1.2"]),
    ).map(lambda copy: copy._replace(blob=f"{copy.study_instance_uid}/{copy.sha256}")),
    min_size=1,
)


def row(copy, operation="earlier"):
    return {
        "StudyInstanceUID": copy.study_instance_uid,
        "SeriesInstanceUID": copy.series_instance_uid,
        "BlobStorageSize": copy.size,
        "Sha256": copy.sha256 or None,
        "Crc32c": copy.crc32c,
        "SourceUri": copy.source_uri,
        "Operation": operation,
    }


def resolve_copies(copies, stored, operation):
    return dedupe.resolve_copies(sorted(copies, key=by_source), stored, operation)


def verdicts(copies, stored=None, operation="now"):
    return [(v.copy, v.outcome) for v in resolve_copies(copies, stored, operation)]


@given(copies, st.randoms())
def test_arrival_order_does_not_matter(instances, random):
    shuffled = random.sample(instances, len(instances))
    assert list(resolve_copies(shuffled, None, "now")) == list(
        resolve_copies(instances, None, "now")
    )


@given(copies)
def test_no_copy_is_lost_or_invented(instances):
    assert sorted(v.copy for v in resolve_copies(instances, None, "now")) == sorted(instances)


@given(copies)
def test_exactly_one_copy_is_kept_and_it_has_the_lowest_uri(instances):
    new = [v.copy for v in resolve_copies(instances, None, "now") if v.is_new]
    assert len(new) == 1
    assert new[0].source_uri == min(copy.source_uri for copy in instances)


@given(copies)
def test_what_is_not_kept_is_a_duplicate_exactly_if_study_series_and_bytes_agree(instances):
    kept = next(v.copy for v in resolve_copies(instances, None, "now") if v.is_new)
    for verdict in resolve_copies(instances, None, "now"):
        if not verdict.is_new:
            same = (verdict.copy.study_instance_uid, verdict.copy.sha256) == (
                kept.study_instance_uid,
                kept.sha256,
            )
            assert verdict.outcome == ("duplicate" if same else "conflict")


@given(copies)
def test_a_second_attempt_answers_as_the_first_did(instances):
    first = list(resolve_copies(instances, None, "now"))
    kept = next(v.copy for v in first if v.is_new)
    again = list(resolve_copies(instances, row(kept, "now"), "now"))
    first_listed = {}
    for verdict in first:  # the same file listed twice unchanged is taken in once
        first_listed.setdefault(verdict.copy, verdict.outcome)
    assert not any(v.is_new for v in again)
    for verdict in again:
        assert verdict.outcome in (first_listed[verdict.copy], "imported")


def test_the_stored_instance_is_never_replaced():
    assert verdicts([A], row(B_CHANGED)) == [(A, "conflict")]
    assert verdicts([A], row(B)) == [(A, "duplicate")]


def test_other_bytes_or_another_study_under_one_uid_are_a_conflict_with_the_kept_source():
    for other in (B_CHANGED, B_OTHER_STUDY):
        kept, conflict = resolve_copies([other, A], None, "now")
        assert (kept.copy, kept.outcome) == (A, "imported")
        assert (conflict.outcome, conflict.other) == ("conflict", A.source_uri)


def test_size_and_crc_decide_where_a_server_side_copy_left_no_sha256():
    copied = make_instance(source_uri="/in/b.dcm", sha256="")
    assert verdicts([copied], row(A)) == [(copied, "duplicate")]
    assert verdicts([copied._replace(crc32c=8)], row(A))[0][1] == "conflict"
