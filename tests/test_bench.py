"""The benchmark: its arithmetic, that what it compares is comparable, and that each comparison runs in miniature."""

import dataclasses
import json
import math
import sys

import pytest
import torch
from tiny import TINY

from ldm_edu.bench import generate as prompt
from ldm_edu.bench import ours as our_side
from ldm_edu.bench import quality, run_bench, throughput
from ldm_edu.bench.comparisons import COMPARISONS, usual_comparisons
from ldm_edu.bench.pairs import clock_of, compare, ratio_of
from ldm_edu.bench.rows import Gap, Reach, Row
from ldm_edu.bench.setting import Setting, Sizes
from ldm_edu.classifier import Classifier
from ldm_edu.cli import main
from ldm_edu.data.load import shapes
from ldm_edu.data.pictures import to_float
from ldm_edu.fit import FitConfig, fit, seeded
from ldm_edu.latent import LatentDiffusion
from ldm_edu.model_config import ModelConfig
from ldm_edu.nets.autoencoder import AutoencoderConfig
from ldm_edu.nets.text import TextConfig
from ldm_edu.nets.unet import UNet, UNetConfig
from ldm_edu.objectives import DiffusionObjective
from ldm_edu.schedule import cosine
from ldm_edu.stable_diffusion import unet_from_diffusers

TINY_UNET = UNetConfig(in_channels=3, out_channels=3, width=8, multipliers=(1, 2), heads=2, groups=4)
SIZES = Sizes(
    latent_side=4,
    pixel_side=8,
    latent_batch=2,
    pixel_batch=2,
    draw=2,
    steps=2,
    latent=dataclasses.replace(TINY_UNET, in_channels=4, out_channels=4, num_classes=3),
    pixel=TINY_UNET,
    peer_channels=(32, 32),
    tokens=16,
    large=dataclasses.replace(TINY_UNET, width=16),
    batches=(2, 4),
)
SETTING = Setting(seconds=0.02, sizes=SIZES)


