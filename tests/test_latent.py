"""The whole model: configuration, drawing, files."""

import dataclasses
import json
import math

import pytest
import torch
from tiny import TINY, blobs
from torch import nn

from ldm_edu.checkpoint import CheckpointError, read_tensors, write_tensors
from ldm_edu.denoiser import make_denoiser
from ldm_edu.latent import LatentDiffusion
from ldm_edu.model_config import ModelConfig, read_config
from ldm_edu.nets.autoencoder import AutoencoderConfig
from ldm_edu.nets.unet import UNetConfig
from ldm_edu.samplers import ddim, prior_sample
from ldm_edu.schedule import cosine, straight, timesteps
from ldm_edu.start import model_config_for


def make(config=TINY, schedule=None, classes=2):
    """A model with random weights everywhere, the zero-initialised ones too."""
    model = LatentDiffusion(model_config_for(config, blobs(classes=classes)), schedule or cosine(50))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.5 if p.ndim == 1 else 1.5 / math.sqrt(p[0].numel())))
        if model.unet.classes is not None:
            model.unet.classes.weight.mul_(100)  # the label must show
        model.latent_mean.fill_(0.3)
        model.latent_std.fill_(1.7)
    return model.eval()


@pytest.fixture(scope="module")
def model():
    return make()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


LABELS = torch.tensor([0, 1, 1, 0, 1])


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "heun", "dpmpp_2m"])
def test_every_sampler_draws_and_the_seed_decides(model, sampler):
    def draw(seed):
        return model.generate(3, labels=LABELS[:3], steps=5, sampler=sampler, guidance=2.0, generator=seeded(seed))

    pictures = draw(1)
    assert pictures.shape == (3, 1, 16, 16)
    assert pictures.dtype == torch.float32
    assert pictures.abs().max() <= 1
    assert pictures.std() > 0.01
    assert torch.equal(pictures, draw(1))
    assert not torch.equal(pictures, draw(2))


@pytest.mark.parametrize("sampler", ["ddim", "heun", "dpmpp_2m"])
def test_without_noise_on_the_way_the_batch_does_not_matter(model, sampler):
    draws = [
        model.generate(5, labels=LABELS, steps=4, sampler=sampler, guidance=3.0, generator=seeded(), batch=batch)
        for batch in (1, 2, 5, 64)
    ]
    for other in draws[1:]:
        torch.testing.assert_close(other, draws[0], rtol=1e-4, atol=1e-4)


def test_ddpm_is_ddim_with_eta_1_and_not_with_eta_0(model):
    def draw(**options):
        return model.generate(2, steps=5, generator=seeded(), **options)

    assert torch.equal(draw(sampler="ddpm"), draw(sampler="ddim", eta=1.0))
    assert not torch.allclose(draw(sampler="ddpm"), draw(sampler="ddim"))


def test_drawing_is_the_sampler_then_the_decoder(model):
    ts = timesteps(model.schedule, 6)
    x = prior_sample((2, 2, 4, 4), ts[0], model.schedule, generator=seeded())
    labels = torch.tensor([0, 1])
    denoise = make_denoiser(
        model.unet, model.schedule, "v", cond=labels, uncond=torch.tensor([2, 2]), guidance=2.5, clip=None
    )
    with torch.no_grad():
        *_, latent = ddim(denoise, x, ts, model.schedule)
        expected = model.autoencoder.decode(latent * 1.7 + 0.3).clamp(-1, 1)
    drawn = model.generate(2, labels=labels, steps=6, guidance=2.5, generator=seeded())
    torch.testing.assert_close(drawn, expected)


