"""The wildcards of the API reference, spelled out the slow and certain way, to judge ours by."""

import re


def is_allowed(pattern: str) -> bool:
    """Return whether the reference allows the object part of a source URI."""
    if "**" in pattern:
        return re.fullmatch(r"[^*?]*\*\*(\.[^/*?]+)?", pattern) is not None
    return pattern != "" and not pattern.endswith("/")


def means(pattern: str, name: str) -> bool:
    """Return whether a pattern means a name, by trying all that a wildcard can stand for."""
    if pattern.startswith("**"):
        return any(means(pattern[2:], name[length:]) for length in range(len(name) + 1))
    if pattern.startswith("*"):
        longest = len(name.split("/", 1)[0])
        return any(means(pattern[1:], name[length:]) for length in range(longest + 1))
    if not pattern or not name:
        return pattern == name
    same = name[0] != "/" if pattern[0] == "?" else name[0] == pattern[0]
    return same and means(pattern[1:], name[1:])