class Clock:
    """A clock that moves only when work is done."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def work(self, seconds):
        def run():
            self.now += seconds

        return run


# --- arithmetic ---


@pytest.mark.parametrize(("a", "b"), [(0.5, 1.5), (1e-4, 3e-4), (1e-4, 0.4)])
def test_compare_finds_a_known_ratio(a, b):
    clock = Clock()
    ratio = compare(clock.work(a), clock.work(b), seconds=20, clock=clock)
    for value in (ratio.median, ratio.low, ratio.high, ratio.lower_quartile, ratio.upper_quartile):
        assert value == pytest.approx(b / a)
    assert ratio.pairs >= 3
    assert ratio.seconds > 0


def test_compare_lets_each_go_first_in_turn():
    clock, order = Clock(), []

    def work(name):
        def run():
            order.append(name)
            clock.now += 1

        return run

    assert compare(work("a"), work("b"), seconds=8, clock=clock).pairs == 4
    assert "".join(order) == "ab" + "abbaabba"  # once each to warm up


def test_interval_is_the_one_of_order_statistics():
    # For ten draws the 2nd and 9th enclose the median with 97.9%, the 3rd and 8th with only 89.1%.
    ratio = ratio_of([1.0] * 10, [float(i) for i in range(1, 11)])
    assert (ratio.low, ratio.median, ratio.high) == (2.0, 5.5, 9.0)
    assert ratio_of([1.0] * 5, [1.0, 2, 3, 4, 5]).low == 1.0  # too few for 95%: the range
    assert ratio_of([2.0], [3.0]).median == 1.5


def test_interval_covers_the_median_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(1000, 25, generator=generator, dtype=torch.float64).exp()
    inside = [(r := ratio_of([1.0] * 25, row)).low <= 1 <= r.high for row in draws.tolist()]
    assert 0.93 <= sum(inside) / len(inside) <= 0.99  # 95.7% in theory


@pytest.mark.parametrize(
    ("a", "b", "message"), [([], [], "one or more"), ([1.0], [1.0, 2.0], "as many"), ([0.0], [1.0], "too short")]
)
def test_ratio_refuses_costs_that_do_not_pair(a, b, message):
    with pytest.raises(ValueError, match=message):
        ratio_of(a, b)


def test_a_goal_is_met_only_where_the_whole_interval_says_so():
    ratio = ratio_of([1.0] * 10, [float(i) for i in range(1, 11)])  # 2 to 9

    def met(goal, at_most=False):
        return Row("g", "n", "a", "b", ratio, None, goal, at_most).met

    assert [met(g) for g in (1.5, 2, 5, 9.5)] == ["yes", "yes", "open", "no"]
    assert [met(g, at_most=True) for g in (1.5, 5, 9)] == ["no", "open", "yes"]
    assert met(None) == ""


# --- what is compared ---


def test_our_step_is_what_fit_does():
    """The step whose choices are measured gives the weights that `fit` gives, from the same batch."""
    torch.manual_seed(0)
    net = UNet(dataclasses.replace(TINY_UNET, zero_init=False))
    batch = our_side.batch_of(net, 4, 8, "cpu")(4, seeded(0, "test"))
    training = our_side.training(net, lambda n, generator: batch, 4, "cpu", our_side.Choices())
    training.step()
    objective = DiffusionObjective(net, cosine(), "eps")
    config = FitConfig(steps=1, batch=4, warmup=0, ema=0.995)
    fit(objective, lambda n, generator: batch, config, accelerator=our_side.accelerator_on("cpu"))
    for fitted, stepped in zip(net.parameters(), training.net.parameters(), strict=True):
        torch.testing.assert_close(stepped, fitted)


@pytest.mark.parametrize("change", [{"channels_last": False}, {"fused": None}, {"foreach_ema": False}])
def test_choices_change_the_cost_and_not_the_weights(change):
    torch.manual_seed(0)
    net = UNet(dataclasses.replace(TINY_UNET, zero_init=False))
    batch = our_side.batch_of(net, 4, 8, "cpu")(4, seeded(0, "test"))
    both = [
        our_side.training(net, lambda n, generator: batch, 4, "cpu", choices)
        for choices in (our_side.Choices(), dataclasses.replace(our_side.Choices(), **change))
    ]
    for training in both:
        training.step()
        training.step()
    for one, two, start in zip(*(t.net.parameters() for t in both), net.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)
        assert not torch.equal(one, start)


def test_networks_are_compared_only_where_they_answer_alike():
    pytest.importorskip("diffusers")
    from ldm_edu.bench import theirs
    from ldm_edu.bench.comparisons import twins

    for config, side in ((SIZES.latent, 4), (SIZES.pixel, 8)):
        net, peer = twins(config, side, "cpu")
        assert theirs.check_equal(net, peer, side) < 1e-5
        with torch.no_grad():
            net.conv_out.bias += 0.01
        with pytest.raises(RuntimeError, match="answer differently"):
            theirs.check_equal(net, peer, side)
    net, _ = twins(SIZES.pixel, 8, "meta")  # where nothing can be compared: it is done on the CPU, before they move
    assert next(net.parameters()).device.type == "meta"


def test_the_courses_sizes_are_comparable():
    """As many parameters on both sides, within 2%; the demo's network is the one in latents."""
    pytest.importorskip("diffusers")
    from ldm_edu.bench import theirs
    from ldm_edu.config import TrainConfig

    sizes = Sizes()
    with torch.device("meta"):
        peer = theirs.usual_structure(sizes.peer_channels, sizes.pixel_side)
        for stem in (1, 2):
            ours = UNet(dataclasses.replace(sizes.pixel, stem=stem))
            count, wanted = (sum(p.numel() for p in net.parameters()) for net in (ours, peer))
            assert abs(count / wanted - 1) <= 0.02
    assert dataclasses.replace(sizes.latent, num_classes=None) == TrainConfig().unet


# --- the comparisons ---


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow) if name == "import" else name
        for name in COMPARISONS
        if name != "generate"  # it needs a model that takes text; see below
    ],
)
def test_each_comparison_runs(name):
    pytest.importorskip("diffusers")
    if name == "import" and sys.platform == "win32":
        pytest.skip("counts the CPU time of child processes, which Windows does not tell this way")
    rows = list(COMPARISONS[name](SETTING))
    assert rows
    assert len({(row.name, row.b) for row in rows}) == len(rows)
    for row in rows:
        assert row.group == name
        for value in (row.ratio.low, row.ratio.median, row.ratio.high):
            assert math.isfinite(value)
            assert value > 0
        assert row.ratio.low <= row.ratio.median <= row.ratio.high
        assert f"{row.ratio.median:.2f}×" in row.text()


