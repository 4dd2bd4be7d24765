"""Clients of Google Cloud Storage.

They use application default credentials or, where STORAGE_EMULATOR_HOST is set as for Google's own
clients, that address without credentials.
"""

import functools
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import GCSStore

from dicomferry.storage.errors import NoCredentialsError
from dicomferry.storage.retries import delta_retry_options, retry_config

if TYPE_CHECKING:
    from google.cloud import storage
    from obstore.store import ClientConfig, RetryConfig

# Listings and reads of one process go through one client, from this many threads at most.
MAX_THREADS = 16

# Of the question whether a bucket exists, which a caller waits for.
_ASKING_SECONDS = 3
_NO_OBJECT = "dicomferry-asks-for-the-bucket"

_reading_stores: dict[tuple[str, str | None], GCSStore] = {}
_clients: dict[tuple[int, str | None], "storage.Client"] = {}


def bucket_store(bucket: str, headers: dict[str, str] | None = None) -> GCSStore:
    """Return an obstore client of a bucket, which can be pickled.

    Args:
        bucket: its name.
        headers: sent with each request.
    """
    return _connect(bucket, {"default_headers": dict(headers or {})}, retry_config())


def is_missing(bucket: str) -> bool:
    """Whether a bucket is known not to exist: one request, of a few seconds at most.

    False too if that cannot be asked: the network is away, or objects may not be listed.
    """
    seconds = f"{_ASKING_SECONDS}s"
    store = _connect(
        bucket,
        {"timeout": seconds, "connect_timeout": seconds},
        {**retry_config(), "max_retries": 0},
    )
    try:
        obstore.list(store, _NO_OBJECT).collect()
    except (BaseError, OSError) as error:
        # obstore has no exception for it; a token request can answer 404 as well.
        text = str(error)
        return "Error performing list request" in text and "404 Not Found" in text
    return False


def _connect(bucket: str, options: "ClientConfig", retries: "RetryConfig") -> GCSStore:
    endpoint = emulator()
    if endpoint is None:
        _require_credentials()
        return GCSStore(bucket, client_options=options, retry_config=retries)
    return GCSStore(
        bucket,
        config={"service_account_key": _emulator_key(endpoint)},
        client_options={**options, "allow_http": True},
        retry_config=retries,
    )


@functools.cache
def _require_credentials() -> None:
    """Find application default credentials before a client looks for them again and again.

    Raises:
        NoCredentialsError: there are none: neither of a file, nor of the machine.
    """
    file = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    config = os.environ.get("CLOUDSDK_CONFIG") or Path.home() / ".config" / "gcloud"
    if file or Path(config, "application_default_credentials.json").exists():
        return
    # Google's machines answer in milliseconds; others may not answer at all, in three attempts.
    os.environ.setdefault("GCE_METADATA_TIMEOUT", "1")
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    logging.getLogger("google.auth").setLevel(logging.ERROR)  # it warns of what is told below
    try:
        google.auth.default()
    except DefaultCredentialsError:
        raise NoCredentialsError(
            "gs:// needs Google credentials, and there are none on this machine: run "
            "`gcloud auth application-default login`, or name a key file in "
            "GOOGLE_APPLICATION_CREDENTIALS"
        ) from None


def reading_store(bucket: str) -> GCSStore:
    """Return a client that reads the objects of a bucket as stored, one per process.

    Otherwise the service would decompress an object with `Content-Encoding: gzip`, and then accept
    no ranges. Not for listings: these could come compressed, and obstore does not decompress them.
    """
    key = (bucket, emulator())
    if key not in _reading_stores:
        _reading_stores[key] = bucket_store(bucket, headers={"accept-encoding": "gzip"})
    return _reading_stores[key]


def delta_storage_options() -> dict[str, str]:
    """Return the `storage_options` with which deltalake opens a gs:// table."""
    endpoint = emulator()
    if endpoint is None:
        _require_credentials()
        return delta_retry_options()
    key = _emulator_key(endpoint)
    return {"google_service_account_key": key, "allow_http": "true", **delta_retry_options()}


def client() -> "storage.Client":
    """Return the Cloud Storage client of this process.

    obstore is several times cheaper for reads and writes; this client has what obstore lacks:
    generations in listings, server-side rewrites, object names that are not clean paths.
    """
    endpoint = emulator()
    key = (os.getpid(), endpoint)  # a forked process must not share its parent's connections
    if key not in _clients:
        from google.cloud import storage
        from requests.adapters import HTTPAdapter

        # It reads STORAGE_EMULATOR_HOST itself, but would still look for a project.
        if endpoint is None:
            _require_credentials()
        client = storage.Client(project=None if endpoint is None else "emulated")
        # The default pool keeps 10 connections and drops, with a warning, what goes beyond.
        for scheme in ("https://", "http://"):
            client._http.mount(scheme, HTTPAdapter(pool_maxsize=2 * MAX_THREADS))
        _clients[key] = client
    return _clients[key]


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and object name of the gs:// URI of one object."""
    bucket, _, name = uri.removeprefix("gs://").partition("/")
    return bucket, name


def emulator() -> str | None:
    """Return the URL of the emulator in use, None for the real service."""
    host = os.environ.get("STORAGE_EMULATOR_HOST")
    if not host:
        return None
    return (host if "://" in host else f"http://{host}").rstrip("/")


def _emulator_key(endpoint: str) -> str:
    return json.dumps(
        {
            "gcs_base_url": endpoint,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
    )
