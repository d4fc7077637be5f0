"""Exercise 9.1, two edits of one picture: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import alpha_bars, f64
from ldm_edu.check.exercise import Exercise


def _share(bar, v):
    """R of (9.2)."""
    return bar * v / (bar * v + 1 - bar)


def _made(fresh=lambda R: R**2, still=lambda R: R, share=_share, of_v=lambda v: v):
    """The correlation with one thing done differently; fresh is for η = 1, still for η = 0."""

    def correlation(v, t, eta, alpha_bar):
        R = share(alpha_bar[t], of_v(v))
        return fresh(R) if eta == 1 else still(R)

    return correlation


_alike = _made()


def _says(text):
    """A sentence with the first number that is wrong, its variance and R there."""

    def sentence(case, got, want):
        k = (got - want).abs().argmax()
        v, bar = case.v[k].item(), case.alpha_bar[case.t].item()
        return text.format(
            where=f"For v = {v:.3g}, R = {_share(bar, v):.4f} and η = {case.eta} you get {got[k].item():.4f}"
        )

    return sentence


_KNOWN = (
    Known(
        _made(lambda R: R, lambda R: R.sqrt()),
        _says("{where}: this is how much one edit is like the picture, (9.3). Two edits differ from it independently."),
    ),
    Known(
        _made(lambda R: R, lambda R: R),
        _says("{where}: you let η make no difference. Fresh noise on the way down parts the two edits once more."),
    ),
    Known(
        _made(still=lambda R: R**2),
        _says("{where}: without fresh noise an edit is a multiple of its start, and loses nothing on the way down."),
    ),
    Known(
        _made(lambda R: R, lambda R: R**2),
        _says("{where}: the two values of η have changed places. Which one adds noise of its own?"),
    ),
    Known(
        _made(share=lambda bar, v: bar * torch.ones_like(v)),
        _says("{where}: the variance v plays no part, so all frequencies would survive alike."),
    ),
    Known(
        _made(share=lambda bar, v: 1 - _share(bar, v)),
        _says("{where}: 1 − R is the share of the noise, and the two edits have different noise."),
    ),
    Known(
        _made(share=lambda bar, v: bar.sqrt() * v.sqrt() / (bar.sqrt() * v.sqrt() + (1 - bar).sqrt())),
        _says("{where}: a share of deviations. Of independent parts the variances add up, not the deviations."),
    ),
    Known(
        _made(share=lambda bar, v: bar.sqrt() * v / (bar.sqrt() * v + (1 - bar).sqrt())),
        _says("{where}: the factors of x_0 and ε are not squared, and R is a share of variances."),
    ),
    Known(
        _made(of_v=lambda v: v**2),
        _says("{where}: v is squared as if it were a deviation; it is a variance already."),
    ),
    Known(
        _made(share=lambda bar, v: bar * v / (1 - bar)),
        _says("{where}: you took the ratio of signal to noise, which knows no upper bound; a correlation does."),
    ),
)  # fmt: skip


def _case(v, t, eta, T, seed, dtype=f64):
    return {"v": torch.tensor(v, dtype=dtype), "t": t, "eta": eta, "alpha_bar": alpha_bars(T, seed)}


def _try(alike):
    cases = [
        _case([4.0, 1.0, 0.3], 5, 1, 9, 1),
        _case([4.0, 1.0, 0.3], 5, 0, 9, 1),
        _case([0.05], 3, 1, 4, 2),
        _case([2.0, 20.0], 0, 1, 6, 3),  # nothing was noised
        _case([2.0, 0.5], 6, 0, 6, 4, torch.float32),
    ]
    compare(alike, _alike, cases, _KNOWN, ("the correlation",))


alike = Exercise(
    title="Two edits of one picture",
    kind="derive",
    answers=("alike",),
    trial=_try,
    points=2,
    written=3,
    difficulty=2,
    minutes=20,
    hints=(
        "Given x_0 the two edits are independent. So their covariance is that of their means, given x_0.",
        "For η = 1 the mean of x_0', given x_t, is g x_t with the g above (9.3); for η = 0, x_0' is a multiple of x_t. "
        "Put in x_t = signal_t x_0 + noise_t ε, with a different ε for each edit.",
        "E[x_0' | x_0] is R x_0 for η = 1 and √R x_0 for η = 0, R as in (9.2): the correlation is the factor squared.",
    ),
)  # fmt: skip
