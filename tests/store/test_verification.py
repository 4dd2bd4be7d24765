"""Verification: damage is found wherever it is, by a run that was stopped as by a whole one."""

import hashlib
import os
from collections import Counter

import google_crc32c
import pytest

from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store import verification
from dicomferry.store.dicom_store import create_store
from dicomferry.store.verification import VerifyLog, count_rows, verify
from dicomferry.transforms.commit_instances import commit
from tests.factories import make_instance

_NO_METADATA = b"\x28\xb5\x2f\xfd\x20\x02\x11\x00\x00{}"  # zstd of {}


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store of 20 instances in five index files, verified in batches of three."""
    monkeypatch.setattr(verification, "_BATCH_ROWS", 3)
    store = create_store(open_storage(str(tmp_path / "root")), parse_store("trial"))
    for first in range(0, 20, 4):
        _add_rows(store, range(first, first + 4))
    return store


def _add_rows(store, numbers):
    copies = []
    for number in numbers:
        content = b"content of %d" % number
        copies.append(
            make_instance(
                sop_instance_uid=f"1.2.{number}",
                blob=f"instances/1/1/1.2.{number}/x.dcm",
                size=len(content),
                sha256=hashlib.sha256(content).hexdigest(),
                crc32c=google_crc32c.value(content),
                metadata=_NO_METADATA,
            )
        )
        store.data.write(copies[-1].blob, content)
    commit(store.data, copies, f"op{numbers[0]}")


def _blobs(store):
    paths = (entry.path for entry in store.data.list("instances"))
    return [os.path.join(store.data.root, path) for path in sorted(paths)]


def _overwrite(path, content):
    with open(path, "wb") as file:
        file.write(content)


def _uids(findings):
    return Counter(finding.sop_instance_uid for finding in findings)


def test_each_row_is_verified_once(store):
    findings = list(verify(store))
    assert len(findings) == count_rows(store) == 20
    assert set(_uids(findings).values()) == {1}
    assert not any(finding.problem for finding in findings)


def test_every_kind_of_damage_is_found(store):
    paths = _blobs(store)
    os.unlink(paths[0])
    _overwrite(paths[7], b"")
    _overwrite(paths[19], b"!" * os.path.getsize(paths[19]))
    problems = [finding.problem for finding in verify(store) if finding.problem]
    assert sorted(problems) == ["missing", "wrong checksum", "wrong size"]


@pytest.mark.parametrize("stopped_after", range(1, 20, 3))
def test_a_stopped_run_goes_on_with_its_log(store, tmp_path, stopped_after):
    os.unlink(_blobs(store)[0])
    path = str(tmp_path / "verified.jsonl")
    first = verify(store, log=VerifyLog(path, str(store.name)))
    seen = [next(first) for _ in range(stopped_after)]
    first.close()
    with open(path, "ab") as file:
        file.write(b'{"file": "cut by a ki')
    log = VerifyLog(path, str(store.name))
    left = count_rows(store, log)
    assert left <= 20 - stopped_after + 4
    rest = list(verify(store, log=log))
    seen += rest
    assert len(rest) == left
    assert len(_uids(seen)) == 20
    assert [problem.problem for problem in log.problems] == ["missing"]
    assert VerifyLog(path, str(store.name)).problems == log.problems
    _add_rows(store, [20, 21])
    assert len(list(verify(store, log=VerifyLog(path, str(store.name))))) == 2


def test_a_sample_is_a_share_of_the_rows_others_each_time(store):
    counts = Counter()
    for _ in range(60):
        findings = list(verify(store, sample=0.25))
        assert len(findings) < 20
        counts += _uids(findings)
    assert len(counts) == 20
    assert 180 < counts.total() < 420


@pytest.mark.parametrize("text", ["{}", "no json\n", '{"store": "other"}\n', '["store"]\n'])
def test_a_file_that_is_no_log_of_the_store_is_refused_and_kept(tmp_path, text):
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a log of verifying trial"):
        VerifyLog(str(path), "trial")
    assert path.read_text() == text
