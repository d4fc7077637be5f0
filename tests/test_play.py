"""ldm-edu play: one line for what cannot be, and the page in a headless Chromium, drawn with and looked at."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from glob import glob
from pathlib import Path

import pytest
from random_models import random_model
from test_lab import CHROMIUM

from ldm_edu import run_play
from ldm_edu.cli import main

in_a_browser = pytest.mark.skipif(
    CHROMIUM is None or os.name == "nt",
    reason="needs Chromium (Debian: apt install chromium), and ends the page by Ctrl-C",
)
DRAWN_SECONDS = 60  # for a few steps of a tiny model, on a busy machine


@pytest.fixture
def refused(capsys):
    """Run the command, which must fail; the one line that it says."""

    def call(*words):
        assert main(["play", "--no-browser", *words]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        return err

    return call


@pytest.mark.parametrize("port", ["0", "70000"])
def test_a_port_that_cannot_be(refused, port):
    assert f"--port must lie between 1 and 65535, got {port}" in refused("--port", port)


@pytest.mark.parametrize("package", ["voila", "ipywidgets", "ipykernel"])
def test_what_is_not_installed_is_named(refused, monkeypatch, package):
    pytest.importorskip("voila")
    monkeypatch.setitem(sys.modules, package, None)
    assert refused() == f'ldm-edu: the playground needs {package}: pip install "ldm_edu[play]", or {package}\n'


def test_a_model_that_is_none(refused, tmp_path):
    pytest.importorskip("voila")
    assert "zebra: no such folder, and no shipped model of that name" in refused("--model", "zebra")
    random_model("text").save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x80\x04pickle")
    assert "model.safetensors: damaged" in refused("--model", str(tmp_path))


def test_the_page_is_one_cell_with_the_folder_as_a_string(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    name = 'it\'s "mine")\nimport os'
    path = run_play.write_page(tmp_path, Path("/models") / name, "cpu")
    (cell,) = nbformat.read(path, as_version=4).cells
    loaded = []
    code = cell.source.replace("from ldm_edu.latent import LatentDiffusion\n", "").partition("\n")[2]
    model = type("Model", (), {"load": staticmethod(lambda *given: loaded.append(given))})
    exec(code, {"LatentDiffusion": model, "playground": lambda model, name: loaded.append(name)})
    assert loaded == [(str(Path("/models") / name), "cpu"), name]
    kernel = json.loads((tmp_path / "kernels" / "python3" / "kernel.json").read_text("utf-8"))
    assert kernel["argv"][0] == sys.executable
    assert str(Path(run_play.__file__).parents[1]) in kernel["env"]["PYTHONPATH"].split(os.pathsep)


def test_the_browser_gets_the_address_in_a_file(tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(run_play.webbrowser, "open", opened.append)
    app = type("App", (), {"port": 1234})
    run_play.announce(app, "secret", tmp_path)
    assert "http://127.0.0.1:1234/?token=secret" in capsys.readouterr().out
    assert opened == [(tmp_path / "open.html").as_uri()]
    assert "secret" not in opened[0]
    assert "url=http://127.0.0.1:1234/?token=secret" in (tmp_path / "open.html").read_text("utf-8")
    run_play.announce(app, "secret", None)
    assert len(opened) == 1


def hear_ctrl_c():
    """Where the tests run in a shell's background, Ctrl-C is ignored, and the programs they start inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Server:
    """A running ldm-edu play: its address, its process and its working folder."""

    def __init__(self, folder, kind):
        pytest.importorskip("voila")
        random_model(kind).save(folder / kind)
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        own = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
        own |= {"OMP_NUM_THREADS": "1", "TMPDIR": str(self.temporary), "IPYTHONDIR": str(folder / "ipython")}
        self.errors = folder / "err"
        command = [sys.executable, "-m", "ldm_edu", "play", "--no-browser", "--model", str(folder / kind)]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [*command, "--port", str(self.port)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | own,
                preexec_fn=hear_ctrl_c if os.name == "posix" else None,
            )
        line = self.process.stdout.readline()  # ends where the process does, so this cannot wait for ever
        if "http" not in line:
            self.stop()
            raise AssertionError(self.errors.read_text("utf-8"))
        self.address = re.search(r"http://\S+", line)[0]

    def stop(self):
        """Ctrl-C; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.communicate(timeout=30)
        finally:
            self.process.kill()  # none is left behind, whatever went wrong; one that has ended does not mind
        return self.process.returncode


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("play"), "text")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        with_options = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=with_options)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(server, browser):
    """The page, ready; what it got from elsewhere is in page.from_elsewhere."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.from_elsewhere = []
    page.on("response", lambda r: r.url.startswith(("http://127.0.0.1", "data:", "blob:")) or
            page.from_elsewhere.append(r.url))  # fmt: skip
    page.goto(server.address)
    page.get_by_role("button", name="Draw A and B").wait_for(timeout=120_000)
    yield page
    page.close()


