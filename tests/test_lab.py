"""Notebooks in a real JupyterLab in a headless Chromium: each runs to its end, and a moved slider draws anew."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NAMES = ("01_forward_process", "02_two_steps_by_hand", "03_predicting_noise")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
RUN_SECONDS = 400  # for one notebook, on a busy machine
SETTINGS = {
    "apputils-extension/notification": '{"fetchNews": "false", "checkForUpdates": false}',  # no question over the page
    "notebook-extension/tracker": '{"windowingMode": "none"}',  # all cells stay in the page, the unseen ones too
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="ends JupyterLab by POSIX signals"),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)"),
]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a notebook in a JupyterLab that knows no settings but ours, and works on copies."""
    work = tmp_path_factory.mktemp("lab")
    copies = work / "notebooks"
    copies.mkdir()
    for name in NAMES:  # without outputs: all that is seen was made today
        notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, copies / f"{name}.ipynb")
    for name, text in SETTINGS.items():
        path = work / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    token = secrets.token_hex(16)
    folders = {
        **{f"JUPYTER_{name}_DIR": str(work / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")},
        **{f"JUPYTERLAB_{name}_DIR": str(work / name.lower()) for name in ("SETTINGS", "WORKSPACES")},
        "IPYTHONDIR": str(work / "ipython"),
        "OMP_NUM_THREADS": "1",
        "LDM_EDU_PROFILE": "cpu",
    }
    with (work / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"),
                *(f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}"),
                *(f"--ServerApp.root_dir={copies}", "--LabApp.extension_manager=readonly"),
                "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | folders,
            start_new_session=True,
        )
    try:
        wait_for(f"http://127.0.0.1:{port}/api/status?token={token}", server, work / "lab.log")
        yield f"http://127.0.0.1:{port}/lab/tree/{{}}.ipynb?token={token}&reset"
    finally:
        os.killpg(server.pid, signal.SIGINT)
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def wait_for(address, server, log, seconds=120):
    """Wait until a server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert server.poll() is None, log.read_text("utf-8")
        try:
            with urllib.request.urlopen(address, timeout=2):
                return
        except (OSError, urllib.error.URLError):
            time.sleep(0.3)
    raise AssertionError(f"no answer in {seconds} s:\n{log.read_text('utf-8')}")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page of a headless Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path_factory.mktemp("chromium")),
            executable_path=CHROMIUM,
            headless=True,
            args=["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
            viewport={"width": 1200, "height": 1000},
        )
        yield context.pages[0]
        context.close()


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_its_slider_draws_anew(lab, page, name):
    page.goto(lab.format(name))
    page.get_by_text(re.compile(r"Python 3 \(ipykernel\) \| Idle")).first.wait_for(timeout=120_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    prompts = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-CodeCell .jp-InputPrompt")
    failed = page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.error"]')
    end = time.monotonic() + RUN_SECONDS
    while not (said := prompts.all_inner_texts()) or not all(re.fullmatch(r"\[\d+\]:", s.strip()) for s in said):
        assert failed.count() == 0, failed.first.inner_text()
        assert time.monotonic() < end, f"not done in {RUN_SECONDS} s: {said}"
        time.sleep(0.5)
    assert [int(s.strip(" []:\n")) for s in said] == list(range(1, len(said) + 1))

    widget = page.locator(".jp-OutputArea-output:has(.widget-slider)").first
    widget.scroll_into_view_if_needed()
    picture = widget.locator("img").first
    picture.wait_for(timeout=60_000)
    before, readout = picture.get_attribute("src"), widget.locator(".widget-readout").first
    number = readout.inner_text()
    assert before.startswith("data:image/png;base64,")
    widget.locator(".noUi-handle").first.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowRight")
    end = time.monotonic() + 60
    while widget.locator("img").count() == 0 or widget.locator("img").first.get_attribute("src") == before:
        assert time.monotonic() < end, f"the slider went from {number} to {readout.inner_text()}, the picture stayed"
        time.sleep(0.2)
    assert readout.inner_text() != number
    assert page.locator('.jp-OutputArea-output[data-mime-type="application/vnd.jupyter.stderr"]').count() == 0
