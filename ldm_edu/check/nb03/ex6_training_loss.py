"""Exercise 3.6, a training loss that teaches nothing: how its answers are checked.

The answer draws t and ε itself. The network that it is given remembers what it was shown, so that the loss can be
computed again from that.
"""

from __future__ import annotations

import torch

from ldm_edu.check.calls import Mistake, attempt, number
from ldm_edu.check.compare import tidy
from ldm_edu.check.draw import alpha_bars, normal
from ldm_edu.check.exercise import Exercise

B = 4000


class _Net:
    """A network that remembers its calls. It is always 1 off on purpose, so that its answer is not a target."""

    def __init__(self):
        self.calls = []

    def __call__(self, x_t, t):
        self.calls.append((x_t.clone(), t))
        return 0.5 * torch.tanh(x_t) + 1.0


def _try(claimed_floor, training_loss):
    floor = number(attempt(claimed_floor, {}), "claimed_floor()")
    if abs(floor) < 1e-6:
        raise Mistake(
            "claimed_floor() = 0: that would mean a network can know the second draw. What does it see of it?"
        )
    if abs(floor - 2) < 1e-6:
        raise Mistake(
            "claimed_floor() = 2 is reached by a network that answers with noise of its own. 0 would do better."
        )
    if abs(floor - 1) > 1e-3:
        raise Mistake(
            f"claimed_floor() = {floor:g}: the target is independent of all that the network sees. What is its best "
            "constant answer, and what is the mean square of what is left?"
        )
    for T, shape, seed in ((4, (B, 2), 1), (1, (B, 1, 2, 3), 2), (7, (B, 3), 3)):
        _one(training_loss, T, shape, seed)
    _draws_anew(training_loss)


def _draws_anew(training_loss):
    """Two calls with the same arguments must not see the same t or the same noise."""
    net, x_0, alpha_bar = _Net(), normal(B, 2, seed=4), alpha_bars(5, 4)
    for _ in range(2):
        attempt(training_loss, {"net": net, "x_0": x_0, "alpha_bar": alpha_bar})
    if torch.equal(net.calls[0][1], net.calls[1][1]):
        raise Mistake(
            f"In two calls the same {B} values of t came, in the same order: draw them anew in each step, and set no "
            "seed."
        )
    first, second = (_noise_in(x_t.double(), x_0, alpha_bar[t]) for x_t, t in net.calls)
    if (first - second).abs().max() < 1e-4:
        raise Mistake(f"In two calls the same {first.numel()} entries of ε came: draw the noise anew in each step.")


def _noise_in(x_t, x_0, bar):
    """ε, if x_t was made of x_0 with ᾱ = bar, (B,)."""
    bar = bar.view(-1, *[1] * (x_0.ndim - 1))
    return (x_t - bar.sqrt() * x_0) / (1 - bar).sqrt()


def _one(training_loss, T, shape, seed):
    """One call, and all that can be seen of it."""
    net, x_0, alpha_bar = _Net(), normal(*shape, seed=seed), alpha_bars(T, seed)
    loss = tidy(attempt(training_loss, {"net": net, "x_0": x_0, "alpha_bar": alpha_bar}), ("the loss",))
    if loss.numel() != 1:
        raise Mistake(f"the loss has shape {tuple(loss.shape)}: it should be one number, the mean over all entries")
    if len(net.calls) != 1:
        raise Mistake(f"net was called {len(net.calls)} times: once with the whole batch is what a training step does")
    x_t, t = net.calls[0]
    if not isinstance(t, torch.Tensor) or t.is_floating_point() or t.shape != shape[:1]:
        raise Mistake(f"net must get x_t of shape {shape} and whole t of shape ({B},), one for each example")
    if x_t.shape != shape:
        raise Mistake(f"net got x_t of shape {tuple(x_t.shape)} for x_0 of shape {shape}")
    _look_at_t(t, T)
    eps = _noise_in(x_t.double(), x_0, alpha_bar[t])
    _look_at_table(x_t.double(), x_0, alpha_bar, t)
    _look_at_eps(eps, x_t.double(), x_0)
    _look_at_loss(loss.item(), eps, x_0, net(x_t, t).double())


