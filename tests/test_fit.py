"""The training loop: its mathematics against a plain one, and what it does where things go wrong."""

import dataclasses
import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tiny import assert_same
from torch import nn

from ldm_edu.checkpoint import CheckpointError, read_about
from ldm_edu.fit import FitConfig, TrainingError, _check_finite, fit, out_of_memory, seeded

CONFIG = FitConfig(steps=12, batch=6, learning_rate=0.05, warmup=3, weight_decay=0.1, clip=0.5, ema=0.8)


class Line(nn.Module):
    """Fit y = w · x + b; the loss is a mean over the batch."""

    def __init__(self):
        super().__init__()
        self.line = nn.Linear(3, 1)
        with torch.no_grad():
            self.line.weight.copy_(torch.tensor([[0.3, -0.2, 0.1]]))
            self.line.bias.zero_()

    def forward(self, x, y):
        return (self.line(x).squeeze(1) - y).square().mean()


def make_batch(n, generator):
    x = torch.randn(n, 3, generator=generator)
    return x, x @ torch.tensor([1.0, -2.0, 3.0]) + 0.5


@pytest.fixture
def accelerator():
    return Accelerator(cpu=True, mixed_precision="no")


def run(accelerator, config=CONFIG, objective=None, batches=make_batch, **options):
    """Train; the averaged and the last weights."""
    objective = objective or Line()
    averaged = fit(objective, batches, config, accelerator=accelerator, **options)
    return averaged.state_dict(), objective.state_dict()


def by_hand(config):
    """The same training with nothing but autograd and arithmetic: AdamW, clipping, learning rate, moving average."""
    net = Line()
    parameters = list(net.parameters())
    m, v = [torch.zeros_like(p) for p in parameters], [torch.zeros_like(p) for p in parameters]
    average = None
    for step in range(config.steps):
        loss = net(*make_batch(config.batch, seeded(0, f"fit/{step}")))
        gradients = torch.autograd.grad(loss, parameters)
        norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
        gradients = [g * min(1.0, config.clip / (norm + 1e-6)) for g in gradients]
        rate = config.rate_at(step)
        with torch.no_grad():
            for i, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
                p.mul_(1 - rate * config.weight_decay)
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = config.beta2 * v[i] + (1 - config.beta2) * g**2
                m_hat, v_hat = m[i] / (1 - 0.9 ** (step + 1)), v[i] / (1 - config.beta2 ** (step + 1))
                p.sub_(rate * m_hat / (v_hat.sqrt() + 1e-8))
            if average is None:
                average = [p.clone() for p in parameters]
            else:
                decay = min(config.ema, (1 + step) / (10 + step))
                average = [decay * a + (1 - decay) * p for a, p in zip(average, parameters, strict=True)]
    return average, [p.detach() for p in parameters]


@pytest.mark.parametrize("config", [CONFIG, dataclasses.replace(CONFIG, ema=0.0, clip=100.0, warmup=0)])
def test_weights_and_moving_average_are_those_by_hand(accelerator, config):
    averaged, last = run(accelerator, config)
    for ours, theirs in zip((averaged, last), by_hand(config), strict=True):
        torch.testing.assert_close(list(ours.values()), theirs, rtol=1e-4, atol=1e-6)
    same = all(torch.equal(averaged[k], last[k]) for k in last)
    assert same == (config.ema == 0)


