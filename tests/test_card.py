"""The card: where a checkpoint comes from and how good it is."""

import dataclasses
import json
from functools import partial

import pytest
import torch
from PIL import Image
from tiny import TINY, blobs

from ldm_edu import card, run, scores
from ldm_edu.card import card_text, overview, provenance, write_card
from ldm_edu.checkpoint import read_json
from ldm_edu.classifier import train_classifier
from ldm_edu.data.pictures import Pictures, mirrored, spread, to_float
from ldm_edu.latent import LatentDiffusion
from ldm_edu.plot import save_rows
from ldm_edu.schedule import cosine
from ldm_edu.scores import SCORES, Sampling, caption_scores, draw_samples, score
from ldm_edu.start import model_config_for


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return LatentDiffusion(model_config_for(TINY, blobs()), cosine(50)).eval()


@pytest.fixture(autouse=True)
def short_training(monkeypatch):
    """Sixty steps are enough to tell left from right."""
    monkeypatch.setattr(scores, "train_classifier", partial(train_classifier, steps=60))


def part(pictures, start, stop):
    return Pictures(pictures.pixels[start:stop], pictures.labels[start:stop], pictures.classes)


def test_samples_take_the_classes_in_turn_and_repeat(model):
    sampling = Sampling(count=5, steps=3)
    pictures, labels = draw_samples(model, sampling)
    assert labels.tolist() == [0, 1, 0, 1, 0]
    assert torch.equal(pictures, draw_samples(model, sampling)[0])
    assert not torch.equal(pictures, draw_samples(model, Sampling(count=5, steps=3, seed=1))[0])


@pytest.mark.parametrize(("size", "batch"), [(16, 64), (64, 64), (512, 7)])
def test_large_samples_are_drawn_in_smaller_batches(model, monkeypatch, size, batch):
    seen = []
    monkeypatch.setattr(model, "config", dataclasses.replace(model.config, size=size))
    monkeypatch.setattr(model, "generate", lambda count, batch, **options: seen.append(batch))
    draw_samples(model, Sampling(count=100, steps=3))
    assert seen == [batch]


