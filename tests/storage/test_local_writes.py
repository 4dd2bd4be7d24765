"""Whatever writes local files does it through the module that syncs them, or says why not."""

import ast
from pathlib import Path

import dicomferry

PACKAGE = Path(dicomferry.__file__).parent
# Modules that write files which nothing counts on after a power cut, or sync them by other means.
WRITERS = {
    "storage/durable.py": "the module that syncs",
    "storage/local.py": "looks whether a folder can be written",
    "storage/delta_commits.py": "makes twins, whose files are synced as they are moved",
    "storage/base.py": "buckets keep what they have confirmed",
    "storage/local_locks.py": "locks are empty files",
    "store/verification.py": "the log of a run that can be repeated",
    "tables/shards.py": "temporary copies of shards",
    "console/downloads.py": "temporary files of a download",
    "console/zip_stream.py": "a stream, not a file",
    "cli/standard_output.py": "the null device, in place of a closed standard output",
    "jobs/launch.py": "logs of processes",
    "jobs/waiting_room.py": "locks are empty files",
}
_CALLS = {
    *("os.replace", "os.rename", "os.link", "os.symlink", "os.truncate", "obstore.put"),
    *("shutil.copy", "shutil.copyfile", "shutil.copytree", "shutil.move"),
}
_METHODS = {"write_text", "write_bytes", "hardlink_to", "symlink_to"}
_DELTA = ("write_deltalake", "create_write_transaction", "DeltaTable.create", ".alter.add_columns")


def modules():
    for path in walk(PACKAGE):
        yield path.relative_to(PACKAGE).as_posix(), ast.parse(path.read_text())


def walk(folder):
    """Every module; two folders of the package are links."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from walk(path)
        elif path.suffix == ".py" and "generated" not in path.parts:
            yield path


def writes(call):
    """Whether a call writes, names or changes a local file."""
    name = ast.unparse(call.func)
    if name in _CALLS or name.rpartition(".")[2] in _METHODS:
        return True
    if name == "os.open":
        return "O_CREAT" in ast.unparse(call)
    if name in ("open", "Path.open") or name.endswith(".open"):
        given = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "mode")]
        modes = [mode.value for mode in given if isinstance(mode, ast.Constant)]
        return any(set(str(mode)) & set("wax+") for mode in modes if isinstance(mode, str))
    return False


def calls_of(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def test_only_these_modules_write_local_files():
    found = {name for name, tree in modules() if any(map(writes, calls_of(tree)))}
    assert found == set(WRITERS)


def test_delta_tables_change_only_where_their_files_are_synced():
    changes = 0
    for name, tree in modules():
        safe = {
            id(call)
            for node in ast.walk(tree)
            if isinstance(node, ast.With)
            and any(
                ast.unparse(item.context_expr).startswith(("committing(", "creating("))
                for item in node.items
            )
            for call in calls_of(node)
        }
        for call in calls_of(tree):
            called = ast.unparse(call.func)
            if called.endswith(_DELTA):
                changes += 1
                assert id(call) in safe, f"{name}:{call.lineno}"
    assert changes > 3
