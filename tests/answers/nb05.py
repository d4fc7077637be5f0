"""Answers to the exercises of notebook 05."""

import math

import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from answers import Answers

# bound_gap


def kl(m, a, mean, b):
    """Of normal distributions, a and b being variances."""
    a, b = (torch.tensor(v, dtype=torch.float64).sqrt() for v in (a, b))
    return kl_divergence(Normal(torch.tensor(m, dtype=torch.float64), a), Normal(mean, b))


def gap_by_torch(nu, x, s, m, w):
    precision = 1 + w * w / nu
    return kl(m, s * s, w * x / nu / precision, 1 / precision)


def gap_as_difference(x, w, nu, m, s):
    """The bound minus −log p(x), with x ~ N(0, w² + ν)."""
    return whole_bound(x, w, nu, m, s) - x**2 / (2 * (w**2 + nu)) - 0.5 * math.log(2 * math.pi * (w**2 + nu))


def whole_bound(x, w, nu, m, s):
    error = (x - w * m) ** 2 + (w * s) ** 2
    rate = (m**2 + s**2 - 1) / 2 - math.log(s)
    return error / (2 * nu) + 0.5 * math.log(2 * math.pi * nu) + rate


def after(x, w, nu):
    return w * x / (w * w + nu), nu / (w * w + nu)


# rate_in_bits


def bits_by_torch(logvar, mean):
    code = Normal(mean, torch.exp(0.5 * logvar))
    return kl_divergence(code, Normal(torch.zeros_like(mean), 1.0)).flatten(1).sum(1) / math.log(2)


def bits_by_loops(mean, logvar):
    out = []
    for m, v in zip(mean.flatten(1).tolist(), logvar.flatten(1).tolist(), strict=True):
        out.append(sum(0.5 * (a * a + math.exp(b) - 1 - b) for a, b in zip(m, v, strict=True)) * math.log2(math.e))
    return out


def bits(each, unit=2.0):
    return lambda mean, logvar: each(mean, logvar).flatten(1).sum(1) / 2 / math.log(unit)


def twice(mean, logvar):
    return mean**2 + logvar.exp() - 1 - logvar


# code_slopes


def slopes_by_autograd(slope, mean, logvar, z):
    mean, logvar = mean.clone().requires_grad_(), logvar.clone().requires_grad_()
    latent = mean + torch.exp(logvar / 2) * z
    latent.backward(slope(latent.detach()) / len(z))
    return mean.grad, logvar.grad


def slopes_by_loops(z, logvar, mean, slope):
    s = torch.sqrt(logvar.exp())
    by_mean, by_logvar = torch.zeros_like(mean), torch.zeros_like(mean)
    for one in z:
        there = slope((mean + s * one)[None])[0]
        by_mean += there / len(z)
        by_logvar += there * s * one / 2 / len(z)
    return [by_mean, by_logvar]


def slopes(deviation=lambda v: torch.exp(v / 2), inner=lambda s: s / 2, sees=lambda z: z, over=lambda x: x.mean(0)):
    def estimate(slope, mean, logvar, z):
        s = deviation(logvar)
        there = slope(mean + s * sees(z))
        return over(there), over(there * z * inner(s))

    return estimate


def slopes_without_z(slope, mean, logvar, z):
    s = torch.exp(logvar / 2)
    there = slope(mean + s * z).mean(0)
    return there, there * s / 2


def slopes_in_place(slope, mean, logvar, z):
    z *= torch.exp(logvar / 2)
    z += mean
    return slope(z).mean(0), slope(z).mean(0)


# least_distortion


def least_by_halving(rate, eigenvalues):
    low, high = 0.0, eigenvalues.max().item()
    for _ in range(100):
        theta = (low + high) / 2
        enough = 0.5 * torch.log(eigenvalues / theta).clamp(min=0).sum() <= rate
        low, high = (low, theta) if enough else (theta, high)
    return torch.minimum(eigenvalues, torch.tensor(high)).sum()


def least_by_pouring(eigenvalues, rate):
    """Spends the rate from the top: lowers the highest eigenvalues together to the next one, until it is spent."""
    high = sorted(eigenvalues.tolist(), reverse=True)
    level = high[0]
    for count, following in enumerate([*high[1:], 0.0], 1):
        cost = count / 2 * math.log(level / following) if following else math.inf
        if cost >= rate:
            level *= math.exp(-2 * rate / count)
            return count * level + sum(high[count:])
        rate, level = rate - cost, following


