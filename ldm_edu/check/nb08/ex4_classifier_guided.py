"""Exercise 8.4, guided by a probability: how its answers are checked."""

from __future__ import annotations

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise


def _claimed_length(logits, c):
    return torch.softmax(logits, 0)[c]


def _chance(of):
    """A number made of p(c|x_t)."""
    return lambda logits, c: of(_claimed_length(logits, c))


_LENGTH_KNOWN = (
    Known(
        _chance(lambda p: 1 - p),
        "You get {got:.4f}, which is large where the classifier is sure of something else: ∇p = ? · ∇log p.",
    ),
    Known(
        _chance(lambda p: p * (1 - p)),
        "You get {got:.4f}, the derivative of p with respect to its own logit. The ratio of two gradients is asked.",
    ),
    Known(_chance(lambda p: 1 / p), "You get {got:.4f}: the right gradient over the claim's; the other way round."),
    Known(_chance(torch.log), "You get {got:.4f}, which is log p(c|x_t): a length cannot be negative."),
    Known(
        lambda logits, c: torch.sigmoid(logits[c]),
        "You get {got:.4f} from one logit alone: the chances of all classes add up to 1.",
    ),
    Known(
        lambda logits, c: logits[c],
        "You get {got:.4f}: this is a logit, and not yet a chance.",
    ),
    Known(
        lambda logits, c: _claimed_length(logits, -1),
        "You get {got:.4f}, for the last class. Asked is class {c}.",
    ),
)  # fmt: skip


def _log_gradient(x_t, c, weight, bias):
    """∇log p(c|x_t) of a linear classifier: w_c − Σ_k p_k w_k."""
    return weight[c] - torch.softmax(x_t @ weight.T + bias, 1) @ weight


def _made(gradient=_log_gradient, factor=lambda bar: -((1 - bar) ** 0.5), base=lambda eps: eps, times=lambda w: w):
    """The guided answer with another gradient, another factor of it, or another weight."""

    def guide(eps_hat, x_t, c, weight, bias, alpha_bar_t, guidance):
        return base(eps_hat) + times(guidance) * factor(alpha_bar_t) * gradient(x_t, c, weight, bias)

    return guide


_guide = _made()


def _of_chance(x_t, c, weight, bias):
    """∇p(c|x_t)."""
    chance = torch.softmax(x_t @ weight.T + bias, 1).gather(1, c[:, None])
    return chance * _log_gradient(x_t, c, weight, bias)


def _says(say):
    def sentence(case, got, want):
        right, yours = want - case.eps_hat, got - case.eps_hat
        along = (yours * right).sum() / right.square().sum()
        return say.format(
            along=f"{along.item():.3f}", yours=f"{yours.norm().item():.3f}", right=f"{right.norm().item():.3f}",
            bar=case.alpha_bar_t, w=case.guidance, B=len(case.x_t),
        )  # fmt: skip

    return sentence


