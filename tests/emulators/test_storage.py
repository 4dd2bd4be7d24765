"""The storage emulator behaves as the service does, where this project relies on it."""

import asyncio
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import deltalake
import obstore
import pyarrow as pa
import pytest
from deltalake.exceptions import CommitFailedError
from google.api_core.exceptions import NotFound, PreconditionFailed
from obstore.exceptions import AlreadyExistsError, PreconditionError

from dicomferry.storage.gs_clients import bucket_store, delta_storage_options
from tests.emulators.out_of_reach import metadata_server_not_asked
from tests.emulators.storage import StorageEmulator

_REPOSITORY = Path(__file__).parents[2]
_numbers = itertools.count()


@pytest.fixture
def bucket(gcs: StorageEmulator) -> Any:
    """A new bucket of google-cloud-storage, the other side of all that is done by obstore."""
    return gcs.bucket(f"emulated-{next(_numbers)}")


def test_a_create_only_put_leaves_what_is_there(bucket: Any) -> None:
    store = bucket_store(bucket.name)
    obstore.put(store, "dir/a", b"first", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(store, "dir/a", b"second", mode="create")
    assert bucket.blob("dir/a").download_as_bytes() == b"first"


def test_of_many_create_only_puts_at_once_one_wins(bucket: Any) -> None:
    store = bucket_store(bucket.name)

    async def race(name: str) -> list[Any]:
        puts = (obstore.put_async(store, name, bytes([n]), mode="create") for n in range(20))
        return await asyncio.gather(*puts, return_exceptions=True)

    for name in "abcdefgh":  # the first connections are made one after the other: no race yet
        results = asyncio.run(race(name))
        losers = [result for result in results if isinstance(result, AlreadyExistsError)]
        (winner,) = [n for n, result in enumerate(results) if result not in losers]
        assert bucket.blob(name).download_as_bytes() == bytes([winner])


def test_an_update_needs_the_version_that_is_there(bucket: Any) -> None:
    store = bucket_store(bucket.name)
    first: Any = obstore.put(store, "a", b"1")
    obstore.put(store, "a", b"2", mode=first)
    with pytest.raises(PreconditionError):
        obstore.put(store, "a", b"3", mode=first)
    assert bucket.blob("a").download_as_bytes() == b"2"


def test_ranges_and_versions_are_served(bucket: Any) -> None:
    store = bucket_store(bucket.name)
    obstore.put(store, "a", b"0123456789")
    assert bytes(obstore.get_range(store, "a", start=3, length=4)) == b"3456"
    assert bytes(obstore.get_range(store, "a", start=8, length=9)) == b"89"
    about = obstore.head(store, "a")
    assert about["size"] == 10
    pinned: Any = {"version": about["version"]}
    assert bytes(obstore.get(store, "a", options=pinned).bytes()) == b"0123456789"
    obstore.put(store, "a", b"new")
    with pytest.raises(FileNotFoundError):
        obstore.get(store, "a", options=pinned)


def test_reads_can_be_conditional(bucket: Any) -> None:
    store = bucket_store(bucket.name)
    etag = obstore.put(store, "a", b"1")["e_tag"]
    obstore.get(store, "a", options={"if_match": etag})
    with pytest.raises(PreconditionError):
        obstore.get(store, "a", options={"if_match": '"other"'})
    with pytest.raises(obstore.exceptions.NotModifiedError):
        obstore.get(store, "a", options={"if_none_match": etag})


def test_what_is_not_there_is_not_found(bucket: Any) -> None:
    store = bucket_store(bucket.name)
    for ask in (obstore.get, obstore.head, obstore.delete):
        with pytest.raises(FileNotFoundError):
            ask(store, "a")
    with pytest.raises(obstore.exceptions.GenericError, match="bucket does not exist"):
        list(obstore.list(bucket_store("no-such-bucket")))


def test_an_object_is_copied_and_deleted(bucket: Any) -> None:
    store = bucket_store(bucket.name)
    obstore.put(store, "a", b"1")
    obstore.copy(store, "a", "b", overwrite=False)
    with pytest.raises(AlreadyExistsError):
        obstore.copy(store, "a", "b", overwrite=False)
    obstore.delete(store, "a")
    assert [blob.name for blob in bucket.list_blobs()] == ["b"]


def test_a_large_object_is_put_in_parts_and_read_as_it_was(bucket: Any) -> None:
    content = os.urandom(12 << 20)
    store = bucket_store(bucket.name)
    obstore.put(store, "a", content, use_multipart=True, chunk_size=5 << 20)
    assert bucket.blob("a").download_as_bytes() == content
    assert bytes(obstore.get(store, "a").bytes()) == content


def test_a_listing_has_pages_prefixes_and_a_start(bucket: Any) -> None:
    store = bucket_store(bucket.name)
    for name in ("a/1", "a/2", "b/1", "c", "new&<>é"):
        bucket.blob(name).upload_from_string(b"x")
    assert [meta["path"] for page in obstore.list(store) for meta in page] == [
        *("a/1", "a/2", "b/1", "c", "new&<>é"),
    ]
    after = [meta["path"] for page in obstore.list(store, offset="a/2") for meta in page]
    assert after == ["b/1", "c", "new&<>é"]
    level = obstore.list_with_delimiter(store)
    assert level["common_prefixes"] == ["a", "b"]
    assert [meta["path"] for meta in level["objects"]] == ["c", "new&<>é"]


@pytest.mark.parametrize("chunk_size", [None, 256 << 10], ids=["at once", "resumable"])
def test_an_upload_can_be_conditional(bucket: Any, chunk_size: int | None) -> None:
    content = os.urandom(600 << 10)
    for_first = bucket.blob("a", chunk_size=chunk_size)
    for_first.upload_from_file(io.BytesIO(content), if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        bucket.blob("a", chunk_size=chunk_size).upload_from_file(
            io.BytesIO(b"x" * len(content)), if_generation_match=0
        )
    assert bucket.blob("a").download_as_bytes() == content


def test_a_rewrite_can_be_conditional_on_both_sides(bucket: Any) -> None:
    source = bucket.blob("a")
    source.upload_from_string(b"1")
    for generations in ({"if_source_generation_match": 5}, {"if_generation_match": 5}):
        with pytest.raises(PreconditionFailed):
            bucket.blob("b").rewrite(source, **generations)
    right = {"if_source_generation_match": source.generation, "if_generation_match": 0}
    bucket.blob("b").rewrite(source, **right)
    with pytest.raises(PreconditionFailed):
        bucket.blob("b").rewrite(source, **right)
    bucket.blob("a").upload_from_string(b"2")
    with pytest.raises(NotFound):
        bucket.blob("c").rewrite(source)
    assert bucket.blob("b").download_as_bytes() == b"1"


def test_a_deletion_can_be_conditional(bucket: Any) -> None:
    blob = bucket.blob("a")
    blob.upload_from_string(b"1")
    with pytest.raises(PreconditionFailed):
        bucket.blob("a").delete(if_generation_match=5)
    blob.delete(if_generation_match=blob.generation)
    assert not blob.exists()


def test_a_condition_that_is_not_emulated_is_refused(gcs: StorageEmulator, bucket: Any) -> None:
    bucket.blob("a").upload_from_string(b"1")
    url = f"{gcs.url}/storage/v1/b/{bucket.name}/o/a?ifMetagenerationMatch=9"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url)
    assert refused.value.code == 501


def test_a_delta_table_is_written_read_and_kept_from_conflicts(bucket: Any) -> None:
    uri, options = f"gs://{bucket.name}/dir/table", delta_storage_options()
    deltalake.write_deltalake(uri, pa.table({"n": [1]}), storage_options=options)
    imported = deltalake.CommitProperties(app_transactions=[deltalake.Transaction("import", 1)])
    early, late = (deltalake.DeltaTable(uri, storage_options=options) for _ in range(2))

    def append(table: deltalake.DeltaTable, n: int) -> None:
        rows = pa.table({"n": [n]})
        deltalake.write_deltalake(table, rows, mode="append", commit_properties=imported)

    append(early, 2)
    with pytest.raises(CommitFailedError):
        append(late, 3)
    found = deltalake.DeltaTable(uri, storage_options=options).to_pyarrow_table()
    assert sorted(found["n"].to_pylist()) == [1, 2]


def test_beam_finds_its_way_without_asking_for_credentials(bucket: Any) -> None:
    bucket.blob("dir/a").upload_from_string(b"1")
    program = (
        "from apache_beam.io.filesystems import FileSystems;"
        f"found = FileSystems.match(['gs://{bucket.name}/dir/*'])[0].metadata_list;"
        "print(len(found))"
    )
    command = [sys.executable, "-W", "ignore", "-c", program]
    with metadata_server_not_asked() as environment:
        ended = subprocess.run(
            command, env=os.environ | environment, stdout=subprocess.PIPE, text=True, check=True
        )
    assert ended.stdout.split() == ["1"]


def test_the_service_account_gets_its_tokens_from_the_emulator(gcs: StorageEmulator) -> None:
    account = json.loads(Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]).read_text())
    assert account["token_uri"].startswith(gcs.url)
    request = urllib.request.Request(account["token_uri"], data=b"grant_type=x", method="POST")
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["access_token"]


