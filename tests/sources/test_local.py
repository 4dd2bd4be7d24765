"""Local listings: each file that a pattern means once, whatever its name; nothing vanishes."""

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicomferry.errors import Reason
from dicomferry.sources.allowed_folders import AllowedFolders
from dicomferry.sources.listing import list_sources, no_match_message
from dicomferry.sources.source import Source
from dicomferry.sources.uri import local_path, local_uri, parse_source
from tests.sources.wildcards import is_allowed, means

NAME = st.text("ab.*?[é\n\udcff", min_size=1, max_size=3).filter(lambda n: n not in {".", ".."})
PATH = st.lists(NAME, min_size=1, max_size=3).map("/".join)

ODD_NAMES = [
    *("img#1", "a?b", "a*b", "[x]", "{y}", "back\\slash", "new\nline", "tab\t", "100%", "%41"),
    *(".hidden", " a ", "~", "-", "a:b", "file:", "é", "e\u0301", "日本", "\U0001f600", "\x01"),
    os.fsdecode(b"caf\xe9"),
    os.fsdecode(b"\xff\xfe.dcm"),
]


def listed(pattern: str) -> list[Source]:
    return list(list_sources(parse_source(pattern)))


def codes(pattern: str) -> dict[str, str]:
    """Code by path below the part of the pattern before its first wildcard."""
    sources = listed(pattern)
    folder = pattern.partition("*")[0]
    found = {source.uri.removeprefix(folder): source.code for source in sources}
    assert len(found) == len(sources)
    assert set(found.values()) - {""} <= set(Reason)
    return found


def write(path: str, data: bytes = b"x") -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


