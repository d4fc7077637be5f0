"""Answers to the exercises of notebook 02."""

import math

import torch

from answers import Answers


def bars(beta):
    return torch.cumprod(1 - beta, 0)


# weigh


def weigh_by_equation(beta_2, beta_1):
    """From (2.10), in place of the square."""
    bar = (1 - beta_1) * (1 - beta_2)
    of_x_0 = math.sqrt(1 - beta_1) * beta_2 / (1 - bar)
    of_x_2 = math.sqrt(1 - beta_2) * beta_1 / (1 - bar)
    return of_x_0, of_x_2, beta_1 * beta_2 / (1 - bar)


def weigh_with(A=lambda b1, b2: (1 - b2) / b2 + 1 / b1, of=None, spread=lambda A: 1 / A, divide=True):
    of = of or (lambda b1, b2: (math.sqrt(1 - b1) / b1, math.sqrt(1 - b2) / b2))

    def weigh(beta_1, beta_2):
        total = A(beta_1, beta_2)
        parts = of(beta_1, beta_2)
        return (*(p / total if divide else p for p in parts), spread(total))

    return weigh


def jump_noise(b1, b2):
    return 1 - (1 - b1) * (1 - b2)


# posterior


def posterior_by_precision(alpha_bar, t, s, x_t, x_0):
    if s == 0:
        return x_0, 0.0
    alpha = (alpha_bar[t] / alpha_bar[s]).item()
    seen, known = alpha / (1 - alpha), 1 / (1 - alpha_bar[s].item())
    total = seen + known
    return (alpha**0.5 / (1 - alpha) * x_t + alpha_bar[s].item() ** 0.5 * known * x_0) / total, 1 / total


def posterior_by_loops(x_0, x_t, s, t, alpha_bar):
    a, b = float(alpha_bar[s]), float(alpha_bar[t])
    out = torch.zeros_like(x_0)
    for i in range(len(x_0)):
        out[i] = (a**0.5 * (1 - b / a) * x_0[i] + (b / a) ** 0.5 * (1 - a) * x_t[i]) / (1 - b)
    return out, torch.tensor((1 - a) / (1 - b) * (1 - b / a))


def posterior_with(ratio=None, mean=None, variance=None, swap_s=False):
    def posterior(x_0, x_t, s, t, alpha_bar):
        if swap_s:
            s = t - 1
        a, b = alpha_bar[s], alpha_bar[t]
        r = ratio(alpha_bar, s, t) if ratio else b / a
        of_x_0, of_x_t = mean(a, b, r) if mean else (a.sqrt() * (1 - r) / (1 - b), r.sqrt() * (1 - a) / (1 - b))
        right = (1 - a) / (1 - b) * (1 - r)
        return of_x_0 * x_0 + of_x_t * x_t, variance(right, r) if variance else right

    return posterior


# ddpm_step


def step_by_posterior(z, x_t, eps_hat, t, beta):
    """By x̂_0 and (2.10)."""
    bar = bars(beta)
    x0_hat = (x_t - (1 - bar[t]).sqrt() * eps_hat) / bar[t].sqrt()
    mean = (bar[t - 1].sqrt() * beta[t] * x0_hat + (1 - beta[t]).sqrt() * (1 - bar[t - 1]) * x_t) / (1 - bar[t])
    return mean + ((1 - bar[t - 1]) / (1 - bar[t]) * beta[t]) ** 0.5 * z


def step_with_numbers(x_t, t, eps_hat, beta, z):
    bar = 1.0
    for s in range(1, t):
        bar *= 1 - beta[s].item()
    b = beta[t].item()
    after = bar * (1 - b)
    out = (x_t - b / math.sqrt(1 - after) * eps_hat) / math.sqrt(1 - b)
    if t > 1:
        out = out + math.sqrt((1 - bar) / (1 - after) * b) * z
    return out


def step_with(eps=None, scale=None, noise=None, shift=0):
    def step(x_t, t, eps_hat, beta, z):
        bar, i = bars(beta), t + shift
        b, now, before = beta[i], bar[i], bar[max(i - 1, 0)]
        of_eps = eps(b, now) if eps else b / (1 - now).sqrt()
        factor = scale(b, now) if scale else 1 / (1 - b).sqrt()
        spread = noise(b, now, before) if noise else ((1 - before) / (1 - now) * b).sqrt()
        return factor * (x_t - of_eps * eps_hat) + spread * z

    return step


# variance_before


def variance_by_sampling_nothing(step_variance, data_variance, alpha_bar_t, alpha_t):
    """By the posterior's factors: x_{t−1} = p x̂_0 + q x_t, x̂_0 = √ᾱ s²/c x_t."""
    before = alpha_bar_t / alpha_t
    c = alpha_bar_t * data_variance + 1 - alpha_bar_t
    p = math.sqrt(before) * (1 - alpha_t) / (1 - alpha_bar_t)
    q = math.sqrt(alpha_t) * (1 - before) / (1 - alpha_bar_t)
    k = p * math.sqrt(alpha_bar_t) * data_variance / c + q
    return k * k * c + step_variance


