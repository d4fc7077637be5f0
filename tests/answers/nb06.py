"""Answers to the exercises of notebook 06."""

import math

import numpy as np
import torch

from answers import Answers

# coefficients


def by_correlation(alpha_bar_t, alpha_bar_s, rho):
    a = rho * ((1 - alpha_bar_s) / (1 - alpha_bar_t)) ** 0.5
    return a, alpha_bar_s**0.5 - a * alpha_bar_t**0.5, math.sqrt(max(1 - alpha_bar_s - a**2 * (1 - alpha_bar_t), 0))


def by_numpy(rho, alpha_bar_s, alpha_bar_t):
    bar = np.array([alpha_bar_s, alpha_bar_t])
    signal, noise = np.sqrt(bar), np.sqrt(1 - bar)
    a = rho * noise[0] / noise[1]
    return [a, signal[0] - a * signal[1], noise[0] * np.sin(np.arccos(rho))]


def abc(a=None, b=None, c=None):
    """The answer with one coefficient in another way, from ρ and roots of ᾱ and 1 − ᾱ."""

    def coefficients(rho, alpha_bar_s, alpha_bar_t):
        signal_s, signal_t = alpha_bar_s**0.5, alpha_bar_t**0.5
        noise_s, noise_t = (1 - alpha_bar_s) ** 0.5, (1 - alpha_bar_t) ** 0.5
        of_x_t = a(rho, noise_s, noise_t) if a else rho * noise_s / noise_t
        of_x_0 = b(of_x_t, signal_s, signal_t) if b else signal_s - of_x_t * signal_t
        return of_x_t, of_x_0, c(rho, noise_s) if c else noise_s * (1 - rho**2) ** 0.5

    return coefficients


def abc_without_roots(rho, alpha_bar_s, alpha_bar_t):
    a = rho * (1 - alpha_bar_s) / (1 - alpha_bar_t)
    return a, alpha_bar_s - a * alpha_bar_t, (1 - alpha_bar_s) * (1 - rho**2) ** 0.5


# ddim_step


def step_by_parts(z, alpha_bar, eta, s, t, eps_hat, x_t):
    bar_t, bar_s = alpha_bar[t], alpha_bar[s]
    c = eta * torch.sqrt((1 - bar_s) / (1 - bar_t)) * torch.sqrt(1 - bar_t / bar_s)
    x0_hat = (x_t - (1 - bar_t).sqrt() * eps_hat) / bar_t.sqrt()
    return bar_s.sqrt() * x0_hat + (1 - bar_s - c**2).clamp(min=0).sqrt() * eps_hat + c * z


def step_by_coefficients(x_t, eps_hat, t, s, eta, alpha_bar, z):
    signal, noise = alpha_bar.numpy() ** 0.5, (1 - alpha_bar.numpy()) ** 0.5
    r = signal[t] / signal[s]
    variance = (eta * noise[s] / noise[t]) ** 2 * (noise[t] ** 2 - r**2 * noise[s] ** 2)
    a = max(noise[s] ** 2 - variance, 0) ** 0.5 / noise[t]
    x0_hat = (x_t - float(noise[t]) * eps_hat) / float(signal[t])
    return float(a) * x_t + float(signal[s] - a * signal[t]) * x0_hat + float(max(variance, 0) ** 0.5) * z


def ddim(size=None, x0=None, keep=None, fresh=None, read=None):
    """A step with one part in another way, from ᾱ_t, ᾱ_s, η and c_1."""

    def step(x_t, eps_hat, t, s, eta, alpha_bar, z):
        bar_t, bar_s = read(alpha_bar, t, s) if read else (alpha_bar[t], alpha_bar[s])
        c1 = ((1 - bar_s) / (1 - bar_t) * (1 - bar_t / bar_s)).clamp(min=0).sqrt()
        x0_hat = x0(x_t, eps_hat, bar_t) if x0 else (x_t - (1 - bar_t).sqrt() * eps_hat) / bar_t.sqrt()
        old = keep(bar_t, bar_s, eta, c1) if keep else 1 - bar_s - (eta * c1) ** 2
        new = fresh(bar_t, bar_s, eta, c1) if fresh else eta * c1
        return (size(bar_s) if size else bar_s.sqrt()) * x0_hat + old.clamp(min=0).sqrt() * eps_hat + new * z

    return step


