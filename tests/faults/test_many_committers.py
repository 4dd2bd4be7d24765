"""Many imports that want to commit at the same moment all do, each once."""

import os
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from dicomferry.store.index import Index
from dicomferry.store.index_commit import commit_files
from dicomferry.transforms.commit_instances import confirm
from dicomferry.transforms.prepare_instances import prepare
from tests.pipelines.jobs import new_store
from tests.transforms.test_commit_instances import instance, uids

# `make test-faults` has five times as many runs; then as many as failed before.
COMMITTERS = 80 if int(os.environ.get("DICOMFERRY_FAULT_RUNS", "1")) > 1 else 12


def test_committers_at_once_all_commit_once_and_share_what_they_dispute(root):
    data = new_store(root).data
    ready = threading.Barrier(COMMITTERS)

    def run(number):
        copies = [instance(1000 + number), instance(7, source_uri=f"/{number}/7.dcm")]
        prepared = prepare(data, copies, f"op{number}")
        ready.wait()
        committed = commit_files(data, prepared.files)
        [judged] = prepared.judged()
        verdicts = confirm(lambda: Index(data), judged, committed.changed, f"op{number}")
        return committed.lost_races, [verdict.outcome for verdict in verdicts]

    began = time.monotonic()
    with ThreadPoolExecutor(COMMITTERS) as threads:
        found = list(threads.map(run, range(COMMITTERS)))
    seconds = time.monotonic() - began
    lost = sum(races for races, _ in found)
    print(f"{COMMITTERS} committers: {seconds:.1f} s, {lost} lost races")
    outcomes = Counter(outcome for _, each in found for outcome in each)
    assert outcomes == {"imported": COMMITTERS + 1, "duplicate": COMMITTERS - 1}
    assert len(uids(data)) == len(set(uids(data))) == COMMITTERS + 1
    assert Index(data).version == COMMITTERS
    assert lost, "nobody was overtaken"
