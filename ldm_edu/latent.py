"""Latent diffusion: an autoencoder, a network that denoises in its latent space, a schedule. Derived in notebook 07.

Without an autoencoder the same class is pixel diffusion: encoding and decoding do nothing.

Source: Rombach et al. 2022 (arXiv 2112.10752), §3.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ldm_edu.checkpoint import CheckpointError, load_weights, read_json, read_tensors, write_json, write_tensors
from ldm_edu.denoiser import make_denoiser
from ldm_edu.nets.autoencoder import Autoencoder, AutoencoderConfig
from ldm_edu.nets.unet import UNet, UNetConfig
from ldm_edu.samplers import AfterStep, ddim, dpmpp_2m, heun, last, prior_sample
from ldm_edu.schedule import Schedule, timesteps
from ldm_edu.target import Target, check_target

SamplerName = Literal["ddim", "ddpm", "heun", "dpmpp_2m"]
FORMAT = 1  # of the checkpoint folder; raised when older code could not read it


@dataclass(frozen=True)
class ModelConfig:
    """What a checkpoint's model is.

    Args:
        size: height and width of its pictures.
        channels: 1 grey, 3 colour.
        unet: the network's size.
        autoencoder: the autoencoder's size; None diffuses pixels.
        target: what the network predicts.
        classes: names of the labels; empty for an unconditional model.
    Raises:
        ValueError: parts that do not fit together.
    """

    size: int
    channels: int
    unet: UNetConfig
    autoencoder: AutoencoderConfig | None = None
    target: Target = "v"
    classes: tuple[str, ...] = ()

    def __post_init__(self):
        object.__setattr__(self, "classes", tuple(self.classes))
        check_target(self.target)
        inside = self.autoencoder.latent_channels if self.autoencoder else self.channels
        if self.autoencoder and self.autoencoder.in_channels != self.channels:
            raise ValueError(
                f"the pictures have {self.channels} channels, the autoencoder takes {self.autoencoder.in_channels}"
            )
        if (self.unet.in_channels, self.unet.out_channels) != (inside, inside):
            raise ValueError(
                f"the U-Net must take and give {inside} channels, "
                f"got {self.unet.in_channels} and {self.unet.out_channels}"
            )
        if (self.unet.num_classes or 0) != len(self.classes):
            raise ValueError(
                f"the U-Net knows {self.unet.num_classes or 0} classes, but {len(self.classes)} names are given"
            )
        divisor = self.factor * self.unet.stem * 2 ** (len(self.unet.multipliers) - 1)
        if self.size < 1 or self.size % divisor:
            raise ValueError(f"size {self.size} must be a multiple of {divisor}, the whole downsampling of both nets")

    @property
    def factor(self) -> int:
        """Pixels along each side that one latent pixel stands for."""
        return self.autoencoder.factor if self.autoencoder else 1

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of what is diffused."""
        side = self.size // self.factor
        return self.unet.in_channels, side, side


