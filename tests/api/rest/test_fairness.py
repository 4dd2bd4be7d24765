"""Tenants share the jobs of a server: one can neither fill it nor get in front of all others."""

import json

import pytest
from google.rpc.code_pb2 import ABORTED
from typer.testing import CliRunner

from dicomferry.api.access import make_token
from dicomferry.cli.main import app
from dicomferry.jobs import launch, waiting_room
from dicomferry.operations.folder import OperationFolder
from dicomferry.resource_names import DatasetName, parse_store
from dicomferry.store.dicom_store import create_store, get_store
from tests.api.serving import client_of, wait_until
from tests.factories import dicom_bytes
from tests.pipelines.jobs import write_files

PARENT = DatasetName()


def stores_of(tenant):
    return f"{PARENT}/dicomStores/{tenant}"


class Tenants:
    """Two tenants with a token and a store each, on a server that runs one job at a time."""

    def __init__(self, root, tmp_path):
        self.root, self.folder = root, tmp_path
        self.tokens, entries = {}, []
        for name in ("many", "few"):
            create_store(root, parse_store(stores_of(name)))
            token, entry = make_token(name, ["healthcare.*"], [stores_of(name)])
            self.tokens[name] = token
            entries.append(json.dumps(entry) + "\n")
        self.auth = tmp_path / "tokens"
        self.auth.touch(0o600)
        self.auth.write_text("".join(entries))
        self.source = write_files(tmp_path / "in", {"a": dicom_bytes()})
        self.start_server()

    def start_server(self, in_all=10, each=3):
        settings = {"max_jobs": 1, "max_waiting": in_all, "max_waiting_each": each}
        allowed = (str(self.folder / "in"),)
        self.client = client_of(self.root, auth=str(self.auth), allow_path=allowed, **settings)

    def call(self, tenant, method, path, body=None):
        headers = {"authorization": f"Bearer {self.tokens[tenant]}"}
        return self.client.call(method, path, body, headers)

    def ask(self, tenant):
        body = {"gcsSource": {"uri": self.source}}
        return self.call(tenant, "POST", f"{stores_of(tenant)}:import", body)

    def place(self, tenant, name):
        return self.call(tenant, "GET", name).content["metadata"].get("placeInQueue", 0)

    def begun(self):
        path = self.folder / "begun"
        return path.read_text().split() if path.exists() else []

    def end(self, number):
        (self.folder / f"end-{number}").touch()


def three(found):
    return found if len(found) == 3 else None


@pytest.fixture
def tenants(root, tmp_path, monkeypatch):
    monkeypatch.setattr(waiting_room.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(launch, "module_of", lambda _: "tests.jobs.held_up")
    made = Tenants(root, tmp_path)
    yield made
    for number in range(1, 10):
        made.end(number)
    ids = root.folders(f"{PARENT.folder}/operations")
    for each in ids:
        wait_until(OperationFolder(root, PARENT, each).read().owner.is_gone, 20)


@pytest.mark.timeout(60)
def test_a_tenant_with_many_jobs_delays_another_by_those_that_run(tenants, root):
    many = [tenants.ask("many").content["name"] for _ in range(3)]
    wait_until(lambda: tenants.begun() == ["many"], 20)
    tenants.start_server()  # those that wait do so without it
    few = tenants.ask("few").content["name"]
    wait_until(lambda: [tenants.place("many", name) for name in many] == [0, 2, 3], 20)
    wait_until(lambda: tenants.place("few", few) == 1, 20)
    told = CliRunner().invoke(app, ["operations", "list", "--root", root.root]).output
    assert told.count("queued, place ") == 3
    described = ["operations", "describe", few, "--format=json", "--root", root.root]
    assert '"placeInQueue": 1' in CliRunner().invoke(app, described).output
    token = {"authorization": f"Bearer {tenants.tokens['few']}"}
    page = tenants.client.raw("GET", f"/console/{few}".encode(), headers=token).body.decode()
    assert "Queued, position 1" in page
    tenants.end(1)
    wait_until(lambda: tenants.begun() == ["many", "few"], 20)
    wait_until(lambda: tenants.place("few", few) == 0, 20)
    tenants.end(2)
    wait_until(lambda: tenants.begun() == ["many", "few", "many"], 20)


@pytest.mark.timeout(60)
def test_a_job_that_may_not_even_wait_is_refused(tenants, root):
    for _ in range(4):
        assert tenants.ask("many").status == 200
    operations = sorted(root.folders(f"{PARENT.folder}/operations"))
    answer = tenants.ask("many")
    said = answer.refused(429, "RESOURCE_EXHAUSTED")
    assert said == (
        "3 jobs of yours are already queued: "
        "try again when some of them have started, or cancel some"
    )
    [info] = answer.content["error"]["details"]
    assert info["reason"] == "TOO_MANY_WAITING_JOBS"
    assert info["metadata"] == {"limit": "3", "scope": "caller"}
    answer = tenants.call("many", "DELETE", stores_of("many"))
    answer.refused(429, "RESOURCE_EXHAUSTED")
    assert get_store(root, parse_store(stores_of("many"))), "it is not half deleted"
    assert sorted(root.folders(f"{PARENT.folder}/operations")) == operations
    assert tenants.ask("few").status == 200
    tenants.start_server(in_all=4, each=4)
    answer = tenants.ask("few")
    assert answer.refused(429, "RESOURCE_EXHAUSTED").startswith(
        "4 jobs are already queued: try again"
    )
    [info] = answer.content["error"]["details"]
    assert info["metadata"] == {"limit": "4", "scope": "server"}
    folders = [OperationFolder(root, PARENT, each) for each in operations]
    waiting = wait_until(lambda: three([each for each in folders if each.read().queued]), 20)
    for folder in waiting:
        folder.request_cancel()
    for folder in waiting:
        wait_until(lambda folder=folder: folder.read().done, 20)
        wait_until(folder.read().owner.is_gone, 20)
    assert tenants.ask("many").status == 200, "those that are cancelled leave room"
    assert all(folder.read().error.code != ABORTED for folder in waiting)
