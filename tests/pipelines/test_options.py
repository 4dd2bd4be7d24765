"""Flags of both pipelines, and those that belong to nobody."""

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, WorkerOptions

from dicomferry.pipelines import export_dicom, import_dicom

IMPORT = ["--store=trial", "--source=/data/**"]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--max-failure=3"], "--max-failure is neither a flag of this command nor of Beam: "
         "did you mean --max-failures?"),
        (["--dry_rnu"], "did you mean --dry_run?"),
        (["--dryrun"], "did you mean --dry-run?"),
        (["--color", "red"], "--color is neither a flag of this command nor of Beam: --help"),
        (["--on-conflict=overwrite"], "--on-conflict must be fail or ignore, got 'overwrite'"),
        (["--runner=DataflowRunner", "--project=p", "--region=r", "--regoin=q"], "--regoin"),
    ],
)  # fmt: skip
def test_a_mistyped_flag_is_refused_in_one_line(capsys, flags, told):
    with pytest.raises(SystemExit) as ended:
        import_dicom.parse_args([*IMPORT, *flags])
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert told in line


def test_a_flag_of_the_other_pipeline_is_refused(capsys):
    with pytest.raises(SystemExit):
        export_dicom.parse_args(["--store=trial", "--destination=out", "--dry-run"])
    assert "--dry-run" in capsys.readouterr().err


def test_flags_of_beam_reach_beam():
    flags = ["--labels=airflow-version=v3-3-2", "--num_workers=7", "--job_name=nightly"]
    _, options = import_dicom.parse_args([*IMPORT, *flags])
    assert options.view_as(WorkerOptions).num_workers == 7
    assert options.view_as(GoogleCloudOptions).labels == ["airflow-version=v3-3-2"]


def test_a_job_server_may_have_flags_of_its_own():
    flags = ["--runner=PortableRunner", "--job_endpoint=localhost:1", "--object_reuse_of_mine=1"]
    assert import_dicom.parse_args([*IMPORT, *flags])
