"""Exercise 8.6, guidance in an interval, with clipping: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import alpha_bars, f64, normal
from ldm_edu.check.exercise import Exercise


def _inside(t, low, high):
    return low <= t <= high


def _cfg(told, untold, w):
    return untold + w * (told - untold)


def _clipped(eps, x_t, signal, noise):
    """x̂_0 in [−1, 1], and the ε̂ that goes with it."""
    x0 = ((x_t - noise * eps) / signal).clamp(-1, 1)
    return x0, (x_t - signal * x0) / noise


def _made(mix=_cfg, where=_inside, outside=1.0, finish=_clipped, shift=0, roots=True):
    """The guided prediction with one thing done differently."""

    def guide(net, x_t, t, cond, uncond, guidance, low, high, alpha_bar):
        bar = alpha_bar[t + shift].to(x_t.dtype)
        signal, noise = (bar.sqrt(), (1 - bar).sqrt()) if roots else (bar, 1 - bar)
        told, untold = net(x_t, t, cond), net(x_t, t, uncond)
        eps = mix(told, untold, guidance) if where(t, low, high) else _cfg(told, untold, outside)
        return finish(eps, x_t, signal, noise)

    return guide


_guide = _made()


def _clip_first(net, x_t, t, cond, uncond, guidance, low, high, alpha_bar):
    """Both answers clipped, then mixed."""
    signal, noise = alpha_bar[t].to(x_t.dtype).sqrt(), (1 - alpha_bar[t].to(x_t.dtype)).sqrt()
    told, untold = (_clipped(net(x_t, t, c), x_t, signal, noise)[0] for c in (cond, uncond))
    x0 = _cfg(told, untold, guidance if _inside(t, low, high) else 1.0)
    return x0, (x_t - signal * x0) / noise


def _unclipped(eps, x_t, signal, noise):
    return (x_t - noise * eps) / signal, eps


def _says(say):
    """A sentence with numbers of the case: how far x̂_0 and ε̂ are off, and how well the two fit x_t."""

    def sentence(case, got, want):
        bar = case.alpha_bar[case.t].item()
        left = (bar**0.5 * got[0] + (1 - bar) ** 0.5 * got[1] - case.x_t.double()).abs().max().item()
        return say.format(
            t=case.t, low=case.low, high=case.high, w=case.guidance, left=f"{left:.3f}", off=_most(got[1] - want[1]),
            off_x0=_most(got[0] - want[0]), largest=_most(got[0]),
        )  # fmt: skip

    return sentence


def _most(x):
    return f"{x.abs().max().item():.3f}"


_KNOWN = (
    Known(
        _made(mix=lambda told, untold, w: told + w * (untold - told)),
        _says("At t = {t} and w = {w} your ε̂ is off by up to {off}: you go from cond to uncond, away from the prompt."),
    ),
    Known(
        _made(mix=lambda told, untold, w: told + w * (told - untold)),
        _says(
            "At t = {t} and w = {w} your ε̂ is off by up to {off}: the step starts from cond, as with the w' of Ho and "
            "Salimans, which is w − 1."
        ),
    ),
    Known(
        _made(mix=lambda told, untold, w: w * (told - untold)),
        _says("At t = {t} and w = {w} your ε̂ is off by up to {off}: the difference alone, added to nothing."),
    ),
    Known(
        _made(mix=lambda told, untold, w: w * told),
        _says("At t = {t} and w = {w} your ε̂ is off by up to {off}: w times an answer is a louder noise, no guidance."),
    ),
    Known(
        _made(mix=lambda told, untold, w: w * told + (w - 1) * untold),
        _says(
            "At t = {t} and w = {w} your ε̂ is off by up to {off}: uncond is added where something is to be taken away."
        ),
    ),
    Known(
        _made(where=lambda t, low, high: True),
        _says("At t = {t}, outside {low} … {high}, your ε̂ is off by up to {off}: it is guided there too."),
    ),
    Known(
        _made(where=lambda t, low, high: low < t <= high),
        _says(
            "At t = {t}, with the interval {low} … {high}, your ε̂ is off by up to {off}: its lower end belongs to it."
        ),
    ),
    Known(
        _made(where=lambda t, low, high: not low <= t <= high),
        _says("At t = {t} your ε̂ is off by up to {off}: with the interval {low} … {high} you guide outside of it."),
    ),
    Known(
        _made(outside=0.0),
        _says(
            "At t = {t}, outside {low} … {high}, your ε̂ is off by up to {off}: no guidance means w = 1, and yours is 0."
        ),
    ),
    Known(
        _made(where=lambda t, low, high: low < t < high),
        _says("At t = {t}, with the interval {low} … {high}, your ε̂ is off by up to {off}: its two ends belong to it."),
    ),
    Known(
        _made(where=lambda t, low, high: low <= t < high),
        _says(
            "At t = {t}, with the interval {low} … {high}, your ε̂ is off by up to {off}: its upper end belongs to it."
        ),
    ),
    Known(
        _made(finish=lambda eps, x_t, signal, noise: (_clipped(eps, x_t, signal, noise)[0], eps)),
        _says("signal·x̂_0 + noise·ε̂ misses x_t by up to {left}: x̂_0 was clipped, and ε̂ is still that of before."),
    ),
    Known(
        _clip_first,
        _says(
            "|x̂_0| reaches {largest}: both answers were clipped before they were mixed, and for w = {w} the mixture "
            "leaves the range again."
        ),
    ),
    Known(
        _made(finish=_unclipped),
        _says("|x̂_0| reaches {largest}, and pictures lie in [−1, 1]: nothing was clipped."),
    ),
    Known(
        _made(finish=lambda eps, x_t, signal, noise: _unclipped(eps.clamp(-1, 1), x_t, signal, noise)),
        _says("Your ε̂ is off by up to {off}: ε̂ was clipped. Noise is normal, and goes beyond 1; pictures do not."),
    ),
    Known(
        _made(finish=lambda eps, x_t, signal, noise: tuple(reversed(_clipped(eps, x_t, signal, noise)))),
        _says("Your first result is off by up to {off_x0}: it is ε̂. Return x̂_0 first."),
    ),
    Known(
        _made(roots=False),
        _says("signal·x̂_0 + noise·ε̂ misses x_t by up to {left}: ᾱ_t and 1−ᾱ_t stand where their roots should."),
    ),
    Known(
        _made(shift=-1),
        _says("signal·x̂_0 + noise·ε̂ misses x_t by up to {left}: the table was read at t − 1."),
    ),
)


def _net(x_t, t, c):
    """Some network: it looks at x_t, at t, which may also be one number an example, and at c, which must be."""
    if c.shape != x_t.shape[:1]:
        raise ValueError(f"net takes c of shape ({len(x_t)},), got {tuple(c.shape)}")
    heard, t = (torch.as_tensor(v, dtype=x_t.dtype).view(-1, *[1] * (x_t.ndim - 1)) for v in (c, t))
    heard = torch.sin(1.0 + 2.0 * heard)
    return torch.tanh(x_t * (1 + 0.2 * heard)) * 0.9 + 0.3 * heard + 0.01 * t


def _case(shape, t, cond, guidance, low, high, seed, dtype=f64):
    return {
        "net": _net, "x_t": normal(*shape, seed=seed, dtype=dtype), "t": t, "cond": torch.tensor(cond),
        "uncond": torch.full((shape[0],), 4), "guidance": guidance, "low": low, "high": high,
        "alpha_bar": alpha_bars(9, seed),
    }  # fmt: skip


def _try(guided):
    cases = [
        _case((4, 3, 5), 4, [0, 1, 2, 3], 3.0, 3, 6, 1),
        _case((2, 6), 2, [1, 0], 2.5, 3, 6, 2),
        _case((2, 6), 9, [3, 1], 2.5, 3, 6, 3),
        _case((1, 7), 6, [2], 4.0, 3, 6, 4),
        _case((3, 1, 2, 3), 3, [2, 2, 1], 2.0, 3, 6, 5, torch.float32),
        _case((2, 4), 5, [0, 3], 0.0, 1, 9, 6),
    ]
    compare(guided, _guide, cases, _KNOWN, ("x0_hat", "eps_hat"))


guided = Exercise(
    title="Guidance in an interval, clipped",
    kind="implement",
    answers=("guided",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=20,
    hints=(
        "Three steps in this order: the weight that counts at this t, the guided answer (8.12), the clipping. Which w "
        "is “no guidance”?",
        "x̂_0 = (x_t − √(1−ᾱ_t) ε̂)/√ᾱ_t is clipped once, after the mixing. Then ε̂ must be made anew, so that x_t is "
        "still √ᾱ_t x̂_0 + √(1−ᾱ_t) ε̂.",
        "w = guidance if low ≤ t ≤ high else 1; ε̂ = uncond + w (cond − uncond); x̂_0 clamped to [−1, 1]; "
        "ε̂ = (x_t − √ᾱ_t x̂_0)/√(1−ᾱ_t).",
    ),
)
