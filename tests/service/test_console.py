"""The console as a browser meets it."""

import http.client
import json
import re
import shutil
import subprocess
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import quote, urlencode

import numpy as np
import pytest
import uvicorn
from starlette.applications import Starlette

from service.access import NoLogin, TokenFile, make_token
from service.console import console_routes, inventory, outcomes, series
from service.console.markup import Html, html, link
from service.console.show import duration, size
from stores import operations
from stores.dicom_store import create_store, delete_store, update_store
from stores.names import DatasetName, StoreName, parse_store
from tests.corpus import CORPUS, corpus_files
from tests.factories import dicom_bytes
from tests.pipelines.jobs import PACKAGED, STORE, images, new_store, run_import, write_files

_DATASET = "projects/local/locations/local/datasets/default"
_TRIAL = f"/console/{_DATASET}/dicomStores/trial"
_SCRIPT = "<script>alert(1)</script>".replace("/", "\u2215") + "\"&'"


class Answer(NamedTuple):
    """What the console said."""

    status: int
    headers: dict
    text: str


class Browser:
    """Asks one server, and keeps a cookie if it is told to."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self.headers = {}
        self.answered = []

    def get(self, path, **headers):
        return self.ask("GET", path, None, headers)

    def post(self, path, headers=None, **fields):
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, urlencode(fields), kind | (headers or {}))

    def ask(self, method, path, body, headers):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        connection.request(method, path, body, {**self.headers, **headers})
        response = connection.getresponse()
        content = response.read().decode("utf-8", "surrogateescape")
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content)

    def page(self, path):
        """The text of a page that must be there."""
        answer = self.get(path)
        assert answer.status == 200, answer
        return answer.text


@contextmanager
def _serving(root, authenticator):
    app = Starlette(routes=console_routes(root, authenticator.authenticate))
    answered = []

    async def noting(scope, receive, send):
        await app(scope, receive, send)
        answered.append((scope["path"], scope["query_string"].decode()))

    config = uvicorn.Config(noting, port=0, log_config=None, access_log=False, lifespan="off")
    listener = config.bind_socket()
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        browser = Browser(listener.getsockname()[1])
        browser.answered = answered
        yield browser
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def browser(root):
    """A browser on a console without login."""
    with _serving(root, NoLogin()) as browser:
        yield browser


@pytest.fixture
def trial(root, tmp_path):
    """A store with three images, after an import in which two files failed."""
    new_store(root)
    files = images(3, PatientName="SECRET^NAME")
    files |= {f"{_SCRIPT}.dcm": b"no image", b"not-\xff-text.dcm": b"no image"}
    return run_import(root, write_files(tmp_path / "in", files))


def _running(root, store=STORE, total=200, **counts):
    """An operation of this process that is under way."""
    folder = operations.start_operation(root, store, "ImportDicomData")
    operation = folder.read()
    operation["total"] = total
    folder.write(operation)
    folder.report_progress("00000-w", Counter(counts))
    return folder


def _path(operation):
    return f"/console/{operation['name']}"


class TestStores:
    def test_are_shown_with_metrics_and_labels(self, browser, root, trial):
        update_store(root, STORE, lambda old: {**old, "labels": {"site": "north"}})
        text = browser.page("/")
        assert f'href="{_TRIAL}"' in text
        assert "<dd>3</dd><dt>instances</dt>" in text
        assert "<li>site<b>north</b></li>" in text

    def test_of_any_name_are_found(self, browser, root):
        names = [
            StoreName(DatasetName("p", "l", "d"), "a b?#%&<b>ü"),
            StoreName(DatasetName("Ünder", "l", "d/".replace("/", "\u2215")), "x" * 256),
        ]
        for name in names:
            create_store(root, name)
        for name in names:
            text = browser.page(f"/?dataset={quote(str(name.parent))}")
            href = re.search(r'<h3><a href="(/console/[^"]+)"', text)[1]
            assert html("<h1>{id}</h1>", id=name.id) in browser.page(href)
            assert "No instances yet" in browser.page(f"{href}/preview")
        assert browser.page("/").count("/?dataset=") >= 2

    def test_come_page_by_page(self, browser, root, monkeypatch):
        monkeypatch.setattr(inventory, "STORES_PAGE", 2)
        for number in range(5):
            create_store(root, parse_store(f"s{number}"))
        seen, path = [], "/"
        while path:
            text = browser.page(path)
            seen += re.findall(r"<h3><a[^>]*>(s\d)<", text)
            more = re.search(r'href="([^"]+)">More stores', text)
            path = more[1].replace("&amp;", "&") if more else ""
        assert seen == ["s0", "s1", "s2", "s3", "s4"]

    def test_that_are_deleted_are_gone(self, browser, root, trial):
        delete_store(root, STORE)
        assert "dicomStores/trial" not in re.sub(r"(?s)Operations.*", "", browser.page("/"))
        for path in (_TRIAL, f"{_TRIAL}/preview"):
            assert browser.get(path).status == 404

    def test_tell_where_they_publish_and_stream(self, browser, root):
        topic, table = "projects/p/topics/t", "bq://project.dataset.table"
        streams = [{"bigqueryDestination": {"tableUri": table}}]
        resource = {"notificationConfigs": [{"pubsubTopic": topic}], "streamConfigs": streams}
        create_store(root, STORE, resource)
        text = browser.page(_TRIAL)
        assert topic in text
        assert table in text

    def test_an_empty_root_says_how_to_begin(self, browser):
        text = browser.page("/")
        assert "dicomferry stores create" in text
        assert "dicomferry import" in text


class TestOperations:
    def test_a_running_one_has_a_bar_that_moves_and_a_rate(self, browser, root):
        new_store(root)
        folder = _running(root, read=50, bytes=10_000_000, failed=3)
        text = browser.page("/")
        assert 'aria-valuenow="50" aria-valuemax="200"' in text
        assert re.search(r"50 of 200 files · 10.0 MB · [\d.,]+ files/s · .* left · 3 failed", text)
        live = re.search(
            r'class="operation" data-live="([^"]+)"', browser.page(_path(folder.read()))
        )
        folder.report_progress("00000-w", Counter(read=150))
        part = browser.page(live[1])
        assert part.startswith("<section")
        assert 'aria-valuenow="150"' in part
        operation = folder.read()
        operations.finish(operation)
        folder.write(operation)
        assert "data-live" not in browser.page(live[1])

    def test_without_javascript_the_page_loads_itself_anew_while_something_runs(
        self, browser, root, trial
    ):
        refresh = '<noscript><meta http-equiv="refresh"'
        assert refresh not in browser.page("/")
        folder = _running(root)
        for path in ("/", _TRIAL, _path(folder.read())):
            assert refresh in browser.page(path)

    def test_one_that_has_not_listed_its_files_yet_says_so(self, browser, root):
        new_store(root)
        _running(root, total=0)
        assert "looking for files" in browser.page("/")

    def test_come_page_by_page_newest_first(self, browser, root, monkeypatch):
        monkeypatch.setattr(inventory, "OPERATIONS_PAGE", 2)
        new_store(root)
        other = parse_store("other")
        for number in range(6):
            store = other if number % 2 else STORE
            operations.start_operation(root, store, "ImportDicomData", f"20260101-{number}")
        for start, wanted in (("/", "543210"), (_TRIAL, "420")):
            seen, path = [], start
            while path:
                text = browser.page(path)
                seen += re.findall(r'operations/20260101-(\d)">Import', text)
                more = re.search(r'href="([^"]+)">Older operations', text)
                path = more[1].replace("&amp;", "&") if more else ""
            assert "".join(seen) == wanted

    def test_why_files_failed_is_counted_and_every_file_listed(self, browser, trial):
        text = browser.page(_path(trial.operation))
        assert "<b>2 ×</b><div><code>NOT_DICOM</code>" in text
        assert text.count("<tr><td") == 5
        assert "1.2.1.1.1" in text

    def test_outcomes_are_filtered(self, browser, trial):
        text = browser.page(f"{_path(trial.operation)}?outcome=failed")
        assert text.count("<tr><td") == 2
        text = browser.page(f"{_path(trial.operation)}?outcome=imported")
        assert text.count("<tr><td") == 3
        assert "NOT_DICOM" not in text
        assert browser.get(f"{_path(trial.operation)}?outcome=nonsense").status == 400

    def test_outcomes_are_downloaded_as_they_were_written(self, browser, trial):
        path = f"{_path(trial.operation)}/outcomes.jsonl"
        answer = browser.get(path)
        assert {json.loads(line)["source"] for line in answer.text.splitlines()} == set(
            trial.outcomes
        )
        assert answer.headers["content-disposition"].endswith('outcomes.jsonl"')
        lines = browser.page(f"{path}?outcome=failed").splitlines()
        assert [json.loads(line)["code"] for line in lines] == ["NOT_DICOM"] * 2

    def test_an_aborted_one_is_told_from_a_failed_one(self, browser, root, trial):
        folder = _running(root, read=7)
        operation = folder.read()
        operation["owner"]["start_time"] = "another process"
        folder.storage.write("operation.json", json.dumps(operation).encode())
        text = browser.page(_path(operation))
        assert 'class="state bad">aborted' in text
        assert 'class="state warn">done, with failures' in browser.page(_path(trial.operation))


class TestOutcomePages:
    def _folder(self, root, shards):
        new_store(root)
        folder = operations.start_operation(root, STORE, "ImportDicomData")
        for name, lines in shards.items():
            text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
            folder.write_outcomes(name, text.encode())
        return folder

    @pytest.mark.parametrize("block", [7, 100, 1 << 20])
    @pytest.mark.parametrize("outcome", ["", "failed", "duplicate"])
    def test_every_line_is_on_exactly_one_page(self, root, monkeypatch, block, outcome):
        monkeypatch.setattr(outcomes, "PAGE", 4)
        monkeypatch.setattr(outcomes, "_BLOCK_BYTES", block)
        lines = [
            {"source": f"/ü/{n}", "outcome": "failed" if n % 3 == 0 else "imported", "bytes": n}
            for n in range(30)
        ]
        shards = {"00000-00000": lines[:13], "00001-00000": [], "00002-00000": lines[13:]}
        folder = self._folder(root, shards)
        wanted = [line for line in lines if outcome in ("", line["outcome"])]
        found, after, pages = [], "", 0
        while pages == 0 or after:
            page = outcomes.page_of_outcomes(folder, outcome, after)
            assert len(page.lines) <= 4
            found, after, pages = found + page.lines, page.after, pages + 1
        assert found == wanted
        streamed = b"".join(outcomes.stream(folder, outcome)).splitlines()
        assert list(map(json.loads, streamed)) == wanted

    def test_a_search_for_few_among_many_goes_on_from_a_link(self, root, monkeypatch, browser):
        monkeypatch.setattr(outcomes, "_SCAN_BYTES", 500)
        lines = [{"source": f"/{n}", "outcome": "imported", "bytes": n} for n in range(99)]
        folder = self._folder(root, {"00000-00000": [*lines, {**lines[0], "outcome": "failed"}]})
        path, steps, found = f"/console/{folder.name}?outcome=failed", 0, 0
        while path:
            text = browser.page(path)
            found += text.count("<tr><td")
            more = re.search(r'rel="next" href="([^"]+)">', text)
            path = more[1].replace("&amp;", "&").partition("#")[0] if more else ""
            steps += 1
        assert found == 1
        assert steps > 5
        assert not outcomes.reasons(folder, "").is_complete

    def test_names_that_look_like_outcomes_are_none(self, root):
        line = {"source": '/a"outcome": "failed"', "outcome": "imported", "bytes": 1}
        folder = self._folder(root, {"00000-00000": [line]})
        assert outcomes.page_of_outcomes(folder, "failed", "").lines == []
        assert outcomes.page_of_outcomes(folder, "imported", "").lines == [line]

    @pytest.mark.parametrize("after", ["x", "../x:1", "a:-1", "a:" + "9" * 99, "\u0661:\u0661"])
    def test_positions_that_are_none_are_refused(self, browser, trial, after):
        answer = browser.get(f"{_path(trial.operation)}?{urlencode({'after': after})}")
        assert answer.status == 400


class TestPictures:
    def test_show_a_series_each(self, browser, root, tmp_path):
        new_store(root)
        pixels = np.arange(16, dtype="<u2").tobytes()
        files = {"a": dicom_bytes(pixels=pixels), "b": dicom_bytes(sop="1.3", series="1.2.9")}
        run_import(root, write_files(tmp_path / "in", files))
        text = browser.page(f"{_TRIAL}/preview")
        sources = re.findall(r'<img src="([^"]+)"', text)
        assert len(sources) == 2
        for source in sources:
            answer = browser.get(source)
            assert (answer.status, answer.headers["content-type"]) == (200, "image/jpeg")
            assert answer.text.encode("utf-8", "surrogateescape").startswith(b"\xff\xd8")

    def test_what_cannot_be_shown_says_why(self, browser, root):
        new_store(root)
        run_import(root, f"{PACKAGED}/test_files/rtplan.dcm")
        [source] = re.findall(r'<img src="([^"]+)"', browser.page(f"{_TRIAL}/preview"))
        answer = browser.get(source)
        assert answer.headers["content-type"] == "image/svg+xml"
        assert "has no pixel data" in answer.text

    def test_come_page_by_page_each_series_once(self, browser, root, tmp_path, monkeypatch):
        monkeypatch.setattr(series, "PAGE", 3)
        monkeypatch.setattr(series, "_BATCH_ROWS", 2)
        new_store(root)
        files = {
            f"{n}": dicom_bytes(sop=f"1.9.{n}", study=f"1.{n % 4}", series=f"1.5.{n % 8}")
            for n in range(16)
        }
        run_import(root, write_files(tmp_path / "in", files))
        seen, path = [], f"{_TRIAL}/preview"
        while path:
            text = browser.page(path)
            seen += re.findall(r"series (1\.5\.\d)<", text)
            assert text.count("2 instances") == text.count("<figure>") <= 3
            more = re.search(r'rel="next" href="([^"]+)"', text)
            path = more[1] if more else ""
        assert sorted(seen) == [f"1.5.{n}" for n in range(8)]

    @pytest.mark.parametrize(
        "place",
        [
            "1.2.1/1.2.1.1/1.2.1.1.1/abc",
            "1.2.1/1.2.1.1/%2e%2e/abc",
            "../../index/_delta_log",
            "1.2.1/1.2.1.1/1.2.1.1.1/%2e%2e%2fx",
            "a/b/c/d",
        ],
    )
    def test_of_what_is_no_instance_are_not_found(self, browser, trial, place):
        assert browser.get(f"{_TRIAL}/pictures/{place}").status == 404

    def test_of_real_files(self, browser, root):
        corpus_files()  # skips where there are none
        new_store(root)
        run_import(root, f"{CORPUS}/**")
        text = browser.page(f"{_TRIAL}/preview")
        kinds = Counter(
            browser.get(source).headers["content-type"]
            for source in re.findall(r'<img src="([^"]+)"', text)
        )
        assert kinds["image/jpeg"] > 10
        assert set(kinds) <= {"image/jpeg", "image/svg+xml"}


class TestText:
    def test_no_page_lets_a_name_become_markup(self, browser, root, trial):
        for path in ("/", _TRIAL, f"{_TRIAL}/preview", _path(trial.operation)):
            text = browser.page(path)
            assert "<script>alert" not in text
            assert text.count("<script") == 1
        assert "&lt;script&gt;alert(1)" in browser.page(_path(trial.operation))

    def test_names_that_are_not_utf_8_are_shown(self, browser, trial):
        assert "/in/not-%FF-text.dcm" in browser.page(_path(trial.operation))

    def test_no_page_holds_patient_data(self, browser, trial):
        for path in ("/", _TRIAL, f"{_TRIAL}/preview", _path(trial.operation)):
            assert "SECRET" not in browser.page(path)

    def test_every_value_is_escaped_unless_it_is_html(self):
        filled = html('<a title="{a}">{b}{c}</a>', a='"><i>', b="<'&\udcff", c=Html("<b>"))
        assert filled == '<a title="&quot;&gt;&lt;i&gt;">&lt;&#x27;&amp;?<b></a>'
        with pytest.raises(KeyError):
            html("{a}", a=1, b=2)
        with pytest.raises(KeyError):
            html("{a}{b}", a=1)

    def test_links_hold_any_name(self):
        assert link("/a b/?", q="&=ü", empty="") == "/a%20b/%3F?q=%26%3D%C3%BC"

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0, "0 s"), (59.4, "59 s"), (185, "3 min 5 s"), (7900, "2 h 11 min"), (90_000, "1 d 1 h")],
    )
    def test_durations_are_written_for_people(self, seconds, text):
        assert duration(seconds) == text

    @pytest.mark.parametrize(
        ("value", "text"),
        [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2.5e8, "250 MB"), (3e15, "3,000.0 TB")],
    )
    def test_sizes_are_written_for_people(self, value, text):
        assert size(value) == text


class TestHeaders:
    def test_nothing_but_the_servers_own_is_loaded(self, browser, trial):
        operation = _path(trial.operation)
        for path in ("/", _TRIAL, operation, f"{operation}/outcomes.jsonl", "/console/style.css"):
            headers = browser.get(path).headers
            assert headers["content-security-policy"].startswith("default-src 'none'; style-src")
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
        assert browser.get("/").headers["cache-control"] == "no-store"

    def test_pages_need_nothing_that_the_policy_forbids(self, browser, trial):
        for path in ("/", _TRIAL, f"{_TRIAL}/preview", _path(trial.operation)):
            text = browser.page(path)
            assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://", text)

    @pytest.mark.parametrize(
        "path",
        [
            f"/console/{_DATASET}/operations/none",
            f"/console/{_DATASET}/operations/%2e%2e",
            f"/console/{_DATASET}/dicomStores/none",
            f"/console/{_DATASET}/dicomStores/none/preview",
            f"/console/{_DATASET}/dicomStores/{'x' * 257}",
            f"/console/{_DATASET}/dicomStores/%00",
            "/?dataset=nonsense",
        ],
    )
    def test_what_is_not_there_is_told_on_a_page(self, browser, root, path):
        new_store(root)
        answer = browser.get(path)
        assert answer.status == 404
        assert "All stores and operations" in answer.text
        # Looking must leave no traces.
        assert not (root.root and list(root.folders(f"{_DATASET}/operations")))


@pytest.fixture
def tokens(root, tmp_path):
    """A console with login; tokens by the permissions that they have on the store trial."""
    path = tmp_path / "auth.jsonl"
    made = {
        "all": make_token("all", ["healthcare.*"], ["*"]),
        "get": make_token(
            "<b>get", ["healthcare.dicomStores.get"], [f"{_DATASET}/dicomStores/trial"]
        ),
        "operations": make_token(
            "operations", ["healthcare.operations.get"], [f"{_DATASET}/dicomStores/trial"]
        ),
    }
    path.write_text("".join(f"{json.dumps(entry)}\n" for _, entry in made.values()))
    path.chmod(0o600)
    with _serving(root, TokenFile(str(path))) as browser:
        yield browser, {name: token for name, (token, _) in made.items()}, path


class TestLogin:
    def test_without_a_token_there_is_only_the_form(self, tokens, trial):
        browser, _, _ = tokens
        for path in ("/", _TRIAL, f"{_TRIAL}/preview", _path(trial.operation), "/?dataset=x"):
            answer = browser.get(path)
            assert answer.status == 401
            assert 'name="token"' in answer.text
            assert "trial" not in re.sub(r'name="next" value="[^"]*"', "", answer.text)
        assert browser.get("/console/style.css").status == 200

    def test_a_token_becomes_a_cookie_that_no_script_and_no_other_site_can_use(self, tokens):
        browser, known, _ = tokens
        answer = browser.post("/console/login", token=f" {known['all']}\n", next="/?dataset=x&y")
        assert (answer.status, answer.headers["location"]) == (303, "/?dataset=x&y")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        browser.headers["Cookie"] = answer.headers["set-cookie"].partition(";")[0]
        assert browser.get("/").status == 200
        answer = browser.post("/console/logout")
        assert answer.status == 303
        assert "max-age=0" in answer.headers["set-cookie"].lower()

    def test_a_wrong_token_gets_the_form_again(self, tokens):
        browser, _, _ = tokens
        answer = browser.post("/console/login", token="wrong", next="/x")
        assert answer.status == 401
        assert "unknown or revoked token" in answer.text
        assert 'value="/x"' in answer.text
        assert "set-cookie" not in answer.headers
        assert browser.post("/console/login", token="x" * 20_000).status == 400

    @pytest.mark.parametrize(
        "next_", ["//evil.example", "https://evil.example/", "\\\\evil.example", "/\\evil.example"]
    )
    def test_a_login_leads_to_no_other_site(self, tokens, next_):
        browser, known, _ = tokens
        location = browser.post("/console/login", token=known["all"], next=next_).headers[
            "location"
        ]
        assert re.match(r"/(?![/\\])", location)

    def test_forms_of_other_sites_are_refused(self, tokens):
        browser, known, _ = tokens
        elsewhere = {"Origin": "https://evil.example"}
        for path in ("/console/login", "/console/logout"):
            answer = browser.post(path, headers=elsewhere, token=known["all"])
            assert answer.status == 403
            assert "set-cookie" not in answer.headers
        own = {"Origin": browser.url}
        assert browser.post("/console/login", headers=own, token=known["all"]).status == 303

    def test_each_page_asks_for_its_permission(self, tokens, trial, root):
        browser, known, _ = tokens
        create_store(root, parse_store("other"))
        operation = _path(trial.operation)
        [source] = set(
            re.findall(
                r'<img src="([^"]+)"',
                browser.get(f"{_TRIAL}/preview", Authorization=f"Bearer {known['all']}").text,
            )
        )
        paths = (_TRIAL, f"{_TRIAL}/preview", source, operation, f"{operation}/outcomes.jsonl")
        wanted = {
            "all": (200, 200, 200, 200, 200),
            "get": (200, 403, 403, 403, 403),
            "operations": (403, 403, 403, 200, 200),
        }
        for name, statuses in wanted.items():
            headers = {"Authorization": f"Bearer {known[name]}"}
            assert tuple(browser.get(path, **headers).status for path in paths) == statuses
            other = browser.get(f"/console/{_DATASET}/dicomStores/other", **headers)
            none = browser.get(f"/console/{_DATASET}/dicomStores/none", **headers)
            assert (other.status, none.status) == ((200, 404) if name == "all" else (403, 403))

    def test_the_front_page_shows_what_a_token_may_see(self, tokens, trial, root):
        browser, known, _ = tokens
        create_store(root, parse_store("other"))
        shown = {}
        for name, token in known.items():
            text = browser.get("/", Cookie=f"dicomferry_token={token}").text
            shown[name] = [word in text for word in (">trial<", ">other<", ">Import · trial<")]
        assert shown == {
            "all": [True, True, True],
            "get": [True, False, False],
            "operations": [False, False, True],
        }
        text = browser.get("/", Cookie=f"dicomferry_token={known['get']}").text
        assert "<span>&lt;b&gt;get</span><button>Log out" in text

    def test_a_revoked_token_is_out_at_once(self, tokens):
        browser, known, path = tokens
        cookie = {"Cookie": f"dicomferry_token={known['get']}"}
        assert browser.get("/", **cookie).status == 200
        lines = path.read_text().splitlines(keepends=True)
        path.write_text(lines[0])
        answer = browser.get("/", **cookie)
        assert answer.status == 401
        assert "revoked" in answer.text
        path.chmod(0o644)
        assert browser.get("/", Cookie=f"dicomferry_token={known['all']}").status == 503


class TestInChromium:
    """The pages as a real browser runs them, its policy against scripts included."""

    @pytest.fixture
    def dom(self, browser, tmp_path):
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if not chromium:
            pytest.skip("chromium is not installed")

        def dump(path, milliseconds=1000):
            done = subprocess.run(
                [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                 f"--user-data-dir={tmp_path}/chromium", f"--virtual-time-budget={milliseconds}",
                 "--dump-dom", browser.url + path],
                capture_output=True, text=True, timeout=120, check=True,
            )  # fmt: skip
            console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
            return done.stdout, console

        return dump

    def test_a_bar_moves_without_loading_the_page_anew(self, dom, browser, root):
        new_store(root)
        folder = _running(root, read=50)
        path = _path(folder.read())
        over = threading.Event()

        def go_on():
            # Once the page is there, only its script can bring a new value.
            while not over.wait(0.05):
                if (path, "") in browser.answered:
                    folder.report_progress("00000-w", Counter(read=150))
                    return

        mover = threading.Thread(target=go_on)
        mover.start()
        try:
            text, console = dom(path, milliseconds=8000)
        finally:
            over.set()
            mover.join()
        assert 'aria-valuenow="150"' in text
        assert browser.answered.count((path, "")) == 1
        assert console == []

    def test_pages_run_clean_and_names_stay_text(self, dom, trial):
        for path in ("/", _TRIAL, f"{_TRIAL}/preview", _path(trial.operation)):
            text, console = dom(path)
            assert "</html>" in text
            assert console == []
        assert "&lt;script&gt;alert(1)" in text
