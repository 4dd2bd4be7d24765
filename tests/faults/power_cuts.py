"""A disk whose power is cut: an ext4 image in a file, mounted, whose state can be copied any time.

What the image's file holds is what the disk holds. What only the page cache of the mounted file
system holds is what a power cut loses.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# Small parts, so that a cut finds some done and one under way.
PART_FILES = 40
_BYTES = 96 << 20
_MAX_SECONDS = 60
_COPY_ATTEMPTS = 20


class Disk:
    """A mounted image.

    Attributes:
        image: the file.
        folder: where it is mounted.
    """

    def __init__(self, image, folder):
        self.image = image
        self.folder = folder
        self._device = ""

    def mount(self):
        """Mount the image: what the journal of the file system has is replayed."""
        self.folder.mkdir(exist_ok=True)
        self._device = _run("losetup", "--find", "--show", self.image).strip()
        # The journal is written every second, so that names come long before bytes.
        _run("mount", "-o", "commit=1", self._device, self.folder)

    def unmount(self):
        """Unmount it, if it is mounted."""
        subprocess.run(["umount", self.folder], check=False, capture_output=True)
        subprocess.run(["losetup", "--detach", self._device], check=False, capture_output=True)

    def copy(self, image):
        """Copy what a power cut would leave now; the writers of files have to be stopped."""
        for _ in range(_COPY_ATTEMPTS):
            before = self._writes()
            _run("cp", "--sparse=always", self.image, image)
            # The kernel itself may write meanwhile: no disk would have had such a mixture.
            if self._writes() == before:
                return
        raise AssertionError("the disk never came to rest")

    def _writes(self):
        name = Path(self._device).name
        return (
            Path(f"/sys/block/{name}/stat").read_text().split()[4],
            Path(f"/sys/block/{name}/inflight").read_text(),
        )


@contextmanager
def disk():
    """Make and mount a disk, empty; skips where that is not allowed."""
    # In memory where possible: the tests are about what is written when, not about how fast.
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        made = Disk(Path(folder, "disk.img"), Path(folder, "disk"))
        if reason := _why_not(made):
            pytest.skip(f"power cuts need loop mounts: {reason}")
        try:
            yield made
        finally:
            made.unmount()


@contextmanager
def after_cut(image):
    """Mount a copy."""
    made = Disk(image, image.with_suffix(".mounted"))
    made.mount()
    try:
        yield made.folder
    finally:
        made.unmount()


def _why_not(made):
    if os.geteuid():
        return "only root can mount"
    if not all(map(shutil.which, ("mkfs.ext4", "losetup", "mount", "umount"))):
        return "e2fsprogs or util-linux are not installed"
    with open(made.image, "wb") as file:
        file.truncate(_BYTES)
    try:
        _run("mkfs.ext4", "-q", "-F", "-J", "size=8", made.image)
        made.mount()
    except subprocess.CalledProcessError as error:
        made.unmount()
        return error.stderr.strip() or str(error)
    return ""


def _run(*command):
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def cut(disk, module, flags, moments, begun):
    """Run a pipeline as a program; stop it again and again, and copy the disk each time.

    Args:
        disk: that it writes to.
        module: of `dicomferry.pipelines`.
        flags: of the program.
        moments: how many, evenly spread over its work.
        begun: says whether its work has begun.

    Returns:
        The images, in their order.
    """
    program = (
        "import sys; from dicomferry.pipelines import export_dicom, import_dicom; "
        f"import_dicom.PART_FILES = {PART_FILES}; sys.exit({module}.main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *flags],
        cwd=REPOSITORY,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + _MAX_SECONDS
    while not begun() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    images, pause = [], 0.002
    try:
        while process.poll() is None:
            os.killpg(process.pid, signal.SIGSTOP)
            images.append(disk.image.with_name(f"{module}-{time.monotonic_ns()}.img"))
            disk.copy(images[-1])
            os.killpg(process.pid, signal.SIGCONT)
            if len(images) == 2 * moments:
                for image in images[::2]:
                    image.unlink()
                images, pause = images[1::2], 2 * pause
            time.sleep(pause)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        _, errors = process.communicate()
    assert process.returncode == 0, errors
    return [images[n * len(images) // moments] for n in range(moments)]
