"""Whose folder it is, and with which settings its run goes on."""

import dataclasses
import errno
import json
import os

import pytest
from tiny import TINY, blobs, python

from ldm_edu.checkpoint import CheckpointError, write_tensors
from ldm_edu.cli import main
from ldm_edu.config import TrainConfig
from ldm_edu.run_folder import HOW, check_folder, claim, flatten, held, read_settings, replace_flat, run_status
from ldm_edu.train import train


def test_settings_come_back_from_their_flat_form(tmp_path):
    assert replace_flat(TrainConfig(), flatten(TINY)) == TINY
    claim(tmp_path / "run", TINY)
    assert read_settings(tmp_path / "run", TrainConfig()) == TINY


def test_a_new_or_empty_folder_is_fit(tmp_path):
    check_folder(tmp_path / "new", TINY, resume=False)
    check_folder(tmp_path, TINY, resume=True)
    assert list(tmp_path.iterdir()) == []


def test_what_file_managers_leave_does_not_count(tmp_path):
    for name in (".DS_Store", "Thumbs.db", "desktop.ini"):
        (tmp_path / name).touch()
    check_folder(tmp_path, TINY, resume=False)
    (tmp_path / ".profile").touch()
    with pytest.raises(CheckpointError, match="holds no run of ours"):
        check_folder(tmp_path, TINY, resume=False)


def test_a_folder_with_something_else_is_not(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    for out in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(CheckpointError, match="holds no run of ours; choose another --out"):
            check_folder(out, TINY, resume=True)
    assert (tmp_path / "thesis.txt").read_text("utf-8") == "precious"


def test_leftovers_of_a_kill_do_not_disturb_and_are_cleared(tmp_path):
    leftover = tmp_path / ".train.json.abcd1234.part"
    leftover.write_text("{")
    check_folder(tmp_path, TINY, resume=False)
    claim(tmp_path, TINY)
    assert [p.name for p in tmp_path.iterdir()] == ["train.json"]


def test_a_run_needs_resume(tmp_path):
    claim(tmp_path, TINY)
    with pytest.raises(CheckpointError, match=r"holds a run already \(no step saved yet\); continue it with --resume"):
        check_folder(tmp_path, TINY, resume=False)
    check_folder(tmp_path, TINY, resume=True)


def test_other_settings_are_refused_by_name(tmp_path):
    claim(tmp_path, TINY)
    unet = dataclasses.replace(TINY.unet, multipliers=(1, 1))
    other = dataclasses.replace(TINY, seed=5, unet=unet)
    with pytest.raises(CheckpointError, match=r"seed was 0, now 5; unet\.multipliers was \[1\], now \(1, 1\)"):
        check_folder(tmp_path, other, resume=True)


def test_how_a_run_goes_may_change(tmp_path):
    claim(tmp_path, TINY)
    changes = {
        "root": "x",
        "download": True,
        "device": "auto",
        "compile": True,
        "save_every": 7,
        "tensorboard": True,
    }
    assert changes.keys() == HOW
    check_folder(tmp_path, dataclasses.replace(TINY, **changes), resume=True)


@pytest.mark.parametrize("text", ["", "[]", '{"size": "big"}', '{"T": 1}', '{"unet.width": 7}', '{"fit.steps": null}'])
def test_damaged_settings_are_named(tmp_path, text):
    (tmp_path / "train.json").write_text(text, "utf-8")
    with pytest.raises(CheckpointError, match=r"train\.json"):
        read_settings(tmp_path, TrainConfig())


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("size", "big", "size must be a whole number, got 'big'"),
        ("size", True, "size must be a whole number, got True"),
        ("l1", None, "l1 must be a number, got None"),
        ("data", ["digits"], r"data must be text, got \['digits'\]"),
        ("compile", None, "compile must be true or false, got None"),
        ("schedule", None, "schedule must be one of linear, scaled_linear, cosine, straight, got None"),
        ("unet.width", "32", r"unet\.width must be a whole number, got '32'"),
        ("unet.multipliers", 3, r"unet\.multipliers must be a list, each a whole number, got 3"),
        ("unet.heads", "four", r"unet\.heads must be a whole number or null, got 'four'"),
        ("text.words", "ab", r"text\.words must be a list, each text, got 'ab'"),
    ],
)
def test_a_setting_of_another_type_is_named_with_what_it_must_be(tmp_path, capsys, key, value, message):
    claim(tmp_path, TINY)
    path = tmp_path / "train.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | {key: value}), "utf-8")
    with pytest.raises(CheckpointError, match=rf"train\.json: {message}; correct it$"):
        read_settings(tmp_path, TrainConfig())
    for command in (["info", str(tmp_path)], ["train", "--out", str(tmp_path), "--resume"]):
        assert main(command) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_settings_of_a_newer_version_are_refused_by_name(tmp_path):
    claim(tmp_path, TINY)
    saved = json.loads((tmp_path / "train.json").read_text("utf-8"))
    (tmp_path / "train.json").write_text(json.dumps(saved | {"warp": 9}), "utf-8")
    with pytest.raises(CheckpointError, match="warp was 9, now None"):
        check_folder(tmp_path, TINY, resume=True)


