"""Exercise 10.5, a small picture pulls at a large one: how its answers are checked."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise


def _repeated(small, factor):
    return small.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def _adjoint(small, factor):
    return _repeated(small, factor) / factor**2


def _in_corner(small, factor):
    """Each value at the first pixel of its block, and 0 elsewhere."""
    large = _repeated(torch.zeros_like(small), factor)
    large[..., ::factor, ::factor] = small
    return large


def _smooth(small, factor, mode):
    return F.interpolate(small, scale_factor=factor, mode=mode, align_corners=False)


def _says_products(text):
    """A sentence with ⟨A x, u⟩ and ⟨x, your u⟩ for an x of ours."""

    def sentence(case, got, want):
        x = 0.5 + normal(*want.shape, seed=9)
        left = (F.avg_pool2d(x, case.factor) * case.small.double()).sum().item()
        right = f"{(x * got).sum().item():.3f}" if got.shape == want.shape else "no number at all"
        return f"For some x, ⟨A x, u⟩ is {left:.3f}, and ⟨x, your Aᵀu⟩ is {right}: " + text.format(f=case.factor)

    return sentence


_ADJOINT_KNOWN = (
    Known(
        _repeated,
        _says_products("enlarging by copies undoes A, A(copies) = u. The adjoint is not the inverse."),
    ),
    Known(
        lambda small, factor: _repeated(small, factor) / factor,
        _says_products("how many pixels has a block whose side is {f}?"),
    ),
    Known(_in_corner, _says_products("one pixel of each block got it all. A looks at every pixel of the block.")),
    Known(
        lambda small, factor: _in_corner(small, factor) / factor**2,
        _says_products("one pixel of each block got a share, and the others none. A looks at all of them."),
    ),
    Known(
        lambda small, factor: small.repeat(1, 1, factor, factor) / factor**2,
        _says_products("the whole picture was put beside itself. A value belongs to the pixels of its own block."),
    ),
    Known(
        lambda small, factor: small.repeat(1, 1, factor, factor),
        _says_products("the whole picture was put beside itself, without weights."),
    ),
    Known(
        lambda small, factor: _repeated(small, factor) * factor**2,
        _says_products("the weight of a pixel in A stands upside down."),
    ),
    *(
        Known(
            lambda small, factor, mode=mode, over=over: _smooth(small, factor, mode) / over(factor),
            _says_products(f"{mode} interpolation looks better, but A never mixes neighbouring blocks."),
        )
        for mode in ("bilinear", "bicubic")
        for over in (lambda f: 1, lambda f: f**2)
    ),
    Known(
        lambda small, factor: F.avg_pool2d(small, factor),
        _says_products("this is A again, and Aᵀ goes the other way."),
    ),
)


def _mean(x, factor):
    return F.avg_pool2d(x, factor)


def _made(shrink=_mean, back=_adjoint, weigh=lambda level, e: 1 / level**2, start=lambda x, y: (x, y)):
    """The gradient of the fit with another A, another Aᵀ, another weight, or another sign."""

    def gradient(x0_hat, y, factor, noise_level):
        x, y = start(x0_hat, y)
        e = y - shrink(x, factor)
        return weigh(noise_level, e) * back(e, factor)

    return gradient


_gradient = _made()


def _norm(e):
    """The length of each picture's misfit."""
    return e.square().sum((1, 2, 3), keepdim=True).sqrt()


def _says(text):
    """A sentence with how your gradient lies along the right one."""

    def sentence(case, got, want):
        along = (got * want).sum() / want.square().sum()
        off = (got - want).norm() / want.norm()
        seen = case.y[0].numel()
        return text.format(
            along=f"{along.item():.4g}", off=f"{off.item():.3f}", sigma=case.noise_level, f=case.factor, n=seen,
            B=len(case.y),
        )  # fmt: skip

    return sentence


_TIMES = "Your gradient is {along} times the right one"

