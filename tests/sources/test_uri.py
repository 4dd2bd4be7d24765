"""Source URIs mean what the API reference says, and every other form is refused."""

import ast
import os
import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dicomferry.sources.pattern import SourceError
from dicomferry.sources.uri import check_arguments, local_path, local_uri, parse_source
from tests.sources.wildcards import is_allowed, means

PATTERNS = st.text("ab/.*?[é\n", min_size=1, max_size=10)
NAMES = st.text("ab/.*?[é\n", max_size=8)


@given(PATTERNS, NAMES)
@example("a**.b", "a.b")
@example("a.b**.b", "a.b")
@example("*", "")
@example("?", "/")
@example("a*", "a\n")
@example("a//b*", "a//b")
def test_a_pattern_means_what_an_exhaustive_search_finds(pattern: str, name: str) -> None:
    assume(is_allowed(pattern))
    assert parse_source(f"gs://bucket/{pattern}").matches(name) == means(pattern, name)


@given(PATTERNS)
@example("**/*.b")
@example("a?/**.b")
@example("*/")
def test_a_pattern_that_breaks_a_rule_is_refused_with_one_that_does_not(pattern: str) -> None:
    if is_allowed(pattern):
        assert parse_source(f"gs://bucket/{pattern}").bucket == "bucket"
        return
    with pytest.raises(SourceError) as refused:
        parse_source(f"gs://bucket/{pattern}")
    proposed = re.search(r"did you mean (['\"].*['\"])\?$", str(refused.value), re.DOTALL)
    assert proposed
    assert parse_source(ast.literal_eval(proposed[1])).bucket == "bucket"


def test_a_pattern_with_many_wildcards_fails_quickly() -> None:
    pattern = parse_source("gs://bucket/" + "*a" * 60 + "*b")
    assert not pattern.matches("a" * 1000)


@pytest.mark.parametrize(
    ("uri", "problem", "remedy"),
    [
        ("", "is empty", "'/data/**'"),
        ("/data/\0", "NUL", ""),
        ("file:///data/%00", "NUL", ""),
        ("gs://bucket", "names a bucket", "did you mean 'gs://bucket/**'?"),
        ("gs://bucket/", "names a bucket", "did you mean 'gs://bucket/**'?"),
        ("gs://bucket/dir/", "names a folder", "did you mean 'gs://bucket/dir/**'?"),
        ("/data/*/", "names a folder", "did you mean '/data/*/*'?"),
        ("gs://buck*t/a", "wildcard in the bucket", "name one bucket"),
        ("gs://buck?t/a", "wildcard in the bucket", "name one bucket"),
        ("gs://b/a", "'b' is not a bucket name", "gs://bucket/object"),
        ("gs://Bucket/a", "'Bucket' is not a bucket name", "lower-case"),
        ("gs:///a", "'' is not a bucket name", "gs://bucket/object"),
        ("gs:/bucket/a", "lacks '//'", "did you mean 'gs://bucket/a'?"),
        ("GS://bucket/a", "lower case", "gs://"),
        ("gs://bucket/\udcff", "not UTF-8", ""),
        ("file:/data/a", "lacks '//'", "did you mean 'file:///data/a'?"),
        ("file://host/data/a", "not a local file", "'file:///data/**'"),
        ("s3://bucket/a", "s3:// is not supported", "gs://bucket/dir/**"),
        ("az://container/a", "az:// is not supported", "gs://bucket/dir/**"),
        ("http://host/a", "http:// is not supported", "gs://bucket/dir/**"),
        (
            "https://storage.googleapis.com/bucket/a.dcm",
            "web address",
            "did you mean 'gs://bucket/a.dcm'?",
        ),
        ("/data/***", "'***', which is not a wildcard", "did you mean '/data/**'?"),
        ("/data/**/*.dcm", "another wildcard beside '**'", "did you mean '/data/**.dcm'?"),
        ("/data/**/*", "another wildcard beside '**'", "did you mean '/data/**'?"),
        ("/data/*/**", "another wildcard beside '**'", "did you mean '/data/**'?"),
        ("/data/a?/**.dcm", "another wildcard beside '**'", "did you mean '/data/a**.dcm'?"),
        ("/data/**/a.dcm", "before the end", "did you mean '/data/**.dcm'?"),
        ("/data/**dcm", "before the end", "did you mean '/data/**'?"),
        ("/data/**.", "before the end", "did you mean '/data/**'?"),
        ("/data/**.dcm/a", "before the end", "did you mean '/data/**'?"),
        ("/data/*/../a", "'..' after a wildcard", "leave it out"),
    ],
)
def test_a_refusal_names_the_rule_and_the_remedy(uri: str, problem: str, remedy: str) -> None:
    with pytest.raises(SourceError) as refused:
        parse_source(uri)
    assert problem in str(refused.value)
    assert remedy in str(refused.value)


