"""Listings of buckets, judged by google-cloud-storage's own plain listing."""

import itertools
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicomferry.sources import bucket as bucket_listing
from dicomferry.sources.listing import list_sources, no_match_message
from dicomferry.sources.pattern import SourceError
from dicomferry.sources.source import Source
from dicomferry.sources.uri import parse_source
from tests.emulators.storage import StorageEmulator
from tests.sources.wildcards import is_allowed, means

NAME = st.text("ab/.0é\n*", min_size=1, max_size=6).filter(lambda name: name not in {".", ".."})
PATTERN = st.text("ab/.*?é", min_size=1, max_size=6).filter(is_allowed)

ODD_NAMES = [
    *("a//b", "/a", "//", "a///", "a/../b", "./a", "a#1", "a%41", "a%2Fb", "%", "é", "e\u0301"),
    *("日本", "a b", " a ", "a\nb", "a\rb", "a\tb", "a\x01b", "a\x7fb", "a?b", "[x]", "{y}", "a*b"),
    *("a\\b", 'a"b', "a&b", "a<b", "a+b", "a=b;c:d@e", ".hidden", "a.", "...", "\U0001f600"),
    *("a\u2028b", "x" * 1000),
]

_numbers = itertools.count()


def filled(gcs: StorageEmulator, names: list[str], data: bytes = b"x") -> str:
    """Return the name of a new bucket that holds objects of these names."""
    bucket = gcs.bucket(f"listing-{next(_numbers)}")
    for name in names:
        bucket.blob(name).upload_from_string(data)
    return str(bucket.name)


def listed(uri: str) -> list[Source]:
    return list(list_sources(parse_source(uri)))


# The last two are chosen so that runs of folders, folders of folders and pages all occur.
@settings(max_examples=60, deadline=None)
@given(
    st.sets(NAME, max_size=12),
    st.lists(PATTERN, min_size=3, max_size=3),
    st.integers(1, 8),
    st.integers(1, 3),
)
@example({"0", "*", "0/"}, ["?", "?", "?"], 1, 1)  # a page of the emulator names folders early
@example({"b/a", "b.", "b0", "b/b/b", "a/a"}, ["**", "b**", "b*/*"], 1, 1)
def test_what_is_listed_is_what_the_plain_listing_and_an_exhaustive_search_find(
    gcs: StorageEmulator, names: set[str], patterns: list[str], shares: int, page: int
) -> None:
    bucket = filled(gcs, sorted(names))
    plain = {
        f"gs://{bucket}/{blob.name}": (blob.size, str(blob.generation))
        for blob in gcs.client().list_blobs(bucket)
    }
    with (
        mock.patch.object(bucket_listing, "_PAGES", shares),
        mock.patch.object(bucket_listing, "_PAGE", page),
    ):
        for pattern in patterns:
            found = listed(f"gs://{bucket}/{pattern}")
            assert sorted((s.uri, (s.size, s.version)) for s in found) == sorted(
                (uri, about)
                for uri, about in plain.items()
                if means(pattern, uri.removeprefix(f"gs://{bucket}/"))
            )


def test_odd_names_are_listed_like_any_other(gcs: StorageEmulator) -> None:
    bucket = filled(gcs, ODD_NAMES)
    found = listed(f"gs://{bucket}/**")
    assert sorted(source.uri for source in found) == sorted(f"gs://{bucket}/{n}" for n in ODD_NAMES)
    assert {source.code for source in found} == {""}


def test_empty_objects_that_stand_for_folders_have_a_code(gcs: StorageEmulator) -> None:
    names = ["dir/", "dir/sub/", "dir_$folder$", "dir/empty"]
    bucket = filled(gcs, names, b"")
    gcs.bucket(bucket).blob("full/").upload_from_string(b"x")
    found = {source.uri: source.code for source in listed(f"gs://{bucket}/**")}
    assert found == {
        f"gs://{bucket}/dir/": "FOLDER_MARKER",
        f"gs://{bucket}/dir/sub/": "FOLDER_MARKER",
        f"gs://{bucket}/dir_$folder$": "FOLDER_MARKER",
        f"gs://{bucket}/dir/empty": "",
        f"gs://{bucket}/full/": "",
    }


def test_an_object_that_was_overwritten_has_another_version(gcs: StorageEmulator) -> None:
    bucket = filled(gcs, ["a"], b"one")
    (before,) = listed(f"gs://{bucket}/a")
    gcs.bucket(bucket).blob("a").upload_from_string(b"two")
    (after,) = listed(f"gs://{bucket}/a")
    assert before.size == after.size
    assert before.version != after.version


def test_small_folders_do_not_cost_a_request_each(gcs: StorageEmulator) -> None:
    bucket = filled(gcs, [f"{patient:03}/a" for patient in range(200)])
    with mock.patch.object(bucket_listing, "_request", wraps=bucket_listing._request) as request:
        assert len(listed(f"gs://{bucket}/**")) == 200
    assert request.call_count == 1


def test_only_folders_that_can_match_are_listed(gcs: StorageEmulator) -> None:
    bucket = filled(gcs, ["a1/x/1", "a2/x/1", "b1/x/1", "a1/y/1"])
    with mock.patch.object(bucket_listing, "_request", wraps=bucket_listing._request) as request:
        assert len(listed(f"gs://{bucket}/a?/x/*")) == 2
    prefixes = [call.args[1]["prefix"] for call in request.call_args_list]
    assert sorted(prefixes) == ["a", "a1/x/", "a2/x/"]


def test_a_listing_that_is_not_taken_to_its_end_stops(gcs: StorageEmulator) -> None:
    bucket = filled(gcs, [f"{n}/a" for n in range(20)])
    with mock.patch.object(bucket_listing, "_request", wraps=bucket_listing._request) as request:
        sources = list_sources(parse_source(f"gs://{bucket}/*/*"))
        next(sources)
        sources.close()  # type: ignore[attr-defined]
        made = request.call_count
        assert list(sources) == []
        assert request.call_count == made


def test_a_bucket_that_is_not_there_is_the_callers_error(gcs: StorageEmulator) -> None:
    with pytest.raises(SourceError, match="there is no bucket 'not-there'"):
        listed("gs://not-there/**")


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("dir", "it is a folder: did you mean 'gs://{}/dir/**'?"),
        ("dir/*", "on this level: did you mean 'gs://{}/dir/**'?"),
        ("dir/sub/not/here/**", "nothing in 'gs://{}/dir/sub/not/here', only in 'gs://{}/dir/sub'"),
        ("not/here/**", "nothing in 'gs://{}/not/here', only in 'gs://{}/'"),
        ("dir/**.dcm", "look into 'gs://{}/dir'"),
        ("dir/sub/b", "look into 'gs://{}/dir/sub'"),
    ],
)
def test_no_match_is_answered_with_a_hint(gcs: StorageEmulator, pattern: str, hint: str) -> None:
    bucket = filled(gcs, ["dir/sub/a"])
    parsed = parse_source(f"gs://{bucket}/{pattern}")
    assert list(list_sources(parsed)) == []
    assert hint.replace("{}", bucket) in no_match_message(parsed)


def test_nothing_is_in_an_empty_bucket(gcs: StorageEmulator) -> None:
    bucket = filled(gcs, [])
    assert listed(f"gs://{bucket}/**") == []
    assert "matches no files" in no_match_message(parse_source(f"gs://{bucket}/**"))