class LatentDiffusion(nn.Module):
    """The whole model. Latents are shifted and scaled to mean 0 and variance 1 a channel, as measured on the data.

    Args:
        config: sizes of the parts.
        schedule: the noise schedule it is trained and sampled with.
    """

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: ModelConfig, schedule: Schedule):
        super().__init__()
        self.config = config
        self.schedule = schedule
        self.autoencoder = Autoencoder(config.autoencoder) if config.autoencoder else None
        self.unet = UNet(config.unet)
        channels = config.unet.in_channels
        self.register_buffer("latent_mean", torch.zeros(channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(channels, 1, 1))

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, H, W) in [-1, 1] to latents (B, c, h, w): the mean of the code, normalised."""
        if self.autoencoder is None:
            return pictures
        return (self.autoencoder.encode(pictures).mean - self.latent_mean) / self.latent_std

    def decode(self, latent: Tensor) -> Tensor:
        """Latents (B, c, h, w) to pictures (B, C, H, W); values may pass a little beyond [-1, 1]."""
        if self.autoencoder is None:
            return latent
        return self.autoencoder.decode(latent * self.latent_std + self.latent_mean)

    @torch.no_grad()
    def generate(
        self,
        count: int = 4,
        *,
        labels: Tensor | None = None,
        steps: int = 50,
        sampler: SamplerName = "ddim",
        eta: float = 0.0,
        guidance: float = 1.0,
        generator: torch.Generator | None = None,
        after_step: AfterStep | None = None,
        batch: int = 64,
    ) -> Tensor:
        """Draw new pictures.

        Args:
            count: how many.
            labels: (count,) int64, or None: "no class", and guidance must be 1.
            steps: sampler steps, as many as the schedule has with noise / signal ≤ 200; see `timesteps`.
            sampler: "ddim", "ddpm" (DDIM with η = 1), "heun" or "dpmpp_2m".
            eta: η of "ddim".
            guidance: w; 1 is off.
            generator: fixes the result; where no noise is added on the way (η = 0), whatever `batch` is.
            after_step: after_step(x_s, s) -> x_s on the latents of each batch.
            batch: how many at once.
        Returns:
            (count, C, H, W) float32 in [-1, 1].
        Raises:
            ValueError: an option out of range, or labels that do not fit.
        """
        if count < 1 or batch < 1:
            raise ValueError(f"count and batch must be 1 or more, got {count} and {batch}")
        if eta != 0 and sampler != "ddim":
            raise ValueError(f'eta is an option of "ddim"; "{sampler}" has none')
        classes = self.config.classes
        if labels is not None and not classes:
            raise ValueError("this model has no classes; leave labels out")
        if labels is not None and labels.shape != (count,):
            raise ValueError(f"labels must have shape ({count},), one a picture, got {tuple(labels.shape)}")
        if labels is not None and (labels.dtype != torch.int64 or labels.min() < 0 or labels.max() > len(classes)):
            raise ValueError(
                f"labels must be int64 in [0, {len(classes)}], the last for no class, got {labels.tolist()}"
            )
        if guidance != 1 and labels is None:
            raise ValueError(f"guidance = {guidance} needs labels; leave it at 1 without them")
        walk = {"ddim": ddim, "ddpm": ddim, "heun": heun, "dpmpp_2m": dpmpp_2m}.get(sampler)
        if walk is None:
            raise ValueError(f'sampler must be "ddim", "ddpm", "heun" or "dpmpp_2m", got {sampler!r}')
        options = {"eta": 1.0 if sampler == "ddpm" else eta} if walk is ddim else {}

        device = self.latent_mean.device
        dtype = self.latent_mean.dtype  # of the networks; the sampler itself works in float32
        ts = timesteps(self.schedule, steps)
        start = prior_sample(
            (count, *self.config.latent_shape), ts[0], self.schedule, generator=generator, device=device
        )
        starts = start.split(batch)
        conds = labels.to(device).split(batch) if labels is not None else [None] * len(starts)
        pictures = []
        for x, cond in zip(starts, conds, strict=True):
            denoise = make_denoiser(
                lambda x, t, cond: self.unet(x.to(dtype), t, cond),
                self.schedule,
                self.config.target,
                cond=cond,
                uncond=None if cond is None else torch.full_like(cond, len(classes)),
                guidance=guidance,
                clip=None if self.autoencoder else 1.0,
            )
            x = last(walk(denoise, x, ts, self.schedule, generator=generator, after_step=after_step, **options))
            pictures.append(self.decode(x.to(dtype)).float().clamp(-1, 1))
        return torch.cat(pictures)

    def save(self, folder: str | Path) -> None:
        """Write config.json and model.safetensors, each whole or not at all."""
        self.save_config(folder)
        self.save_weights(folder)

    def save_config(self, folder: str | Path) -> None:
        """Write config.json: what the model is, without its weights."""
        write_json(Path(folder) / "config.json", {"format": FORMAT, "model": asdict(self.config)})

    def save_weights(self, folder: str | Path) -> None:
        """Write model.safetensors: all weights, the latents' statistics and the schedule."""
        schedule = {"schedule.signal": self.schedule.signal, "schedule.noise": self.schedule.noise}
        write_tensors(Path(folder) / "model.safetensors", self.state_dict() | schedule)

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu") -> LatentDiffusion:
        """Read a checkpoint folder, in evaluation mode.

        Raises:
            CheckpointError: a file is missing, damaged, of a newer format, or does not fit the others.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise CheckpointError(f"{folder}: no such folder; give the folder of a checkpoint")
        config = read_config(folder)
        if not (folder / "model.safetensors").is_file():
            raise CheckpointError(
                f"{folder}: has a configuration but no model.safetensors yet; "
                f"if its training was cut, continue it with: ldm-edu train --resume --out {folder}"
            )
        tensors, _ = read_tensors(folder / "model.safetensors")
        try:
            schedule = Schedule(tensors.pop("schedule.signal"), tensors.pop("schedule.noise"))
        except (KeyError, ValueError) as error:
            raise CheckpointError(f"{folder}/model.safetensors: no valid schedule inside ({error})") from None
        with torch.random.fork_rng(devices=[]):  # building draws weights that are replaced at once
            model = cls(config, schedule)
        load_weights(model, tensors, folder / "model.safetensors")
        return model.to(device).eval()


def read_config(folder: str | Path) -> ModelConfig:
    """Read a checkpoint folder's configuration.

    Raises:
        CheckpointError: missing, damaged, of a newer format, or with settings that do not fit together.
    """
    path = Path(folder) / "config.json"
    saved = read_json(path)
    if saved.get("format") != FORMAT:
        raise CheckpointError(f"{path}: checkpoint format {saved.get('format')!r}, this version reads {FORMAT}")
    try:
        model = dict(saved["model"])
        autoencoder = model.pop("autoencoder")
        unet = UNetConfig(**model.pop("unet"))
        return ModelConfig(unet=unet, autoencoder=AutoencoderConfig(**autoencoder) if autoencoder else None, **model)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a configuration of ours ({error})") from None
