"""Flags stand once: command lines, commands, templates and docs are made from them."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomferry.cli.main import load_command
from dicomferry.cli.settings import common_options
from dicomferry.pipelines import flag_table, flags
from dicomferry.pipelines.export_request import ExportRequest
from dicomferry.pipelines.flags import flags_of, to_argv
from dicomferry.pipelines.import_request import ImportRequest
from dicomferry.pipelines.options import make_parser, parse
from dicomferry.pipelines.requests import Request
from dicomferry.pixels.formats import AS_UPLOADED, FORMATS
from dicomferry.pixels.quality import Quality, setting_of
from dicomferry.places import Bounds, Places
from dicomferry.resource_names import StoreName, parse_store
from dicomferry.sources.uri import parse_source
from dicomferry.storage.registry import open_storage
from dicomferry.tables.destination import parse_destination

kinds = pytest.mark.parametrize("kind", [ImportRequest, ExportRequest])

names = st.text("abcXYZ019-_ %'\"日\n", min_size=1, max_size=8).map(lambda text: f"x{text}x")
TABLES = ["bq://project.dicom.t", "delta:/out/a b", "duckdb:/out/a b.duckdb#main.t"]
# Flags that are not just any value of their type.
special = {
    "root": st.one_of(names, names.map("gs://bucket/{}".format)).map(open_storage),
    "source": names.map(lambda name: parse_source(f"/in/{name}/**")),
    "destination": st.one_of(names, names.map("gs://bucket/{}".format)).map(open_storage),
    "table": st.sampled_from(TABLES).map(parse_destination),
    "mime_type": st.sampled_from(FORMATS),
    "jpeg_quality": st.integers(1, 100),
    "jpegls_near": st.integers(1, 255),
    "bounds": st.builds(
        lambda folders, remote: Bounds(Places(folders, remote), Places(folders)),
        st.lists(names, max_size=2).map(tuple),
        st.none() | st.just(()) | st.just(("gs://bucket/a b", "bq://p/d")),
    ),
}
# A request has one of these.
alternatives = {
    ImportRequest: ("source", "retry_failed"),
    ExportRequest: ("destination", "table"),
}


def values_of(flag):
    """Values of a flag: a new one has those of its type."""
    if flag.name in special:
        return special[flag.name]
    by_type = {
        bool: st.booleans(),
        int: st.integers(flag.flag.minimum or 0, 10**9),
        float: st.floats(1.1, 25, allow_nan=False),
        str: names,
    }
    one = st.sampled_from(flag.type) if flag.choices else by_type[flag.type]
    return st.lists(one, max_size=3).map(tuple) if flag.is_repeated else one


@st.composite
def command_lines(draw):
    """A kind of request, and a command line with some of its flags, in any order and spelling."""
    kind = draw(st.sampled_from([ImportRequest, ExportRequest]))
    always = draw(st.sampled_from(alternatives[kind]))
    form = draw(special["mime_type"])
    unused = {*Quality._fields} - {setting_of(form.transfer_syntax)}
    other = {"destination": "table", "table": "files"}.get(always)
    elsewhere = {each.name for each in flags_of(kind) if other and each.flag.group == other}
    never = {"store", *alternatives[kind], *unused, *elsewhere} - {always}
    argv = ["--store=trial"]
    for each in flags_of(kind):
        is_form = each.name == "mime_type" and "mime_type" not in elsewhere
        is_needed = each.name == always or (is_form and form != AS_UPLOADED)
        if is_needed or (each.name not in never and draw(st.booleans())):
            value = form if each.name == "mime_type" else draw(values_of(each))
            option = draw(st.sampled_from([each.option, f"--{each.name}"]))
            argv += [f"{option}={each.format(v)}" for v in (value if each.is_repeated else [value])]
    return kind, draw(st.permutations(argv))


@settings(deadline=None)
@given(command_lines())
def test_a_command_line_is_a_request_whose_command_line_is_the_same_request(drawn):
    kind, argv = drawn
    request, _ = parse(kind, argv)
    again, _ = parse(kind, to_argv(request))
    assert again == request
    assert to_argv(again) == to_argv(request)


@settings(deadline=None, max_examples=30)
@given(command_lines())
def test_what_is_not_given_is_the_default_of_the_request_itself(drawn):
    kind, argv = drawn
    request, _ = parse(kind, argv)
    given_names = {arg.partition("=")[0].removeprefix("--").replace("-", "_") for arg in argv}
    for each in flags_of(kind):
        if each.name not in given_names and each.name != "root":
            assert getattr(request, each.name) == each.field.default


@pytest.mark.parametrize(
    ("flags_", "field", "value"),
    [
        (["--dry-run"], "dry_run", True),
        (["--dry_run=false"], "dry_run", False),
        (["--retry-failed="], "retry_failed", ""),
        (["--within=a", "--within=b"], "within", ("a", "b")),
        (["--store", "projects/p/locations/l/datasets/d/dicomStores/s"], "store",
         parse_store("projects/p/locations/l/datasets/d/dicomStores/s")),
    ],
)  # fmt: skip
def test_flags_are_parsed_into_values(flags_, field, value):
    request, _ = parse(ImportRequest, ["--store=trial", "--source=/in/**", *flags_])
    assert getattr(request, field) == value
    assert isinstance(request.store, StoreName)


def test_a_local_table_is_the_same_table_in_another_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request, _ = parse(ExportRequest, ["--store=trial", "--table=duckdb:x.duckdb#main.t"])
    assert request.table == parse_destination(f"duckdb:{tmp_path}/x.duckdb#main.t")


def test_a_request_made_in_python_is_checked_as_its_flags_are():
    fields = {"store": parse_store("trial"), "source": parse_source("/in/**")}
    with pytest.raises(ValueError, match="--max-failures must be 0 or more, got -1"):
        ImportRequest(**fields, max_failures=-1).check()
    with pytest.raises(ValueError, match="--on-conflict must be fail or ignore, got 'maybe'"):
        ImportRequest(**fields, on_conflict="maybe").check()


@kinds
def test_every_field_is_a_flag_that_explains_itself(kind):
    for each in flags_of(kind):
        assert len(each.flag.help) > 10
        assert not each.flag.help.endswith(".")
        assert each.flag.help[:1].isupper() or each.flag.help.startswith(("bq://", *each.choices))
        assert "default" not in each.flag.help, "it is appended"


@kinds
def test_the_help_of_a_pipeline_shows_every_flag_with_its_default_and_choices(kind):
    text = " ".join(make_parser(kind).format_help().split())
    for each in flags_of(kind):
        assert each.option in text
        for choice in each.choices:
            assert choice in text
        if each.default:
            assert f"(default: {each.default})" in text


@pytest.mark.parametrize(
    ("path", "kind", "group"),
    [
        (("import",), ImportRequest, ""),
        (("export", "files"), ExportRequest, "files"),
        (("export", "table"), ExportRequest, "table"),
    ],
)
def test_a_command_has_the_flags_of_its_request(path, kind, group):
    common = {parameter.name for parameter in common_options()}
    listed = {parameter.name for parameter in load_command(*path).params} - {"help"} - common
    expected = {
        each.name
        for each in flags_of(kind)
        if each.flag.in_commands and each.flag.group in ("", group)
    }
    assert listed == expected


@kinds
def test_the_table_for_the_docs_has_a_row_per_flag(kind):
    command = [sys.executable, "-m", "dicomferry.pipelines.flag_table", kind.pipeline]
    table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert table == flag_table.flag_table(kind)
    rows = table.splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [each.option for each in flags_of(kind)]


def test_a_new_flag_is_one_field(tmp_path):
    import dataclasses
    from typing import Annotated

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Extended(ImportRequest):
        priority: Annotated[int, flags.Flag("Jobs of a higher one start first", minimum=1)] = 1

    request, _ = parse(Extended, ["--store=s", "--source=/in/**", "--priority=3"])
    assert request.priority == 3
    assert "--priority=3" in to_argv(request)
    assert "(default: 1)" in make_parser(Extended).format_help()
    assert "| `--priority` | N | 1 | Jobs of a higher one start first |" in flag_table.flag_table(
        Extended
    )
    with pytest.raises(SystemExit):
        parse(Extended, ["--store=s", "--source=/in/**", "--priority=0"])
    assert issubclass(Extended, Request)
