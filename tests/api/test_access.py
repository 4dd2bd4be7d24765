"""Who may do what: tokens, grants, and the paths that requests may name."""

import json
import os
import shutil

import pytest
from google.rpc.code_pb2 import INVALID_ARGUMENT, PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from dicomferry.api.access import (
    ANYONE,
    AuthFileError,
    Grant,
    NoLogin,
    PathRules,
    Principal,
    TokenFile,
    make_token,
)
from dicomferry.api.errors import ApiError
from dicomferry.cli.main import app
from dicomferry.pipelines import import_dicom
from dicomferry.storage.registry import open_storage
from tests.factories import dicom_bytes
from tests.pipelines.jobs import images, new_store, rows, run_import, write_files

_DATASET = "projects/p/locations/l/datasets/d"
_TRIAL = f"{_DATASET}/dicomStores/trial"
_GET = "healthcare.dicomStores.get"


@pytest.fixture
def auth_file(tmp_path):
    """Write entries as an auth file; return its path."""
    path = tmp_path / "auth.jsonl"

    def write(*entries, mode=0o600):
        lines = (entry if isinstance(entry, str) else json.dumps(entry) for entry in entries)
        path.write_text("".join(f"{line}\n" for line in lines))
        path.chmod(mode)
        return str(path)

    return write


def _code(call, *arguments):
    """The code and message that a call is refused with; OK if it is not."""
    try:
        call(*arguments)
    except ApiError as error:
        return error.code, error.message
    return 0, ""


class TestPrincipal:
    def test_a_grant_covers_a_resource_and_all_below_at_slashes_only(self):
        reader = Principal("r", (Grant((_GET,), (_TRIAL,)),))
        assert reader.may(_GET, _TRIAL)
        assert reader.may(_GET, f"{_TRIAL}/dicomWeb")
        assert not reader.may(_GET, f"{_TRIAL}2")
        assert not reader.may(_GET, _DATASET)
        assert not reader.may("healthcare.dicomStores.delete", _TRIAL)

    def test_patterns_stand_for_all_that_begin_so(self):
        stores = Principal("s", (Grant(("healthcare.dicomStores.*",), (_DATASET,)),))
        assert stores.may("healthcare.dicomStores.delete", _TRIAL)
        assert not stores.may("healthcare.operations.get", _TRIAL)

    def test_permissions_of_one_grant_do_not_reach_the_resources_of_another(self):
        both = Principal(
            "b", (Grant((_GET,), ("projects/a",)), Grant(("healthcare.*",), ("projects/b",)))
        )
        assert both.may("healthcare.dicomStores.delete", "projects/b/x")
        assert not both.may("healthcare.dicomStores.delete", "projects/a/x")

    def test_one_of_several_resources_is_enough(self):
        worker = Principal("w", (Grant(("healthcare.operations.get",), (_TRIAL,)),))
        operation = f"{_DATASET}/operations/1"
        assert _code(worker.require, "healthcare.operations.get", operation, _TRIAL)[0] == 0
        code, message = _code(worker.require, "healthcare.operations.get", operation)
        assert code == PERMISSION_DENIED
        assert "healthcare.operations.get" in message
        assert operation in message

    def test_without_login_everything_is_allowed(self):
        assert NoLogin().authenticate(None) is ANYONE
        assert ANYONE.may("healthcare.dicomStores.delete", _TRIAL)

    def test_what_can_be_seen_below_a_dataset(self):
        reader = Principal("r", (Grant((_GET,), (_TRIAL,)),))
        assert reader.may_see_below(_DATASET)
        assert reader.may_see_below(_TRIAL)
        assert not reader.may_see_below(f"{_DATASET}2")


