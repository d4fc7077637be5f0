"""Exercise 5.5, a sum beside a mean: how its answers are checked."""

from __future__ import annotations

import math

import torch

from ldm_edu.check.compare import Known, compare
from ldm_edu.check.draw import f64, normal
from ldm_edu.check.exercise import Exercise


def _claimed_beta(nu, pixels, components):
    return 1 / (2 * nu * components)


_BETA_KNOWN = (
    Known(
        lambda nu, pixels, components: pixels / (2 * nu * components),
        "You get {got:.4g}: that is (5.7), in which both terms are means. The claim adds up its {pixels} pixels.",
    ),
    Known(
        lambda nu, pixels, components: 1 / (2 * nu),
        "You get {got:.4g}: so it would be if both terms were sums. The claim's KL is a mean over {components} "
        "components.",
    ),
    Known(
        lambda nu, pixels, components: 1 / components,
        "You get {got:.4g}: the bound divides the squared error by 2ν, and here ν = {nu}.",
    ),
    Known(
        lambda nu, pixels, components: 1 / (nu * components),
        "You get {got:.4g}, twice too much: by (5.6) the squared error is divided by 2ν.",
    ),
    Known(
        lambda nu, pixels, components: 2 * nu / components,
        "You get {got:.4g}: 2ν is on the wrong side. Multiply the bound by it, so that the squared errors agree.",
    ),
    Known(
        lambda nu, pixels, components: 2 * nu * components,
        "You get {got:.4g}, upside down: in the claim the KL counts for too little.",
    ),
    Known(
        lambda nu, pixels, components: 1 / (2 * nu**2 * components),
        "You get {got:.4g}: ν = {nu} is a variance already, without a square.",
    ),
    Known(
        lambda nu, pixels, components: 1.0,
        "You get {got:.0f}: then the claim would be the bound. Its two terms are not counted alike.",
    ),
)


def _made(
    square=lambda error, nu: error.flatten(1).sum(1) / (2 * nu),
    constant=lambda n, nu: n / 2 * math.log(2 * math.pi * nu),
    rate=lambda nats: nats.flatten(1).sum(1),
    of=lambda mean, logvar: (mean.square() + logvar.exp() - 1 - logvar) / 2,
    reduce=lambda loss: loss.mean(),
):
    """L of (5.3) with one of its parts done differently."""

    def loss(x, x_hat, mean, logvar, nu):
        return reduce(square((x - x_hat).square(), nu) + constant(x[0].numel(), nu) + rate(of(mean, logvar)))

    return loss


_loss = _made()


def _off(say):
    return lambda case, got, want: (
        f"Your loss is {got.flatten()[0].item():.3f} nats in place of {want.item():.3f}: "
        + say.format(d=case.mean[0].numel(), n=case.x[0].numel(), B=len(case.x), nu=case.nu)
    )


