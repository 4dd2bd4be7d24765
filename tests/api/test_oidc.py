"""Logins by OpenID Connect: what an issuer signed for this server, and nothing else."""

import contextlib
import http.server
import json
import socket
import threading
import time
from contextlib import contextmanager

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from google.rpc.code_pb2 import PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE

from dicomferry.api.access import AuthFileError, OidcLogin, OidcSettings, TokenFile, make_token
from dicomferry.api.access.issuer import is_issuer_url
from dicomferry.api.errors import ApiError
from dicomferry.server import Settings

GET = "healthcare.dicomStores.get"
STORE = "projects/p/locations/l/datasets/d/dicomStores/trial"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def jwk(key, key_id, algorithm):
    """The public key as an issuer publishes it."""
    kind = jwt.algorithms.RSAAlgorithm if algorithm[0] == "R" else jwt.algorithms.ECAlgorithm
    public = json.loads(kind.to_jwk(key.public_key()))
    return public | {"kid": key_id, "alg": algorithm, "use": "sig"}


class Issuer:
    """An issuer on this machine, with what it publishes and how often it was asked for keys."""

    def __init__(self, url):
        self.url = url
        self.keys = [jwk(RSA, "rsa", "RS256"), jwk(EC, "ec", "ES256")]
        self.keys.append({"kty": "oct", "kid": "secret", "alg": "HS256", "k": "c2VjcmV0"})
        self.name = url
        self.asked = 0

    def answer(self, path):
        """What a path has."""
        if path.endswith("/openid-configuration"):
            return {"issuer": self.name, "jwks_uri": f"{self.url}/keys"}
        self.asked += 1
        return {"keys": self.keys}

    def claims(self, **changes):
        """Claims that are accepted, but for changes; None takes one away."""
        claims = {
            "iss": self.url,
            "aud": "dicomferry",
            "sub": "user-1",
            "exp": int(time.time()) + 600,
            "groups": ["others", "radiology"],
        }
        return {name: value for name, value in (claims | changes).items() if value is not None}

    def token(self, key=RSA, key_id="rsa", algorithm="RS256", **changes):
        """A token."""
        return jwt.encode(self.claims(**changes), key, algorithm, headers={"kid": key_id})


