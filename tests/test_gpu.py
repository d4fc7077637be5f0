"""What only a GPU can show. Most also run on the CPU in miniature, so that they are known to work when one is there."""

import dataclasses
import time
from pathlib import Path

import pytest
import torch
from tiny import TINY, blobs, captioned, finished, options, picture_folder, python, weights
from torch.nn.utils import parameters_to_vector

from ldm_edu.checkpoint import read_about, read_json
from ldm_edu.config import TrainConfig
from ldm_edu.data.pictures import Pictures
from ldm_edu.fit import FitConfig
from ldm_edu.latent import LatentDiffusion
from ldm_edu.nets.text import TextConfig
from ldm_edu.nets.unet import UNet, UNetConfig
from ldm_edu.schedule import cosine
from ldm_edu.start import model_config_for
from ldm_edu.train import Hooks, train

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=DEVICES)
def device(request):
    if request.param == "cuda":  # full float32: TF32 rounds products to ten bits, and convolutions use it by default
        torch.backends.cudnn.allow_tf32 = False
    yield request.param
    if request.param == "cuda":
        torch.backends.cudnn.allow_tf32 = True


def on(device: str, **changes) -> TrainConfig:
    return dataclasses.replace(TINY, device=device, **changes)


def model(seed: int = 0) -> LatentDiffusion:
    torch.manual_seed(seed)
    made = LatentDiffusion(model_config_for(TINY, blobs()), cosine(50))
    with torch.no_grad():
        for p in made.parameters():  # zero-initialised ends would hide a difference
            p.add_(0.05 * torch.randn_like(p))
    return made.eval()


def test_a_network_answers_as_on_the_cpu(device):
    torch.manual_seed(0)
    net = UNet(UNetConfig(width=32, multipliers=(1, 2), attention=(0,), context_dim=8, zero_init=False)).eval()
    x, t, context = torch.randn(2, 4, 8, 8), torch.tensor([3, 900]), torch.randn(2, 5, 8)
    with torch.no_grad():
        wanted = net(x, t, context)
        answer = net.to(device)(x.to(device), t.to(device), context.to(device)).cpu()
    assert (answer - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("sampler", ["ddim", "ddpm", "heun", "dpmpp_2m"])
def test_a_seed_draws_the_same_pictures_as_on_the_cpu(device, sampler):
    def draw(where):
        return model().to(where).generate(
            4, labels=torch.arange(4) % 2, steps=10, sampler=sampler, guidance=2.0,
            generator=torch.Generator().manual_seed(1),
        )  # fmt: skip

    assert (draw(device).cpu() - draw("cpu")).abs().max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
def test_every_precision_learns_without_a_nan(device, precision, optimizer, tmp_path):
    if device == "cpu" and precision == "fp16":
        pytest.skip("fp16 is refused on a CPU")
    losses = []
    hooks = Hooks(progress=lambda stage, now: losses.append(now.loss) if stage == "diffusion" else None)
    longer = FitConfig(steps=60, batch=16, warmup=5, optimizer=optimizer)
    config = on(device, precision=precision, fit=longer, autoencoder_fit=longer, save_every=100)
    trained, _ = train(config, blobs(), tmp_path / "run", hooks=hooks)
    assert losses[-1] < 0.9 * losses[0]
    assert all(p.isfinite().all() for p in trained.state_dict().values())


def test_compiled_networks_draw_the_same_pictures(device):
    if device == "cpu":
        pytest.skip("test_train.py compiles on the CPU")
    made = model().to(device)

    def draw():
        return made.generate(2, labels=torch.tensor([0, 1]), steps=5, generator=torch.Generator().manual_seed(1))

    plain = draw()
    made.unet.compile(dynamic=False)
    assert (draw() - plain).abs().max() < 1e-3


def whole_and_cut(config: TrainConfig, pictures: Pictures, folder: Path) -> tuple[LatentDiffusion, LatentDiffusion]:
    """The model of an unbroken run, and that of one which was cut after a save and went on."""

    class CutError(Exception):
        pass

    def cut(step, _):
        if step == 2:
            raise CutError

    whole, _ = train(config, pictures, folder / "whole")
    with pytest.raises(CutError):
        train(config, pictures, folder / "cut", hooks=Hooks(samples=cut))
    resumed, _ = train(config, pictures, folder / "cut", resume=True)
    return whole, resumed


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_resumed_training_ends_near_an_unbroken_one(device, optimizer, tmp_path):
    config = on(device, fit=dataclasses.replace(TINY.fit, optimizer=optimizer))
    whole, resumed = whole_and_cut(config, blobs(), tmp_path)
    for name, value in whole.state_dict().items():
        assert torch.allclose(resumed.state_dict()[name], value, rtol=1e-3, atol=1e-4), name


@pytest.mark.slow
def test_a_training_as_the_recipes_ask_for_goes_on_after_a_cut(device, tmp_path):
    muon = dataclasses.replace(TINY.fit, optimizer="muon")
    text = TextConfig(length=4, width=8, depth=1, heads=2)
    config = on(device, text=text, autoencoder_fit=muon, fit=muon, precision="bf16", compile=device == "cuda")
    whole, resumed = whole_and_cut(config, captioned(), tmp_path)
    torch.manual_seed(config.seed)
    untrained = LatentDiffusion(whole.config, cosine(50))
    start, wanted, ended = (parameters_to_vector(m.unet.parameters()).cpu() for m in (untrained, whole, resumed))
    # Muon makes small gradients large, and bf16's noise turns them: 0.1 of the way apart; lost weights would be 0.7.
    assert (ended - wanted).norm() < 0.5 * (wanted - start).norm()
    prompts = ["bright left", "right side"]
    assert resumed.generate(2, prompts=prompts, steps=4, guidance=2.0).isfinite().all()


@pytest.mark.gpu
@pytest.mark.slow
def test_a_killed_process_goes_on_from_its_last_save(tmp_path):
    longer = dataclasses.replace(TINY.fit, steps=200, optimizer="muon")
    words = options(on("cuda", precision="bf16", fit=longer, save_every=20))
    out, state = tmp_path / "run", tmp_path / "run" / "diffusion.state"
    folder = picture_folder(tmp_path / "pictures")  # without labels, since these are scored without a classifier
    process = python("-m", "ldm_edu", "train", "--out", out, "--data", folder, *words)
    while not state.exists() and process.poll() is None:
        time.sleep(0.001)
    process.kill()
    assert finished(process)[0] != 0
    saved = read_about(state)["step"]
    assert 20 <= saved < 200
    code, _, err = finished(python("-m", "ldm_edu", "train", "--out", out, "--resume"))
    assert code == 0, err
    assert f"diffusion: step {saved + 1} of 200," in err
    assert read_about(state)["step"] == 200
    assert read_json(out / "card.json")["provenance"]["device"] == torch.cuda.get_device_name()
    assert all(value.isfinite().all() for value in weights(out).values())


@pytest.mark.gpu
def test_out_of_memory_for_real_goes_on_in_smaller_pieces(tmp_path):
    notices = []
    config = on(
        "cuda", size=64, save_every=100, latent=False,
        unet=UNetConfig(width=64, multipliers=(1, 1)), fit=FitConfig(steps=3, batch=256, warmup=1),
    )  # fmt: skip
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2 * 2**30 / total))
    try:
        trained, _ = train(config, blobs(size=64), tmp_path / "run", hooks=Hooks(notice=notices.append))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any(n.startswith("out of memory: going on with ") for n in notices)
    assert all(p.isfinite().all() for p in trained.state_dict().values())
