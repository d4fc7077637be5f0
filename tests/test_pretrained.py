"""The models that come with the package."""

import pytest
import torch

from ldm_edu.checkpoint import read_json
from ldm_edu.cli import main
from ldm_edu.latent import LatentDiffusion
from ldm_edu.pretrained import SHIPPED, find_model, shipped_models

MEBIBYTES = 16  # a shipped model's size at most


def test_there_are_some_and_one_is_the_default(tmp_path, capsys):
    assert "digits-32" in shipped_models()
    assert main(["generate", "--steps", "2", "--count", "1", "--out", str(tmp_path / "x.png")]) == 0
    assert capsys.readouterr().out == f"1 picture written to {tmp_path / 'x.png'}\n"


@pytest.mark.parametrize("name", shipped_models())
def test_a_shipped_model_is_small_whole_and_says_where_it_comes_from(name):
    folder = find_model(name)
    assert folder == SHIPPED / name
    assert sorted(p.name for p in folder.iterdir()) == [
        "CARD.md", "card.json", "config.json", "model.safetensors", "samples.png",
    ]  # fmt: skip
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
    pictures = model.generate(2, steps=2, generator=torch.Generator().manual_seed(0))
    assert pictures.shape == (2, model.config.channels, model.config.size, model.config.size)
    assert pictures.std() > 0.1


def test_a_folder_on_disk_goes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "digits-32").mkdir()
    assert find_model("digits-32").resolve() == tmp_path / "digits-32"


def test_neither_folder_nor_shipped_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"zebra: no such folder, .*shipped are: .*digits-32"):
        find_model("zebra")
