"""Exercise 6.5, a path along the shell: how its answers are checked."""

from __future__ import annotations

import math

import torch

from ldm_edu.check.calls import Mistake, attempt
from ldm_edu.check.compare import Known, compare, tidy
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise


def _dots(a, b, dims):
    return (a * b).sum(dims, keepdim=True)


def _made(cosine=None, angle=lambda theta: theta, mix=None, dims=None):
    """The mix with one thing done differently; θ has the shape (B, 1, …)."""
    cosine = cosine or (lambda ab, aa, bb: ab / (aa * bb).sqrt())
    mix = mix or (lambda A, B, theta, a, b: (A.sin() * a + B.sin() * b) / theta.sin())

    def slerp(z_1, z_2, u):
        over = dims(z_1) if dims else tuple(range(1, z_1.ndim))
        cos = cosine(_dots(z_1, z_2, over), _dots(z_1, z_1, over), _dots(z_2, z_2, over))
        theta = angle(cos.clamp(-1, 1).arccos())
        return mix((1 - u) * theta, u * theta, theta, z_1, z_2)

    return slerp


_slerp = _made()


def _lerp(z_1, z_2, u):
    return (1 - u) * z_1 + u * z_2


def _says(text):
    """A sentence with the length of the first example's mix and of its two ends, or how far the batch is off."""

    def sentence(case, got, want):
        lengths = [x[0].double().norm().item() for x in (got, case.z_1, case.z_2, want)]
        length, first, second, right = (f"{x:.3f}" for x in lengths)
        off = f"{(got - want).abs().max().item():.4f}"
        return text.format(u=case.u, length=length, first=first, second=second, right=right, off=off)

    return sentence


_KNOWN = (
    Known(
        _lerp,
        _says("At u = {u} your mix has length {length} between {first} and {second}: it cuts through the shell."),
    ),
    Known(
        lambda z_1, z_2, u: _slerp(z_1, z_2, 1 - u),
        _says("At u = {u} you are off by {off}: u = 0 must give z_1, and you give z_2."),
    ),
    Known(
        _made(angle=lambda theta: theta * 180 / math.pi),
        _says("At u = {u} your mix has length {length} between {first} and {second}: torch's sin takes no degrees."),
    ),
    Known(
        _made(cosine=lambda ab, aa, bb: ab),
        _says("At u = {u} your mix has length {length} between {first} and {second}: a dot product is no cosine yet."),
    ),
    Known(
        _made(cosine=lambda ab, aa, bb: ab / (aa * bb)),
        _says("At u = {u} your mix has length {length}: the dot product is divided by squared lengths."),
    ),
    Known(
        _made(angle=torch.cos),
        _says("At u = {u} your mix has length {length}: the cosine stands where the angle should; arccos is missing."),
    ),
    Known(
        _made(mix=lambda A, B, theta, a, b: A.sin() * a + B.sin() * b),
        _says("At u = {u} your mix has length {length} between {first} and {second}: sin θ must divide."),
    ),
    Known(
        _made(mix=lambda A, B, theta, a, b: A.cos() * a + B.sin() * b),
        _says("At u = {u} you are off by {off}: both weights are sines, so that they are 0 and 1 at the ends."),
    ),
    Known(
        _made(
            mix=lambda A, B, theta, a, b: (
                (
                    A.sin() * a / _dots(a, a, tuple(range(1, a.ndim))).sqrt()
                    + B.sin() * b / _dots(b, b, tuple(range(1, b.ndim))).sqrt()
                )
                / theta.sin()
            )
        ),
        _says("Your mix has length {length} between ends of {first} and {second}: only the angle needs unit lengths."),
    ),
    Known(
        _made(dims=lambda z: tuple(range(z.ndim))),
        _says("At u = {u} you are off by {off}: you use one angle for the whole batch; each pair has its own."),
    ),
    Known(
        _made(dims=lambda z: (-1,)),
        _says("At u = {u} you are off by {off}: the angle was taken along the last axis, one for each row of pixels."),
    ),
    Known(
        lambda z_1, z_2, u: _lerp(z_1, z_2, u) / math.sqrt((1 - u) ** 2 + u**2),
        _says("At u = {u} your length is {length}: this rescaling of lerp is right on average, for angles of 90°."),
    ),
)


