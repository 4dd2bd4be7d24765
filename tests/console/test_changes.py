"""Imports and exports that the page starts, and operations that it cancels."""

import json
import re
from urllib.parse import urlencode

import pytest

from dicomferry.api import dicom_service
from dicomferry.api.access import NoLogin, TokenFile, make_token
from dicomferry.api.errors import ApiError
from dicomferry.console import confirmations
from dicomferry.console.confirmations import Change, Confirmations
from dicomferry.operations.folder import start_operation
from tests.console.consoles import DATASET, SCRIPT, TRIAL, page_of, serving
from tests.pipelines.jobs import STORE, new_store

ALL = ["healthcare.dicomStores.*", "healthcare.operations.*"]


@pytest.fixture
def started(root, monkeypatch):
    """The jobs that were started, none of which runs."""
    new_store(root)
    jobs = []

    def start(job, runner, principal):
        jobs.append((job, principal))
        return start_operation(root, STORE, "ImportDicomData")

    monkeypatch.setattr(dicom_service.launch, "start", start)
    return jobs


@pytest.fixture
def log_in(root, tmp_path, started):
    """Returns a function that sends forms as a browser of somebody does."""
    (tmp_path / "in").mkdir()
    grants = {
        "all": (ALL, "trial"),
        "another": (ALL, "trial"),
        "other": (ALL, "other"),
        "reader": (["healthcare.dicomStores.get", "healthcare.operations.get"], "trial"),
    }
    tokens = {
        name: make_token(name, permissions, [f"{DATASET}/dicomStores/{store}"])
        for name, (permissions, store) in grants.items()
    }
    path = tmp_path / "auth.jsonl"
    path.write_text("".join(f"{json.dumps(entry)}\n" for _, entry in tokens.values()))
    path.chmod(0o600)
    with serving(root, TokenFile(str(path)), allowed=[str(tmp_path)]) as browser:

        def of(name):
            cookie = {"Cookie": f"dicomferry_token={tokens[name][0]}"}

            def send(path, fields=None, **headers):
                if fields is None:
                    return browser.ask("GET", path, None, cookie | headers)
                kind = {"Content-Type": "application/x-www-form-urlencoded"}
                own = {"Origin": browser.url, "Sec-Fetch-Site": "same-origin"}
                sent = {k.replace("_", "-"): v for k, v in headers.items()}
                return browser.ask("POST", path, urlencode(fields), cookie | kind | own | sent)

            return send

        yield of


def hidden(text):
    return dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', text))


class TestWhoMayChange:
    @pytest.mark.parametrize("name", ["reader", "other"])
    def test_others_get_no_form_and_start_nothing(self, log_in, started, root, tmp_path, name):
        operation = start_operation(root, STORE, "ImportDicomData")
        send = log_in(name)
        for path in (f"{TRIAL}/import", f"{TRIAL}/export", f"{page_of(operation)}/cancel"):
            assert send(path).status == 403
            fields = {"uri": f"{tmp_path}/in/**", "destination": f"{tmp_path}/out"}
            assert send(path, fields).status == 403
        assert started == []
        assert f"{TRIAL}/import" not in send(TRIAL).text

    def test_without_a_login_there_is_only_its_form(self, log_in, started):
        send = log_in("all")
        for path in (f"{TRIAL}/import", f"{TRIAL}/export"):
            assert send(path, Cookie="").status == 401
            assert send(path, {"uri": "/x"}, Cookie="").status == 401

    def test_a_token_may_name_only_places_that_the_api_takes(self, log_in, started):
        send = log_in("all")
        asked = send(f"{TRIAL}/import", {"uri": "/etc/**"})
        answer = send(f"{TRIAL}/import", hidden(asked.text))
        assert answer.status in (400, 403)
        assert started == []


