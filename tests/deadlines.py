"""A deadline for what would otherwise hang, so that its test fails in seconds."""

import threading


def within(seconds, function):
    """What a function returns or raises; a failure if it has done neither in time.

    It runs in a thread that ends with this process, since nothing ends what hangs in a library.
    """
    result = []

    def run():
        try:
            result.append((function(), None))
        except BaseException as error:
            result.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert result, f"it hangs: no result in {seconds} s"
    [(value, error)] = result
    if error is not None:
        raise error
    return value
