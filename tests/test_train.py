"""A whole training: what it makes, that it can be cut anywhere, and what it refuses."""

import dataclasses
import json
import math
import os
import sys
from pathlib import Path

import pytest
import torch
from tiny import FIT, TINY, assert_same, blobs, finished, python, weights

from ldm_edu.checkpoint import CheckpointError, read_json, read_tensors
from ldm_edu.config import TrainConfig
from ldm_edu.data.pictures import to_float
from ldm_edu.fit import TrainingError
from ldm_edu.latent import LatentDiffusion
from ldm_edu.nets.autoencoder import AutoencoderConfig
from ldm_edu.nets.unet import UNetConfig
from ldm_edu.schedule import cosine
from ldm_edu.start import model_config_for
from ldm_edu.train import Hooks, encode_all, make_accelerator, train


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an unbroken run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(TINY, blobs(), out)
    return out


def test_a_run_leaves_a_model_that_loads(whole):
    assert sorted(p.name for p in whole.iterdir()) == [
        "autoencoder.state",
        "config.json",
        "diffusion.state",
        "model.safetensors",
        "train.json",
    ]
    model = LatentDiffusion.load(whole)
    assert model.config.classes == ("a", "b")
    assert model.config.latent_shape == (2, 4, 4)
    assert model.schedule.T == 50
    pictures = model.generate(2, labels=torch.tensor([0, 1]), steps=4, generator=torch.Generator().manual_seed(0))
    assert pictures.shape == (2, 1, 16, 16)


def test_the_model_returned_is_the_one_saved_and_the_average_not_the_last(tmp_path):
    model, seconds = train(TINY, blobs(), tmp_path)
    saved = weights(tmp_path)
    del saved["schedule.signal"], saved["schedule.noise"]
    assert_same(dict(model.state_dict()), saved)
    state, about = read_tensors(tmp_path / "diffusion.state")
    name = "unet.conv_out.weight"
    assert torch.equal(saved[name], state[f"average.{name}"])
    assert not torch.equal(saved[name], state[f"net.{name}"])
    assert seconds.keys() == {"autoencoder", "diffusion"}
    assert seconds["diffusion"] == about["seconds"] > 0


def test_a_seed_gives_the_same_weights_and_another_others(whole, tmp_path):
    torch.manual_seed(99)
    before = torch.get_rng_state()
    train(TINY, blobs(), tmp_path / "same")
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(weights(tmp_path / "same"), weights(whole))
    train(dataclasses.replace(TINY, seed=1), blobs(), tmp_path / "other")
    a, b = weights(tmp_path / "other"), weights(whole)
    assert not torch.equal(a["unet.conv_in.weight"], b["unet.conv_in.weight"])