_LOSS_KNOWN = (
    Known(
        _made(rate=lambda nats: nats.flatten(1).mean(1)),
        _off("the KL is still the claim's, a mean over its {d} components."),
    ),
    Known(
        lambda x, x_hat, mean, logvar, nu: _made(constant=lambda n, nu: 0.0, rate=lambda nats: nats.flatten(1).mean(1))(
            x, x_hat, mean, logvar, 0.5
        ),
        _off("this is still the claim's, and ν = {nu} does not enter."),
    ),
    Known(
        _made(square=lambda error, nu: error.flatten(1).mean(1) / (2 * nu)),
        _off("the squared error is a mean over {n} pixels, and their log densities add up."),
    ),
    Known(
        _made(
            square=lambda error, nu: error.flatten(1).mean(1) / (2 * nu),
            constant=lambda n, nu: math.log(2 * math.pi * nu) / 2,
        ),
        _off("the reconstruction is that of one pixel out of {n}."),
    ),
    Known(
        _made(constant=lambda n, nu: 0.0),
        _off("(5.6) has a second term. It needs no network, but without it losses at different ν cannot be compared."),
    ),
    Known(
        _made(constant=lambda n, nu: math.log(2 * math.pi * nu) / 2),
        _off("the term log 2πν counts for each of the {n} pixels, not once."),
    ),
    Known(
        _made(constant=lambda n, nu: n / 2 * math.log(nu)),
        _off("under the logarithm of (5.6) stands more than ν."),
    ),
    Known(
        _made(constant=lambda n, nu: n * math.log(2 * math.pi * nu)),
        _off("the logarithm of (5.6) has lost its ½."),
    ),
    Known(
        _made(square=lambda error, nu: error.flatten(1).sum(1) / nu),
        _off("the squared error is divided by ν; (5.6) divides by more."),
    ),
    Known(
        _made(square=lambda error, nu: error.flatten(1).sum(1)),
        _off("the squared error is not divided by anything, and ν = {nu}."),
    ),
    Known(
        _made(
            square=lambda error, nu: error.flatten(1).sum(1) / (2 * nu**2),
            constant=lambda n, nu: n / 2 * math.log(2 * math.pi * nu**2),
        ),
        _off("ν = {nu} was squared, and is a variance already."),
    ),
    Known(
        _made(of=lambda mean, logvar: mean.square() + logvar.exp() - 1 - logvar),
        _off("the ½ of the KL is missing."),
    ),
    Known(
        _made(of=lambda mean, logvar: -(mean.square() + logvar.exp() - 1 - logvar) / 2),
        _off("the KL is taken away. A code that tells more must cost more."),
    ),
    Known(
        _made(of=lambda mean, logvar: (mean.square() + (2 * logvar).exp() - 1 - 2 * logvar) / 2),
        _off("logvar was taken for log s; it is log s²."),
    ),
    Known(
        _made(reduce=lambda loss: loss.sum()),
        _off("that is the sum over {B} pictures. Take their mean, so that the loss does not grow with the batch."),
    ),
    Known(
        _made(reduce=lambda loss: -loss.mean()),
        _off("that is the bound on log p(x), with a minus sign. A loss falls as the model gets better."),
    ),
    Known(
        _made(reduce=lambda loss: loss),
        _off("that is the first of {B} numbers, one a picture. One is asked, their mean."),
    ),
)


def _case(shape, code, nu, seed, dtype=f64):
    x, error = (normal(*shape, seed=seed + i, dtype=dtype) for i in range(2))
    mean, logvar = (normal(shape[0], *code, seed=seed + i, dtype=dtype) for i in (2, 3))
    return {"x": x, "x_hat": x + 0.4 * error, "mean": mean, "logvar": 0.5 * logvar - 1, "nu": nu}


def _try(claimed_beta, vae_loss):
    cases = [
        {"nu": 0.05, "pixels": 1024, "components": 256},
        {"nu": 0.3, "pixels": 12, "components": 2},
        {"nu": 1.5, "pixels": 3, "components": 7},
    ]
    compare(claimed_beta, _claimed_beta, cases, _BETA_KNOWN, ("β",))
    cases = [
        _case((3, 1, 4, 6), (2, 2, 3), 0.1, 1),
        _case((2, 5), (3,), 0.02, 11),
        _case((1, 2, 3, 3), (4, 1, 1), 2.0, 21, torch.float32),
    ]
    compare(vae_loss, _loss, cases, _LOSS_KNOWN, ("the loss",))


vae_loss = Exercise(
    title="Find the mistake: a sum beside a mean",
    kind="find the mistake",
    answers=("claimed_beta", "vae_loss"),
    trial=_try,
    points=4,
    difficulty=2,
    minutes=25,
    hints=(
        "Write the bound with β, (5.6) and (5.5), and multiply it by the number that gives its squared error the "
        "factor 1.",
        "That number is 2ν, so the KL has the factor 2νβ there. In the claim it is divided by d. For the loss: sums "
        "over pixels and over components, and a mean over the batch only.",
        "β = 1/(2νd). The loss of a picture is ‖x − x̂‖²/(2ν) + n/2 log 2πν + ½ Σ (mean² + exp(logvar) − 1 − logvar).",
    ),
)
