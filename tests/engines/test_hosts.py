"""Jobs whose workers are on hosts of their own, one of which is lost or cut off in the midst."""

import contextlib
import os
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from tests.corpus import CORPUS, corpus_files
from tests.engines.cluster import ATTEMPTS
from tests.engines.host_cluster import cluster_of_hosts
from tests.engines.hosts import needs_hosts, needs_shares
from tests.factories import dicom_bytes
from tests.pipelines.jobs import STORE, check_accounts, images, run_export, run_import
from tests.pipelines.test_portable_runner import (
    bucket_rows,
    objects,
    run_export_table,
    table_rows,
)

MANY = int(os.environ.get("DICOMFERRY_HOST_FILES", "0"))
RUNS = int(os.environ.get("DICOMFERRY_HOST_RUNS", "0"))
SEED = int(os.environ.get("DICOMFERRY_FAULT_SEED") or random.randrange(10**6))
JPEG_LS = "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80"
COUNT = 300
FILES = images(COUNT, pixels=bytes(range(256)) * 2, Rows=16, Columns=16) | {
    "copy.dcm": images(1, pixels=bytes(range(256)) * 2, Rows=16, Columns=16)["000.dcm"],
    "conflict.dcm": dicom_bytes(sop="1.2.1.1.2", pixels=b"\1" * 32),
    "notes.txt": b"not DICOM at all" * 20,
}
pytestmark = [
    pytest.mark.skipif(not RUNS, reason="hosts of our own: `make test-engines` makes them"),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two hosts with a worker each."""
    needs_hosts()
    with cluster_of_hosts(2, tmp_path_factory.mktemp("cluster")) as made:
        yield made


def new_bucket(cluster, files=()):
    """A bucket with files in its folder `in`: listings take the longer, the more a bucket has."""
    bucket = cluster.gcs.bucket(f"hosts-{os.urandom(6).hex()}")
    with ThreadPoolExecutor(8) as threads:
        uploads = [
            threads.submit(bucket.blob(f"in/{name}").upload_from_string, content)
            for name, content in dict(files).items()
        ]
        for each in uploads:
            each.result()
    return bucket


@pytest.fixture(scope="module")
def bucket(cluster):
    """A bucket with the files of most tests."""
    return new_bucket(cluster, FILES)


class Results(NamedTuple):
    """What an import and two exports leave."""

    outcomes: dict
    rows: dict
    failed: dict
    files: dict
    table: list


def loop(cluster, bucket, *flags, files=FILES):
    """Import the files of a bucket, export transcoded, and export to a table."""
    made = new_bucket(cluster)
    base, source = f"gs://{made.name}", f"gs://{bucket.name}/in"
    root = open_storage(f"{base}/stores")
    create_store(root, STORE)
    job = run_import(root, f"{source}/**", *flags)
    check_accounts(job, [f"{source}/{file}" for file in files])
    export = run_export(root, f"{base}/out", f"--mime-type={JPEG_LS}", *flags)
    table = run_export_table(root, f"delta:{base}/table", *flags)
    failed = {each: line for each, line in export.outcomes.items() if "code" in line}
    assert (export.code, table.code) == (bool(failed), 0), (export.operation, table.operation)
    assert len(export.outcomes) == len(bucket_rows(root))
    return Results(
        job.outcomes,
        bucket_rows(root),
        failed,
        objects(made, "out/"),
        table_rows(f"{base}/table"),
    )


@pytest.fixture(scope="module")
def local(cluster, bucket):
    """What the default runner leaves."""
    results = loop(cluster, bucket)
    assert len(results.rows) == len(results.files) == len(results.table) == COUNT
    assert not results.failed
    return results


def test_two_hosts_share_the_work_and_leave_what_one_process_leaves(cluster, bucket, local):
    before, logged = len(cluster.told()), cluster.logged()
    assert loop(cluster, bucket, *cluster.flags) == local
    ends = [line for line in cluster.told(before) if "error" in line]
    by_host = Counter(line["pool"].partition(":")[0] for line in ends if not line["error"])
    assert set(by_host) == {host.address for host in cluster.hosts}
    assert min(by_host.values()) * 3 > max(by_host.values())
    # Nothing is logged but the files that failed.
    lines = list((cluster.logged() - logged).elements())
    codes = [code for code in ("NOT_DICOM", "ALREADY_EXISTS") for line in lines if code in line]
    assert (len(lines), sorted(codes)) == (2, ["ALREADY_EXISTS", "NOT_DICOM"]), lines


def many_files():
    """The corpus, where it is, and as many generated files as are asked for."""
    corpus = corpus_files() if CORPUS.is_dir() else []
    generated = images(MANY, pixels=bytes(range(256)) * 2, Rows=16, Columns=16)
    return {str(path.relative_to(CORPUS)): path.read_bytes() for path in corpus} | generated


@pytest.mark.skipif(not MANY, reason="DICOMFERRY_HOST_FILES says how many files")
@pytest.mark.timeout(3600)
def test_the_corpus_and_many_files_are_on_hosts_what_they_are_here(cluster):
    files = many_files()
    bucket = new_bucket(cluster, files)
    here = loop(cluster, bucket, files=files)
    assert len(here.rows) > MANY
    there = loop(cluster, bucket, *cluster.flags, files=files)
    for name, value in here._asdict().items():
        assert getattr(there, name) == value, name


@contextlib.contextmanager
def disturbing(cluster, host, dice, disturb, times=1):
    """Disturb a host at random moments of its work, less often than a bundle is tried."""
    assert times < ATTEMPTS
    stop, before, begun = threading.Event(), len(cluster.told()), time.monotonic()

    def run():
        for _ in range(times):
            for _ in range(dice.randint(1, 10)):
                bundle = cluster.wait_for_work(host, stop)
            delay = dice.uniform(0, 3)
            if not stop.wait(delay):
                moment = f"{delay:.2f} s after {bundle} began"
                print(f"{host.address} disturbed {moment}, {time.monotonic() - begun:.0f} s in")
                disturb(stop)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    for line in cluster.told(before):
        if line.get("error"):
            print("done again:", line)


@pytest.mark.parametrize("run", range(RUNS), ids=lambda run: f"{SEED}-{run}")
def test_a_host_that_dies_in_the_midst_loses_and_doubles_nothing(cluster, bucket, local, run):
    dice = random.Random(f"{SEED}-{run}")
    host = dice.choice(cluster.hosts)

    def kill(stop):
        host.kill()
        cluster.start_pool(host)
        stop.wait(8)  # until the pool is there

    with disturbing(cluster, host, dice, kill, times=ATTEMPTS - 1):
        assert loop(cluster, bucket, *cluster.flags) == local


@pytest.mark.parametrize("run", range(-(-RUNS // 5)), ids=lambda run: f"{SEED}-{run}")
def test_a_host_that_was_cut_off_for_30_seconds_changes_nothing(cluster, bucket, local, run):
    dice = random.Random(f"{SEED}-cut-{run}")
    host = dice.choice(cluster.hosts)

    def cut(stop):
        host.cut()
        time.sleep(30)
        host.mend()

    with disturbing(cluster, host, dice, cut):
        assert loop(cluster, bucket, *cluster.flags) == local


def test_a_host_with_a_tenth_of_a_core_is_waited_for_and_changes_nothing(cluster, bucket, local):
    needs_shares()
    slow, before = cluster.hosts[0], len(cluster.told())
    with slow.limited(0.1):
        assert loop(cluster, bucket, *cluster.flags) == local
        throttled = slow.throttled()
    ends = [line for line in cluster.told(before) if "error" in line]
    done = Counter(line["pool"].partition(":")[0] for line in ends if not line["error"])
    print("done again:", [line for line in ends if line["error"]])
    assert done[slow.address], "it did nothing"
    assert throttled, "it was as fast as ever"