class TestTokenFile:
    def test_a_made_token_opens_what_its_line_says(self, auth_file):
        token, entry = make_token("airflow", [_GET], [_TRIAL])
        principal = TokenFile(auth_file(entry)).authenticate(f"Bearer {token}")
        assert principal.name == "airflow"
        assert principal.may(_GET, _TRIAL)
        assert token not in json.dumps(entry)

    @pytest.mark.parametrize(
        "header", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer wrong", "Bearer \xff" * 9999]
    )
    def test_strangers_are_told_how_to_log_in(self, auth_file, header):
        tokens = TokenFile(auth_file(make_token("a", [_GET], ["*"])[1]))
        code, message = _code(tokens.authenticate, header)
        assert code == UNAUTHENTICATED
        assert "Bearer" in message or "tokens create" in message

    def test_a_hash_is_no_token(self, auth_file):
        entry = make_token("a", [_GET], ["*"])[1]
        tokens = TokenFile(auth_file(entry))
        assert _code(tokens.authenticate, f"Bearer {entry['sha256']}")[0] == UNAUTHENTICATED

    def test_a_revoked_token_is_refused_at_once_and_a_new_one_known(self, auth_file):
        first, entry = make_token("a", [_GET], ["*"])
        second, other = make_token("b", [_GET], ["*"])
        path = auth_file(entry)
        before = os.stat(path)
        tokens = TokenFile(path)
        assert tokens.authenticate(f"bearer {first}").name == "a"
        auth_file(other)
        # The same size and time: only the content tells.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert os.stat(path).st_size == before.st_size
        assert _code(tokens.authenticate, f"Bearer {first}")[0] == UNAUTHENTICATED
        assert tokens.authenticate(f"Bearer {second}").name == "b"

    def test_a_file_that_breaks_lets_nobody_in_until_it_is_mended(self, auth_file):
        token, entry = make_token("a", [_GET], ["*"])
        tokens = TokenFile(auth_file(entry))
        path = auth_file(entry, "{half a li")
        code, message = _code(tokens.authenticate, f"Bearer {token}")
        assert code == UNAVAILABLE
        assert path not in message
        auth_file(entry)
        assert tokens.authenticate(f"Bearer {token}").name == "a"

    @pytest.mark.parametrize("mode", [0o644, 0o602, 0o620])
    def test_a_file_that_others_can_read_or_change_is_refused(self, auth_file, mode):
        path = auth_file(make_token("a", [_GET], ["*"])[1], mode=mode)
        with pytest.raises(AuthFileError, match=f"chmod 600 {path}"):
            TokenFile(path)

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"sha256": "abc"}, "'sha256' must be"),
            ({"sha256": "Z" * 64}, "'sha256' must be"),
            ({"name": ""}, "'name' must be"),
            ({"permissions": []}, "'permissions' must be"),
            ({"permissions": "healthcare.*"}, "'permissions' must be"),
            ({"permissions": ["healthcare.dicomStore.get"]}, "is not a permission"),
            ({"permissions": ["healthcare.x*"]}, "is not a permission"),
            ({"resources": [7]}, "'resources' must be"),
            ({"resources": ["trial"]}, "is not a resource"),
            ({"resources": ["projects/p/"]}, "is not a resource"),
            ({"resources": ["projects/*"]}, "is not a resource"),
            ({"stores": ["*"]}, "exactly name, sha256"),
        ],
    )
    def test_a_wrong_line_is_named_with_its_number(self, auth_file, change, problem):
        good = make_token("a", [_GET], ["*"])[1]
        with pytest.raises(AuthFileError, match=r"line 3 ") as error:
            TokenFile(auth_file(good, "", {**good, "sha256": "0" * 64, **change}))
        assert problem in str(error.value)

    @pytest.mark.parametrize("line", ["[]", "nonsense", '"text"', "[" * 100_000, "\\xff"])
    def test_lines_that_are_no_objects_are_refused(self, auth_file, line):
        with pytest.raises(AuthFileError, match="line 1 "):
            TokenFile(auth_file(line))

    def test_files_that_let_nobody_in_are_refused(self, auth_file, tmp_path):
        with pytest.raises(AuthFileError, match="has no token"):
            TokenFile(auth_file())
        with pytest.raises(AuthFileError, match="tokens create"):
            TokenFile(str(tmp_path / "missing"))
        entry = make_token("a", [_GET], ["*"])[1]
        with pytest.raises(AuthFileError, match=r"line 2 .* repeats a token"):
            TokenFile(auth_file(entry, entry))


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
        assert _code(PathRules().check, path)[0] == PERMISSION_DENIED

    @pytest.mark.parametrize("path", ["out", "bucket/dir/**", "~/x", ".", "in/x", "delta:in/x"])
    def test_a_path_without_a_scheme_is_no_path_of_the_server(self, disk, monkeypatch, path):
        monkeypatch.chdir(disk)
        for rules in (PathRules(), PathRules([str(disk / "in")])):
            code, message = _code(rules.check, path)
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
        PathRules([str(disk / "in")]).check(path.format(disk))

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
        code, message = _code(PathRules([str(disk / "in")]).check, path.format(disk))
        assert code == PERMISSION_DENIED
        # Where a link leads is nobody's business.
        assert "secret" not in message.replace(repr(path.format(disk)), "")

    def test_the_refusal_names_the_remedy(self):
        assert "--allow-path DIR" in _code(PathRules().check, "/data/x")[1]

    def test_an_allowed_folder_may_be_a_link_and_everything(self, disk):
        PathRules([str(disk / "link")]).check(f"{disk}/in/x")
        PathRules(["/"]).check(f"{disk}/secret/x")

    def test_a_folder_that_is_none_is_refused_at_the_start(self, disk):
        with pytest.raises(ValueError, match=r"--allow-path .* is not a folder"):
            PathRules([str(disk / "missing")])

    def test_the_stores_themselves_are_out_of_reach(self, disk):
        rules = PathRules([str(disk)], root=open_storage(str(disk / "in/root")))
        (disk / "in/root").mkdir()
        (disk / "side").symlink_to(disk / "in/root")
        for uri in ("in/root", "in/root/projects/x/**", "in/**", "in/*", "side/projects/x"):
            code, message = _code(rules.check, f"{disk}/{uri}")
            assert (code, "folder of the stores" in message) == (PERMISSION_DENIED, True), uri
        assert _code(rules.check, f"delta:{disk}/in")[0] == PERMISSION_DENIED
        for uri in ("in/sub/**", "in/root2/x", "in/out-of-there"):
            rules.check(f"{disk}/{uri}")


