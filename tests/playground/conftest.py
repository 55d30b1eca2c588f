"""A real Chromium, and the page on a server of this machine."""

import functools
import shutil
import sys
import threading
from pathlib import Path

import pytest
from playground import pyodide
from playwright.sync_api import Error, sync_playwright

SITE = Path(__file__).parents[2] / "scripts" / "site"
# an installed browser comes before Playwright's own, which `python -m playwright install chromium` downloads
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# no name leads anywhere: whatever the page asked for elsewhere would fail
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"

# Keeps the worker and what it says, where the tests can read it.
RECORD = """
globalThis.messages = [];
globalThis.Worker = class extends Worker {
  constructor(...rest) {
    super(...rest);
    this.addEventListener("message", ({ data }) => messages.push(data));
  }
};
"""


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The page's folder, without Pyodide beside it."""
    sys.path.insert(0, str(SITE))
    from builder import playground

    folder = tmp_path_factory.mktemp("page")
    playground.build(folder)
    return folder


def served(folder):
    from builder import playground

    server = playground.server(folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.fixture(scope="session")
def address(built, tmp_path_factory):
    """The page with Pyodide beside it."""
    folder = tmp_path_factory.mktemp("with_pyodide") / "page"
    shutil.copytree(built, folder)
    (folder / "pyodide").symlink_to(pyodide.folder())
    with served(folder) as server:
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def address_without_pyodide(built):
    with served(built) as server:
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def address_with_cdn(built, tmp_path):
    """The page without Pyodide beside it, and another server in the place of its CDN, which lets any page read."""
    from builder import playground

    class Handler(playground.Handler):
        def end_headers(self):
            self.send_header("Access-Control-Allow-Origin", "*")
            super().end_headers()

    shutil.copytree(built, tmp_path / "page")
    with served(pyodide.folder()) as cdn, served(tmp_path / "page") as server:
        cdn.RequestHandlerClass = functools.partial(Handler, directory=str(pyodide.folder()))
        worker = tmp_path / "page" / "worker.js"
        text = worker.read_text("utf-8")
        named = "https://cdn.jsdelivr.net/pyodide/v${VERSION}/full/"
        assert text.count(named) == 1
        worker.write_text(text.replace(named, f"http://127.0.0.1:{cdn.server_port}/"), "utf-8")
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        cdn.shutdown()


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[OFFLINE])
        except Error as error:
            pytest.exit(f"no Chromium: install one, or run python -m playwright install chromium ({error})", 1)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def requests():
    """The address of everything that `page` asked for."""
    return []


@pytest.fixture(scope="session")
def errors():
    """What went wrong in `page` without being caught."""
    return []


@pytest.fixture(scope="session")
def page(browser, address, requests, errors):
    """The page, opened and loaded: one for all tests, as a person would use it."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    context.add_init_script(RECORD)
    context.on("request", lambda request: requests.append(request.url))
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(address)
    page.wait_for_selector("html[data-ready], #failure:visible", timeout=180_000)
    assert page.locator("#failure").inner_text() == ""
    yield page
    context.close()