KILLER = """
import os, signal, sys
from tiny import TINY, blobs
from ldm_edu import checkpoint
from ldm_edu.train import train

flush, pictures = checkpoint.flush, blobs()

def die_before_flush(number):
    seen = 0
    def count(descriptor):
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)
    checkpoint.flush = count

for number in range(1, 100):
    child = os.fork()
    if child == 0:
        die_before_flush(number)
        train(TINY, pictures, f"{sys.argv[1]}/{number}")
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(number - 1)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_a_kill_amid_any_write_leaves_a_run_that_goes_on_to_the_same_bits(whole, tmp_path):
    (tmp_path / "killer.py").write_text(KILLER, "utf-8")
    code, out, err = finished(python(tmp_path / "killer.py", tmp_path))
    assert code == 0, err
    flushes = int(out)
    assert flushes == 2 * 9  # settings, 2 states of the autoencoder, configuration, 2 × (state, model), model
    for number in range(1, flushes + 1):
        folder = tmp_path / str(number)
        assert len(list(folder.glob(".*.part"))) == number % 2  # killed before the file's flush, or before the folder's
        for path in folder.glob("*.json"):
            read_json(path)
        for path in (*folder.glob("*.state"), *folder.glob("*.safetensors")):
            read_tensors(path)
        if (folder / "model.safetensors").exists():
            LatentDiffusion.load(folder)
        train(TINY, blobs(), folder, resume=True)
        assert_same(weights(folder), weights(whole))
        assert not list(folder.glob(".*"))


def test_a_model_on_disk_stays_while_a_resumed_run_begins(whole, tmp_path, monkeypatch):
    def stop(step, model):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train(TINY, blobs(), tmp_path, hooks=Hooks(samples=stop))
    before = weights(tmp_path)
    monkeypatch.setattr("ldm_edu.train.DiffusionObjective", None)  # cut right before the second stage
    with pytest.raises(TypeError):
        train(TINY, blobs(), tmp_path, resume=True)
    assert_same(weights(tmp_path), before)


def test_resume_starts_a_run_where_there_is_none(whole, tmp_path):
    train(TINY, blobs(), tmp_path / "new", resume=True)
    assert_same(weights(tmp_path / "new"), weights(whole))


def test_a_finished_run_is_not_trained_again(tmp_path, monkeypatch):
    train(TINY, blobs(), tmp_path)
    before = weights(tmp_path)
    (tmp_path / "model.safetensors").unlink()

    def refuse(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr("ldm_edu.fit._backward", refuse)
    train(TINY, blobs(), tmp_path, resume=True)
    assert_same(weights(tmp_path), before)


def test_another_run_in_the_folder_is_refused(whole):
    with pytest.raises(CheckpointError, match=r"holds a run already .diffusion at step 4 of 4."):
        train(TINY, blobs(), whole)
    with pytest.raises(CheckpointError, match=r"other settings: fit\.ema was 0\.995, now 0\.5"):
        train(dataclasses.replace(TINY, fit=dataclasses.replace(FIT, ema=0.5)), blobs(), whole, resume=True)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(blobs(), classes=("b", "a")),
        dataclasses.replace(blobs(), labels=None, classes=(), captions=("left dog", "right dog") * 12),
    ],
)
def test_a_run_goes_on_only_with_the_words_and_classes_it_began_with(tmp_path, other):
    """The networks know them by number; under other numbers they would be trained to nonsense."""
    was = blobs() if other.classes else dataclasses.replace(other, captions=("left cat", "right dog") * 12)

    def stop(step, model):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train(TINY, was, tmp_path, hooks=Hooks(samples=stop))
    before = (tmp_path / "config.json").read_bytes()
    with pytest.raises(CheckpointError, match="classes or the words of digits are no longer those"):
        train(TINY, other, tmp_path, resume=True)
    assert (tmp_path / "config.json").read_bytes() == before
    train(TINY, was, tmp_path, resume=True)


def test_how_it_goes_may_change_on_resume(whole, tmp_path):
    def stop(step, model):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train(TINY, blobs(), tmp_path, hooks=Hooks(samples=stop))
    train(dataclasses.replace(TINY, save_every=3, device="auto"), blobs(), tmp_path, resume=True)
    if not torch.cuda.is_available():
        assert_same(weights(tmp_path), weights(whole))
    assert read_json(tmp_path / "train.json")["save_every"] == 3


@pytest.mark.parametrize("data", [b"", b"garbage" * 100, "cut"])
@pytest.mark.parametrize("name", ["autoencoder.state", "diffusion.state"])
def test_a_damaged_state_is_named_and_not_written_over(tmp_path, whole, name, data):
    for path in whole.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    broken = (whole / name).read_bytes()[:-5] if data == "cut" else data
    (tmp_path / name).write_bytes(broken)
    with pytest.raises(CheckpointError, match=f"{name}: damaged"):
        train(TINY, blobs(), tmp_path, resume=True)
    assert (tmp_path / name).read_bytes() == broken


def test_a_huge_learning_rate_stops_with_a_sentence(tmp_path):
    config = dataclasses.replace(
        TINY, autoencoder_fit=dataclasses.replace(FIT, learning_rate=1e30, warmup=0), save_every=100
    )
    with pytest.raises(TrainingError, match=r"not finite .* lower the learning rate"):
        train(config, blobs(), tmp_path)
    assert not (tmp_path / "model.safetensors").exists()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("latent", [True, False])
def test_pixels_or_latents_grey_or_colour_with_or_without_classes(tmp_path, channels, latent):
    config = dataclasses.replace(TINY, latent=latent, conditional=latent, data="shapes", flip=True, save_every=100)
    model, seconds = train(config, blobs(channels=channels), tmp_path)
    assert model.config.channels == channels
    assert model.config.classes == (("a", "b") if latent else ())
    assert (model.autoencoder is not None) == latent
    assert ("autoencoder" in seconds) == latent
    assert LatentDiffusion.load(tmp_path).generate(1, steps=2).shape == (1, channels, 16, 16)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "straight"])
def test_every_schedule_trains(tmp_path, schedule):
    config = dataclasses.replace(TINY, schedule=schedule, T=1000, latent=False, save_every=100)
    model, _ = train(config, blobs(), tmp_path)
    assert torch.equal(LatentDiffusion.load(tmp_path).schedule.signal, model.schedule.signal)


def test_latents_have_mean_0_and_variance_1_as_training_sees_them():
    config = model_config_for(TINY, blobs())
    torch.manual_seed(0)
    model = LatentDiffusion(config, cosine(10))
    pictures = blobs(200).pixels
    mean, std = encode_all(model, pictures, batch=7)
    drawn = torch.cat([mean + std * torch.randn(std.shape) for _ in range(50)])
    torch.testing.assert_close(drawn.mean((0, 2, 3)), torch.zeros(2), rtol=0, atol=0.02)
    torch.testing.assert_close(drawn.var((0, 2, 3)), torch.ones(2), rtol=0.02, atol=0)
    torch.testing.assert_close(mean, model.encode(to_float(pictures)), rtol=1e-4, atol=1e-4)


def test_large_pictures_are_encoded_in_smaller_batches(monkeypatch):
    model = LatentDiffusion(model_config_for(TINY, blobs()), cosine(10))
    seen, encode = [], model.autoencoder.encode
    monkeypatch.setattr(model.autoencoder, "encode", lambda x: seen.append(len(x)) or encode(x[..., :16, :16]))
    mean, _ = encode_all(model, torch.zeros(1, 1, 1, 1, dtype=torch.uint8).expand(20, 1, 512, 512))
    assert seen == [7, 7, 6]
    assert len(mean) == 20


@pytest.mark.slow
def test_bf16_on_the_cpu_trains_after_full_precision_in_one_process(tmp_path, whole):
    losses = []
    config = dataclasses.replace(
        TINY,
        precision="bf16",
        latent=False,
        fit=dataclasses.replace(FIT, steps=40),
        save_every=100,
    )
    train(config, blobs(), tmp_path / "bf16", hooks=Hooks(progress=lambda stage, now: losses.append(now.loss)))
    assert losses[-1] < 0.7 * losses[0]
    train(TINY, blobs(), tmp_path / "full")
    assert_same(weights(tmp_path / "full"), weights(whole))


@pytest.mark.parametrize(("fast", "expected"), [(True, "bf16"), (False, "no")])
def test_as_it_comes_a_training_takes_the_precision_that_is_fast(tmp_path, monkeypatch, fast, expected):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    config = dataclasses.replace(TINY, precision=TrainConfig().precision)
    assert make_accelerator(config, tmp_path).mixed_precision == expected
    assert make_accelerator(TINY, tmp_path).mixed_precision == "no"


def test_tensorboard_files_hold_the_losses(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    losses = {}
    train(
        dataclasses.replace(TINY, tensorboard=True),
        blobs(),
        tmp_path / "run",
        hooks=Hooks(progress=lambda stage, now: losses.update({(stage, now.step): now.loss})),
    )
    events = EventAccumulator(str(tmp_path / "run" / "logs"))
    events.Reload()
    for stage in ("autoencoder", "diffusion"):
        logged = {(stage, e.step): e.value for e in events.Scalars(f"{stage}/loss")}
        assert logged == pytest.approx({k: v for k, v in losses.items() if k[0] == stage})


@pytest.mark.slow
def test_a_compiled_network_trains_to_the_same_weights(tmp_path):
    unet = UNetConfig(width=16, multipliers=(1,), middle_attention=False)
    config = dataclasses.replace(TINY, unet=unet, latent=False, conditional=False, save_every=100)
    train(config, blobs(), tmp_path / "plain")
    train(dataclasses.replace(config, compile=True), blobs(), tmp_path / "compiled")
    plain, compiled = weights(tmp_path / "plain"), weights(tmp_path / "compiled")
    for name in plain:
        torch.testing.assert_close(compiled[name], plain[name], rtol=1e-3, atol=1e-4)


TWO = """
import dataclasses, json, sys
from pathlib import Path
from tiny import FIT, TINY, blobs
from ldm_edu.nets.unet import UNetConfig
from ldm_edu.schedule import cosine
from ldm_edu.train import Hooks, train