class TestBuckets:
    def test_all_are_allowed_unless_prefixes_are_given(self):
        for uri in ("gs://bucket", "gs://bucket/x/**.dcm", "bq://p.d.t", "delta:gs://bucket/t"):
            PathRules().check(uri)

    @pytest.mark.parametrize("prefix", ["gs://b/p", "gs://b/p/"])
    def test_prefixes_end_at_slashes(self, prefix):
        rules = PathRules(allowed_prefixes=[prefix])
        for uri in ("gs://b/p", "gs://b/p/", "gs://b/p/**", "gs://b/p/x?", "delta:gs://b/p/t"):
            rules.check(uri)
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
            code, message = _code(rules.check, uri)
            assert code == PERMISSION_DENIED, uri
            assert "--allow-prefix" in message or "'..'" in message
        rules.check("bq://p.d.t")

    def test_a_whole_bucket_can_be_a_prefix(self):
        rules = PathRules(allowed_prefixes=["gs://b"])
        rules.check("gs://b/**")
        assert _code(rules.check, "gs://b2/x")[0] == PERMISSION_DENIED

    def test_the_stores_themselves_are_out_of_reach(self):
        rules = PathRules(root=open_storage("gs://b/stores"))
        for uri in (
            "gs://b/stores",
            "gs://b/stores/projects/**",
            "gs://b//stores/projects/x",
            "gs://b/**",
            "gs://b/st*/x",
            "delta:gs://b/stores/projects/x/index",
        ):
            code, message = _code(rules.check, uri)
            assert (code, "folder of the stores" in message) == (PERMISSION_DENIED, True), uri
        for uri in ("gs://b/stores2/x", "gs://b", "gs://b/in/**", "gs://c/stores/**"):
            rules.check(uri)

    @pytest.mark.parametrize("prefix", ["b/p", "gs://", "gs:///x", "gs://b/*"])
    def test_a_prefix_that_is_none_is_refused_at_the_start(self, prefix):
        with pytest.raises(ValueError, match="--allow-prefix"):
            PathRules(allowed_prefixes=[prefix])


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
    assert _code(PathRules(["/"]).check, uri)[0] == INVALID_ARGUMENT