def test_real_pictures_score_as_real_and_noise_does_not(model):
    every = blobs(120)
    train, held_out, more = part(every, 0, 60), part(every, 60, 90), part(every, 90, 120)
    good = score(model, to_float(more.pixels), more.labels, train, held_out)
    assert good.keys() == {k for k in SCORES if "obey" not in k and "unseen" not in k}
    assert good["held_out_accuracy"] > 0.95
    assert good["samples_accuracy"] > 0.95
    assert good["samples_classes"] == 2
    assert good["samples_copies"] == 0
    noise = torch.rand(30, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    bad = score(model, noise, more.labels, train, held_out)
    assert bad["samples_frechet"] > 3 * good["samples_frechet"]
    assert bad["samples_accuracy"] < 0.9
    assert bad["samples_nearest_median"] > good["samples_nearest_median"]
    assert score(model, to_float(train.pixels), train.labels, train, held_out)["samples_copies"] == 60


def test_samples_for_held_out_captions_are_scored_beside_the_others(model):
    every = blobs(90)
    train, held_out = part(every, 0, 60), part(every, 60, 90)
    noise = torch.rand(30, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    found = score(model, noise, None, train, held_out, to_float(train.pixels[:30]))
    assert found["unseen_nearest_median"] < 1e-3 < found["samples_nearest_median"]
    assert 3 * found["unseen_frechet"] < found["samples_frechet"]


def test_without_labels_and_with_one_held_out_picture_there_are_fewer_scores(model):
    every = blobs(30)
    bare = Pictures(every.pixels)
    samples = to_float(bare.pixels[:5])
    names = score(model, samples, None, bare, bare).keys()
    assert names == {k for k in SCORES if "nearest" in k or "copies" in k or "psnr" in k} - {"unseen_nearest_median"}
    names = score(model, samples, every.labels[:5], every, part(every, 0, 1)).keys()
    assert names == {k for k in SCORES if "frechet" not in k and "obey" not in k and "unseen" not in k}


def test_a_card_is_written_for_people_and_programs(tmp_path):
    content = {
        "name": "demo",
        "data": "digits",
        "credit": "Somebody's digits.",
        "pictures": 1500,
        "size": 32,
        "seed": 0,
        "latent_shape": [4, 8, 8],
        "parameters": {"unet": 1234567, "autoencoder": 0},
        "weights": "float16",
        "sampling": {"count": 5, "steps": 3, "guidance": 2.0, "seed": 0},
        "provenance": provenance("ldm-edu train --out demo", {"diffusion": 12.345}, torch.device("cpu")),
        "scores": dict.fromkeys(SCORES, 0.5),
    }
    write_card(tmp_path, content)
    assert json.loads((tmp_path / "card.json").read_text(encoding="utf-8")) == content
    text = (tmp_path / "CARD.md").read_text(encoding="utf-8")
    assert text == card_text(content)
    for words in (
        "# demo",
        "1,234,567 in the U-Net",
        "`ldm-edu train --out demo`",
        "diffusion 12.3.",
        "4×8×8",
        "seed 0. Somebody's digits.",
        "Stored as float16.",
        torch.__version__,
    ):
        assert words in text
    assert all(f"| {line} | 0.5 |" in text for line in SCORES.values())


@pytest.mark.parametrize("unseen", [None, torch.rand(8, 1, 16, 16)])
def test_the_picture_of_a_run_has_a_row_for_each_question(model, tmp_path, monkeypatch, unseen):
    shown = {}
    monkeypatch.setattr(card, "save_rows", lambda rows, *rest: (shown.update(rows), save_rows(rows, *rest)))
    training = blobs(9)
    samples = to_float(training.pixels)[[4, 2, 7]]
    held_out = blobs(3)
    overview(model, samples, unseen, training, held_out, tmp_path / "samples.png", columns=2)
    assert [len(v) for v in shown.values()] == ([3, 3, 3, 2] if unseen is None else [4, 4, 4, 2, 3, 2])
    torch.testing.assert_close(shown["In the training set nearest to the first row of these"], samples[:2])
    with Image.open(tmp_path / "samples.png") as image:
        image.load()
        assert image.format == "PNG"


def test_a_card_names_the_processes_where_there_were_several_and_the_precision_where_it_was_not_full():
    one, two, half = (
        provenance("x", {}, torch.device("cpu"), *how)["device"] for how in ((1, "no"), (2, "no"), (2, "bf16"))
    )
    assert "processes" not in one
    assert two == f"{one}, processes: 2"
    assert half == f"{two}, mixed precision: bf16"


@pytest.mark.slow
def test_captions_are_scored_by_the_exact_reader():
    from ldm_edu.data.load import scenes

    train, held_out = scenes(64, count=60), scenes(64, train=False)
    config = dataclasses.replace(TINY, data="scenes", size=64, latent=False)
    model = LatentDiffusion(model_config_for(config, train), cosine(50)).eval()
    sampling = Sampling(count=20, steps=2)
    drawn, _ = draw_samples(model, sampling, train.captions)
    unseen, _ = draw_samples(model, sampling, held_out.captions)
    assert drawn.shape == unseen.shape == (20, 3, 64, 64)
    got = caption_scores(model, drawn, unseen, train, held_out)
    assert got == {"captions_obeyed": 0.0, "held_out_captions_obeyed": 0.0}  # an untrained model draws noise
    real = caption_scores(model, to_float(train.pixels), to_float(held_out.pixels[spread(60, 1000)]), train, held_out)
    assert real == {"captions_obeyed": 1.0, "held_out_captions_obeyed": 1.0}
    mixed = caption_scores(model, to_float(train.pixels).flip(0), unseen, train, held_out)
    assert mixed["captions_obeyed"] < 0.2


def test_a_set_that_is_sorted_is_drawn_and_shown_in_all_its_parts(model, tmp_path, monkeypatch):
    assert spread(4, 10) == [0, 2, 5, 7]
    assert spread(5, 2) == [0, 1, 0, 1, 0]
    assert spread(3, 3) == [0, 1, 2]
    pixels = torch.arange(100, dtype=torch.uint8).view(100, 1, 1, 1).expand(100, 1, 16, 16)
    held_out, shown = Pictures(pixels, captions=tuple(map(str, range(100)))), {}
    monkeypatch.setattr(card, "save_rows", lambda rows, *rest: shown.update(rows))
    unseen = to_float(pixels[spread(50, 100)])  # a model that draws the held-out pictures themselves
    overview(model, torch.rand(9, 1, 16, 16), unseen, blobs(9), held_out, tmp_path / "x.png", columns=5)
    rows = list(shown.values())
    assert torch.equal(rows[0], rows[2])
    assert rows[0].mean((1, 2, 3)).diff().min() > 0.05  # spread over the whole set


@pytest.mark.slow
@pytest.mark.parametrize("flip", [False, True])
def test_a_copy_of_a_mirror_image_that_was_trained_on_is_a_copy(model, tmp_path, monkeypatch, flip):
    training, held_out = part(blobs(120), 0, 40), part(blobs(120), 40, 120)
    copies = to_float(mirrored(training).pixels[len(training) :])
    monkeypatch.setattr(run, "draw_samples", lambda *_: (copies, training.labels))
    model.save(tmp_path)
    origin = provenance("ldm-edu train", {}, torch.device("cpu"))
    run.write_scores(model, dataclasses.replace(TINY, data="shapes", flip=flip), tmp_path, training, held_out, origin)
    assert read_json(tmp_path / "card.json")["scores"]["samples_copies"] == (40 if flip else 0)
