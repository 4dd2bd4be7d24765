"""`make proto`: write the Python of the .proto files, for this package's own import path.

The compiler is given the files of this folder under dicomferry/api/proto/generated, so that the
code it writes imports itself from there, in an installed package as well.
"""

import sys
from pathlib import Path

import google.longrunning

_SOURCES = Path(__file__).parent
_PACKAGE = "dicomferry/api/proto/generated"
_OPERATIONS = "google/longrunning/operations.proto"
_OPERATIONS_AS_PACKAGED = "google/longrunning/operations_proto.proto"


def generate(folder: Path) -> int:
    """Compile every .proto file into the tree below a folder; return the compiler's exit code."""
    import grpc_tools
    from grpc_tools import protoc

    names = sorted(path.name for path in _SOURCES.glob("*.proto"))
    site_packages = Path(next(iter(google.longrunning.__path__))).parents[1]
    arguments = [
        "protoc",
        f"--proto_path={_PACKAGE}={_SOURCES}",
        # googleapis-common-protos spells this file's name otherwise than its users import it.
        f"--proto_path={_OPERATIONS}={site_packages / _OPERATIONS_AS_PACKAGED}",
        f"--proto_path={site_packages}",
        f"--proto_path={Path(next(iter(grpc_tools.__path__))) / '_proto'}",
        f"--python_out={folder}",
        f"--pyi_out={folder}",
        f"--grpc_python_out={folder}",
        *(f"{_PACKAGE}/{name}" for name in names),
    ]
    code: int = protoc.main(arguments)
    # A file without a service makes an empty one of stubs.
    for name in ("error_details", "operation_metadata"):
        (folder / _PACKAGE / f"{name}_pb2_grpc.py").unlink(missing_ok=True)
    return code


if __name__ == "__main__":
    sys.exit(generate(_SOURCES.parents[2]))