def level(eigenvalues, rate):
    low, high = 0.0, eigenvalues.max().item()
    for _ in range(100):
        theta = (low + high) / 2
        enough = (eigenvalues / theta).clamp(min=1).log().sum() / 2 <= rate
        low, high = (low, theta) if enough else (theta, high)
    return high


def flat(eigenvalues, rate):
    return (eigenvalues.log().sum() / len(eigenvalues) - 2 * rate / len(eigenvalues)).exp()


def sent(eigenvalues, rate):
    return eigenvalues >= level(eigenvalues, rate) * (1 - 1e-9)


# vae_loss


def beta_of_claim(nu, pixels, components):
    return 0.5 / nu / components


def beta_by_means(nu, pixels, components):
    return (1 / pixels) * pixels / (2 * components * nu)  # (5.7) with the claim divided by the pixels


def loss_by_torch(x, x_hat, mean, logvar, nu):
    reconstruction = -Normal(x_hat, math.sqrt(nu)).log_prob(x).flatten(1).sum(1)
    return (reconstruction + math.log(2) * bits_by_torch(logvar, mean)).mean()


def loss_by_pictures(nu, logvar, mean, x_hat, x):
    total = 0.0
    for a, b, m, v in zip(x, x_hat, mean, logvar, strict=True):
        total += F.mse_loss(a, b, reduction="sum") / (2 * nu) + a.numel() * math.log(math.sqrt(2 * math.pi * nu))
        total += 0.5 * (m * m + v.exp() - 1 - v).sum()
    return total / len(x)


def loss(error=None, constant=None, rate=None):
    def of(x, x_hat, mean, logvar, nu):
        n = x[0].numel()
        square = (error or (lambda e, nu: e.sum(1) / (2 * nu)))((x - x_hat).square().flatten(1), nu)
        fixed = (constant or (lambda n, nu: n * math.log(2 * math.pi * nu) / 2))(n, nu)
        code = (rate or (lambda m, v: twice(m, v).sum(1) / 2))(mean.flatten(1), logvar.flatten(1))
        return (square + fixed + code).mean()

    return of


def claimed_loss(x, x_hat, mean, logvar, nu):
    return (x - x_hat).square().flatten(1).sum(1).mean() + twice(mean, logvar).mean() / 2


# undo


def spread_of(mean, logvar, correction=0):
    flat = mean.transpose(0, 1).flatten(1)
    return flat.var(1, correction=correction) + logvar.exp().transpose(0, 1).flatten(1).mean(1)


def shift(mean, logvar):
    return 2 * spread_of(mean, logvar).sqrt().log()


def shift_by_moments(logvar, mean):
    second = (mean**2 + logvar.exp()).mean((0, 2, 3))
    return torch.log(second - mean.mean((0, 2, 3)) ** 2)


def middle(mean):
    return mean.mean((0, 2, 3), keepdim=True)


def size(mean, logvar):
    return spread_of(mean, logvar).sqrt()[None, :, None, None]


def normal(latent, mean, logvar):
    return (latent - middle(mean)) / size(mean, logvar)


def normal_by_channel(logvar, mean, latent):
    out = torch.empty_like(latent)
    for c in range(latent.shape[1]):
        k = math.sqrt(mean[:, c].var(correction=0) + logvar[:, c].exp().mean())
        out[:, c] = (latent[:, c] - mean[:, c].mean()) / k
    return out


def back(x_0, mean, logvar):
    return x_0 * size(mean, logvar) + middle(mean)


def back_by_torch(mean, logvar, x_0):
    return torch.addcmul(middle(mean), size(mean, logvar), x_0)


def batch_norm(latent, mean, logvar):
    return F.batch_norm(latent, None, None, training=True, eps=1e-9)


def picture_norm(latent, mean, logvar):
    flat = latent.flatten(2)
    return ((flat - flat.mean(2, keepdim=True)) / flat.std(2, correction=0, keepdim=True)).view_as(latent)


def global_norm(latent, mean, logvar):
    return (latent - mean.mean()) / (mean.var(correction=0) + logvar.exp().mean()).sqrt()


