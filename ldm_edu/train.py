"""Train a latent diffusion model from a picture set: first the autoencoder, then the denoiser in its latents.

A run lives in one folder: train.json (what was asked), autoencoder.state and diffusion.state (where it stands),
config.json and model.safetensors (the model so far), samples/. Derived in notebooks 04, 05 and 07.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ldm_edu.adversary import Adversary
from ldm_edu.checkpoint import CheckpointError, read_about
from ldm_edu.config import TrainConfig
from ldm_edu.data.pictures import Pictures, at_once, mirrored, to_float
from ldm_edu.fit import Batch, FitConfig, Progress, fit
from ldm_edu.latent import LatentDiffusion
from ldm_edu.model_config import ModelConfig, read_config
from ldm_edu.nets.discriminator import PatchDiscriminator
from ldm_edu.objectives import AutoencoderObjective, DiffusionObjective
from ldm_edu.perceptual import Distance, lpips
from ldm_edu.profile import pick_device, pick_precision
from ldm_edu.run_folder import check_folder, claim, held
from ldm_edu.start import conditions_for, model_config_for, starting_model

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Hooks:
    """What a caller of `train` may listen to: progress of a stage, sentences, and sample pictures after a save."""

    progress: Callable[[str, Progress], None] | None = None
    notice: Callable[[str], None] | None = None
    samples: Callable[[int, LatentDiffusion], None] | None = None


def train(
    config: TrainConfig,
    pictures: Pictures,
    out: str | Path,
    *,
    accelerator: Accelerator | None = None,
    hooks: Hooks = Hooks(),
    resume: bool = False,
) -> tuple[LatentDiffusion, dict[str, float]]:
    """Train, or go on training, the model of a run's folder.

    Args:
        config: what to train.
        pictures: the training pictures, of the size that config says.
        out: the run's folder, made if it is not there.
        accelerator: what `make_accelerator` makes of the same config and folder; made here unless given.
        resume: go on with the run in `out`, if there is one; else a run there is an error.
    Returns:
        the model with averaged weights, and the seconds of each stage's steps, over all processes of a resumed run.
    Raises:
        ValueError: options and data do not fit, no GPU where one was asked for, a run of other settings in `out`.
        TrainingError: the loss is not finite, or memory is too small.
    """
    out = Path(out)
    initial = starting_model(config, pictures)
    model_config = initial.config if initial else model_config_for(config, pictures)
    accelerator = accelerator or make_accelerator(config, out)
    check_folder(out, config, resume)
    if resume and (out / "config.json").exists() and read_config(out) != model_config:
        raise CheckpointError(
            f"{out}: the classes or the words of {config.data} are no longer those that the run there began with; "
            "bring the data back, or train into another folder"
        )
    with accelerator.main_process_first():  # one process downloads
        distance = lpips(accelerator.device, download=config.download) if config.perceptual else None
    accelerator.wait_for_everyone()  # all have looked before one writes
    with held(out) if accelerator.is_main_process else contextlib.nullcontext():
        if accelerator.is_main_process:
            check_folder(out, config, resume)  # again: another run may have begun here since
            claim(out, config)
        accelerator.wait_for_everyone()
        return _train_stages(config, pictures, out, accelerator, hooks, initial, model_config, distance)


def _train_stages(
    config: TrainConfig,
    pictures: Pictures,
    out: Path,
    accelerator: Accelerator,
    hooks: Hooks,
    initial: LatentDiffusion | None,
    model_config: ModelConfig,
    distance: Distance | None,
) -> tuple[LatentDiffusion, dict[str, float]]:
    """Train what is to be trained in a folder that is ours; see `train`."""
    if config.tensorboard:
        accelerator.init_trackers("logs")
    device, seconds = accelerator.device, {}

    with torch.random.fork_rng(devices=[]):  # the networks' first weights come from the seed, and nothing else changes
        torch.default_generator.manual_seed(config.seed)
        model = (initial or LatentDiffusion(model_config, config.make_schedule())).to(device)
        adversary = make_adversary(config, pictures.channels) if config.adversarial else None
    pixels = (mirrored(pictures) if config.flip else pictures).pixels.to(device)

    inputs: dict[str, int | str] = {"pictures": len(pictures)}  # what a resumed run must find as it was

    def run_stage(name: str, objective: nn.Module, make_batch, fit_config: FitConfig, after_save=None) -> nn.Module:
        if config.compile:
            objective.compile(dynamic=False)

        def report(progress: Progress) -> None:
            accelerator.log({f"{name}/loss": progress.loss, f"{name}/examples a second": progress.rate}, progress.step)
            if hooks.progress is not None:
                hooks.progress(name, progress)

        state_path = out / f"{name}.state"
        averaged = fit(
            objective,
            make_batch,
            fit_config,
            accelerator=accelerator,
            name=name,
            seed=config.seed,
            inputs=inputs,
            state_path=state_path,
            save_every=config.save_every,
            report=report,
            notice=hooks.notice,
            after_save=after_save,
        )
        seconds[name] = read_about(state_path)["seconds"]
        return averaged

    if model.autoencoder is not None and initial is None:
        latent_shape = model_config.latent_shape

        def picture_batch(n: int, generator: torch.Generator) -> Batch:
            index = torch.randint(len(pixels), (n,), generator=generator, device=device)
            return to_float(pixels[index]), torch.randn(n, *latent_shape, generator=generator, device=device)

        objective = AutoencoderObjective(
            model.autoencoder,
            config.l1,
            config.kl,
            adversary=adversary,
            perceptual=config.perceptual,
            distance=distance,
        )
        averaged = run_stage("autoencoder", objective, picture_batch, config.autoencoder_fit)
        model.autoencoder.load_state_dict(averaged.autoencoder.state_dict())
    if model.autoencoder is not None:
        model.autoencoder.requires_grad_(False).eval()
        inputs["autoencoder"] = digest(model.autoencoder)

    mean, std = encode_all(model, pixels, measure=initial is None)
    cond, nothing = conditions_for(model_config, pictures)
    if cond is not None:
        cond = torch.cat([cond] * (2 if config.flip else 1)).to(device)

    def latent_batch(n: int, generator: torch.Generator) -> Batch:
        def uniform(high: int) -> Tensor:
            return torch.randint(high, (n,), generator=generator, device=device)

        index, t = uniform(len(mean)), 1 + uniform(config.T)
        x_0 = mean[index]
        eps = torch.randn(x_0.shape, generator=generator, device=device)
        if std is not None:
            x_0 = x_0 + std[index] * torch.randn(x_0.shape, generator=generator, device=device)
        if cond is None:
            return x_0, t, eps
        dropped = torch.rand(n, generator=generator, device=device) < config.condition_dropout
        return x_0, t, eps, cond[index].masked_fill(dropped.view(-1, *[1] * (cond.ndim - 1)), nothing)

    if accelerator.is_main_process:
        model.save_config(out)  # its weights follow with the first save: until then an older file, if any, stays
    sampled = copy.deepcopy(model).eval()  # what is saved: averaged weights

    def take(averaged: nn.Module) -> LatentDiffusion:
        sampled.load_state_dict(model.state_dict())
        sampled.unet.load_state_dict(averaged.unet.state_dict())
        if sampled.text is not None:
            sampled.text.load_state_dict(averaged.text.state_dict())
        return sampled

    def after_save(step: int, averaged: nn.Module) -> None:
        take(averaged).save_weights(out)
        if hooks.samples is not None:
            hooks.samples(step, sampled)

    objective = DiffusionObjective(model.unet, model.schedule.to(device), config.target, model.text)
    averaged = run_stage("diffusion", objective, latent_batch, config.fit, after_save)
    take(averaged)
    if accelerator.is_main_process:
        sampled.save_weights(out)
    accelerator.end_training()
    return sampled, seconds


def digest(net: nn.Module) -> str:
    """Twelve characters that tell a network's weights from others."""
    whole = hashlib.sha256()
    for value in net.state_dict().values():
        whole.update(value.detach().cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()[:12]


def make_adversary(config: TrainConfig, channels: int) -> Adversary:
    """The autoencoder's discriminator with the weight and the start that the configuration says."""
    return Adversary(
        PatchDiscriminator(channels), config.adversarial, config.adversarial_start * config.autoencoder_fit.batch
    )


@torch.no_grad()
def encode_all(
    model: LatentDiffusion, pixels: Tensor, batch: int = 256, *, measure: bool = True
) -> tuple[Tensor, Tensor | None]:
    """Encode every picture once; set the model's latent statistics so that latents have mean 0, variance 1 a channel.

    Args:
        pixels: (N, C, H, W) uint8.
        batch: how many at a time, of large pictures fewer; see `at_once`.
        measure: set the statistics; a network that is trained already keeps those it was trained with.
    Returns:
        mean and standard deviation of each picture's normalised code, (N, c, h, w); pixels themselves and None without
        an autoencoder.
    """
    if model.autoencoder is None:
        return to_float(pixels), None
    codes = [model.autoencoder.encode(to_float(part)) for part in pixels.split(at_once(batch, pixels.shape))]
    mean = torch.cat([c.mean for c in codes])
    std = torch.cat([c.std for c in codes])
    if measure:
        model.latent_mean.copy_(mean.mean((0, 2, 3)).view(-1, 1, 1))
        total = mean.var((0, 2, 3), correction=0) + std.square().mean((0, 2, 3))  # of what training sees: mean + std z
        model.latent_std.copy_(total.sqrt().clamp(min=1e-6).view(-1, 1, 1))
    return (mean - model.latent_mean) / model.latent_std, std / model.latent_std


def make_accelerator(config: TrainConfig, out: Path) -> Accelerator:
    """Accelerate's view of the machine: device, processes, precision, trackers.

    Raises:
        ValueError: a device or precision that is not there, or no package tensorboard where it was asked for.
    """
    device = pick_device(config.device)
    cpu, precision = device == "cpu", pick_precision(config.precision, device)
    if config.tensorboard:
        try:
            import tensorboard  # noqa: F401
        except ImportError:
            raise ValueError("--tensorboard needs the package tensorboard: pip install tensorboard") from None
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    if AcceleratorState._shared_state:  # Accelerate keeps the first training's precision and device for the process
        earlier = AcceleratorState()
        if earlier.mixed_precision != precision or (earlier.device.type == "cpu") != cpu:
            AcceleratorState._reset_state(reset_partial_state=not earlier.use_distributed)
    return Accelerator(
        cpu=cpu,
        mixed_precision=precision,
        log_with="tensorboard" if config.tensorboard else None,
        project_dir=out if config.tensorboard else None,
    )
