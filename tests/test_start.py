"""Trainings that start from a trained model."""

import dataclasses
import json
import shutil

import pytest
import torch
from tiny import TINY, assert_same, blobs, weights

from ldm_edu import run
from ldm_edu.card import card_body
from ldm_edu.checkpoint import CheckpointError, read_json, write_json
from ldm_edu.config import TrainConfig
from ldm_edu.data.pictures import Pictures
from ldm_edu.latent import LatentDiffusion
from ldm_edu.pretrained import find_model
from ldm_edu.run_folder import replace_flat
from ldm_edu.start import follow, origin_of
from ldm_edu.train import Hooks, train


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder of a trained model."""
    out = tmp_path_factory.mktemp("first") / "run"
    train(TINY, blobs(), out)
    return out


def going_on(first, **changes):
    default = TrainConfig(fit=TINY.fit, save_every=TINY.save_every, device="cpu")
    return replace_flat(default, follow({"start_from": str(first)} | changes))


def test_the_settings_of_the_networks_follow_from_the_model(first):
    config = going_on(first)
    same = ("size", "latent", "conditional", "schedule", "T", "target", "unet", "autoencoder", "text", "fit")
    assert {k: getattr(config, k) for k in same} == {k: getattr(TINY, k) for k in same}
    assert follow({"size": 8}) == {"size": 8}


def test_it_goes_on_from_the_weights_and_keeps_autoencoder_and_statistics(first, tmp_path):
    other = blobs(30)
    gentle = {"fit.learning_rate": 1e-12, "fit.weight_decay": 0.0, "fit.ema": 0.0}
    train(going_on(first, **gentle), other, tmp_path / "gentle")
    before, after = weights(first), weights(tmp_path / "gentle")
    for name in before:
        torch.testing.assert_close(after[name], before[name], rtol=0, atol=1e-6)
    train(going_on(first), other, tmp_path / "more")
    more = weights(tmp_path / "more")
    for name, value in before.items():
        kept = name.startswith(("autoencoder.", "latent_", "schedule."))
        assert torch.equal(more[name], value) == kept or value.abs().max() == 0
    assert not (tmp_path / "more" / "autoencoder.state").exists()


def test_cut_and_resumed_it_gives_the_same_bits(first, tmp_path):
    def stop(step, model):
        raise KeyboardInterrupt

    config = going_on(first)
    train(config, blobs(), tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(config, blobs(), tmp_path / "cut", hooks=Hooks(samples=stop))
    train(config, blobs(), tmp_path / "cut", resume=True)
    assert_same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


def test_a_resumed_run_must_find_its_model_and_its_pictures_as_they_were(first, tmp_path):
    def stop(step, model):
        raise KeyboardInterrupt

    shutil.copytree(first, tmp_path / "first")
    config = going_on(tmp_path / "first")
    with pytest.raises(KeyboardInterrupt):
        train(config, blobs(), tmp_path / "cut", hooks=Hooks(samples=stop))
    with pytest.raises(CheckpointError, match=r"other settings: inputs\.pictures was 24, now 22$"):
        train(config, blobs(22), tmp_path / "cut", resume=True)
    shutil.rmtree(tmp_path / "first")
    train(dataclasses.replace(TINY, seed=1), blobs(), tmp_path / "first")
    with pytest.raises(CheckpointError, match=r"other settings: inputs\.autoencoder was \w{12}, now \w{12}$"):
        train(config, blobs(), tmp_path / "cut", resume=True)


def test_the_card_tells_of_a_model_that_is_gone_when_training_ends(first, tmp_path, monkeypatch):
    """Its scores, which take a classifier, are left out here."""
    start, out = tmp_path / "first", tmp_path / "run"
    shutil.copytree(first, start)
    write_json(start / "card.json", {"provenance": {"command": "by hand"}})
    monkeypatch.setattr(run, "load_both", lambda config: (blobs(), blobs(12)))
    monkeypatch.setattr(run, "write_samples", lambda *_: shutil.rmtree(start, ignore_errors=True))
    monkeypatch.setattr(run, "write_scores", lambda *given: write_json(out / "card.json", given[-1]))
    monkeypatch.setattr(run, "card_text", str)
    given = {"start_from": str(start), "fit.steps": 2, "device": "cpu", "precision": "no"}
    run.run_training(given, out, recipe={}, resume=False)
    assert not start.exists()
    assert read_json(out / "card.json")["start"] == {"name": str(start), "provenance": {"command": "by hand"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unet.width": 12}, "start_from keeps the networks of .*: unet.width is 16 there, not 12"),
        ({"unet.multipliers": [1, 4]}, r"unet.multipliers is \(1,\) there, not \[1, 4\]"),
        ({"T": 7}, "T is 50 there, not 7"),
        ({"adversarial": 1.0}, "--start-from trains none"),
    ],
)
def test_settings_that_contradict_the_model_are_refused(first, change, message):
    with pytest.raises(ValueError, match=message):
        going_on(first, **change)


def test_settings_made_by_hand_are_compared_too(first, tmp_path):
    config = dataclasses.replace(TINY, start_from=str(first), unet=dataclasses.replace(TINY.unet, width=32))
    with pytest.raises(ValueError, match=r"unet.width is 16 there, not 32"):
        train(config, blobs(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_pictures_that_do_not_fit_are_refused(first, tmp_path):
    pictures = blobs()
    for change, message in (
        ({"pixels": pictures.pixels.expand(-1, 3, -1, -1)}, "model of 1×16×16 pictures; these are 3×16×16"),
        ({"classes": ("x", "y")}, "knows the classes .*'a', 'b'.*'x', 'y'"),
    ):
        with pytest.raises(ValueError, match=message):
            train(going_on(first), dataclasses.replace(pictures, **change), tmp_path / "run")


def test_a_model_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match="no such folder, and no shipped model of that name"):
        follow({"start_from": str(tmp_path / "none")})
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"config\.json"):
        follow({"start_from": str(tmp_path / "empty")})


def test_a_schedule_of_someone_else_is_refused(first, tmp_path):
    folder = tmp_path / "odd"
    shutil.copytree(first, folder)
    model = LatentDiffusion.load(first)
    model.schedule.signal[1:] *= 0.99
    model.schedule.noise[:] = (1 - model.schedule.signal**2).sqrt()
    model.save(folder)
    with pytest.raises(ValueError, match="schedule is none of linear, scaled_linear, cosine, straight"):
        follow({"start_from": str(folder)})


def test_the_card_says_where_it_came_from(first, tmp_path):
    assert origin_of(str(first)) == {"name": str(first)}
    shipped = origin_of("shapes-64")
    card = read_json("ldm_edu/pretrained/shapes-64/card.json")
    assert shipped["provenance"] == card["provenance"]
    card["provenance"] = card["provenance"] | {"start": shipped}
    text = card_body(card)
    assert text.count(shipped["provenance"]["command"]) == 2
    assert f"Started from the model shapes-64 (data: scenes. {shipped['credit']})" in text
    card["provenance"]["start"] = {k: v for k, v in shipped.items() if k not in ("data", "credit")}
    assert "Started from the model shapes-64 (data: unknown.), made by" in card_body(card)
    card["provenance"] = card["provenance"] | {"start": {"name": "old"}}
    assert "Started from the model old, of which no card is known." in card_body(json.loads(json.dumps(card)))


def test_a_model_with_text_keeps_its_words(tmp_path):
    about = LatentDiffusion.load(find_model("shapes-64")).config
    captions = ("a red circle", "a zebra")
    pictures = Pictures(torch.zeros(2, 3, 64, 64, dtype=torch.uint8), captions=captions)
    model, _ = train(going_on("shapes-64", **{"fit.steps": 1, "fit.batch": 2}), pictures, tmp_path)
    assert model.config == about
    with pytest.raises(ValueError, match="shapes-64 is told captions, and digits has none"):
        train(going_on("shapes-64"), dataclasses.replace(pictures, captions=()), tmp_path / "other")
