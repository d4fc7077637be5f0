"""Exercise 2.6, a sampling loop: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import bars, betas, f64, normal
from ldm_edu.check.exercise import Exercise

_LEFT_KNOWN = (
    Known(lambda beta: beta[1].sqrt(), "You get {got:.4f}, the deviation of what is left; the variance is asked."),
    Known(
        lambda beta: beta[-1],
        "You get {got:.4f}, the β of the first step that the loop takes. Which step is its last?",
    ),
    Known(lambda beta: beta[0], "You get {got:.4f}: step 0 does not exist. The last step goes from x_1 to x_0."),
    Known(
        lambda beta: beta.sum(),
        "You get {got:.4f}, the sum over all steps: what the others add is taken away again.",
    ),
    Known(
        lambda beta: 1 - bars(beta)[-1],
        "You get {got:.4f}, the noise at the start. The perfect network takes all of that away.",
    ),
)  # fmt: skip


def _loop(times=None, noisy=lambda t: t > 1, of_eps=None, spread=None, look=lambda x, x_T: x, ask=lambda t: t, z=0):
    """The sampling loop with one thing or another done differently."""
    of_eps = of_eps or (lambda b, bar: b / (1 - bar).sqrt())
    spread = spread or (lambda b: b.sqrt())

    def sample(predict, x_T, zs, beta):
        T, bar, x = len(beta) - 1, bars(beta), x_T
        for t in times(T) if times else range(T, 0, -1):
            eps_hat = predict(look(x, x_T), ask(t))
            x = (x - of_eps(beta[t], bar[t]).item() * eps_hat) / (1 - beta[t]).sqrt().item()
            if noisy(t):
                x = x + spread(beta[t]).item() * zs[t + z]
        return x

    return sample


_sample = _loop()


def _off(say):
    return lambda case, got, want: say.format(
        T=len(case.beta) - 1, off=f"{(got - want).square().mean().sqrt().item():.4f}", beta=f"{case.beta[1].sqrt():.4f}"
    )


_LOOP_KNOWN = (
    Known(
        _loop(noisy=lambda t: True),
        _off(
            "Your result is off by {off} (root mean square), and √β_1 is {beta}: there is still noise in the last step."
        ),
    ),
    Known(
        _loop(noisy=lambda t: False),
        _off("Your result is off by {off}: no step adds its fresh noise. Only the last one must not."),
    ),
    Known(
        _loop(times=lambda T: range(T - 1, 0, -1)),
        _off("Your result is off by {off}: the step from t = {T} is not taken, though x_T is given."),
    ),
    Known(
        _loop(times=lambda T: range(T, 1, -1)),
        _off("Your result is off by {off}: the loop ends at x_1. range stops before its second number."),
    ),
    Known(
        _loop(times=lambda T: range(1, T + 1)),
        _off("Your result is off by {off}: the loop runs from 1 up to {T}; x_T is noise, and t must fall."),
    ),
    Known(
        _loop(z=-1),
        _off("Your result is off by {off}: the step from t takes zs[t − 1]; each step has the noise of its own t."),
    ),
    Known(
        _loop(look=lambda x, x_T: x_T),
        _off("Your result is off by {off}: predict is asked about x_T at every step, not about the x of that step."),
    ),
    Known(
        _loop(ask=lambda t: t - 1),
        _off("Your result is off by {off}: predict is asked about t − 1; the x that it sees is one of t."),
    ),
    Known(
        _loop(spread=lambda b: b),
        _off("Your result is off by {off}: z is multiplied by a variance; β_t needs its root there."),
    ),
    Known(
        _loop(of_eps=lambda b, bar: b.sqrt()),
        _off("Your result is off by {off}: ε̂ stands with √β_t, which belongs to the noise of a single step."),
    ),
)


def _predict(x_t, t):
    """Some network: it looks at x_t and at t."""
    return torch.tanh(x_t) * (0.6 + 0.1 * t) + 0.05 * t


def _case(shape, T, seed, dtype=f64):
    x_T, zs = normal(*shape, seed=seed, dtype=dtype), normal(T + 1, *shape, seed=seed + 1, dtype=dtype)
    return {"predict": _predict, "x_T": x_T, "zs": zs, "beta": betas(T, seed)}


def _try(left_over, sample):
    compare(left_over, lambda beta: beta[1], [{"beta": betas(T, T)} for T in (6, 3, 1)], _LEFT_KNOWN, ("the variance",))
    cases = [
        _case((6, 3), 5, 1),
        _case((2, 1, 3, 4), 3, 2),
        _case((1, 2), 1, 3),  # one step, which is the last
        _case((1, 2), 4, 4, torch.float32),
    ]
    compare(sample, _sample, cases, _LOOP_KNOWN, ("x_0",))


sample = Exercise(
    title="Find the mistake: a sampling loop",
    kind="find the mistake",
    answers=("left_over", "sample"),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=20,
    hints=(
        "Follow the loop's last round by hand. What does it do to x after the mean is computed?",
        "In that round the perfect network gives x_0 exactly, and then noise of variance β_1 is added to it.",
        "for t in range(T, 0, -1): the mean of (2.12) with predict(x, t); then, only if t > 1, add √β_t zs[t].",
    ),
)
