"""Captions obeyed over guidance and steps: counted right, refused where it means nothing, stored as printed."""

import json
from types import SimpleNamespace

import pytest
import torch

from ldm_edu.cli import main
from ldm_edu.data.shapes import draw, is_held_out, parse, sample_scenes
from ldm_edu.latent import LatentDiffusion
from ldm_edu.model_config import ModelConfig
from ldm_edu.nets.text import TextConfig
from ldm_edu.nets.unet import UNetConfig
from ldm_edu.run_sweep import run_sweep
from ldm_edu.schedule import cosine
from ldm_edu.sweep import fresh_captions, sweep


def a_model(generate, T=1000):
    """What `sweep` sees of a model: that it reads text, its schedule, and how it draws."""
    return SimpleNamespace(text=object(), schedule=cosine(T), generate=generate)


def painter(honest):
    """A generate that paints what the first captions say, as many as `honest(guidance, steps)`, and black otherwise."""

    def generate(count, *, prompts, steps, guidance, generator, after_step, **_):
        after_step(None, 0)
        wanted = parse(prompts)
        scenes = sample_scenes(20_000, generator=torch.Generator().manual_seed(0))
        pictures = torch.full((count, 3, 64, 64), -1.0)
        for i in range(honest(guidance, steps)):
            fits = torch.ones(len(scenes), dtype=torch.bool)
            for factor in ("what", "colour", "size", "place", "relation", "background"):
                said = getattr(wanted, factor)[i]
                same = getattr(scenes, factor) == said
                free = said == -1
                if factor in ("what", "colour"):
                    free = torch.zeros_like(free)  # one object is not two
                same = same | free
                fits &= same.all(1) if same.ndim == 2 else same
            pictures[i] = draw(scenes[fits.nonzero()[:1, 0]], 64)[0] if fits.any() else pictures[i]
        return pictures

    return generate


def test_the_share_is_what_the_pictures_obey():
    drawn = []

    def generate(count, *, prompts, steps, guidance, **_):
        drawn.append((guidance, steps, tuple(prompts)))
        return torch.full((count, 3, 64, 64), -1.0)

    points = list(sweep(a_model(generate), [1.0, 3.0], [5, 10], count=4))
    assert [(p.guidance, p.steps) for p in points] == [(1.0, 5), (1.0, 10), (3.0, 5), (3.0, 10)]
    assert all(p.seen == p.unseen == 0 for p in points)  # empty pictures obey no caption
    assert len({d[2] for d in drawn}) == 2  # the same captions at every setting: one set seen, one unseen


def test_obeyed_pictures_count():
    called = []
    model = a_model(painter(lambda guidance, steps: 6 if guidance == 3 else 3))
    points = list(sweep(model, [1, 3], [5], count=6, after_step=lambda: called.append(1)))
    assert points[0].seen <= 0.5 < points[1].seen
    assert len(called) == 4


def test_the_captions_are_new_and_held_out_ones_are_held_out():
    said = fresh_captions(50, seed=1)
    assert said == fresh_captions(50, seed=1) != fresh_captions(50, seed=2)
    assert is_held_out(parse(said["unseen"])).all()
    assert not is_held_out(parse(said["seen"])).any()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(guidances=[]), "one or more"),
        (dict(guidances=[float("nan")]), "one or more"),
        (dict(steps=[]), "one or more"),
        (dict(steps=[5000]), "5000"),
        (dict(count=0), "count"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_drawn(options, words):
    def generate(*_, **__):
        raise AssertionError("drew")

    settings = dict(guidances=[1.0], steps=[5], count=2) | options
    with pytest.raises(ValueError, match=words):
        list(sweep(a_model(generate), settings["guidances"], settings["steps"], count=settings["count"]))


def test_a_table_that_cannot_be_written_is_told_before_the_drawing(tmp_path, capsys):
    for write, words in ((tmp_path, "a folder has this name"), (tmp_path / "none" / "x.json", "no such folder")):
        with pytest.raises(ValueError, match=words):
            run_sweep("shapes-64", [1.0], [2], count=1, sampler="ddim", seed=0, device="cpu", write=write)
    with pytest.raises(ValueError, match="steps"):
        run_sweep("shapes-64", [1.0], [2000], count=1, sampler="ddim", seed=0, device="cpu")
    assert capsys.readouterr().out == ""


def test_a_model_without_text_is_refused():
    model = LatentDiffusion(ModelConfig(16, 3, UNetConfig(in_channels=3, out_channels=3, width=8)), cosine(20))
    with pytest.raises(ValueError, match="no text"):
        list(sweep(model, [1.0], [5]))


def test_the_command_prints_and_stores_the_table(tmp_path, capsys):
    text = TextConfig(words=("a", "red", "circle"), length=8, width=8, depth=0, heads=2)
    unet = UNetConfig(in_channels=3, out_channels=3, width=8, multipliers=(1,), heads=2, stem=4, context_dim=8)
    LatentDiffusion(ModelConfig(32, 3, unet, text=text), cosine(50)).save(tmp_path / "model")
    table = tmp_path / "sweep.json"
    (tmp_path / "model" / "card.json").write_text("{}")  # says nothing of the data: the reader tries
    asked = ["sweep", str(tmp_path / "model"), "--guidance", "1,2.5", "--steps", "2", "--count", "3"]
    assert main([*asked, "--write", str(table)]) == 0
    printed = capsys.readouterr().out.splitlines()
    stored = json.loads(table.read_text("utf-8"))
    assert stored["count"] == 3
    assert [p["guidance"] for p in stored["points"]] == [1.0, 2.5]
    assert len(printed) == 3
    assert printed[2].split()[:2] == ["2.5", "2"]
    assert main([*asked, "--write", str(tmp_path / "no" / "sweep.json")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["sweep", "digits-32"]) == 2
    assert "digits" in capsys.readouterr().err
    assert main([*asked, "--guidance", "one"]) == 2
    assert "not a list" in capsys.readouterr().err
