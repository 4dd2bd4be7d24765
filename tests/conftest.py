"""Fixtures that many tests use, and which tests are slow."""

from pathlib import Path

import pytest

from dicomferry.storage.registry import open_storage

pytest_plugins = ["tests.emulators.fixtures"]

# Folders and files whose tests run whole jobs or servers, or go through a whole corpus. Elsewhere a
# slow test is marked where it stands.
SLOW = (
    "airflow_e2e",
    "api/rest/test_fairness.py",
    "api/rest/test_fuzz.py",
    "api/test_google_client.py",
    "api/test_grpc_attacks.py",
    "cli/test_cli.py",
    "clients/test_docs.py",
    "clients/test_walk.py",
    "console/test_chromium.py",
    "console/test_thumbnails.py",
    "dicom/test_json_model_against_pydicom.py",
    "dicom/test_metadata_against_judges.py",
    "dicom/test_one_reader.py",
    "engines",
    "faults",
    "generated",
    "jobs/test_bounds.py",
    "jobs/test_launch.py",
    "jobs/test_queue.py",
    "pipelines/test_bqemulator.py",
    "pipelines/test_bucket_loop.py",
    "pipelines/test_concurrent_imports.py",
    "pipelines/test_corpus.py",
    "pipelines/test_delete_instances.py",
    "pipelines/test_disturbed_import.py",
    "pipelines/test_export_bucket.py",
    "pipelines/test_export_damaged.py",
    "pipelines/test_export_formats.py",
    "pipelines/test_export_hostile.py",
    "pipelines/test_export_killed.py",
    "pipelines/test_export_table.py",
    "pipelines/test_handed_over.py",
    "pipelines/test_import_dicom.py",
    "pipelines/test_own_faults.py",
    "pipelines/test_optimize_store.py",
    "pipelines/test_packaged_files.py",
    "pipelines/test_log_format.py",
    "pipelines/test_portable_runner.py",
    "pipelines/test_streams.py",
    "pipelines/test_streams_out_of_reach.py",
    "pipelines/test_template.py",
    "pixels/test_corpus.py",
    "pixels/render/test_against_tools.py",
    "pixels/test_hostile.py",
    "storage/test_seam.py",
    "store/test_compaction.py",
    "store/test_deletion.py",
    "store/test_vacuum.py",
    "store/test_formats.py",
    "tables/test_bqemulator.py",
    "tables/test_equal_content.py",
    "tables/test_flattened_properties.py",
    "tables/test_own_kind.py",
    "test_api.py",
    "test_extras.py",
    "test_package.py",
    "test_server.py",
    "test_tracing.py",
    "transforms/test_every_call.py",
    "transforms/test_publish_notifications.py",
)


def pytest_collection_modifyitems(items):
    """Mark slow tests by their file; a file above that does not exist is an error."""
    here = Path(__file__).parent
    slow = [here / name for name in SLOW]
    if lost := [str(path) for path in slow if not path.exists()]:
        raise pytest.UsageError(f"tests/conftest.py lists files that do not exist: {lost}")
    if unstable := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"ids that differ between processes: {unstable}")
    for item in items:
        if any(item.path.is_relative_to(path) for path in slow):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def root(tmp_path):
    """The root of stores: an empty local folder."""
    return open_storage(str(tmp_path / "root"))


@pytest.fixture
def store(root):
    """The root, with an empty store in it."""
    from tests.pipelines.jobs import new_store

    new_store(root)
    return root


@pytest.fixture
def any_ids(monkeypatch):
    """Stores are made as by an earlier version, which let ids have any characters but a slash."""
    from dicomferry.store import dicom_store

    monkeypatch.setattr(dicom_store, "check_new_id", lambda _: None)


@pytest.fixture
def slowed(monkeypatch):
    """Jobs take longer: see tests/pipelines/slow.py."""
    from dicomferry.jobs import launch

    monkeypatch.setattr(launch, "module_of", lambda _: "tests.pipelines.slowed")