def variance_with(c=None, k=None, result=lambda c, k, v: k * k * c + v):
    def variance(alpha_t, alpha_bar_t, data_variance, step_variance):
        total = alpha_bar_t * data_variance + 1 - alpha_bar_t
        total = c(total) if c else total
        factor = k(alpha_t, alpha_bar_t, total) if k else (1 - (1 - alpha_t) / total) / alpha_t**0.5
        return result(total, factor, step_variance)

    return variance


# own_noise


def too_much(beta, t):
    return ((1 - bars(beta)[t]) / beta[t]) ** 0.5


def own(eps_hat, t, beta):
    return (beta[t] / (1 - bars(beta)[t])).sqrt() * eps_hat


def own_by_loop(beta, t, eps_hat):
    rest = 1.0
    for s in range(1, t + 1):
        rest *= 1 - beta[s].item()
    return torch.stack([math.sqrt(beta[t].item() / (1 - rest)) * e for e in eps_hat])


# sample


def loop(start=None, noisy=lambda t: t > 1, eps=None, spread=lambda b: b.sqrt(), look=lambda x, first: x, ask=0, z=0):
    def sample(predict, x_T, zs, beta):
        bar, x = bars(beta), x_T
        times = start(len(beta) - 1) if start else range(len(beta) - 1, 0, -1)
        for t in times:
            of = eps(beta[t]) if eps else beta[t] / (1 - bar[t]).sqrt()
            x = (x - of * predict(look(x, x_T), t + ask)) / (1 - beta[t]).sqrt()
            if noisy(t):
                x = x + spread(beta[t]) * zs[t + z]
        return x

    return sample


def sample_with_while(beta, zs, x_T, predict):
    bar, x, t = bars(beta), x_T.clone(), len(beta) - 1
    while t > 0:
        x0_hat = (x - (1 - bar[t]) ** 0.5 * predict(x, t)) / bar[t] ** 0.5
        x = (bar[t - 1] ** 0.5 * beta[t] * x0_hat + (1 - beta[t]) ** 0.5 * (1 - bar[t - 1]) * x) / (1 - bar[t])
        t -= 1
        if t:
            x += beta[t + 1] ** 0.5 * zs[t + 1]
    return x


def first(beta):
    return beta[1]


