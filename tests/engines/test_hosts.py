"""Jobs whose workers are on hosts of their own, one of which is lost or cut off in the midst."""

import contextlib
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store
from tests.corpus import CORPUS, corpus_files
from tests.emulators.storage import storage_emulator
from tests.engines.cluster import ATTEMPTS
from tests.engines.hosts import HERE, hosts, needs_hosts
from tests.engines.prism import REPOSITORY
from tests.factories import dicom_bytes
from tests.pipelines.jobs import STORE, check_accounts, images, run_export, run_import
from tests.pipelines.test_portable_runner import (
    bucket_rows,
    free_port,
    objects,
    run_export_table,
    table_rows,
    wait_until_open,
)

MANY = int(os.environ.get("DICOMFERRY_HOST_FILES", "0"))
RUNS = int(os.environ.get("DICOMFERRY_HOST_RUNS", "0"))
SEED = int(os.environ.get("DICOMFERRY_FAULT_SEED") or random.randrange(10**6))
JPEG_LS = "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.80"
FILES = images(600, pixels=bytes(range(256)) * 2, Rows=16, Columns=16) | {
    "copy.dcm": images(1, pixels=bytes(range(256)) * 2, Rows=16, Columns=16)["000.dcm"],
    "conflict.dcm": dicom_bytes(sop="1.2.1.1.2", pixels=b"\1" * 32),
    "notes.txt": b"not DICOM at all" * 20,
}
PORT = 50000
pytestmark = [
    pytest.mark.skipif(not RUNS, reason="hosts of our own: `make test-engines` makes them"),
    pytest.mark.timeout(600),
]


class Cluster(NamedTuple):
    """Two hosts with a worker pool each, the engine, and a bucket with files."""

    hosts: list
    gcs: object
    bucket: object
    flags: list
    log: object

    def start_pool(self, host):
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
        module = "apache_beam.runners.worker.worker_pool_main"
        host.start(
            [sys.executable, "-m", module, f"--service_port={PORT}"],
            {**self.gcs.environment, "PATH": path, "PYTHONPATH": str(REPOSITORY)},
        )

    def told(self, since=0):
        """What the engine has told of attempts."""
        return [json.loads(line) for line in self.log.read_text().splitlines()[since:]]

    def wait_for_work(self, host, stop):
        """Wait until a bundle begins on a host."""
        seen = len(self.told())
        while not stop.wait(0.05):
            begun = (line for line in self.told(seen) if "error" not in line)
            if any(line["pool"].startswith(f"{host.address}:") for line in begun):
                return


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    needs_hosts()
    folder = tmp_path_factory.mktemp("cluster")
    log = folder / "attempts.jsonl"
    with hosts(2, folder) as two, storage_emulator(HERE) as gcs:
        bucket = gcs.bucket(f"hosts-{os.urandom(6).hex()}")
        for name, content in FILES.items():
            bucket.blob(f"in/{name}").upload_from_string(content)
        port = free_port()
        flags = [f"--job_endpoint=localhost:{port}", "--environment_type=EXTERNAL"]
        flags += ["--runner=PortableRunner", f"--environment_config={two[0].address}:{PORT}"]
        made = Cluster(two, gcs, bucket, flags, log)
        for host in two:
            made.start_pool(host)
        pools = [f"{host.address}:{PORT}" for host in two]
        command = [sys.executable, "-m", "tests.engines.cluster", str(port), HERE, log, *pools]
        with (folder / "engine.log").open("wb") as output:
            engine = subprocess.Popen(
                command, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT
            )
        try:
            wait_until_open(port, engine)
            yield made
        finally:
            engine.kill()
            engine.wait()


class Results(NamedTuple):
    """What an import and two exports leave."""

    outcomes: dict
    rows: dict
    failed: dict
    files: dict
    table: list


def loop(cluster, name, *flags, folder="in", files=FILES):
    """Import the files of a folder, export transcoded, and export to a table."""
    base, source = f"gs://{cluster.bucket.name}/{name}", f"gs://{cluster.bucket.name}/{folder}"
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
        objects(cluster.bucket, f"{name}/out/"),
        table_rows(f"{base}/table"),
    )


@pytest.fixture(scope="module")
def local(cluster):
    """What the default runner leaves."""
    results = loop(cluster, "local")
    assert len(results.rows) == len(results.files) == len(results.table) == 600
    assert not results.failed
    return results


def test_two_hosts_share_the_work_and_leave_what_one_process_leaves(cluster, local):
    before = len(cluster.told())
    assert loop(cluster, "remote", *cluster.flags) == local
    ends = [line for line in cluster.told(before) if "error" in line]
    by_host = Counter(line["pool"].partition(":")[0] for line in ends if not line["error"])
    assert set(by_host) == {host.address for host in cluster.hosts}
    assert min(by_host.values()) * 3 > max(by_host.values())


def many_files():
    """The corpus, where it is, and as many generated files as are asked for."""
    corpus = corpus_files() if CORPUS.is_dir() else []
    generated = images(MANY, pixels=bytes(range(256)) * 2, Rows=16, Columns=16)
    return {str(path.relative_to(CORPUS)): path.read_bytes() for path in corpus} | generated


@pytest.mark.skipif(not MANY, reason="DICOMFERRY_HOST_FILES says how many files")
@pytest.mark.timeout(3600)
def test_the_corpus_and_many_files_are_on_hosts_what_they_are_here(cluster):
    files = many_files()
    with ThreadPoolExecutor(8) as threads:
        uploads = [
            threads.submit(cluster.bucket.blob(f"many/{name}").upload_from_string, content)
            for name, content in files.items()
        ]
        for upload in uploads:
            upload.result()
    here = loop(cluster, "many-local", folder="many", files=files)
    assert len(here.rows) > MANY
    there = loop(cluster, "many-remote", *cluster.flags, folder="many", files=files)
    for name, value in here._asdict().items():
        assert getattr(there, name) == value, name


@contextlib.contextmanager
def disturbing(cluster, host, dice, disturb):
    """Disturb a host at random moments of its work, less often than a bundle is tried."""
    stop, before = threading.Event(), len(cluster.told())

    def run():
        for _ in range(ATTEMPTS - 1):
            for _ in range(dice.randint(1, 10)):
                cluster.wait_for_work(host, stop)
            if not stop.wait(dice.uniform(0, 3)):
                disturb(stop)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    failed = [line for line in cluster.told(before) if line.get("error")]
    print("done again:", failed)


@pytest.mark.parametrize("run", range(RUNS), ids=lambda run: f"{SEED}-{run}")
def test_a_host_that_dies_in_the_midst_loses_and_doubles_nothing(cluster, local, run):
    dice = random.Random(f"{SEED}-{run}")
    host = dice.choice(cluster.hosts)

    def kill(stop):
        host.kill()
        cluster.start_pool(host)
        stop.wait(8)  # until the pool is there

    with disturbing(cluster, host, dice, kill):
        assert loop(cluster, f"killed-{run}", *cluster.flags) == local


@pytest.mark.parametrize("run", range(-(-RUNS // 5)), ids=lambda run: f"{SEED}-{run}")
def test_a_host_that_was_cut_off_for_30_seconds_changes_nothing(cluster, local, run):
    dice = random.Random(f"{SEED}-cut-{run}")
    host = dice.choice(cluster.hosts)

    def cut(stop):
        host.cut()
        time.sleep(30)
        host.mend()

    with disturbing(cluster, host, dice, cut):
        assert loop(cluster, f"cut-{run}", *cluster.flags) == local