def test_guidance_0_ignores_the_label_and_1_does_not(model):
    def draw(labels, guidance):
        return model.generate(2, labels=labels, steps=4, guidance=guidance, generator=seeded())

    a, b = torch.tensor([0, 0]), torch.tensor([1, 1])
    torch.testing.assert_close(draw(a, 0.0), draw(b, 0.0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(draw(a, 0.0), draw(None, 1.0), rtol=1e-4, atol=1e-4)
    assert (draw(a, 1.0) - draw(b, 1.0)).abs().max() > 0.01
    assert (draw(a, 4.0) - draw(a, 1.0)).abs().max() > 0.01


def test_pixels_need_no_autoencoder():
    model = make(dataclasses.replace(TINY, latent=False), straight(20), classes=0)
    x = torch.rand(2, 1, 16, 16)
    assert model.encode(x) is x
    assert model.decode(x) is x
    assert model.generate(2, steps=3, generator=seeded()).shape == (2, 1, 16, 16)


def test_encode_and_decode_are_the_normalised_autoencoder(model):
    x = torch.rand(2, 1, 16, 16) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(model.encode(x) * 1.7 + 0.3, model.autoencoder.encode(x).mean)
        torch.testing.assert_close(
            model.decode(model.encode(x)), model.autoencoder.decode(model.autoencoder.encode(x).mean)
        )


@pytest.mark.parametrize("latent", [True, False])
def test_encode_and_decode_take_any_floats_and_no_bytes(latent):
    model = make(dataclasses.replace(TINY, latent=latent), classes=0)
    pictures = torch.rand(2, 1, 16, 16) * 2 - 1
    codes = model.encode(pictures).detach()
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        for call, x in ((model.encode, pictures), (model.decode, codes)):
            assert torch.equal(call(x.to(dtype)), call(x.to(dtype).float()))
    bytes_ = torch.full((2, 1, 16, 16), 200, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"pictures must be floats, got torch\.uint8: pictures are in \[-1, 1\]"):
        model.encode(bytes_)
    with pytest.raises(ValueError, match=r"latent must be floats, got torch\.int64"):
        model.decode(torch.ones_like(codes, dtype=torch.int64))


@pytest.mark.parametrize("latent", [True, False])
def test_encode_and_decode_refuse_other_shapes(latent):
    model = make(dataclasses.replace(TINY, latent=latent), classes=0)
    channels = 2 if latent else 1
    for shape in ((2, 3, 16, 16), (1, 16, 16)):
        with pytest.raises(ValueError, match=r"pictures must have shape \(B, 1, h, w\), got"):
            model.encode(torch.zeros(shape))
    for shape in ((2, 3 - channels, 16, 16), (channels, 4, 4)):
        with pytest.raises(ValueError, match=rf"latent must have shape \(B, {channels}, h, w\), got"):
            model.decode(torch.zeros(shape))


def test_after_step_sees_every_step_and_may_change_it(model):
    seen = []

    def zero(x, s):
        seen.append(s)
        return torch.zeros_like(x)

    pictures = model.generate(3, steps=4, generator=seeded(), after_step=zero, batch=2)
    assert seen == timesteps(model.schedule, 4)[1:] * 2
    torch.testing.assert_close(pictures[0], pictures[2], rtol=1e-4, atol=1e-4)
    assert (pictures[0] - model.generate(1, steps=4, generator=seeded())[0]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"count": 0}, "count must be a whole number, 1 or more, got 0"),
        ({"count": 2.5}, "count must be a whole number, 1 or more, got 2.5"),
        ({"batch": 0}, "batch must be a whole number, 1 or more, got 0"),
        ({"sampler": "euler"}, 'sampler must be "ddim", "ddpm", "heun" or "dpmpp_2m", got \'euler\''),
        ({"sampler": "heun", "eta": 0.5}, 'eta is an option of "ddim"; "heun" has none'),
        ({"eta": 1.5}, r"eta"),
        ({"steps": 0}, "steps must lie between 1 and"),
        ({"steps": 51}, "steps must lie between 1 and"),
        ({"guidance": 2.0}, "needs labels"),
        ({"labels": torch.tensor([0])}, r"labels must have shape \(2,\)"),
        ({"labels": torch.tensor([0, 3])}, "labels must be int64 in"),
        ({"labels": torch.tensor([0.0, 1.0])}, "int64"),
        ({"labels": torch.tensor([0, 1], dtype=torch.int32)}, r"labels must be int64 .* got torch.int32 \[0, 1\]"),
        ({"labels": torch.tensor([0, 1]), "guidance": math.nan}, "guidance must be a finite number, got nan"),
        ({"labels": torch.tensor([0, 1]), "interval": (5, 9)}, r"interval = \(5, 9\) counts only with guidance"),
        ({"labels": [0]}, r"labels must have shape \(2,\)"),
    ],
)
def test_what_does_not_fit_is_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.generate(**({"count": 2, "steps": 3} | options))


def test_no_labels_for_no_pictures(model):
    cond, uncond = model.conditions(0, torch.zeros(0, dtype=torch.int64))
    assert cond.shape == uncond.shape == (0,)


def test_labels_for_a_model_without_classes_are_refused():
    model = make(dataclasses.replace(TINY, conditional=False))
    with pytest.raises(ValueError, match="has no classes; leave labels out"):
        model.generate(1, labels=torch.tensor([0]))


