"""A job that is killed at any moment is completed by another one, and no reader sees half of it."""

import hashlib
import json
import random
from pathlib import Path
from typing import NamedTuple

import pytest
from deltalake import DeltaTable

from dicomferry.pipelines import import_dicom
from dicomferry.storage.base import Storage
from dicomferry.storage.partial_files import is_partial
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import get_store
from dicomferry.store.index import Index
from dicomferry.store.verification import verify
from tests.factories import dicom_bytes
from tests.faults.jobs_to_kill import PART_FILES, Job, kill_at_random, looking_on, seconds_of_work
from tests.pipelines.jobs import (
    STORE,
    data_folder,
    exported,
    images,
    new_store,
    operation_folders,
    run_export,
    run_import,
    tree,
    without_run,
    write_files,
)
from tests.pipelines.tables import run_table_export, uids

pytestmark = pytest.mark.timeout(400)


def files():
    content = images(200)
    content["010-copy.dcm"] = content["001.dcm"]  # in the same part
    content["021-conflict.dcm"] = dicom_bytes(sop="1.2.1.1.3", pixels=b"\1" * 32)
    content["145-copy.dcm"] = content["003.dcm"]  # in another
    content["150-broken.dcm"] = b"broken"
    content["zz-large.dcm"] = dicom_bytes(sop="1.2.1.1.999", pixels=b"\2" * (9 << 20))
    return content


class Undisturbed(NamedTuple):
    """What a job that nothing befalls starts from and leaves."""

    source: str
    root: Storage
    rows: dict
    blobs: dict
    outcomes: dict
    seconds: float


def blobs(root):
    """Path and SHA-256 of the blobs, without what a killed job was writing: vacuum deletes it."""
    found = tree(data_folder(root).subfolder("instances").root)
    return {path: digest for path, digest in found.items() if not is_partial(path)}


def importing(root, source, workers=2):
    """Start an import as a program."""
    flags = [f"--store={STORE.id}", f"--root={root.root}", f"--source={source}"]
    return Job("import_dicom", *flags, f"--workers={workers}")


def has_blobs(root):
    folder = Path(data_folder(root).root, "instances")
    return lambda: folder.is_dir() and any(folder.iterdir())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("undisturbed")
    source = write_files(scratch / "in", files())
    root = open_storage(str(scratch / "root"))
    new_store(root)
    seconds = seconds_of_work(lambda: importing(root, source), has_blobs(root))
    [folder] = operation_folders(root)
    outcomes = {line["source"]: line for line in folder.outcomes()}
    assert len(outcomes) == 205
    return Undisturbed(source, root, without_run(root), blobs(root), outcomes, seconds)


def store_is_whole(root):
    """Look at the newest version of a store: every row's blob is there, with its bytes."""
    data = data_folder(root)
    checked = set()

    def look():
        table = Index(data).dataset().to_table(columns=["BlobUri", "Sha256", "SOPInstanceUID"])
        if len(set(table["SOPInstanceUID"].to_pylist())) != table.num_rows:
            return "a UID has two rows"
        for blob, digest in zip(
            *(table[n].to_pylist() for n in ("BlobUri", "Sha256")), strict=True
        ):
            if blob not in checked:
                if not Path(data.uri(blob)).is_file():
                    return f"{blob} has a row, but is not there"
                if hashlib.sha256(Path(data.uri(blob)).read_bytes()).hexdigest() != digest:
                    return f"{blob} has a row, and other bytes"
                checked.add(blob)
        for path in Path(data.root, "instances").rglob("*.dcm"):
            name = str(path)
            if name not in checked:
                if hashlib.sha256(path.read_bytes()).hexdigest() != path.stem:
                    return f"{path} has its final name, and not all of its bytes"
                checked.add(name)
        return ""

    return look


def check_accounts_of_killed(root, undisturbed):
    """What the killed import says of itself is true, and not the end."""
    [folder] = operation_folders(root)
    operation = json.loads(folder.storage.read("operation.json"))
    lines = list(folder.outcomes())
    assert len({line["source"] for line in lines}) == len(lines), "a source has two outcomes"
    for line in lines:
        assert line["outcome"] == undisturbed.outcomes[line["source"]]["outcome"]
    if operation["done"]:
        return "after its end"
    assert folder.read().error.code == 10
    stored = without_run(root)
    assert stored.items() <= undisturbed.rows.items()
    assert blobs(root).items() <= undisturbed.blobs.items()
    assert blobs(root), "nothing was on disk"
    # An outcome stands for a row.
    imported = {line["source"] for line in lines if line["outcome"] == "imported"}
    assert imported <= {row["SourceUri"] for row in stored.values()}
    return f"{len(blobs(root))} blobs, {len(stored)} rows, {len(lines)} outcomes"