ANSWERS = {
    "bound_gap": Answers(
        right=[gap_by_torch, gap_as_difference],
        wrong=[
            ("the other way round", lambda x, w, nu, m, s: kl(*after(x, w, nu), m, s * s)),
            ("this is the rate", lambda x, w, nu, m, s: kl(m, s * s, 0.0, 1.0)),
            ("this is the whole bound", whole_bound),
            ("with the decoder's variance", lambda x, w, nu, m, s: kl(m, s * s, after(x, w, nu)[0], nu)),
            ("where only the decoder is asked", lambda x, w, nu, m, s: kl(m, s * s, x / w, nu / w**2)),
            ("its mean is not x/w", lambda x, w, nu, m, s: kl(m, s * s, x / w, after(x, w, nu)[1])),
            (
                "with the deviation of the posterior",
                lambda x, w, nu, m, s: kl(m, s * s, after(x, w, nu)[0], after(x, w, nu)[1] ** 0.5),
            ),
            ("where the variance of the encoder", lambda x, w, nu, m, s: kl(m, s, *after(x, w, nu))),
            ("with ν² for ν", lambda x, w, nu, m, s: kl(m, s * s, *after(x, w, nu * nu))),
            ("is twice the gap", lambda x, w, nu, m, s: 2 * gap_by_torch(nu, x, s, m, w)),
            ("a divergence never is", lambda x, w, nu, m, s: -gap_by_torch(nu, x, s, m, w)),
            ("is the gap in bits", lambda x, w, nu, m, s: gap_by_torch(nu, x, s, m, w) / math.log(2)),
        ],
    ),
    "rate_in_bits": Answers(
        right=[bits_by_torch, bits_by_loops],
        wrong=[
            ("these are nats", bits(twice, math.e)),
            ("a bit is less than a nat", lambda mean, logvar: bits(twice, math.e)(mean, logvar) * math.log(2)),
            ("that is the logarithm to 10", bits(twice, 10.0)),
            ("the ½ of (5.5) is missing", lambda mean, logvar: 2 * bits_by_torch(logvar, mean)),
            ("a rate is never negative", lambda mean, logvar: -bits_by_torch(logvar, mean)),
            ("that is the mean over its", lambda mean, logvar: bits_by_torch(logvar, mean) / mean[0].numel()),
            ("the sum over all", lambda mean, logvar: bits_by_torch(logvar, mean).sum()),
            ("the mean over 3 pictures", lambda mean, logvar: bits_by_torch(logvar, mean).mean()),
            ("all pictures and components", lambda mean, logvar: twice(mean, logvar).mean() / 2 / math.log(2)),
            ("you took it for log s", lambda mean, logvar: bits_by_torch(2 * logvar, mean)),
            ("exp(logvar) was squared", bits(lambda m, v: m**2 + v.exp() ** 2 - 1 - v)),
            ("the deviation stands where", bits(lambda m, v: m**2 + (v / 2).exp() - 1 - v)),
            ("as if it were the variance", bits(lambda m, v: m**2 + v - 1 - v.abs().log())),
            ("the logarithm has the wrong sign", bits(lambda m, v: m**2 + v.exp() - 1 + v)),
            ("log s stands where", bits(lambda m, v: m**2 + v.exp() - 1 - v / 2)),
            ("What is missing?", bits(lambda m, v: m**2 + v.exp() - v)),
            ("the mean of the code does not enter", bits(lambda m, v: v.exp() - 1 - v)),
            ("without its square", bits(lambda m, v: m + v.exp() - 1 - v)),
            ("averaged over N(0, I)", bits(lambda m, v: (1 + m**2) * (-v).exp() - 1 + v)),
        ],
    ),
    "code_slopes": Answers(
        right=[slopes_by_autograd, slopes_by_loops],
        wrong=[
            ("s is still to be differentiated", slopes(inner=lambda s: 1)),
            ("a half is lost", slopes(inner=lambda s: s)),
            ("the inner derivative has s²", slopes(inner=lambda s: s * s / 2)),
            ("that is ∂/∂s²", slopes(inner=lambda s: 0.5 / s)),
            ("by s is not 1", slopes_without_z),
            ("z is multiplied by a deviation", slopes(deviation=torch.exp)),
            ("logvar was taken for log s", slopes(deviation=torch.exp, inner=lambda s: s)),
            ("used as the deviation itself", slopes(deviation=lambda v: v, inner=lambda s: 1)),
            ("no draw enters it", slopes(sees=lambda z: 0 * z)),
            ("all 4000 draws used the first z", slopes(sees=lambda z: z[:1])),
            (
                "one draw of 4000 was used",
                lambda slope, mean, logvar, z: slopes_by_loops(z[:1], logvar, mean, slope),
            ),
            ("a sum over the draws", slopes(over=lambda x: x.sum(0))),
            ("each component has its own", slopes(over=lambda x: x.mean())),
            ("the order is ∂/∂mean", lambda **case: slopes_by_autograd(**case)[::-1]),
            ("changes its argument z in place", slopes_in_place),
        ],
    ),
    "least_distortion": Answers(
        right=[least_by_halving, least_by_pouring],
        wrong=[
            ("none can be negative", lambda eigenvalues, rate: len(eigenvalues) * flat(eigenvalues, rate)),
            (
                "as if every component were sent",
                lambda eigenvalues, rate: torch.minimum(eigenvalues, flat(eigenvalues, rate)).sum(),
            ),
            ("The rate is given in nats", lambda eigenvalues, rate: least_by_halving(rate * math.log(2), eigenvalues)),
            ("the ½ of (5.13) is missing", lambda eigenvalues, rate: least_by_halving(rate / 2, eigenvalues)),
            ("were there twice", lambda eigenvalues, rate: least_by_halving(rate * 2, eigenvalues)),
            ("is the water level", level),
            (
                "others are lost, all of them",
                lambda eigenvalues, rate: sent(eigenvalues, rate).sum() * level(eigenvalues, rate),
            ),
            (
                "what is sent keeps an error too",
                lambda eigenvalues, rate: eigenvalues[~sent(eigenvalues, rate)].sum(),
            ),
            (
                "comes back. The distortion is the rest",
                lambda eigenvalues, rate: (eigenvalues - level(eigenvalues, rate)).clamp(min=0).sum(),
            ),
            (
                "There is a better way",
                lambda eigenvalues, rate: sum(eigenvalues * math.exp(-2 * rate / len(eigenvalues))),
            ),
            ("they share them", lambda eigenvalues, rate: sum(eigenvalues * math.exp(-2 * rate))),
            ("has the sum", lambda eigenvalues, rate: least_by_halving(rate, eigenvalues) / len(eigenvalues)),
        ],
    ),
    "vae_loss": Answers(
        right=[(beta_of_claim, loss_by_torch), (beta_by_means, loss_by_pictures)],
        wrong=[
            ("in which both terms are means", (lambda nu, pixels, components: pixels / 2 / nu / components, loss())),
            ("if both terms were sums", (lambda nu, pixels, components: 0.5 / nu, loss())),
            ("the bound divides the squared error", (lambda nu, pixels, components: 1 / components, loss())),
            ("twice too much", (lambda nu, pixels, components: 1 / nu / components, loss())),
            ("2ν is on the wrong side", (lambda nu, pixels, components: 2 * nu / components, loss())),
            ("upside down", (lambda nu, pixels, components: 2 * nu * components, loss())),
            ("already, without a square", (lambda nu, pixels, components: 0.5 / nu**2 / components, loss())),
            ("not counted alike", (lambda nu, pixels, components: 1, loss())),
            ("the KL is still the claim's", (beta_of_claim, loss(rate=lambda m, v: twice(m, v).mean(1) / 2))),
            ("does not enter", (beta_of_claim, claimed_loss)),
            ("their log densities add up", (beta_of_claim, loss(error=lambda e, nu: e.mean(1) / (2 * nu)))),
            (
                "that of one pixel out of",
                (
                    beta_of_claim,
                    loss(lambda e, nu: e.mean(1) / (2 * nu), lambda n, nu: math.log(2 * math.pi * nu) / 2),
                ),
            ),
            ("(5.6) has a second term", (beta_of_claim, loss(constant=lambda n, nu: 0))),
            ("counts for each of the", (beta_of_claim, loss(constant=lambda n, nu: math.log(2 * math.pi * nu) / 2))),
            ("stands more than ν", (beta_of_claim, loss(constant=lambda n, nu: n * math.log(nu) / 2))),
            ("has lost its ½", (beta_of_claim, loss(constant=lambda n, nu: n * math.log(2 * math.pi * nu)))),
            ("divides by more", (beta_of_claim, loss(error=lambda e, nu: e.sum(1) / nu))),
            ("is not divided by anything", (beta_of_claim, loss(error=lambda e, nu: e.sum(1)))),
            (
                "was squared, and is a variance",
                (beta_of_claim, lambda nu, **case: loss_by_torch(nu=nu**2, **case)),
            ),
            ("the ½ of the KL", (beta_of_claim, loss(rate=lambda m, v: twice(m, v).sum(1)))),
            ("the KL is taken away", (beta_of_claim, loss(rate=lambda m, v: -twice(m, v).sum(1) / 2))),
            ("it is log s²", (beta_of_claim, loss(rate=lambda m, v: twice(m, 2 * v).sum(1) / 2))),
            ("that is the sum over", (beta_of_claim, lambda x, **case: len(x) * loss_by_torch(x=x, **case))),
            ("the bound on log p(x)", (beta_of_claim, lambda **case: -loss_by_torch(**case))),
            (
                "numbers, one a picture",
                (
                    beta_of_claim,
                    lambda nu, **case: torch.stack(
                        [
                            loss_by_torch(nu=nu, **{k: v[i : i + 1] for k, v in case.items()})
                            for i in range(len(case["x"]))
                        ]
                    ),
                ),
            ),
        ],
    ),
    "undo": Answers(
        right=[(shift, normal, back), (shift_by_moments, normal_by_channel, back_by_torch)],
        wrong=[
            ("which is log k", (lambda mean, logvar: spread_of(mean, logvar).sqrt().log(), normal, back)),
            ("The sign says", (lambda mean, logvar: -shift(mean, logvar), normal, back)),
            ("the factor of the SNR", (spread_of, normal, back)),
            ("decibels", (lambda mean, logvar: 10 * torch.log10(spread_of(mean, logvar)), normal, back)),
            ("Training noises draws", (lambda mean, logvar: 2 * mean.std((0, 2, 3), correction=0).log(), normal, back)),
            ("pictures differ too", (lambda mean, logvar: logvar.exp().mean((0, 2, 3)).log(), normal, back)),
            (
                "from the mean square",
                (lambda mean, logvar: (mean**2 + logvar.exp()).mean((0, 2, 3)).log(), normal, back),
            ),
            ("it is s² already", (lambda mean, logvar: shift(mean, 2 * logvar), normal, back)),
            ("with s where its square", (lambda mean, logvar: shift(mean, logvar / 2), normal, back)),
            (
                "the logarithms were averaged",
                (
                    lambda mean, logvar: shift(mean, logvar.mean((0, 2, 3), keepdim=True).expand_as(logvar)),
                    normal,
                    back,
                ),
            ),
            ("− 1. Divide by all", (lambda mean, logvar: spread_of(mean, logvar, 1).log(), normal, back)),
            (
                "each has its own scale",
                (lambda mean, logvar: (mean.var(correction=0) + logvar.exp().mean()).log(), normal, back),
            ),
            (
                "average over the places too",
                (lambda mean, logvar: (mean.var(0, correction=0) + logvar.exp().mean(0)).log(), normal, back),
            ),
            ("the latents are as they came", (shift, lambda latent, mean, logvar: latent, back)),
            (
                "you divided by the variance",
                (shift, lambda latent, mean, logvar: normal(latent, mean, logvar) / size(mean, logvar), back),
            ),
            ("the mean is still in", (shift, lambda latent, mean, logvar: latent / size(mean, logvar), back)),
            ("only the mean was taken away", (shift, lambda latent, mean, logvar: latent - middle(mean), back)),
            (
                "where you should divide",
                (shift, lambda latent, mean, logvar: (latent - middle(mean)) * size(mean, logvar), back),
            ),
            (
                "the mean was taken away after the scaling",
                (shift, lambda latent, mean, logvar: latent / size(mean, logvar) - middle(mean), back),
            ),
            ("the next batch would get others", (shift, batch_norm, back)),
            ("what tells pictures apart is lost", (shift, picture_norm, back)),
            (
                "that of the codes' means alone",
                (
                    shift,
                    lambda latent, mean, logvar: (
                        (latent - middle(mean)) / mean.std((0, 2, 3), correction=0, keepdim=True)
                    ),
                    back,
                ),
            ),
            ("all channels got the same mean", (shift, global_norm, back)),
            (
                "the mean was added before the scaling",
                (shift, normal, lambda x_0, mean, logvar: (x_0 + middle(mean)) * size(mean, logvar)),
            ),
            (
                "it was divided once more",
                (shift, normal, lambda x_0, mean, logvar: x_0 / size(mean, logvar) + middle(mean)),
            ),
            ("normalised a second time", (shift, normal, lambda x_0, mean, logvar: normal(x_0, mean, logvar))),
            ("the mean was forgotten", (shift, normal, lambda x_0, mean, logvar: x_0 * size(mean, logvar))),
            ("the scale was forgotten", (shift, normal, lambda x_0, mean, logvar: x_0 + middle(mean))),
            (
                "you multiplied by the variance",
                (shift, normal, lambda x_0, mean, logvar: back(x_0 * size(mean, logvar), mean, logvar)),
            ),
            (
                "the mean was taken away again",
                (shift, normal, lambda x_0, mean, logvar: x_0 * size(mean, logvar) - middle(mean)),
            ),
            ("nothing was undone", (shift, normal, lambda x_0, mean, logvar: x_0.clone())),
        ],
    ),
}
