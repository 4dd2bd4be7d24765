"""A console without login, and a store to look at."""

import pytest

from dicomferry.api.access import NoLogin
from tests.console.consoles import SCRIPT, serving
from tests.pipelines.jobs import images, new_store, run_import, write_files


@pytest.fixture
def browser(root):
    """A browser on a console without login."""
    with serving(root, NoLogin()) as browser:
        yield browser


@pytest.fixture
def trial(root, tmp_path):
    """A store with three images, after an import in which two files failed."""
    new_store(root)
    files = images(3, PatientName="SECRET^NAME")
    files |= {f"{SCRIPT}.dcm": b"no image", b"not-\xff-text.dcm": b"no image"}
    return run_import(root, write_files(tmp_path / "in", files))