def forward(bar_t, bar_s, eta, c1):
    return eta * (1 - bar_t / bar_s).sqrt()


# times


def told(T, steps, alpha_bar):
    return math.sqrt(alpha_bar[max(range(0, T, T // steps))].item())


def times_in_integers(T, steps):
    return [T - T * k // steps for k in range(steps + 1)]


def times_by_linspace(steps, T):
    return torch.linspace(T, 0, steps + 1, dtype=torch.float64).round().long()


def times_in_numpy(T, steps):
    return np.linspace(0, T, steps + 1).astype(int)[::-1].tolist()


# step_up


def up_by_guess(alpha_bar, t, s, x_s, predict):
    eps_hat = predict(x_s, s if s > 0 else 1)
    x0_hat = (x_s - (1 - alpha_bar[s]) ** 0.5 * eps_hat) / alpha_bar[s] ** 0.5
    return alpha_bar[t] ** 0.5 * x0_hat + (1 - alpha_bar[t]) ** 0.5 * eps_hat


def up_by_sigma(predict, x_s, s, t, alpha_bar):
    sigma = (1 / alpha_bar - 1).sqrt()
    return (x_s / alpha_bar[s].sqrt() + (sigma[t] - sigma[s]) * predict(x_s, max(s, 1))) * alpha_bar[t].sqrt()


def up(move=None, ask=lambda s, t: max(s, 1)):
    """A step up in another way, from x, ε̂ and the pairs of s and t."""

    def step(predict, x_s, s, t, alpha_bar):
        signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        eps_hat = predict(x_s, ask(s, t))
        if move is None:
            return signal[t] * (x_s / signal[s] + (noise[t] / signal[t] - noise[s] / signal[s]) * eps_hat)
        return move(x_s, eps_hat, signal[s], noise[s], signal[t], noise[t])

    return step


# slerp


def slerp_by_loops(u, z_2, z_1):
    out = []
    for a, b in zip(z_1, z_2, strict=True):
        cosine = torch.nn.functional.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0)
        theta = math.acos(max(-1.0, min(1.0, cosine.item())))
        if math.sin(theta) < 1e-6:
            out.append((1 - u) * a + u * b)
        else:
            out.append((math.sin((1 - u) * theta) * a + math.sin(u * theta) * b) / math.sin(theta))
    return torch.stack(out)


def angles(z_1, z_2):
    a, b = z_1.flatten(1), z_2.flatten(1)
    cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))
    return cosine.clamp(-1, 1).arccos().view(-1, *[1] * (z_1.ndim - 1))


def slerp_by_where(z_1, z_2, u):
    theta = angles(z_1, z_2)
    near = theta.sin() < 1e-6
    under = torch.where(near, torch.ones_like(theta), theta.sin())
    first = torch.where(near, torch.full_like(theta, 1 - u), ((1 - u) * theta).sin() / under)
    second = torch.where(near, torch.full_like(theta, u), (u * theta).sin() / under)
    return first * z_1 + second * z_2


def mix(theta, z_1, z_2, u):
    return (((1 - u) * theta).sin() * z_1 + (u * theta).sin() * z_2) / theta.sin()


def all_dims(z):
    return tuple(range(1, z.ndim))


def dot(a, b):
    return (a * b).sum(all_dims(a), keepdim=True)


def slerp_of_units(z_1, z_2, u):
    return mix(angles(z_1, z_2), z_1 / dot(z_1, z_1).sqrt(), z_2 / dot(z_2, z_2).sqrt(), u)


def slerp_all_or_none(z_1, z_2, u):
    theta = angles(z_1, z_2)
    return torch.lerp(z_1, z_2, u) if (theta.sin() < 1e-6).any() else mix(theta, z_1, z_2, u)


def slerp_without_clamp(z_1, z_2, u):
    a, b = z_1.flatten(1), z_2.flatten(1)
    theta = ((a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))).arccos()
    theta = theta.view(-1, *[1] * (z_1.ndim - 1))
    return torch.where(theta.sin() < 1e-6, torch.lerp(z_1, z_2, u), mix(theta, z_1, z_2, u))


def slerp_one_angle(z_1, z_2, u):
    return mix(((z_1 * z_2).sum() / (z_1.norm() * z_2.norm())).clamp(-1, 1).arccos(), z_1, z_2, u)


def slerp_last_axis(z_1, z_2, u):
    theta = torch.nn.functional.cosine_similarity(z_1, z_2, dim=-1).clamp(-1, 1).arccos()[..., None]
    return mix(theta, z_1, z_2, u)


def slerp_guarded_by_adding(z_1, z_2, u):
    theta = angles(z_1, z_2)
    return (((1 - u) * theta).sin() * z_1 + (u * theta).sin() * z_2) / (theta.sin() + 1e-7)


# clipped_step


def guess(x_t, eps_hat, t, alpha_bar):
    return (x_t - (1 - alpha_bar[t]).sqrt() * eps_hat) / alpha_bar[t].sqrt()


def cut_off(x_t, eps_hat, t, alpha_bar):
    x0_hat = guess(x_t, eps_hat, t, alpha_bar)
    return alpha_bar[t].sqrt() * (x0_hat - x0_hat.clamp(-1, 1))


def missed(alpha_bar, t, eps_hat, x_t):
    x0_hat = guess(x_t, eps_hat, t, alpha_bar).clip(-1, 1)
    again = alpha_bar[t].sqrt() * x0_hat + (1 - alpha_bar[t]).sqrt() * eps_hat
    return torch.nn.functional.mse_loss(again.double(), x_t.double()).sqrt()


def missed_by_cut(x_t, eps_hat, t, alpha_bar):
    return cut_off(x_t, eps_hat, t, alpha_bar).pow(2).mean().item() ** 0.5


def clipped(alpha_bar, s, t, x_t, eps_hat):
    x0_hat = guess(x_t, eps_hat, t, alpha_bar).clamp(-1, 1)
    eps_hat = (x_t - alpha_bar[t].sqrt() * x0_hat) / (1 - alpha_bar[t]).sqrt()
    return alpha_bar[s].sqrt() * x0_hat + (1 - alpha_bar[s]).sqrt() * eps_hat


def clipped_by_ratio(x_t, eps_hat, t, s, alpha_bar):
    one = torch.ones_like(x_t)
    x0_hat = torch.minimum(torch.maximum(guess(x_t, eps_hat, t, alpha_bar), -one), one)
    ratio = ((1 - alpha_bar[s]) / (1 - alpha_bar[t])).sqrt()
    return ratio * x_t + (alpha_bar[s].sqrt() - ratio * alpha_bar[t].sqrt()) * x0_hat


def clip(again=None, low=-1, twice=False, first=True):
    """The step in another way: `again` gives ε̂ from x_t, x̂_0, the old ε̂ and the pairs of t and s."""

    def step(x_t, eps_hat, t, s, alpha_bar):
        signal, noise = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        x0_hat = guess(x_t, eps_hat, t, alpha_bar)
        if first:
            x0_hat = x0_hat.clamp(low, 1)
        if again:
            eps_hat = again(x_t, x0_hat, eps_hat, signal[t], noise[t], signal[s], noise[s])
        else:
            eps_hat = (x_t - signal[t] * x0_hat) / noise[t]
        x_s = signal[s] * x0_hat + noise[s] * eps_hat
        return x_s.clamp(-1, 1) if twice else x_s

    return step


def clip_noise(x_t, eps_hat, t, s, alpha_bar):
    x0_hat = guess(x_t, eps_hat.clamp(-1, 1), t, alpha_bar)
    return alpha_bar[s].sqrt() * x0_hat + (1 - alpha_bar[s]).sqrt() * eps_hat.clamp(-1, 1)


ANSWERS = {
    "coefficients": Answers(
        right=[by_correlation, by_numpy],
        wrong=[
            ("signal and noise are roots", abc_without_roots),
            ("a correlation is a covariance over what", abc(a=lambda rho, noise_s, noise_t: rho)),
            (
                "the ratio is upside down",
                abc(a=lambda rho, noise_s, noise_t: rho * noise_t / max(noise_s, 1e-300)),
            ),
            ("brings some of x_0 along", abc(b=lambda a, signal_s, signal_t: signal_s)),
            ("counted with the wrong sign", abc(b=lambda a, signal_s, signal_t: signal_s + a * signal_t)),
            ("does not enter with the factor 1", abc(b=lambda a, signal_s, signal_t: signal_s - signal_t)),
            ("you let deviations add up", abc(c=lambda rho, noise_s: noise_s * (1 - rho))),
            ("is a variance, so x_s", abc(c=lambda rho, noise_s: noise_s**2 * (1 - rho**2))),
            ("the square of the correlation", abc(c=lambda rho, noise_s: noise_s * (1 - rho) ** 0.5)),
            ("the old noise needs room", abc(c=lambda rho, noise_s: noise_s)),
            ("returns 2 things", lambda rho, alpha_bar_s, alpha_bar_t: abc()(rho, alpha_bar_s, alpha_bar_t)[:2]),
        ],
    ),
    "ddim_step": Answers(
        right=[step_by_parts, step_by_coefficients],
        wrong=[
            (
                "the α of one step",
                ddim(read=lambda bar, t, s: (bar[t] / bar[t - 1], bar[s] / bar[s - 1] if s else bar[0])),
            ),
            ("you go to t − 1", ddim(read=lambda bar, t, s: (bar[t], bar[t - 1]))),
            ("so the step goes up", ddim(read=lambda bar, t, s: (bar[s], bar[t]))),
            ("multiplied by ᾱ_s, without its root", ddim(size=lambda bar_s: bar_s)),
            (
                "you divide by ᾱ_t",
                ddim(x0=lambda x, eps, bar: (x - (1 - bar).sqrt() * eps) / bar),
            ),
            ("the noise is added once more", ddim(x0=lambda x, eps, bar: (x + (1 - bar).sqrt() * eps) / bar.sqrt())),
            ("you take away 1 − ᾱ_t of it", ddim(x0=lambda x, eps, bar: (x - (1 - bar) * eps) / bar.sqrt())),
            ("it stands where its guess", ddim(x0=lambda x, eps, bar: x)),
            ("under the root stands c, a deviation", ddim(keep=lambda t, s, eta, c1: 1 - s - eta * c1)),
            (
                "you scale the variance by η",
                ddim(keep=lambda t, s, eta, c1: 1 - s - eta * c1**2, fresh=lambda t, s, eta, c1: eta**0.5 * c1),
            ),
            ("has lost its square", ddim(keep=lambda t, s, eta, c1: 1 - s - eta * c1**2)),
            ("a variance; x_s has noise", ddim(fresh=lambda t, s, eta, c1: (eta * c1) ** 2)),
            ("on top of all of ε̂", ddim(keep=lambda t, s, eta, c1: 1 - s)),
            ("the direction to x_t, the old noise, is gone", ddim(keep=lambda t, s, eta, c1: 0 * s)),
            ("this is σ̂", ddim(fresh=forward)),
            (
                "and not 0 at s = 0",
                ddim(keep=lambda t, s, eta, c1: 1 - s - forward(t, s, eta, c1) ** 2, fresh=forward),
            ),
            ("z never comes", ddim(fresh=lambda t, s, eta, c1: 0.0)),
            ("this is DDPM", ddim(keep=lambda t, s, eta, c1: 1 - s - c1**2, fresh=lambda t, s, eta, c1: c1)),
            ("this is DDIM", ddim(keep=lambda t, s, eta, c1: 1 - s, fresh=lambda t, s, eta, c1: 0.0)),
        ],
    ),
    "times": Answers(
        right=[(told, times_in_integers), (told, times_by_linspace), (told, times_in_numpy)],
        wrong=[
            ("the signal's power", (lambda T, steps, alpha_bar: told(T, steps, alpha_bar) ** 2, times_in_integers)),
            ("Does the claim's list hold T", (lambda T, steps, alpha_bar: alpha_bar[-1] ** 0.5, times_in_integers)),
            (
                "the factor of ε at the claim's first time",
                (lambda T, steps, alpha_bar: (1 - told(T, steps, alpha_bar) ** 2) ** 0.5, times_in_integers),
            ),
            (
                "the factor at T − T // steps",
                (lambda T, steps, alpha_bar: alpha_bar[T - T // steps] ** 0.5, times_in_integers),
            ),
            ("the factor at T − 1", (lambda T, steps, alpha_bar: alpha_bar[T - 1] ** 0.5, times_in_integers)),
            ("so 0 is its last time", (lambda T, steps, alpha_bar: alpha_bar[0] ** 0.5, times_in_integers)),
            ("and the sampler at noise", (told, lambda T, steps: list(range(0, T, T // steps))[::-1])),
            ("a library's habit", (told, lambda T, steps: torch.linspace(T - 1, 0, steps + 1).round().long())),
            ("a sampler starts with noise", (told, lambda T, steps: times_in_integers(T, steps)[::-1])),
            ("where data still hold noise", (told, lambda T, steps: list(range(T, 0, -(T // steps))))),
            ("the noise of the first step", (told, lambda T, steps: torch.linspace(T, 1, steps).round().long())),
            ("between them lie only", (told, lambda T, steps: torch.linspace(T, 0, steps).round().long())),
            (
                "makes room for more",
                (told, lambda T, steps: [*range(T, 0, -(T // steps)), 0]),
            ),
            ("takes away no noise", (told, lambda T, steps: [*times_in_integers(T, steps), 0])),
            ("a schedule has whole times only", (told, lambda T, steps: torch.linspace(T, 0, steps + 1))),
            (
                "spread what is left over",
                (told, lambda T, steps: [T - k * (T // steps) for k in range(steps)] + [0]),
            ),
        ],
    ),
    "step_up": Answers(
        right=[up_by_guess, up_by_sigma],
        wrong=[
            ("but the x that it sees", up(ask=lambda s, t: t)),
            ("was never trained there", up(ask=lambda s, t: s)),
            (
                "this is the step down",
                up(lambda x, e, S, N, St, Nt: S * (x / St + (N / S - Nt / St) * e)),
            ),
            ("on the way up σ grows", up(lambda x, e, S, N, St, Nt: St * (x / S - (Nt / St - N / S) * e))),
            ("the ODE's own variable", up(lambda x, e, S, N, St, Nt: x / S + (Nt / St - N / S) * e)),
            ("you moved x itself", up(lambda x, e, S, N, St, Nt: x + (Nt / St - N / S) * e)),
            ("measured in σ", up(lambda x, e, S, N, St, Nt: St * (x / S + (Nt - N) * e))),
            (
                "it is the same noise",
                up(lambda x, e, S, N, St, Nt: St / S * x + (1 - St**2 / S**2).sqrt() * e),
            ),
            ("you treat x_s as clean data", up(lambda x, e, S, N, St, Nt: St * x + Nt * e)),
            (
                "where their roots should",
                up(lambda x, e, S, N, St, Nt: St**2 * (x / S**2 + (Nt**2 / St**2 - N**2 / S**2) * e)),
            ),
        ],
    ),
    "slerp": Answers(
        right=[slerp_by_loops, slerp_by_where],
        wrong=[
            ("The limit is for", slerp_all_or_none),
            ("single pairs", slerp_without_clamp),
            ("it cuts through the shell", lambda z_1, z_2, u: torch.lerp(z_1, z_2, u)),
            ("u = 0 must give z_1", lambda z_1, z_2, u: slerp_by_where(z_2, z_1, u)),
            ("takes no degrees", lambda z_1, z_2, u: mix(angles(z_1, z_2).rad2deg(), z_1, z_2, u)),
            ("a dot product is no cosine", lambda z_1, z_2, u: mix(dot(z_1, z_2).clamp(-1, 1).arccos(), z_1, z_2, u)),
            (
                "divided by squared lengths",
                lambda z_1, z_2, u: mix(
                    (dot(z_1, z_2) / dot(z_1, z_1) / dot(z_2, z_2)).clamp(-1, 1).arccos(), z_1, z_2, u
                ),
            ),
            ("arccos is missing", lambda z_1, z_2, u: mix(angles(z_1, z_2).cos(), z_1, z_2, u)),
            (
                "sin θ must divide",
                lambda z_1, z_2, u: mix(angles(z_1, z_2), z_1, z_2, u) * angles(z_1, z_2).sin(),
            ),
            (
                "both weights are sines",
                lambda z_1, z_2, u: ((1 - u) * angles(z_1, z_2)).cos() * z_1 + (u * angles(z_1, z_2)).sin() * z_2,
            ),
            ("only the angle needs unit lengths", slerp_of_units),
            ("one angle for the whole batch", slerp_one_angle),
            ("along the last axis", slerp_last_axis),
            (
                "for angles of 90°",
                lambda z_1, z_2, u: torch.lerp(z_1, z_2, u) / ((1 - u) ** 2 + u**2) ** 0.5,
            ),
            ("you return nan", lambda z_1, z_2, u: mix(angles(z_1, z_2), z_1, z_2, u)),
            ("limit for θ → 0", slerp_guarded_by_adding),
        ],
    ),
    "clipped_step": Answers(
        right=[(missed, clipped), (missed_by_cut, clipped_by_ratio)],
        wrong=[
            ("is the mean square; its root", (lambda **case: missed(**case) ** 2, clipped)),
            (
                "how far clipping moves x̂_0",
                (lambda **case: missed(**case) / case["alpha_bar"][case["t"]].sqrt(), clipped),
            ),
            ("the mean of absolute values", (lambda **case: cut_off(**case).abs().mean(), clipped)),
            ("the largest miss of an entry", (lambda **case: cut_off(**case).abs().max(), clipped)),
            ("grows with the number of entries", (lambda **case: cut_off(**case).norm(), clipped)),
            (
                "has ᾱ_t where its root",
                (lambda **case: missed(**case) * case["alpha_bar"][case["t"]].sqrt(), clipped),
            ),
            ("without the clip the pair does make", (lambda **case: 0.0, clipped)),
            ("the one from before the clip", (missed, clip(lambda x, x0, e, S, N, Ss, Ns: e))),
            ("nothing was clipped", (missed, clip(first=False))),
            ("which is noisy and may leave", (missed, clip(first=False, twice=True))),
            ("and then x_s once more", (missed, clip(twice=True))),
            ("Noise has no bounds", (missed, clip_noise)),
            ("you clip to [0, 1]", (missed, clip(low=0))),
            (
                "computed with the factors of s",
                (missed, clip(lambda x, x0, e, S, N, Ss, Ns: (x - Ss * x0) / Ns.clamp(min=1e-30))),
            ),
            ("is noise_t ε̂, not ε̂ yet", (missed, clip(lambda x, x0, e, S, N, Ss, Ns: x - S * x0))),
            ("the new ε̂ has the wrong sign", (missed, clip(lambda x, x0, e, S, N, Ss, Ns: (S * x0 - x) / N))),
            ("you took away all of it", (missed, clip(lambda x, x0, e, S, N, Ss, Ns: (x - x0) / N))),
        ],
    ),
}
