"""BigQuery out of reach: its tables say so soon, in one way, with the remedy where there is one."""

import http.client
import pickle

import google.api_core.exceptions
import google.auth.exceptions
import google.resumable_media
import pytest
import requests.exceptions
import urllib3.exceptions
from google.cloud.bigquery import DEFAULT_RETRY
from google.rpc.code_pb2 import (
    PERMISSION_DENIED,
    RESOURCE_EXHAUSTED,
    UNAUTHENTICATED,
    UNAVAILABLE,
)

from dicomferry.storage.failures import storage_errors
from dicomferry.storage.network_failures import network_errors, network_failure_text
from dicomferry.tables import bigquery_calls, bigquery_load
from dicomferry.tables.bigquery_calls import client_for
from dicomferry.tables.destination import Load, WriteDisposition, parse_destination
from dicomferry.tables.errors import TableOutOfReachError
from dicomferry.tables.schema import Field
from tests.emulators.out_of_reach import answering, refusing, silent, unknown_name
from tests.tables.fake_bigquery import PROJECT

APPEND = WriteDisposition.WRITE_APPEND
SCHEMA = (Field("Modality", "STRING"),)
DESTINATION = parse_destination(f"bq://{PROJECT}.data.instances")
WAYS = {
    "nobody listens": (refusing, UNAVAILABLE, "it refuses the connection"),
    "no answer": (silent, UNAVAILABLE, "it did not answer in time"),
    "no such name": (unknown_name, UNAVAILABLE, r"its name is unknown \(DNS\)"),
    "503": (lambda: answering(503, "backendError"), UNAVAILABLE, "it answers 503 backendError"),
    "500": (lambda: answering(500), UNAVAILABLE, "it answers 500"),
    "400": (lambda: answering(400, "invalid"), UNAVAILABLE, "it answers 400 invalid"),
    "429": (lambda: answering(429), UNAVAILABLE, "it answers 429"),
    "a login page": (lambda: answering(200, body=b"<html>"), UNAVAILABLE, "JSONDecodeError"),
    "401": (lambda: answering(401, "authError"), UNAUTHENTICATED, "application-default login"),
    "used up": (
        lambda: answering(403, "quotaExceeded"),
        RESOURCE_EXHAUSTED,
        rf"a quota of {PROJECT} is used up, or it has no billing \(quotaExceeded\)",
    ),
    "forbidden": (
        lambda: answering(403, "accessDenied"),
        PERMISSION_DENIED,
        "BigQuery Data Editor",
    ),
}


@pytest.fixture
def brief(monkeypatch):
    """Patience is a fraction of a second."""
    for patience in (bigquery_calls.ASKING, bigquery_calls.FOLLOWING):
        retry = DEFAULT_RETRY.with_timeout(0.2).with_delay(0.05, 0.05)
        monkeypatch.setitem(patience, "retry", retry)
        monkeypatch.setitem(patience, "timeout", 0.1)
    monkeypatch.setattr(bigquery_load, "_UPLOAD_RETRIES", 0)


@pytest.mark.parametrize("way", WAYS)
def test_it_is_told_by_both_methods_of_a_table(way, brief, shards, monkeypatch):
    place, code, text = WAYS[way]
    with place() as address:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", address)
        for call in (
            lambda: DESTINATION.check(APPEND),
            lambda: DESTINATION.load(Load(shards([]), SCHEMA, APPEND, "j")),
        ):
            with pytest.raises(TableOutOfReachError, match=text) as told:
                call()
            assert told.value.code == code
            assert DESTINATION.uri in str(told.value)
            assert "127.0.0.1" not in str(told.value)


def test_no_call_waits_for_ever_by_default():
    """The client's own default is None: a service that accepts and is silent would hold it."""
    for patience in (bigquery_calls.ASKING, bigquery_calls.FOLLOWING):
        assert patience["timeout"] <= 30
        assert patience["retry"].timeout <= 300


def test_a_silent_service_at_any_step_is_given_up(bigquery, brief, shards, monkeypatch):
    """Each request of a load in turn is the one that is not answered."""
    answered, steps = 0, []
    handler = requests.Session.request

    def request(session, method, url, **kwargs):
        assert kwargs.get("timeout"), f"{method} {url} would wait for ever"
        steps.append(method)
        if len(steps) > answered:
            raise requests.exceptions.ReadTimeout("silent")
        return handler(session, method, url, **kwargs)

    bigquery.show = lambda job: {**job, "status": {"state": "RUNNING"}}
    monkeypatch.setattr(bigquery_load.time, "sleep", lambda _: None)
    monkeypatch.setattr(requests.Session, "request", request)
    bigquery.tables["data.instances"] = {"fields": [], "rows": [], "type": "TABLE"}
    for answered in range(7):
        steps.clear()
        bigquery.jobs.clear()
        with pytest.raises(TableOutOfReachError, match="it did not answer in time"):
            DESTINATION.load(Load(shards([{"Modality": "CT"}]), SCHEMA, APPEND, "j"))
        assert len(steps) > answered
    assert "PUT" in steps  # the upload was among them


MODULES = (
    google.api_core.exceptions,
    google.auth.exceptions,
    google.resumable_media.common,
    requests.exceptions,
    urllib3.exceptions,
    http.client,
)
# What callers did wrong is no failure.
MISTAKES = (
    AssertionError,
    NotImplementedError,
    Warning,
    urllib3.exceptions.ProxySchemeUnsupported,
)
RAISED = [
    kind
    for module in MODULES
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Exception) and not issubclass(kind, MISTAKES)
    if kind.__module__.partition(".")[0] == module.__name__.partition(".")[0]
]


@pytest.mark.parametrize("kind", RAISED, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_any_exception_of_the_clients_libraries_counts(kind):
    assert issubclass(kind, network_errors())
    assert issubclass(kind, storage_errors())
    error = kind.__new__(kind)
    assert network_failure_text(error)


def test_a_disk_that_fails_is_not_bigquery():
    assert not isinstance(OSError(5, "Input/output error"), network_errors())
    assert not isinstance(FileNotFoundError(), network_errors())


@pytest.mark.parametrize("given", ["/missing/key.json", ""])
def test_credentials_that_are_missing_are_told_with_the_remedy(given, monkeypatch, tmp_path):
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", given)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(TableOutOfReachError, match="gcloud auth application-default login") as told:
        DESTINATION.check(APPEND)
    assert told.value.code == UNAUTHENTICATED


def test_credentials_of_which_the_token_cannot_be_had_are_told(brief, monkeypatch, tmp_path):
    key = tmp_path / "key.json"
    key.write_text(
        '{"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}'
    )
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key))
    with answering(400, body=b'{"error": "invalid_grant"}') as address:
        monkeypatch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", address)
        with pytest.raises(TableOutOfReachError, match="does not accept the credentials"):
            DESTINATION.check(APPEND)


def test_without_an_emulator_the_client_is_googles_own(monkeypatch):
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST", raising=False)
    made = {}
    monkeypatch.setattr(
        bigquery_calls.bigquery, "Client", lambda *args, **kwargs: made.update(args=args, **kwargs)
    )
    client_for(DESTINATION)
    assert made == {"args": (PROJECT,)}


def test_the_error_crosses_processes():
    error = pickle.loads(pickle.dumps(TableOutOfReachError("x", RESOURCE_EXHAUSTED)))
    assert (str(error), error.code) == ("x", RESOURCE_EXHAUSTED)
