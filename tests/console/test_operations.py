"""The pages of operations, and of what became of files."""

import json
import re
from urllib.parse import urlencode

import pytest

from dicomferry.console.queries import outcomes, stores
from dicomferry.operations.folder import start_operation
from dicomferry.operations.outcomes import ProgressCounts
from dicomferry.resource_names import parse_store
from tests.console.consoles import TRIAL, page_of, running
from tests.pipelines.jobs import STORE, new_store


class TestOperations:
    def test_a_running_one_has_a_bar_that_moves_and_a_rate(self, browser, root):
        new_store(root)
        folder = running(root, read=50, bytes=10_000_000, failed=3)
        text = browser.page("/")
        assert 'aria-valuenow="50" aria-valuemax="200"' in text
        assert re.search(r"50 of 200 files · 10.0 MB · [\d.,]+ files/s · .* left · 3 failed", text)
        live = re.search(r'class="operation" data-live="([^"]+)"', browser.page(page_of(folder)))
        folder.report_progress("00000-w", ProgressCounts(read=150))
        part = browser.page(live[1])
        assert part.startswith("<section")
        assert 'aria-valuenow="150"' in part
        record = folder.read()
        record.finish()
        folder.write(record)
        assert "data-live" not in browser.page(live[1])

    def test_without_javascript_the_page_loads_itself_anew_while_something_runs(
        self, browser, root, trial
    ):
        refresh = '<noscript><meta http-equiv="refresh"'
        assert refresh not in browser.page("/")
        folder = running(root)
        for path in ("/", TRIAL, page_of(folder)):
            assert refresh in browser.page(path)

    def test_times_are_in_utc_to_the_second_until_the_script_shows_local_ones(self, browser, trial):
        text = browser.page(page_of(trial.folder))
        at = trial.operation["metadata"]["createTime"].partition(".")[0]
        title = at.replace("T", " ") + " UTC"
        assert re.search(rf'<time datetime="{at}\.\d+Z" title="{title}">[^<]* UTC<', text)

    def test_one_that_has_not_listed_its_files_yet_says_so(self, browser, root):
        new_store(root)
        running(root, total=0)
        assert "looking for files" in browser.page("/")

    def test_come_page_by_page_newest_first(self, browser, root, monkeypatch):
        monkeypatch.setattr(stores, "OPERATIONS_PAGE", 2)
        new_store(root)
        other = parse_store("other")
        for number in range(6):
            store = other if number % 2 else STORE
            start_operation(root, store, "ImportDicomData", f"20260101-{number}")
        for start, wanted in (("/", "543210"), (TRIAL, "420")):
            seen, path = [], start
            while path:
                text = browser.page(path)
                seen += re.findall(r'operations/20260101-(\d)">Import', text)
                more = re.search(r'href="([^"]+)">Older operations', text)
                path = more[1].replace("&amp;", "&") if more else ""
            assert "".join(seen) == wanted

    def test_why_files_failed_is_counted_and_every_file_listed(self, browser, trial):
        text = browser.page(page_of(trial.folder))
        assert "<b>2 ×</b><div><code>NOT_DICOM</code>" in text
        assert text.count("<tr><td") == 5
        assert "1.2.1.1.1" in text

    def test_outcomes_are_filtered(self, browser, trial):
        text = browser.page(f"{page_of(trial.folder)}?outcome=failed")
        assert text.count("<tr><td") == 2
        text = browser.page(f"{page_of(trial.folder)}?outcome=imported")
        assert text.count("<tr><td") == 3
        assert "NOT_DICOM" not in text
        assert browser.get(f"{page_of(trial.folder)}?outcome=nonsense").status == 400

    def test_outcomes_are_downloaded_as_they_were_written(self, browser, trial):
        path = f"{page_of(trial.folder)}/outcomes.jsonl"
        answer = browser.get(path)
        assert {json.loads(line)["source"] for line in answer.text.splitlines()} == set(
            trial.outcomes
        )
        assert answer.headers["content-disposition"].endswith('outcomes.jsonl"')
        lines = browser.page(f"{path}?outcome=failed").splitlines()
        assert [json.loads(line)["code"] for line in lines] == ["NOT_DICOM"] * 2

    def test_an_aborted_one_is_told_from_a_failed_one(self, browser, root, trial):
        folder = running(root, read=7)
        record = folder.read().to_json()
        record["owner"]["start_time"] = "another process"
        folder.storage.write("operation.json", json.dumps(record).encode())
        text = browser.page(page_of(folder))
        assert 'class="state bad">aborted' in text
        assert 'class="state warn">done, with failures' in browser.page(page_of(trial.folder))


class TestOutcomePages:
    def _folder(self, root, shards):
        new_store(root)
        folder = start_operation(root, STORE, "ImportDicomData")
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

    def test_a_fault_of_ours_is_shown_with_its_place(self, root, browser):
        fault = "IndexError at dicomferry/pixels/render/grayscale.py:118"
        why = {"code": "INTERNAL_ERROR", "reason": "a fault", "fault": fault}
        lines = [{"source": f"/{n}", "outcome": "failed", **why, "bytes": 1} for n in range(2)]
        folder = self._folder(root, {"00000-00000": lines})
        assert browser.page(f"/console/{folder.name}?outcome=failed").count(fault) >= 2
        assert outcomes.reasons(folder, "").counts == {("INTERNAL_ERROR", "a fault", fault): 2}

    def test_names_that_look_like_outcomes_are_none(self, root):
        line = {"source": '/a"outcome": "failed"', "outcome": "imported", "bytes": 1}
        folder = self._folder(root, {"00000-00000": [line]})
        assert outcomes.page_of_outcomes(folder, "failed", "").lines == []
        assert outcomes.page_of_outcomes(folder, "imported", "").lines == [line]

    @pytest.mark.parametrize("after", ["x", "../x:1", "a:-1", "a:" + "9" * 99, "\u0661:\u0661"])
    def test_positions_that_are_none_are_refused(self, browser, trial, after):
        answer = browser.get(f"{page_of(trial.folder)}?{urlencode({'after': after})}")
        assert answer.status == 400
