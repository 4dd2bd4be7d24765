"""Compare the locks with the known vulnerabilities: `make audit`.

pip-audit ends with 1 both when it found some and when its service did not answer. Here:

    0   every locked version was asked for, and none is known to be vulnerable
    1   some are
    3   the service could not be asked, of one version or of all: nothing is known
"""

import json
import subprocess
import sys
from collections.abc import Sequence

LOCKS = ("requirements.txt", "requirements-dev.txt", "deploy/server/requirements.txt")
CLEAN, VULNERABLE, UNASKED = 0, 1, 3
_SECONDS = 600


def audit(command: Sequence[str], lock: str) -> int:
    """Ask for one lock by a pip-audit command; print what is to be known, return the exit code."""
    flags = ["-r", lock, "--require-hashes", "--disable-pip", "--progress-spinner=off", "-f=json"]
    try:
        done = subprocess.run(
            [*command, *flags], check=False, capture_output=True, text=True, timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        print(f"{lock}: could not be asked about: no answer in {_SECONDS} s")
        return UNASKED
    try:
        versions = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip().splitlines() or ["nothing was said"]
        print(f"{lock}: could not be asked about: {said[-1]}")
        return UNASKED
    for version in versions:
        for found in version.get("vulns", ()):
            fixed = ", ".join(found.get("fix_versions", ())) or "no version yet"
            print(
                f"{lock}: {version['name']} {version['version']}: {found['id']}, fixed in {fixed}"
            )
    unasked = [version["name"] for version in versions if "skip_reason" in version]
    if unasked:
        few = ", ".join(unasked[:5]) + (" …" if len(unasked) > 5 else "")
        print(f"{lock}: {len(unasked)} versions could not be asked about: {few}")
    vulnerable = any(version.get("vulns") for version in versions)
    print(f"{lock}: {len(versions) - len(unasked)} versions were asked about")
    if vulnerable:
        return VULNERABLE
    return UNASKED if unasked or not versions else CLEAN


def main(command: Sequence[str]) -> int:
    """Ask for all locks; what is vulnerable counts before what is not known."""
    codes = {audit(command, lock) for lock in LOCKS}
    return next(code for code in (VULNERABLE, UNASKED, CLEAN) if code in codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
