"""Exercise 3.5, the loss of a network that predicts v: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import along, alpha_bars, f64, normal
from ldm_edu.check.exercise import Exercise


def _made(target=None, see=None, ask=lambda t: t, roots=True, reduce=lambda error: error.square().mean()):
    """The loss with one thing done differently, from signal, noise, x_0 and ε."""
    target = target or (lambda s, n, x_0, eps: s * eps - n * x_0)
    see = see or (lambda s, n, x_0, eps: s * x_0 + n * eps)

    def loss(net, x_0, t, eps, alpha_bar):
        bar = along(alpha_bar, t, x_0)
        right = bar.sqrt(), (1 - bar).sqrt()
        made = right if roots else (bar, 1 - bar)
        return reduce(target(*made, x_0, eps) - net(see(*right, x_0, eps), ask(t)))

    return loss


_loss = _made()

_KNOWN = (
    Known(
        _made(lambda s, n, x_0, eps: eps),
        "Your loss is {got:.4f} in place of {want:.4f}: the target is ε, so this trains a noise predictor.",
    ),
    Known(
        _made(lambda s, n, x_0, eps: x_0),
        "Your loss is {got:.4f} in place of {want:.4f}: the target is x_0.",
    ),
    Known(
        _made(lambda s, n, x_0, eps: n * x_0 - s * eps),
        "Your loss is {got:.4f} in place of {want:.4f}: your target is −v. The noise has the plus sign in v.",
    ),
    Known(
        _made(lambda s, n, x_0, eps: s * x_0 - n * eps),
        "Your loss is {got:.4f} in place of {want:.4f}: in your target signal multiplies x_0; it must multiply ε.",
    ),
    Known(
        _made(lambda s, n, x_0, eps: eps - x_0),
        "Your loss is {got:.4f} in place of {want:.4f}: ε − x_0 is the velocity of a straight path, not v of (3.21).",
    ),
    Known(
        _made(lambda s, n, x_0, eps: s * x_0 + n * eps),
        "Your loss is {got:.4f} in place of {want:.4f}: the target is x_t itself, which the network sees already.",
    ),
    Known(
        _made(roots=False),
        "Your loss is {got:.4f} in place of {want:.4f}: the factors in your target are ᾱ and 1−ᾱ without roots.",
    ),
    Known(
        _made(see=lambda s, n, x_0, eps: x_0),
        "Your loss is {got:.4f} in place of {want:.4f}: the network was shown the clean x_0.",
    ),
    Known(
        _made(ask=lambda t: t - 1),
        "Your loss is {got:.4f} in place of {want:.4f}: the network was told t − 1 with the x of t.",
    ),
    Known(
        _made(reduce=lambda error: error.square().sum()),
        "Your loss is {got:.4f} in place of {want:.4f}: a sum over all entries grows with the batch; take the mean.",
    ),
    Known(
        _made(reduce=lambda error: error.square().flatten(1).sum(1).mean()),
        "Your loss is {got:.4f} in place of {want:.4f}: summed over the entries and averaged over the batch only.",
    ),
    Known(
        _made(reduce=lambda error: error.square().mean().sqrt()),
        "Your loss is {got:.4f} in place of {want:.4f}: no root over the mean square.",
    ),
    Known(
        _made(reduce=lambda error: error.abs().mean()),
        "Your loss is {got:.4f} in place of {want:.4f}: the error is not squared.",
    ),
)  # fmt: skip


def _net(x_t, t):
    """Some network: it looks at x_t and at t, which must be one number an example."""
    if t.shape != x_t.shape[:1]:
        raise ValueError(f"net takes t of shape ({len(x_t)},), got {tuple(t.shape)}")
    return torch.tanh(x_t) * (0.3 + 0.1 * t.to(x_t.dtype)).view(-1, *[1] * (x_t.ndim - 1)) + 0.2


def _case(shape, t, T, seed, dtype=f64):
    x_0, eps = normal(*shape, seed=seed, dtype=dtype), normal(*shape, seed=seed + 1, dtype=dtype)
    return {"net": _net, "x_0": x_0, "t": torch.tensor(t), "eps": eps, "alpha_bar": alpha_bars(T, seed)}


def _try(v_loss):
    cases = [
        _case((6, 5), [1, 3, 5, 7, 9, 2], 9, 1),
        _case((2, 1, 3, 5), [1, 6], 6, 2),
        _case((1, 2), [4], 4, 3),
        _case((3, 3), [1, 2, 3], 3, 4, torch.float32),
    ]
    compare(v_loss, _loss, cases, _KNOWN, ("the loss",))


v_loss = Exercise(
    title="The loss of a v-network",
    kind="implement",
    answers=("v_loss",),
    trial=_try,
    points=3,
    difficulty=2,
    minutes=15,
    hints=(
        "It is L_simple but for what the network should answer. Which rows of (3.21) do you need?",
        "The first row makes x_t, which the network sees; the second makes v, which it should answer.",
        "signal = √ᾱ_t and noise = √(1−ᾱ_t) for each example; ((signal ε − noise x_0 − net(x_t, t))²).mean().",
    ),
)  # fmt: skip
