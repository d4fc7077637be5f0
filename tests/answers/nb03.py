"""Answers to the exercises of notebook 03."""

import math

import torch
from torch.nn.functional import mse_loss

from answers import Answers


def column(values, x):
    return values.reshape([len(values)] + [1] * (x.dim() - 1))


# weight_of_v


def snr(bar):
    return bar / (1 - bar)


def v_weight(alpha_bar_before, alpha_bar_t):
    return 0.5 * (snr(alpha_bar_before) - snr(alpha_bar_t)) * (1 - alpha_bar_t)


def v_weight_by_kl(alpha_bar_t, alpha_bar_before):
    """From (3.9): the squared factor of x_0 in the mean over twice the variance."""
    beta = 1 - alpha_bar_t / alpha_bar_before
    variance = (1 - alpha_bar_before) / (1 - alpha_bar_t) * beta
    return alpha_bar_before * beta**2 / (1 - alpha_bar_t) ** 2 / (2 * variance) * (1 - alpha_bar_t)


def weight(of):
    return lambda alpha_bar_before, alpha_bar_t: of(snr(alpha_bar_before), snr(alpha_bar_t), alpha_bar_t)


# floor


def floor(alpha_bar_t, variance):
    return 1 - (1 - alpha_bar_t) / (alpha_bar_t * variance + 1 - alpha_bar_t)


def floor_by_precision(variance, alpha_bar_t):
    """Var[x_0 | x_t] by precisions, times SNR_t."""
    if variance == 0:
        return 0.0
    if alpha_bar_t == 1:
        return 1.0
    return snr(alpha_bar_t) / (1 / variance + snr(alpha_bar_t))


# score


def log_density(x_t, t, points, alpha_bar):
    bar = alpha_bar[t].to(x_t.dtype)
    squared = (x_t[:, None] - bar.sqrt() * points).square().sum(-1)
    return torch.logsumexp(-squared / (2 * (1 - bar)), 1)


def score_by_autograd(x_t, t, points, alpha_bar):
    x_t = x_t.requires_grad_()
    return torch.autograd.grad(log_density(x_t, t, points, alpha_bar).sum(), x_t)[0]


def score_by_loops(alpha_bar, points, x_t, t):
    bar, rows = float(alpha_bar[t]), []
    for x in x_t.tolist():
        away = [[math.sqrt(bar) * m - a for a, m in zip(x, p, strict=True)] for p in points.tolist()]
        logs = [-sum(d * d for d in row) / (2 * (1 - bar)) for row in away]
        chance = [math.exp(v - max(logs)) for v in logs]
        rows.append(
            [
                sum(c * row[j] for c, row in zip(chance, away, strict=True)) / sum(chance) / (1 - bar)
                for j in range(len(x))
            ]
        )
    return torch.tensor(rows)


def score_with(shrink=torch.sqrt, twice=2, divide=lambda rest: rest, sign=1, dim=1, pick=None):
    def score(x_t, t, points, alpha_bar):
        bar = alpha_bar[t].to(x_t.dtype)
        towards = shrink(bar) * points - x_t[:, None]
        logs = -towards.square().sum(2) / (twice * (1 - bar))
        chance = pick(logs) if pick else torch.softmax(logs, dim)
        return sign * (chance[:, :, None] * towards).sum(1) / divide(1 - bar)

    return score


# from_v


def pair_with(make, shift=0, roots=True):
    def from_v(v_hat, x_t, t, alpha_bar):
        bar = column(alpha_bar[(t + shift).clamp(min=0)], x_t)
        s, n = (bar.sqrt(), (1 - bar).sqrt()) if roots else (bar, 1 - bar)
        return make(s, n, x_t, v_hat)

    return from_v


def from_v_by_solving(alpha_bar, t, x_t, v_hat):
    x_0, eps = torch.empty_like(x_t), torch.empty_like(x_t)
    for i, step in enumerate(t.tolist()):
        s, n = math.sqrt(alpha_bar[step]), math.sqrt(1 - alpha_bar[step])
        matrix = torch.tensor([[s, n], [-n, s]], dtype=x_t.dtype)
        both = torch.linalg.solve(matrix, torch.stack([x_t[i].flatten(), v_hat[i].flatten()]))
        x_0[i], eps[i] = both[0].view(x_t[i].shape), both[1].view(x_t[i].shape)
    return x_0, eps


def from_v_one_after_the_other(v_hat, x_t, t, alpha_bar):
    bar = column(alpha_bar[t], x_t)
    x0_hat = bar**0.5 * x_t - (1 - bar) ** 0.5 * v_hat
    return [x0_hat, (v_hat + (1 - bar) ** 0.5 * x0_hat) / bar**0.5]


# v_loss


def loss_with(target=None, see=None, shift=0, roots=True, reduce=lambda e: e.pow(2).mean()):
    def loss(net, x_0, t, eps, alpha_bar):
        bar = column(alpha_bar[t], x_0)
        s, n = bar.sqrt(), (1 - bar).sqrt()
        x_t = see(s, n, x_0, eps) if see else s * x_0 + n * eps
        s, n = (s, n) if roots else (bar, 1 - bar)
        v = target(s, n, x_0, eps) if target else s * eps - n * x_0
        return reduce(v - net(x_t, t + shift))

    return loss