@contextlib.contextmanager
def fresh_folder() -> Iterator[str]:
    """An empty folder, real all the way down, that everyone may enter."""
    folder = os.path.realpath(tempfile.mkdtemp())
    os.chmod(folder, 0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@settings(max_examples=150, deadline=None)
@given(st.lists(PATH, max_size=8), st.lists(PATH, min_size=1, max_size=4))
@example(["a.b", "a.b.b", "a/.b"], ["a.**.b", "a.b**.b", "a**.b"])
def test_what_is_listed_is_what_an_exhaustive_search_finds(
    paths: list[str], patterns: list[str]
) -> None:
    with fresh_folder() as root:
        for path in paths:
            with contextlib.suppress(NotADirectoryError, IsADirectoryError, FileExistsError):
                write(f"{root}/{path}")
        files = [os.path.join(folder, n) for folder, _, names in os.walk(root) for n in names]
        for pattern in patterns:
            if not is_allowed(pattern) or os.path.isdir(f"{root}/{pattern}"):
                continue
            found = [local_path(source.uri) for source in listed(f"{root}/{pattern}")]
            assert sorted(found) == sorted(f for f in files if means(f"{root}/{pattern}", f))


@given(PATH)
@settings(max_examples=50, deadline=None)
def test_any_file_is_listed_by_its_own_uri_with_wildcards_percent_encoded(path: str) -> None:
    with fresh_folder() as root:
        write(f"{root}/{path}")
        encoded = "".join(f"%{byte:02X}" for byte in os.fsencode(path)).replace("%2F", "/")
        assert [local_path(s.uri) for s in listed(f"file://{root}/{encoded}")] == [f"{root}/{path}"]


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("pattern", ["**", "*", "folder"])
def test_odd_names_are_listed_like_any_other(tmp_path: Path, name: str, pattern: str) -> None:
    path = f"{tmp_path}/{name}/{name}" if pattern == "folder" else f"{tmp_path}/{name}"
    write(path, b"four")
    (source,) = listed(f"{tmp_path}/*/*" if pattern == "folder" else f"{tmp_path}/{pattern}")
    assert (source.uri, source.size, source.code) == (local_uri(path), 4, "")


def test_the_version_changes_with_the_content_even_if_the_time_is_set_back(tmp_path: Path) -> None:
    path = f"{tmp_path}/a"
    write(path, b"one")
    before = os.stat(path)
    (first,) = listed(path)
    write(path, b"two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    (second,) = listed(path)
    assert second.size == first.size
    assert second.version != first.version


def test_linked_files_and_folders_are_followed(tmp_path: Path) -> None:
    write(f"{tmp_path}/far/a")
    write(f"{tmp_path}/far/sub/b")
    os.mkdir(f"{tmp_path}/near")
    os.symlink("../far", f"{tmp_path}/near/folder")
    os.symlink("../far/a", f"{tmp_path}/near/file")
    found = {"file": "", "folder/a": "", "folder/sub/b": ""}
    assert codes(f"{tmp_path}/near/**") == found
    assert codes(f"{tmp_path}/near/*/*") == {"folder/a": ""}


@pytest.mark.parametrize("target", [".", "..", "../..", "/"])
def test_a_link_to_a_folder_above_is_listed_once_and_not_entered(
    tmp_path: Path, target: str
) -> None:
    write(f"{tmp_path}/in/a")
    os.symlink(target, f"{tmp_path}/in/loop")
    assert codes(f"{tmp_path}/in/**") == {"a": "", "loop": "LINK_LOOP"}
    assert codes(f"{tmp_path}/in/**.dcm") == {"loop": "LINK_LOOP"}


def test_folders_that_link_to_each_other_end(tmp_path: Path) -> None:
    write(f"{tmp_path}/a/x")
    write(f"{tmp_path}/b/y")
    os.symlink("../b", f"{tmp_path}/a/to-b")
    os.symlink("../a", f"{tmp_path}/b/to-a")
    assert codes(f"{tmp_path}/**") == {
        **{"a/x": "", "a/to-b/y": "", "a/to-b/to-a": "LINK_LOOP"},
        **{"b/y": "", "b/to-a/x": "", "b/to-a/to-b": "LINK_LOOP"},
    }


def test_a_loop_through_the_real_name_of_a_linked_root_ends(tmp_path: Path) -> None:
    write(f"{tmp_path}/big/data/x")
    os.symlink("..", f"{tmp_path}/big/data/up")
    os.symlink("big/data", f"{tmp_path}/data")
    found = codes(f"{tmp_path}/data/**")
    assert found == {"x": "", "up/data": "LINK_LOOP"}


def test_links_are_followed_within_bounds_only(tmp_path: Path) -> None:
    for name in ("in/a.dcm", "in/sub/b.dcm", "in/sub/deep/c.dcm", "out/d.dcm", "out/deep/e.dcm"):
        write(f"{tmp_path}/{name}")
    write(f"{tmp_path}/in/stores/blob.dcm")
    for link, target in {
        "near": "sub",
        "far": "../out",
        "near.dcm": "a.dcm",
        "far.dcm": "../out/d.dcm",
        "far.txt": "../out/d.dcm",
        "blob.dcm": "stores/blob.dcm",
        "sub/stores": "../stores",
        "nothing.dcm": "../out/nothing.dcm",
    }.items():
        os.symlink(target, f"{tmp_path}/in/{link}")
    folder = os.path.realpath(f"{tmp_path}/in")
    allowed_folders = AllowedFolders((folder,), f"{folder}/stores")

    def found(pattern: str) -> dict[str, str]:
        sources = list_sources(parse_source(f"{tmp_path}/in/{pattern}"), allowed_folders)
        return {source.uri.removeprefix(f"{tmp_path}/in/"): source.code for source in sources}

    def out(*names: str) -> dict[str, str]:
        return dict.fromkeys(names, "LINK_LEADS_OUT")

    links = {"blob.dcm", "far.dcm", "nothing.dcm"}
    assert found("*.dcm") == {"a.dcm": "", "near.dcm": "", **out(*links)}
    assert found("near/**.dcm") == {"near/b.dcm": "", "near/deep/c.dcm": "", **out("near/stores/")}
    assert found("far/**") == out("far/")
    assert found("f*/*") == out("far/")
    assert found("*/deep/*.dcm") == {
        "sub/deep/c.dcm": "", "near/deep/c.dcm": "", **out("far/deep/", "stores/deep/"),
    }  # fmt: skip
    assert found("*/b.dcm") == {"sub/b.dcm": "", "near/b.dcm": "", **out("far/", "stores/")}
    assert found("far.dcm") == out("far.dcm")
    assert found("far/d.dcm") == out("far/")
    assert found("**.dcm") == {
        **dict.fromkeys(("a.dcm", "near.dcm", "sub/b.dcm", "sub/deep/c.dcm"), ""),
        **dict.fromkeys(("near/b.dcm", "near/deep/c.dcm"), ""),
        **out(*links, "far/", "stores/", "sub/stores/", "near/stores/"),
    }


def test_links_that_lead_nowhere_and_what_is_no_file_are_listed_with_a_code(
    tmp_path: Path,
) -> None:
    os.symlink("missing", f"{tmp_path}/dangling")
    os.symlink("self", f"{tmp_path}/self")
    os.symlink("/dev/null", f"{tmp_path}/device")
    os.mkfifo(f"{tmp_path}/fifo")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(tmp_path):
        listener.bind("socket")
        found = {
            "dangling": "DANGLING_LINK",
            "self": "DANGLING_LINK",
            "device": "NOT_A_FILE",
            "fifo": "NOT_A_FILE",
            "socket": "NOT_A_FILE",
        }
        assert codes(f"{tmp_path}/**") == found
        assert codes(f"{tmp_path}/*") == found
        assert list(codes(f"{tmp_path}/dangling").values()) == ["DANGLING_LINK"]
        assert codes(f"{tmp_path}/**.dcm") == {}


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Without the privileges of a superuser, whom no permission binds."""
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(65534)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)


def test_what_may_not_be_read_is_listed_with_a_code_and_the_rest_goes_on() -> None:
    with fresh_folder() as root:
        for name in ("closed/a", "names-only/b", "open/c"):
            write(f"{root}/{name}")
        os.symlink(f"{root}/closed/a", f"{root}/open/link")
        os.chmod(f"{root}/closed", 0)
        os.chmod(f"{root}/names-only", 0o444)
        with as_nobody():
            everything, one_level = codes(f"{root}/**"), codes(f"{root}/*/*")
            behind = codes(f"{root}/closed/a")
        os.chmod(f"{root}/closed", 0o755)
        os.chmod(f"{root}/names-only", 0o755)
    found = {
        "closed/": "FOLDER_UNREADABLE",
        "names-only/b": "UNREADABLE",
        "open/c": "",
        "open/link": "UNREADABLE",
    }
    assert everything == found
    assert one_level == found
    assert list(behind.values()) == ["UNREADABLE"]


def test_a_path_too_long_for_the_system_is_listed_with_a_code(tmp_path: Path) -> None:
    write(f"{tmp_path}/a")
    with contextlib.chdir(tmp_path):
        for _ in range(18):
            os.mkdir("d" * 250)
            os.chdir("d" * 250)
        with open("deep", "wb"):
            pass
    try:
        assert sorted(codes(f"{tmp_path}/**").values()) == ["", "FOLDER_UNREADABLE"]
    finally:
        shutil.rmtree(tmp_path)


def test_only_folders_that_can_match_are_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a1/x/1", "a2/x/1", "b1/x/1", "a1/y/1"):
        write(f"{tmp_path}/{name}")
    entered = []
    scandir = os.scandir

    def watched(path: str) -> object:
        entered.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", watched)
    assert len(listed(f"{tmp_path}/a?/x/*")) == 2
    assert sorted(entered) == [f"{tmp_path}{end}" for end in ("/", "/a1/x/", "/a2/x/")]


def test_a_file_that_goes_while_its_folder_is_listed_is_left_out(
    tmp_path: Path,
) -> None:
    write(f"{tmp_path}/a")
    write(f"{tmp_path}/b")
    sources = list_sources(parse_source(f"{tmp_path}/*"))
    (first,) = (next(sources),)
    for name in ("a", "b"):
        if not first.uri.endswith(name):
            os.remove(f"{tmp_path}/{name}")
    assert list(sources) == []


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("~/data/**", "the shell does not expand '~' within quotes"),
        ("{}/there/not/here/**", "there is no folder '{}/there/not/here', only '{}/there'"),
        ("{}/there/**.dcm", "'{}/there' and the folders below hold no such file"),
        ("{}/*", "only folders: did you mean '{}/**'?"),
        ("{}/there/*.dcm", "look into '{}/there'"),
        ("{}/there/b", "look into '{}/there'"),
    ],
)
def test_no_match_is_answered_with_a_hint(tmp_path: Path, pattern: str, hint: str) -> None:
    write(f"{tmp_path}/there/a")
    parsed = parse_source(pattern.replace("{}", str(tmp_path)))
    assert list(list_sources(parsed)) == []
    assert hint.replace("{}", str(tmp_path)) in no_match_message(parsed)


def test_matching_nothing_is_no_error_of_the_listing(tmp_path: Path) -> None:
    for pattern in ("**", "*", "a", "no/such/**", "*/x/?"):
        assert listed(f"{tmp_path}/{pattern}") == []
