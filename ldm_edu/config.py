"""All that decides a training run, as one frozen dataclass. Used in notebook 07.

The command line's options are made from its fields, their help from its docstring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ldm_edu import schedule as schedules
from ldm_edu.fit import FitConfig
from ldm_edu.nets.autoencoder import AutoencoderConfig
from ldm_edu.nets.text import TextConfig
from ldm_edu.nets.unet import UNetConfig
from ldm_edu.schedule import Schedule
from ldm_edu.target import Target, check_target

ScheduleName = Literal["linear", "scaled_linear", "cosine", "straight"]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "no", "fp16", "bf16"]
LEAST = {"T": 2, "save_every": 1, "least_words": 1, "limit": 0, "size": 8} | dict.fromkeys(
    ("l1", "kl", "adversarial", "adversarial_start", "perceptual"), 0
)

SIDED = ("digits", "mnist", "scenes")
"""Sets where a mirror image is wrong: a digit is no digit any more, and a caption names the other side."""

DERIVED = frozenset(
    (
        "autoencoder.in_channels",
        "text.words",
        "unet.in_channels",
        "unet.out_channels",
        "unet.num_classes",
        "unet.context_dim",
    )
)
"""Fields that follow from the data and from each other; no one sets them."""


@dataclass(frozen=True)
class TrainConfig:
    """All that decides a training run. The defaults are the README's demo.

    Args:
        data: digits, shapes, scenes, mnist, fashion_mnist, cifar10, flowers102, a folder of pictures, or a .npz file
            of pictures and captions.
        credit: whose pictures they are, and under which licence; the card says it.
        root: where torchvision's sets and .npz files lie.
        download: let torchvision download a set, or VGG's weights, that are not there.
        size: height and width of the pictures.
        limit: use only so many pictures, spread over the set; 0 is all.
        flip: add each picture's mirror image; not for digits, mnist and scenes, nor for other text or sides.
        seed: seed of everything random.
        start_from: a checkpoint folder, or the name of a shipped model, to start from: the training goes on from its
            networks, its autoencoder stays as it is, and the options of their sizes follow from it.
        latent: diffuse latents; without it, pixels, and no autoencoder is trained.
        conditional: condition on the captions, or else the labels, where the set has them.
        schedule: noise schedule.
        T: steps of the schedule.
        target: what the network predicts.
        least_words: a word that fewer captions use stays outside the vocabulary.
        condition_dropout: share of examples trained without their condition, for guidance.
        l1: weight of the autoencoder's absolute error, beside its squared error.
        kl: weight of the autoencoder's KL term, a latent component.
        adversarial: pull of the autoencoder's discriminator, as a multiple of that of its other errors; 0 is off.
        adversarial_start: steps of the autoencoder before the discriminator counts.
        perceptual: weight of the autoencoder's LPIPS distance; 0 is off. It needs VGG's weights.
        autoencoder: the autoencoder's size.
        autoencoder_fit: how the autoencoder is trained.
        text: the text encoder's size, where the set has captions.
        unet: the U-Net's size.
        fit: how the U-Net is trained.
        device: auto takes a GPU if there is one.
        precision: mixed precision; auto takes bf16 where the device multiplies it faster, and else no.
        compile: compile the networks; pays on a GPU and long runs.
        save_every: steps between saves and sample pictures.
        tensorboard: write TensorBoard logs into the run's folder.
    Raises:
        ValueError: an unknown name, a number out of its range, or options that contradict each other.
    """

    data: str = "digits"
    credit: str = ""
    root: str = "data"
    download: bool = False
    size: int = 32
    limit: int = 0
    flip: bool = False
    seed: int = 0
    start_from: str = ""
    latent: bool = True
    conditional: bool = True
    schedule: ScheduleName = "cosine"
    T: int = 1000
    target: Target = "v"
    least_words: int = 1
    condition_dropout: float = 0.1
    l1: float = 0.1
    kl: float = 1e-4
    adversarial: float = 0.0
    adversarial_start: int = 0
    perceptual: float = 0.0
    autoencoder: AutoencoderConfig = AutoencoderConfig(multipliers=(1, 2), stem=2, middle_attention=False)
    autoencoder_fit: FitConfig = FitConfig(steps=400, batch=32, learning_rate=6e-3, optimizer="muon")
    text: TextConfig = TextConfig()
    unet: UNetConfig = UNetConfig(multipliers=(1, 2))
    fit: FitConfig = FitConfig(steps=1500, batch=64, learning_rate=6e-3, optimizer="muon")
    device: Device = "auto"
    precision: Precision = "auto"
    compile: bool = False
    save_every: int = 500
    tensorboard: bool = False

    def __post_init__(self):
        for name, kinds in (("schedule", ScheduleName), ("device", Device), ("precision", Precision)):
            if getattr(self, name) not in get_args(kinds):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kinds))}, got {getattr(self, name)!r}")
        check_target(self.target)
        if not -(2**63) <= self.seed < 2**63:
            raise ValueError(f"seed must fit into 64 bits, got {self.seed}")
        for name, least in LEAST.items():
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be {least} or more, got {getattr(self, name)}")
        if not 0 <= self.condition_dropout < 1:
            raise ValueError(f"condition_dropout must lie in [0, 1), got {self.condition_dropout}")
        if self.flip and self.data in SIDED:
            raise ValueError(
                f"flip adds mirror images, which are wrong for {self.data}: a mirrored digit is none, and captions of "
                "scenes name sides; leave it off"
            )
        if (self.adversarial or self.perceptual) and not self.latent:
            raise ValueError("adversarial and perceptual are losses of the autoencoder, and --no-latent trains none")
        if (self.adversarial or self.perceptual) and self.start_from:
            raise ValueError("adversarial and perceptual are losses of the autoencoder, and --start-from trains none")
        if self.adversarial and self.adversarial_start >= self.autoencoder_fit.steps:
            raise ValueError(
                f"adversarial_start must be less than the autoencoder's {self.autoencoder_fit.steps} steps, or the "
                f"discriminator never counts; got {self.adversarial_start}"
            )
        if self.perceptual and self.size < 16:
            raise ValueError(f"perceptual needs pictures of 16 pixels or more, got size {self.size}")
        divisor = (self.autoencoder.factor if self.latent else 1) * self.unet.factor
        if self.size % divisor:
            raise ValueError(f"size must be a multiple of {divisor}, the downsampling of the networks, got {self.size}")
        if (left := self.make_schedule().signal[-1].item()) > 0.1:
            raise ValueError(
                f"the schedule {self.schedule} with T = {self.T} leaves {left:.0%} of the signal at T, but sampling "
                "starts from noise alone; use a larger T (1000 is usual) or --schedule cosine"
            )
        if self.schedule == "straight" and self.target == "eps":
            raise ValueError(
                "a straight schedule ends without signal, where ε does not determine x_0: use --target v or x0"
            )

    def make_schedule(self) -> Schedule:
        """The noise schedule asked for."""
        return getattr(schedules, self.schedule)(self.T)


def without_effect(flat: dict) -> list[str]:
    """The settings of a flat dictionary that do nothing, as others in it train no autoencoder and read no captions.

    The sizes of an autoencoder to start from do something: they are compared with its own.
    """
    idle = set()
    if flat.get("start_from"):
        idle |= {"l1", "kl", "adversarial_start", "autoencoder_fit", "least_words"}
    if not flat.get("latent", True):
        idle |= {"l1", "kl", "adversarial_start", "autoencoder_fit", "autoencoder"}
    return [key for key in flat if key.partition(".")[0] in idle]
