"""Whatever goes wrong is one line on standard error and exit code 2; --debug shows where."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys

import pytest
import torch
from tiny import ROOT, TINY, blobs, finished, options, picture_folder, python

import ldm_edu
from ldm_edu import run, run_generate
from ldm_edu.cli import explain, main
from ldm_edu.config import TrainConfig
from ldm_edu.data.pictures import Pictures
from ldm_edu.nets.text import TextConfig
from ldm_edu.pretrained import shipped_models
from ldm_edu.train import train


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return picture_folder(tmp_path_factory.mktemp("pictures"), 20)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    out = tmp_path_factory.mktemp("checkpoint") / "run"
    train(dataclasses.replace(TINY, save_every=100), blobs(), out)
    return out


@pytest.fixture
def refused(capsys):
    """Run a command that must fail; the one line that it says."""

    def call(*words):
        assert main([str(w) for w in words]) == 2
        out, err = capsys.readouterr()
        assert err.startswith("ldm-edu: "), err
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        assert out == ""
        return err

    return call


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere"], "nowhere: neither a picture set"),
        (["--data", "mnist", "--root", "nowhere"], "allow its download with --download"),
        (["--fit-steps", "0"], "fit: steps must be a whole number, 1 or more, got 0"),
        (["--fit-batch", "2", "--fit-accumulate", "3"], "splits a batch of 2 into empty pieces"),
        (["--schedule", "straight", "--target", "eps"], "use --target v or x0"),
        (["--size", "18"], "size must be a multiple of 4, the downsampling of the networks, got 18"),
        (["--unet-width", "7"], "unet: width is 7; expected an even number"),
        (["--precision", "fp16", "--device", "cpu"], "--precision fp16 needs a GPU"),
        (["--schedule", "warp"], "--schedule"),
        (["--steps", "3"], "--steps"),
    ],
)
def test_a_training_that_cannot_be_is_refused_and_leaves_nothing(refused, tmp_path, words, message):
    out = tmp_path / "run"
    assert message in refused("train", "--out", out, *options(), *words)
    assert not out.exists()


def test_options_that_would_do_nothing_are_refused(refused, checkpoint, tmp_path):
    out = tmp_path / "run"
    idle = ["--l1", "0.7", "--kl", "0.5", "--adversarial-start", "3", "--autoencoder-fit-steps", "7"]
    without = refused("train", "--out", out, "--no-latent", *idle, "--autoencoder-width", "16")
    assert "--no-latent trains no autoencoder: leave out" in without
    for name in ("--l1", "--kl", "--adversarial-start", "--autoencoder-fit-steps", "--autoencoder-width"):
        assert f"{name}, " in without
    started = refused("train", "--out", out, "--start-from", checkpoint, *idle, "--least-words", "5")
    assert "--start-from trains no autoencoder and keeps the model's words: leave out" in started
    for name in ("--l1", "--kl", "--adversarial-start", "--autoencoder-fit-steps", "--least-words"):
        assert f"{name}, " in started
    assert not out.exists()


def test_what_a_recipe_says_beside_is_left_out_and_sizes_are_compared(checkpoint, tmp_path, monkeypatch):
    got = []

    def caught(out, config, resume):
        got.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "check_folder", caught)
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"l1": 0.7, "kl": 0.5, "least_words": 5, "autoencoder_fit.steps": 7}')
    words = ["train", "--out", str(tmp_path / "run"), "--config", str(recipe)]
    for more in (["--start-from", str(checkpoint), "--autoencoder-width", "16"], ["--no-latent"]):
        assert main([*words, *more]) == 130
    default = TrainConfig()
    for config in got:
        assert (config.l1, config.kl, config.autoencoder_fit) == (default.l1, default.kl, default.autoencoder_fit)
    assert [config.least_words for config in got] == [1, 5]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there(refused, checkpoint, tmp_path):
    for words in (["train", "--out", tmp_path / "x"], ["generate", "--model", checkpoint]):
        assert "no CUDA GPU is there; use --device auto or cpu" in refused(*words, "--device", "cuda")


def test_folders_that_are_no_picture_sets(refused, tmp_path, pictures):
    empty, small, text, notes = (tmp_path / name for name in ("empty", "small", "text", "notes"))
    empty.mkdir()
    picture_folder(small, 5)
    for folder, name in ((text, "fake.png"), (notes, "notes.txt")):
        shutil.copytree(pictures, folder)
        (folder / name).write_text("no picture")
    for folder, message in (
        (empty, "empty: holds no pictures"),
        (small, "pictures there: 5; 10 or more are needed"),
        (text, "fake.png: cannot be read as a picture"),
        (notes, "notes.txt: cannot be read as a picture"),
    ):
        out = tmp_path / "run"
        assert message in refused("train", "--out", out, *options(), "--data", folder)
        assert not out.exists()


def test_folders_that_hold_something_else(refused, checkpoint, tmp_path, pictures):
    (tmp_path / "thesis.txt").write_text("precious")
    assert "holds no run of ours" in refused("train", "--out", tmp_path, *options(), "--data", pictures)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]
    assert "holds a run already (diffusion at step 4 of 4)" in refused("train", "--out", checkpoint)
    assert "seed was 0, now 3" in refused("train", "--out", checkpoint, "--resume", "--seed", "3")


def test_a_loss_that_is_no_number(refused, tmp_path, pictures, capsys):
    words = ["--data", pictures, "--autoencoder-fit-learning-rate", "1e30", "--autoencoder-fit-warmup", "0"]
    main([str(w) for w in ["train", "--out", tmp_path / "run", *options(), *words, "--save-every", "100"]])
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("ldm-edu: the loss or its gradient was not finite")
    assert sum(line.startswith("ldm-edu: ") for line in lines) == 1
    assert all(line.startswith(("ldm-edu: ", "autoencoder: step ")) for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], "steps must lie between 1 and"),
        (["--sampler", "euler"], "--sampler"),
        (["--sampler", "heun", "--eta", "0.5"], 'eta is an option of "ddim"; "heun" has none'),
        (["--eta", "2", "--steps", "3"], "eta"),
        (["--label", "zebra"], "--label zebra: not a class of this checkpoint; it has a, b"),
        (["--label", "2"], "not a class"),
        (["--count", "0"], "--count, --scale and --batch must be 1 or more"),
        (["--batch", "0"], "--count, --scale and --batch must be 1 or more"),
        (["--device", "tpu"], "--device must be auto, cpu or cuda, got 'tpu'"),
        (["--out", "x.jpg"], "pictures are written as .png"),
        (["a red circle"], "'a red circle': this checkpoint takes no text; leave the prompt out"),
        (["--negative", "blue"], "'blue': this checkpoint takes no text"),
        (["--interval", "5"], "--interval takes two times, LOW,HIGH, got 5"),
        (["--interval", "5,9", "--guidance", "1"], "interval = (5, 9) counts only with guidance"),
        (["--interval", "low"], "'low' is not a list of whole numbers"),
        (["--interval", "9,5", "--guidance", "3", "--steps", "3"], "low ≤ high, got (9, 5)"),
    ],
)
def test_pictures_that_cannot_be_drawn(refused, checkpoint, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused("generate", "--model", checkpoint, "--device", "cpu", *words)
    assert list(tmp_path.iterdir()) == []


def test_checkpoints_that_are_none(refused, checkpoint, tmp_path):
    assert "no such folder" in refused("info", tmp_path / "absent")
    assert "holds neither a card nor a run" in refused("info", tmp_path)
    assert "config.json: no such file" in refused("generate", "--model", tmp_path)
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    (broken / "model.safetensors").write_bytes(b"\x80\x04pickle")
    assert "model.safetensors: damaged" in refused("generate", "--model", broken, "--device", "cpu")
    (broken / "diffusion.state").write_bytes(b"")
    assert "diffusion.state: damaged" in refused("info", broken)
    assert "diffusion.state: damaged" in refused("train", "--out", broken)
    (broken / "train.json").write_text("{")
    assert "train.json: damaged" in refused("train", "--out", broken, "--resume")


def test_info_on_an_unfinished_run(checkpoint, capsys):
    assert main(["info", str(checkpoint)]) == 0
    out = capsys.readouterr().out
    assert out == (
        f"Unfinished run: diffusion at step 4 of 4. Continue it with: ldm-edu train --resume --out {checkpoint}\n"
    )
    assert main(["info", "--json", str(checkpoint)]) == 0
    assert capsys.readouterr().out == '{"unfinished": "diffusion at step 4 of 4"}\n'


def test_drawing_writes_a_grid_or_single_files(checkpoint, tmp_path, capsys):
    common = ["generate", "--model", str(checkpoint), "--device", "cpu", "--steps", "3", "--count", "3"]
    assert main([*common, "--out", str(tmp_path / "grid.png")]) == 0
    out, err = capsys.readouterr()
    assert out == f"3 pictures written to {tmp_path / 'grid.png'}\n"
    assert err == ""
    assert main([*common, "--out", str(tmp_path / "files"), "--scale", "1"]) == 0
    assert sorted(p.name for p in (tmp_path / "files").iterdir()) == ["0000-a.png", "0001-b.png", "0002-a.png"]
    from PIL import Image

    with Image.open(tmp_path / "files" / "0000-a.png") as image:
        assert image.size == (16, 16)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_debug_shows_where_wherever_it_stands(tmp_path, place):
    words = ["info", str(tmp_path)]
    words.insert(place, "--debug")
    with pytest.raises(ValueError, match="holds neither"):
        main(words)


def test_a_prompt_may_be_longer_than_a_file_name(refused, checkpoint):
    words = "generate", "a red circle above a blue square " * 20, "--model", checkpoint
    assert "takes no text; leave the prompt out" in refused(*words)


def test_a_folder_given_as_the_prompt_is_told_apart(refused, checkpoint):
    assert f"is a folder, not a prompt; draw with its checkpoint by --model {checkpoint}" in refused(
        "generate", checkpoint
    )


def test_a_model_that_is_nowhere_is_said(refused):
    assert "zebra: no such folder, and no shipped model of that name; shipped are:" in refused("info", "zebra")
    assert "zebra: no such folder" in refused("generate", "--model", "zebra")


def test_words_that_the_model_cannot_read_are_said(tmp_path, capsys):
    config = dataclasses.replace(TINY, text=TextConfig(length=4, width=8, depth=1, heads=2), save_every=100)
    pictures = Pictures(blobs().pixels, captions=("a bright square",) * 24)
    train(config, pictures, tmp_path / "run")
    words = ["generate", "--model", str(tmp_path / "run"), "--device", "cpu", "--steps", "3", "--count", "2"]
    for name, prompt in (("plain", []), ("square", ["a bright square"]), ("zebra", ["a striped zebra, bright bright"])):
        assert main([*words, *prompt, "--guidance", "3", "--out", str(tmp_path / f"{name}.png")]) == 0
    said = capsys.readouterr().err
    assert "Words that this model does not know: striped zebra ,. It knows: a bright square" in said
    assert "Only 4 words are read; left out: bright bright" in said
    assert len({(tmp_path / f"{name}.png").read_bytes() for name in ("plain", "square", "zebra")}) == 3
    assert main([*words, "--negative", "square"]) == 2
    assert "give a prompt too" in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run_training", interrupted)
    assert main(["train", "--out", "x"]) == 130
    assert capsys.readouterr().err.strip() == "ldm-edu: stopped; it goes on from its last save with --resume"


def test_ctrl_c_elsewhere_promises_nothing(monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(run_generate, "run_generate", interrupted)
    assert main(["generate", "x"]) == 130
    assert capsys.readouterr().err.strip() == "ldm-edu: stopped"


def test_the_version_is_shown(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"ldm_edu {ldm_edu.__version__}\n"


def test_help_shows_long_options_whole_in_a_narrow_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for name in ("--autoencoder-middle-attention / --no-autoencoder-middle-attention", "--fit-learning-rate <float>"):
        assert name in shown


def test_no_command_shows_the_help(capsys):
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert re.search(r"^  generate +Draw ", out, re.MULTILINE)
    assert err == ""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'sklearn'", name="sklearn"), "pip install scikit-learn"),
        (ModuleNotFoundError("No module named 'PIL.Image'", name="PIL.Image"), "package PIL: pip install pillow"),
        (ModuleNotFoundError("No module named 'tqdm'", name="tqdm"), "pip install tqdm"),
        (ModuleNotFoundError("No module named 'ldm_edu.x'", name="ldm_edu.x"), "unexpected ModuleNotFoundError"),
        (
            ModuleNotFoundError("No module named 'resource'", name="resource"),
            "this needs resource, a part of Python missing here, as some are on Windows; try Linux or macOS",
        ),
        (ImportError("libGL.so.1: cannot open shared object file"), "unexpected ImportError: libGL"),
        (
            torch.OutOfMemoryError("big"),
            "out of memory; use smaller pictures, a smaller model, or fewer at once by --batch",
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."), "out of memory; use"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (ZeroDivisionError("x"), "unexpected ZeroDivisionError: x; run again with --debug"),
    ],
)
def test_errors_are_explained(error, message):
    assert message in explain(error)


SHIPPED = ", ".join(shipped_models()) or "none yet"
NOWHERE = f"ldm-edu: absent: no such folder, and no shipped model of that name; shipped are: {SHIPPED}\n"
HIDDEN = "import sys; sys.modules['sklearn'] = None; from ldm_edu.cli import main; sys.exit(main(sys.argv[1:]))"


@pytest.mark.slow
def test_a_package_that_is_missing_is_one_line(tmp_path):
    code, out, err = finished(python("-c", HIDDEN, "train", "--out", tmp_path / "run", *options()))
    assert (code, out, err) == (2, "", "ldm-edu: this needs the package sklearn: pip install scikit-learn\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_module_is_the_command():
    code, out, err = finished(python("-m", "ldm_edu", "info", "absent"))
    assert (code, out, err) == (2, "", NOWHERE)
    code, out, err = finished(python("-m", "ldm_edu", "--debug", "info", "absent"))
    assert code == 1
    assert "Traceback" in err
    assert f"ValueError: {NOWHERE[9:]}" in err


@pytest.mark.parametrize("words", [["generate", "--help"], ["info", "digits-32"]])
@pytest.mark.parametrize("encoding", ["cp1252", "cp1251", "ascii"])
def test_a_stream_that_lacks_a_letter_gets_the_others(words, encoding):
    env = os.environ | {"PYTHONIOENCODING": encoding}
    done = subprocess.run([sys.executable, "-m", "ldm_edu", *words], cwd=ROOT, env=env, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout) > 500