def test_an_import_killed_at_any_moment_is_completed_by_another(
    undisturbed, root, tmp_path, monkeypatch, seed
):
    dice = random.Random(seed)
    new_store(root)
    with looking_on(store_is_whole(root)) as looks:
        moment = kill_at_random(
            lambda: importing(root, undisturbed.source, dice.choice([0, 2])),
            has_blobs(root),
            undisturbed.seconds,
            dice,
        )
        found = check_accounts_of_killed(root, undisturbed)
        monkeypatch.setattr(import_dicom, "PART_FILES", PART_FILES)
        again = run_import(root, undisturbed.source)
    print(f"seed {seed}: killed {moment} s into its work: {found}; {looks[0]} looks at the store")
    assert looks[0]

    assert again.outcomes.keys() == undisturbed.outcomes.keys()
    for source, line in again.outcomes.items():
        first = undisturbed.outcomes[source]
        if first["outcome"] in ("failed", "conflict"):
            assert line == first
        else:
            assert line["outcome"] in ("imported", "duplicate", "skipped")
    assert without_run(root) == undisturbed.rows
    assert blobs(root) == undisturbed.blobs
    assert not any(finding.problem for finding in verify(get_store(root, STORE)))
    assert run_export(root, tmp_path / "out").code == 0
    assert tree(tmp_path / "out") == exported(root)


def exporting(root, *flags):
    """Start an export as a program."""
    return Job("export_dicom", f"--store={STORE.id}", f"--root={root.root}", *flags)


def files_are_whole(folder, expected):
    """Look at what has been exported: whatever has its final name has all of its bytes."""
    checked = set()

    def look():
        for path in sorted(Path(folder).rglob("*")):
            name = str(path.relative_to(folder))
            if name in checked or is_partial(name) or not path.is_file():
                continue
            if expected.get(name) != hashlib.sha256(path.read_bytes()).hexdigest():
                return f"{name} is not whole"
            checked.add(name)
        return ""

    return look


class Exports(NamedTuple):
    """A store, and by their kind the files that exports of it leave, and how long these take."""

    root: Storage
    trees: dict
    seconds: dict


KINDS = {"as uploaded": [], "image/png": ["--mime-type=image/png"]}
INSTANCES = 1500


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    scratch = tmp_path_factory.mktemp("exports")
    root = open_storage(str(scratch / "root"))
    new_store(root)
    run_import(root, write_files(scratch / "in", images(INSTANCES)), workers=2)
    trees, seconds = {}, {}
    for number, (kind, flags) in enumerate(KINDS.items()):
        out = scratch / str(number)
        assert exporting(root, f"--destination={out}", *flags).wait() == 0
        times = [path.stat().st_mtime for path in out.rglob("*.*")]
        trees[kind], seconds[kind] = tree(out), max(times) - min(times)
        assert len(trees[kind]) == INSTANCES
    return Exports(root, trees, seconds)


@pytest.mark.parametrize("kind", KINDS)
def test_an_export_killed_at_any_moment_is_completed_by_another(exports, tmp_path, seed, kind):
    dice = random.Random(seed)
    expected = exports.trees[kind]
    moment, seconds = None, exports.seconds[kind]
    while moment is None:  # a job that was faster than the first one had ended
        out = tmp_path / f"within {seconds} s"
        with looking_on(files_are_whole(out, expected)) as looks:
            moment = kill_at_random(
                lambda out=out: exporting(exports.root, f"--destination={out}", *KINDS[kind]),
                lambda out=out: out.is_dir() and any(out.rglob("*.*")),
                seconds,
                dice,
            )
            before = tree(out)
            again = run_export(exports.root, out, *KINDS[kind])
        seconds /= 2
    written = len(before.items() & expected.items())
    print(f"seed {seed}: killed {moment} s into its work: {written} files; {looks[0]} looks")
    assert written
    assert again.code == 0
    assert again.kinds == {"exported": INSTANCES}
    assert tree(out) == expected


def test_a_table_export_killed_at_any_moment_leaves_all_rows_or_none(undisturbed, tmp_path, seed):
    dice = random.Random(seed)
    table = f"delta:{tmp_path}/table"
    expected = sorted(undisturbed.rows)
    before = {folder.id for folder in operation_folders(undisturbed.root)}

    def start():
        return exporting(undisturbed.root, f"--table={table}")

    def begun():
        """Its rows are being written, or loaded."""
        new = [f for f in operation_folders(undisturbed.root) if f.id not in before]
        return any(entry.path.startswith("rows/") for f in new for entry in f.storage.list())

    def look():
        if not DeltaTable.is_deltatable(f"{tmp_path}/table"):
            return ""
        found = DeltaTable(f"{tmp_path}/table").to_pyarrow_table(columns=["SOPInstanceUID"])
        return "" if found.num_rows in (0, len(expected)) else f"{found.num_rows} rows"

    with looking_on(look) as looks:
        moment = kill_at_random(start, begun, 0.5, dice)
        again = run_table_export(undisturbed.root, table, "--write-disposition=WRITE_TRUNCATE")
    print(f"seed {seed}: killed {moment} s into its work; {looks[0]} looks")
    assert again.code == 0
    assert uids(table) == expected