_GRADIENT_KNOWN = (
    Known(
        _made(weigh=lambda level, e: -1 / level**2),
        _says(_TIMES + ", so following it makes the fit worse. Log-likelihoods grow where misfits shrink."),
    ),
    Known(
        _made(weigh=lambda level, e: 1 / level),
        _says(_TIMES + ", with σ_y = {sigma}: the noise level enters by its variance."),
    ),
    Known(_made(weigh=lambda level, e: 1.0), _says(_TIMES + ", and σ_y = {sigma} is not in it: how sure is y?")),
    Known(_made(weigh=lambda level, e: level**2), _says(_TIMES + ", with σ_y = {sigma}: more noise must pull less.")),
    Known(
        _made(weigh=lambda level, e: 2 / level**2),
        _says(_TIMES + ": a square was differentiated; what stands before it in log p(y|x_0)?"),
    ),
    Known(
        _made(weigh=lambda level, e: 0.5 / level**2),
        _says(_TIMES + ": the ½ of log p(y|x_0) is there, and what the square gives is not."),
    ),
    Known(
        _made(weigh=lambda level, e: -2 / level**2),
        _says(_TIMES + ": this is the gradient of ‖e‖²/σ_y², which has to fall. Sign and factor differ."),
    ),
    Known(
        _made(weigh=lambda level, e: 1 / level**2 / e[0].numel()),
        _says(_TIMES + ", with {n} numbers in each y: the mean was taken. All of them are evidence, so they add up."),
    ),
    Known(
        _made(weigh=lambda level, e: 2 / level**2 / e[0].numel()),
        _says(_TIMES + ": this is the gradient of a picture's mean square, over σ_y²; mean and factor both differ."),
    ),
    Known(
        _made(weigh=lambda level, e: 1 / level**2 / e.numel()),
        _says(
            _TIMES + ": the mean over all pixels of all {B} pictures was taken: one pulls less if others come along."
        ),
    ),
    Known(
        _made(weigh=lambda level, e: 2 / level**2 / e.numel()),
        _says(
            _TIMES
            + ": this is the gradient of mse_loss over σ_y²: its mean runs over {B} pictures too, and a ½ is missing."
        ),
    ),
    Known(
        _made(weigh=lambda level, e: 1 / level**2 / len(e)),
        _says(_TIMES + ": the mean over {B} pictures of the batch was taken: each has a y of its own."),
    ),
    Known(
        _made(weigh=lambda level, e: 1 / _norm(e)),
        _says("You are off by {off} of its length: this is the gradient of −‖e‖, which pulls alike at all misfits."),
    ),
    Known(
        _made(weigh=lambda level, e: 1 / (level**2 * _norm(e))),
        _says("You are off by {off} of its length: the misfit was divided by its own length, as with a step by trial."),
    ),
    Known(
        _made(back=_repeated),
        _says(_TIMES + " for f = {f}: e was enlarged by copies, and ∂(A x)/∂x of one pixel is less than 1."),
    ),
    Known(
        _made(lambda x, factor: x[..., ::factor, ::factor]),
        _says("You are off by {off} of its length: x̂_0 was made small by picking one pixel of each block."),
    ),
    Known(
        _made(lambda x, factor: x[..., ::factor, ::factor], _in_corner),
        _says("You are off by {off} of its length: A picks one pixel of each block here, and pulls at no other."),
    ),
    Known(
        _made(lambda x, factor: factor**2 * F.avg_pool2d(x, factor)),
        _says("You are off by {off} of its length: a sum over the block instead of its mean was compared with y."),
    ),
    Known(
        _made(lambda x, factor: factor**2 * F.avg_pool2d(x, factor), _repeated),
        _says("You are off by {off} of its length: your A sums over a block, both there and back; y holds means."),
    ),
    *(
        Known(
            lambda x0_hat, y, factor, noise_level, over=over: (
                (_repeated(y, factor) - x0_hat) / noise_level**2 / over(factor)
            ),
            _says(
                "You are off by {off} of its length: each pixel is pulled to its block's value, and all detail with it."
            ),
        )
        for over in (lambda f: 1, lambda f: f**2)
    ),
    Known(
        _made(start=lambda x, y: (torch.zeros_like(x), y)),
        _says("You are off by {off} of its length: y was pulled back, and not what x̂_0 leaves unexplained of it."),
    ),
)


def _small(shape, factor, seed, dtype=f64):
    return {"small": normal(*shape, seed=seed, dtype=dtype), "factor": factor}


def _case(shape, factor, noise_level, seed, dtype=f64):
    B, C, H, W = shape
    y = normal(*shape, seed=seed, dtype=dtype)
    x0_hat = 0.3 + 0.6 * normal(B, C, factor * H, factor * W, seed=seed + 1, dtype=dtype)
    return {"x0_hat": x0_hat, "y": y, "factor": factor, "noise_level": noise_level}


def _try(adjoint, fit_gradient):
    smalls = [
        _small((2, 1, 3, 4), 3, 1),
        _small((1, 3, 2, 5), 2, 2),
        _small((3, 1, 4, 1), 4, 3, torch.float32),
        _small((2, 2, 2, 2), 1, 4),
    ]
    compare(adjoint, _adjoint, smalls, _ADJOINT_KNOWN, ("Aᵀu",))
    cases = [
        _case((3, 1, 2, 4), 3, 0.4, 11),
        _case((1, 3, 3, 2), 2, 0.1, 21),
        _case((2, 1, 1, 5), 4, 2.0, 31, torch.float32),
        _case((2, 1, 3, 3), 1, 0.5, 41),
    ]
    compare(fit_gradient, _gradient, cases, _GRADIENT_KNOWN, ("the gradient",))


fit_gradient = Exercise(
    title="A small picture pulls at a large one",
    kind="implement",
    answers=("adjoint", "fit_gradient"),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=20,
    hints=(
        "Write A as a matrix for one block. What are its entries, and what does its transpose do with one number?",
        "Aᵀ gives each pixel of a block its weight in the mean times the value. For the gradient use the chain rule on "
        "−‖y − A x̂_0‖²/(2σ_y²), which is log p(y|x_0) up to a constant (10.2).",
        "Aᵀu: small.repeat_interleave(f, 2).repeat_interleave(f, 3) / f². The gradient is Aᵀ(y − A x̂_0)/σ_y², with "
        "avg_pool2d for A.",
    ),
)
