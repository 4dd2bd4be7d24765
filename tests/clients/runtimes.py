"""The runtimes that Google publishes clients for, and how their programs are installed and run.

Each program walks the same way: see test_walk.py.
"""

import dataclasses
import hashlib
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
INSTALLED = REPOSITORY / ".clients"


@dataclasses.dataclass(frozen=True)
class Runtime:
    """A runtime, its client library and a program that uses it.

    Attributes:
        name: of the folder with its program, and of the one below .clients/ for its libraries.
        tools: the programs without which it cannot be installed or run.
        fetch: the command that downloads the libraries.
        build: the command that compiles the program; empty if none does.
        run: the command that runs the program.
        environment: variables that all of these take.
    """

    name: str
    tools: tuple[str, ...]
    fetch: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    environment: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def source(self) -> Path:
        """The folder of the program; commands run in it."""
        return HERE / self.name

    @property
    def installed(self) -> Path:
        """The folder that it is installed in."""
        return INSTALLED / self.name

    @property
    def missing(self) -> list[str]:
        """The tools that this machine lacks."""
        return [tool for tool in self.tools if shutil.which(tool) is None]

    @property
    def is_ready(self) -> bool:
        """Whether it is installed from the sources as they are now."""
        stamp = self.installed / "stamp"
        return not self.fetch or (stamp.exists() and stamp.read_text() == self.stamp)

    @property
    def stamp(self) -> str:
        """The hash of all that it is made of."""
        files = sorted(path for path in self.source.iterdir() if path.is_file())
        content = b"\0".join(path.read_bytes() for path in files)
        return hashlib.sha256(repr(self).encode() + content).hexdigest()


def _installed(*parts: str) -> str:
    return str(INSTALLED.joinpath(*parts))


_JARS = _installed("java", "lib")
_CLASSES = _installed("java", "classes")

RUNTIMES = (
    Runtime("python", (), run=(sys.executable, "walk.py")),
    Runtime(
        "node",
        ("node", "npm"),
        fetch=("npm", "ci", "--ignore-scripts", "--prefix", _installed("node")),
        run=("node", "walk.js"),
        environment={"NODE_PATH": _installed("node", "node_modules")},
    ),
    Runtime(
        "java",
        ("javac", "mvn"),
        fetch=("mvn", "-B", "-q", "dependency:copy-dependencies", f"-DoutputDirectory={_JARS}"),
        build=("javac", "-cp", f"{_JARS}/*", "-d", _CLASSES, "Walk.java"),
        run=("java", "-cp", f"{_JARS}/*:{_CLASSES}", "Walk"),
    ),
    Runtime(
        "go",
        ("go",),
        fetch=("go", "list", "-deps", "."),
        build=("go", "build", "-o", _installed("go", "walk"), "."),
        run=(_installed("go", "walk"),),
        environment={"GOTOOLCHAIN": "local"},
    ),
)