# --- throughput ---


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.slow])])
def test_throughput_has_a_row_for_each_size_and_way(device):
    pytest.importorskip("diffusers")
    rows = list(throughput.throughput(dataclasses.replace(SETTING, device=device)))
    assert len({row.name for row in rows}) == len(rows) == (2 if device == "cpu" else 2 * 2 * 3)
    for row in rows:
        assert row.group == "throughput"
        assert row.parameters[0] == row.parameters[1]
        assert 0 < row.ratio.low <= row.ratio.median <= row.ratio.high
        for side in (row.a, row.b):
            assert ("images/s" in side) == (device == "cuda")  # the CPU is shared: only ratios


def test_what_does_not_fit_in_memory_is_a_row_and_the_rest_goes_on(monkeypatch):
    pytest.importorskip("diffusers")
    step = our_side.training_step

    def little_memory(net, count, *args):
        if net.config.in_channels == SIZES.latent.in_channels and count > 1:
            raise torch.OutOfMemoryError("no room")
        return step(net, count, *args)

    monkeypatch.setattr(our_side, "training_step", little_memory)
    gap, row = throughput.throughput(SETTING)
    assert isinstance(gap, Gap)
    assert "latents, batch 4, float32, ours eager: out of memory" in gap.text()
    assert gap.markdown().endswith("| out of memory | |")
    assert gap.values()["why"] == "out of memory"
    assert row.ratio.median > 0


def test_ours_is_compiled_in_the_mode_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(DiffusionObjective, "compile", lambda self, **how: asked.append(how))
    for choices in (our_side.Choices(), our_side.Choices(compile="reduce-overhead")):
        our_side.training_step(UNet(TINY_UNET), 2, 8, "cpu", choices)()
    assert asked == [{"mode": "reduce-overhead", "dynamic": False}]


