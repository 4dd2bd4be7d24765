"""The pages as a real browser runs them, its policy against scripts included."""

import json
from typing import NamedTuple

import pytest

from dicomferry.api.access import NoLogin, TokenFile, make_token
from dicomferry.operations.outcomes import ProgressCounts
from dicomferry.storage.base import Storage
from dicomferry.storage.registry import open_storage
from tests.clients.runtimes import AXE
from tests.console.consoles import (
    DATASET,
    Browser,
    all_pages,
    page_of,
    run_trial,
    running,
    serving,
)

AXE_SCRIPT = AXE.installed / "node_modules/axe-core/axe.min.js"
# What a reader who tabs through a page meets: its name, and whether it can be seen there.
FOCUSED = """(() => { const at = document.activeElement, box = at.getBoundingClientRect();
  return [at.textContent.trim() || at.name, at !== document.body && box.top >= 0 &&
          box.width > 0 && getComputedStyle(at).outlineStyle !== "none"] })()"""
AXE_RUN = """axe.run().then(found =>
  found.violations.map(each => [each.id, each.nodes.map(node => node.html)]))"""
INTERACTIVE = (
    "document.querySelectorAll('a[href], button, input:not([type=hidden]), select').length"
)


class Site(NamedTuple):
    """A console without login.

    Attributes:
        browser: on it, whose `answered` also has what the tab asked for.
        root: its stores.
        done: an import of files that failed, and others.
        pages: addresses of all kinds of pages: with failures, a running job, an error, a login.
    """

    browser: Browser
    root: Storage
    done: str
    pages: list[str]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """One job, and one console for all tests: they only look."""
    folder = tmp_path_factory.mktemp("site")
    root = open_storage(str(folder / "root"))
    trial = run_trial(root, folder / "in")
    under_way = running(root, read=50, failed=3)
    tokens = folder / "auth.jsonl"
    tokens.write_text(json.dumps(make_token("all", ["healthcare.*"], ["*"])[1]) + "\n")
    tokens.chmod(0o600)
    paths = [*all_pages(trial.folder), page_of(under_way), f"/console/{DATASET}/operations/none"]
    with serving(root, TokenFile(str(tokens))) as closed, serving(root, NoLogin()) as browser:
        pages = [*(browser.url + path for path in paths), f"{closed.url}/"]
        yield Site(browser, root, browser.url + page_of(trial.folder), pages)


def test_a_bar_moves_without_loading_the_page_anew(tab, site):
    folder = running(site.root, read=50)
    tab.open(site.browser.url + page_of(folder))
    folder.report_progress("00000-w", ProgressCounts(read=150))
    # Only its script can bring a new value.
    tab.run("""new Promise(done => setInterval(() => {
      if (document.querySelector('[aria-valuenow="150"]')) done() }, 20))""")
    assert site.browser.answered.count((page_of(folder), "")) == 1
    assert tab.complaints == []


def test_pages_run_clean_and_fit_a_phone(tab, site):
    for width in (390, 1280):
        tab.look(width, "light")
        for page in site.pages:
            tab.open(page)
            assert tab.complaints == []
            assert tab.run("document.documentElement.scrollWidth") <= width, page


def test_names_stay_text(tab, site):
    tab.open(site.done)
    assert "<script>alert(1)" in tab.run("document.body.innerText")


def test_times_are_shown_in_the_readers_zone(tab, site):
    tab.call("Emulation.setTimezoneOverride", timezoneId="Asia/Kathmandu")
    try:
        tab.open(site.done)
        assert tab.run("document.querySelector('time').textContent").endswith("GMT+5:45")
        assert tab.run("document.querySelector('time').title").endswith(" UTC")
    finally:
        tab.call("Emulation.setTimezoneOverride", timezoneId="")


@pytest.mark.parametrize(
    ("clipboard", "shown"),
    [
        ("{writeText: async text => { window.copied = text }}", "Copied"),
        ("{writeText: async () => { throw new DOMException('', 'NotAllowedError') }}", "Copy"),
        ("undefined", "Copy"),  # a page without TLS
    ],
)
def test_a_button_copies_the_next_command_or_selects_it(tab, site, clipboard, shown):
    tab.open(site.done)
    tab.run(f"Object.defineProperty(navigator, 'clipboard', {{value: {clipboard}}}); 1")
    tab.run("document.querySelector('code.command + button').click()")
    assert "--retry-failed" in tab.run("getSelection().toString()")
    assert tab.run("document.querySelector('code.command + button').textContent") == shown
    assert tab.run("!window.copied || getSelection().toString() === window.copied")
    assert tab.complaints == []


def test_the_keyboard_reaches_everything_and_the_focus_is_seen(tab, site):
    tab.look(1280, "light")
    tab.open(site.done)
    reached = []
    for _ in range(tab.run(INTERACTIVE)):
        key = {"key": "Tab", "windowsVirtualKeyCode": 9}
        tab.call("Input.dispatchKeyEvent", type="rawKeyDown", **key)
        tab.call("Input.dispatchKeyEvent", type="keyUp", **key)
        reached.append(tab.run(FOCUSED))
    assert reached[0] == ["Skip to content", True]
    assert [name for name, is_seen in reached if not is_seen] == []


def test_axe_finds_nothing_in_light_and_in_dark(tab, site):
    if not AXE.is_ready:
        pytest.skip("axe-core is not installed here: make clients")
    script = AXE_SCRIPT.read_text()
    found = []
    for page in site.pages:
        tab.look(1280, "light")
        tab.open(page)
        tab.run(script + ";1")
        for scheme in ("light", "dark"):
            tab.look(1280, scheme)
            found += [(page, scheme, *each) for each in tab.run(AXE_RUN)]
    assert found == []
    tab.run("document.documentElement.removeAttribute('lang')")
    assert [rule for rule, _ in tab.run(AXE_RUN)] == ["html-has-lang"]
