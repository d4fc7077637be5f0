"""Notebook 03, (3.1) to (3.9): the posterior, the bound and its terms, the KL of Gaussians.

The bound's identities are checked on a chain of two steps on one number, with a linear model drawn at random:
the integrals over (x_1, x_2) are sums over a fine grid, exact to rounding for Gaussians.
"""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

f64 = torch.float64
SEEDS = [0, 1, 2]
each_seed = pytest.mark.parametrize("seed", SEEDS)
LINE = torch.linspace(-14, 14, 561, dtype=f64)


def log_normal(x, mean, variance):
    return Normal(mean, torch.as_tensor(variance, dtype=f64).sqrt()).log_prob(x)


def uniform(generator, low, high, *shape):
    return low + (high - low) * torch.rand(shape, dtype=f64, generator=generator)


def noising(generator, T):
    """β, α and ᾱ of a random chain; index 0 is β_0 = 0."""
    beta = torch.cat([torch.zeros(1, dtype=f64), uniform(generator, 0.1, 0.6, T)])
    return beta, 1 - beta, torch.cumprod(1 - beta, 0)


def posterior(x_0, x_t, t, beta, alpha, bar):
    """The mean and variance that (3.1) states."""
    mean = (bar[t - 1].sqrt() * beta[t] * x_0 + alpha[t].sqrt() * (1 - bar[t - 1]) * x_t) / (1 - bar[t])
    return mean, (1 - bar[t - 1]) / (1 - bar[t]) * beta[t]


@dataclass(frozen=True)
class TwoSteps:
    """Noising of x_0 in two steps, and a model p(x_2) p(x_1|x_2) p(x_0|x_1) with steps N(slope x + shift, width)."""

    x_0: Tensor
    chain: tuple[Tensor, Tensor, Tensor]
    slope: Tensor
    shift: Tensor
    width: Tensor

    def log_p_step(self, t, x_s, x_t):
        return log_normal(x_s, self.slope[t] * x_t + self.shift[t], self.width[t])

    def log_p(self, x_1, x_2):
        zero = torch.zeros((), dtype=f64)
        return log_normal(x_2, zero, 1.0) + self.log_p_step(2, x_1, x_2) + self.log_p_step(1, self.x_0, x_1)

    def log_q(self, x_1, x_2):
        beta, alpha, _ = self.chain
        return log_normal(x_1, alpha[1].sqrt() * self.x_0, beta[1]) + log_normal(x_2, alpha[2].sqrt() * x_1, beta[2])

    def log_evidence(self):
        """log p(x_0), by pushing the Gaussian of x_2 through both linear steps."""
        mean, variance = torch.zeros((), dtype=f64), torch.ones((), dtype=f64)
        for t in (2, 1):
            mean = self.slope[t] * mean + self.shift[t]
            variance = self.slope[t] ** 2 * variance + self.width[t]
        return log_normal(self.x_0, mean, variance)


def two_steps(seed):
    g = torch.Generator().manual_seed(seed)
    x_0, chain = torch.randn((), dtype=f64, generator=g), noising(g, 2)
    return TwoSteps(x_0, chain, uniform(g, 0.3, 1, 3), uniform(g, -0.5, 0.5, 3), uniform(g, 0.3, 1, 3))


X_1, X_2 = torch.meshgrid(LINE, LINE, indexing="ij")


def integral(values):
    return values.sum() * (LINE[1] - LINE[0]) ** values.ndim


@each_seed
@pytest.mark.equation("3.1")
def test_posterior_is_bayes_rule(seed):
    g = torch.Generator().manual_seed(seed)
    beta, alpha, bar = chain = noising(g, 8)
    x_0, x_s, x_t = torch.randn(3, 5, dtype=f64, generator=g)
    for t in range(2, 9):
        mean, variance = posterior(x_0, x_t, t, *chain)
        step = log_normal(x_t, alpha[t].sqrt() * x_s, beta[t])
        prior = log_normal(x_s, bar[t - 1].sqrt() * x_0, 1 - bar[t - 1])
        evidence = log_normal(x_t, bar[t].sqrt() * x_0, 1 - bar[t])
        torch.testing.assert_close(log_normal(x_s, mean, variance), step + prior - evidence)


