"""Who sees what."""

import json
import re

import pytest

from dicomferry.api.access import TokenFile, make_token
from dicomferry.resource_names import parse_store
from dicomferry.store.dicom_store import create_store
from tests.console.consoles import DATASET, TRIAL, all_pages, page_of, serving


@pytest.fixture
def tokens(root, tmp_path):
    """A console with login; tokens by the permissions that they have on the store trial."""
    path = tmp_path / "auth.jsonl"
    made = {
        "all": make_token("all", ["healthcare.*"], ["*"]),
        "get": make_token(
            "<b>get", ["healthcare.dicomStores.get"], [f"{DATASET}/dicomStores/trial"]
        ),
        "operations": make_token(
            "operations", ["healthcare.operations.get"], [f"{DATASET}/dicomStores/trial"]
        ),
    }
    path.write_text("".join(f"{json.dumps(entry)}\n" for _, entry in made.values()))
    path.chmod(0o600)
    with serving(root, TokenFile(str(path))) as browser:
        yield browser, {name: token for name, (token, _) in made.items()}, path


class TestLogin:
    def test_without_a_token_there_is_only_the_form(self, tokens, trial):
        browser, _, _ = tokens
        for path in (*all_pages(trial.folder), "/?dataset=x"):
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

    @pytest.mark.parametrize(
        ("headers", "is_secure"),
        [
            ({}, False),
            ({"X-Forwarded-Proto": "http"}, False),
            ({"X-Forwarded-Proto": "https"}, True),
            ({"X-Forwarded-Proto": "HTTPS, http"}, True),
            ({"Forwarded": 'for=192.0.2.1; proto="https"'}, True),
        ],
    )
    def test_behind_a_proxy_with_tls_the_cookie_is_for_tls_alone(self, tokens, headers, is_secure):
        browser, known, _ = tokens
        answer = browser.post("/console/login", headers=headers, token=known["all"])
        assert ("secure" in answer.headers["set-cookie"].lower()) == is_secure

    def test_each_page_asks_for_its_permission(self, tokens, trial, root):
        browser, known, _ = tokens
        create_store(root, parse_store("other"))
        operation = page_of(trial.folder)
        [source] = set(
            re.findall(
                r'<img src="([^"]+)"',
                browser.get(f"{TRIAL}/preview", Authorization=f"Bearer {known['all']}").text,
            )
        )
        paths = (TRIAL, f"{TRIAL}/preview", source, operation, f"{operation}/outcomes.jsonl")
        wanted = {
            "all": (200, 200, 200, 200, 200),
            "get": (200, 403, 403, 403, 403),
            "operations": (403, 403, 403, 200, 200),
        }
        for name, statuses in wanted.items():
            headers = {"Authorization": f"Bearer {known[name]}"}
            assert tuple(browser.get(path, **headers).status for path in paths) == statuses
            other = browser.get(f"/console/{DATASET}/dicomStores/other", **headers)
            none = browser.get(f"/console/{DATASET}/dicomStores/none", **headers)
            assert (other.status, none.status) == ((200, 404) if name == "all" else (403, 403))

    def test_folders_of_the_server_are_shown_to_who_may_see_all_operations(
        self, tokens, trial, root
    ):
        browser, known, _ = tokens
        page = page_of(trial.folder)
        for name, is_shown in (("all", True), ("operations", False)):
            text = browser.get(page, Authorization=f"Bearer {known[name]}").text
            assert "every failure is listed in " in text
            assert (root.root in text) == is_shown
            assert (" --root " in text) == is_shown
            assert (f"every failure is listed in {page}/outcomes.jsonl" in text) != is_shown

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

    @pytest.mark.parametrize("host", ["[", "a b", "x" * 5000, "\x1b[31m", "localhost:99999999999"])
    @pytest.mark.parametrize("path", ["/", TRIAL, "//[", "/%00", "/?dataset=%00%ff"])
    def test_no_host_and_no_path_breaks_it(self, tokens, path, host, caplog):
        browser, _, _ = tokens
        assert 400 <= browser.get(path, Host=host).status < 500
        assert "Traceback" not in caplog.text

    @pytest.mark.parametrize("origin", ["http://[", "null", "", "\xff"])
    def test_no_origin_breaks_it(self, tokens, origin, caplog):
        browser, known, _ = tokens
        for path in ("/console/login", "/console/logout"):
            answer = browser.post(path, headers={"Origin": origin}, token=known["all"])
            assert answer.status == 403
        assert "Traceback" not in caplog.text

    @pytest.mark.parametrize("next_", ["//[", "http://[::1", "\r\nSet-Cookie: a=b", "\0", "\ud83d"])
    def test_no_place_to_go_on_to_breaks_it(self, tokens, next_, caplog):
        browser, known, _ = tokens
        next_ = next_.encode("utf-8", "surrogatepass")
        answer = browser.post("/console/login", token=known["all"], next=next_)
        assert answer.status == 303
        assert re.match(r"/(?![/\\])", answer.headers["location"])
        assert "a=b" not in answer.headers["set-cookie"]
        assert "Traceback" not in caplog.text

    def test_a_form_of_many_fields_is_refused(self, tokens, caplog):
        browser, known, _ = tokens
        fields = {f"f{number}": "" for number in range(100)}
        assert browser.post("/console/login", token=known["all"], **fields).status == 400
        assert "Traceback" not in caplog.text