def test_a_saved_model_draws_the_same(model, tmp_path):
    model.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    torch.manual_seed(3)
    before = torch.get_rng_state()
    again = LatentDiffusion.load(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.config == model.config
    assert not again.training
    assert torch.equal(again.schedule.signal, model.schedule.signal)
    draws = [m.generate(2, labels=LABELS[:2], steps=4, guidance=2.0, generator=seeded()) for m in (model, again)]
    assert torch.equal(*draws)


@pytest.fixture
def saved(model, tmp_path):
    model.save(tmp_path)
    return tmp_path


def test_a_newer_format_is_refused(saved):
    config = json.loads((saved / "config.json").read_text("utf-8"))
    (saved / "config.json").write_text(json.dumps(config | {"format": 2}), "utf-8")
    with pytest.raises(CheckpointError, match="checkpoint format 2, this version reads 1"):
        LatentDiffusion.load(saved)


@pytest.mark.parametrize("part", ["unet", "autoencoder", "model"])
def test_a_configuration_with_values_of_another_type_is_refused(saved, part):
    config = json.loads((saved / "config.json").read_text("utf-8"))
    entry = config["model"] if part == "model" else config["model"][part]
    name = "size" if part == "model" else "width"
    entry[name] = float(entry[name])
    (saved / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(CheckpointError, match=rf"not a configuration of ours \({name} must be a whole number, got"):
        read_config(saved)


@pytest.mark.parametrize(
    "model_entry", [None, 3, {}, {"unet": {}, "autoencoder": None}, {"unet": {"warp": 1}}, {"unet": {"width": "wide"}}]
)
def test_a_foreign_configuration_is_refused(saved, model_entry):
    (saved / "config.json").write_text(json.dumps({"format": 1, "model": model_entry}), "utf-8")
    with pytest.raises(CheckpointError, match=r"config\.json: not a configuration of ours"):
        read_config(saved)


def test_missing_files_are_named(saved):
    (saved / "model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"no model\.safetensors yet; .* continue it with: ldm-edu train --resume"
    ):
        LatentDiffusion.load(saved)
    (saved / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config\.json: no such file"):
        LatentDiffusion.load(saved)


def test_weights_of_another_model_are_refused(saved):
    path = saved / "model.safetensors"
    good, _ = read_tensors(path)
    cases = {
        "no valid schedule": nn.Linear(2, 2).state_dict(),
        "unet.conv_in.weight has shape": good | {"unet.conv_in.weight": torch.zeros(1, 2, 3, 3)},
        "latent_std is missing": {k: v for k, v in good.items() if k != "latent_std"},
        "more.weight is unexpected": good | {"more.weight": torch.zeros(1)},
        "no valid schedule inside": good | {"schedule.signal": torch.zeros(3, dtype=torch.float64)},
    }
    for message, tensors in cases.items():
        write_tensors(path, tensors)
        with pytest.raises(CheckpointError, match=message.replace(".", r"\.")):
            LatentDiffusion.load(saved)


@pytest.mark.parametrize("part", [0, 1, 7, 8, 100, 0.5, -1])
def test_weights_cut_short_are_refused(saved, part):
    path = saved / "model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part) if isinstance(part, float) else part])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: damaged"):
        LatentDiffusion.load(saved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 18}, "size 18 must be a multiple of 4"),
        ({"channels": 3}, "pictures have 3 channels, the autoencoder takes 1"),
        ({"classes": ("a",)}, "knows 2 classes, but 1 names"),
        ({"target": "noise"}, "target must be"),
        ({"autoencoder": None}, "must take and give 1 channels, got 2 and 2"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message):
    good = ModelConfig(
        16,
        1,
        UNetConfig(in_channels=2, out_channels=2, multipliers=(1,), num_classes=2),
        AutoencoderConfig(in_channels=1, latent_channels=2, multipliers=(1, 2), stem=2),
        classes=("a", "b"),
    )
    assert good.factor == 4
    assert good.latent_shape == (2, 4, 4)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(good, **change)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_networks_of_another_precision_draw_nearly_the_same(dtype):
    torch.manual_seed(0)
    model = LatentDiffusion(model_config_for(TINY, blobs()), cosine(50)).eval()

    def draw():
        return model.generate(2, steps=3, generator=torch.Generator().manual_seed(0))

    plain = draw()
    model.to(dtype)
    assert draw().dtype == torch.float32
    assert (draw() - plain).abs().max() < 0.1
