"""Exercise 4.6, noising and denoising in one loss: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.calls import Mistake, attempt
from ldm_edu.check.compare import Known, close, compare, tidy
from ldm_edu.check.draw import along, bars, betas, f64, normal
from ldm_edu.check.exercise import Exercise


def _claimed_floor(beta, variance):
    bar = bars(beta)[-1].item()
    return variance * (1 - bar) / (bar * variance + 1 - bar)


def _floor(of):
    """A number made of ᾱ_T and the data's variance."""
    return lambda beta, variance: of(bars(beta)[-1].item(), variance)


_FLOOR_KNOWN = (
    Known(
        lambda beta, variance: 0.0,
        "You get {got:.0f}: then x_T would have to tell x_0 exactly, through all the noise in it.",
    ),
    Known(
        lambda beta, variance: variance,
        "You get {got:.4f}, which one constant answer reaches. x_T still tells a little of x_0: use it.",
    ),
    Known(
        lambda beta, variance: 2 * _claimed_floor(beta, variance),
        "You get {got:.4f}: so much a perfect sampler loses, whose answer is as random as x_0 given x_T. Some other "
        "answer loses less.",
    ),
    Known(
        _floor(lambda bar, s2: 1 - bar),
        "You get {got:.4f}, the variance of the noise in x_T. The error of x_0 depends on the data too.",
    ),
    Known(
        _floor(lambda bar, s2: (1 - bar) * s2),
        "You get {got:.4f}: with this data variance, {variance}, the variance of x_T is not 1.",
    ),
    Known(
        _floor(lambda bar, s2: bar * s2 / (bar * s2 + 1 - bar)),
        "You get {got:.4f}: this is the smallest error of ε, the exercise on it is in notebook 03. Here x_0 is asked.",
    ),
    Known(
        _floor(lambda bar, s2: (1 - bar) / bar),
        "You get {got:.4f}: this is the error of x_T/√ᾱ_T, which trusts x_T entirely. Shrinking it loses less.",
    ),
    Known(
        lambda beta, variance: variance * beta[-1].item() / ((1 - beta[-1].item()) * variance + beta[-1].item()),
        "You get {got:.4f} from the last β alone: the noise of all steps stands between x_0 and x_T.",
    ),
    Known(
        lambda beta, variance: _claimed_floor(beta, variance) ** 0.5,
        "You get {got:.4f}, a deviation; the mean of the squared error is asked.",
    ),
)


def _made(
    target=lambda x_0, eps: eps, ask=lambda t: t, at=lambda t: t, see=None, reduce=lambda error: error.square().mean()
):
    """The loss with one thing done differently, from x_0, ε, t and the tables."""
    see = see or (lambda x_0, eps, bar, beta: bar.sqrt() * x_0 + (1 - bar).sqrt() * eps)

    def loss(net, x_0, t, eps, beta):
        x_t = see(x_0, eps, along(bars(beta), at(t), x_0), along(beta, at(t), x_0))
        return reduce(target(x_0, eps) - net(x_t, ask(t)))

    return loss


_loss = _made()


def _round_trip(net, x_0, t, eps, beta):
    """To x_T and back, comparing pictures; ε is the noise of the whole way."""
    bar = bars(beta)[-1].item()
    x = bar**0.5 * x_0 + (1 - bar) ** 0.5 * eps
    for s in range(len(beta) - 1, 0, -1):
        level = beta[s].item()
        x = (x - level**0.5 * net(x, torch.full((len(x),), s))) / (1 - level) ** 0.5
    return (x_0 - x).square().mean()


def _off(say):
    return "Your loss is {got:.4f} in place of {want:.4f}: " + say


