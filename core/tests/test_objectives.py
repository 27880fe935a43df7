"""Objectives: the published formulas on worked numbers, their starts, their steps."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from apx.attacks import fgsm
from apx.training.objectives import BUILTIN, PGD, TRADES, Batch, Distillation, FastFGSM, Threat, kl_to, mart_loss
from apx.training.settings import TrainSettings

CLEAN = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 3.0]])
ADVERSARIAL = torch.tensor([[1.0, 1.5, 0.0], [0.5, 1.0, 1.2]])
LABELS = torch.tensor([0, 2])


class Scripted(nn.Module):
    """Answers with the adversarial logits where the image was moved, with the clean ones elsewhere."""

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        self.x = x
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        moved = (x - self.x).abs().flatten(1).amax(dim=1, keepdim=True) > 0.05
        return self.scale * torch.where(moved, ADVERSARIAL, CLEAN) + 0.0 * x.flatten(1).sum(dim=1, keepdim=True)


def batch(x: Tensor, y: Tensor = LABELS) -> Batch:
    return Batch(x, y, torch.arange(len(x)), seed=0, phase="train", epoch=0)


def test_trades_on_worked_logits() -> None:
    cross_entropy = functional.cross_entropy(CLEAN, LABELS)
    divergence = kl_to(CLEAN, ADVERSARIAL) / 2
    assert float(cross_entropy) == pytest.approx(0.288726, abs=1e-6)
    assert float(divergence) == pytest.approx(0.303463, abs=1e-6)
    assert float(cross_entropy + 6.0 * divergence) == pytest.approx(2.109507, abs=1e-5)
    x = torch.full((2, 1, 2, 2), 0.5)

    class Moved(TRADES):
        def attack(self, model: nn.Module, batch: Batch) -> Tensor:
            return batch.x + 0.1

    for beta, expected in ((6.0, 2.109507), (0.0, 0.288726)):
        objective = Moved(TrainSettings(objective="trades", beta=beta), Threat(0.1, 0.05, 1))
        assert float(objective.loss(Scripted(x), batch(x)).detach()) == pytest.approx(expected, abs=1e-5)


def test_trades_gradients_flow_through_both_sides_of_the_divergence() -> None:
    clean, adversarial = CLEAN.clone().requires_grad_(), ADVERSARIAL.clone().requires_grad_()
    kl_to(clean, adversarial).backward()
    assert clean.grad is not None
    assert clean.grad.abs().sum() > 0
    assert adversarial.grad is not None
    assert adversarial.grad.abs().sum() > 0


class Linear(nn.Module):
    """Its loss for label 0 rises with every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(dim=1)
        return torch.stack([-total, total], dim=1)


@pytest.mark.parametrize(("start", "expected"), [(-0.02, -0.02 + 10 / 255), (0.0, 8 / 255)])
def test_fgsm_rs_projects_after_its_one_step(start: float, expected: float) -> None:
    x, eps, seen = torch.full((1, 1, 1, 1), 0.5), 8 / 255, []

    class Fixed(Batch):
        def uniform(self, purpose: str, shape: tuple[int, ...] | None = None) -> Tensor:
            return torch.full_like(x, (start / eps + 1) / 2)

    network = Linear()
    network.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    objective = FastFGSM(TrainSettings(objective="fgsm-rs", steps=1), Threat(eps, eps, 1))
    objective.loss(network, Fixed(x, torch.tensor([0]), torch.tensor([0]), 0, "train", 0))
    assert float(seen[-1] - x) == pytest.approx(expected, abs=1e-6)


def test_fgsm_without_a_start_is_one_step_of_eps_from_the_image() -> None:
    torch.manual_seed(0)
    network, seen = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)), []
    x, y = torch.rand(2, 1, 4, 4), LABELS
    expected = fgsm(network, x, y, eps=0.1)
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    settings = TrainSettings(objective="fgsm-rs", options={"start": "none"})
    FastFGSM(settings, Threat(0.1, 0.03, 10)).loss(network, batch(x))
    assert torch.equal(seen[-1], expected)


def test_an_unknown_start_is_named() -> None:
    objective = PGD(TrainSettings(objective="pgd", options={"start": "corner"}), Threat(0.1, 0.05, 1))
    with pytest.raises(ValueError, match="corner"):
        objective.loss(Linear(), batch(torch.rand(2, 1, 2, 2)))


