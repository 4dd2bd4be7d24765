"""Rules for the places that requests name: local paths, buckets, tables, topics."""

import os
import shutil

import pytest
from google.rpc.code_pb2 import INVALID_ARGUMENT, PERMISSION_DENIED
from hypothesis import given
from hypothesis import strategies as st

from dicomferry.places import (
    Access,
    Bounds,
    PlaceDeniedError,
    PlaceRules,
    Places,
    parse_places,
)
from dicomferry.places.bounds import parse_bounds
from dicomferry.storage.registry import open_storage

_LOCATIONS = ["/x", "/x/y", "/x/y/z", "/xy", "/q", "gs://b", "gs://b/p", "gs://b/pq", "bq://p/d"]
_some = st.lists(st.sampled_from(_LOCATIONS), max_size=3).map(tuple)
places = st.builds(Places, _some, st.none() | _some)


def rules(both=(), root=None, **lists):
    """Rules of a server with some flags."""
    return PlaceRules(Bounds.of_server(both, **lists), root=root)


def outcome(some, uri):
    """The code and message that a place is refused with for reading and writing; 0 if it is not."""
    results = []
    for access in Access:
        try:
            some.check(uri, access)
            results.append((0, ""))
        except PlaceDeniedError as error:
            results.append((PERMISSION_DENIED, str(error)))
        except ValueError as error:
            results.append((INVALID_ARGUMENT, str(error)))
    assert len({code for code, _ in results}) == 1
    return results[0]


def passes(some, uri):
    """Whether a place is let through."""
    assert outcome(some, uri) == (0, "")


@pytest.fixture
def disk(tmp_path):
    """A folder to allow, a secret beside it, links between them, stores below it."""
    for folder in ("in/sub", "secret", "in2"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "secret/x.dcm").touch()
    (tmp_path / "in/out").symlink_to(tmp_path / "secret")
    (tmp_path / "in/file.dcm").symlink_to(tmp_path / "secret/x.dcm")
    (tmp_path / "in/dangling").symlink_to(tmp_path / "secret/new")
    (tmp_path / "in/near").symlink_to(tmp_path / "in/sub")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    (tmp_path / "in/a*").symlink_to(tmp_path / "secret")
    return tmp_path


class TestLocalPaths:
    @pytest.mark.parametrize(
        "path", ["/etc/passwd", "file:///etc/passwd", "duckdb:/x#a", "delta:/x"]
    )
    def test_none_are_let_through_unless_a_folder_is_allowed(self, path):
        assert outcome(rules(), path)[0] == PERMISSION_DENIED

    @pytest.mark.parametrize("path", ["out", "bucket/dir/**", "~/x", ".", "in/x", "delta:in/x"])
    def test_a_path_without_a_scheme_is_no_path_of_the_server(self, disk, monkeypatch, path):
        monkeypatch.chdir(disk)
        for some in (rules(), rules([str(disk / "in")])):
            code, message = outcome(some, path)
            assert (code, "use gs://bucket/…" in message) == (INVALID_ARGUMENT, True)

    @pytest.mark.parametrize(
        "path",
        [
            "{}/in",
            "{}/in/**",
            "{}/in/s*/new/**.dcm",
            "{}/in/not/yet/there",
            "{}/in/near/x",
            "{}/link/sub/**",
            "file://{}/in/a%20b.dcm",
            "duckdb:{}/in/x.duckdb#dicom.t",
            "delta:{}/in/table",
        ],
    )
    def test_what_lies_below_an_allowed_folder_is(self, disk, path):
        passes(rules([str(disk / "in")]), path.format(disk))

    @pytest.mark.parametrize(
        "path",
        [
            "{}/in2/x",
            "{}/in*",
            "{}/i?/x",
            "{}/in**",
            "{}/in/../secret/x",
            "{}/in/sub/../../secret/x",
            "{}/in/out/**",
            "{}/in/out/not/yet/there",
            "{}/in/file.dcm",
            "{}/in/dangling",
            "{}/in/dangling/deeper",
            "{}/in/a*/x",
            "file://{}/in/%2e%2e/secret/x",
            "file://{}/in%2fout/x",
            "file://{}/in/%6fut/**",
            "file://localhost{}/secret/x",
            "duckdb:{}/in/out/x.duckdb#t",
            "duckdb:{}/in/x/../../secret/x#t",
            "delta:{}/in/out/table",
            "delta:{}/in/%2e%2e/secret",
            "delta:{}",
            "{}",
            "/",
        ],
    )
    def test_what_leads_out_of_it_is_not(self, disk, monkeypatch, path):
        monkeypatch.chdir(disk)
        code, message = outcome(rules([str(disk / "in")]), path.format(disk))
        assert code == PERMISSION_DENIED
        # Where a link leads is nobody's business.
        assert "secret" not in message.replace(repr(path.format(disk)), "")

    def test_the_refusal_names_the_remedy(self):
        assert "--allow-path DIR" in outcome(rules(), "/data/x")[1]

    def test_an_allowed_folder_may_be_a_link_and_everything(self, disk):
        passes(rules([str(disk / "link")]), f"{disk}/in/x")
        passes(rules(["/"]), f"{disk}/secret/x")

    def test_a_folder_that_is_none_is_refused_at_the_start(self, disk):
        with pytest.raises(ValueError, match=r"--allow-path .* is not a folder"):
            rules([str(disk / "missing")])

    def test_the_stores_themselves_are_out_of_reach(self, disk):
        some = rules([str(disk)], root=open_storage(str(disk / "in/root")))
        (disk / "in/root").mkdir()
        (disk / "side").symlink_to(disk / "in/root")
        for uri in ("in/root", "in/root/projects/x/**", "in/**", "in/*", "side/projects/x"):
            code, message = outcome(some, f"{disk}/{uri}")
            assert (code, "folder of the stores" in message) == (PERMISSION_DENIED, True), uri
        assert outcome(some, f"delta:{disk}/in")[0] == PERMISSION_DENIED
        for uri in ("in/sub/**", "in/root2/x", "in/out-of-there"):
            passes(some, f"{disk}/{uri}")


