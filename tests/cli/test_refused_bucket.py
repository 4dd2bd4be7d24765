"""A bucket that refuses: one line with the remedy, and exit code 3."""

import http.server
import sys
import threading

import pytest
from google.api_core.exceptions import Forbidden
from google.auth.exceptions import RefreshError
from obstore.exceptions import GenericError

from dicomferry.cli import main
from dicomferry.storage.failures import storage_message

LOGIN = "gcloud auth application-default login"
REMEDIES = {401: LOGIN, 403: "ask for a role on the bucket", 404: "create the bucket"}


@pytest.fixture
def refusing(monkeypatch):
    """Make a bucket answer every request with a status; the fixture is a function of it."""
    servers = []

    def refuse(code):
        class Refusing(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_PUT = do_POST = do_HEAD = do_DELETE = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")

    yield refuse
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("command", [["stores", "list"], ["stores", "create", "trial"]])
@pytest.mark.parametrize("code", REMEDIES)
def test_a_command_says_what_to_do(refusing, monkeypatch, capsys, code, command):
    refusing(code)
    monkeypatch.setattr(sys, "argv", ["dicomferry", *command, "--root=gs://bucket/stores"])
    with pytest.raises(SystemExit) as end:
        main.main()
    out, error = capsys.readouterr()
    assert (end.value.code, out) == (3, "")
    assert error.startswith("error: ")
    assert REMEDIES[code] in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (RefreshError("invalid_grant: Bad Request"), LOGIN),
        (Forbidden("no"), REMEDIES[403]),
        (
            GenericError(
                "Error performing token request: Error performing a request in 1ms - Server "
                'returned non-2xx status code: 400 Bad Request: {"error": "invalid_grant"}'
            ),
            LOGIN,
        ),
        (GenericError("status code: 500 Internal Server Error"), "500 Internal Server Error"),
        (OSError(28, "No space left"), "No space left: free some space there"),
        (PermissionError(13, "Permission denied", "/x"), "grant this user permission"),
        (FileNotFoundError(2, "No such file", "/x"), "it does not exist: correct the name"),
        (OSError(30, "Read-only file system"), "is read-only: name another place"),
        (
            GenericError("Unable to open /x: Permission denied (os error 13)"),
            "grant this user permission",
        ),
    ],
)
def test_each_library_has_words_of_its_own_for_it(error, remedy):
    assert remedy in storage_message(error)
