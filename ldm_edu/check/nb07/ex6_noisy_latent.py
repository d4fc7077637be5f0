"""Exercise 7.6, noise before the encoder: how its answers are checked."""

from __future__ import annotations

import math

import torch

from ldm_edu.check.calls import Mistake, attempt
from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import along, alpha_bars, f64, normal
from ldm_edu.check.exercise import Exercise


def _code_noise(alpha_bar_t, factor):
    return math.sqrt(1 - alpha_bar_t) / factor


_NOISE_KNOWN = (
    Known(
        lambda alpha_bar_t, factor: math.sqrt(1 - alpha_bar_t),
        "You get {got:.4f}, the pixels' own deviation: what does a mean over {factor}×{factor} of them do to it?",
    ),
    Known(
        lambda alpha_bar_t, factor: (1 - alpha_bar_t) / factor**2,
        "Your {got:.4f} is the variance; the deviation is asked.",
    ),
    Known(
        lambda alpha_bar_t, factor: math.sqrt(1 - alpha_bar_t) / factor**2,
        "You get {got:.4f}: the variance falls by the number of pixels in a block, and the deviation by its root.",
    ),
    Known(
        lambda alpha_bar_t, factor: math.sqrt((1 - alpha_bar_t) / factor),
        "You get {got:.4f}: a block has more than {factor} pixels.",
    ),
    Known(
        lambda alpha_bar_t, factor: (1 - alpha_bar_t) / factor,
        "You get {got:.4f}: 1 − ᾱ_t is a variance; its root is missing.",
    ),
    Known(
        lambda alpha_bar_t, factor: math.sqrt(1 - alpha_bar_t) * factor,
        "You get {got:.4f}, more than a pixel has: that is for the sum over a block, not for its mean.",
    ),
)  # fmt: skip


def _made(code=None, norm=None, roots=True, of_t=lambda t: t, noised=None):
    """x_t of a latent with one thing done differently."""
    code = code or (lambda mean, std, z: mean + std * z)
    norm = norm or (lambda latent, shift, scale: (latent - shift) / scale)
    noised = noised or (lambda x, signal, noise, eps, z: signal * x + noise * eps)

    def noisy_latent(encode, picture, z, t, eps, alpha_bar, shift, scale):
        bar = along(alpha_bar, of_t(t), eps)
        factors = (bar.sqrt(), (1 - bar).sqrt()) if roots else (bar, 1 - bar)
        return noised(norm(code(*encode(picture), z), shift, scale), *factors, eps, z)

    return noisy_latent


_noisy_latent = _made()


def _late(encode, picture, z, t, eps, alpha_bar, shift, scale):
    raw = _made(norm=lambda latent, shift, scale: latent)(encode, picture, z, t, eps, alpha_bar, shift, scale)
    return (raw - shift) / scale


def _says(text):
    """A sentence with how much noise the result holds: its factor of eps at the largest t, beside noise[t]."""

    def sentence(case, got, want):
        i = int(case.t.argmax())
        mean, std = (x[i].double() for x in case.encode(case.picture))
        x_0 = (mean + std * case.z[i] - case.shift) / case.scale
        parts = torch.stack([v.double().flatten() for v in (x_0, case.eps[i], torch.ones_like(x_0))], 1)
        factor = torch.linalg.lstsq(parts, got[i].flatten()[:, None]).solution[1].item()
        return text.format(
            t=int(case.t[i]), eps=f"{factor:.4f}", noise=f"{(1 - case.alpha_bar[case.t[i]]).sqrt().item():.4f}",
            off=f"{(got - want).square().mean().sqrt().item():.4f}", first=int(case.t[0]),
        )  # fmt: skip

    return sentence


