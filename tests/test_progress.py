"""Progress on a terminal and in a file."""

import io

import pytest

from ldm_edu import progress
from ldm_edu.fit import Progress
from ldm_edu.progress import StageProgress, sampler_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def at(step, steps=100):
    return Progress(step, steps, loss=0.5, rate=200.0, seconds_left=float(steps - step))


def test_a_file_gets_a_line_now_and_then(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    shown = StageProgress()
    for step in (1, *range(20, 101, 20)):
        clock[0] += 4.0
        shown.update("autoencoder", at(step))
    shown.update("diffusion", at(41))
    shown.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "\r" not in err
    lines = err.splitlines()
    assert lines[0] == "autoencoder: step 1 of 100, loss 0.5000, 200 pictures/s, 01:39 left"
    assert [line.split(",")[0] for line in lines] == [
        "autoencoder: step 1 of 100",
        "autoencoder: step 60 of 100",
        "autoencoder: step 100 of 100",
        "diffusion: step 41 of 100",
    ]


@pytest.mark.parametrize("first", [1, 61])
def test_a_terminal_gets_a_bar_that_starts_where_the_training_does(monkeypatch, first):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    shown = StageProgress()
    shown.update("diffusion", at(first))
    start = terminal.getvalue()
    assert f"{first}/100" in start
    assert f"{first - 1}/100" not in start
    assert "loss 0.5000, 200 pictures/s" in start
    shown.update("diffusion", at(80))
    shown.note("a sentence")
    shown.close()
    assert "80/100" in terminal.getvalue()
    assert "a sentence\n" in terminal.getvalue()


def test_drawing_is_silent_in_a_file_and_soon_after_it_began(capsys, monkeypatch):
    step = sampler_bar(3)
    for _ in range(3):
        step()
    assert capsys.readouterr() == ("", "")