def test_learning_rate_rises_linearly_and_falls_as_a_cosine():
    config = FitConfig(steps=110, warmup=10, learning_rate=2.0)
    rates = [config.rate_at(step) for step in range(110)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[10] == 2.0
    assert rates[60] == pytest.approx(2 * (0.01 + 0.99 / 2))
    assert rates[35] == pytest.approx(2 * (0.01 + 0.99 * (1 + math.sqrt(0.5)) / 2))
    assert rates[-1] == pytest.approx(0.02, rel=0.05)
    assert FitConfig(steps=110, warmup=0).rate_at(0) == 3e-3


@pytest.mark.parametrize("pieces", [2, 3, 4, 6])
def test_accumulated_gradients_are_those_of_one_batch(accelerator, pieces):
    whole = run(accelerator)
    parts = run(accelerator, dataclasses.replace(CONFIG, accumulate=pieces))
    for a, b in zip(whole, parts, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


NO_ROOM = torch.OutOfMemoryError("no room")
NO_ENGINE = RuntimeError("GET was unable to find an engine to execute this computation")  # of a convolution
NO_RAM = RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you …")
NO_RAM_ON_WINDOWS = RuntimeError("[enforce fail at alloc_cpu.cpp:98] data. DefaultCPUAllocator: not enough memory: …")


class Small(Line):
    """Line on a machine with memory for `room` examples."""

    def __init__(self, room, error=NO_ROOM):
        super().__init__()
        self.room, self.error, self.seen = room, error, []

    def forward(self, x, y):
        self.seen.append(len(x))
        if len(x) > self.room:
            raise self.error
        return super().forward(x, y)


@pytest.mark.parametrize(
    ("room", "pieces", "error"),
    [(3, 2, NO_ROOM), (2, 4, NO_ENGINE), (1, 6, NO_ROOM), (3, 2, NO_RAM), (2, 4, NO_RAM_ON_WINDOWS)],
)
def test_out_of_memory_goes_on_in_smaller_pieces(accelerator, room, pieces, error):
    said, objective = [], Small(room, error)
    rescued = run(accelerator, objective=objective, notice=said.append)
    asked = run(accelerator, dataclasses.replace(CONFIG, accumulate=pieces))
    for a, b in zip(rescued, asked, strict=True):
        assert_same(a, b)
    assert max(objective.seen[-6:]) == room
    assert said[-1] == f"out of memory: going on with {-(-6 // pieces)} examples at a time, same batch"


def test_memory_that_this_machine_lacks_is_recognised():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60, dtype=torch.uint8)
    assert out_of_memory(error.value)


def test_a_step_that_ran_out_of_memory_late_is_done_again_whole(accelerator):
    class Leaky(Small):
        def forward(self, x, y):
            if len(self.seen) == 5:
                self.room = 3
            return super().forward(x, y)

    objective = Leaky(6)
    rescued = run(accelerator, objective=objective)
    assert objective.seen[:9] == [6, 6, 6, 6, 6, 6, 3, 3, 3]
    for a, b in zip(rescued, run(accelerator), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_pieces_that_memory_asked_for_last_over_a_cut(accelerator, tmp_path):
    class Deep(Small):
        def __init__(self, room):
            super().__init__(room)
            with torch.random.fork_rng():
                torch.manual_seed(0)
                self.line = nn.Sequential(nn.Linear(3, 8), nn.SiLU(), nn.Linear(8, 1))

    def stop(step, averaged):
        raise KeyboardInterrupt

    saved = {"state_path": tmp_path / "x", "save_every": 6}
    with pytest.raises(KeyboardInterrupt):
        run(accelerator, objective=Deep(2), after_save=stop, **saved)
    resumed = Deep(6)  # memory is free again
    cut = run(accelerator, objective=resumed, **saved)
    assert resumed.seen == [2] * 18
    for a, b in zip(cut, run(accelerator, objective=Deep(2)), strict=True):
        assert_same(a, b)


def test_a_step_done_again_counts_its_examples_once(accelerator):
    class Counting(Small):
        def __init__(self, room):
            super().__init__(room)
            self.register_buffer("count", torch.zeros((), dtype=torch.int64))

        def forward(self, x, y):
            self.count += len(x)
            return super().forward(x, y)

    counts = [run(accelerator, objective=Counting(room))[1]["count"].item() for room in (6, 3)]
    assert counts == [CONFIG.steps * CONFIG.batch] * 2


def test_the_averaged_module_has_the_buffers_of_the_trained_one(accelerator):
    class Normed(Line):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(3)

        def forward(self, x, y):
            return super().forward(self.norm(x + 5), y)

    averaged, last = run(accelerator, objective=Normed())
    assert last["norm.running_mean"].min() > 2
    for name in ("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"):
        assert torch.equal(averaged[name], last[name])
    assert not torch.equal(averaged["norm.weight"], last["norm.weight"])


def test_one_example_too_big_is_an_error_that_says_what_to_do(accelerator):
    with pytest.raises(TrainingError, match=r"out of memory at step 1 with 1 examples at a time; use a smaller batch"):
        run(accelerator, objective=Small(0))


def test_an_error_that_is_not_of_memory_passes_through(accelerator):
    objective = Small(3, RuntimeError("mat1 and mat2 must have the same dtype"))
    with pytest.raises(RuntimeError, match="same dtype"):
        run(accelerator, objective=objective)
    assert objective.seen == [6]


@pytest.fixture
def accelerator_in(request):
    """An accelerator in another precision, of which Accelerate keeps one a process."""
    AcceleratorState._reset_state()
    yield lambda precision: Accelerator(cpu=True, mixed_precision=precision)
    AcceleratorState._reset_state()


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_cut_anywhere_ends_in_the_same_bits(accelerator_in, tmp_path, optimizer, precision):
    accelerator = accelerator_in(precision)
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    unbroken = run(accelerator, config)
    for cut in (1, 2, 7, CONFIG.steps):
        path = tmp_path / f"{cut}.state"

        def stop(step, averaged, cut=cut):
            if step == cut:
                raise InterruptedError

        with pytest.raises(InterruptedError):
            run(accelerator, config, state_path=path, save_every=1, after_save=stop)
        assert read_about(path)["step"] == cut
        for a, b in zip(run(accelerator, config, state_path=path), unbroken, strict=True):
            assert_same(a, b)
        assert read_about(path)["step"] == CONFIG.steps


def test_a_finished_training_is_read_and_not_done_again(accelerator, tmp_path):
    first = run(accelerator, state_path=tmp_path / "x")
    before = read_about(tmp_path / "x")

    def refuse(n, generator):
        raise AssertionError("trained again")

    again = run(accelerator, batches=refuse, state_path=tmp_path / "x")
    for a, b in zip(first, again, strict=True):
        assert_same(a, b)
    assert read_about(tmp_path / "x") == before


def test_seconds_add_up_over_a_resumed_training(accelerator, tmp_path, monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr("ldm_edu.fit.time.perf_counter", lambda: next(clock))
    path = tmp_path / "x"

    def stop(step, averaged):
        if step == 6:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(accelerator, state_path=path, save_every=3, after_save=stop)
    half = read_about(path)["seconds"]
    assert half > 0
    began = next(clock)
    run(accelerator, state_path=path, save_every=3)
    whole = read_about(path)["seconds"]
    assert half < whole <= half + next(clock) - began


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_and_keeps_the_state(accelerator, tmp_path, value):
    def poisoned(n, generator):
        x, y = make_batch(n, generator)
        poisoned.step += 1
        return x, y * (value if poisoned.step > 7 else 1)

    poisoned.step = 0
    with pytest.raises(TrainingError, match=r"not finite in the \d steps up to step 9; lower.*saved before.* whole in"):
        run(accelerator, batches=poisoned, state_path=tmp_path / "x", save_every=3)
    assert read_about(tmp_path / "x")["step"] == 6
    for a, b in zip(run(accelerator, state_path=tmp_path / "x"), run(accelerator), strict=True):
        assert_same(a, b)


@pytest.mark.parametrize(("scale", "stops"), [(65_536.0, False), (1.0, False), (0.5, True), (None, True)])
def test_half_precision_may_leave_steps_out_but_not_all_of_them(scale, stops):
    scaler = None if scale is None else torch.amp.GradScaler("cpu", init_scale=scale)
    half = SimpleNamespace(scaler=scaler, reduce=lambda value, how: value)
    check = partial(_check_finite, steps=3, done=3, accelerator=half, state_path=None)
    check(torch.tensor(0.0))
    if stops:
        with pytest.raises(TrainingError, match="not finite in the 3 steps up to step 3"):
            check(torch.tensor(1.0))
    else:
        check(torch.tensor(1.0))


def test_a_first_loss_that_is_no_number_is_found_at_once(accelerator):
    with pytest.raises(TrainingError, match="up to step 1;"):
        run(accelerator, batches=lambda n, g: (torch.full((n, 3), math.nan), torch.ones(n)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "other settings: seed was 0, now 1"),
        ({"name": "other"}, "name was fit, now other"),
        ({"config": dataclasses.replace(CONFIG, clip=1.0)}, r"other settings: fit\.clip was 0\.5, now 1\.0$"),
    ],
)
def test_a_state_of_another_training_is_refused(accelerator, tmp_path, change, message):
    run(accelerator, state_path=tmp_path / "x")
    with pytest.raises(CheckpointError, match=message):
        run(accelerator, **({"state_path": tmp_path / "x"} | change))


def test_reports_come_early_and_say_where_it_stands(accelerator, tmp_path):
    reports = []
    run(accelerator, report=reports.append, report_every=5, state_path=tmp_path / "x", save_every=100)
    assert [r.step for r in reports] == [1, 5, 10, 12]
    assert all(r.steps == 12 and r.rate > 0 and math.isfinite(r.loss) for r in reports)
    assert reports[-1].seconds_left == 0
    assert reports[0].loss == pytest.approx(Line()(*make_batch(6, seeded(0, "fit/0"))).item())
    assert reports[-1].loss < reports[0].loss


def test_a_resumed_training_reports_from_where_it_goes_on(accelerator, tmp_path):
    def stop(step, averaged):
        raise InterruptedError

    reports = []
    with pytest.raises(InterruptedError):
        run(accelerator, state_path=tmp_path / "x", save_every=7, after_save=stop)
    run(accelerator, state_path=tmp_path / "x", save_every=100, report=reports.append)
    assert [r.step for r in reports] == [8, 12]


def test_the_global_random_numbers_are_left_alone(accelerator):
    objective = Line()
    torch.manual_seed(1)
    before = torch.get_rng_state()
    run(accelerator, objective=objective)
    assert torch.equal(torch.get_rng_state(), before)


def test_bf16_on_the_cpu_learns(accelerator_in):
    reports = []
    config = dataclasses.replace(CONFIG, steps=100, learning_rate=0.2, clip=10.0)
    run(accelerator_in("bf16"), config, report=reports.append)
    assert reports[-1].loss < reports[0].loss / 10


def test_seeded_depends_on_seed_and_name():
    draws = {torch.rand(1, generator=seeded(seed, name)).item() for seed in (0, 1) for name in ("a", "b")}
    assert len(draws) == 4
    assert torch.equal(torch.rand(3, generator=seeded(5, "x")), torch.rand(3, generator=seeded(5, "x")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a whole number, 1 or more, got 0"),
        ({"batch": -1}, "batch must be a whole number, 1 or more"),
        ({"optimizer": "sgd"}, "optimizer must be adamw or muon, got 'sgd'"),
        ({"accumulate": 0}, "accumulate must be a whole number, 1 or more"),
        ({"batch": 2, "accumulate": 3}, "accumulate = 3 splits a batch of 2 into empty pieces"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
        ({"learning_rate": math.nan}, "learning_rate must be positive"),
        ({"clip": -1.0}, "clip must be positive"),
        ({"warmup": -1}, "warmup must be a whole number, 0 or more, got -1"),
        ({"steps": 2.5}, "steps must be a whole number, 1 or more, got 2.5"),
        ({"weight_decay": math.nan}, "weight_decay must be 0 or more, got nan"),
        ({"learning_rate": math.inf}, "learning_rate must be positive, got inf"),
        ({"ema": 1.0}, r"must lie in \[0, 1\)"),
        ({"beta2": -0.1}, r"must lie in \[0, 1\)"),
    ],
)
def test_settings_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FitConfig(**options)
