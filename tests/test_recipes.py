"""The shipped recipes: they are read, they fit a shipped model's size, and they train, cut down."""

import dataclasses
import json

import pytest
import torch
from tiny import FIT, TINY, blobs

from ldm_edu import run
from ldm_edu.cli import main
from ldm_edu.config import TrainConfig
from ldm_edu.data.load import credit_for
from ldm_edu.data.pictures import Pictures
from ldm_edu.latent import LatentDiffusion
from ldm_edu.recipes import read_recipe, shipped_recipes
from ldm_edu.run_folder import claim, flatten, read_settings, replace_flat
from ldm_edu.schedule import cosine
from ldm_edu.start import model_config_for
from ldm_edu.train import train

WEIGHTS = 16 * 2**20 // 2  # of a model of 16 MiB in half precision
WORDS = {"scenes": 40, "emoji64_permissive.npz": 1400}  # a little more than each set has
MINIATURE = {
    "device": "cpu",
    "compile": False,
    "T": 50,
    "autoencoder.width": 16,
    "unet.width": 16,
    "text.width": 16,
    "save_every": 2,
    **{f"{part}.{key}": value for part in ("autoencoder_fit", "fit") for key, value in (("steps", 2), ("batch", 4))},
}


def config_of(name, **changes):
    return replace_flat(TrainConfig(), read_recipe(name) | changes)


def pictures_for(config, words=3):
    """Made pictures in the form of a recipe's set: with captions, or with classes."""
    if config.data == "fashion_mnist":
        return blobs(size=config.size)
    pictures = blobs(size=config.size, channels=3)
    said = [" ".join(f"word{(i + k) % words}" for k in range(words)) for i in range(len(pictures))]
    return Pictures(pictures.pixels, captions=tuple(said))


def test_there_is_one_for_each_model_and_device():
    assert shipped_recipes() == ["emoji-64-h100", "emoji-64-t4", "fashion-32-h100", "shapes-64-h100", "shapes-64-t4"]


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_is_for_its_device_and_its_model_small_enough_to_ship(name):
    config = config_of(name)
    assert (config.device, config.precision) == ("cuda", "fp16" if name.endswith("t4") else "bf16")
    assert config.size == int(name.split("-")[1])
    assert credit_for(config.data)
    assert "user's own" not in credit_for(config.data)
    model_config, schedule = model_config_for(config, pictures_for(config, WORDS.get(config.data, 0))), cosine(10)
    with torch.device("meta"):
        model = LatentDiffusion(model_config, schedule)
    weights = sum(t.numel() for t in model.state_dict().values())
    assert 0.5 * WEIGHTS < weights < 0.99 * WEIGHTS
    assert model.config.factor == 4


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_trains_in_miniature(name, tmp_path):
    config = config_of(name, **MINIATURE, precision="no" if name.endswith("t4") else "bf16")
    train(config, pictures_for(config), tmp_path)
    assert read_settings(tmp_path, TrainConfig()) == config
    model = LatentDiffusion.load(tmp_path)
    assert (model.text is None) == (config.data == "fashion_mnist")
    drawn = model.generate(1, prompts=["word1"] if model.text else None, steps=2)
    assert drawn.shape == (1, model.config.channels, config.size, config.size)
    assert drawn.isfinite().all()


@pytest.fixture
def given(monkeypatch):
    """What the training gets for a typed command."""
    got = {}
    monkeypatch.setattr(run, "run_training", lambda given, out, recipe, resume: got.update(recipe | given))

    def type_in(*words):
        got.clear()
        assert main(["train", "--out", "x", *map(str, words)]) == 0
        return dict(got)

    return type_in


def test_options_beside_a_recipe_win(given):
    recipe = read_recipe("shapes-64-h100")
    assert given("--config", "shapes-64-h100") == recipe
    got = given("--config", "shapes-64-h100", "--fit-steps", "7", "--no-compile", "--unet-multipliers", "1")
    assert got == recipe | {"fit.steps": 7, "compile": False, "unet.multipliers": (1,)}
    assert given("--fit-steps", "7") == {"fit.steps": 7}


def test_the_settings_of_a_run_are_a_recipe(given, tmp_path):
    config = dataclasses.replace(TINY, fit=dataclasses.replace(FIT, learning_rate=1), credit="Ann, CC0")
    claim(tmp_path, config)
    assert replace_flat(TrainConfig(), given("--config", tmp_path / "train.json")) == config
    assert set(read_recipe(tmp_path / "train.json")) == set(flatten(config))


def test_a_file_on_disk_goes_before_a_name(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes-64-t4").write_text('{"size": 16}')
    assert given("--config", "shapes-64-t4") == {"size": 16}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"unet.wdth": 64}', "there is no setting 'unet.wdth'; is unet.width meant?"),
        ('{"warp": 9}', "there is no setting 'warp'"),
        ('{"unet": {"width": 64}}', "there is no setting 'unet'"),
        ('{"size": "64"}', "size must be a whole number, got '64'"),
        ('{"size": 64.5}', "size must be a whole number, got 64.5"),
        ('{"size": true}', "size must be a whole number, got True"),
        ('{"size": null}', "size must be a whole number, got None"),
        ('{"l1": "much"}', "l1 must be a number, got 'much'"),
        ('{"compile": 1}', "compile must be true or false, got 1"),
        ('{"data": 3}', "data must be text, got 3"),
        ('{"precision": "fp8"}', "precision must be one of auto, no, fp16, bf16, got 'fp8'"),
        ('{"precision": ["no"]}', "precision must be one of auto, no, fp16, bf16, got ['no']"),
        ('{"unet.multipliers": 2}', "unet.multipliers must be a list, each a whole number, got 2"),
        ('{"unet.multipliers": [1, "2"]}', "unet.multipliers must be a list, each a whole number, got [1, '2']"),
        ('{"unet.heads": "four"}', "unet.heads must be a whole number or null, got 'four'"),
        ('{"size": 64', "damaged or not JSON"),
        ("[1]", "expected a JSON object, got list"),
        ("", "damaged or not JSON"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_line(tmp_path, capsys, content, message):
    (tmp_path / "mine.json").write_text(content, "utf-8")
    assert main(["train", "--out", str(tmp_path / "run"), "--config", str(tmp_path / "mine.json")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"ldm-edu: {tmp_path / 'mine.json'}: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_numbers_and_nothing_are_taken_as_they_are_meant(tmp_path):
    content = {"l1": 1, "unet.heads": None, "unet.head_dim": 8, "unet.attention": [], "text.words": ["a"]}
    (tmp_path / "mine.json").write_text(json.dumps(content), "utf-8")
    assert read_recipe(tmp_path / "mine.json") == content


def test_a_recipe_that_is_nowhere_is_said():
    with pytest.raises(ValueError, match=r"zebra: no such file, and no shipped recipe .* shipped are: emoji-64-h100, "):
        read_recipe("zebra")