_LOSS_KNOWN = (
    Known(_round_trip, _off("there still is a loop over all steps in it, and pictures are compared.")),
    Known(_made(target=lambda x_0, eps: x_0), _off("the network's answer is compared with x_0; it guesses ε.")),
    Known(
        _made(at=lambda t: t[:1].expand_as(t), ask=lambda t: t[:1].expand_as(t)),
        _off("all pictures got the t of the first."),
    ),
    Known(
        _made(at=lambda t: t[:1].expand_as(t)),
        _off("all pictures were noised to the t of the first, and the network was told another."),
    ),
    Known(
        _made(ask=lambda t: t[:1].expand_as(t)),
        _off("each picture was noised to its own t, and the network was told the first's."),
    ),
    Known(_made(ask=lambda t: t - 1), _off("the network was told t − 1 with the x of t.")),
    Known(
        _made(at=lambda t: t - 1),
        _off("the noise is that of t − 1. beta[0] is 0 and belongs to the product, so no index is shifted."),
    ),
    Known(
        _made(see=lambda x_0, eps, bar, beta: (1 - beta).sqrt() * x_0 + beta.sqrt() * eps),
        _off("x_t was made by a single step from x_0, and t steps lie between them."),
    ),
    Known(
        _made(see=lambda x_0, eps, bar, beta: bar * x_0 + (1 - bar) * eps),
        _off("the roots are missing where x_t is made."),
    ),
    Known(_made(see=lambda x_0, eps, bar, beta: x_0), _off("the network was shown the clean x_0.")),
    Known(
        _made(reduce=lambda error: error.square().sum()),
        _off("a sum over all entries grows with the batch; take the mean."),
    ),
    Known(_made(reduce=lambda error: error.abs().mean()), _off("the error is not squared.")),
)


def _net(x_t, t):
    """Some network: it looks at x_t and at t, which must be one number an example."""
    if t.shape != x_t.shape[:1]:
        raise ValueError(f"net takes t of shape ({len(x_t)},), got {tuple(t.shape)}")
    return torch.tanh(x_t) * (0.3 + 0.1 * t.to(x_t.dtype)).view(-1, *[1] * (x_t.ndim - 1)) + 0.2


def _case(shape, t, T, seed, dtype=f64):
    x_0, eps = (normal(*shape, seed=seed + i, dtype=dtype) for i in range(2))
    return {"net": _net, "x_0": x_0, "t": torch.tensor(t), "eps": eps, "beta": betas(T, seed)}


def _try(claimed_floor, one_call_loss):
    pairs = [(betas(5, 1), 0.5), (betas(12, 2), 2.5), (betas(1, 3), 1.0), (betas(3, 4), 0.05)]
    cases = [{"beta": beta, "variance": variance} for beta, variance in pairs]
    compare(claimed_floor, _claimed_floor, cases, _FLOOR_KNOWN, ("the smallest loss",))
    cases = [
        _case((6, 5), [2, 3, 5, 7, 9, 1], 9, 1),
        _case((2, 1, 3, 5), [1, 6], 6, 2),
        _case((1, 2), [4], 4, 3),
        _case((3, 3), [1, 2, 3], 3, 4, torch.float32),
    ]
    _look_at_draws(one_call_loss, cases[0])
    compare(one_call_loss, _loss, cases, _LOSS_KNOWN, ("the loss",))


def _look_at_draws(answer, case):
    """The same arguments must give the same loss."""
    try:
        first, second = (tidy(attempt(answer, case), ("the loss",)) for _ in range(2))
    except Mistake:
        return  # told by compare
    if first.numel() == second.numel() == 1 and not close(first, second):
        raise Mistake(
            f"Asked twice with the same arguments, your loss is {first.item():.4f} and {second.item():.4f}: noise is "
            "drawn inside. The noise in x_t must be the eps that is given, and the target too."
        )


one_call_loss = Exercise(
    title="Find the mistake: there and back in one loss",
    kind="find the mistake",
    answers=("claimed_floor", "one_call_loss"),
    trial=_try,
    points=4,
    difficulty=2,
    minutes=25,
    hints=(
        "All that the way back sees is x_T. Which function of x_T has the least mean square error as a guess of x_0?",
        "The mean of x_0 given x_T, and the error that it leaves is the variance of x_0 given x_T: x_0 and x_T are "
        "jointly normal, Var − Cov²/Var. For the second part: each term of the bound concerns one t.",
        "s²(1−ᾱ_T)/(ᾱ_T s² + 1−ᾱ_T). The loss: x_t = √ᾱ_t x_0 + √(1−ᾱ_t) ε with ᾱ_t of each picture's own t, then the "
        "mean of (ε − net(x_t, t))².",
    ),
)
