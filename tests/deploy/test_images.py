"""Images hold what runs and no more, and run as users without rights where they can."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from deploy import images
from deploy.images import bases, dockerfiles, parse_base, pin

REPOSITORY = images.REPOSITORY
SERVER = REPOSITORY / "deploy" / "server"
# Google gives it no other tag that stays.
WITHOUT_EXACT_TAG = {"gcr.io/dataflow-templates-base/python311-template-launcher-base:latest"}
# `make template PUSH=1` refuses them until `make image-digests` has asked the registries.
WITHOUT_DIGEST = {"dataflow"}
UNMAINTAINED = {"oauth2client", "google-apitools", "google-auth-httplib2"}
each = pytest.mark.parametrize("path", dockerfiles(), ids=lambda path: path.parent.name)


def instructions(path, word):
    """What follows a word in a Dockerfile, with continued lines."""
    text = path.read_text().replace("\\\n", " ")
    return [line.split(maxsplit=1)[1] for line in text.splitlines() if line.startswith(f"{word} ")]


def locked(path):
    """Versions of a lock by their names."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", path.read_text(), re.MULTILINE))


def test_there_are_images():
    assert {path.parent.name for path in dockerfiles()} >= {"server", "dataflow"}


@each
def test_a_base_has_an_exact_tag_and_a_digest(path):
    for base in bases(path.read_text()):
        is_exact = re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+([.-].*)?", base.tag)
        assert is_exact or base.tagged in WITHOUT_EXACT_TAG, base.text
        assert base.digest or path.parent.name in WITHOUT_DIGEST, base.text
        assert re.fullmatch("(sha256:[0-9a-f]{64})?", base.digest)


@each
def test_an_image_takes_only_what_is_sent_and_is_there(path):
    sent = {
        line[1:]
        for line in (REPOSITORY / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for copied in instructions(path, "COPY"):
        if not copied.startswith("--from="):
            for source in copied.split()[:-1]:
                assert source in sent
                assert (REPOSITORY / source).exists()


@each
def test_packages_are_wheels_that_are_checked_by_their_hashes(path):
    for command in instructions(path, "RUN"):
        if "pip install" in command and "requirements.txt" in command:
            assert "--require-hashes --only-binary=:all:" in command
            return
    pytest.fail("it installs no lock")


def test_the_server_runs_as_a_user_without_rights_who_owns_no_code():
    path = SERVER / "Dockerfile"
    [user] = instructions(path, "USER")
    numbers = [int(number) for number in user.split(":")]
    assert min(numbers) > 0
    assert path.read_text().index("\nUSER ") > path.read_text().rindex("\nCOPY ")
    assert not any("--chown" in copied for copied in instructions(path, "COPY"))
    owned = [command for command in instructions(path, "RUN") if "chown" in command]
    assert [re.findall(r"chown \S+ (\S+)", command) for command in owned] == [["/data"]]
    assert json.loads(instructions(path, "VOLUME")[0]) == ["/data", "/tmp"]


def test_the_server_has_nothing_of_the_extra_and_the_same_versions():
    all_, server = locked(REPOSITORY / "requirements.txt"), locked(SERVER / "requirements.txt")
    assert len(server) > 50
    assert not UNMAINTAINED & set(server)
    assert set(all_) >= UNMAINTAINED, "else the lock of its own serves no purpose"
    assert {name: all_[name] for name in server} == server


def test_the_manifest_gives_the_server_no_rights():
    manifests = list(yaml.safe_load_all((SERVER / "kubernetes.yaml").read_text()))
    [deployment] = [each for each in manifests if each["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    user = int(instructions(SERVER / "Dockerfile", "USER")[0].partition(":")[0])
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == user
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    [container] = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = {
        mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")
    }
    assert writable == set(json.loads(instructions(SERVER / "Dockerfile", "VOLUME")[0]))
    [tokens] = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    assert tokens["defaultMode"] & 0o027 == 0, "the server refuses a file that others can read"
    assert container["resources"]["limits"]["memory"]


def test_names_have_the_defaults_of_docker():
    assert parse_base("python:3.11.1")[1:] == (images._HUB, "library/python", "3.11.1", "")
    assert parse_base("apache/beam:2")[1:] == (images._HUB, "apache/beam", "2", "")
    assert parse_base("gcr.io/a/b@sha256:1")[1:] == ("gcr.io", "a/b", "", "sha256:1")
    assert parse_base("localhost:5000/a:b@c")[1:] == ("localhost:5000", "a", "b", "c")


def test_earlier_stages_are_no_bases():
    text = "FROM a:1 AS first\nFROM b:2\nCOPY --from=first x y\nFROM first\n"
    assert [base.text for base in bases(text)] == ["a:1", "b:2"]


class Registry(BaseHTTPRequestHandler):
    """A registry that gives a token to everybody, as the specification has it."""

    index = b'{"schemaVersion": 2, "manifests": []}'
    told = f"sha256:{hashlib.sha256(index).hexdigest()}"

    def do_GET(self):
        host = self.headers["Host"]
        if self.path == "/token?service=here&scope=repository%3Aa%2Fb%3Apull":
            return self.answer(200, b'{"token": "t"}')
        if self.headers["Authorization"] != "Bearer t":
            scope = f'Bearer realm="http://{host}/token",service="here",scope="repository:a/b:pull"'
            return self.answer(401, b"", {"WWW-Authenticate": scope})
        if self.path != "/v2/a/b/manifests/1.2.3" or "index" not in self.headers["Accept"]:
            return self.answer(404, b"")
        return self.answer(200, self.index, {"Docker-Content-Digest": self.told})

    def answer(self, code, body, headers=()):
        self.send_response(code)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def registry():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_base_is_pinned_by_what_the_registry_has_under_its_tag(registry, tmp_path):
    path = tmp_path / "Dockerfile"
    path.write_text(f"FROM {registry}/a/b:1.2.3 AS one\nFROM one\nRUN true\n")
    for _ in range(2):
        pin(path, scheme="http")
        pinned = f"{registry}/a/b:1.2.3@{Registry.told}"
        assert path.read_text() == f"FROM {pinned} AS one\nFROM one\nRUN true\n"


@pytest.mark.parametrize("fault", ["another digest", "no such tag"])
def test_what_cannot_be_pinned_stays_as_it_is(registry, tmp_path, monkeypatch, fault):
    if fault == "another digest":
        monkeypatch.setattr(Registry, "told", "sha256:" + "0" * 64)
    tag = "1.2.3" if fault == "another digest" else "missing"
    path = tmp_path / "Dockerfile"
    path.write_text(before := f"FROM {registry}/a/b:{tag}\n")
    with pytest.raises((ValueError, OSError)):
        pin(path, scheme="http")
    assert path.read_text() == before


def test_a_base_without_a_digest_is_told_with_the_remedy(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "deploy" / "x"
    folder.mkdir(parents=True)
    monkeypatch.setattr(images, "REPOSITORY", tmp_path)
    (folder / "Dockerfile").write_text("FROM a:1.2.3\n")
    assert images.main(["check"]) == 1
    said = "deploy/x/Dockerfile: a:1.2.3 has no digest: run `make image-digests`"
    assert said in capsys.readouterr().out
    (folder / "Dockerfile").write_text(f"FROM a:1.2.3@sha256:{'0' * 64}\n")
    assert images.main(["check"]) == 0
