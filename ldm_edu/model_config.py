"""What a checkpoint's model is: the sizes of its parts, checked against each other. Used by ldm_edu.latent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ldm_edu.checkpoint import CheckpointError, read_json
from ldm_edu.kinds import check_kinds
from ldm_edu.nets.autoencoder import AutoencoderConfig
from ldm_edu.nets.text import TextConfig
from ldm_edu.nets.unet import UNetConfig
from ldm_edu.target import Target, check_target

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
        classes: names of the labels; empty for a model without classes.
        text: the text encoder's size and vocabulary; None for a model without text.
    Raises:
        ValueError: parts that do not fit together.
    """

    size: int
    channels: int
    unet: UNetConfig
    autoencoder: AutoencoderConfig | None = None
    target: Target = "v"
    classes: tuple[str, ...] = ()
    text: TextConfig | None = None

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
        if self.unet.context_dim != (self.text.width if self.text else None):
            raise ValueError(
                f"the U-Net's context_dim is {self.unet.context_dim}, "
                f"but the text encoder's width is {self.text.width if self.text else None}"
            )
        divisor = self.factor * self.unet.factor
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
        unet, autoencoder, text = model.pop("unet"), model.pop("autoencoder"), model.pop("text", None)
        for of, values in (
            (UNetConfig, unet),
            (AutoencoderConfig, autoencoder),
            (TextConfig, text),
            (ModelConfig, model),
        ):
            check_kinds(of, values or {})
        return ModelConfig(
            unet=UNetConfig(**unet),
            autoencoder=AutoencoderConfig(**autoencoder) if autoencoder else None,
            text=TextConfig(**text) if text else None,
            **model,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not a configuration of ours ({error})") from None