def loss_by_loops(eps, alpha_bar, x_0, t, net):
    total, entries = 0.0, 0
    for i in range(len(x_0)):
        s, n = alpha_bar[t[i]].sqrt().to(x_0.dtype), (1 - alpha_bar[t[i]]).sqrt().to(x_0.dtype)
        out = net((s * x_0[i] + n * eps[i])[None], t[i : i + 1])[0]
        total += ((s * eps[i] - n * x_0[i] - out) ** 2).sum().item()
        entries += out.numel()
    return total / entries


def loss_with_mse(net, x_0, t, eps, alpha_bar):
    bar = column(alpha_bar[t], x_0).to(x_0.dtype)
    return mse_loss(net(x_0 * bar.sqrt() + eps * (1 - bar).sqrt(), t), bar.sqrt() * eps - (1 - bar).sqrt() * x_0)


# training_loss


def one():
    return 1


def train_with(draw=None, noise=torch.randn_like, target=None, see=None, reduce=lambda e: e.square().mean(), shift=0):
    def training_loss(net, x_0, alpha_bar):
        T = len(alpha_bar) - 1
        t = draw(len(x_0), T) if draw else torch.randint(1, T + 1, (len(x_0),))
        bar = column(alpha_bar[t + shift], x_0)
        eps = noise(x_0)
        x_t = see(bar, x_0, eps) if see else bar.sqrt() * x_0 + (1 - bar).sqrt() * eps
        return reduce((target(x_0, eps) if target else eps) - net(x_t, t))

    return training_loss


def train_seeded(net, x_0, alpha_bar):
    torch.manual_seed(0)
    return train_with()(net, x_0, alpha_bar)


def same_noise(x):
    return torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)


def train_with_permutation(alpha_bar, x_0, net):
    T = len(alpha_bar) - 1
    t = (torch.rand(len(x_0)) * T).long() + 1
    eps = torch.normal(torch.zeros_like(x_0), torch.ones_like(x_0))
    bar = alpha_bar[t]
    x_t = torch.stack([b**0.5 * x + (1 - b) ** 0.5 * e for b, x, e in zip(bar, x_0, eps, strict=True)])
    return mse_loss(net(x_t, t), eps).item()


