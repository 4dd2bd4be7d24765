"""What is raised for one instance fails that instance; what is not the instance's goes through."""

import errno
import logging
import struct
import zlib

import numpy as np
import pytest
from google.api_core.exceptions import ServiceUnavailable
from google.auth.exceptions import RefreshError
from obstore.exceptions import GenericError

from dicomferry.errors import InstanceError, Reason
from dicomferry.operations import faults
from dicomferry.operations.faults import fails_alone
from dicomferry.storage.errors import ShortReadError, StorageError

PANIC = type("PanicException", (BaseException,), {"__module__": "pyo3_runtime"})


def raised_in(module, error):
    """Raise an error in a function of a module of ours."""
    scope = {"__name__": module, "error": error}
    exec("def render():\n    raise error", scope)
    with fails_alone():
        scope["render"]()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (IndexError("DOE^JANE"), "IndexError"),
        (struct.error("DOE^JANE"), "struct.error"),
        (zlib.error("DOE^JANE"), "zlib.error"),
        (np.exceptions.AxisError("DOE^JANE"), "numpy.exceptions.AxisError"),
        (DeprecationWarning("DOE^JANE"), "DeprecationWarning"),
        (PANIC("DOE^JANE"), "pyo3_runtime.PanicException"),
        (OSError("DOE^JANE"), "OSError"),  # as Pillow raises it
    ],
)
def test_a_fault_names_kind_and_place_and_no_value(error, kind):
    with pytest.raises(InstanceError) as caught:
        raised_in("dicomferry.pixels.render.grayscale", error)
    assert caught.value.code == Reason.INTERNAL_ERROR
    assert caught.value.fault_text == f"{kind} at dicomferry/pixels/render/grayscale.py:2"
    assert "DOE" not in repr((caught.value.args, caught.value.fault))


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ConnectionResetError(),
        ShortReadError("1 byte of 2"),
        StorageError("no such bucket"),
        GenericError("503"),
        ServiceUnavailable("503"),
        RefreshError("the key is revoked"),
        MemoryError(),
        KeyboardInterrupt(),
        SystemExit(),
        GeneratorExit(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_not_the_instance_s_goes_through(error):
    with pytest.raises(type(error)) as caught:
        raised_in("dicomferry.dicom.byte_window", error)
    assert caught.value is error


def test_a_reason_stays_as_it_is_and_nothing_stays_nothing():
    with pytest.raises(InstanceError) as caught, fails_alone():
        raise InstanceError(Reason.TRUNCATED)
    assert (caught.value.code, caught.value.fault_text) == (Reason.TRUNCATED, "")
    with fails_alone():
        pass


def test_each_place_is_logged_once_with_its_frames_and_no_value(caplog, monkeypatch):
    monkeypatch.setattr(faults, "_logged", set())
    for module in ("dicomferry.pixels.frames", "dicomferry.pixels.icon") * 2:
        with pytest.raises(InstanceError):
            raised_in(module, KeyError("DOE^JANE"))
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(lines) == 2
    assert "KeyError at dicomferry/pixels/frames.py:2" in lines[0]
    assert "tests/operations/test_faults.py" in lines[0]
    assert "dicomferry/pixels/frames.py:2 render" in lines[0]
    assert "DOE" not in caplog.text


def test_an_endless_recursion_is_told_in_a_few_frames():
    def endless():
        return endless()

    with pytest.raises(InstanceError) as caught, fails_alone():
        endless()
    assert caught.value.fault.kind == "RecursionError"
    assert len(caught.value.fault.frames) < 50
