"""What a network takes: each input is checked once, at the door. Used by ldm_edu.nets; notebook 04."""

import torch
from torch import Tensor


def as_floats(name: str, x: Tensor, like: Tensor) -> Tensor:
    """x, of any shape, in the type of `like`, one of the weights.

    Raises:
        ValueError: whole numbers: bytes would pass as pictures far too bright.
    """
    if not x.is_floating_point():
        raise ValueError(
            f"{name} must be floats, got {x.dtype}: pictures are in [-1, 1], as ldm_edu.data.pictures.to_float makes "
            "them from bytes 0 to 255, and latents on the scale that encode gives."
        )
    return x.to(like.dtype)


def check_x(x: Tensor, channels: int, stem: int) -> None:
    """Refuse an x that isn't (B, channels, H, W) float with H and W multiples of stem.

    Raises:
        ValueError: what it is, and what was expected.
    """
    if x.ndim != 4 or x.shape[1] != channels or not x.is_floating_point():
        raise ValueError(f"x is {x.dtype} of shape {tuple(x.shape)}; expected floats of shape (B, {channels}, H, W).")
    if x.shape[2] % stem or x.shape[3] % stem:
        raise ValueError(f"x is {x.shape[2]}x{x.shape[3]} pixels; expected multiples of stem={stem}. Pad or crop it.")


def as_times(t: Tensor | int | float, x: Tensor) -> Tensor:
    """t as (B,) or, where it is one time for all, (1,).

    Raises:
        ValueError: t is neither one number nor one for each example of x.
    """
    t = torch.as_tensor(t, device=x.device)
    if t.ndim == 0:
        return t.reshape(1)
    if t.shape != x.shape[:1]:
        raise ValueError(
            f"t has shape {tuple(t.shape)}; expected ({x.shape[0]},), one time for each example, or one number."
        )
    return t


def as_labels(cond: Tensor | None, x: Tensor, num_classes: int) -> Tensor:
    """The labels as (B,), or (1,) of "no class" for None.

    Raises:
        ValueError: labels that are not (B,) int64, or, on the CPU, outside [0, num_classes].
    """
    if cond is None:
        return torch.full((1,), num_classes, device=x.device)
    if cond.shape != x.shape[:1] or cond.dtype != torch.int64:
        raise ValueError(
            f"cond is {cond.dtype} of shape {tuple(cond.shape)}; expected torch.int64 labels of shape ({x.shape[0]},)."
        )
    # Only on the CPU: elsewhere the look would wait for the device.
    if cond.device.type == "cpu" and cond.numel() and not torch.compiler.is_compiling():
        low, high = int(cond.min()), int(cond.max())
        if low < 0 or high > num_classes:
            raise ValueError(
                f"cond has labels from {low} to {high}; expected 0 to {num_classes - 1}, or {num_classes} for no class."
            )
    return cond


def as_context(cond: Tensor | None, x: Tensor, context_dim: int | None) -> Tensor | None:
    """The context (B, L, context_dim), checked, in the type of x; None where the net has none.

    Raises:
        ValueError: a context that is not (B, L, context_dim) float, a missing one, or one for a net without.
    """
    if context_dim is None:
        if cond is not None:
            raise ValueError("cond is given, but this U-Net takes none; set num_classes or context_dim.")
        return None
    expected = f"({x.shape[0]}, L, {context_dim})"
    if cond is None:
        raise ValueError(
            f"cond is None; expected a context of shape {expected}. Where there is no text, pass the code of "
            f"the empty text."
        )
    fits = cond.ndim == 3 and cond.shape[0] == x.shape[0] and cond.shape[2] == context_dim
    if not fits or not cond.is_floating_point():
        raise ValueError(f"cond is {cond.dtype} of shape {tuple(cond.shape)}; expected floats of shape {expected}.")
    return cond.to(x.dtype)
