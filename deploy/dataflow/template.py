r"""The files that make a pipeline a Dataflow flex template.

python -m deploy.dataflow.template metadata
    writes deploy/dataflow/{pipeline}_metadata.json from the pipelines' own flags
python -m deploy.dataflow.template spec IMAGE_PREFIX FOLDER
    writes FOLDER/{pipeline}.json, what `gcloud dataflow flex-template build` would upload:
    the image IMAGE_PREFIX-{pipeline}, the metadata, and the image as that of the workers

A parameter of a template is a flag of its pipeline: names, help texts and patterns are taken from
there, so they cannot drift; a test makes the metadata anew and compares.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dicomferry.pipelines import export_dicom, import_dicom

PIPELINES = {"import_dicom": import_dicom.make_parser, "export_dicom": export_dicom.make_parser}
HERE = Path(__file__).parent
_TITLES = {"import_dicom": "Import DICOM files", "export_dicom": "Export DICOM instances"}
# Workers have no folders: what is a path or table elsewhere must be in a bucket here.
_GCS = "^gs://[^/]+(/.*)?$"
_PATTERNS = {
    "root": _GCS,
    "source": _GCS,
    "destination": _GCS,
    "filter": _GCS,
    "table": "^(bq://.+|delta:gs://.+)$",
    "write_disposition": "^WRITE_(EMPTY|TRUNCATE|APPEND)$",
}
# Where the flag's own help speaks of folders and processes, which a job on Dataflow has none of.
_HELP = {
    "root": "where stores live: gs://bucket/prefix",
    "source": "gs:// object, or pattern with *, ? or **",
    "destination": "gs://bucket/prefix of the files",
    "table": "bq://project.dataset.table or delta:gs://bucket/folder",
    "filter": "gs:// object with /studies/UID[/series/UID[/instances/UID]], one a line",
    "max_failures": "the job fails if more than this many files did (default 0)",
    "operation": "leave it empty: the API's server names the operation here that it has recorded",
}
# Their default is a local folder.
_REQUIRED = {"root"}
# Of local processes only.
_LEFT_OUT = {"help", "workers", "log_format", "within"}


def metadata(pipeline: str) -> dict[str, Any]:
    """google.dataflow.v1beta3.TemplateMetadata of a pipeline, as JSON."""
    parser = PIPELINES[pipeline]()
    return {
        "name": _TITLES[pipeline],
        "description": (parser.description or "").partition(" Flags not listed")[0],
        "parameters": [
            _parameter(action) for action in parser._actions if action.dest not in _LEFT_OUT
        ],
    }


def spec(pipeline: str, image_prefix: str) -> dict[str, Any]:
    """google.dataflow.v1beta3.ContainerSpec of a pipeline, as JSON."""
    image = f"{image_prefix}-{pipeline.replace('_', '-')}"
    return {
        "image": image,
        "sdkInfo": {"language": "PYTHON"},
        "metadata": metadata(pipeline),
        # Workers run the launcher's image: nothing is installed when they start.
        "defaultEnvironment": {"sdkContainerImage": image},
    }


def _parameter(action: argparse.Action) -> dict[str, Any]:
    name = action.dest
    assert any(option == f"--{name}" for option in action.option_strings), name
    parameter: dict[str, Any] = {
        "name": name,
        "label": name.replace("_", " ").capitalize(),
        "helpText": _HELP.get(name, (action.help or "").replace("%%", "%")),
        "isOptional": not (action.required or name in _REQUIRED),
    }
    if pattern := _pattern(action):
        parameter["regexes"] = [pattern]
    if action.choices:
        parameter["paramType"] = "ENUM"
        parameter["enumOptions"] = [{"value": str(value)} for value in action.choices]
        parameter["defaultValue"] = str(action.default)
    return parameter


def _pattern(action: argparse.Action) -> str:
    if action.dest in _PATTERNS:
        return _PATTERNS[action.dest]
    if action.choices:
        return f"^({'|'.join(map(str, action.choices))})$"
    if action.const is True:
        return "^(true|false)$"
    if action.type is int:
        return "^[0-9]+$"
    return r"^[0-9]+(\.[0-9]+)?$" if action.type is float else ""


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(path)


def main(argv: list[str]) -> None:
    """Write the metadata, or the specs."""
    parser = argparse.ArgumentParser(prog="python -m deploy.dataflow.template")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("metadata", help="write the metadata files beside this one")
    specs = commands.add_parser("spec", help="write the template files, to be put into a bucket")
    specs.add_argument("image_prefix", help="REGION-docker.pkg.dev/PROJECT/REPOSITORY/dicomferry")
    specs.add_argument("folder", type=Path, help="where to")
    known = parser.parse_args(argv)
    for pipeline in PIPELINES:
        if known.command == "metadata":
            _write(HERE / f"{pipeline}_metadata.json", metadata(pipeline))
        else:
            _write(known.folder / f"{pipeline}.json", spec(pipeline, known.image_prefix))


if __name__ == "__main__":
    main(sys.argv[1:])