def _case(shape, u, seed, dtype=f64, scale=1.0):
    z_1, z_2 = (scale * normal(*shape, seed=seed + i, dtype=dtype) for i in range(2))
    return {"z_1": z_1, "z_2": z_2, "u": u}


def _try(slerp):
    cases = [
        _case((3, 2, 3, 2), 0.3, 5, scale=0.28),  # short, so that a dot product lies between −1 and 1
        _case((4, 8), 0.5, 11),
        _case((1, 1, 5, 3), 0.0, 21),
        _case((2, 3, 4), 1.0, 31),
        _case((2, 6), 0.8, 41, torch.float32),
    ]
    compare(slerp, _slerp, cases, _KNOWN, ("the mix",))
    z = torch.tensor([[3.0, 0.0, 4.0], [0.0, 2.0, 0.0]], dtype=f64)
    for case in ({"z_1": z, "z_2": z, "u": 0.25}, {"z_1": z, "z_2": 2 * z, "u": 0.5}):
        _parallel(slerp, case)
    _mixed(slerp)


def _mixed(slerp):
    """A batch in which some pairs point the same way, up to rounding, and the last one does not."""
    z_1, z_2 = normal(40, 12, seed=1), 2 * normal(40, 12, seed=1)
    z_2[-1] = normal(12, seed=2)
    case = {"z_1": z_1, "z_2": z_2, "u": 0.3}
    mix = tidy(attempt(slerp, case), ("the mix",))
    want = torch.cat([_lerp(z_1[:-1], z_2[:-1], 0.3), _slerp(z_1[-1:], z_2[-1:], 0.3)])
    nans = int((~torch.isfinite(mix)).flatten(1).any(1).sum())
    if nans:
        raise Mistake(
            f"in a batch of {len(z_1)} pairs, most of which point the same way, {nans} mixes are nan: rounding takes a "
            "cosine beyond 1, or θ to 0, for single pairs. Each pair has its own θ"
        )
    if mix.shape != want.shape or (mix[-1] - want[-1]).abs().max() > 1e-3:
        raise Mistake(
            f"in a batch of {len(z_1)} pairs the last one has an angle, and the others point the same way: your last "
            f"mix has length {mix[-1].norm().item():.3f}, expected {want[-1].norm().item():.3f}. The limit is for "
            "those pairs only that need it"
        )
    if (mix - want).abs().max() > 1e-3:
        raise Mistake(f"two codes that point the same way: your mix is off by {(mix - want).abs().max().item():.4f}")


def _parallel(slerp, case):
    """Two codes that point the same way: θ = 0, and the formula is 0/0."""
    mix, want = tidy(attempt(slerp, case), ("the mix",)), _lerp(**case)
    if not torch.isfinite(mix).all():
        raise Mistake("for two codes that point the same way you return nan: θ = 0 there, and sin θ divides")
    if mix.shape != want.shape or (mix - want).abs().max() > 1e-3:
        length = mix.flatten(1)[0].norm().item() if mix.ndim else mix.abs().item()
        ends = [case[name][0].norm().item() for name in ("z_1", "z_2")]
        raise Mistake(
            f"two codes of lengths {ends[0]:g} and {ends[1]:g} that point the same way: at u = {case['u']} your mix "
            f"has length {length:g}, and the formula's limit for θ → 0 has {want[0].norm().item():g}"
        )


slerp = Exercise(
    title="Along the shell",
    kind="implement",
    answers=("slerp",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=20,
    hints=(
        "(6.22) needs an angle for each example: sum over all axes but the first, and keep them for the shapes.",
        "cos θ is the dot product over the product of both lengths; clamp it before arccos. Where θ is 0, both weights "
        "have limits: sin(uθ)/sin θ → u.",
        "weights = sin((1−u)θ)/sin θ and sin(uθ)/sin θ; torch.where(θ.sin() < 1e-6, lerp, mix) takes the limit.",
    ),
)  # fmt: skip