class Side:
    """Panel A or B of the page."""

    def __init__(self, page, letter):
        self.letter = letter
        self.box = page.locator(".ldm-panel").nth("AB".index(letter))
        self.picture = self.box.locator("figure").first

    def fill(self, **fields):
        for name, value in fields.items():
            field = self.box.get_by_label(name, exact=True)
            field.fill(str(value))
            field.press("Tab")

    def set_steps(self, steps):
        readout = self.box.locator(".widget-readout").first
        readout.click()
        readout.fill(str(steps))
        readout.press("Enter")

    def draw(self):
        self.box.get_by_role("button", name=f"Draw {self.letter}").click()

    def wait(self, steps, other_than=""):
        """The picture's data, once all steps are done and it is another one than before."""
        end = time.monotonic() + DRAWN_SECONDS
        while time.monotonic() < end:
            if self.picture.count() and f"step {steps} of {steps}" in self.picture.inner_text():
                data = self.picture.locator("img").get_attribute("src")
                if data != other_than and self.box.get_by_role("button", name="Draw").is_enabled():
                    return data
            time.sleep(0.1)
        raise AssertionError(f"not drawn in {DRAWN_SECONDS} s: {self.box.inner_text()}")


@pytest.mark.slow
@in_a_browser
def test_seed_steps_and_prompt_make_the_picture(page):
    a = Side(page, "A")
    a.fill(prompt="a red circle", seed=1)
    a.set_steps(4)
    a.draw()
    first = a.wait(4)
    assert first.startswith("data:image/png;base64,")
    words = [t.split("\n")[0] for t in a.box.locator(".ldm-tiles").last.locator("figcaption").all_inner_texts()]
    assert words == ["a", "red", "circle", "no word"]
    a.fill(seed=2)
    a.draw()
    second = a.wait(4, first)
    a.fill(prompt="blue square")
    a.draw()
    third = a.wait(4, second)
    assert len({first, second, third}) == 3
    a.fill(prompt="a red circle", seed=1)
    a.draw()
    assert a.wait(4, third) == first


@pytest.mark.slow
@in_a_browser
def test_the_slider_goes_back_over_the_steps(page):
    a = Side(page, "A")
    a.fill(prompt="a red circle")
    a.set_steps(5)
    a.draw()
    last = a.wait(5)
    handle = a.box.locator(".noUi-handle").last
    handle.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    a.picture.get_by_text("step 3 of 5").wait_for()
    assert a.picture.locator("img").get_attribute("src") != last


@pytest.mark.slow
@in_a_browser
def test_two_settings_side_by_side(page):
    a, b = Side(page, "A"), Side(page, "B")
    a.fill(prompt="a red circle", seed=7)
    a.set_steps(3)
    page.get_by_role("button", name="Copy A to B").click()
    page.wait_for_function("document.querySelectorAll('.ldm-panel')[1].querySelector('input').value == 'a red circle'")
    page.get_by_role("button", name="Draw A and B").click()
    same = a.wait(3), b.wait(3)
    assert same[0] == same[1]
    b.fill(prompt="blue square")
    b.draw()
    assert b.wait(3, same[1]) != same[0]
    left, right = a.box.bounding_box(), b.box.bounding_box()
    assert left["x"] + left["width"] <= right["x"]
    assert left["y"] == right["y"]