ANSWERS = {
    "weight_of_v": Answers(
        right=[v_weight, v_weight_by_kl],
        wrong=[
            ("belongs to ‖x_0 − x̂_0‖²", weight(lambda s, t, bar: (s - t) / 2)),
            ("the weight of ‖ε − ε̂‖²", weight(lambda s, t, bar: (s / t - 1) / 2)),
            ("the ½ of (3.11) is lost", weight(lambda s, t, bar: (s - t) / (t + 1))),
            ("which is negative", weight(lambda s, t, bar: (t - s) / (2 * t + 2))),
            ("you multiplied", weight(lambda s, t, bar: (s - t) / 2 * (t + 1))),
            ("v is predicted at t", weight(lambda s, t, bar: (s - t) / (2 * s + 2))),
            ("you took the signal's", weight(lambda s, t, bar: (s - t) / 2 * bar)),
        ],
    ),
    "floor": Answers(
        right=[floor, floor_by_precision],
        wrong=[
            ("this share of ε can be known", lambda alpha_bar_t, variance: 1 - floor(alpha_bar_t, variance)),
            (
                "the floor under a loss on x_0",
                lambda alpha_bar_t, variance: variance * (1 - floor(alpha_bar_t, variance)),
            ),
            ("its floor is a variance", lambda alpha_bar_t, variance: math.sqrt(floor(alpha_bar_t, variance))),
            ("right for variance 1 only", lambda alpha_bar_t, variance: alpha_bar_t),
            (
                "covariance squared over variance",
                lambda alpha_bar_t, variance: (
                    1 - math.sqrt(1 - alpha_bar_t) / (alpha_bar_t * variance + 1 - alpha_bar_t)
                ),
            ),
            ("no root is needed", lambda alpha_bar_t, variance: floor(alpha_bar_t, variance**0.5)),
            ("it must not be squared", lambda alpha_bar_t, variance: floor(alpha_bar_t, variance**2)),
        ],
    ),
    "score": Answers(
        right=[score_by_autograd, score_by_loops, score_with()],
        wrong=[
            ("this is E[ε | x_t]", score_with(sign=-1, divide=torch.sqrt)),
            ("the sign is wrong", score_with(sign=-1)),
            ("0/0 is no share", score_with(pick=lambda logs: logs.exp() / logs.exp().sum(1, keepdim=True))),
            ("must divide", score_with(divide=lambda rest: 1)),
            ("where the Gaussian's exponent has the variance", score_with(divide=torch.sqrt)),
            ("yours stand where they were", score_with(shrink=lambda bar: 1)),
            ("in place of its root", score_with(shrink=lambda bar: bar)),
            ("TWICE the variance", score_with(twice=1)),
            ("yours do over the batch", score_with(dim=0)),
            ("the nearest point only", score_with(pick=lambda logs: (logs == logs.max(1, True).values).to(logs))),
            ("all points have the same share", score_with(pick=lambda logs: torch.full_like(logs, 1 / logs.shape[1]))),
        ],
    ),
    "from_v": Answers(
        right=[from_v_by_solving, from_v_one_after_the_other],
        wrong=[
            ("applied once more, not undone", pair_with(lambda s, n, x, v: (s * x + n * v, s * v - n * x))),
            ("return x̂_0 first", pair_with(lambda s, n, x, v: (n * x + s * v, s * x - n * v))),
            (
                "stand where their roots should",
                pair_with(lambda s, n, x, v: (s * x - n * v, n * x + s * v), roots=False),
            ),
            ("v̂ is returned as ε̂", pair_with(lambda s, n, x, v: (s * x - n * v, v))),
            ("v̂ was read as ε̂", pair_with(lambda s, n, x, v: ((x - n * v) / s, v))),
            ("the sign of v̂ in ε̂ is not", pair_with(lambda s, n, x, v: (s * x - n * v, n * x - s * v))),
            ("signal and noise have changed places", pair_with(lambda s, n, x, v: (n * x - s * v, s * x + n * v))),
            ("the table was read at t − 1", pair_with(lambda s, n, x, v: (s * x - n * v, n * x + s * v), shift=-1)),
        ],
    ),
    "v_loss": Answers(
        right=[loss_by_loops, loss_with_mse],
        wrong=[
            ("so this trains a noise predictor", loss_with(lambda s, n, x_0, eps: eps)),
            ("the target is x_0.", loss_with(lambda s, n, x_0, eps: x_0)),
            ("your target is −v", loss_with(lambda s, n, x_0, eps: n * x_0 - s * eps)),
            ("in your target signal multiplies x_0", loss_with(lambda s, n, x_0, eps: s * x_0 - n * eps)),
            ("the velocity of a straight path", loss_with(lambda s, n, x_0, eps: eps - x_0)),
            ("the target is x_t itself", loss_with(lambda s, n, x_0, eps: s * x_0 + n * eps)),
            ("ᾱ and 1−ᾱ without roots", loss_with(roots=False)),
            ("was shown the clean x_0", loss_with(see=lambda s, n, x_0, eps: x_0)),
            ("was told t − 1", loss_with(shift=-1)),
            ("a sum over all entries", loss_with(reduce=lambda e: e.pow(2).sum())),
            ("averaged over the batch only", loss_with(reduce=lambda e: e.pow(2).sum() / len(e))),
            ("no root over the mean square", loss_with(reduce=lambda e: e.pow(2).mean().sqrt())),
            ("the error is not squared", loss_with(reduce=lambda e: e.abs().mean())),
        ],
    ),
    "training_loss": Answers(
        right=[(one, train_with()), (lambda: torch.tensor(1.0), train_with_permutation)],
        wrong=[
            ("a network can know the second draw", (lambda: 0.0, train_with())),
            ("answers with noise of its own", (lambda: 2, train_with())),
            ("independent of all that the network sees", (lambda: 0.5, train_with())),
            ("there is no noise to learn there", (one, train_with(draw=lambda B, T: torch.randint(0, T + 1, (B,))))),
            (
                "randint leaves its upper end out",
                (one, train_with(draw=lambda B, T: torch.randint(1, max(T, 2), (B,)))),
            ),
            ("each should get its own", (one, train_with(draw=lambda B, T: torch.randint(1, T + 1, (1,)).expand(B)))),
            (
                "t is uniform over 1 … T",
                (one, train_with(draw=lambda B, T: (1 + torch.rand(B) * (T - 1)).round().long())),
            ),
            ("examples got the same", (one, train_with(noise=lambda x: torch.randn_like(x[:1]).expand_as(x)))),
            ("rand is not", (one, train_with(noise=torch.rand_like))),
            (
                "look at the roots in the jump",
                (one, train_with(see=lambda bar, x_0, eps: bar * x_0 + (1 - bar) * eps)),
            ),
            ("net was shown x_0 itself", (one, train_with(see=lambda bar, x_0, eps: x_0))),
            (
                "a second draw, that x_t knows nothing of",
                (one, train_with(target=lambda x_0, eps: torch.randn_like(eps))),
            ),
            ("it compares the answer with x_0", (one, train_with(target=lambda x_0, eps: x_0))),
            ("a sum. Take the mean", (one, train_with(reduce=lambda e: e.square().sum()))),
            ("set no seed", (one, train_seeded)),
            ("draw the noise anew", (one, train_with(noise=same_noise))),
            (
                "entries of an example got the same",
                (one, train_with(noise=lambda x: torch.randn(column(torch.ones(len(x)), x).shape).expand_as(x))),
            ),
            ("is read with ᾱ of t − 1", (one, train_with(shift=-1))),
        ],
    ),
}
