"""gcloud, started once: its own Python imports it here, and runs each command in a fork.

It takes a second to start, and a command of its own takes a fraction of one. Nothing of it is
changed: a fork has the command line, and runs its `main`.

    python3 -S gcloud_forks.py LIB     reads a line of JSON a command: argv, stdout, stderr;
                                       writes a line with the exit code
"""

import json
import os
import sys


def run(cli, command):
    """Run a command as this process."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        os.dup2(os.open(command[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
    sys.argv = ["gcloud", *command["argv"]]
    code = 0
    try:
        gcloud_main.main(cli)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.path[:0] = [os.path.join(sys.argv[1], "third_party"), sys.argv[1]]
    from googlecloudsdk import gcloud_main

    shared = gcloud_main.CreateCLI([])
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            run(shared, json.loads(line))
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
