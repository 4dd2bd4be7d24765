"""Flags of both pipelines, and those that belong to nobody."""

import copy
import pickle
import sys

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, WorkerOptions
from typer.testing import CliRunner

from dicomferry.cli.main import app
from dicomferry.dicom.transfer_syntaxes import SYNTAXES
from dicomferry.pipelines import export_dicom, import_dicom
from dicomferry.pipelines.options import beam_options
from dicomferry.pixels.codecs.registry import codec
from dicomferry.pixels.quality import setting_of

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
        (["--bound=x"], "of Beam: --help lists them"),
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


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--to=png", "--mime-type=image/jpeg"], "--mime-type and --to are one flag"),
        (["--to=png", "--mime_type=image/jpeg"], "--mime-type and --to are one flag"),
        (["--to=png", "--j2k-ratio=5"], "--j2k-ratio has no effect on this format"),
        (["--to=j2k", "--j2k-ratio=5"], "transfer-syntax=1.2.840.10008.1.2.4.91"),
        (["--jpeg-quality=80"], "--jpeg-quality has no effect on this format"),
        (["--jpeg-quality=90"], "--jpeg-quality has no effect on this format"),  # the default
        (["--to=png", "--jxl-distance=1.0"], "--jxl-distance has no effect on this format"),
        (["--schema=json"], "--schema has no effect on this job"),
    ],
)
def test_no_flag_of_an_export_is_dropped_in_silence(capsys, flags, told):
    with pytest.raises(SystemExit) as ended:
        export_dicom.parse_args(["--store=trial", "--destination=out", *flags])
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert told in line


@pytest.mark.parametrize("uid", [uid for uid, each in SYNTAXES.items() if each.written])
def test_a_setting_is_that_of_the_codec(uid):
    taken = codec(uid).setting if SYNTAXES[uid].lossy else ""
    assert setting_of(uid) == taken


def test_the_command_passes_on_both_names_of_a_flag(monkeypatch):
    given = []
    monkeypatch.setattr(export_dicom, "parse_args", lambda argv: given.extend(argv) or sys.exit(2))
    words = ["export", "files", "trial", "out", "--workers=0", "--to=png", "--mime-type=image/jpeg"]
    assert CliRunner().invoke(app, words).exit_code == 2
    assert [each for each in given if "mime" in each] == [
        "--mime-type=png",
        "--mime-type=image/jpeg",
    ]


def test_views_of_options_parse_the_flags_once_and_share_their_values():
    options = beam_options(["--project=p", "--num_workers=2"])
    cloud = options.view_as(GoogleCloudOptions)
    assert options.view_as(GoogleCloudOptions) is cloud
    cloud.job_name = "first"
    copied = copy.deepcopy(options)
    copied.view_as(GoogleCloudOptions).job_name = "second"
    sent = pickle.loads(pickle.dumps(options))
    names = [each.view_as(GoogleCloudOptions).job_name for each in (options, copied, sent)]
    assert names == ["first", "second", "first"]
    plain = PipelineOptions(["--project=p", "--num_workers=2"], runner="FnApiRunner")
    plain.view_as(GoogleCloudOptions).job_name = "first"
    assert options.get_all_options() == plain.get_all_options()
