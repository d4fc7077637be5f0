"""Where to compute, and how much work a notebook does: a minute on a CPU, or a real training on a GPU."""

from __future__ import annotations

import os
from typing import Literal, get_args

import torch

Profile = Literal["cpu", "gpu"]
VARIABLE = "LDM_EDU_PROFILE"


def profile() -> Profile:
    """The profile: what the environment variable LDM_EDU_PROFILE says, else "gpu" where there is one.

    Raises:
        ValueError: the variable holds another word.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked and asked not in get_args(Profile):
        raise ValueError(f'{VARIABLE} must be "cpu" or "gpu", or unset to choose by the device, got {asked!r}')
    return asked or ("gpu" if torch.cuda.is_available() else "cpu")


def device() -> torch.device:
    """Where a notebook computes: the GPU if there is one, in either profile."""
    return torch.device(pick_device("auto"))


def pick_device(name: str) -> str:
    """The device that a name stands for.

    Raises:
        ValueError: a name that is none of auto, cpu and cuda, or cuda where there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"--device must be auto, cpu or cuda, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda was asked for, but no CUDA GPU is there; use --device auto or cpu")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def pick_precision(name: str, device: str) -> Literal["no", "fp16", "bf16"]:
    """The precision of products and convolutions that a name stands for on a device, cpu or cuda.

    Raises:
        ValueError: fp16 on a CPU.
    """
    if name == "fp16" and device == "cpu":
        raise ValueError("--precision fp16 needs a GPU; on a CPU use auto, bf16 or no")
    if name == "auto":
        return "bf16" if has_bfloat16(device) else "no"
    return name


def has_bfloat16(device: str) -> bool:
    """Whether bfloat16 is fast there, not only possible."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.cpu._is_avx512_bf16_supported()  # mkldnn's own answer counts processors that only imitate it
