"""LPIPS as a loss, with a VGG-16 of random weights where its trained ones would lie: no network is needed."""

import dataclasses
from pathlib import Path

import pytest
import torch
from tiny import TINY, blobs, weights

from ldm_edu.cli import main
from ldm_edu.nets.autoencoder import Autoencoder, AutoencoderConfig
from ldm_edu.objectives import AutoencoderObjective
from ldm_edu.perceptual import lpips
from ldm_edu.train import train


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder for TORCH_HOME with VGG's file in it. Its linear layers, which nobody reads, are stored as one zero."""
    from torchvision.models import VGG16_Weights, vgg16

    home = tmp_path_factory.mktemp("torch")
    with torch.device("meta"):
        shapes = vgg16().state_dict()
    generator = torch.Generator().manual_seed(0)
    state = {
        name: torch.randn(t.shape, generator=generator) * (0.1 if t.ndim == 1 else (2 / t[0].numel()) ** 0.5)
        if name.startswith("features")
        else torch.zeros(()).expand(t.shape)
        for name, t in shapes.items()
    }
    path = home / "hub" / "checkpoints" / Path(VGG16_Weights.DEFAULT.url).name
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    return home


@pytest.fixture
def home(cache, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(cache))


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch"


def pair(channels=3, size=32):
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.rand(2, channels, size, size, generator=generator) * 2 - 1 for _ in range(2))


def test_it_is_the_distance_of_torchmetrics(home):
    from torchmetrics.functional.image import learned_perceptual_image_patch_similarity

    a, b = pair()
    before = torch.get_rng_state()
    distance = lpips()
    assert torch.equal(torch.get_rng_state(), before)
    theirs = learned_perceptual_image_patch_similarity(a, b, net_type="vgg")
    torch.testing.assert_close(distance(a, b).mean(), theirs)
    assert distance(a, b).shape == (2,)
    assert (distance(a, b) > 0.01).all()
    torch.testing.assert_close(distance(a, a), torch.zeros(2))


def test_it_goes_down_along_its_gradient_and_trains_nothing_of_its_own(home):
    distance = lpips()
    a, b = pair(size=16)
    a = (1.2 * a).requires_grad_(True)  # a reconstruction may pass beyond [-1, 1]
    value = distance(a, b).mean()
    value.backward()
    with torch.no_grad():
        assert distance(a - 0.5 * a.grad / a.grad.norm(), b).mean() < value


def test_grey_is_three_equal_colours(home):
    distance = lpips()
    a, b = pair(channels=1)
    torch.testing.assert_close(distance(a, b), distance(a.expand(-1, 3, -1, -1), b.expand(-1, 3, -1, -1)))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 16, 16), r"must be \(B, 1 or 3, H, W\), .* got \(1, 2, 16, 16\)"),
        (torch.zeros(1, 3, 16, 15), torch.zeros(1, 3, 16, 15), r"H and W 16 or more, got \(1, 3, 16, 15\)"),
        (torch.zeros(3, 16, 16), torch.zeros(3, 16, 16), r"must be \(B, 1 or 3, H, W\)"),
        (torch.zeros(2, 3, 16, 16), torch.zeros(1, 3, 16, 16), r"one shape, got \(2, 3, 16, 16\) and \(1, 3, 16, 16\)"),
        (torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16), "one shape"),
        (torch.zeros(1, 3, 16, 16).byte(), torch.zeros(1, 3, 16, 16), r"a must hold floats .*, got torch\.uint8"),
    ],
)
def test_what_it_cannot_compare_is_refused(home, a, b, message):
    with pytest.raises(ValueError, match=message):
        lpips()(a, b)


def test_floats_of_any_width_are_compared(home):
    a, b = pair(size=16)
    torch.testing.assert_close(lpips()(a.double(), b.half()), lpips()(a, b), rtol=1e-2, atol=1e-3)


def test_a_weight_without_a_distance_is_refused():
    with pytest.raises(ValueError, match=r"perceptual = 1\.0 weighs a distance: give one, such as lpips\(\)"):
        AutoencoderObjective(Autoencoder(AutoencoderConfig()), 0.1, 0.0, perceptual=1.0)


def test_an_autoencoder_is_trained_with_it(home, tmp_path):
    config = dataclasses.replace(TINY, save_every=100)
    train(config, blobs(), tmp_path / "plain")
    train(dataclasses.replace(config, perceptual=1.0), blobs(), tmp_path / "with")
    plain, other = weights(tmp_path / "plain"), weights(tmp_path / "with")
    assert plain.keys() == other.keys()  # VGG is not saved
    assert not torch.equal(plain["autoencoder.decoder.conv_out.weight"], other["autoencoder.decoder.conv_out.weight"])


def test_weights_that_are_not_there_are_one_sentence_and_nothing_is_fetched(nowhere, tmp_path, capsys):
    with pytest.raises(
        ValueError, match=r"needs VGG's weights, and .*vgg16-\w+\.pth is not there; allow .* --download"
    ):
        lpips()
    out = tmp_path / "run"
    assert main(["train", "--out", str(out), "--perceptual", "1", "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("ldm-edu: the perceptual loss needs VGG's weights")
    assert err.count("\n") == 1
    assert not out.exists()
    assert not nowhere.exists()
