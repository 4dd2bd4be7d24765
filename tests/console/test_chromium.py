"""The console in a real browser."""

import json
import shutil
import subprocess
import threading

import pytest
from starlette.responses import HTMLResponse
from starlette.routing import Route

from dicomferry.api.access import TokenFile, make_token
from dicomferry.console.views.layout import SECURITY_HEADERS
from dicomferry.operations.outcomes import ProgressCounts
from tests.console.consoles import all_pages, page_of, running, serving
from tests.pipelines.jobs import new_store


class TestInChromium:
    """The pages as a real browser runs them, its policy against scripts included."""

    @pytest.fixture
    def dom_of(self, tmp_path):
        chromium = shutil.which("chromium") or shutil.which("chromium-browser")
        if not chromium:
            pytest.skip("chromium is not installed")

        def dump(url, milliseconds=1000):
            done = subprocess.run(
                [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
                 f"--user-data-dir={tmp_path}/chromium", f"--virtual-time-budget={milliseconds}",
                 "--dump-dom", url],
                capture_output=True, text=True, timeout=120, check=True,
            )  # fmt: skip
            console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
            return done.stdout, console

        return dump

    @pytest.fixture
    def dom(self, dom_of, browser):
        return lambda path, milliseconds=1000: dom_of(browser.url + path, milliseconds)

    def test_a_login_by_the_form_leads_to_the_page(self, dom_of, root, tmp_path):
        token, entry = make_token("someone", ["healthcare.*"], ["*"])
        path = tmp_path / "auth.jsonl"
        path.write_text(json.dumps(entry))
        path.chmod(0o600)
        # The form of the page, which submits itself; the policy forbids that to the page's own.
        script = "<script>document.forms[0].submit()</script>"
        form = f"""<form method="post" action="/console/login">
            <input name="token" value="{token}"><input name="next" value="/"></form>{script}"""
        headers = SECURITY_HEADERS | {"Content-Security-Policy": "form-action 'self'"}
        filled = Route("/filled", lambda _: HTMLResponse(form, headers=headers))
        with serving(root, TokenFile(str(path)), filled) as browser:
            text, console = dom_of(f"{browser.url}/filled")
        assert "<span>someone</span>" in text
        assert console == []

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
