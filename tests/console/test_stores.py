"""The pages of stores."""

import json
import re
from urllib.parse import quote

import pytest

from dicomferry.console.queries import stores
from dicomferry.console.views.markup import html
from dicomferry.resource_names import DatasetName, StoreName, parse_store
from dicomferry.store.dicom_store import create_store, update_store
from tests.console.consoles import TRIAL
from tests.pipelines.jobs import STORE, lose_store


class TestStores:
    def test_are_shown_with_metrics_and_labels(self, browser, root, trial):
        update_store(root, STORE, lambda old: {**old, "labels": {"site": "north"}})
        text = browser.page("/")
        assert f'href="{TRIAL}"' in text
        assert "<dd>3</dd><dt>instances</dt>" in text
        assert "<li>site<b>north</b></li>" in text

    @pytest.mark.usefixtures("any_ids")
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

    def test_of_a_later_format_are_listed_and_no_page_of_them_is_shown(self, browser, root):
        store = create_store(root, STORE)
        record = {"format": 99, "dicomStore": store.resource, "dataFolder": "x", "deleted": False}
        root.write(f"{STORE.folder}/resource/2.json", json.dumps(record).encode())
        assert f'href="{TRIAL}"' in browser.page("/")
        for path in (TRIAL, f"{TRIAL}/preview"):
            answer = browser.get(path)
            assert (answer.status, "later version of dicomferry" in answer.text) == (400, True)

    def test_come_page_by_page(self, browser, root, monkeypatch):
        monkeypatch.setattr(stores, "STORES_PAGE", 2)
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
        lose_store(root, STORE)
        assert "dicomStores/trial" not in re.sub(r"(?s)Operations.*", "", browser.page("/"))
        for path in (TRIAL, f"{TRIAL}/preview"):
            assert browser.get(path).status == 404

    def test_tell_where_they_publish_and_stream(self, browser, root):
        topic, table = "projects/p/topics/t", "bq://project.dataset.table"
        streams = [{"bigqueryDestination": {"tableUri": table}}]
        resource = {"notificationConfigs": [{"pubsubTopic": topic}], "streamConfigs": streams}
        create_store(root, STORE, resource)
        text = browser.page(TRIAL)
        assert topic in text
        assert table in text

    def test_an_empty_root_says_how_to_begin(self, browser):
        text = browser.page("/")
        assert "dicomferry stores create" in text
        assert "dicomferry import" in text
