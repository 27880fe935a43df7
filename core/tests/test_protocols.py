"""The attacks by name, the protocols, resuming, warnings and mistakes of `evaluate`."""

import json

import pytest
import torch
from torch import Tensor, nn

from apx.errors import UserError
from apx.evaluation import PROTOCOLS, Journal, attacks_of, evaluate
from apx.evaluation.autoattack import APGDCE, APGDT, FABT, Square
from apx.evaluation.catalogue import SUITES
from apx_taxonomy.validation import validate

from .small_models import IMAGES, LABELS, Split, broken, linear, random_net, random_split

LOADER = [(IMAGES, LABELS)]
SHORT = (APGDCE(steps=10), APGDT(steps=10, targets=2), FABT(steps=5, targets=2), Square(queries=20))


@pytest.fixture
def _short_autoattack(monkeypatch):
    monkeypatch.setitem(SUITES, "autoattack", SHORT)


def names(document: dict) -> list[str]:
    return [attack["name"] for attack in document["attacks"]]


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "cw", "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "fmn"])
def test_every_attack_breaks_what_lies_inside_the_radius_and_nothing_beyond(attack):
    small = {"steps": 20} if attack.startswith(("apgd", "fab")) else None
    inside, outside = (evaluate(linear(), LOADER, attack=attack, eps=eps, parameters=small) for eps in (0.055, 0.045))
    assert [sample["robust"] for sample in inside["samples"]] == [False, True, False]
    assert [sample["robust"] for sample in outside["samples"]] == [True, True, False]
    assert validate(inside, "results") == []


@pytest.mark.parametrize("attack", ["fgsm", "pgd", "cw", "apgd-ce", "fmn"])
def test_in_l2_the_distance_is_twice_as_long(attack):
    inside, outside = (evaluate(linear(), LOADER, attack=attack, eps=eps, norm="L2") for eps in (0.105, 0.095))
    assert [sample["robust"] for sample in inside["samples"]] == [False, True, False]
    assert [sample["robust"] for sample in outside["samples"]] == [True, True, False]
    assert inside["threat"] == {"norm": "L2", "eps": 0.105}


def test_minimum_norm_distances_are_those_of_the_linear_model():
    document = evaluate(linear(), LOADER, attack="fmn", eps=0.1)
    near, far, wrong = (sample["distance"] for sample in document["samples"])
    assert (near, far, wrong) == (pytest.approx(0.05, abs=1e-3), pytest.approx(0.4, abs=5e-3), 0.0)
    assert document["attacks"][0]["robust_accuracy"] == document["robust_accuracy"]
    assert broken(document) == ["fmn", None, None]


def test_what_a_minimum_norm_attack_does_not_find_is_infinitely_far():
    constant = nn.Sequential(linear(), nn.Threshold(9, 0.0))  # class 0 whatever it sees
    document = evaluate(constant, LOADER, attack="fmn", eps=0.1)
    assert [sample["distance"] for sample in document["samples"]] == ["inf", "inf", "inf"]
    assert document["robust_accuracy"]["value"] == 1.0
    assert validate(document, "results") == []


def test_ho_fmn_is_tuned_on_other_samples_than_it_attacks():
    net = random_net()
    split = random_split(net, 24)
    few = {"trials": 2, "trial_steps": 5, "trial_samples": 4, "steps": 10}
    document = evaluate(net, split, attack="ho-fmn", eps=0.05, n=8, parameters=few)
    configuration = document["attacks"][0]["parameters"]["configuration"]
    assert configuration["loss"] == "DLR"
    assert configuration["lr"] >= 8 / 255
    with pytest.raises(UserError, match="every sample is evaluated"):
        evaluate(net, split, attack="ho-fmn", eps=0.05, parameters=few)
    with pytest.raises(UserError, match="every sample is evaluated"):  # the same images from elsewhere do not help
        evaluate(net, split, attack="ho-fmn", eps=0.05, parameters=few, tuning=split)
    other = random_split(net, 24)
    again, same = (evaluate(net, split, attack="ho-fmn", eps=0.05, parameters=few, tuning=other) for _ in range(2))
    assert again["samples"] == same["samples"]


