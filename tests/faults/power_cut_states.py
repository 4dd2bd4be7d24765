"""A file system that tells which states a power cut may leave, by what POSIX promises and no more.

Synced bytes of a file stay, and the names that a folder had when it was last synced. Anything else
may be there or not: a later name, with all, some or none of its bytes; a name that was deleted.
"""

import os
import threading
from contextlib import contextmanager

import pytest


class Recorder:
    """Follows the system calls of this process below a folder.

    Attributes:
        root: the folder.
        states: what the recorder was asked to make.
        lock: held while a state is made.
    """

    def __init__(self, root, target, dice, share):
        """Follow.

        Args:
            root: the folder, which exists and stays.
            target: where states are made.
            dice: chooses moments and states.
            share: of the moments at which a state is made.
        """
        self.root = os.fspath(root)
        self.states = []
        self.reported = 0
        self._target = target
        self._dice = dice
        self._share = share
        self.lock = threading.RLock()
        self._is_busy = False
        self._bytes = {}  # of files, by inode, when they were synced
        self._open = []  # so that no inode is used twice
        self._names = {}  # of folders, by inode: {name: (inode, is a folder)}

    def synced(self, descriptor):
        """A file or folder was synced."""
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not f"{path}/".startswith(f"{self.root}/"):
            return
        with self.lock:
            self._open.append(os.open(path, os.O_RDONLY))
            inode = os.fstat(descriptor).st_ino
            if os.path.isdir(path):
                with os.scandir(path) as entries:
                    self._names[inode] = {e.name: (e.inode(), e.is_dir()) for e in entries}
            else:
                with open(path, "rb") as file:
                    self._bytes[inode] = file.read()

    def states_now(self, number):
        """Make some of the states that a power cut may leave now."""
        before, self._share = self._share, 1.0
        for _ in range(number):
            self.moment()
        self._share = before

    def moment(self):
        """Make one of the states that a power cut may leave now, if it is the time for one."""
        with self.lock:
            if self._is_busy or self._dice.random() >= self._share:
                return
            self._is_busy = True  # what it does itself is no moment
            state = self._target / f"{len(self.states):04d}"
            state.mkdir()
            self._leave(os.stat(self.root).st_ino, self.root, state)
            self.states.append((state, self.reported))
            self._is_busy = False

    def _leave(self, inode, live, state):
        """Make what is left of a folder.

        Args:
            inode: of the folder.
            live: where it is; None if it was deleted.
            state: where to make it.
        """
        names = dict(self._names.get(inode, {}))
        if live and os.path.isdir(live):
            with os.scandir(live) as entries:
                for entry in entries:
                    found = entry.inode(), entry.is_dir()
                    if names.get(entry.name) != found and self._dice.random() < 0.5:
                        names[entry.name] = found
        for name in sorted(names):
            inode, is_folder = names[name]
            path = os.path.join(live, name) if live else None
            if path and not (os.path.lexists(path) and os.stat(path).st_ino == inode):
                path = None
            if is_folder:
                (state / name).mkdir()
                self._leave(inode, path, state / name)
            else:
                (state / name).write_bytes(self._content(inode, path))

    def _content(self, inode, path):
        if inode in self._bytes:
            return self._bytes[inode]
        if path is None:
            return b""
        with open(path, "rb") as file:
            content = file.read()
        return content[: self._dice.choice([0, 0, len(content) // 2, len(content)])]

    def close(self):
        """Let go of the files."""
        for descriptor in self._open:
            os.close(descriptor)


@contextmanager
def recording(recorder):
    """Let a recorder follow; nothing is really synced."""

    def sync(descriptor):
        recorder.moment()
        recorder.synced(descriptor)
        recorder.moment()

    def observed(call):
        def observe(*args, **kwargs):
            with recorder.lock:  # or a name would go while a state is made by another thread
                result = call(*args, **kwargs)
            recorder.moment()
            return result

        return observe

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        patch.setattr(os, "fdatasync", sync)
        for name in ("link", "replace", "unlink", "mkdir", "rmdir"):
            patch.setattr(os, name, observed(getattr(os, name)))
        yield
    recorder.close()