def test_a_batchs_seconds_say_images_a_second_and_share_of_the_peak(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA A100-SXM4-40GB")
    said = throughput.rate(128, [0.25, 0.1, 0.05], mib=2048, flops=78_000_000_000)  # 1,280 images/s in the median
    assert said == "; 1,280 images/s, 32% of the GPU's peak, 2,048 MiB"
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H100 PCIe")  # slower than the SXM form
    assert throughput.rate(128, [0.1], 1, 78_000_000_000) == "; 1,280 images/s, 1 MiB"


def test_operations_are_counted_forward_and_backward():
    x, weight = torch.randn(5, 7, requires_grad=True), torch.randn(7, 3, requires_grad=True)
    assert throughput.flops_of(lambda: (x @ weight).sum().backward()) == 3 * 2 * 5 * 7 * 3


@pytest.fixture
def tiny_latent(monkeypatch):
    """The comparison `latent` at tiny sizes, as the command runs it."""
    pytest.importorskip("diffusers")
    latent = COMPARISONS["latent"]

    def tiny(setting):
        return latent(dataclasses.replace(setting, sizes=SIZES))

    monkeypatch.setitem(COMPARISONS, "latent", tiny)


@pytest.mark.usefixtures("tiny_latent")
def test_bench_prints_a_table_and_writes_it_into_a_page(capsys, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- bench:begin -->\n<!-- bench:end -->\n")
    assert main(["bench", "latent", "--seconds", "0.05", "--device", "cpu", "--write", str(page)]) == 0
    assert "| training step, latents against pixels |" in page.read_text("utf-8")
    out = capsys.readouterr().out
    assert "training step, latents against pixels; goal ≥ 10: " in out
    assert "95% interval" in out


@pytest.mark.usefixtures("tiny_latent")
def test_a_bench_cut_short_leaves_the_rows_that_it_has_measured(tmp_path, monkeypatch):
    def cut(setting):
        raise KeyboardInterrupt

    monkeypatch.setitem(COMPARISONS, "small", cut)
    page = tmp_path / "page.md"
    page.write_text("<!-- bench:begin -->\nolder\n<!-- bench:end -->\n")
    with pytest.raises(KeyboardInterrupt):
        run_bench(["latent", "small"], seconds=0.05, device="cpu", write=page)
    assert page.read_text("utf-8").count("| training step, latents against pixels |") == 1
    assert "older" not in page.read_text("utf-8")


def test_what_windows_cannot_measure_is_left_out_there(monkeypatch, capsys):
    pytest.importorskip("diffusers")
    asked = []
    for name in list(COMPARISONS):
        monkeypatch.setitem(COMPARISONS, name, lambda setting, name=name: asked.append(name) or ())
    run_bench(seconds=0.05, device="cpu")
    assert asked == list(COMPARISONS)
    with monkeypatch.context() as patched:
        patched.setattr("sys.platform", "win32")
        usual = usual_comparisons()
    assert usual == [name for name in COMPARISONS if name not in ("import", "generate")]
    monkeypatch.setattr("ldm_edu.bench.comparisons.usual_comparisons", lambda: usual)
    asked.clear()
    run_bench(seconds=0.05, device="cpu")
    assert asked == usual


@pytest.mark.usefixtures("tiny_latent")
def test_bench_gives_json_and_leaves_the_threads_alone(capsys):
    threads = torch.get_num_threads()
    run_bench(["latent"], seconds=0.05, threads=threads + 1, device="cpu", as_json=True)
    answer = json.loads(capsys.readouterr().out)
    assert torch.get_num_threads() == threads
    assert answer["about"]["torch"] == torch.__version__
    row = answer["rows"][0]
    assert row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
    assert row["met"] in ("yes", "no", "open")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["bench", "speed"], "unknown comparison speed; there are structure"),
        (["bench", "import", "--seconds", "0"], "--seconds must be positive"),
        (["bench", "import", "--threads", "0"], "--threads 1 or more"),
    ],
)
def test_bench_says_what_is_wrong(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_bench_without_diffusers_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "diffusers", None)
    assert main(["bench", "import"]) == 2
    assert capsys.readouterr().err == "ldm-edu: the comparison needs the package diffusers: pip install diffusers\n"


