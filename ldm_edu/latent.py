"""Latent diffusion: an autoencoder, a network that denoises in its latent space, a schedule, perhaps a text encoder.

Without an autoencoder the same class is pixel diffusion: encoding and decoding do nothing. Derived in notebooks 07
and 08.

Source: Rombach et al. 2022 (arXiv 2112.10752), §3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ldm_edu.checkpoint import CheckpointError, load_weights, read_tensors, write_json, write_tensors
from ldm_edu.denoiser import Denoise, make_denoiser
from ldm_edu.kinds import check_whole
from ldm_edu.model_config import FORMAT, ModelConfig, read_config
from ldm_edu.nets.autoencoder import Autoencoder
from ldm_edu.nets.inputs import as_floats
from ldm_edu.nets.text import TextEncoder, tokenize
from ldm_edu.nets.unet import UNet
from ldm_edu.samplers import AfterStep, ddim, dpmpp_2m, heun, last, prior_sample
from ldm_edu.schedule import Schedule, timesteps

SamplerName = Literal["ddim", "ddpm", "heun", "dpmpp_2m"]


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
        self.text = TextEncoder(config.text) if config.text else None
        self.unet = UNet(config.unet)
        channels = config.unet.in_channels
        self.register_buffer("latent_mean", torch.zeros(channels, 1, 1))
        self.register_buffer("latent_std", torch.ones(channels, 1, 1))

    def encode(self, pictures: Tensor) -> Tensor:
        """Pictures (B, C, H, W), floats in [-1, 1], to latents (B, c, h, w): the mean of the code, normalised.

        Raises:
            ValueError: pictures of another shape, or of whole numbers such as bytes.
        """
        pictures = self._maps("pictures", pictures, self.config.channels)
        if self.autoencoder is None:
            return pictures
        return (self.autoencoder.encode(pictures).mean - self.latent_mean) / self.latent_std

    def decode(self, latent: Tensor) -> Tensor:
        """Latents (B, c, h, w) to pictures (B, C, H, W); values may pass a little beyond [-1, 1].

        Raises:
            ValueError: latents of another shape, or of whole numbers.
        """
        latent = self._maps("latent", latent, self.config.unet.in_channels)
        if self.autoencoder is None:
            return latent
        return self.autoencoder.decode(latent * self.latent_std + self.latent_mean)

    def _maps(self, name: str, x: Tensor, channels: int) -> Tensor:
        """x, checked; one channel where there should be more would be broadcast over the statistics of each."""
        if x.ndim != 4 or x.shape[1] != channels:
            raise ValueError(f"{name} must have shape (B, {channels}, h, w), got {tuple(x.shape)}")
        return as_floats(name, x, self.latent_mean)

    @torch.no_grad()
    def conditions(
        self, count: int, labels: Tensor | None = None, prompts: Sequence[str] | None = None, negative: str = ""
    ) -> tuple[Tensor | None, Tensor | None]:
        """What the U-Net takes as cond for `count` pictures, and what stands for "no condition" in guidance.

        Args:
            labels: (count,) int64 for a model with classes, the last number for no class; or None.
            prompts: `count` texts for a model with text; None is the empty text for each.
            negative: guidance leads away from this text; the empty one means "any picture".
        Raises:
            ValueError: not what this model takes, or not one a picture.
        """
        classes, device = self.config.classes, self.latent_mean.device
        if self.text is None and (prompts is not None or negative):
            raise ValueError("this model takes no text; leave prompts and negative out")
        if not classes and labels is not None:
            raise ValueError("this model has no classes; leave labels out")
        if self.text is not None:
            said = tokenize([""] * count if prompts is None else prompts, self.text.config)
            if len(said) != count:
                raise ValueError(f"need one prompt a picture, got {len(said)} for {count}")
            context = self.text(torch.cat([said, tokenize([negative], self.text.config)]).to(device))
            return context[:-1], context[-1:].expand(count, -1, -1)
        if labels is None:
            return None, None
        labels = torch.as_tensor(labels)
        if labels.shape != (count,):
            raise ValueError(f"labels must have shape ({count},), one a picture, got {tuple(labels.shape)}")
        fit = labels.dtype == torch.int64 and ((labels >= 0) & (labels <= len(classes))).all()
        if not fit:
            raise ValueError(
                f"labels must be int64 in [0, {len(classes)}], the last for no class, "
                f"got {labels.dtype} {labels.tolist()}"
            )
        labels = labels.to(device)
        return labels, torch.full_like(labels, len(classes))

    def denoiser(
        self,
        cond: Tensor | None = None,
        uncond: Tensor | None = None,
        *,
        guidance: float = 1.0,
        interval: tuple[int, int] | None = None,
        clip: bool = True,
    ) -> Denoise:
        """denoise(x_t, t) -> Prediction on latents: all that a sampler sees of this model.

        Args:
            cond, uncond: what `conditions` gives for these pictures.
            guidance, interval: see `make_denoiser`.
            clip: hold x̂_0 in [-1, 1] where it is a picture; without it the answer has a gradient everywhere.
        """
        return make_denoiser(
            self.unet,
            self.schedule,
            self.config.target,
            cond=cond,
            uncond=uncond,
            guidance=guidance,
            interval=interval,
            clip=1.0 if clip and self.autoencoder is None else None,
        )

    @torch.no_grad()
    def generate(
        self,
        count: int = 4,
        *,
        labels: Tensor | None = None,
        prompts: Sequence[str] | None = None,
        negative: str = "",
        steps: int = 50,
        sampler: SamplerName = "ddim",
        eta: float = 0.0,
        guidance: float = 1.0,
        interval: tuple[int, int] | None = None,
        generator: torch.Generator | None = None,
        after_step: AfterStep | None = None,
        batch: int = 64,
    ) -> Tensor:
        """Draw new pictures.

        Args:
            count: how many.
            labels, prompts, negative: the condition; see `conditions`. Without labels or prompts guidance must be 1,
                and where it is 1 there is no negative prompt.
            steps: sampler steps, as many as the schedule has with noise / signal ≤ 200; see `timesteps`.
            sampler: "ddim", "ddpm" (DDIM with η = 1), "heun" or "dpmpp_2m".
            eta: η of "ddim".
            guidance: w; 1 is off.
            interval: (low, high): guidance only where low ≤ t ≤ high; not where guidance is 1.
            generator: fixes the result; where no noise is added on the way (η = 0), whatever `batch` is.
            after_step: after_step(x_s, s) -> x_s on the latents of each batch.
            batch: how many at once.
        Returns:
            (count, C, H, W) float32 in [-1, 1].
        Raises:
            ValueError: an option out of range, or a condition that does not fit.
        """
        check_whole(1, count=count, batch=batch)
        if eta != 0 and sampler != "ddim":
            raise ValueError(f'eta is an option of "ddim"; "{sampler}" has none')
        if guidance != 1 and labels is None and prompts is None:
            raise ValueError(f"guidance = {guidance} needs labels or prompts; leave it at 1 without them")
        if interval is not None and guidance == 1:
            raise ValueError(
                f"interval = {interval} counts only with guidance; set guidance above 1, or leave the interval out"
            )
        walk = {"ddim": ddim, "ddpm": ddim, "heun": heun, "dpmpp_2m": dpmpp_2m}.get(sampler)
        if walk is None:
            raise ValueError(f'sampler must be "ddim", "ddpm", "heun" or "dpmpp_2m", got {sampler!r}')
        options = {"eta": 1.0 if sampler == "ddpm" else eta} if walk is ddim else {}

        conds, unconds = (
            [None] * -(-count // batch) if c is None else c.split(batch)
            for c in self.conditions(count, labels, prompts, negative)
        )
        if negative and guidance == 1:
            raise ValueError("a negative prompt counts only with guidance; set guidance above 1, or leave it out")
        ts = timesteps(self.schedule, steps)
        start = prior_sample(
            (count, *self.config.latent_shape),
            ts[0],
            self.schedule,
            generator=generator,
            device=self.latent_mean.device,
        )
        pictures = []
        for x, cond, uncond in zip(start.split(batch), conds, unconds, strict=True):
            denoise = self.denoiser(cond, uncond, guidance=guidance, interval=interval)
            x = last(walk(denoise, x, ts, self.schedule, generator=generator, after_step=after_step, **options))
            pictures.append(self.decode(x).float().clamp(-1, 1))
        return torch.cat(pictures)

    def save(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write config.json and model.safetensors, each whole or not at all; see `save_weights`."""
        self.save_config(folder)
        self.save_weights(folder, dtype)

    def save_config(self, folder: str | Path) -> None:
        """Write config.json: what the model is, without its weights."""
        write_json(Path(folder) / "config.json", {"format": FORMAT, "model": asdict(self.config)})

    def save_weights(self, folder: str | Path, dtype: torch.dtype | None = None) -> None:
        """Write model.safetensors: all weights, the latents' statistics and the schedule.

        Args:
            dtype: of the stored weights, such as torch.float16 for half the size; None keeps theirs. The schedule
                stays in float64, and `load` gives float32 in any case.
        """
        weights = {k: v.to(dtype or v.dtype) for k, v in self.state_dict().items()}
        schedule = {"schedule.signal": self.schedule.signal, "schedule.noise": self.schedule.noise}
        write_tensors(Path(folder) / "model.safetensors", weights | schedule)

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
