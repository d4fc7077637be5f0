"""The models that come with the package."""

import pytest
import torch

from ldm_edu.checkpoint import read_json
from ldm_edu.cli import main
from ldm_edu.latent import LatentDiffusion
from ldm_edu.pretrained import DEFAULT_MODEL, SHIPPED, find_model, shipped_models
from ldm_edu.sweep import sweep

MEBIBYTES = 16  # a shipped model's size at most


def test_there_are_some_and_one_is_the_default(tmp_path, capsys):
    assert {"digits-32", DEFAULT_MODEL} <= set(shipped_models())
    assert main(["generate", "--steps", "2", "--count", "1", "--out", str(tmp_path / "x.png")]) == 0
    assert capsys.readouterr().out == f"1 picture written to {tmp_path / 'x.png'}\n"


@pytest.mark.parametrize("name", shipped_models())
def test_a_shipped_model_is_small_whole_and_says_where_it_comes_from(name):
    folder = find_model(name)
    assert folder == SHIPPED / name
    assert {p.name for p in folder.iterdir()} - {"sweep.json"} == {
        "CARD.md", "card.json", "config.json", "model.safetensors", "samples.png",
    }  # fmt: skip
    assert (folder / "model.safetensors").stat().st_size <= MEBIBYTES * 2**20
    card = read_json(folder / "card.json")
    assert card["name"] == name
    assert card["credit"]
    assert card["scores"]
    assert card["provenance"]["commit"]
    assert "dirty" not in card["provenance"]["commit"]


@pytest.mark.parametrize("name", shipped_models())
def test_a_shipped_model_draws(name):
    model = LatentDiffusion.load(find_model(name))
    prompts = ["a large red circle", "a small blue star on a white background"] if model.text else None
    pictures = model.generate(2, prompts=prompts, steps=5, generator=torch.Generator().manual_seed(0))
    assert pictures.shape == (2, model.config.channels, model.config.size, model.config.size)
    assert pictures.std() > 0.1


def test_the_table_of_guidance_and_steps_is_the_shipped_models_own():
    table = read_json(find_model("shapes-64") / "sweep.json")
    assert table["weights"] == read_json(find_model("shapes-64") / "card.json")["weights"]
    assert {(p["guidance"], p["steps"]) for p in table["points"]} >= {(3.0, n) for n in (5, 10, 25, 50)}
    model = LatentDiffusion.load(find_model("shapes-64"))
    (point,) = sweep(model, [3.0], [5], count=table["count"], sampler=table["sampler"], seed=table["seed"])
    stored = next(p for p in table["points"] if (p["guidance"], p["steps"]) == (3.0, 5))
    assert point.seen == pytest.approx(stored["seen"], abs=0.05)  # rounding may turn a picture at the reader's edge
    assert point.unseen == pytest.approx(stored["unseen"], abs=0.05)


def test_a_folder_on_disk_goes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-32").mkdir()
    assert find_model("digits-32").resolve() == tmp_path / "digits-32"


def test_neither_folder_nor_shipped_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"zebra: no such folder, .*shipped are: .*digits-32"):
        find_model("zebra")