out, batch, optimizer = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
fit = dataclasses.replace(FIT, batch=batch, steps=6, optimizer=optimizer)
losses = []
train(
    dataclasses.replace(TINY, fit=fit, autoencoder_fit=fit),
    blobs(),
    out / "run",
    hooks=Hooks(progress=lambda stage, now: losses.append(now.loss)),
)
if losses:
    print(json.dumps(losses))
"""


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.skipif(os.name == "nt", reason="torchrun needs Linux or macOS")
def test_two_processes_train_as_one_with_twice_the_batch(tmp_path, optimizer):
    (tmp_path / "two.py").write_text(TWO, "utf-8")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    losses = {}
    for name, launcher, batch in (("two", torchrun, 4), ("one", (), 8)):
        code, out, err = finished(python(*launcher, tmp_path / "two.py", tmp_path / name, batch, optimizer))
        assert code == 0, err
        lines = [line for line in out.splitlines() if line.startswith("[")]
        assert len(lines) == 1, out  # only the first process reports
        losses[name] = json.loads(lines[0])
    assert len(losses["one"]) == 8
    assert losses["two"] == pytest.approx(losses["one"], rel=1e-4)
    one, two = weights(tmp_path / "one" / "run"), weights(tmp_path / "two" / "run")
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": "warp"}, "schedule must be one of linear, scaled_linear, cosine, straight, got 'warp'"),
        ({"precision": "fp8"}, "precision must be one of"),
        ({"device": "tpu"}, "device must be one of"),
        ({"target": "noise"}, 'target must be "eps", "x0" or "v"'),
        ({"T": 1}, "T must be 2 or more, got 1"),
        ({"size": 4}, "size must be 8 or more, got 4"),
        ({"size": 18}, "size must be a multiple of 4, the downsampling of the networks, got 18"),
        ({"autoencoder": AutoencoderConfig(multipliers=(1, 1, 1, 1), stem=4)}, "size must be a multiple of 32"),
        ({"save_every": 0}, "save_every must be 1 or more"),
        ({"seed": 2**64}, "seed must fit into 64 bits"),
        ({"limit": -1}, "limit must be 0 or more"),
        ({"condition_dropout": 1.0}, r"condition_dropout must lie in \[0, 1\)"),
        ({"kl": -1.0}, "kl must be 0 or more"),
        ({"l1": math.inf}, "l1 must be 0 or more, got inf"),
        ({"schedule": "straight", "target": "eps"}, "straight schedule ends without signal.* use --target v or x0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **change)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (dataclasses.replace(TINY, size=32), "the pictures are 16 pixels wide, the configuration says 32"),
        (dataclasses.replace(TINY, precision="fp16"), "fp16 needs a GPU; on a CPU use auto, bf16 or no"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path, config, message):
    out = tmp_path / "run"
    with pytest.raises(ValueError, match=message):
        train(config, blobs(), out)
    assert not out.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ValueError, match="no CUDA GPU is there; use --device auto or cpu"):
        make_accelerator(TrainConfig(device="cuda"), Path(tmp_path))


def test_tensorboard_that_is_not_installed_is_said(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ValueError, match="pip install tensorboard"):
        make_accelerator(dataclasses.replace(TINY, tensorboard=True), tmp_path)