def test_the_program_prints_the_address_and_makes_buckets(gcs: StorageEmulator) -> None:
    command = [sys.executable, "-m", "tests.emulators.storage", "--bucket", "demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY) as program:
        assert program.stdout is not None
        url, export = program.stdout.readline().strip(), program.stdout.readline()
        with urllib.request.urlopen(f"{url}/storage/v1/b/demo") as answer:
            assert json.load(answer)["name"] == "demo"
        assert f"STORAGE_EMULATOR_HOST={url}" in export
        program.send_signal(signal.SIGTERM)
        assert program.wait(20) == 0
    assert url != gcs.url
    assert _ends(url)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_the_emulator_ends_with_the_process_that_started_it(signum: int) -> None:
    program = (
        "import time; from tests.emulators.storage import storage_emulator\n"
        "with storage_emulator() as emulator: print(emulator.url, flush=True); time.sleep(100)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=_REPOSITORY) as starter:
        assert starter.stdout is not None
        url = starter.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}/storage/v1/b"):
            pass
        starter.send_signal(signum)
        starter.wait(20)
    assert _ends(url)


def _ends(url: str) -> bool:
    """Return whether nothing answers there, now or soon."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"{url}/storage/v1/b"):
                time.sleep(0.1)
        except (urllib.error.URLError, ConnectionError):
            return True
    return False
