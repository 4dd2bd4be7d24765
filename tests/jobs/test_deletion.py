"""The program that deletes the data of a store: how its process ends."""

import io
from types import SimpleNamespace

import pytest

from dicomferry.jobs import deletion
from dicomferry.storage.errors import NoCredentialsError
from dicomferry.store.dicom_store import StoreNotFoundError
from tests.pipelines.jobs import STORE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (StoreNotFoundError("x"), 2),
        (OSError(5, "x"), 3),
        (NoCredentialsError("x"), 3),
    ],
)
def test_its_exit_code_tells_a_wrong_request_from_storage_that_failed(
    tmp_path, monkeypatch, error, code
):
    def delete(*_, **__):
        if error:
            raise error

    monkeypatch.setattr(deletion, "delete_store", delete)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO()))
    arguments = [f"--root={tmp_path}", f"--store={STORE}", "--operation=1"]
    assert deletion.main(arguments) == code
