"""A job that begins, and ends when it is told to; run as a program with the flags of a job."""

import sys
import time
from pathlib import Path

from dicomferry.operations.folder import adopt_operation
from dicomferry.operations.ownership import OwnedOperation
from dicomferry.resource_names import parse_store
from dicomferry.storage.registry import open_storage

if __name__ == "__main__":
    sys.stdin.buffer.read()
    flags = dict(flag.removeprefix("--").split("=", 1) for flag in sys.argv[1:] if "=" in flag)
    store, folder = parse_store(flags["store"]), Path(flags["root"]).parent
    with (folder / "begun").open("a") as file:
        file.write(f"{store.id}\n")
    number = len((folder / "begun").read_text().split())
    adopted = adopt_operation(open_storage(flags["root"]), store.parent, flags["operation"])
    with OwnedOperation(adopted):
        while not (folder / f"end-{number}").exists():
            time.sleep(0.02)
