"""The core alone: without the packages of any extra it works, and says which extra is missing."""

import json
import subprocess
import sys
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dicomferry.extras import MissingExtraError, missing_extra, require
from tests.checkout import REPOSITORY
from tests.pipelines.jobs import images, write_files

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
# In every process: no module of some names can be imported.
BLOCK = """
import importlib.abc, json, sys
class Blocked(importlib.abc.MetaPathFinder):
    names = frozenset(json.load(open({names!r})))
    def find_spec(self, name, path=None, target=None):
        if name in self.names:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
"""
RUN = """
import json, sys
from dicomferry.cli.main import main
for command in json.loads(sys.argv[1]):
    sys.argv[1:] = command
    try:
        main()
    except SystemExit as end:
        print("exit code", end.code)
"""


def needed(requirements):
    """The distributions that some requirements need here, by their normalized names."""
    found, waiting = set(), [Requirement(each) for each in requirements]
    while waiting:
        each = waiting.pop()
        key = (canonicalize_name(each.name), frozenset(each.extras))
        environments = [{"extra": extra} for extra in ("", *each.extras)]
        try:
            required = metadata.requires(each.name) or []
        except metadata.PackageNotFoundError:
            continue  # of another platform
        if key in found:
            continue
        found.add(key)
        for text in required:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate(one) for one in environments):
                waiting.append(requirement)
    return {name for name, _ in found}


def modules(distribution):
    """The packages and modules of a distribution."""
    for file in metadata.files(distribution) or []:
        if file.suffix == ".py" and ".." not in file.parts:
            parts = file.parts[:-1] if file.name == "__init__.py" else (*file.parts[:-1], file.stem)
            yield ".".join(parts)


def test_the_core_works_without_the_extras_and_names_them(tmp_path):
    extras = [each for extra in ("bigquery", "gcp", "otel", "serve") for each in extra_of(extra)]
    core = needed(PROJECT["dependencies"])
    blocked = needed(extras) - core
    assert {"google-cloud-bigquery", "google-cloud-pubsub", "starlette", "lark"} <= blocked
    names = sorted({module for each in blocked for module in modules(each)})
    (tmp_path / "site").mkdir()
    (tmp_path / "names.json").write_text(json.dumps(names))
    (tmp_path / "site/sitecustomize.py").write_text(BLOCK.format(names=f"{tmp_path}/names.json"))
    source = write_files(tmp_path / "in", images(2))
    at = f"--root={tmp_path}/root"
    commands = [
        ["stores", "create", "trial", at],
        ["import", "trial", source, at],
        ["export", "files", "trial", f"{tmp_path}/out", at, "--mime-type=image/png"],
        ["export", "table", "trial", f"duckdb:{tmp_path}/t.duckdb#t", at],
        ["preview", "trial", at, f"--output={tmp_path}/page.html"],
        ["serve", at],
        ["export", "table", "trial", "bq://my-project.d.t", at],
        ["import", "trial", source, at, "--runner=DataflowRunner", "--project=p", "--region=r"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(commands)],
        env={"PATH": "", "PYTHONPATH": f"{tmp_path}/site:{REPOSITORY}", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    codes = [line for line in done.stdout.splitlines() if line.startswith("exit code")]
    assert codes == [f"exit code {code}" for code in (0, 0, 0, 0, 0, 3, 3, 3)], done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert lines == [
        "error: this needs an extra: pip install 'dicomferry[serve]'",
        "error: bq://my-project.d.t needs an extra: pip install 'dicomferry[bigquery]'",
        "error: DataflowRunner needs an extra: pip install 'dicomferry[gcp]'",
    ]
    assert "apitools" not in done.stderr


def extra_of(name):
    """What an extra adds to the requirements."""
    return PROJECT["optional-dependencies"][name]


def test_all_extras_are_one():
    [everything] = extra_of("all")
    users = set(PROJECT["optional-dependencies"]) - {"all", "dev"}
    assert Requirement(everything).extras == users


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("starlette.routing", "serve"),
        ("google.iam.v1", "serve"),
        ("google.cloud.bigquery.x", "bigquery"),
    ],
)
def test_a_failed_import_is_told_by_its_extra(name, extra):
    assert f"dicomferry[{extra}]" in str(missing_extra(ModuleNotFoundError(name=name)))


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError(name="google.iam"), ImportError(), OSError()]
)
def test_other_errors_are_no_extras(error):
    assert missing_extra(error) is None


def test_what_is_installed_is_not_missing():
    for extra in ("", "bigquery", "gcp", "otel", "serve"):
        require(extra, "a test")


def test_an_extra_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr("dicomferry.extras._MODULES", {"x": ("google.nowhere.y",)})
    with pytest.raises(
        MissingExtraError, match=r"^a test needs an extra: pip install 'dicomferry\[x\]'$"
    ):
        require("x", "a test")
