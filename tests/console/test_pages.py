"""What all pages hold to: text that is only text, and headers."""

import re

import pytest

from dicomferry.console.views.formatting import duration, size
from dicomferry.console.views.markup import Html, html, link, prose
from tests.console.consoles import DATASET, TRIAL, all_pages, page_of
from tests.pipelines.jobs import new_store


class TestText:
    def test_no_page_lets_a_name_become_markup(self, browser, root, trial):
        for path in all_pages(trial.folder):
            text = browser.page(path)
            assert "<script>alert" not in text
            assert text.count("<script") == 1
        assert "&lt;script&gt;alert(1)" in browser.page(page_of(trial.folder))

    def test_names_that_are_not_utf_8_are_shown(self, browser, trial):
        assert "/in/not-%FF-text.dcm" in browser.page(page_of(trial.folder))

    def test_no_page_holds_patient_data(self, browser, trial):
        for path in all_pages(trial.folder):
            assert "SECRET" not in browser.page(path)

    def test_every_value_is_escaped_unless_it_is_html(self):
        filled = html('<a title="{a}">{b}{c}</a>', a='"><i>', b="<'&\udcff", c=Html("<b>"))
        assert filled == '<a title="&quot;&gt;&lt;i&gt;">&lt;&#x27;&amp;?<b></a>'
        with pytest.raises(KeyError):
            html("{a}", a=1, b=2)
        with pytest.raises(KeyError):
            html("{a}{b}", a=1)

    def test_what_a_message_quotes_as_code_is_code(self):
        assert prose('run `a <b>` or `c`, "d"') == (
            "run <code>a &lt;b&gt;</code> or <code>c</code>, &quot;d&quot;"
        )
        assert prose("`one") == "`one"

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

    def test_an_unknown_address_is_a_page_too(self, browser):
        answer = browser.get("/console/nothing/here")
        assert (answer.status, "There is no such page." in answer.text) == (404, True)
        assert 'href="/"' in answer.text


class TestHeaders:
    def test_nothing_but_the_servers_own_is_loaded(self, browser, trial):
        operation = page_of(trial.folder)
        for path in ("/", TRIAL, operation, f"{operation}/outcomes.jsonl", "/console/style.css"):
            headers = browser.get(path).headers
            assert headers["content-security-policy"].startswith("default-src 'none'; style-src")
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
        assert browser.get("/").headers["cache-control"] == "no-store"

    def test_pages_need_nothing_that_the_policy_forbids(self, browser, trial):
        for path in all_pages(trial.folder):
            text = browser.page(path)
            assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|https?://", text)

    @pytest.mark.parametrize(
        "path",
        [
            f"/console/{DATASET}/operations/none",
            f"/console/{DATASET}/operations/%2e%2e",
            f"/console/{DATASET}/dicomStores/none",
            f"/console/{DATASET}/dicomStores/none/preview",
            f"/console/{DATASET}/dicomStores/{'x' * 257}",
            f"/console/{DATASET}/dicomStores/%00",
            "/?dataset=nonsense",
        ],
    )
    def test_what_is_not_there_is_told_on_a_page(self, browser, root, path):
        new_store(root)
        answer = browser.get(path)
        assert answer.status == 404
        assert "All stores and operations" in answer.text
        # Looking must leave no traces.
        assert not (root.root and list(root.folders(f"{DATASET}/operations")))