@pytest.mark.slow
@in_a_browser
def test_a_bad_prompt_shows_its_line(page):
    a = Side(page, "A")
    a.set_steps(2)
    a.fill(prompt="a striped <b>zebra")
    a.draw()
    a.box.get_by_text("Words that this model does not know: striped < > zebra.").wait_for()
    a.wait(2)
    a.fill(prompt="", negative="blue")
    a.draw()
    a.box.get_by_text("give a prompt too").wait_for()
    a.fill(negative="")
    a.draw()
    a.wait(2)
    assert "Traceback" not in page.inner_text("body")


@pytest.mark.slow
@in_a_browser
def test_nothing_is_cut_off_and_nothing_comes_from_elsewhere(page):
    a = Side(page, "A")
    a.fill(prompt="a red circle above square")
    a.set_steps(20)
    a.draw()
    a.wait(20)
    cut = page.evaluate(
        """[...document.querySelectorAll('.ldm-playground, .ldm-playground *:not(input):not(.noUi-target *)')]
           .filter(e => e.clientWidth && e.scrollWidth > e.clientWidth + 2)
           .filter(e => getComputedStyle(e).overflowX != 'visible')
           .map(e => e.className + ': ' + e.innerText)"""
    )
    assert cut == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    size = a.picture.locator("img").bounding_box()
    assert (size["width"], size["height"]) == (256, 256)
    assert page.from_elsewhere == []


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="ends the page by Ctrl-C")
def test_only_who_has_the_address_gets_the_page(server):
    def code(address, **headers):
        request = urllib.request.Request(address, headers=headers)
        opener = urllib.request.build_opener(type("Stay", (urllib.request.HTTPRedirectHandler,), {
            "redirect_request": lambda *arguments: None}))  # fmt: skip
        try:
            return opener.open(request, timeout=60).status
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    bare = server.address.partition("?")[0]
    assert bare == f"http://127.0.0.1:{server.port}/"
    assert code(bare) == 302  # to the page that asks for the token
    assert code(bare + "?token=wrong") == 302
    assert code(server.address, Host="elsewhere.example") == 403  # a foreign name that resolves to this machine
    assert code(bare + "voila/files/playground.ipynb") != 200
    (work,) = server.temporary.glob("ldm_edu-play-*")
    assert stat.S_IMODE(work.stat().st_mode) == 0o700


@pytest.mark.slow
@in_a_browser
def test_a_model_with_classes_and_how_page_and_command_end(tmp_path, browser):
    running = Server(tmp_path, "classes")
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    try:
        page.goto(running.address)
        a = Side(page, "A")
        a.box.get_by_role("button", name="Draw A").wait_for(timeout=120_000)
        assert a.box.get_by_label("prompt").count() == 0
        a.set_steps(3)
        a.draw()
        first = a.wait(3)
        a.box.get_by_label("class").select_option("dog")
        a.draw()
        assert a.wait(3, first) != first
        kernels = running.temporary / "ldm_edu-play-*" / "voila_*" / "kernel-*.json"
        assert len(glob(str(kernels))) == 1
        page.goto("about:blank")  # as when the page is closed: its kernel ends
        end = time.monotonic() + DRAWN_SECONDS
        while glob(str(kernels)):
            assert time.monotonic() < end, running.errors.read_text("utf-8")
            time.sleep(0.1)
    finally:
        page.close()
        code = running.stop()
    assert code == 0
    assert running.errors.read_text("utf-8") == "\nStopped\n"
    assert list(running.temporary.glob("ldm_edu-play-*")) == []