ANSWERS = {
    "weigh": Answers(
        right=[weigh_by_equation, weigh_with()],
        wrong=[
            ("that is how sure one is", weigh_with(spread=lambda A: A)),
            ("the deviation; the variance is asked", weigh_with(spread=lambda A: A**-0.5)),
            (
                "they have changed places",
                weigh_with(of=lambda b1, b2: (math.sqrt(1 - b2) / b2, math.sqrt(1 - b1) / b1)),
            ),
            ("was not divided by A", weigh_with(divide=False)),
            ("the x_1 has a factor", weigh_with(A=lambda b1, b2: 1 / b2 + 1 / b1)),
            (
                "the noise of the jump",
                weigh_with(
                    A=lambda b1, b2: (1 - b2) / jump_noise(b1, b2) + 1 / b1,
                    of=lambda b1, b2: (math.sqrt(1 - b1) / b1, math.sqrt(1 - b2) / jump_noise(b1, b2)),
                ),
            ),
            ("hold √α, not α", weigh_with(of=lambda b1, b2: ((1 - b1) / b1, (1 - b2) / b2))),
            ("Return 3 things", lambda beta_1, beta_2: weigh_by_equation(beta_2, beta_1)[:2]),
        ],
    ),
    "posterior": Answers(
        right=[posterior_by_precision, posterior_by_loops, posterior_with()],
        wrong=[
            ("s was not used", posterior_with(swap_s=True)),
            ("you took the α of one step", posterior_with(ratio=lambda bar, s, t: bar[t] / bar[t - 1])),
            ("is surer than that", posterior_with(variance=lambda right, r: 1 - r)),
            ("the deviation; the variance is asked", posterior_with(variance=lambda right, r: right.sqrt())),
            (
                "have changed places",
                posterior_with(mean=lambda a, b, r: (r.sqrt() * (1 - a) / (1 - b), a.sqrt() * (1 - r) / (1 - b))),
            ),
            (
                "x_0 stands with √ᾱ_t",
                posterior_with(mean=lambda a, b, r: (b.sqrt() * (1 - r) / (1 - b), r.sqrt() * (1 - a) / (1 - b))),
            ),
            (
                "lack square roots",
                posterior_with(mean=lambda a, b, r: (a * (1 - r) / (1 - b), r * (1 - a) / (1 - b))),
            ),
            ("lack the denominator", posterior_with(mean=lambda a, b, r: (a.sqrt() * (1 - r), r.sqrt() * (1 - a)))),
            ("your function returns one Tensor", lambda x_0, x_t, s, t, alpha_bar: x_0),
        ],
    ),
    "ddpm_step": Answers(
        right=[step_by_posterior, step_with_numbers],
        wrong=[
            ("√β_t goes with the noise of that one step", step_with(eps=lambda b, now: b.sqrt())),
            ("a root is missing under the fraction", step_with(eps=lambda b, now: b / (1 - now))),
            ("so it is added", step_with(eps=lambda b, now: -b / (1 - now).sqrt())),
            ("nothing undoes that", step_with(scale=lambda b, now: 1.0)),
            ("shrunk a second time", step_with(scale=lambda b, now: (1 - b).sqrt())),
            ("of all t steps at once", step_with(scale=lambda b, now: 1 / now.sqrt())),
            ("where no noise must be left", step_with(noise=lambda b, now, before: b.sqrt())),
            ("DDPM's other choice", step_with(noise=lambda b, now, before: b.sqrt() if before < 1 else 0 * b)),
            ("A deviation multiplies z", step_with(noise=lambda b, now, before: (1 - before) / (1 - now) * b)),
            ("z does not enter at all", step_with(noise=lambda b, now, before: 0.0)),
            ("read at t − 1", step_with(shift=-1)),
        ],
    ),
    "variance_before": Answers(
        right=[variance_by_sampling_nothing, variance_with()],
        wrong=[
            ("which holds for variance 1", lambda alpha_t, step_variance, **rest: alpha_t + step_variance),
            (
                "the best one for data of variance 1 only",
                variance_with(k=lambda alpha, bar, c: alpha**0.5),
            ),
            ("without the fresh noise", variance_with(result=lambda c, k, v: k * k * c)),
            ("must not be squared", variance_with(result=lambda c, k, v: k * k * c + v * v)),
            ("the root of", variance_with(result=lambda c, k, v: k * k * c + math.sqrt(v))),
            ("comes out of its variance squared", variance_with(result=lambda c, k, v: k * c + v)),
            ("as if x_t had variance 1", variance_with(result=lambda c, k, v: k * k + v)),
            (
                "that is the claim's step",
                variance_with(k=lambda alpha, bar, c: (1 - math.sqrt((1 - alpha) * (1 - bar)) / c) / alpha**0.5),
            ),
        ],
    ),
    "own_noise": Answers(
        right=[(too_much, own), (lambda t, beta: 1 / own(torch.ones(()), t, beta).item(), own_by_loop)],
        wrong=[
            ("the square of the ratio", (lambda beta, t: too_much(beta, t) ** 2, own)),
            ("less than 1: the claim takes too much", (lambda beta, t: 1 / too_much(beta, t), own)),
            ("the claim's own factor", (lambda beta, t: beta[t].sqrt(), own)),
            (
                "the difference of the factors",
                (lambda beta, t: beta[t].sqrt() - beta[t] / (1 - bars(beta)[t]).sqrt(), own),
            ),
            ("so ᾱ is that of t", (lambda beta, t: ((1 - bars(beta)[t - 1]) / beta[t]).sqrt(), own)),
            ("only a part is this step's", (too_much, lambda eps_hat, t, beta: eps_hat)),
            (
                "share of the variance, not of the noise",
                (too_much, lambda eps_hat, t, beta: beta[t] / (1 - bars(beta)[t]) * eps_hat),
            ),
            ("a part is less than the whole", (too_much, lambda eps_hat, t, beta: too_much(beta, t) * eps_hat)),
            ("how ε_t enters x_t", (too_much, lambda eps_hat, t, beta: beta[t].sqrt() * eps_hat)),
            (
                "as it stands in (2.12)",
                (too_much, lambda eps_hat, t, beta: beta[t] / (1 - bars(beta)[t]).sqrt() * eps_hat),
            ),
            (
                "with ᾱ of t − 1",
                (too_much, lambda eps_hat, t, beta: (beta[t] / (1 - bars(beta)[t - 1])).sqrt() * eps_hat),
            ),
        ],
    ),
    "sample": Answers(
        right=[(first, sample_with_while), (lambda beta: 1 - (1 - beta[1]), loop())],
        wrong=[
            ("the deviation of what is left", (lambda beta: beta[1] ** 0.5, loop())),
            ("the noise of its own t", (first, loop(z=-1))),
            ("the β of the first step that the loop takes", (lambda beta: beta[-1], loop())),
            ("step 0 does not exist", (lambda beta: beta[0], loop())),
            ("the sum over all steps", (lambda beta: beta.sum(), loop())),
            ("the noise at the start", (lambda beta: 1 - bars(beta)[-1], loop())),
            ("there is still noise in the last step", (first, loop(noisy=lambda t: True))),
            ("no step adds its fresh noise", (first, loop(noisy=lambda t: False))),
            ("is not taken, though x_T is given", (first, loop(start=lambda T: range(T - 1, 0, -1)))),
            ("range stops before its second number", (first, loop(start=lambda T: range(T, 1, -1)))),
            ("x_T is noise, and t must fall", (first, loop(start=lambda T: range(1, T + 1)))),
            ("predict is asked about x_T at every step", (first, loop(look=lambda x, x_T: x_T))),
            ("predict is asked about t − 1", (first, loop(ask=-1))),
            ("z is multiplied by a variance", (first, loop(spread=lambda b: b))),
            ("belongs to the noise of a single step", (first, loop(eps=lambda b: b.sqrt()))),
        ],
    ),
}