@contextmanager
def serving_issuer():
    """Run an issuer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            content = json.dumps(issuer.answer(self.path)).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def issuer():
    with serving_issuer() as found:
        yield found


@pytest.fixture
def auth_file(tmp_path):
    """A file with a token of its own and lines of two groups; and that token."""
    token, entry = make_token("script", [GET], ["*"])
    lines = [
        entry,
        {"name": "readers", "group": "radiology", "permissions": [GET], "resources": [STORE]},
        {"name": "rest", "group": "everybody", "permissions": [GET], "resources": ["projects/q"]},
    ]
    path = tmp_path / "auth.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    path.chmod(0o600)
    return str(path), token


@pytest.fixture
def login(issuer, auth_file):
    return OidcLogin(OidcSettings(issuer.url, "dicomferry"), TokenFile(auth_file[0]))


def refusal(login, token):
    """The code and the message that a token is refused with."""
    with pytest.raises(ApiError) as refused:
        login.authenticate(f"Bearer {token}")
    return refused.value.code, refused.value.message


@pytest.mark.parametrize(
    ("key", "key_id", "algorithm"), [(RSA, "rsa", "RS256"), (EC, "ec", "ES256")]
)
def test_a_member_of_a_group_has_the_rights_of_its_line(login, issuer, key, key_id, algorithm):
    principal = login.authenticate(f"Bearer {issuer.token(key, key_id, algorithm)}")
    assert principal.name == "readers/user-1"
    assert principal.may(GET, STORE)
    assert not principal.may(GET, "projects/q")
    assert not principal.may("healthcare.dicomStores.import", STORE)


def test_of_several_groups_the_first_line_counts(login, issuer):
    token = issuer.token(groups=["everybody", "radiology"])
    assert login.authenticate(f"Bearer {token}").name == "readers/user-1"
    token = issuer.token(groups="everybody")
    assert login.authenticate(f"bearer  {token} ").name == "rest/user-1"


def test_tokens_of_the_file_go_on(login, auth_file, issuer):
    assert login.authenticate(f"Bearer {auth_file[1]}").name == "script"
    assert refusal(login, "unknown")[0] == UNAUTHENTICATED
    assert issuer.asked == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://other.example"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another", "yet-another"]},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"nbf": 1 << 40},
        {"key": STRANGER},
        {"key_id": "ec"},
        {"key_id": "unknown"},
        {"key_id": "secret"},
        {"key": "secret" * 8, "key_id": "secret", "algorithm": "HS256"},
        {"key": None, "algorithm": "none"},
        {"note": "x" * (20 << 10)},
    ],
)
def test_whatever_the_issuer_did_not_sign_for_this_server_is_refused(login, issuer, changes):
    assert refusal(login, issuer.token(**changes))[0] == UNAUTHENTICATED


def test_a_public_key_is_no_secret(login, issuer):
    """The algorithm of a token is not its own choice (CVE-2016-10555)."""
    public = RSA.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head, body, _ = issuer.token().split(".")
    header = jwt.utils.base64url_encode(json.dumps({"alg": "HS256", "kid": "rsa"}).encode())
    signed = header + b"." + body.encode()
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(
        signed, public
    )
    token = (signed + b"." + jwt.utils.base64url_encode(signature)).decode()
    assert head
    assert refusal(login, token)[0] == UNAUTHENTICATED


@pytest.mark.parametrize("groups", [None, [], ["radiology2"], 7, {"radiology": 1}, [["radiology"]]])
def test_without_a_known_group_nothing_is_permitted(login, issuer, groups):
    code, message = refusal(login, issuer.token(groups=groups))
    assert code == PERMISSION_DENIED
    assert "none of your groups (groups) is in the auth file" in message


def test_strangers_make_no_storm_of_questions(login, issuer):
    login.authenticate(f"Bearer {issuer.token()}")
    for number in range(50):
        refusal(login, issuer.token(STRANGER, f"key-{number}"))
    assert issuer.asked == 1


def test_a_new_key_of_the_issuer_is_found(login, issuer, monkeypatch):
    login.authenticate(f"Bearer {issuer.token()}")
    issuer.keys.append(jwk(STRANGER, "new", "RS256"))
    monkeypatch.setattr("dicomferry.api.access.issuer._AGAIN_SECONDS", 0)
    assert login.authenticate(f"Bearer {issuer.token(STRANGER, 'new')}").name == "readers/user-1"


def test_known_keys_serve_for_a_day_while_the_issuer_is_away(login, issuer, monkeypatch):
    login.authenticate(f"Bearer {issuer.token()}")
    monkeypatch.setattr("dicomferry.api.access.issuer._FRESH_SECONDS", 0)
    monkeypatch.setattr("dicomferry.api.access.issuer._AGAIN_SECONDS", 0)
    issuer.keys.clear()
    assert login.authenticate(f"Bearer {issuer.token()}").name == "readers/user-1"
    assert issuer.asked == 2
    monkeypatch.setattr("dicomferry.api.access.issuer._STALE_SECONDS", 0)
    assert refusal(login, issuer.token())[0] == UNAVAILABLE


def test_a_token_without_an_id_takes_the_only_key(login, issuer):
    del issuer.keys[1:]
    token = jwt.encode(issuer.claims(), RSA, "RS256")
    assert login.authenticate(f"Bearer {token}").name == "readers/user-1"


@pytest.mark.parametrize(
    "answer",
    [
        b"no http\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (2 << 20),
        b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
def test_whatever_an_issuer_answers_is_a_fault_of_now(auth_file, answer):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        login = OidcLogin(OidcSettings(url, "dicomferry"), TokenFile(auth_file[0]))

        def reply():
            with server.accept()[0] as connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(answer)

        thread = threading.Thread(target=reply)
        thread.start()
        token = jwt.encode({"sub": "a"}, RSA, "RS256", {"kid": "rsa"})
        assert refusal(login, token)[0] == UNAVAILABLE
        thread.join()


@pytest.mark.parametrize(
    "url",
    ["http://localhost.evil.example", "http://i.example", "https://a@b.example", "file:///etc"],
)
def test_an_issuer_is_reached_by_tls_alone(url):
    assert not is_issuer_url(url)


@pytest.mark.parametrize("fault", ["another name", "no keys", "gone"])
def test_an_issuer_that_gives_no_keys_is_a_fault_of_now(login, issuer, fault, caplog):
    token = issuer.token()
    if fault == "another name":
        issuer.name = "https://other.example"
    elif fault == "no keys":
        issuer.keys.clear()
    else:
        issuer.answer = lambda path: ["no object"]
    assert refusal(login, token)[0] == UNAVAILABLE
    assert "logins by OpenID Connect are refused" in caplog.text
    assert token not in caplog.text


def test_what_a_subject_has_gives_no_commands_to_logs(login, issuer):
    token = issuer.token(sub="a\n\x1b[31m" + "b" * 500)
    assert login.authenticate(f"Bearer {token}").name == "readers/a???31m" + "b" * 93


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"oidc_issuer": "https://i.example"}, "needs both"),
        ({"oidc_audience": "a"}, "needs both"),
        ({"oidc_issuer": "http://i.example", "oidc_audience": "a"}, "use https"),
        ({"oidc_issuer": "https://i.example", "oidc_audience": "a"}, "needs --auth"),
    ],
)
def test_wrong_settings_are_refused(root, settings, message):
    with pytest.raises(ValueError, match=message):
        Settings(root, **settings).check()


@pytest.mark.parametrize(
    "change",
    [{"group": " "}, {"group": 1}, {"group": ["a"]}, {"sha256": "0" * 64, "group": "a"}],
    ids=str,
)
def test_a_wrong_line_of_a_group_is_refused(tmp_path, change):
    line = {"name": "a", "group": "g", "permissions": [GET], "resources": ["*"]} | change
    path = tmp_path / "auth.jsonl"
    path.write_text(json.dumps(line))
    path.chmod(0o600)
    with pytest.raises(AuthFileError, match="line 1 of the auth file"):
        TokenFile(str(path))
