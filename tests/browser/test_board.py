"""The board as a person sees it: the real server, a real browser, a filled database.

Chromium is `$CHROMIUM` or /usr/bin/chromium (Debian: apt-get install chromium). Screenshots go to
`$LEARNBACK_SCREENSHOTS`, else to a temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright
from sqlalchemy import Engine

from shared.tables import open_database
from tests.board_letters import letters
from tests.board_life import ledger, life
from tests.board_rows import MODEL
from tests.conftest import free_port

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START_S, SEE_MS = 60, 30_000
PAGES = {
    "overview": ["Served accuracy over time", "Learning curve", "Newest verdicts", "Feedback to fix", "step 18 of 60"],
    "errors": ["Confusion pairs", "Failures"],
    "models": ["Lineage", "Gate report", "Exact McNemar: right where the other fails, 31 : 8.", "Finite weights"],
    "champion": ["Champion: ", "No version is on trial.", "Nobody has decided on a version yet."],
    "review": ["Quarantined (3)", "New labels (2)", "<b>refund</b> **now** :red[please] $x$", "Send decision"],
    "labels": ["A decision changes examples at once"],
    "anchor": ["15 rows", "Download JSONL", "Add a row", "Edits"],
    "forget": ["Forget this user", "Delete everything of this user, for good"],
    "health": [
        "Every accepted event is accounted for.",
        "Accepted to visible",
        "Waits for its prediction",
        "Dead letters",
    ],
}
LETTER_PAGES = {
    "overview": ["generation · b", "Newest fixes", "Learning curve"],
    "errors": ["Apps", "Tags", "Failures"],
    "models": ["Lineage", "Gate report"],
    "review": [
        "Quarantined (1)",
        "Called wrong (1)",
        "Disputed (1)",
        "What users called right × 1",
        "I am sorry to hear that.",
    ],
}
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        not CHROMIUM.exists(),
        reason=f"NO BROWSER AT {CHROMIUM}: the board was NOT seen. apt-get install chromium, or set CHROMIUM.",
    ),
]


def a_life(database: Engine) -> None:
    """A model's whole life."""
    life(database, ends=datetime.now(UTC))
    ledger(database, ends=datetime.now(UTC))


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a board on a database with a model's whole life."""
    with serving(tmp_path_factory.mktemp("board"), a_life) as address:
        yield address


@pytest.fixture(scope="module")
def letter_board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a board on the database of a model that writes JSON."""
    with serving(tmp_path_factory.mktemp("letters"), letters) as address:
        yield address


@contextlib.contextmanager
def serving(folder: Path, fill: Callable[[Engine], None]) -> Iterator[str]:
    """A board on a database that was filled."""
    port = free_port()
    url = f"sqlite:///{folder}/board.db"
    database = open_database(url)
    fill(database)
    database.dispose()
    settings = {"LEARNBACK_DATABASE_URL": url, "LEARNBACK_BOARD_PORT": str(port), "LEARNBACK_BOARD_REVIEWER": "ada"}
    with (folder / "board.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "services.board"], env={**os.environ, **settings}, stdout=log, stderr=log
        )
    try:
        address = f"http://127.0.0.1:{port}"
        await_health(address, server, folder / "board.log")
        yield address
    finally:
        server.terminate()
        server.wait(30)


def await_health(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(urllib.error.URLError, OSError):
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"The board did not start: {log.read_text()[-2000:]}")


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("LEARNBACK_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="module", params=["light", "dark"])
def tab(request: pytest.FixtureRequest) -> Iterator[Page]:
    """A browser tab in one of the two themes, on a laptop's screen, in a zone that is not UTC."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(
            viewport={"width": 1440, "height": 900}, color_scheme=request.param, timezone_id="Asia/Kolkata"
        )
        page = context.new_page()
        page.set_default_timeout(SEE_MS)
        yield page
        browser.close()


def theme(tab: Page) -> str:
    return "dark" if tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches") else "light"


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_seen(page: str, board: str, tab: Page, screenshots: Path) -> None:
    look(page, PAGES[page], board, tab)
    if page == "overview":
        expect(tab.get_by_role("heading", name=MODEL)).to_be_visible()
        expect(tab.locator("[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg")).to_have_count(2)
    if page == "models":
        expect(tab.locator("[data-testid=stGraphVizChart] svg .node")).to_have_count(7)
    take(tab, screenshots / f"{page}-{theme(tab)}.png")


@pytest.mark.parametrize("page", LETTER_PAGES)
def test_what_a_model_writes_is_seen_whole(page: str, letter_board: str, tab: Page, screenshots: Path) -> None:
    look(page, LETTER_PAGES[page], letter_board, tab)
    take(tab, screenshots / f"{page}-letters-{theme(tab)}.png")


def look(page: str, texts: list[str], board: str, tab: Page) -> None:
    """Open a page and wait until all of it is there."""
    tab.goto(f"{board}/{'' if page == 'overview' else page}")
    for text in texts:
        expect(tab.get_by_text(text).filter(visible=True).first).to_be_visible(timeout=SEE_MS)
    expect(tab.get_by_test_id("stException")).to_have_count(0)


def take(tab: Page, path: Path) -> None:
    """A picture of the whole page, however long."""
    height = tab.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    tab.set_viewport_size({"width": 1440, "height": max(900, int(height))})
    expect(tab.get_by_test_id("stSkeleton")).to_have_count(0)
    tab.screenshot(path=path)
    tab.set_viewport_size({"width": 1440, "height": 900})


def test_a_page_that_is_opened_before_any_other_has_the_navigation(tab: Page, tmp_path: Path) -> None:
    with serving(tmp_path, a_life) as address:
        look("health", PAGES["health"], address, tab)
        expect(tab.get_by_role("link", name="Golden anchor")).to_be_visible()
        expect(tab.get_by_test_id("stSidebarNavLink")).to_have_count(len(PAGES))


def test_a_port_in_use_is_one_clear_sentence(board: str) -> None:
    port = board.rsplit(":", 1)[-1]
    done = subprocess.run(
        [sys.executable, "-m", "services.board"],
        env={**os.environ, "LEARNBACK_BOARD_PORT": port}, capture_output=True, text=True, check=False, timeout=START_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"The board cannot listen on 127.0.0.1:{port} (Address already in use).")
    assert done.stderr.count("\n") == 1
