"""The base images of the Dockerfiles, pinned by digest.

python -m deploy.images pin
    asks the registries for the digest of each base's tag, and writes it into the Dockerfile
python -m deploy.images check
    ends with 1 if a base has no digest: what is built today is then not what is built tomorrow

A registry is asked as the OCI Distribution Specification has it, for the index of all platforms;
what it answers is compared with the digest.
"""

import argparse
import hashlib
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parents[1]
_HUB = "registry-1.docker.io"
_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_SECONDS = 60
_FROM = re.compile(r"^FROM (?P<image>\S+)(?: AS (?P<stage>\S+))?$", re.MULTILINE)
_CHALLENGE = re.compile(r'(realm|service|scope)="([^"]*)"')


class Base(NamedTuple):
    """An image that another one is built on: registry/name:tag@digest.

    Attributes:
        text: as the Dockerfile has it.
        registry: host that has it.
        name: in the registry.
        tag: '' if there is none.
        digest: '' if there is none, else sha256:….
    """

    text: str
    registry: str
    name: str
    tag: str
    digest: str

    @property
    def tagged(self) -> str:
        """The text without the digest."""
        return self.text.partition("@")[0]


def dockerfiles() -> list[Path]:
    """Return all Dockerfiles of the repository."""
    return sorted((REPOSITORY / "deploy").glob("*/Dockerfile"))


def bases(dockerfile: str) -> Iterator[Base]:
    """Yield the base images of the text of a Dockerfile; earlier stages are none."""
    stages = set()
    for match in _FROM.finditer(dockerfile):
        if match["image"] not in stages:
            yield parse_base(match["image"])
        stages.add(match["stage"])


def parse_base(text: str) -> Base:
    """Return the parts of an image's name, with Docker's defaults."""
    image, _, digest = text.partition("@")
    head, _, rest = image.partition("/")
    is_host = bool(rest) and ("." in head or ":" in head)
    registry, path = (head, rest) if is_host else (_HUB, image)
    name, _, tag = path.partition(":")
    if registry == _HUB and "/" not in name:
        name = f"library/{name}"
    return Base(text, registry, name, tag, digest)


def digest_of(base: Base, scheme: str = "https") -> str:
    """Ask a registry for the digest of a tag.

    Raises:
        OSError: it cannot be asked.
        ValueError: its answer is not what the digest says.
    """
    url = f"{scheme}://{base.registry}/v2/{base.name}/manifests/{base.tag or 'latest'}"
    headers = {"Accept": ", ".join(_INDEXES)}
    try:
        body, told = _get(url, headers)
    except urllib.error.HTTPError as error:
        if error.code != 401:
            raise
        token = _token(error.headers.get("WWW-Authenticate", ""))
        body, told = _get(url, {**headers, "Authorization": f"Bearer {token}"})
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    if told and told != digest:
        raise ValueError(f"{base.registry} calls {digest} {told}: ask again")
    return digest


def _get(url: str, headers: dict[str, str]) -> tuple[bytes, str]:
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
        return answer.read(), answer.headers.get("Docker-Content-Digest", "")


def _token(challenge: str) -> str:
    """Fetch the token that a registry gives to everybody."""
    asked = dict(_CHALLENGE.findall(challenge))
    query = urllib.parse.urlencode(
        {key: asked[key] for key in ("service", "scope") if key in asked}
    )
    answer = json.loads(_get(f"{asked['realm']}?{query}", {})[0])
    return str(answer.get("token") or answer["access_token"])


def pin(path: Path, scheme: str = "https") -> None:
    """Write the digests of today into a Dockerfile, all or none.

    Raises:
        OSError, ValueError: see `digest_of`.
    """
    text = path.read_text()
    for base in list(bases(text)):
        text = text.replace(f"FROM {base.text}", f"FROM {base.tagged}@{digest_of(base, scheme)}")
    path.write_text(text)


def unpinned() -> list[str]:
    """Return the bases that have no digest."""
    return [
        f"{path.relative_to(REPOSITORY)}: {base.text}"
        for path in dockerfiles()
        for base in bases(path.read_text())
        if not base.digest
    ]


def main(argv: list[str]) -> int:
    """Pin or check; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("pin", "check"))
    if parser.parse_args(argv).command == "pin":
        for path in dockerfiles():
            try:
                pin(path)
            except (OSError, ValueError) as error:
                print(f"{path.relative_to(REPOSITORY)} stays as it is: {error}")
                return 1
            print(f"{path.relative_to(REPOSITORY)} is pinned")
        return 0
    for each in unpinned():
        print(f"{each} has no digest: run `make image-digests`, and commit what it writes")
    return 1 if unpinned() else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