def test_a_folder_that_exists_is_no_source(tmp_path: os.PathLike[str]) -> None:
    with pytest.raises(SourceError, match=f"did you mean '{tmp_path}/\\*\\*'"):
        parse_source(str(tmp_path))


def test_relative_paths_start_at_the_working_folder(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = os.getcwd()
    assert parse_source("a/*").matches(f"{here}/a/b")
    assert parse_source("./a//b/./c").matches(f"{here}/a/b/c")
    assert parse_source("**").prefix == f"{here}/"


def test_wildcards_in_the_name_of_the_working_folder_are_ordinary(
    tmp_path: os.PathLike[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = f"{tmp_path}/a*b?"
    os.mkdir(folder)
    monkeypatch.chdir(folder)
    assert parse_source("x*").matches(f"{folder}/x1")
    assert not parse_source("x*").matches(f"{tmp_path}/a-b-/x1")


def test_the_parent_of_a_link_is_that_of_its_target(tmp_path: os.PathLike[str]) -> None:
    os.makedirs(f"{tmp_path}/far/away")
    os.symlink(f"{tmp_path}/far/away", f"{tmp_path}/link")
    assert parse_source(f"{tmp_path}/link/../x").matches(f"{os.path.realpath(tmp_path)}/far/x")


def test_percent_encoding_in_a_file_uri_makes_wildcards_ordinary() -> None:
    assert parse_source("file:///data/a%2A*").matches("/data/a*b")
    assert not parse_source("file:///data/a%2A*").matches("/data/a-b")
    assert parse_source("file://localhost/data%2Fx%20y").matches("/data/x y")


def test_percent_signs_elsewhere_are_ordinary() -> None:
    assert parse_source("/data/%2A").matches("/data/%2A")
    assert parse_source("gs://bucket/%2A").matches("%2A")


@given(st.binary(min_size=1, max_size=8).filter(lambda name: b"\0" not in name))
def test_every_local_path_has_a_uri_that_is_text_and_leads_back(name: bytes) -> None:
    path = "/" + os.fsdecode(name)
    uri = local_uri(path)
    uri.encode("utf-8")
    assert local_path(uri) == path


def test_a_path_that_is_text_is_its_own_uri() -> None:
    assert local_uri("/data/é#?[x]%\n") == "/data/é#?[x]%\n"


def test_one_argument_is_the_source() -> None:
    assert check_arguments(["/data/**"]) == "/data/**"


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["d/a.dcm", "d/b.dcm"], "'d/*.dcm'"),
        (["a", "b.dcm"], "'*'"),
        (["/x/a/1.dcm", "/x/b/2.dcm"], "'/x/**.dcm'"),
    ],
)
def test_a_pattern_that_the_shell_expanded_is_to_be_quoted(
    arguments: list[str], pattern: str
) -> None:
    with pytest.raises(SourceError, match="the shell has expanded") as refused:
        check_arguments(arguments)
    assert pattern in str(refused.value)
    assert arguments[0] in str(refused.value)


def test_no_argument_is_refused() -> None:
    with pytest.raises(SourceError, match="no source"):
        check_arguments([])