class TestBuckets:
    def test_all_are_allowed_unless_prefixes_are_given(self):
        for uri in ("gs://bucket", "gs://bucket/x/**.dcm", "bq://project.d.t", "delta:gs://b/t"):
            passes(rules(), uri)
        rules().check_topic("projects/p/topics/t")

    @pytest.mark.parametrize("prefix", ["gs://b/p", "gs://b/p/"])
    def test_prefixes_end_at_slashes(self, prefix):
        some = rules([prefix])
        for uri in ("gs://b/p", "gs://b/p/", "gs://b/p/**", "gs://b/p/x?", "delta:gs://b/p/t"):
            passes(some, uri)
        for uri in (
            "gs://b/p2/x",
            "gs://b/p*",
            "gs://b/p**",
            "gs://b/?/x",
            "gs://b/**",
            "gs://b",
            "gs://b2/p/x",
            "gs://b/p/../q",
            "gs://b/p/%2e%2e/q",
            "delta:gs://b/q",
        ):
            code, message = outcome(some, uri)
            assert code == PERMISSION_DENIED, uri
            assert "--allow-prefix" in message or "'..'" in message
        # One place in the cloud is the whole list: tables and topics are in it, or refused.
        assert outcome(some, "bq://project.d.t")[0] == PERMISSION_DENIED
        with pytest.raises(PlaceDeniedError, match="--allow-write"):
            some.check_topic("projects/p/topics/t")

    def test_a_whole_bucket_can_be_a_prefix(self):
        some = rules(["gs://b"])
        passes(some, "gs://b/**")
        assert outcome(some, "gs://b2/x")[0] == PERMISSION_DENIED

    def test_the_stores_themselves_are_out_of_reach(self):
        some = rules(root=open_storage("gs://b/stores"))
        for uri in (
            "gs://b/stores",
            "gs://b/stores/projects/**",
            "gs://b//stores/projects/x",
            "gs://b/**",
            "gs://b/st*/x",
            "delta:gs://b/stores/projects/x/index",
        ):
            code, message = outcome(some, uri)
            assert (code, "folder of the stores" in message) == (PERMISSION_DENIED, True), uri
        for uri in ("gs://b/stores2/x", "gs://b", "gs://b/in/**", "gs://c/stores/**"):
            passes(some, uri)

    @pytest.mark.parametrize("prefix", ["b/p", "gs://", "gs:///x", "gs://b/*"])
    def test_a_prefix_that_is_none_is_refused_at_the_start(self, prefix):
        with pytest.raises(ValueError, match="--allow-prefix"):
            rules([prefix])


class TestTablesAndTopics:
    @pytest.mark.parametrize(
        ("place", "tables"),
        [
            ("bq://project", {"bq://project.d.t", "bq://project.e.t"}),
            ("bq://project.d", {"bq://project.d.t"}),
            ("bq://project.d.t", {"bq://project.d.t"}),
            ("bq://project.d.u", set()),
            ("bq://projec", set()),
            ("bq://example.com:project", {"bq://example.com:project.d.t"}),
        ],
    )
    def test_a_place_in_bigquery_is_a_project_a_dataset_or_a_table(self, place, tables):
        all_tables = {
            "bq://project.d.t",
            "bq://project.e.t",
            "bq://project2.d.t",
            "bq://example.com:project.d.t",
        }
        some = rules([place])
        assert {uri for uri in all_tables if outcome(some, uri)[0] == 0} == tables

    @pytest.mark.parametrize(
        ("place", "topics"),
        [
            ("projects/p/topics", {"projects/p/topics/t", "projects/p/topics/u"}),
            ("projects/p/topics/t", {"projects/p/topics/t"}),
            ("gs://b", set()),
        ],
    )
    def test_a_place_of_topics_is_a_topic_or_all_of_a_project(self, place, topics):
        let_through = set()
        for topic in ("projects/p/topics/t", "projects/p/topics/u", "projects/p2/topics/t"):
            try:
                rules(write=[place]).check_topic(topic)
                let_through.add(topic)
            except PlaceDeniedError as error:
                assert "--allow-write" in str(error)
        assert let_through == topics

    @pytest.mark.parametrize(
        "place", ["projects/p", "projects/p/topics/t/u", "bq://", "bq://p.d.t.u", "s3://b", ""]
    )
    def test_what_is_none_is_refused_at_the_start(self, place):
        with pytest.raises(ValueError, match="--allow-write"):
            rules(write=[place])