@pytest.mark.parametrize("name", ["pgd", "trades", "mart"])
@pytest.mark.parametrize("logging", [False, True])
def test_a_logging_pass_is_one_more_forward_pass(name: str, logging: bool) -> None:
    network, passes = nn.Sequential(nn.Flatten(), nn.Linear(4, 3)).train(), []
    network.register_forward_pre_hook(lambda module, inputs: passes.append(module.training))
    settings = TrainSettings(objective=name, options={"logging_pass": logging}, attack_bn="eval")
    BUILTIN[name](settings, Threat(0.1, 0.05, 2)).loss(network, batch(torch.rand(2, 1, 2, 2)))
    assert sum(passes) == {"pgd": 1, "trades": 3, "mart": 2}[name] + logging


def test_mart_on_worked_logits() -> None:
    clean, adversarial, y = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([[1.0, 1.5, 0.0]]), torch.tensor([0])
    assert float(mart_loss(clean, adversarial, y, 0.0)) == pytest.approx(1.894779, abs=1e-5)
    assert float(mart_loss(clean, adversarial, y, 0.5)) == pytest.approx(1.938890, abs=1e-5)
    assert float(mart_loss(clean, clean, y, 0.5)) == pytest.approx(0.290992, abs=1e-5)


def test_mart_differentiates_both_sides_and_its_weight() -> None:
    clean, adversarial = CLEAN.clone().requires_grad_(), ADVERSARIAL.clone().requires_grad_()
    mart_loss(clean, adversarial, LABELS, 5.0).backward()
    for logits in (clean, adversarial):
        assert logits.grad is not None
        assert bool((logits.grad.abs().sum(dim=1) > 0).all())
    double = CLEAN.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: mart_loss(z, ADVERSARIAL.double(), LABELS, 5.0), (double,))


@pytest.mark.parametrize("name", ["pgd", "fgsm-rs", "trades", "mart"])
def test_attacks_stay_in_the_ball_and_depend_on_the_sample_alone(name: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).train()
    x, y = torch.rand(6, 1, 4, 4), torch.arange(6) % 3
    seen: list[Tensor] = []
    network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))

    def adversarial(indices: Tensor) -> Tensor:
        seen.clear()
        options = {"second_clean_pass": False} if name == "trades" else {}
        settings = TrainSettings(objective=name, options=options)
        objective = BUILTIN[name](settings, Threat(0.1, 0.03, 3))
        objective.loss(network, Batch(x[indices], y[indices], indices, 0, "train", 0))
        return seen[-1]

    whole = adversarial(torch.arange(6))
    assert float((whole - x).abs().max()) <= 0.1 + 1e-6
    assert float(whole.min()) >= 0
    assert float(whole.max()) <= 1
    assert not torch.equal(whole, x)
    torch.testing.assert_close(adversarial(torch.tensor([4, 1])), whole[[4, 1]])
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_distillation_is_hintons_combination_and_needs_a_teacher() -> None:
    x = torch.rand(2, 1, 2, 2)
    student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(4, 3)) for _ in range(2))
    settings = TrainSettings(objective="kd", options={"temperature": 2.0, "weight": 0.75})
    loss = Distillation(settings, Threat(0.1, 0.05, 1), teacher).loss(student, batch(x))
    soft = kl_to(teacher(x) / 2, student(x) / 2) / 2
    expected = 0.25 * functional.cross_entropy(student(x), LABELS) + 0.75 * 4 * soft
    torch.testing.assert_close(loss, expected)
    with pytest.raises(ValueError, match="needs a teacher"):
        Distillation(settings, Threat(0.1, 0.05, 1)).loss(student, batch(x))


def test_a_network_that_meets_its_teacher_learns_from_labels_alone() -> None:
    x = torch.rand(2, 1, 2, 2)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    settings = TrainSettings(objective="kd")
    loss = Distillation(settings, Threat(0.1, 0.05, 1), network).loss(network, batch(x))
    torch.testing.assert_close(loss, 0.1 * functional.cross_entropy(network(x), LABELS))


def test_distillation_alone_never_looks_at_labels() -> None:
    x = torch.rand(2, 1, 2, 2)
    student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(4, 3)) for _ in range(2))
    objective = Distillation(
        TrainSettings(objective="kd", options={"weight": 1, "temperature": 30}), Threat(0.1, 0.05, 1), teacher
    )
    impossible = torch.tensor([-1, 99])
    assert torch.equal(objective.loss(student, batch(x)), objective.loss(student, batch(x, impossible)))
