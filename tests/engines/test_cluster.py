"""The engine with several hosts takes all output of a bundle, or does the bundle again."""

import time
from types import SimpleNamespace

import pytest

from tests.engines import cluster

SILENCE = 0.2
ALL = [SimpleNamespace(transform_id="out", data=data) for data in (b"1", b"2", b"3")]


class Future:
    """What a worker answers, after some looks at whether it has."""

    def __init__(self, looks):
        self._looks = looks

    def is_done(self):
        self._looks -= 1
        return self._looks < 0

    def get(self):
        return SimpleNamespace(error="")


class Worker:
    """A worker that sends output for longer than it may be silent, and is asked in a pause."""

    def __init__(self, looks):
        """Answer questions after so many looks; the bundle ends after a few."""
        self.pool = "pool"
        self.control_conn = SimpleNamespace(
            _state=cluster._STARTED,
            _read_thread=SimpleNamespace(is_alive=lambda: True),
            push=lambda request: Future(self._looks_for(request)),
        )
        self.data_conn = SimpleNamespace(output_stream=None, input_elements=self._input_elements)
        self._looks = looks

    def _looks_for(self, request):
        return self._looks if request.HasField("process_bundle_progress") else 4

    def _input_elements(self, instruction, expected, abort):
        yield ALL[0]
        time.sleep(1.5 * SILENCE)  # as if more came all the time
        for each in ALL[1:]:
            if abort():
                return
            time.sleep(1.5 * SILENCE)
            if abort():
                return
            yield each


def attempt(worker):
    manager = object.__new__(cluster.BundleManager)
    descriptor = SimpleNamespace(id="stage")
    manager.bundle_context_manager = SimpleNamespace(process_bundle_descriptor=descriptor)
    return manager._attempt(worker, "bundle", {}, {"out": b""})


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(cluster, "SILENCE_SECONDS", SILENCE)
    monkeypatch.setattr(cluster, "ASK_SECONDS", SILENCE / 10)


def test_a_worker_that_sends_output_all_the_time_is_not_silent():
    assert attempt(Worker(looks=0))[1] == ALL


def test_of_a_worker_that_answers_too_late_no_output_is_taken():
    with pytest.raises(cluster.LostError):
        attempt(Worker(looks=1))