@given(st.text(alphabet="ab/.*?%2eF#:~\\", max_size=30), st.sampled_from(["", "file://", "delta:"]))
def test_nothing_that_is_let_through_leaves_the_folder(tmp_path_factory, text, scheme):
    base = tmp_path_factory.getbasetemp() / "leave"
    shutil.rmtree(base, ignore_errors=True)
    (base / "in/a").mkdir(parents=True)
    (base / "b").mkdir()
    (base / "in/b").symlink_to(base / "b")
    uri = f"{scheme}{base}/in/{text}"
    if _code(PathRules([str(base / "in")]).check, uri)[0] == 0:
        path = uri.removeprefix("file://").removeprefix("delta:")
        assert os.path.realpath(path).startswith(f"{base}/in")


class TestTokensCommand:
    def test_prints_the_line_for_the_file_and_apart_from_it_the_token(self, tmp_path):
        arguments = ["tokens", "create", "airflow", "--permission", _GET, "--store", "trial"]
        result = CliRunner().invoke(app, [*arguments, "--store", "projects/p"])
        assert result.exit_code == 0
        path = tmp_path / "auth.jsonl"
        path.write_text(result.stdout)
        path.chmod(0o600)
        token = result.stderr.split()[-1]
        principal = TokenFile(str(path)).authenticate(f"Bearer {token}")
        trial = "projects/local/locations/local/datasets/default/dicomStores/trial"
        assert principal.may(_GET, trial)
        assert principal.may(_GET, _TRIAL)
        assert not principal.may(_GET, f"{trial}2")
        assert token not in result.stdout

    @pytest.mark.parametrize(
        "arguments",
        [["--permission", "x", "--store", "*"], ["--permission", _GET, "--store", "a/b"]],
    )
    def test_refuses_what_would_let_nobody_in(self, arguments):
        result = CliRunner().invoke(app, ["tokens", "create", "a", *arguments])
        assert isinstance(result.exception, ValueError)
        assert result.stdout == ""


def test_an_import_within_a_folder_takes_nothing_that_links_lead_to_elsewhere(root, tmp_path):
    new_store(root)
    pattern = write_files(tmp_path / "in", images(2))
    write_files(tmp_path / "secret", {"x.dcm": dicom_bytes(sop="1.9")})
    (tmp_path / "in/link").symlink_to(tmp_path / "secret")
    job = run_import(root, pattern, f"--within={tmp_path}/in")
    assert job.kinds == {"imported": 2, "failed": 1}
    assert job.of("/link/") == ("failed", "LINK_LEADS_OUT")
    assert set(rows(root)) == {"1.2.1.1.1", "1.2.1.1.2"}


def test_nor_does_it_take_what_a_listed_file_is_exchanged_for(root, tmp_path, monkeypatch):
    new_store(root)
    write_files(tmp_path / "secret", {"x.dcm": dicom_bytes(sop="1.9")})
    pattern = write_files(tmp_path / "in", {"a.dcm": dicom_bytes(sop="1.1"), **images(1)})
    secret, trap = tmp_path / "secret/x.dcm", tmp_path / "in/a.dcm"
    found = secret.stat()
    assert trap.stat().st_size == found.st_size
    os.utime(trap, ns=(found.st_atime_ns, found.st_mtime_ns))
    list_sources = import_dicom.list_sources

    def list_and_exchange(*arguments):
        yield from list(list_sources(*arguments))
        trap.unlink()
        trap.symlink_to(secret)

    monkeypatch.setattr(import_dicom, "list_sources", list_and_exchange)
    job = run_import(root, pattern, f"--within={tmp_path}/in")
    assert job.of("a.dcm") == ("failed", "LINK_LEADS_OUT")
    assert set(rows(root)) == {"1.2.1.1.1"}