def _look_at_t(t, T):
    low, high = int(t.min()), int(t.max())
    if low < 1:
        raise Mistake(f"t = {low} was drawn: there is no noise to learn there. Training draws from 1 … T.")
    if high > T:
        raise Mistake(f"t = {high} was drawn, and T = {T}: alpha_bar has T + 1 entries.")
    if T > 1 and low == high:
        raise Mistake(f"all {len(t)} examples got t = {low}: each should get its own.")
    if high < T:
        raise Mistake(f"in {len(t)} draws t never was {T}: randint leaves its upper end out.")
    counts = torch.bincount(t.long(), minlength=T + 1)[1:].double()
    if (counts - len(t) / T).abs().max() > 6 * (len(t) / T) ** 0.5:
        raise Mistake("some t are drawn much more often than others: t is uniform over 1 … T.")


def _look_at_table(x_t, x_0, alpha_bar, t):
    """Name the table where x_t was made with the factors of another one."""
    if len(alpha_bar) == 2:
        return  # T = 1: t − 1 is clean data, and the step is the jump
    for bar, says in ((alpha_bar[t - 1], "ᾱ of t − 1"), (alpha_bar[t] / alpha_bar[t - 1], "α_t of one single step")):
        some = bar < 1
        eps = _noise_in(x_t[some], x_0[some], bar[some])
        if abs(eps.var().item() - 1) < 0.06 and abs((eps * x_0[some]).mean().item()) < 0.06:
            raise Mistake(
                f"the noise in your x_t has variance 1 if it is read with {says}: net is told t, which stands at [t]."
            )


def _look_at_eps(eps, x_t, x_0):
    if (x_t - x_0).abs().max() < 1e-6:
        raise Mistake("net was shown x_0 itself (largest distance 0): noise it first.")
    if len(eps) > 1 and (eps - eps[:1]).abs().max() < 1e-4:
        raise Mistake(f"all {len(eps)} examples got the same ε (largest distance 0.0000): each needs its own.")
    if eps[0].numel() > 1 and (eps - eps.flatten(1)[:, 0].view(-1, *[1] * (eps.ndim - 1))).abs().max() < 1e-4:
        raise Mistake(
            f"all {eps[0].numel()} entries of an example got the same ε (largest distance 0.0000): each needs its own."
        )
    mean, variance = eps.mean().item(), eps.var().item()
    if abs(mean) > 0.1:
        raise Mistake(f"the noise in your x_t has the mean {mean:.2f}, not 0: randn is normal, rand is not.")
    if abs(variance - 1) > 0.1:
        raise Mistake(f"the noise in your x_t has the variance {variance:.2f}, not 1: look at the roots in the jump.")


def _look_at_loss(loss, eps, x_0, out):
    right = (eps - out).square().mean().item()
    if abs(loss - right) < 1e-3 * right:
        return
    independent = (1 + out.square().mean()).item()
    if abs(loss - (x_0 - out).square().mean().item()) < 1e-3 * right:
        raise Mistake(f"Your loss is {loss:.3f}: it compares the answer with x_0, and the noise in x_t is asked.")
    if abs(loss - (eps - out).square().sum().item()) < 1e-3 * loss:
        raise Mistake(f"Your loss is {loss:.0f} for {len(out)} examples: a sum. Take the mean, {right:.3f}.")
    if abs(loss - independent) < 0.2:
        raise Mistake(
            f"Your loss is {loss:.2f}, which is 1 + the mean square of the answer ({independent:.2f}): the target is a "
            "second draw, that x_t knows nothing of."
        )
    raise Mistake(f"for the x_t and t that net was shown the loss is {right:.4f}; yours is {loss:.4f}")


training_loss = Exercise(
    title="Find the mistake: a loss that teaches nothing",
    kind="find the mistake",
    answers=("claimed_floor", "training_loss"),
    trial=_try,
    points=4,
    difficulty=2,
    minutes=20,
    hints=(
        "randn_like is called twice. Which of the two results is in x_t?",
        "What the network cannot see it cannot predict; the best answer is then the target's mean. Draw ε once, and "
        "use it in both places. And look up which numbers randint(0, T, …) gives.",
        "t = torch.randint(1, len(alpha_bar), (len(x_0),)); eps = torch.randn_like(x_0); x_t by the jump with it; "
        "(eps − net(x_t, t)).square().mean(). The claim's loss never falls below the variance of its target.",
    ),
)