class TestForgery:
    def ask(self, log_in, tmp_path):
        send = log_in("all")
        return send, hidden(send(f"{TRIAL}/import", {"uri": f"{tmp_path}/in/**"}).text)

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec_Fetch_Site": "cross-site"},
            {"Sec_Fetch_Site": "same-site"},
        ],
    )
    def test_forms_of_other_sites_are_refused(self, log_in, started, tmp_path, headers):
        send, fields = self.ask(log_in, tmp_path)
        assert send(f"{TRIAL}/import", fields, **headers).status == 403
        assert started == []

    def test_nothing_starts_without_a_confirmation_of_the_very_change(
        self, log_in, started, tmp_path
    ):
        send, fields = self.ask(log_in, tmp_path)
        for wrong in (
            {**fields, "confirmation": "x"},
            {**fields, "confirmation": "9999999999.x." + "0" * 64},
            {**fields, "confirmation": fields["confirmation"] + "é"},
            {**fields, "uri": f"{tmp_path}/in/other/**"},
            {**fields, "more": "1"},
        ):
            assert send(f"{TRIAL}/import", wrong).status == 403
        assert send(f"{TRIAL}/export", {**fields, "destination": str(tmp_path)}).status == 403
        assert log_in("another")(f"{TRIAL}/import", fields).status == 403
        assert started == []
        assert send(f"{TRIAL}/import", fields).status == 303

    def test_a_form_alone_starts_nothing(self, log_in, started, tmp_path):
        self.ask(log_in, tmp_path)
        assert started == []

    @pytest.mark.parametrize("fields", [{}, {"uri": " "}, {f"f{n}": "1" for n in range(99)}])
    def test_forms_without_what_is_needed_are_refused(self, log_in, started, fields):
        assert log_in("all")(f"{TRIAL}/import", fields).status == 400
        assert log_in("all")(f"{TRIAL}/import", {"uri": "x" * 20_000}).status == 400

    def test_a_confirmation_ends(self, monkeypatch):
        made = Confirmations()
        change = Change("me", "/x", {"uri": "a"})
        token = made.make(change)
        monkeypatch.setattr(confirmations.time, "time", lambda: 9e9)
        with pytest.raises(ApiError):
            made.act(token, change, lambda: "started")

    def test_what_failed_can_be_tried_again_and_what_began_is_not_done_twice(self):
        made = Confirmations()
        change = Change(None, "/x", {})
        token, done = made.make(change), []

        def fail():
            raise LookupError

        with pytest.raises(LookupError):
            made.act(token, change, fail)

        def act():
            done.append(made.act(token, change, lambda: "twice"))
            return "once"

        assert made.act(token, change, act) == "once"
        assert made.act(token, change, lambda: "again") == "once"
        assert done == [""]


class TestChanges:
    def test_an_import_starts_after_a_confirmation_once(self, log_in, started, tmp_path):
        send = log_in("all")
        assert f'href="{TRIAL}/import"' in send(TRIAL).text
        assert 'name="uri"' in send(f"{TRIAL}/import").text
        asked = send(f"{TRIAL}/import", {"uri": f"{tmp_path}/in/**"})
        assert f"{tmp_path}/in/**" in asked.text
        answers = [send(f"{TRIAL}/import", hidden(asked.text)) for _ in range(2)]
        assert {answer.status for answer in answers} == {303}
        [where] = {answer.headers["location"] for answer in answers}
        assert where.startswith(f"/console/{DATASET}/operations/")
        assert send(where).status == 200
        [(job, principal)] = started
        assert (job.source.uri, principal, job.store) == (f"{tmp_path}/in/**", "all", STORE)

    def test_an_export_starts_after_a_confirmation(self, log_in, started, tmp_path):
        send = log_in("all")
        assert "PNG" in send(f"{TRIAL}/export").text
        fields = {"destination": f"{tmp_path}/out", "format": "image/png"}
        asked = send(f"{TRIAL}/export", fields)
        assert "<dd>PNG</dd>" in asked.text  # by the name that was chosen
        assert send(f"{TRIAL}/export", hidden(asked.text)).status == 303
        [(job, _)] = started
        assert job.destination.root == f"{tmp_path}/out"
        assert job.mime_type.mime_type == "image/png"

    def test_an_operation_is_canceled_after_a_confirmation(self, log_in, root):
        operation = start_operation(root, STORE, "ImportDicomData")
        path, send = f"{page_of(operation)}/cancel", log_in("all")
        assert f'href="{path}"' in send(page_of(operation)).text
        assert f'href="{path}"' not in log_in("reader")(page_of(operation)).text
        asked = send(path)
        assert asked.status == 200
        assert not operation.is_cancel_requested()
        answer = send(path, hidden(asked.text))
        assert (answer.status, answer.headers["location"]) == (303, page_of(operation))
        assert operation.is_cancel_requested()
        record = operation.read()
        record.done = True
        operation.write(record)
        assert send(path).status == 400
        for name in ("none", "%2e%2e", "%00"):
            assert send(f"/console/{DATASET}/operations/{name}/cancel").status in (403, 404)

    def test_what_is_named_stays_text(self, log_in, started):
        text = log_in("all")(f"{TRIAL}/import", {"uri": f"/{SCRIPT}"}).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;" in text

    def test_a_server_without_login_asks_too(self, root, started, tmp_path):
        (tmp_path / "in").mkdir()
        with serving(root, NoLogin(), allowed=[str(tmp_path)]) as browser:
            asked = browser.post(f"{TRIAL}/import", uri=f"{tmp_path}/in/**")
            assert started == []
            assert browser.post(f"{TRIAL}/import", **hidden(asked.text)).status == 303
        assert len(started) == 1