_GUIDE_KNOWN = (
    Known(
        _made(_of_chance, lambda bar: 1),
        _says("You add a term of length {yours}, and it should have {right}: this still is the claim's line."),
    ),
    Known(
        _made(_of_chance, lambda bar: -1),
        _says(
            "You subtract a term of length {yours}, and it should have {right}: two of the claim's mistakes are left, "
            "the gradient of p and the missing factor."
        ),
    ),
    Known(
        _made(_of_chance, lambda bar: (1 - bar) ** 0.5),
        _says(
            "You add a term of length {yours}; it should have {right} and the other direction: two of the claim's "
            "mistakes are left, the gradient of p and the direction."
        ),
    ),
    Known(
        _made(_of_chance),
        _says("Your change has the length {yours} in place of {right}: the gradient is of p and not of log p."),
    ),
    Known(
        _made(factor=lambda bar: (1 - bar) ** 0.5),
        _says("Your change is {along} times the right one: it leads away from c. Which sign has ε̂ beside a score?"),
    ),
    Known(
        _made(factor=lambda bar: 1),
        _says("Your change is {along} times the right one: its direction is wrong, and a factor is missing."),
    ),
    Known(
        _made(factor=lambda bar: -1),
        _says(
            "Your change is {along} times the right one at ᾱ_t = {bar}: a score is no ε. What turns one into the other?"
        ),
    ),
    Known(
        _made(factor=lambda bar: -(1 - bar)),
        _says(
            "Your change is {along} times the right one at ᾱ_t = {bar}: the variance stands where the deviation should."
        ),
    ),
    Known(
        _made(factor=lambda bar: -(bar**0.5)),
        _says("Your change is {along} times the right one at ᾱ_t = {bar}: this is the signal's factor."),
    ),
    Known(
        _made(factor=lambda bar: -((1 - bar) ** -0.5)),
        _says(
            "Your change is {along} times the right one at ᾱ_t = {bar}: you divide by the noise, as from ε to a score."
        ),
    ),
    Known(
        _made(times=lambda w: w - 1),
        _says("Your change is {along} times the right one: w − 1 = {w} − 1 fits a base that has heard c already."),
    ),
    Known(
        _made(times=lambda w: 1),
        _says("Your change is {along} times the right one: w = {w} is left out."),
    ),
    Known(
        lambda eps_hat, x_t, c, weight, bias, alpha_bar_t, guidance: (
            eps_hat - guidance * (1 - alpha_bar_t) ** 0.5 * _log_gradient(x_t, c, weight, bias) / len(x_t)
        ),
        _says(
            "Your change is {along} times the right one, with {B} examples: the mean over the batch was differentiated."
        ),
    ),
    Known(
        _made(lambda x_t, c, weight, bias: weight[c]),
        _says("Your change has the length {yours} in place of {right}: a logit's gradient is not yet that of log p."),
    ),
    Known(
        _made(lambda x_t, c, weight, bias: _log_gradient(x_t, c[:1].expand_as(c), weight, bias)),
        _says("Your change has the length {yours} in place of {right}: all {B} examples go to the class of the first."),
    ),
    Known(
        _made(lambda x_t, c, weight, bias: sum(_log_gradient(x_t, k.expand_as(c), weight, bias) for k in c)),
        _says(
            "Your change has the length {yours} in place of {right}: each of {B} examples goes to the classes of all. "
            "Which shape has what you sum up?"
        ),
    ),
    Known(
        _made(base=lambda eps: torch.zeros_like(eps)),
        _says("Your answer is {yours} away from ε̂(∅), and {right} is right: only the classifier's part is there."),
    ),
)


def _case(B, D, K, bar, guidance, seed, dtype=f64):
    eps_hat, x_t = (normal(B, D, seed=seed + i, dtype=dtype) for i in range(2))
    weight, bias = normal(K, D, seed=seed + 2, dtype=dtype), normal(K, seed=seed + 3, dtype=dtype)
    c = torch.randint(0, K, (B,), generator=torch.Generator().manual_seed(seed))
    return {
        "eps_hat": eps_hat, "x_t": x_t, "c": c, "weight": weight, "bias": bias,
        "alpha_bar_t": bar, "guidance": guidance,
    }  # fmt: skip


def _try(claimed_length, classifier_guided):
    pairs = [([-2.0, 1.0, 0.5], 0), ([3.0, -1.0], 0), ([0.2, 0.1, -4.0, 2.0], 2), ([0.7, 0.3, 0.9], 1)]
    cases = [{"logits": torch.tensor(logits, dtype=f64), "c": c} for logits, c in pairs]
    compare(claimed_length, _claimed_length, cases, _LENGTH_KNOWN, ("the ratio",))
    cases = [
        _case(6, 3, 4, 0.3, 2.5, 1),
        _case(1, 5, 2, 0.9, 1.0, 11),
        _case(3, 2, 3, 0.05, 0.0, 21),  # w = 0: the classifier is not heard
        _case(4, 4, 5, 0.6, 4.0, 31, torch.float32),
    ]
    compare(classifier_guided, _guide, cases, _GUIDE_KNOWN, ("the guided answer",))


classifier_guided = Exercise(
    title="Find the mistake: guided by a probability",
    kind="find the mistake",
    answers=("claimed_length", "classifier_guided"),
    trial=_try,
    points=4,
    difficulty=2,
    minutes=25,
    hints=(
        "The chain rule ties ∇p to ∇log p. And compare the claim with (8.11), sign and factors included.",
        "∇log p = ∇p / p, so the claim's push is weakest where c is least likely. (8.11) subtracts, and has the factor "
        "noise_t; w multiplies the gradient.",
        "softmax(logits)[c]. And eps_hat − w √(1−ᾱ_t) ∇log p(c|x_t), with autograd on log_softmax, or by hand: "
        "weight[c] − Σ_k p(k|x_t) weight[k].",
    ),
)
