import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from apx import builtin
from apx.attacks import project, uniform_start
from apx.errors import UserError
from apx.evaluation import ATTACKS, evaluate
from apx.evaluation.offered import checked
from apx.evaluation.threat import Threat
from apx.randomness import keyed_uniform
from apx_taxonomy.validation import validate

from .small_models import IMAGES, LABELS, broken, linear, random_net, random_split


@pytest.mark.parametrize("attack", ["clean", "fgsm", "pgd"])
def test_the_document_is_valid(attack):
    target = {"target": "runs/1", "method": "hydra", "arch": "cnn", "dataset": "digits", "selected_on": "val"}
    document = evaluate(linear(), [(IMAGES, LABELS)], attack=attack, eps=0.1, target=target)
    assert validate(document, "results") == []
    assert document["target"] == "runs/1"
    assert document["selected_on"] == "val"
    assert document["clean_accuracy"]["value"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_gradient_attacks_meet_the_known_distances(attack):
    name = {"fgsm": "fgsm", "pgd": "pgd-20"}[attack]
    assert broken(evaluate(linear(), [(IMAGES, LABELS)], attack=attack, eps=0.049)) == [None, None, None]
    document = evaluate(linear(), [(IMAGES, LABELS)], attack=attack, eps=0.051)
    assert broken(document) == [name, None, None]
    assert [sample["robust"] for sample in document["samples"]] == [False, True, False]
    assert [sample["prediction"] for sample in document["samples"]] == [0, 0, 1]
    assert document["robust_accuracy"]["value"] == pytest.approx(1 / 3)
    assert document["attacks"][0]["robust_accuracy"]["value"] == pytest.approx(1 / 3)


def test_autoattack_meets_the_known_distances():
    document = evaluate(linear(), [(IMAGES, LABELS)], attack="autoattack", eps=0.051)
    assert broken(document) == ["apgd-ce", None, None]
    assert [attack["name"] for attack in document["attacks"]] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    assert document["attacks"][1]["parameters"]["targets"] == 3
    assert validate(document, "results") == []


@pytest.mark.parametrize("prepare", [True, False])
def test_autoattack_agrees_with_the_package_sample_by_sample(prepare):
    from pyautoattack import AutoAttack

    net = random_net()
    split = random_split(net, 7)
    document = evaluate(net, split, attack="autoattack", eps=0.06, batch_size=4, seed=3, prepare=prepare)

    package = AutoAttack(net, eps=0.06, seed=3, version="standard")
    package.apgd_targeted.n_target_classes = package.fab.n_target_classes = 4
    package.verbose = False
    x_adv, _ = package.run_standard_evaluation(split.images.float() / 255, split.labels, batch_size=4)
    with torch.no_grad():
        robust = (net(x_adv).argmax(1) == split.labels).tolist()
    assert [sample["robust"] for sample in document["samples"]] == robust
    assert 0 < sum(robust) < 6


@pytest.mark.parametrize("name", ["clean", "fgsm", "autoattack"])
def test_core_offers_its_attacks_by_the_hook_and_they_do_what_evaluate_does(name):
    net = random_net()
    split = random_split(net, 7)
    x, y = split.images.float() / 255, split.labels
    x_adv = checked(name, builtin.apx_attacks()[name](net, x, y, eps=0.06), x, Threat("Linf", 0.06))
    with torch.no_grad():
        robust = (net(x_adv).argmax(1) == y).tolist()
    document = evaluate(net, split, attack=name, eps=0.06, batch_size=7)
    assert [sample["robust"] for sample in document["samples"]] == robust


def test_core_s_attacks_have_the_names_of_the_evaluation_s():
    assert set(builtin.apx_attacks()) == set(ATTACKS)


def test_a_plugin_s_attack_gets_what_it_names_and_can_be_independent_of_the_batch_size(monkeypatch):
    seen = []

    def keyed(model, x, y, *, eps, steps, alpha, seed, indices):
        seen.append((eps, steps, alpha, seed, model.training, any(p.requires_grad for p in model.parameters())))
        return uniform_start(x, eps, keyed_uniform(seed, "mine", indices, x.shape[1:]))

    def drawn(model, x, y, *, eps):
        return project(x + eps * torch.randn_like(x).sign(), x, eps)

    monkeypatch.setattr("apx.registry.attacks", lambda: {"keyed": keyed, "drawn": drawn})
    net = random_net()
    split = random_split(net)
    one, other = (evaluate(net, split, attack="keyed", eps=0.3, steps=7, seed=5, batch_size=n) for n in (5, 24))
    assert one["samples"] == other["samples"]
    assert set(seen) == {(0.3, 7, 0.3 / 4, 5, False, False)}
    assert one["attacks"][0]["parameters"] == {"eps": 0.3, "steps": 7, "alpha": 0.3 / 4, "seed": 5}
    assert validate(one, "results") == []
    again = [evaluate(net, split, attack="drawn", eps=0.3)["samples"] for _ in range(2)]
    assert again[0] == again[1]
    assert 0 < sum(sample["broken_by"] == "drawn" for sample in again[0]) < len(split.labels)


def test_autoattack_needs_four_classes():
    with pytest.raises(UserError, match="at least 4 classes"):
        evaluate(linear(3), [(IMAGES, LABELS)], attack="autoattack", eps=0.1)


def test_the_model_is_left_as_it_was():
    net = random_net()
    net.train()
    net[0].eval()
    net[5].bias.requires_grad_(False)
    modes = [module.training for module in net.modules()]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    evaluate(net, [(torch.rand(4, 3, 8, 8, generator=torch.Generator()), torch.zeros(4))], attack="pgd", eps=0.1)
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == [True] * 5 + [False]
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_pgd_does_not_depend_on_the_batch():
    net = random_net()
    split = random_split(net)
    one, other = (evaluate(net, split, attack="pgd", eps=0.03, steps=3, batch_size=b) for b in (5, 24))
    assert one["samples"] == other["samples"]


def test_a_subset_is_the_same_for_every_seed_and_nested():
    net = random_net()
    split = random_split(net)
    documents = [evaluate(net, split, attack="clean", eps=0, n=n, seed=s) for n, s in ((6, 0), (6, 1), (12, 0))]
    first, second, larger = ([sample["index"] for sample in document["samples"]] for document in documents)
    assert first == second
    assert set(first) < set(larger)
    assert documents[0]["warnings"] == [
        {"name": "partial", "text": "evaluated on 6 samples, fewer than the split has: read the interval", "count": 6}
    ]


def test_a_loader_is_read_only_as_far_as_needed():
    loader = DataLoader(TensorDataset(torch.rand(20, 1, 2, 2), torch.zeros(20, dtype=torch.int64)), batch_size=6)
    document = evaluate(linear(), loader, attack="clean", eps=0.1, n=8)
    assert [sample["index"] for sample in document["samples"]] == list(range(8))
    assert [warning["name"] for warning in document["warnings"]] == ["partial", "train-mode"]
    assert evaluate(linear().eval(), loader, attack="clean", eps=0.1)["warnings"] == []


def test_progress_ends_at_its_total():
    heard: list[tuple[int, int, int]] = []
    evaluate(linear(), [(IMAGES, LABELS)], attack="pgd", eps=0.06, progress=lambda *now: heard.append(now))
    assert heard[-1] == (heard[-1][1], heard[-1][1], 1)
    assert all(before[0] <= after[0] for before, after in itertools.pairwise(heard))


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = linear()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + torch.rand(4)


@pytest.mark.parametrize(
    ("net", "warning"),
    [
        (nn.Sequential(linear(), nn.Softmax(1)), "probabilities"),
        (Noisy(), "randomised"),
        (linear(3), "few-classes"),
        (linear().train(), "train-mode"),
        (nn.Sequential(linear(), nn.Threshold(9, 0)), "zero-gradient"),
    ],
)
def test_what_makes_a_result_doubtful_is_said(net, warning):
    document = evaluate(net, [(IMAGES, LABELS)], attack="clean", eps=0.1)
    assert warning in [one["name"] for one in document["warnings"]]
    assert validate(document, "results") == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attack": "cww"}, "cw, fab, fab-t, fgsm"),
        ({"eps": 8}, "outside"),
        ({"eps": 0}, "outside"),
        ({"steps": 0}, "steps"),
        ({"alpha": 0.0}, "alpha"),
        ({"batch_size": 0}, "batch size"),
        ({"seed": -1}, "seed"),
        ({"n": 4}, "has 3"),
        ({"n": 0}, "at least 1"),
        ({"split": []}, "empty"),
        ({"split": [{"x": IMAGES}]}, "pairs of tensors"),
        ({"split": [(IMAGES, LABELS - 1)]}, "labels start at 0"),
        ({"split": [(IMAGES, LABELS + 7)]}, "does not fit"),
        ({"split": [(IMAGES.flatten(1), LABELS)]}, "shapes"),
        ({"module": nn.Flatten(2)}, "logits of shape"),
        ({"module": nn.Sequential(linear(), nn.Threshold(9, float("nan")))}, "NaN"),
    ],
)
def test_mistakes_end_in_one_sentence(changes, message):
    settings = {"module": linear(), "split": [(IMAGES, LABELS)], "attack": "pgd", "eps": 0.1, **changes}
    with pytest.raises(UserError, match=message):
        evaluate(settings.pop("module"), settings.pop("split"), **settings)


def test_images_outside_the_threat_model_break_nothing():
    x = torch.full((5, 1, 2, 2), 0.5)
    x_adv = x.clone()
    x_adv[1] += 0.1
    x_adv[2] += 0.11
    x_adv[3, 0, 0, 0] = float("nan")
    x[4], x_adv[4] = 1.0, 1.05
    assert Threat("Linf", 0.1).allows(x_adv, x).tolist() == [True, True, False, False, False]
