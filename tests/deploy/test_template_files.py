"""The template's files say what the pipelines take, and the image holds what runs."""

import json
import re
from pathlib import Path

import pytest

from deploy.dataflow import template
from dicomferry.pipelines import export_dicom, import_dicom

REPOSITORY = Path(__file__).parents[2]
PARSE = {"import_dicom": import_dicom.parse_args, "export_dicom": export_dicom.parse_args}
each = pytest.mark.parametrize("pipeline", list(template.REQUESTS))


def committed(pipeline):
    return json.loads((template.HERE / f"{pipeline}_metadata.json").read_text())


@each
def test_the_committed_metadata_is_that_of_the_flags(pipeline):
    remedy = "run: python -m deploy.dataflow.template metadata"
    assert committed(pipeline) == template.metadata(pipeline), remedy


@each
def test_every_parameter_explains_itself(pipeline):
    for parameter in committed(pipeline)["parameters"]:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", parameter["name"])
        assert len(parameter["helpText"]) > 10, parameter["name"]
        for local in ("folder", "duckdb", "quoted", "standard input", "DICOMFERRY_ROOT", "exit"):
            said = parameter["helpText"].replace("gs://bucket/folder", "")
            assert local not in said, "a job on Dataflow has none"


STORE = {"root": "gs://bucket/stores", "store": "trial"}
VALUES = {
    "an import": {
        "source": "gs://bucket/in/**",
        "dry_run": "false",
        "on_conflict": "ignore",
        "max_failures": "5",
    },
    "an export to files": {
        "destination": "gs://bucket/out",
        "mime_type": "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.91",
        "j2k_ratio": "12.5",
        "include_source_store": "false",
        "schema": "flattened",
    },
    "an export to a table": {
        "table": "bq://project.dataset.table",
        "write_disposition": "WRITE_APPEND",
        "include_source_store": "true",
        "schema": "json",
    },
}


@pytest.mark.parametrize("job", VALUES)
def test_values_that_fit_the_patterns_are_taken_by_the_pipeline_as_the_launcher_gives_them(job):
    pipeline = "import_dicom" if job == "an import" else "export_dicom"
    values = STORE | VALUES[job]
    parameters = {parameter["name"]: parameter for parameter in committed(pipeline)["parameters"]}
    required = {name for name, parameter in parameters.items() if not parameter["isOptional"]}
    assert required <= set(values)
    for name, value in values.items():
        for regex in parameters[name].get("regexes", []):
            assert re.fullmatch(regex, value), name
    request, _ = PARSE[pipeline]([f"--{name}={value}" for name, value in values.items()])
    assert request.root.root == "gs://bucket/stores"
    assert getattr(request, "dry_run", False) is False
    if pipeline == "export_dicom":
        assert request.include_source_store is (request.table is not None)


@pytest.mark.parametrize(
    ("pipeline", "name", "value"),
    [
        ("import_dicom", "root", "./dicomferry-data"),
        ("import_dicom", "source", "/data/**"),
        ("import_dicom", "dry_run", "yes"),
        ("export_dicom", "table", "duckdb:x.duckdb#a.b"),
        ("export_dicom", "snapshot", "-1"),
        ("export_dicom", "write_disposition", "TRUNCATE"),
        ("export_dicom", "j2k_ratio", "high"),
    ],
)
def test_values_that_no_job_on_dataflow_could_use_are_refused_by_the_patterns(
    pipeline, name, value
):
    [parameter] = [p for p in committed(pipeline)["parameters"] if p["name"] == name]
    assert not any(re.fullmatch(regex, value) for regex in parameter["regexes"])


@each
def test_the_spec_names_the_image_for_launcher_and_workers(pipeline, tmp_path):
    template.main(["spec", "europe-docker.pkg.dev/p/r/dicomferry", str(tmp_path)])
    spec = json.loads((tmp_path / f"{pipeline}.json").read_text())
    assert spec["image"] == f"europe-docker.pkg.dev/p/r/dicomferry-{pipeline.replace('_', '-')}"
    assert spec["defaultEnvironment"]["sdkContainerImage"] == spec["image"]
    assert spec["metadata"] == committed(pipeline)


def test_the_image_is_of_the_beam_that_is_locked_and_installs_wheels_by_their_hashes():
    dockerfile = (template.HERE / "Dockerfile").read_text()
    [locked] = re.findall(r"^apache-beam(?:\[gcp\])?==(\S+)", read("requirements.txt"), re.M)
    assert f"apache/beam_python3.11_sdk:{locked}" in dockerfile
    assert "--require-hashes --only-binary=:all: -r requirements.txt" in dockerfile
    copied = set(re.findall(r"^COPY (\w+) \1$", dockerfile, re.M))
    linked = {path.name for path in (REPOSITORY / "dicomferry").iterdir() if path.is_symlink()}
    assert copied == {"dicomferry"} | linked


def read(name):
    return (REPOSITORY / name).read_text()