class TestReadingAndWriting:
    def test_a_place_to_read_is_none_to_write(self, tmp_path):
        (tmp_path / "in").mkdir()
        (tmp_path / "out").mkdir()
        some = rules(
            read=[str(tmp_path / "in"), "gs://b/in"], write=[str(tmp_path / "out"), "gs://b/out"]
        )
        for place in (f"{tmp_path}/{{}}/x", "gs://b/{}/x", f"delta:{tmp_path}/{{}}/t"):
            some.check(place.format("in"), Access.READ)
            some.check(place.format("out"), Access.WRITE)
            with pytest.raises(PlaceDeniedError, match="--allow-read"):
                some.check(place.format("out"), Access.READ)
            with pytest.raises(PlaceDeniedError, match="--allow-write"):
                some.check(place.format("in"), Access.WRITE)

    def test_a_list_without_a_place_in_the_cloud_leaves_it_to_the_servers_account(self, tmp_path):
        some = rules(read=[str(tmp_path)], write=["gs://b/out"])
        some.check("gs://any/x", Access.READ)
        with pytest.raises(PlaceDeniedError):
            some.check("gs://any/x", Access.WRITE)

    def test_further_bounds_only_take_away(self, tmp_path):
        (tmp_path / "a/b").mkdir(parents=True)
        server, token = Bounds.of_server([str(tmp_path / "a")]), parse_places
        nowhere = Bounds(token([], "x"), token([], "x"), "is not for this token to {access}")
        deeper = Bounds(token([f"{tmp_path}/a/b", "/"], "x"), token([str(tmp_path)], "x"), "no")
        for access in Access:
            with pytest.raises(PlaceDeniedError, match=f"not for this token to {access}"):
                PlaceRules(server, nowhere).check(f"{tmp_path}/a/x", access)
            with pytest.raises(PlaceDeniedError, match=f"--allow-{access}"):
                PlaceRules(server, deeper).check(f"{tmp_path}/x", access)
        joined = PlaceRules(server).also(deeper).bounds
        assert set(joined.read.folders) == {f"{tmp_path}/a/b", f"{tmp_path}/a"}
        assert joined.write.folders == (f"{tmp_path}/a",)
        assert joined.write.remote == ()

    @given(places, places)
    def test_what_is_in_both_is_what_each_of_them_has(self, one, other):
        for location in ["/", *_LOCATIONS]:
            for has in (Places.has_local, Places.has_remote):
                assert has(one.both(other), location) == (has(one, location) & has(other, location))

    @given(places, places)
    def test_bounds_survive_as_the_text_that_a_job_gets(self, read, write):
        bounds = Bounds(read, write)
        assert parse_bounds(bounds.to_text()) == bounds

    @pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"read": 1, "write": 2}', "{"])
    def test_a_broken_text_is_no_bounds(self, text):
        with pytest.raises(ValueError, match="--bounds"):
            parse_bounds(text)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "/x\0y",
        "file:///x%00y",
        "\ud800",
        "/" * 5000,
        "s3://b/x",
        "GS://b/x",
        "file:x",
        "gs:b/x",
        "duckdb:gs://b/x#t",
        "delta:file:///x",
        "delta:gs://user@b/x",
        "gs://b:80/x",
        "gs:///x",
        "https://x/y",
    ],
)
def test_what_is_no_uri_is_an_invalid_argument(uri):
    assert outcome(rules(["/"]), uri)[0] == INVALID_ARGUMENT


@given(st.text(alphabet="ab/.*?%2eF#:~\\", max_size=30), st.sampled_from(["", "file://", "delta:"]))
def test_nothing_that_is_let_through_leaves_the_folder(tmp_path_factory, text, scheme):
    base = tmp_path_factory.getbasetemp() / "leave"
    shutil.rmtree(base, ignore_errors=True)
    (base / "in/a").mkdir(parents=True)
    (base / "b").mkdir()
    (base / "in/b").symlink_to(base / "b")
    uri = f"{scheme}{base}/in/{text}"
    if outcome(rules([str(base / "in")]), uri)[0] == 0:
        path = uri.removeprefix("file://").removeprefix("delta:")
        assert os.path.realpath(path).startswith(f"{base}/in")
