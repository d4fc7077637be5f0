"""The command line from end to end: trained, killed, resumed, in two processes, on a full disk."""

import dataclasses
import json
import os
import re
import shutil
import signal
import time
from unittest.mock import Mock

import pytest
import torch
from tiny import TINY, assert_same, finished, options, picture_folder, python, weights

from ldm_edu.card import card_text
from ldm_edu.checkpoint import read_about, read_json
from ldm_edu.cli import main
from ldm_edu.latent import LatentDiffusion

pytestmark = pytest.mark.slow

# Long enough to be killed in the middle; pictures without labels, since these are scored without a classifier.
LONG = dataclasses.replace(
    TINY,
    autoencoder_fit=dataclasses.replace(TINY.autoencoder_fit, steps=60),
    fit=dataclasses.replace(TINY.fit, steps=60),
    save_every=20,
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def words(pictures):
    return [*options(LONG), "--data", str(pictures)]


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """The folder of an unbroken run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    code, said, err = finished(python("-m", "ldm_edu", "train", "--out", out, *words))
    assert code == 0, err
    (out.parent / "out.txt").write_text(said, "utf-8")
    (out.parent / "err.txt").write_text(err, "utf-8")
    return out


def test_a_run_says_where_it_stands_and_where_things_are(whole, words):
    said, err = ((whole.parent / name).read_text("utf-8") for name in ("out.txt", "err.txt"))
    assert f"The checkpoint, its card and its pictures are in {whole}; look at {whole / 'samples.png'}" in said
    assert f"ldm-edu generate --model {whole}" in said
    lines = err.splitlines()
    assert lines[0].startswith("autoencoder: step 1 of 60, loss ")
    assert any(line.startswith("diffusion: step 60 of 60") for line in lines)
    assert lines[-1] == "Scoring …"
    assert "\r" not in err
    assert "arning" not in err
    card = read_json(whole / "card.json")
    assert card["provenance"]["command"].startswith(f"ldm-edu train --out {whole} ")
    assert card["sampling"]["steps"] == 25  # half of T
    assert sorted(p.name for p in (whole / "samples").iterdir()) == [f"step-0000{n}.png" for n in (20, 40, 60)]


def test_info_on_a_finished_and_on_a_damaged_folder(whole, tmp_path, capsys):
    assert main(["info", str(whole)]) == 0
    assert capsys.readouterr().out == (whole / "CARD.md").read_text("utf-8")
    assert main(["info", "--json", str(whole)]) == 0
    assert json.loads(capsys.readouterr().out) == read_json(whole / "card.json")
    page = tmp_path / "page.md"
    page.write_text("<!-- demo:begin -->\n<!-- demo:end -->\n")
    assert main(["info", str(whole), "--write", str(page)]) == 0
    body = page.read_text("utf-8").split("\n", 1)[1].rsplit("\n<!--", 1)[0]
    assert body.startswith("Data: ")
    assert body in capsys.readouterr().out
    damages = {
        "model.safetensors": (lambda data: data[:-1], "model.safetensors: damaged"),
        "config.json": (lambda data: b"{}", "config.json: checkpoint format None"),
        "card.json": (lambda data: b'{"name": 3}', "card.json: not a card of ours"),
    }
    for name, (damage, message) in damages.items():
        folder = tmp_path / name
        shutil.copytree(whole, folder)
        (folder / name).write_bytes(damage((folder / name).read_bytes()))
        assert main(["info", str(folder)]) == 2
        err = capsys.readouterr().err
        assert message in err
        assert err.count("\n") == 1


def test_resume_of_a_finished_run_only_makes_what_is_missing(whole, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    (out / "samples.png").unlink()
    card = read_json(out / "card.json")
    assert main(["train", "--out", str(out), "--resume"]) == 0
    said = capsys.readouterr()
    assert said.err == "Scoring …\n"  # no step was trained
    assert (out / "samples.png").exists()
    again = read_json(out / "card.json")
    for folder in (card, again):
        folder["provenance"]["command"] = re.sub(r"--out \S+", "", folder["provenance"]["command"])
    assert again == card | {"provenance": again["provenance"]}
    assert again["provenance"]["command"] == card["provenance"]["command"]
    assert again["provenance"]["seconds"] == card["provenance"]["seconds"]
    assert_same(weights(out), weights(whole))
    stamp = (out / "card.json").stat().st_mtime_ns
    assert main(["train", "--out", str(out), "--resume"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert "This run is finished" in said.out
    assert (out / "card.json").stat().st_mtime_ns == stamp
    monkeypatch.setenv("RANK", "1")  # a second process of the same training
    assert main(["train", "--out", str(out), "--resume"]) == 0
    assert capsys.readouterr().out == ""


def wait_until(condition, process):
    """Look again and again, as long as the process lives."""
    while not condition() and process.poll() is None:
        time.sleep(0.001)


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_killed_again_and_again_it_ends_in_the_same_bits(whole, words, tmp_path):
    out = tmp_path / "run"

    def step_of(name):
        return read_about(out / f"{name}.state")["step"] if (out / f"{name}.state").exists() else 0

    moments = [
        lambda: (out / "train.json").exists(),
        lambda: step_of("autoencoder") >= 20,
        lambda: (out / "config.json").exists(),
        lambda: bool(list(out.glob(".diffusion.state.*.part"))),
        lambda: step_of("diffusion") >= 40,
    ]
    seconds = 0.0
    for moment in moments:
        process = python("-m", "ldm_edu", "train", "--out", out, "--resume", *words)
        wait_until(moment, process)
        process.send_signal(signal.SIGKILL)
        assert finished(process)[0] == -signal.SIGKILL
        assert moment() or list(out.glob(".diffusion.state.*.part")) or step_of("diffusion") > 0
        if (out / "model.safetensors").exists():
            LatentDiffusion.load(out)
        if (out / "diffusion.state").exists():
            seconds = read_about(out / "diffusion.state")["seconds"]
    code, _, err = finished(python("-m", "ldm_edu", "train", "--out", out, "--resume"))
    assert code == 0, err
    assert "autoencoder" not in err
    assert_same(weights(out), weights(whole))
    assert not list(out.rglob(".*"))
    ours, theirs = (read_json(folder / "card.json") for folder in (out, whole))
    assert ours["scores"] == theirs["scores"]
    assert ours["provenance"]["seconds"]["diffusion"] > seconds > 0
    assert ours["provenance"]["command"] == theirs["provenance"]["command"].replace(str(whole), str(out))


STOPPABLE = """
import signal, sys
from ldm_edu.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background processes without it
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_ctrl_c_stops_with_a_sentence_and_loses_nothing_saved(words, tmp_path):
    out = tmp_path / "run"
    process = python("-c", STOPPABLE, "train", "--out", out, *words)
    wait_until(lambda: (out / "autoencoder.state").exists(), process)
    process.send_signal(signal.SIGINT)
    code, said, err = finished(process)
    assert (code, said) == (130, "")
    assert err.splitlines()[-1] == "ldm-edu: stopped; it goes on from its last save with --resume"
    assert "Traceback" not in err
    assert read_about(out / "autoencoder.state")["step"] >= 20
    assert not list(out.rglob(".*"))


FULL = """
import resource, sys
from ldm_edu.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)  # no file may grow beyond it
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="limits a file's size by resource")
def test_a_full_disk_stops_with_one_line_and_harms_nothing(whole, words, tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    for name in ("train.json", "autoencoder.state"):
        shutil.copy(whole / name, out / name)
    size = (whole / "diffusion.state").stat().st_size // 2  # its own size varies with the digits of its seconds
    code, _, err = finished(python("-c", FULL, size, "train", "--out", out, "--resume"))
    assert code == 2
    assert "Traceback" not in err
    last = err.splitlines()[-1]
    assert last.startswith(f"ldm-edu: {out / 'diffusion.state'}: could not be written")
    assert sorted(p.name for p in out.iterdir()) == ["autoencoder.state", "config.json", "train.json"]
    assert main(["train", "--out", str(out), "--resume"]) == 0
    assert_same(weights(out), weights(whole))


SHORT = ("--fit-steps", "4", "--autoencoder-fit-steps", "4", "--save-every", "2")


@pytest.fixture(scope="module")
def one_process(words, tmp_path_factory):
    """The folder of a run with the batch that two processes have together."""
    out = tmp_path_factory.mktemp("one") / "run"
    code, _, err = finished(python("-m", "ldm_edu", "train", "--out", out, *words, *SHORT))
    assert code == 0, err
    return out


@pytest.mark.parametrize(
    "launcher",
    [
        ("torch.distributed.run", "--standalone", "--nproc_per_node", "2"),
        # Without a GPU, --multi_gpu starts processes on the CPU; --cpu would start one, whatever is asked for.
        (
            *("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
            *("--main_process_port", "0", "--mixed_precision", "no", "--dynamo_backend", "no"),
        ),
    ],
    ids=["torchrun", "accelerate"],
)
@pytest.mark.skipif(os.name == "nt", reason="torchrun needs Linux or macOS")
def test_two_processes_train_one_model_and_only_the_first_speaks(one_process, words, tmp_path, launcher):
    out = tmp_path / "run"
    half = ("--fit-batch", "4", "--autoencoder-fit-batch", "4")
    code, said, err = finished(python("-m", *launcher, "-m", "ldm_edu", "train", "--out", out, *words, *SHORT, *half))
    assert code == 0, err
    assert said.count("The checkpoint, its card and its pictures are in") == 1
    assert err.count("diffusion: step 1 of 4") == 1
    assert err.count("Scoring") == 1
    assert not list(out.rglob(".*"))
    a, b = weights(one_process), weights(out)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-3, atol=1e-4)


@pytest.mark.skipif(os.name == "nt", reason="torchrun needs Linux or macOS")
def test_two_processes_that_are_refused_end_both(one_process, words):
    launcher = ("torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    code, _, err = finished(python("-m", *launcher, "-m", "ldm_edu", "train", "--out", one_process, *words), timeout=60)
    assert code != 0
    assert "holds a run already" in err


@pytest.mark.slow
def test_odd_requests_of_generate_and_info(whole, tmp_path, capsys):
    assert main(["generate", "--model", str(whole), "--count", "1", "--steps", "2", "--guidance", "nan"]) == 2
    assert "--guidance must be a number, got nan" in capsys.readouterr().err
    folder = tmp_path / "v0.1"
    folder.mkdir()
    assert main(["generate", "--model", str(whole), "--count", "1", "--steps", "2", "--out", str(folder)]) == 0
    assert len(list(folder.iterdir())) == 1
    assert main(["info", str(whole), "--write", str(tmp_path / "absent.md")]) == 2
    assert "absent.md: no such file" in capsys.readouterr().err
    assert main(["generate", "--model", str(tmp_path / "absent")]) == 2
    assert "absent: no such folder" in capsys.readouterr().err


def test_a_finished_run_needs_its_states_no_more(whole, words, tmp_path):
    out = shutil.copytree(whole, tmp_path / "run")
    for state in out.glob("*.state"):
        state.unlink()
    before = weights(out)
    code, said, err = finished(python("-m", "ldm_edu", "train", "--resume", "--out", out, *words))
    assert (code, err) == (0, "")
    assert "This run is finished" in said
    assert card_text(read_json(out / "card.json")) in said
    assert_same(weights(out), before)


def test_an_exported_model_is_half_as_large_and_scored_as_stored(whole, tmp_path, capsys, monkeypatch):
    out = tmp_path / "small"
    assert main(["export", str(whole), str(out)]) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "CARD.md", "card.json", "config.json", "model.safetensors", "samples.png",
    ]  # fmt: skip
    assert {t.dtype for n, t in weights(out).items() if not n.startswith("schedule.")} == {torch.float16}
    card, before = read_json(out / "card.json"), read_json(whole / "card.json")
    assert (card["weights"], before["weights"]) == ("float16", "float32")
    assert card["provenance"] == before["provenance"]
    assert card["scores"].keys() == before["scores"].keys()
    model = LatentDiffusion.load(out)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert capsys.readouterr().out == (out / "CARD.md").read_text("utf-8") + "\n"
    assert main(["export", str(whole), str(out)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["export", str(whole), str(tmp_path / "moved"), "--root", str(tmp_path)]) == 0
    assert read_json(tmp_path / "moved" / "card.json")["scores"] == card["scores"]
    capsys.readouterr()
    assert main(["export", str(out), str(tmp_path / "again")]) == 2
    assert "holds no finished run" in capsys.readouterr().err
    run = shutil.copytree(whole, tmp_path / "run")
    before = sorted(tmp_path.iterdir())
    for stop in (KeyboardInterrupt, ValueError):  # in the minutes of scoring
        with monkeypatch.context() as patched:
            patched.setattr("ldm_edu.run.score", Mock(side_effect=stop))
            assert main(["export", str(run), str(tmp_path / "again")]) != 0
        assert sorted(tmp_path.iterdir()) == before
    capsys.readouterr()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").touch()  # as file managers leave it
    assert main(["export", str(run), str(tmp_path / "empty")]) == 0
    assert read_json(tmp_path / "empty" / "card.json")["name"] == "empty"
    assert not (tmp_path / "empty" / ".DS_Store").exists()
    capsys.readouterr()
    (run / "card.json").write_text("{}")
    assert main(["export", str(run), str(tmp_path / "again")]) == 2
    assert "card.json: does not say where the model comes from" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
