r"""The files that make a pipeline a Dataflow flex template.

python -m deploy.dataflow.template metadata
    writes deploy/dataflow/{pipeline}_metadata.json from the pipelines' own flags
python -m deploy.dataflow.template spec IMAGE_PREFIX FOLDER
    writes FOLDER/{pipeline}.json, what `gcloud dataflow flex-template build` would upload:
    the image IMAGE_PREFIX-{pipeline}, the metadata, and the image as that of the workers

The parameters of a template are the flags of its pipeline: names, help texts and patterns come from
there. A test compares the committed metadata with the flags.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from dicomferry.pipelines.flag_table import REQUESTS
from dicomferry.pipelines.flags import NamedFlag, flags_of

HERE = Path(__file__).parent


def metadata(pipeline: str) -> dict[str, Any]:
    """google.dataflow.v1beta3.TemplateMetadata of a pipeline, as JSON."""
    kind = REQUESTS[pipeline]
    return {
        "name": kind.title,
        "description": kind.description,
        "parameters": [_parameter(each) for each in flags_of(kind) if each.flag.in_templates],
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


def _parameter(each: NamedFlag) -> dict[str, Any]:
    parameter: dict[str, Any] = {
        "name": each.name,
        "label": each.name.replace("_", " ").capitalize(),
        "helpText": each.remote_help,
        "isOptional": not (each.is_required or each.flag.is_required_remotely),
    }
    if pattern := each.remote_pattern:
        parameter["regexes"] = [pattern]
    if each.choices:
        parameter["paramType"] = "ENUM"
        parameter["enumOptions"] = [{"value": value} for value in each.choices]
        parameter["defaultValue"] = each.default
    return parameter


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
    for pipeline in REQUESTS:
        if known.command == "metadata":
            _write(HERE / f"{pipeline}_metadata.json", metadata(pipeline))
        else:
            _write(known.folder / f"{pipeline}.json", spec(pipeline, known.image_prefix))


if __name__ == "__main__":
    main(sys.argv[1:])
