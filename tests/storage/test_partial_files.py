"""What a killed writer left is removed; what a living one writes is not."""

import os
import subprocess
import sys

import pytest

from dicomferry.storage.partial_files import partial_name, remove_partial
from dicomferry.storage.registry import open_storage

WRITER = """
import os, signal, sys
from dicomferry.storage.registry import open_storage

def chunks():
    yield b"half of it"
    print(*os.listdir(sys.argv[1]), flush=True)
    sys.stdin.read(1)
    os.kill(os.getpid(), signal.SIGKILL)

open_storage(sys.argv[1]).write("a.dcm", chunks())
"""


@pytest.fixture
def writer(tmp_path):
    """A process in the midst of writing a.dcm."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_a_file_goes_once_its_writer_is_dead(tmp_path, writer):
    name = writer.stdout.readline().strip()
    assert name.startswith("a.dcm.")
    remove_partial(str(tmp_path))
    assert os.listdir(tmp_path) == [name]
    writer.kill()
    writer.wait()
    remove_partial(str(tmp_path))
    assert os.listdir(tmp_path) == []


def test_only_names_of_this_host_s_writers_go(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    ours = partial_name(str(tmp_path / "a.dcm"))
    of_dead = ours.replace(f"-{os.getpid()}-", f"-{dead.pid}-")
    host = ours.rpartition("/")[2].split(".")[2].partition("-")[0]
    stay = [ours, of_dead.replace(host, "0" * 8), str(tmp_path / "mine.partial"), f"{of_dead}.x"]
    for path in [of_dead, *stay]:
        with open(path, "wb"):
            pass
    remove_partial(str(tmp_path))
    assert sorted(os.listdir(tmp_path)) == sorted(os.path.basename(path) for path in stay)


def test_a_folder_that_is_not_there_holds_nothing_to_remove(tmp_path):
    remove_partial(str(tmp_path / "none"))
    assert os.listdir(tmp_path) == []


def test_names_never_repeat(tmp_path):
    assert partial_name("a") != partial_name("a")
    open_storage(str(tmp_path)).write("b.dcm", iter([b"whole"]))
    assert os.listdir(tmp_path) == ["b.dcm"]


def test_what_a_writer_left_whose_end_nobody_has_asked_for_is_removed(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it stays as a zombie
        mine = partial_name(str(tmp_path / "a.dcm"))
        left = mine.replace(f"-{os.getpid()}-", f"-{ended.pid}-")
        for path in (mine, left):
            open(path, "wb").close()
        remove_partial(str(tmp_path))
        assert os.listdir(tmp_path) == [os.path.basename(mine)]
