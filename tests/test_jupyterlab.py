"""A reader's own way in: JupyterLab in a real browser, Run All on a lesson."""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
    None,
)
LESSON = "00_start_here.ipynb"


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on loopback over a copy of the lessons; gives its address."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1"]
    command += [f"--port={port}", f"--IdentityProvider.token={token}"]
    command += ["--ServerApp.port_retries=0", "--LabApp.news_url=None"]
    command += ["--allow-root"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    env = os.environ | {
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "LMLAB_FIGURES": str(tmp_path / "figures"),
    }
    log = (tmp_path / "lab.log").open("w")
    server = subprocess.Popen(
        command, cwd=tmp_path / "notebooks", env=env, stdout=log, stderr=log
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, tmp_path)
        yield f"http://127.0.0.1:{port}/lab/tree/{LESSON}?token={token}"
    finally:
        server.terminate()
        server.wait(timeout=30)
        log.close()


def wait_for(url, server, folder):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(240):
        assert server.poll() is None, (folder / "lab.log").read_text()[-2000:]
        try:
            return opener.open(url, timeout=5).read()
        except OSError:
            time.sleep(0.25)
    raise TimeoutError((folder / "lab.log").read_text()[-2000:])


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: JupyterLab is not tested")
@pytest.mark.timeout(240)
def test_a_lesson_runs_in_jupyterlab(lab, tmp_path):
    from playwright.sync_api import sync_playwright

    copy = tmp_path / "notebooks" / LESSON
    notebook = nbformat.read(copy, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    nbformat.write(notebook, copy)
    total = sum(c.cell_type == "code" for c in notebook.cells)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(lab)
        # Run All waits for a kernel, and asks which one when none is there yet.
        idle = page.get_by_text("Python 3 (ipykernel) | Idle")
        idle.wait_for(timeout=90_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        wait_until_saved_with(page, copy, total)
        browser.close()
    executed = nbformat.read(copy, as_version=4)
    cells = [c for c in executed.cells if c.cell_type == "code"]
    assert [c.execution_count for c in cells] == list(range(1, total + 1))
    outputs = [o for c in cells for o in c.outputs]
    assert [o for o in outputs if o.output_type == "error"] == []
    text = "".join(str(o.get("data", {}).get("text/plain", "")) for o in outputs)
    assert re.search("✓ .*broken versions are caught", text)


def wait_until_saved_with(page, path, total):
    """Save every second until every code cell in the file has been executed."""
    for _ in range(150):
        if page.locator(".jp-Dialog").is_visible():  # "Select Kernel": python3
            page.locator(".jp-Dialog .jp-mod-accept").click()
        page.keyboard.press("Control+s")
        page.wait_for_timeout(1000)
        cells = nbformat.read(path, as_version=4).cells
        executed = sum(bool(c.get("execution_count")) for c in cells)
        if executed == total:
            return
    page.screenshot(path=path.with_suffix(".png"))
    raise TimeoutError(
        f"{executed} of {total} cells ran; see {path.with_suffix('.png')}"
    )
