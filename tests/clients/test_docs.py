"""The programs of docs/clients.md, as they stand there, but for the address."""

from dicomferry.resource_names import parse_store
from dicomferry.store.dicom_store import create_store
from tests.docs.pages import blocks

ADDRESS = "http://127.0.0.1:8080"


def test_a_program_lists_the_stores(runtime, served, root, tmp_path):
    on_pages = blocks(runtime.language)
    [program] = [block.text for block in on_pages if block.page.name == "clients.md"]
    assert program.count(ADDRESS) == 1
    create_store(root, parse_store("trial"))
    file = tmp_path / f"Stores.{runtime.language}"
    file.write_text(program.replace(ADDRESS, served.url))
    said = runtime.call(*runtime.script, str(file), TOKEN=served.token)
    assert said == f"{parse_store('trial')}\n"
