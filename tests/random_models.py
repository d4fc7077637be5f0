"""Models with random weights everywhere, the zero-initialised ones too: nothing they draw is a coincidence."""

from __future__ import annotations

import math

import torch

from ldm_edu.latent import LatentDiffusion
from ldm_edu.model_config import ModelConfig
from ldm_edu.nets.autoencoder import AutoencoderConfig
from ldm_edu.nets.text import TextConfig
from ldm_edu.nets.unet import UNetConfig
from ldm_edu.schedule import cosine

WORDS = tuple("a red blue circle square above below b".split())


def random_model(kind: str) -> LatentDiffusion:
    """A model of 16×16 pixels: "text", "classes" or "plain"."""
    unet = UNetConfig(
        in_channels=2,
        out_channels=2,
        width=16,
        multipliers=(1,),
        attention=(0,) if kind == "text" else (),
        context_dim=8 if kind == "text" else None,
        num_classes=3 if kind == "classes" else None,
    )
    config = ModelConfig(
        size=16,
        channels=3 if kind == "text" else 1,
        unet=unet,
        autoencoder=AutoencoderConfig(
            in_channels=3 if kind == "text" else 1,
            latent_channels=2,
            width=16,
            multipliers=(1,),
            stem=2,
            middle_attention=False,
        ),
        classes=("cat", "dog", "<i>") if kind == "classes" else (),
        text=TextConfig(WORDS, length=6, width=8, depth=1, heads=2) if kind == "text" else None,
    )
    model = LatentDiffusion(config, cosine(50))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.5 if p.ndim == 1 else 1.5 / math.sqrt(p[0].numel())))
    return model.eval()
