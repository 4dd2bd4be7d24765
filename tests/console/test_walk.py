"""A store's charts, and the walk through its studies, series, instances and elements."""

import json
import re
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from dicomferry.api.access import TokenFile, make_token
from dicomferry.console import pages
from dicomferry.console.queries import element_list, slow, survey, walk
from dicomferry.console.queries.survey import MAX_BARS, Bar, most, periods
from dicomferry.console.queries.walk import StoredRow
from dicomferry.console.views.charts import chart
from dicomferry.console.views.markup import html
from dicomferry.console.views.walk import instance_body, series_body
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage
from dicomferry.store.dicom_store import create_store, get_store
from tests.console.consoles import DATASET, SCRIPT, TRIAL, serving
from tests.factories import dicom_bytes
from tests.pipelines.jobs import STORE, new_store, run_import, write_files

NAME = "SECRET^<script>alert(1)</script>"
STUDIES = f"{TRIAL}/studies"
SERIES = f"{STUDIES}/1.0/series/1.5.0"
INSTANCE = f"{SERIES}/instances/1.9.0"
ELEMENTS = f"{INSTANCE}/elements"
PICTURES = "healthcare.dicomStores.dicomWebRead"
PATIENTS = "healthcare.dicomStores.viewPatientData"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with a store of four studies with two series each, of three instances."""
    folder = tmp_path_factory.mktemp("walk")
    root = open_storage(str(folder / "store"))
    new_store(root)
    create_store(root, parse_store("empty"))
    files = {
        f"{n}": dicom_bytes(
            sop=f"1.9.{n}",
            study=f"1.{n % 4}",
            series=f"1.5.{n % 8}",
            PatientName=NAME,
            StudyDate=f"202{n % 4}0510",
            Modality="MR" if n % 2 else "CT",
        )
        for n in range(24)
    }
    run_import(root, write_files(folder / "in", files))
    return root


@pytest.fixture
def ask(root, tmp_path):
    """Asks for a path with a token that has some permissions on the store."""
    made = {}

    def of(*permissions, store="trial"):
        name = f"{store}{permissions}"
        resource = f"{DATASET}/dicomStores/{store}"
        made[name] = made.get(name) or make_token(name, list(permissions), [resource])
        path.write_text("".join(f"{json.dumps(entry)}\n" for _, entry in made.values()))
        token = made[name][0]
        return lambda at: browser.get(at, Authorization=f"Bearer {token}")

    path = tmp_path / "auth.jsonl"
    path.write_text(json.dumps(make_token("first", [PICTURES], ["*"])[1]))
    path.chmod(0o600)
    with serving(root, TokenFile(str(path))) as browser:
        yield of


class TestWhoMayLook:
    def test_pages_of_uids_need_the_permission_of_pictures_on_that_store(self, ask):
        for path in (STUDIES, f"{STUDIES}/1.0", SERIES, INSTANCE):
            assert ask("healthcare.dicomStores.get")(path).status == 403
            assert ask(PICTURES, PATIENTS, store="other")(path).status == 403
            assert ask(PICTURES)(path).status == 200

    @pytest.mark.parametrize(
        "permissions",
        [["*"], ["healthcare.*"], ["healthcare.dicomStores.*"], [PICTURES], [PATIENTS]],
    )
    def test_patient_data_is_off_unless_its_permission_is_named(self, ask, permissions):
        answer = ask(*permissions)(ELEMENTS)
        assert answer.status == 403
        assert "SECRET" not in answer.text
        assert "elements" not in ask(*permissions)(INSTANCE).text

    def test_without_login_there_is_none(self, browser):
        assert browser.get(ELEMENTS).status == 403
        for path in (TRIAL, STUDIES, f"{STUDIES}/1.0", SERIES, INSTANCE):
            assert "SECRET" not in browser.page(path)

    def test_who_may_sees_elements_as_text(self, ask):
        see = ask(PICTURES, PATIENTS)
        assert f'href="{ELEMENTS}"' in see(INSTANCE).text
        text = see(ELEMENTS).text
        assert "SECRET^&lt;script&gt;alert(1)" in text
        assert "<td>PatientName</td>" in text
        assert "<bdi>32 bytes</bdi>" in text  # (7FE0,0010)
        other = ask(PICTURES, PATIENTS, store="other")(ELEMENTS)
        assert (other.status, "SECRET" in other.text) == (403, False)


class TestWalk:
    def test_goes_from_studies_to_an_instance(self, browser):
        path = STUDIES
        for _ in range(3):
            links = re.findall(r'href="([^"]+)"', browser.page(path))
            path = next(each for each in links if each.startswith(f"{path}/"))
        assert path == INSTANCE
        text = browser.page(path)
        assert "Explicit VR Little Endian" in text
        [source] = re.findall(r'<img src="([^"]+)"', text)
        assert browser.get(source).headers["content-type"] == "image/jpeg"

    def test_a_picture_leads_to_its_series(self, browser):
        assert f'<figure><a href="{SERIES}"><img' in browser.page(f"{TRIAL}/preview")

    def test_frames_are_told_where_there_are_several(self, root):
        def shown(frames):
            row = StoredRow("1.9", CTImageStorage, ExplicitVRLittleEndian, frames, 1, "i/1/2/3", 0)
            page, uids = walk.Page([row], ""), ["1", "2", "1.9"]
            one = instance_body(store, uids, row, html(""))
            table = series_body(store, uids[:2], page, html(""), is_first=True)
            return "<dt>Frames</dt>" in one, ">Frames</th>" in table

        store = get_store(root, STORE)
        assert (shown(1), shown(2)) == ((False, False), (True, True))

    @pytest.mark.parametrize(
        ("path", "pattern"),
        [
            (STUDIES, r">(1\.\d)</a></td>"),
            (f"{STUDIES}/1.0", r">(1\.5\.\d)</a></small>"),
            (SERIES, r">(1\.9\.\d+)</a></td>"),
        ],
    )
    def test_comes_page_by_page_each_once(self, browser, monkeypatch, path, pattern):
        monkeypatch.setattr(walk, "PAGE", 1)
        monkeypatch.setattr(walk, "INSTANCES_PAGE", 1)
        seen = []
        while path:
            text = browser.page(path)
            found = re.findall(pattern, text)
            assert len(found) == 1
            seen += found
            more = re.search(r'rel="next" href="([^"]+)"', text)
            path = more[1] if more else ""
        wanted = {1: ["1.0", "1.1", "1.2", "1.3"], 3: ["1.5.0", "1.5.4"]}
        assert seen in (*wanted.values(), ["1.9.0", "1.9.16", "1.9.8"])
        assert len(seen) > 1

    @pytest.mark.parametrize(
        "path",
        [
            "/1.99",
            "/1.0/series/1.99",
            "/1.1/series/1.5.0",
            "/1.0/series/1.5.0/instances/1.99",
            "/1.1/series/1.5.0/instances/1.9.0",
            "/%2e%2e",
            "/1.0'%20OR%201=1--",
            "/1.0/series/%00",
            f"/1.0/series/{'1' * 65}",
            "/%3Cscript%3E",
        ],
    )
    def test_what_is_not_there_or_is_no_uid_is_not_found(self, browser, path, caplog):
        answer = browser.get(f"{STUDIES}{path}")
        assert (answer.status, "<script>" in answer.text.partition("<body>")[2]) == (404, False)
        assert "broke with" not in caplog.text

    @pytest.mark.parametrize("after", ["'", "%00", "z" * 3000, "%ff", "9"])
    def test_any_place_to_go_on_from_is_taken_for_text(self, browser, after, caplog):
        answer = browser.get(f"{STUDIES}?after={after}")
        assert answer.status == 200
        assert "broke with" not in caplog.text

    def test_an_index_is_read_once_for_many_that_look(self, browser, monkeypatch):
        asked = []
        monkeypatch.setattr(slow, "_answer", lambda query: asked.append(query) or walk.Page([], ""))
        for _ in range(3):
            browser.page(STUDIES)
        assert len(asked) == 1

    def test_a_store_too_large_for_a_page_says_so(self, browser, monkeypatch):
        monkeypatch.setattr(slow, "_MEMORY", "1KB")
        answer = browser.get(STUDIES)
        assert (answer.status, "export table" in answer.text) == (503, True)
        assert "too many to be counted" in browser.page(TRIAL)


class TestCharts:
    def test_show_counts_as_pictures_and_tables(self, browser):
        text = browser.page(f"{TRIAL}?part=charts")
        rows = dict(
            re.findall(r'<th scope="row">([^<]+)</th><td class="number">([^<]+)</td>', text)
        )
        assert rows["CT"] == rows["MR"] == "12"
        assert rows["Explicit VR Little Endian"] == rows["below 10 kB"] == "24"
        assert {rows[f"202{year}-05"] for year in range(4)} == {"1"}
        assert text.count('role="img"') == text.count("<desc") == text.count("<table>") == 4
        assert text.count("<section") == 1

    def test_a_name_stays_text(self):
        drawn = chart("x", "Modalities", "instances", [Bar(SCRIPT, 1)])
        assert "<script>" not in drawn
        assert drawn.count("&lt;script&gt;") == 3  # bar, description, table

    def test_dates_of_much_metadata_are_not_read(self, browser, monkeypatch):
        monkeypatch.setattr(survey, "MAX_METADATA_BYTES", 100)
        text = browser.page(TRIAL)
        assert "Study dates are not counted" in text
        assert ">CT<" in text

    def test_a_page_does_not_wait_for_them(self, browser, monkeypatch):
        over = threading.Event()
        monkeypatch.setattr(slow, "_answer", lambda _: over.wait(60))
        monkeypatch.setattr(pages, "_COUNT_SECONDS", 0.01)
        try:
            text = browser.page(TRIAL)
        finally:
            over.set()
        assert "counting" in text
        assert "part=charts" in text

    def test_an_empty_store_has_none(self, browser):
        empty = f"/console/{DATASET}/dicomStores/empty"
        assert "No studies yet" in browser.page(f"{empty}/studies")
        assert "0 series" not in browser.page(f"{empty}/preview")
        assert "No instances yet" in browser.page(f"{empty}?part=charts")

    @given(st.dictionaries(st.text(max_size=3), st.integers(1, 100), max_size=30))
    def test_no_count_is_lost_of_many_kinds(self, counts):
        bars = most(counts.items())
        assert sum(bar.number for bar in bars) == sum(counts.values())
        assert len(bars) <= MAX_BARS + 1

    @given(
        st.lists(
            st.tuples(
                st.one_of(
                    st.just(""),
                    st.integers(0, 119_999).map(lambda n: f"{n // 12:04}{n % 12 + 1:02}"),
                ),
                st.integers(1, 9),
            )
        )
    )
    def test_no_date_is_lost_in_long_times(self, months):
        bars = periods(months)
        assert sum(bar.number for bar in bars) == sum(count for _, count in months)
        assert len(bars) <= 2 * MAX_BARS + 2
        dated = [bar.label for bar in bars if bar.label not in ("earlier", "no date")]
        assert dated == sorted(dated)


class TestElements:
    def test_hostile_metadata_is_bounded(self):
        nested = {"00081110": {"vr": "SQ"}}
        for _ in range(100):
            nested = {"00081110": {"vr": "SQ", "Value": [nested]}}
        assert len(element_list.listed(nested).elements) < 40
        many = {f"{0x00090000 + n:08X}": {"vr": "LO", "Value": ["x" * 9999]} for n in range(9999)}
        listed = element_list.listed(many)
        assert len(listed.elements) == element_list.MAX_ELEMENTS
        assert not listed.is_complete
        assert max(len(each.text) for each in listed.elements) <= element_list.MAX_CHARACTERS + 1

    def test_metadata_that_is_too_large_is_not_read(self, ask, monkeypatch):
        monkeypatch.setattr(element_list, "MAX_METADATA_BYTES", 10)
        text = ask(PICTURES, PATIENTS)(ELEMENTS).text
        assert "There are more" in text
        assert "SECRET" not in text


def test_a_query_that_hangs_ends_with_its_process(root, monkeypatch):
    monkeypatch.undo()
    queries = slow.SlowQueries(0.5)
    query = slow.Query(_hang, get_store(root, STORE).data)
    assert queries.soon(query, 60) == (True, None)


def test_a_query_that_nobody_waited_for_leaves_nothing_but_its_answer(root):
    queries, over = slow.SlowQueries(60), threading.Event()
    query = slow.Query(_wait, get_store(root, STORE).data, (over,))
    assert queries.soon(query, 0) == (False, None)
    over.set()
    queries._threads.shutdown()
    assert not queries._coming
    assert queries.soon(query, 0) == (True, "answer")


def _wait(_, over):
    over.wait(60)
    return "answer"


def _hang(_):
    time.sleep(60)
