"""Stores are created, read, listed, updated and deleted, by many at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from dicomferry.resource_names import DatasetName, parse_store
from dicomferry.storage.errors import StorageError
from dicomferry.storage.registry import open_storage
from dicomferry.store.deletion import delete_store
from dicomferry.store.dicom_store import (
    StoreExistsError,
    StoreNotFoundError,
    create_store,
    get_store,
    list_stores,
    update_store,
)
from dicomferry.store.index import Index
from dicomferry.store.validation import ResourceError, check_labels

NAME = parse_store("trial")


def test_a_created_store_is_found(root):
    created = create_store(root, NAME, {"labels": {"site": "north"}})
    assert get_store(root, NAME) == created
    assert created.resource == {"name": str(NAME), "labels": {"site": "north"}}
    assert [store.name for store in list_stores(root, DatasetName())] == [NAME]


def test_a_name_is_taken_once_even_by_many_at_once(root):
    def attempt(_):
        try:
            return create_store(root, NAME).data.root
        except StoreExistsError:
            return None

    with ThreadPoolExecutor(8) as threads:
        made = [data for data in threads.map(attempt, range(8)) if data]
    assert made == [get_store(root, NAME).data.root]


UNFIT = ["[a]", "a]", "a^b", "a|b", "a\\b", "a\nb", "a%2fb", "a%41", "\x1b[31m", "\udcff"]
FIT = ["a b", "a%", "100%z", "é", "~a", "a#b?c", "{a}", "a*", "a;$(b)'\"`", "\u202e", "a\x9bb"]


@pytest.mark.parametrize("folder", UNFIT)
def test_a_root_that_delta_cannot_name_is_refused_before_anything_is_made(tmp_path, folder):
    with pytest.raises(StorageError, match="--root"):
        create_store(open_storage(f"{tmp_path}/{folder}"), NAME)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", FIT)
def test_any_other_root_holds_a_store(tmp_path, folder):
    made = create_store(open_storage(f"{tmp_path}/{folder}"), NAME)
    assert Index(made.data).count() == 0
    assert [path.name for path in tmp_path.iterdir()] == [folder]


def test_a_deleted_store_is_gone_and_one_recreated_sees_no_old_data(root):
    old = create_store(root, NAME)
    old.data.write("instances/1/2/3/x.dcm", b"x")
    delete_store(root, NAME)
    with pytest.raises(StoreNotFoundError, match="stores create trial"):
        get_store(root, NAME)
    assert list(list_stores(root, DatasetName())) == []
    assert old.data.head("instances/1/2/3/x.dcm") is None
    new = create_store(root, NAME)
    assert new.data != old.data
    with pytest.raises(StoreNotFoundError):
        delete_store(root, parse_store("other"))


def test_concurrent_updates_do_not_lose_each_other(root):
    create_store(root, NAME)

    def add(number):
        def change(resource):
            return {**resource, "labels": {**resource.get("labels", {}), f"l{number}": "x"}}

        update_store(root, NAME, change)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(add, range(6)))
    assert set(get_store(root, NAME).resource["labels"]) == {f"l{i}" for i in range(6)}


@pytest.mark.usefixtures("any_ids")
def test_ids_of_any_kind_are_kept_apart(root):
    names = [parse_store(text) for text in ("Trial", "trial", "été 2026", "x" * 256, "..", "~")]
    for name in names:
        create_store(root, name)
    assert {store.name for store in list_stores(root, DatasetName())} == set(names)


@pytest.mark.parametrize(
    "labels",
    [
        {"Upper": "x"},
        {"1digit": "x"},
        {"": "x"},
        {"k" * 64: "x"},
        {"é" * 63 + "x": "x"},
        {"ключ" * 15 + "abc": "x" * 64},
        {"k": "Not lower"},
        {"k": 1},
        {f"k{i}": "" for i in range(65)},
        {"字" * 43: ""},
    ],
)
def test_labels_that_break_a_rule_are_refused(labels):
    with pytest.raises(ResourceError):
        check_labels(labels)


def test_labels_of_all_scripts_are_taken():
    check_labels({"clé": "x-1_", "ключ": "", "字" * 42: "字" * 42, "k" * 63: "9" * 63})


@pytest.mark.parametrize(
    "resource",
    [
        {"color": "red"},
        {
            "streamConfigs": [
                {"bigqueryDestination": {"tableUri": f"bq://p.d.t{i}"}} for i in range(6)
            ]
        },
        {"streamConfigs": [{"bigqueryDestination": {"tableUri": "bq://p.d.t"}}] * 2},
        {"streamConfigs": [{}]},
        {"streamConfigs": [{"bigqueryDestination": {"tableUri": "bq://" + "x" * 2000}}]},
        {"notificationConfig": {"pubsubTopic": "topic"}},
    ],
)
def test_resources_that_break_a_rule_are_not_created(root, resource):
    with pytest.raises(ResourceError):
        create_store(root, NAME, resource)
    assert list(list_stores(root, DatasetName())) == []