def test_restarts_break_no_fewer_and_are_drawn_by_sample():
    net = random_net()
    split = random_split(net)
    one, five, batched = (
        evaluate(net, split, attack="pgd", eps=0.02, parameters={"steps": 2, "restarts": restarts}, batch_size=size)
        for restarts, size in ((1, 24), (5, 24), (5, 7))
    )
    assert five["samples"] == batched["samples"]
    assert five["robust_accuracy"]["value"] <= one["robust_accuracy"]["value"]
    assert names(five) == ["pgd-2x5"]


def test_autoattack_plus_has_the_thin_ice_list():
    assert [attack.name for attack in attacks_of("autoattack-plus", None)] == [
        "apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"
    ]  # fmt: skip
    restarts = {attack.name: attack.model_dump().get("restarts") for attack in attacks_of(None, "plus")}
    assert restarts == {"apgd-ce": 5, "apgd-dlr": 5, "fab": 5, "square": None, "apgd-t": None, "fab-t": None}


@pytest.mark.parametrize("name", ["shift", "occlusion"])
def test_moved_images_are_judged_without_a_ball(name):
    net = random_net()
    split = random_split(net)
    none, random, worst = (
        evaluate(net, split, attack=name, eps=0.01, parameters=parameters)
        for parameters in ({"delta": 0}, {"delta": 4}, {"delta": 4, "mode": "worst"})
    )
    assert none["robust_accuracy"] == none["clean_accuracy"]
    assert worst["robust_accuracy"]["value"] <= random["robust_accuracy"]["value"] < none["clean_accuracy"]["value"]
    assert "eps" not in worst["attacks"][0]["parameters"]


def test_a_shift_moves_the_image_and_fills_with_zeros():
    from apx.evaluation.moved import Shift

    x = torch.arange(9.0).view(1, 1, 3, 3) / 9
    moved = Shift(delta=1).changed(x, torch.tensor([2]), torch.tensor([1]))
    assert torch.equal(moved[0, 0, :2], x[0, 0, 1:])
    assert torch.equal(moved[0, 0, 2], torch.zeros(3))


def test_a_transfer_attack_is_made_on_the_source_and_judged_on_the_target():
    source, target = random_net(), random_net()
    with torch.no_grad():
        target[5].weight.add_(0.05 * torch.randn(target[5].weight.shape, generator=torch.Generator().manual_seed(1)))
    split = random_split(target)
    white = evaluate(target, split, attack="pgd", eps=0.05)
    transferred = evaluate(target, split, attack="pgd", eps=0.05, source=source, target={"source": "runs/other"})
    same = evaluate(target, split, attack="pgd", eps=0.05, source=target)
    assert transferred["source"] == "runs/other"
    assert same["samples"] == white["samples"]
    assert white["robust_accuracy"]["value"] <= transferred["robust_accuracy"]["value"]
    assert validate(transferred, "results") == []


@pytest.mark.usefixtures("_short_autoattack")
def test_preparation_changes_no_verdict_here_and_is_recorded():
    net = random_net()
    split = random_split(net)
    with_it, without = (evaluate(net, split, attack="autoattack", eps=0.03, prepare=one) for one in (True, False))
    assert with_it["samples"] == without["samples"]
    assert any("folded" in step for step in with_it["prepared"])
    assert without["prepared"] is None


def test_bf16_is_marked_and_its_verdicts_are_in_float32():
    net = random_net()
    split = random_split(net)
    document = evaluate(net, split, attack="pgd", eps=0.03, precision="bf16")
    exact = evaluate(net, split, attack="pgd", eps=0.03)
    assert document["precision"] == "bf16"
    assert [s["prediction"] for s in document["samples"]] == [s["prediction"] for s in exact["samples"]]
    assert document["robust_accuracy"]["value"] >= exact["robust_accuracy"]["value"] - 0.1


class Killed(BaseException):
    pass


