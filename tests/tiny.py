"""A training small enough for tests, and what it is trained on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from ldm_edu.checkpoint import read_tensors
from ldm_edu.config import TrainConfig
from ldm_edu.data.pictures import Pictures
from ldm_edu.fit import FitConfig
from ldm_edu.nets.autoencoder import AutoencoderConfig
from ldm_edu.nets.unet import UNetConfig
from ldm_edu.options import typed_options
from ldm_edu.plot import save_png

ROOT = Path(__file__).parents[1]
FIT = FitConfig(steps=4, batch=8, warmup=2)
TINY = TrainConfig(
    size=16,
    T=50,
    autoencoder=AutoencoderConfig(latent_channels=2, width=16, multipliers=(1, 2), stem=2, middle_attention=False),
    autoencoder_fit=FIT,
    unet=UNetConfig(width=16, multipliers=(1,)),
    fit=FIT,
    device="cpu",
    precision="no",
    save_every=2,
)


def options(config: TrainConfig = TINY) -> list[str]:
    """What to type for a configuration."""
    return typed_options(config, TrainConfig())


def blobs(count: int = 24, size: int = 16, channels: int = 1, classes: int = 2) -> Pictures:
    """Dark pictures with a bright square each, in the left half for class 0 and in the right one for class 1."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 40, (count, channels, size, size), generator=generator, dtype=torch.uint8)
    labels = torch.arange(count) % max(1, classes)
    for picture, label, y in zip(
        pixels, labels, torch.randint(0, size // 2, (count,), generator=generator), strict=True
    ):
        x = 1 + int(label) * size // 2
        picture[:, y : y + size // 2, x : x + size // 3] = 230
    return Pictures(pixels, labels if classes else None, tuple("ab"[:classes]))


def captioned(count: int = 24) -> Pictures:
    """The same with a caption each in the place of classes."""
    pictures = blobs(count)
    names = ("bright left", "right side")
    return Pictures(pictures.pixels, captions=tuple(names[k] for k in pictures.labels.tolist()))


def picture_folder(path: Path, count: int = 40) -> Path:
    """A folder of PNG files without classes."""
    for i, picture in enumerate(blobs(count, channels=3, classes=2).pixels):
        save_png(picture, path / f"{i:02d}.png")
    return path


def weights(folder: str | Path) -> dict[str, Tensor]:
    """The tensors of a run's model."""
    return read_tensors(Path(folder) / "model.safetensors")[0]


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    """Bit-for-bit equality."""
    assert a.keys() == b.keys()
    assert a
    for name in a:
        assert torch.equal(a[name], b[name]), name


def python(*arguments: object) -> subprocess.Popen:
    """Start Python on one thread with the package on its path."""
    env = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"))),
    }
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def finished(process: subprocess.Popen, timeout: float = 300) -> tuple[int, str, str]:
    """Wait for a process: its exit code, standard output and standard error."""
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err
