"""Who may do what: tokens, grants, and the paths that requests may name."""

import json
import os

import pytest
from google.rpc.code_pb2 import PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE
from typer.testing import CliRunner

from dicomferry.api.access import (
    ANYONE,
    AuthFileError,
    Grant,
    NoLogin,
    Principal,
    TokenFile,
    make_token,
)
from dicomferry.api.errors import ApiError
from dicomferry.cli.main import app
from dicomferry.pipelines import import_dicom
from dicomferry.places import Access, PlaceDeniedError, PlaceRules
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
            ({"stores": ["*"]}, "exactly name, permissions, resources, either sha256 or group"),
            ({"read": "/in"}, "'read' must be a list"),
            ({"write": [7]}, "'write' must be a list"),
            ({"write": ["s3://b"]}, "'write' s3://b is not a place"),
            ({"read": ["in"]}, "'read' must name folders by absolute paths"),
        ],
    )
    def test_a_wrong_line_is_named_with_its_number(self, auth_file, change, problem):
        good = make_token("a", [_GET], ["*"])[1]
        with pytest.raises(AuthFileError, match=r"line 3 ") as error:
            TokenFile(auth_file(good, "", {**good, "sha256": "0" * 64, **change}))
        assert problem in str(error.value)

    def test_a_line_limits_its_token_to_places_and_names_the_remedy(self, auth_file, tmp_path):
        (tmp_path / "in").mkdir()
        places = {"read": [f"{tmp_path}/in", "gs://b/in"], "write": []}
        token, entry = make_token("of {access}", [_GET], ["*"], **places)
        bounds = TokenFile(auth_file(entry)).authenticate(f"Bearer {token}").bounds
        rules = PlaceRules(bounds)
        rules.check(f"{tmp_path}/in/x", Access.READ)
        rules.check("gs://b/in/**", Access.READ)
        for uri in ("gs://b/x", "gs://b/in/x", "/tmp/x"):
            with pytest.raises(PlaceDeniedError) as refused:
                rules.check(uri, Access.WRITE)
        assert "the token 'of {access}' may write" in str(refused.value)
        assert "`dicomferry tokens create --write PLACE`" in str(refused.value)

    def test_a_line_without_one_of_the_lists_does_not_limit_that(self, auth_file):
        token, entry = make_token("a", [_GET], ["*"], write=["gs://b/out"])
        rules = PlaceRules(TokenFile(auth_file(entry)).authenticate(f"Bearer {token}").bounds)
        rules.check("gs://any/x", Access.READ)
        rules.check("/any/x", Access.READ)
        with pytest.raises(PlaceDeniedError):
            rules.check("gs://any/x", Access.WRITE)

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

    def test_limits_a_token_to_places(self):
        arguments = ["tokens", "create", "a", "--permission", _GET, "--store", "*"]
        result = CliRunner().invoke(
            app, [*arguments, "--read=/in", "--read=gs://b", "--write=/out"]
        )
        entry = json.loads(result.stdout)
        assert (entry["read"], entry["write"]) == (["/in", "gs://b"], ["/out"])

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
