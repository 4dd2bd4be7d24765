"""An export that is killed leaves whole files only, and another one completes its tree."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from dicomferry.pipelines import export_dicom
from tests.factories import dicom_bytes
from tests.pipelines.exports import store_of
from tests.pipelines.jobs import STORE, operation_folders, run_export, tree, write_files

REPOSITORY = Path(__file__).parents[2]
SINGLE, FRAMES = 12, 10
PNG = "image/png"
J2K = "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90"


class Partial(NamedTuple):
    """What a kill has to leave: so many whole files, and files that have no final name."""

    mime_type: str
    whole: int
    half: int = 0


# The multi-frame instance comes at a place that differs from store to store: a random name of an
# index file decides. So moments are counted in files, not in instances.
KILLS = {
    "write_instance:1:before": Partial(PNG, 0),
    "rename:1:before": Partial(PNG, 0, half=1),
    "rename:1:after": Partial(PNG, 1),
    "chunk:5": Partial(PNG, 4, half=1),
    "rename:13:before": Partial(PNG, 12, half=1),
    "rename:22:after": Partial(PNG, 22),
    "write_instance:13:after": Partial(PNG, 22),
    "write_outcomes:1:before": Partial(PNG, 22),
    "finish:1:before": Partial(PNG, 22),
    "chunk:1": Partial(J2K, 0, half=1),
    "rename:7:after": Partial(J2K, 7),
    "copy:4:before": Partial("", 3),
    "rename:9:before": Partial("", 8, half=1),
}


def picture(number):
    """A picture that no codec makes small."""
    return np.random.default_rng(number).integers(0, 4096, (128, 128), np.uint16)


class Undisturbed(NamedTuple):
    root: object
    trees: dict


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A store, and what exports of it give that nothing befalls."""
    scratch = tmp_path_factory.mktemp("undisturbed")
    size = {"Rows": 128, "Columns": 128}
    files = {
        f"{n}.dcm": dicom_bytes(f"1.2.1.1.{n}", pixels=picture(n).tobytes(), **size)
        for n in range(1, SINGLE + 1)
    }
    frames = b"".join(picture(100 + n).tobytes() for n in range(FRAMES))
    files["frames.dcm"] = dicom_bytes("1.2.1.1.99", pixels=frames, NumberOfFrames=FRAMES, **size)
    write_files(scratch / "in", files)
    root = store_of(scratch, scratch / "in").root
    trees = {}
    for number, mime_type in enumerate((PNG, J2K, "")):
        out = scratch / f"out{number}"
        assert run_export(root, out, f"--mime-type={mime_type}").code == 0
        trees[mime_type] = tree(out)
    assert [len(each) for each in trees.values()] == [SINGLE + FRAMES, SINGLE + 1, SINGLE + 1]
    return Undisturbed(root, trees)


@pytest.fixture(scope="module")
def killed(undisturbed, tmp_path_factory):
    """Destinations by the moment at which their export was killed, with futures of exit codes."""
    scratch = tmp_path_factory.mktemp("killed")
    with ThreadPoolExecutor(2) as threads:

        def start(moment, mime_type, workers=0):
            out = scratch / moment.replace(":", "-")
            return out, threads.submit(disturbed, moment, undisturbed.root, out, mime_type, workers)

        yield {
            "take_outcomes:1:before": start("take_outcomes:1:before", PNG, 2),
            **{moment: start(moment, partial.mime_type) for moment, partial in KILLS.items()},
        }
        threads.shutdown(cancel_futures=True)


def disturbed(moment, root, out, mime_type, workers):
    """Run tests/pipelines/disturbed_export.py; returns its exit code."""
    command = [sys.executable, "-m", "tests.pipelines.disturbed_export", moment]
    return subprocess.run(
        [*command, root.root, str(out), mime_type, str(workers)],
        check=False,
        cwd=REPOSITORY,
        start_new_session=True,
        capture_output=True,
        timeout=100,
    ).returncode


def split(out):
    """What has a final name, and what has not."""
    found = tree(out) if out.exists() else {}
    half = {name for name in found if name.endswith(".partial")}
    return {name: digest for name, digest in found.items() if name not in half}, half


def check_completes(undisturbed, out, mime_type):
    flags = [f"--destination={out}", f"--mime-type={mime_type}", "--workers=0"]
    assert (
        export_dicom.main([f"--store={STORE.id}", f"--root={undisturbed.root.root}", *flags]) == 0
    )
    assert tree(out) == undisturbed.trees[mime_type]


@pytest.mark.parametrize("moment", KILLS)
def test_a_killed_export_is_completed_by_another(moment, killed, undisturbed):
    out, exit_code = killed[moment]
    assert exit_code.result() == -signal.SIGKILL
    partial = KILLS[moment]
    whole, half = split(out)
    assert whole.items() <= undisturbed.trees[partial.mime_type].items()
    assert (len(whole), len(half)) == (partial.whole, partial.half)
    if moment.startswith("chunk:"):
        [size] = [os.path.getsize(out / name) for name in half]
        assert size > 0  # it was on its way, not just begun
    check_completes(undisturbed, out, partial.mime_type)


def test_an_export_killed_with_its_worker_processes_is_completed_by_another(killed, undisturbed):
    out, exit_code = killed["take_outcomes:1:before"]
    assert exit_code.result() == -signal.SIGKILL
    whole, _ = split(out)
    assert len(whole) >= 8  # a chunk was done
    assert whole.items() <= undisturbed.trees[PNG].items()
    check_completes(undisturbed, out, PNG)


def test_a_killed_export_is_told_as_aborted(killed, undisturbed):
    for _, exit_code in killed.values():
        exit_code.result()
    dead = [
        folder
        for folder in operation_folders(undisturbed.root)
        if not json.loads(folder.storage.read("operation.json"))["done"]
    ]
    assert len(dead) == len(killed)
    assert {folder.read().error.code for folder in dead} == {10}
