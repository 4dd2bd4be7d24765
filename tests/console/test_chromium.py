"""The console in a real browser."""

import shutil
import subprocess
import threading

import pytest

from dicomferry.operations.outcomes import ProgressCounts
from tests.console.consoles import all_pages, page_of, running
from tests.pipelines.jobs import new_store


class TestInChromium:
    """The pages as a real browser runs them, its policy against scripts included."""

    @pytest.fixture
    def dom(self, browser, tmp_path):
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if not chromium:
            pytest.skip("chromium is not installed")

        def dump(path, milliseconds=1000):
            done = subprocess.run(
                [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                 f"--user-data-dir={tmp_path}/chromium", f"--virtual-time-budget={milliseconds}",
                 "--dump-dom", browser.url + path],
                capture_output=True, text=True, timeout=120, check=True,
            )  # fmt: skip
            console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
            return done.stdout, console

        return dump

    def test_a_bar_moves_without_loading_the_page_anew(self, dom, browser, root):
        new_store(root)
        folder = running(root, read=50)
        path = page_of(folder)
        over = threading.Event()

        def go_on():
            # Once the page is there, only its script can bring a new value.
            while not over.wait(0.05):
                if (path, "") in browser.answered:
                    folder.report_progress("00000-w", ProgressCounts(read=150))
                    return

        mover = threading.Thread(target=go_on)
        mover.start()
        try:
            text, console = dom(path, milliseconds=8000)
        finally:
            over.set()
            mover.join()
        assert 'aria-valuenow="150"' in text
        assert browser.answered.count((path, "")) == 1
        assert console == []

    def test_pages_run_clean_and_names_stay_text(self, dom, trial):
        for path in all_pages(trial.folder):
            text, console = dom(path)
            assert "</html>" in text
            assert console == []
        assert "&lt;script&gt;alert(1)" in text
