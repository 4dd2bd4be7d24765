"""The pages of operations, and of what became of files."""

import json
import re
from urllib.parse import urlencode

import pytest

from dicomferry.console.queries import operations, outcomes
from dicomferry.console.queries.outcomes import OutcomesFilter
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
        monkeypatch.setattr(operations, "OPERATIONS_PAGE", 2)
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

    def test_are_limited_by_method_state_store_and_day(self, browser, root):
        new_store(root)
        other = parse_store("other")
        for number, (store, method) in enumerate(
            [(STORE, "ImportDicomData"), (STORE, "ExportDicomData"), (other, "ImportDicomData")]
        ):
            folder = start_operation(root, store, method, f"202601{number + 10}120000-{number}")
            record = folder.read()
            if number == 1:
                record.finish()
            folder.write(record)

        def found(path):
            return re.findall(r'operations/20260\d+-(\d)">', browser.page(path))

        assert found("/") == ["2", "1", "0"]
        assert found("/?method=ImportDicomData") == ["2", "0"]
        assert found("/?state=done") == ["1"]
        assert found("/?store=trial&state=running") == ["0"]
        assert found("/?first=2026-01-11") == ["2", "1"]
        assert found("/?last=2026-01-11") == ["1", "0"]
        assert found("/?first=2026-01-11&last=2026-01-11") == ["1"]
        assert found(f"{TRIAL}?method=ImportDicomData") == ["0"]
        assert found("/?last=9999-12-31&first=0001-01-01") == ["2", "1", "0"]
        text = browser.page("/?store=none&state=cancelling")
        assert "No operations match." in text
        assert '<option value="cancelling" selected>' in text
        for query in ("method=x", "state=x", "first=x", "last=2026-02-30"):
            assert browser.get(f"/?{query}").status == 400

    def test_what_limits_them_is_kept_on_the_next_page_and_in_the_part_that_is_reloaded(
        self, browser, root, monkeypatch
    ):
        monkeypatch.setattr(operations, "OPERATIONS_PAGE", 1)
        monkeypatch.setattr(operations, "_MAX_LOOKED_AT", 2)
        new_store(root)
        for number in range(9):
            method = "ExportDicomData" if number in (0, 4) else "ImportDicomData"
            start_operation(root, STORE, method, f"20260101-{number}")
        path, seen, pages = "/?method=ExportDicomData", [], 0
        while path:
            text = browser.page(path)
            live = re.search(r'data-live="([^"]+)"', text)
            part = browser.page(live[1].replace("&amp;", "&")) if live else ""
            numbers = re.findall(r'operations/20260101-(\d)">', text)
            assert not live or re.findall(r'operations/20260101-(\d)">', part) == numbers
            seen, pages = seen + numbers, pages + 1
            more = re.search(r'<p class="more"><a href="([^"]+)">(Older|No matches)', text)
            path = more[1].replace("&amp;", "&") if more else ""
        assert seen == ["4", "0"]
        assert pages > 3

    def test_one_says_who_asked_for_what_and_what_comes_next(self, browser, trial):
        text = browser.page(page_of(trial.folder))
        asked = trial.operation["request"]
        assert f"Requested by <b><bdi>{asked['principal']}</bdi></b>, started" in text
        assert re.search(r", took \d+ s</p>", text)
        assert f"<dt>Source</dt><dd>{asked['flags']['source']}</dd>" in text
        assert f"dicomferry import trial --retry-failed {trial.folder.id} --root " in text
        order = ["<h1>", "Why files failed", ">Next<", ">Request<", "Outcome of every file"]
        assert [text.index(each) for each in order] == sorted(text.index(each) for each in order)

    def test_why_files_failed_is_counted_and_every_file_listed(self, browser, trial):
        text = browser.page(page_of(trial.folder))
        assert re.search(r"<b>2 ×</b><div>\s*<p>.*<code>NOT_DICOM</code> not a DICOM file", text)
        assert text.index("NOT_DICOM") < text.index("Outcome of every file")
        assert text.count("<tr><td") == 5
        assert "1.2.1.1.1" in text

    def test_outcomes_are_filtered(self, browser, trial):
        text = browser.page(f"{page_of(trial.folder)}?outcome=failed")
        assert text.count("<tr><td") == 2
        text = browser.page(f"{page_of(trial.folder)}?outcome=imported")
        assert text.count("<tr><td") == 3
        assert "NOT_DICOM" not in text
        assert browser.get(f"{page_of(trial.folder)}?outcome=nonsense").status == 400

    def test_outcomes_are_limited_by_code_and_by_text(self, browser, trial):
        path = page_of(trial.folder)
        assert browser.page(f"{path}?code=not_dicom").count("<tr><td") == 2
        assert browser.page(f"{path}?text=NOT-%25FF").count("<tr><td") == 1
        assert browser.page(f"{path}?text=%3Cscript%3E&outcome=failed").count("<tr><td") == 1
        text = browser.page(f"{path}?code=NOT_DICOM&text=nowhere")
        assert "No results match." in text
        assert 'name="text" value="nowhere"' in text
        assert browser.get(f"{path}?code=%22").status == 400
        lines = browser.page(f"{path}/outcomes.jsonl?code=NOT_DICOM&text=script").splitlines()
        assert len(lines) == 1

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
            page = outcomes.page_of_outcomes(folder, OutcomesFilter(outcome), after)
            assert len(page.lines) <= 4
            found, after, pages = found + page.lines, page.after, pages + 1
        assert found == wanted
        streamed = b"".join(outcomes.stream(folder, OutcomesFilter(outcome))).splitlines()
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
        assert not outcomes.problems(folder).is_complete

    def test_a_fault_of_ours_is_shown_with_its_place(self, root, browser):
        fault = "IndexError at dicomferry/pixels/render/grayscale.py:118"
        why = {"code": "INTERNAL_ERROR", "reason": "a fault", "fault": fault}
        lines = [{"source": f"/{n}", "outcome": "failed", **why, "bytes": 1} for n in range(2)]
        folder = self._folder(root, {"00000-00000": lines})
        assert browser.page(f"/console/{folder.name}?outcome=failed").count(fault) >= 2
        found = outcomes.problems(folder)
        assert found.counts == {("failed", "INTERNAL_ERROR", "a fault", fault): 2}
        assert list(found.examples.values()) == [["/0", "/1"]]

    @pytest.mark.parametrize(
        ("text", "wanted"),
        [
            ("", [0, 1, 2, 3]), ("CT", [0]), ("ct", [0]), ("ü", [1]), ("Ü", [1]), ('a"b', [2]),
            ("kelvin", [3]), ("\\", []), ("failed", []), ("N", [3]),
        ],
    )  # fmt: skip
    def test_text_is_looked_for_in_sources_alone(self, root, text, wanted):
        sources = ["/ct/1", "/Ü/2", '/a"b/3', "/\u212aelvin/4"]
        lines = [{"source": each, "outcome": "failed", "code": "NOT_DICOM"} for each in sources]
        folder = self._folder(root, {"00000-00000": lines})
        page = outcomes.page_of_outcomes(folder, OutcomesFilter(text=text), "")
        assert [sources.index(line["source"]) for line in page.lines] == wanted

    def test_names_that_look_like_outcomes_are_none(self, root):
        line = {"source": '/a"outcome": "failed"', "outcome": "imported", "bytes": 1}
        folder = self._folder(root, {"00000-00000": [line]})
        assert outcomes.page_of_outcomes(folder, OutcomesFilter("failed"), "").lines == []
        assert outcomes.page_of_outcomes(folder, OutcomesFilter("imported"), "").lines == [line]

    @pytest.mark.parametrize("after", ["x", "../x:1", "a:-1", "a:" + "9" * 99, "\u0661:\u0661"])
    def test_positions_that_are_none_are_refused(self, browser, trial, after):
        answer = browser.get(f"{page_of(trial.folder)}?{urlencode({'after': after})}")
        assert answer.status == 400