_LATENT_KNOWN = (
    Known(
        _made(norm=lambda latent, shift, scale: latent),
        _says("Your x_t is off by {off} (rms): the code is noised as it comes; the schedule is made for variance 1."),
    ),
    Known(
        _late,
        _says(
            "At t = {t} ε has the factor {eps}, not {noise}: the noise was divided by the scale along with the code."
        ),
    ),
    Known(
        _made(code=lambda mean, std, z: mean),
        _says("Your x_t is off by {off} (rms): the code's mean is used at every step; draw it afresh."),
    ),
    Known(
        _made(code=lambda mean, std, z: mean + z),
        _says("Your x_t is off by {off} (rms): z has variance 1, and the code its own std."),
    ),
    Known(
        _made(code=lambda mean, std, z: mean + std**2 * z),
        _says("Your x_t is off by {off} (rms): std is a deviation already; you squared it."),
    ),
    Known(
        _made(norm=lambda latent, shift, scale: latent * scale + shift),
        _says("Your x_t is off by {off} (rms): this is what undoes the normalisation, before the decoder."),
    ),
    Known(
        _made(norm=lambda latent, shift, scale: latent / scale),
        _says("Your x_t is off by {off} (rms): divided by the scale, and not shifted."),
    ),
    Known(
        _made(norm=lambda latent, shift, scale: (latent - shift) * scale),
        _says("Your x_t is off by {off} (rms): shifted, and multiplied by what should divide."),
    ),
    Known(
        _made(noised=lambda x, signal, noise, eps, z: signal * x + noise * z),
        _says("At t = {t} ε has the factor {eps}, not {noise}: z of the code's draw is used once more as the noise."),
    ),
    Known(
        _made(roots=False),
        _says("At t = {t} ε has the factor {eps}, not {noise}: ᾱ and 1 − ᾱ stand where their roots should."),
    ),
    Known(
        _made(noised=lambda x, signal, noise, eps, z: noise * x + signal * eps),
        _says("At t = {t} ε has the factor {eps}, not {noise}: signal and noise have changed places."),
    ),
    Known(
        _made(noised=lambda x, signal, noise, eps, z: x + noise * eps),
        _says("Your x_t is off by {off} (rms): the noise is right at t = {t}, and the latent is not shrunk."),
    ),
    Known(
        _made(of_t=lambda t: t[:1].expand_as(t)),
        _says("At t = {t} ε has the factor {eps}, not {noise}: all examples get the noise of t = {first}."),
    ),
)


def _encode(picture):
    """Some encoder, half as high and wide: (mean, std) with three channels, not normalised."""
    pooled = torch.nn.functional.avg_pool2d(picture, 2)
    weights = torch.tensor([3.0, -1.0, 0.5], dtype=picture.dtype).view(-1, 1, 1)
    mean = weights * pooled.sum(1, keepdim=True) + 2
    return mean, 0.2 + torch.sigmoid(mean)


class _Encoder:
    """The encoder, which remembers what it was shown."""

    def __init__(self):
        self.seen = []

    def __call__(self, picture):
        self.seen.append(picture.clone())
        return _encode(picture)


def _case(shape, t, T, seed, dtype=f64):
    B, _, H, W = shape
    z, eps = (normal(B, 3, H // 2, W // 2, seed=seed + i, dtype=dtype) for i in (1, 2))
    shift, scale = (normal(3, 1, 1, seed=seed + i, dtype=dtype) for i in (3, 4))
    return {
        "encode": _encode, "picture": normal(*shape, seed=seed, dtype=dtype), "z": z, "t": torch.tensor(t), "eps": eps,
        "alpha_bar": alpha_bars(T, seed), "shift": shift + 1, "scale": 1.5 + scale.abs(),
    }  # fmt: skip


def _try(code_noise, noisy_latent):
    pairs = [(0.6, 4), (0.1, 2), (0.9, 8), (0.3, 1), (1.0, 4)]
    compare(
        code_noise, _code_noise, [{"alpha_bar_t": a, "factor": f} for a, f in pairs], _NOISE_KNOWN, ("the deviation",)
    )
    cases = [
        _case((4, 1, 8, 6), [2, 8, 5, 7], 9, 1),
        _case((1, 3, 4, 6), [4], 4, 11),
        _case((3, 1, 6, 4), [1, 3, 2], 5, 21, torch.float32),
    ]
    _watch(noisy_latent, cases[0])
    compare(noisy_latent, _noisy_latent, cases, _LATENT_KNOWN, ("x_t",))


def _watch(noisy_latent, case):
    """What the encoder gets to see: each picture of the batch once, as it is."""
    encode, picture = _Encoder(), case["picture"]
    attempt(noisy_latent, case | {"encode": encode})
    for seen in encode.seen:
        if seen.shape[1:] != picture.shape[1:]:
            raise Mistake(f"encode got shape {tuple(seen.shape)}: it takes pictures, as {tuple(picture.shape)}")
    count = sum(map(len, encode.seen))
    if count != len(picture):
        raise Mistake(f"encode was shown {count} pictures for a batch of {len(picture)}: each is encoded once")
    off = (torch.cat(encode.seen).double() - picture.double()).square().mean().sqrt().item()
    if off > 1e-6:
        raise Mistake(f"encode was shown pictures that are off by {off:.2f} (rms): it takes them without noise")


noisy_latent = Exercise(
    title="Find the mistake: noise before the encoder",
    kind="find the mistake",
    answers=("code_noise", "noisy_latent"),
    trial=_try,
    points=4,
    difficulty=2,
    minutes=25,
    hints=(
        "A block has f² pixels, with independent noise. What is the variance of the mean of f² independent numbers?",
        "The mended order: encode the clean picture, draw its code with std and z, normalise, and noise only then.",
        "x_0 = (mean + std · z − shift)/scale, then √ᾱ_t x_0 + √(1−ᾱ_t) ε, with each example's own t. The claim's "
        "noise in the code is √(1−ᾱ_t)/f.",
    ),
)
