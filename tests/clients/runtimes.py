"""The runtimes that Google publishes clients for, and how their programs are installed and run.

Each program walks the same way: see test_walk.py. Tests of the page get axe-core in the same way.
"""

import dataclasses
import hashlib
import os
import shutil
import subprocess
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
        language: as blocks of code in Markdown name it; its files end so.
        tools: the programs without which it cannot be installed or run.
        fetch: the command that downloads the libraries.
        build: the command that compiles the program; empty if none does.
        run: the command that runs the program.
        script: the command that runs the one file of source code that follows it.
        environment: variables that all of these take.
        folder: that the folder of the program is in.
    """

    name: str
    language: str
    tools: tuple[str, ...]
    fetch: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    script: tuple[str, ...] = ()
    environment: dict[str, str] = dataclasses.field(default_factory=dict)
    folder: Path = HERE

    @property
    def source(self) -> Path:
        """The folder of the program; commands run in it."""
        return self.folder / self.name

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

    def call(self, *command: str, **environment: str) -> str:
        """Run a command of the runtime and return what it prints; a failure is the test's."""
        done = subprocess.run(
            command,
            check=False,
            cwd=self.source,
            env={**os.environ, **self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout


def _installed(*parts: str) -> str:
    return str(INSTALLED.joinpath(*parts))


_JARS = _installed("java", "lib")
_CLASSES = _installed("java", "classes")


def _npm(name: str) -> tuple[str, ...]:
    return ("npm", "ci", "--ignore-scripts", "--prefix", _installed(name))


RUNTIMES = (
    Runtime("python", "python", (), run=(sys.executable, "walk.py"), script=(sys.executable,)),
    Runtime(
        "node",
        "js",
        ("node", "npm"),
        fetch=_npm("node"),
        run=("node", "walk.js"),
        script=("node",),
        environment={"NODE_PATH": _installed("node", "node_modules")},
    ),
    Runtime(
        "java",
        "java",
        ("javac", "mvn"),
        fetch=("mvn", "-B", "-q", "dependency:copy-dependencies", f"-DoutputDirectory={_JARS}"),
        build=("javac", "-cp", f"{_JARS}/*", "-d", _CLASSES, "Walk.java"),
        run=("java", "-cp", f"{_JARS}/*:{_CLASSES}", "Walk"),
        script=("java", "-cp", f"{_JARS}/*"),
    ),
    Runtime(
        "go",
        "go",
        ("go",),
        fetch=("go", "list", "-deps", "."),
        build=("go", "build", "-o", _installed("go", "walk"), "."),
        run=(_installed("go", "walk"),),
        script=("go", "run"),
        environment={"GOTOOLCHAIN": "local"},
    ),
)
AXE = Runtime("axe", "js", ("npm",), fetch=_npm("axe"), folder=HERE.parent / "console")