@pytest.mark.usefixtures("_short_autoattack")
@pytest.mark.parametrize("attack", ["autoattack", "ho-fmn", "pgd"])
def test_a_killed_evaluation_goes_on_and_ends_the_same(tmp_path, monkeypatch, attack):
    net = random_net()
    split = random_split(net, 20)
    asked = {"attack": attack, "eps": 0.03, "batch_size": 5}
    if attack == "ho-fmn":
        asked |= {"parameters": {"trials": 8, "trial_steps": 3, "trial_samples": 5, "steps": 5}, "n": 15}
    whole = evaluate(net, split, **asked)
    append, count = Journal._append, [0]

    def dying(journal, entry):
        append(journal, entry)
        count[0] += 1
        if count[0] % 3 == 0:
            raise Killed

    monkeypatch.setattr(Journal, "_append", dying)
    lives = 1
    while True:
        journal = Journal(tmp_path)
        try:
            resumed = evaluate(net, split, **asked, journal=journal)
            break
        except Killed:
            lives += 1
            with next(tmp_path.iterdir()).open("ab") as file:
                file.write(b'{"attack": "0/pg')  # the line that the kill cut short
    assert lives > 1
    assert journal.recalled == 3 * (lives - 1)
    different = ("seconds", "created")
    assert {k: v for k, v in resumed.items() if k not in different} == {
        k: v for k, v in whole.items() if k not in different
    }
    journal.discard()
    assert list(tmp_path.iterdir()) == []


def test_another_seed_radius_or_network_is_another_evaluation(tmp_path):
    net = random_net()
    split = random_split(net, 6)
    for change in ({}, {"seed": 1}, {"eps": 0.04}, {"batch_size": 3}):
        evaluate(net, split, **{"attack": "fgsm", "eps": 0.03, **change}, journal=Journal(tmp_path))
    with torch.no_grad():
        net[5].bias += 1e-6
    evaluate(net, split, attack="fgsm", eps=0.03, journal=Journal(tmp_path))
    assert len(list(tmp_path.iterdir())) == 5
    assert all(json.loads(line) for path in tmp_path.iterdir() for line in path.read_text().splitlines())


class Hungry(nn.Module):
    """Runs out of memory on more than `most` images."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.inner, self.most = linear(), most

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.inner(x)


def test_out_of_memory_halves_the_batch_and_is_said_once():
    split = Split((IMAGES * 255).to(torch.uint8).repeat(4, 1, 1, 1), LABELS.repeat(4))
    document = evaluate(Hungry(2), split, attack="pgd", eps=0.06, batch_size=8, prepare=False)
    assert document["batch_size"] == 2
    assert [w for w in document["warnings"] if w["name"] == "out-of-memory"] == [
        {"name": "out-of-memory", "text": "out of memory: the batch was halved to 2 images", "count": 2}
    ]
    assert document["samples"] == evaluate(linear(), split, attack="pgd", eps=0.06)["samples"]
    with pytest.raises(UserError, match="a single image"):
        evaluate(Hungry(0), split, attack="pgd", eps=0.06, prepare=False)


def test_images_outside_the_box_are_clipped_and_counted():
    document = evaluate(linear(), [(IMAGES * 2 - 1, LABELS)], attack="pgd", eps=0.1)
    clipped = evaluate(linear(), [((IMAGES * 2 - 1).clamp(0, 1), LABELS)], attack="pgd", eps=0.1)
    assert document["samples"] == clipped["samples"]
    (warning,) = [w for w in document["warnings"] if w["name"] == "outside-the-box"]
    assert warning["count"] == 4
    assert "normalise inside the model" in warning["text"]


def test_sanity_passes_an_honest_model_and_names_each_check():
    net = random_net()
    document = evaluate(net, random_split(net), protocol="sanity", eps=0.02)
    verdicts = {verdict["name"]: verdict for verdict in document["sanity"]}
    assert list(verdicts) == ["unbounded", "steps", "restarts", "one-step", "black-box", "loss-surface"]
    assert verdicts["unbounded"]["passed"]
    assert verdicts["unbounded"]["values"]["robust_accuracy"][-1] == 0
    assert verdicts["one-step"]["passed"]
    assert verdicts["loss-surface"]["passed"]
    assert document["protocol"] == "sanity"
    assert validate(document, "results") == []


class Masked(nn.Module):
    """Hides the gradient: the images are rounded to 16 levels, which has the derivative 0."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = linear()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(torch.round(x * 15) / 15 + 0 * x)