@each_seed
@pytest.mark.equation("3.2")
def test_the_joint_of_the_model_integrates_to_p_of_x_0(seed):
    case = two_steps(seed)
    torch.testing.assert_close(integral(case.log_p(X_1, X_2).exp()).log(), case.log_evidence())


def bound_and_gap(case):
    """L and KL(q(x_1, x_2|x_0) ‖ p(x_1, x_2|x_0)), straight from their definitions."""
    log_q, log_p = case.log_q(X_1, X_2), case.log_p(X_1, X_2)
    return integral(log_q.exp() * (log_q - log_p)), integral(log_q.exp() * (log_q - (log_p - case.log_evidence())))


@each_seed
@pytest.mark.equation("3.3")
def test_minus_log_p_is_bound_less_divergence(seed):
    case = two_steps(seed)
    bound, gap = bound_and_gap(case)
    torch.testing.assert_close(bound - gap, -case.log_evidence())
    assert gap > 1e-3


@each_seed
@pytest.mark.equation("3.4")
def test_the_bound_lies_above_and_touches_for_the_models_own_posterior(seed):
    case = two_steps(seed)
    assert bound_and_gap(case)[0] > -case.log_evidence()
    log_p = case.log_p(X_1, X_2)
    log_own = log_p - case.log_evidence()  # q chosen as p(x_1, x_2 | x_0): the KL vanishes
    torch.testing.assert_close(integral(log_own.exp() * (log_own - log_p)), -case.log_evidence())


@each_seed
@pytest.mark.equation("3.5", "3.6")
def test_the_chain_has_one_density_in_both_directions(seed):
    g = torch.Generator().manual_seed(seed)
    T = 6
    beta, alpha, bar = chain = noising(g, T)
    x = torch.randn(T + 1, dtype=f64, generator=g)
    forward, backward = [], []
    for t in range(2, T + 1):
        forward.append(log_normal(x[t], alpha[t].sqrt() * x[t - 1], beta[t]))
        mean, variance = posterior(x[0], x[t], t, *chain)
        backward.append(log_normal(x[t - 1], mean, variance))
        later = log_normal(x[t], bar[t].sqrt() * x[0], 1 - bar[t])
        earlier = log_normal(x[t - 1], bar[t - 1].sqrt() * x[0], 1 - bar[t - 1])
        torch.testing.assert_close(forward[-1], backward[-1] + later - earlier)
    first = log_normal(x[1], alpha[1].sqrt() * x[0], beta[1])
    last = log_normal(x[T], bar[T].sqrt() * x[0], 1 - bar[T])
    torch.testing.assert_close(first + sum(forward), last + sum(backward))


@each_seed
@pytest.mark.equation("3.7")
def test_the_bound_is_prior_and_steps_and_reconstruction(seed):
    case = two_steps(seed)
    _, _, bar = case.chain
    log_q_1 = log_normal(LINE, bar[1].sqrt() * case.x_0, 1 - bar[1])
    log_q_2 = log_normal(LINE, bar[2].sqrt() * case.x_0, 1 - bar[2])
    prior = integral(log_q_2.exp() * (log_q_2 - log_normal(LINE, torch.zeros((), dtype=f64), 1.0)))
    log_back = log_normal(X_1, *posterior(case.x_0, X_2, 2, *case.chain))
    step_at_x_2 = (log_back.exp() * (log_back - case.log_p_step(2, X_1, X_2))).sum(0) * (LINE[1] - LINE[0])
    step = integral(log_q_2.exp() * step_at_x_2)
    reconstruction = integral(log_q_1.exp() * -case.log_p_step(1, case.x_0, LINE))
    torch.testing.assert_close(prior + step + reconstruction, bound_and_gap(case)[0])


@each_seed
@pytest.mark.equation("3.8", "3.9")
def test_kl_of_gaussians_is_the_integral(seed):
    g = torch.Generator().manual_seed(seed)
    m_a, m_b = torch.randn(2, dtype=f64, generator=g)
    a, b = uniform(g, 0.2, 2, 2)
    log_a = log_normal(LINE, m_a, a)

    def by_integral(variance):
        return integral(log_a.exp() * (log_a - log_normal(LINE, m_b, variance)))

    formula = (math.log(b / a) + (a + (m_a - m_b) ** 2) / b - 1) / 2
    torch.testing.assert_close(by_integral(b), formula)
    torch.testing.assert_close(by_integral(a), (m_a - m_b) ** 2 / (2 * a))