def test_a_run_from_before_an_option_goes_on_without_it(tmp_path):
    claim(tmp_path, TINY)
    saved = json.loads((tmp_path / "train.json").read_text("utf-8"))
    for key in ("least_words", "text.words"):
        del saved[key]
    (tmp_path / "train.json").write_text(json.dumps(saved), "utf-8")
    check_folder(tmp_path, TINY, resume=True)
    with pytest.raises(CheckpointError, match="least_words was 1, now 2"):
        check_folder(tmp_path, dataclasses.replace(TINY, least_words=2), resume=True)


def test_status_is_that_of_the_last_stage(tmp_path):
    assert run_status(tmp_path) == "no step saved yet"
    for name, step in (("autoencoder", 4), ("diffusion", 2)):
        write_tensors(tmp_path / f"{name}.state", {}, {"step": step, "fit": {"steps": 4}})
        assert run_status(tmp_path) == f"{name} at step {step} of 4"
    write_tensors(tmp_path / "diffusion.state", {}, {"step": 3})
    with pytest.raises(CheckpointError, match="is no training state of ours"):
        run_status(tmp_path)
    (tmp_path / "diffusion.state").write_bytes(b"")
    with pytest.raises(CheckpointError, match="damaged"):
        run_status(tmp_path)


def test_a_wrong_setting_is_said_with_the_part_it_belongs_to():
    with pytest.raises(ValueError, match=r"^autoencoder_fit: steps must be a whole number, 1 or more, got 0$"):
        replace_flat(TrainConfig(), {"autoencoder_fit.steps": 0})


def test_a_schedule_that_leaves_signal_is_refused():
    with pytest.raises(ValueError, match="linear with T = 100 leaves 60% of the signal at T"):
        TrainConfig(schedule="linear", T=100)


@pytest.mark.parametrize("data", ["digits", "mnist", "scenes"])
def test_sets_that_a_mirror_makes_wrong_are_not_mirrored(data):
    with pytest.raises(ValueError, match=f"flip adds mirror images, which are wrong for {data}"):
        TrainConfig(data=data, flip=True)
    assert TrainConfig(data="cifar10", flip=True).flip


def test_leftovers_go_before_anything_is_written(tmp_path, monkeypatch):
    """They may be what fills the disk."""
    leftover = tmp_path / ".diffusion.state.abcd1234.part"
    leftover.write_text("much")
    flush = os.fsync

    def on_a_full_disk(file):
        if leftover.exists():
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(file)

    monkeypatch.setattr(os, "fsync", on_a_full_disk)
    claim(tmp_path, TINY)
    assert [p.name for p in tmp_path.iterdir()] == ["train.json"]


@pytest.mark.skipif(os.name == "nt", reason="no locks on folders there")
def test_two_processes_do_not_train_in_one_folder(tmp_path):
    claim(tmp_path, TINY)
    writing = tmp_path / ".diffusion.state.abcd1234.part"
    writing.write_text("of the other process")
    code = "import sys, time; from ldm_edu.run_folder import held"
    code += "\nwith held(sys.argv[1]): print(flush=True); time.sleep(600)"
    other = python("-c", code, tmp_path)
    other.stdout.readline()
    with pytest.raises(CheckpointError, match="another process trains in this folder; wait for it, or choose another"):
        train(TINY, blobs(), tmp_path, resume=True)
    assert writing.exists()
    other.kill()
    other.communicate()
    with held(tmp_path):  # a killed process keeps nothing
        pass