# --- drawing a prompt ---


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A tiny model that takes text, behind stems, in the place of the shipped one."""
    text = TextConfig(words=("a", "red", "circle"), length=20, width=16, depth=1, heads=2)
    unet = dataclasses.replace(TINY_UNET, in_channels=4, out_channels=4, stem=2, attention=(0,), context_dim=16)
    autoencoder = AutoencoderConfig(width=8, multipliers=(1,), stem=4, groups=4, middle_attention=False)
    model = LatentDiffusion(ModelConfig(32, 3, unet, autoencoder, text=text), cosine())
    model.save(tmp_path / "reader")
    monkeypatch.setattr(prompt, "MODEL", str(tmp_path / "reader"))
    return model


@pytest.mark.slow
@pytest.mark.usefixtures("reader")
@pytest.mark.skipif(sys.platform == "win32", reason="counts the CPU time of child processes")
def test_a_prompt_is_drawn_by_both_sides():
    pytest.importorskip("diffusers")
    started, alone = COMPARISONS["generate"](SETTING)
    for row in (started, alone):
        assert row.ratio.median > 0
        assert row.parameters[0] == row.parameters[1]
    assert "from start to end" in started.a


def test_what_is_drawn_with_has_the_structure_of_the_model(reader):
    pytest.importorskip("diffusers")
    unet, autoencoder = prompt.twins(reader)
    config = dataclasses.replace(prompt.folded(reader.config.unet), zero_init=False)
    net = unet_from_diffusers(unet.state_dict(), config).unet
    x, t = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 900])
    context = torch.randn(2, 20, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(net(x, t, context), unet(x, t, context).sample, rtol=1e-4, atol=1e-4)
    assert prompt.drawing(unet, autoencoder, 2, 4, 8)().shape == (prompt.COUNT, 3, 32, 32)


# --- time to quality ---


def test_shares_are_the_classifiers_and_the_readers():
    pictures = shapes(32, count=48)
    drawn, labels = to_float(pictures.pixels), pictures.labels

    def says(answers):  # a classifier that gives these answers
        return lambda x: 10.0 * torch.nn.functional.one_hot(answers[: len(x)], 16)

    wrong = (labels + 1) % 16
    half = torch.where(torch.arange(48) < 24, labels, wrong)
    assert quality.shares(drawn, labels, says(labels), pictures.classes) == (1, 1)
    assert quality.shares(drawn, labels, says(half), pictures.classes) == (0.5, 1)
    assert quality.shares(drawn, wrong, says(labels), pictures.classes) == (0, 0)
    assert quality.shares(torch.zeros(8, 3, 32, 32), labels[:8], says(labels), pictures.classes) == (1, 0)


def test_the_clock_stands_while_pictures_are_judged(monkeypatch):
    """Time moves only in training steps here, so the curve's seconds count them, and drawing adds none."""
    pytest.importorskip("diffusers")
    from ldm_edu.bench import theirs

    clock = Clock()
    monkeypatch.setattr(quality, "PICTURES", 16)
    monkeypatch.setattr(quality, "STEPS", 2)
    real = quality.shares

    def slow_judge(*args):
        clock.now += 1000
        return real(*args)

    monkeypatch.setattr(quality, "shares", slow_judge)
    judge = Classifier(3, 16)
    forward = DiffusionObjective.forward

    def counted(self, *args):
        clock.now += 1
        return forward(self, *args)

    monkeypatch.setattr(DiffusionObjective, "forward", counted)
    pictures = shapes(32, count=32)
    config = dataclasses.replace(TINY, data="shapes", size=32, fit=dataclasses.replace(TINY.fit, steps=8))
    curve = quality.our_curve(config, pictures, judge, clock, wanted=2)
    assert [seconds for seconds, *_ in curve] == [2, 4, 6, 8]
    assert quality.our_curve(config, pictures, judge, clock, wanted=0) == [(2, *curve[0][1:])]  # good enough at once

    training = theirs.training

    def timed(*args):
        made = training(*args)
        return dataclasses.replace(made, step=lambda: (made.step(), clock.work(1)()))

    monkeypatch.setattr(theirs, "training", timed)
    net = theirs.usual_structure((32, 32), 32, classes=16)
    curve = quality.their_curve(net, pictures, judge, 2, 4, clock, wanted=2)
    assert [seconds for seconds, *_ in curve] == [2, 4]
    assert all(0 <= share <= 1 for _, *both in curve for share in both)


@pytest.mark.slow
def test_quality_reports_both_sides(monkeypatch):
    pytest.importorskip("diffusers")
    for name, value in (
        ("PICTURES", 16),
        ("STEPS", 2),
        ("JUDGEMENTS", 1),
        ("PEER_CHANNELS", (32, 32)),
        ("PEER_BATCH", 2),
    ):
        monkeypatch.setattr(quality, name, value)
    monkeypatch.setattr(quality, "RECIPE", dataclasses.replace(TINY, data="shapes", size=32))
    monkeypatch.setattr("ldm_edu.data.load.load_pictures", lambda name, size: shapes(size, count=32))
    monkeypatch.setattr(quality, "TIMES", 0.5)
    mine, peers = quality.quality(SETTING)
    assert isinstance(mine, Reach)
    assert (mine.met, peers.met) == ("no", "no")  # four steps reach nothing
    assert mine.seconds > 0
    assert "of pictures right after" in mine.text()
    assert json.loads(json.dumps(peers.values()))["share"] == peers.share


def test_clock_of_the_cpu_counts_work_of_this_process_only():
    import time

    clock = clock_of("cpu")
    began = clock()
    time.sleep(0.05)
    assert clock() - began < 0.04


def test_a_file_that_cannot_take_the_table_is_told_before_measuring(tmp_path, monkeypatch):
    def measured(setting):
        raise AssertionError("measured first")

    monkeypatch.setitem(COMPARISONS, "import", measured)
    (tmp_path / "page.md").write_text("no markers")
    for name, message in (("page.md", "needs one line"), ("absent.md", "no such file")):
        with pytest.raises(ValueError, match=message):
            run_bench(["import"], write=tmp_path / name)