def test_sanity_finds_masked_gradients():
    document = evaluate(Masked(), LOADER, protocol="sanity", eps=0.08)
    failed = {verdict["name"] for verdict in document["sanity"] if not verdict["passed"]}
    assert {"unbounded", "loss-surface"} <= failed
    assert "zero-gradient" in [warning["name"] for warning in document["warnings"]]


def test_full_counts_a_sample_robust_only_if_nothing_broke_it(monkeypatch):
    small = (*attacks_of("pgd", None), *attacks_of("fmn", None))
    protocol = type(PROTOCOLS["full"])("small", small, sanity=True)
    monkeypatch.setitem(PROTOCOLS, "full", protocol)
    net = random_net()
    document = evaluate(net, random_split(net), protocol="full", eps=0.02)
    for sample in document["samples"]:
        distance = float(sample["distance"])
        assert not (sample["robust"] and distance <= 0.02)
        assert (distance == 0) == (sample["prediction"] != sample["label"])
    assert names(document) == ["pgd-20", "fmn"]
    assert "sanity" in document


def test_benchmark2024_does_what_the_old_code_did(monkeypatch):
    from apx.evaluation import benchmark2024
    from apx.evaluation.minimum import HOFMN

    monkeypatch.setitem(PROTOCOLS, "benchmark2024", type(PROTOCOLS["quick"])("small", attacks_of("fgsm", None)))
    quick = HOFMN(trials=2, trial_steps=2, trial_samples=64, steps=3)
    monkeypatch.setattr(benchmark2024, "HO_FMN", quick)
    images = torch.randint(0, 256, (2200, 1, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    split = Split(images, torch.zeros(2200, dtype=torch.int64))
    document = evaluate(linear(), split, protocol="benchmark2024", eps=0.9)
    assert document["threat"] == {"norm": "Linf", "eps": 0.031}
    assert (document["n"], document["batch_size"]) == (2200, 500)
    part = document["minimum_norm"]
    assert (part["n"], part["first_index"], len(part["distances"])) == (128, 2048, 128)
    assert part["threat"]["eps"] == pytest.approx(8 / 255)
    assert "128 images" in part["note"]
    assert validate(document, "results") == []
    with pytest.raises(UserError, match="2,176 test images"):
        evaluate(linear(), Split(images[:100], split.labels[:100]), protocol="benchmark2024", eps=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attack": None}, "give one of the two"),
        ({"protocol": "quick"}, "give one of the two"),
        ({"attack": None, "protocol": "fast"}, "benchmark2024, curve, full, plus, quick, sanity, standard"),
        ({"parameters": {"restart": 2}}, "did you mean 'restarts'"),
        ({"parameters": {"restarts": 0}}, "restarts = 0 is refused"),
        ({"attack": "autoattack", "steps": 5}, "name one of its attacks"),
        ({"attack": "autoattack", "norm": "L1"}, "not made for norm L1"),
        ({"norm": "L3"}, "unknown norm 'L3'"),
        ({"precision": "fp16"}, "fp32 or bf16"),
        ({"precision": "bf16", "prepare": False}, "of the prepared network"),
        ({"classes": 10}, "4 outputs, the data 10 classes"),
        ({"attack": "occlusion", "parameters": {"delta": 5}}, "does not fit into images of 2x2"),
        ({"split": [(IMAGES * float("nan"), LABELS)]}, "NaN"),
    ],
)
def test_mistakes_end_in_one_sentence(changes, message):
    settings = {"split": LOADER, "attack": "pgd", "eps": 0.1, **changes}
    with pytest.raises(UserError, match=message):
        evaluate(linear(), settings.pop("split"), **settings)


def test_a_model_without_a_gradient_is_refused_by_attacks_that_need_one():
    class Blind(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return net(x).detach()

    net = random_net().eval()
    split = random_split(net)
    with pytest.raises(UserError, match="use attack square"):
        evaluate(Blind(), split, attack="pgd", eps=0.1)
    document = evaluate(Blind(), split, attack="square", eps=0.1, parameters={"queries": 50})
    assert "square" in broken(document)
