"""MAD against its acceptance invariants: worked numbers, exact counts, what the saliency pass leaves alone."""

import copy
from collections.abc import Callable
from typing import Any

import curvlinops
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from apx import Dynamics, MaskedModel, Masks, Observer, Position, build
from apx.attacks import frozen
from apx.masks import prunable_layers, weight_names
from apx.runner.interrupts import Interrupted
from apx.runner.progress import Quiet
from apx.selection import pruned_count
from apx.training.objectives import mart_loss
from apx_mad.kfac import Call, batch_saliency, layer_saliency, parameter_names, projection, row_curvature
from apx_mad.pools import masks_from_saliency, quantiles
from apx_mad.soft_masks import FULL, LEAST, mask_of, search_masks

Maker = Callable[..., Any]
PHASES = ("pretrain", "finetune")
FAST = {f"{phase}.{field}": value for phase in PHASES for field, value in {"epochs": 1, "batch_size": 8}.items()}
FAST |= {"search_batch_size": 8, "search_steps": 3}
X, Y = torch.tensor([[1.0, 2.0], [-1.0, 0.5]]), torch.tensor([0, 1])


def worked_layer() -> nn.Sequential:
    """Return the worked example: one linear layer 2 -> 2."""
    layer = nn.Linear(2, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -1.0], [0.5, 2.0]]))
        layer.bias.copy_(torch.tensor([0.1, -0.2]))
    return nn.Sequential(layer)


def saliency_of(network: nn.Module, masks: dict[str, Tensor]) -> dict[str, Tensor]:
    with frozen(network):
        return batch_saliency(network, prunable_layers(network), masks, X, Y)


def matrix(entries: dict[str, Tensor] | Masks, layer: str = "0") -> Tensor:
    """Return a layer's entries as [o, i + 1], the bias last."""
    return torch.cat([entries[f"{layer}.weight"].flatten(1), entries[f"{layer}.bias"][:, None]], dim=1)


# -- invariant 1: the masks -------------------------------------------------------------------------------------------


def test_masks_lie_between_a_ten_thousandth_and_exactly_one() -> None:
    assert pytest.approx(0.541325, abs=1e-6) == FULL
    assert pytest.approx(-9.2102, abs=2e-4) == LEAST
    masks = mask_of(torch.tensor([FULL, LEAST]))
    assert float(masks[0]) == 1.0
    assert float(masks[1]) == pytest.approx(1e-4, rel=1e-3)


def test_one_step_moves_what_a_positive_gradient_pulls_down_and_nothing_else() -> None:
    network = worked_layer()
    with frozen(network):
        mask = matrix(search_masks(network, ["0.weight", "0.bias"], X, Y, steps=1))
    moved = mask != 1.0
    assert moved.any()
    assert not moved.all()
    torch.testing.assert_close(mask[moved], torch.full_like(mask[moved], 0.93796), atol=1e-5, rtol=0)


# -- invariants 2, 3 and 4: the worked example ------------------------------------------------------------------------


def test_factors_of_the_worked_example() -> None:
    identity = {"weight": torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), "bias": torch.tensor([0.0, 0.0, 1.0])}
    projected, positions = projection(nn.Linear(2, 3), identity, X)
    factor = torch.cat([projected["weight"], projected["bias"][:, None]], dim=1)
    torch.testing.assert_close(factor, torch.tensor([[1, 0.75, 0], [0.75, 2.125, 1.25], [0, 1.25, 1.0]]))
    assert positions == 1


def test_saliency_of_the_worked_example() -> None:
    masks = {"0.weight": torch.tensor([[1.0, 0.5], [0.25, 1.0]]), "0.bias": torch.tensor([0.5, 1.0])}
    expected = torch.tensor([[0, 0.1221785, -0.0070253], [0.0343627, 0, 0]])
    torch.testing.assert_close(matrix(saliency_of(worked_layer(), masks)), expected, atol=1e-6, rtol=0)


def test_curvature_of_the_worked_example() -> None:
    network = worked_layer()
    with torch.no_grad():
        network[0].weight.mul_(torch.tensor([[1.0, 0.5], [0.25, 1.0]]))
        network[0].bias.mul_(torch.tensor([0.5, 1.0]))
    logits = network(X)
    (gradient,) = torch.autograd.grad(functional.cross_entropy(logits, Y), logits)
    expected = torch.full((2,), 0.488714)
    torch.testing.assert_close(row_curvature(network[0], gradient, 1), expected, atol=1e-6, rtol=0)


def test_the_whole_search_on_the_worked_example() -> None:
    network = worked_layer()
    with frozen(network):
        masks = search_masks(network, ["0.weight", "0.bias"], X, Y)
    expected = torch.tensor([[1, 0.25166, 1], [0.24322, 0.25166, 1]])
    torch.testing.assert_close(matrix(masks), expected, atol=1e-4, rtol=0)
    saliency = torch.tensor([[0, 0.123765, 0], [0.059065, 0.539236, 0]])
    torch.testing.assert_close(matrix(saliency_of(network, masks)), saliency, atol=1e-4, rtol=0)


def test_where_no_mask_has_moved_there_is_no_saliency() -> None:
    saliency = saliency_of(worked_layer(), {"0.weight": torch.ones(2, 2), "0.bias": torch.ones(2)})
    assert not matrix(saliency).any()


# -- invariants 4 and 5: rows and convolutions against the factors written out ----------------------------------------


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, padding=1, bias=False),
        nn.Conv2d(4, 6, (3, 1), stride=2, padding=(0, 1)),
        nn.Conv2d(4, 6, 1),
        nn.Conv2d(4, 4, 3, dilation=2, bias=False),
        nn.Conv2d(4, 8, 3, groups=4, padding=1),
    ],
    ids=["3x3", "3x1 strided", "1x1", "dilated", "depthwise"],
)
def test_convolutions_against_unfolded_patches(layer: nn.Conv2d) -> None:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(6, 4, 7, 7, generator=generator)
    gradient = torch.randn(layer(x).shape, generator=generator) / 100
    displacement = {name: torch.randn(p.shape, generator=generator) for name, p in layer.named_parameters()}
    saliency = layer_saliency(layer, displacement, [Call(x, gradient)])

    patches = functional.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # type: ignore[arg-type]
    images, _, positions = patches.shape
    patches = patches.transpose(1, 2).reshape(images * positions, layer.groups, -1)
    g = gradient.flatten(2).transpose(1, 2).reshape(images * positions, -1)
    curvature = images * positions * g.T @ g
    moved = torch.cat([p.reshape(len(p), -1) for p in displacement.values()], dim=1)
    found = torch.cat([p.reshape(len(p), -1) for p in saliency.values()], dim=1)
    for row in range(layer.out_channels):
        own = patches[:, row * layer.groups // layer.out_channels]
        own = own if layer.bias is None else torch.cat([own, torch.ones(len(own), 1)], dim=1)
        factor = own.T @ own / (images * positions**2)
        expected = 0.5 * curvature[row, row] * moved[row] * (moved[row] @ factor)
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))
        whole = 0.5 * curvature[row, row] * moved[row] @ factor @ moved[row]
        assert float(found[row].sum()) == pytest.approx(float(whole), rel=1e-3)
        assert whole >= 0


def test_the_saliency_of_a_network_against_a_library_of_curvature_matrices() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 3, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 4)).double().eval()
    x, y = torch.rand(5, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 1])
    masks = {name: torch.rand_like(p) for name, p in network.named_parameters()}
    moved = {name: p.detach() * (1 - masks[name]) for name, p in network.named_parameters()}
    with frozen(network):
        found = batch_saliency(network, prunable_layers(network), masks, x, y)

    masked = copy.deepcopy(network)
    with torch.no_grad():
        for name, parameter in masked.named_parameters():
            parameter.mul_(masks[name])
    parameters = dict(masked.named_parameters())
    kfac = curvlinops.KFACLinearOperator(
        masked,
        nn.CrossEntropyLoss(),
        list(parameters.values()),
        [(x, y)],
        fisher_type="empirical",
        separate_weight_and_bias=False,
        check_deterministic=False,
    )
    curvature = kfac @ torch.eye(sum(p.numel() for p in parameters.values()), dtype=torch.float64)
    start = 0
    for layer, size in (("0", 3), ("3", 4)):
        inputs = parameters[f"{layer}.weight"][0].numel()
        for row in range(size):  # the row's weights, then its bias
            own = [start + row * inputs + i for i in range(inputs)] + [start + size * inputs + row]
            change = torch.cat([moved[f"{layer}.weight"][row].flatten(), moved[f"{layer}.bias"][row, None]])
            ours = torch.cat([found[f"{layer}.weight"][row].flatten(), found[f"{layer}.bias"][row, None]])
            torch.testing.assert_close(ours, 0.5 * change * (curvature[own][:, own] @ change))
        start += size * (inputs + 1)


def test_gradients_are_those_before_an_activation_in_place() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(108, 2)]
    x = torch.rand(4, 1, 8, 8)
    y = torch.tensor([0, 1, 1, 0])
    found = []
    for inplace in (False, True):
        network = nn.Sequential(layers[0], nn.ReLU(inplace), *layers[1:]).eval()
        masks = {name: torch.full_like(p, 0.5) for name, p in network.named_parameters()}
        with frozen(network):
            found.append(batch_saliency(network, prunable_layers(network), masks, x, y))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_a_layer_that_is_used_twice_sums_over_its_uses() -> None:
    layer, displacement = nn.Linear(2, 2), {"weight": torch.eye(2), "bias": torch.ones(2)}
    calls = [Call(X, torch.ones(2, 2)), Call(2 * X, torch.full((2, 2), 0.5))]
    both = layer_saliency(layer, displacement, calls)
    apart = [layer_saliency(layer, displacement, [call]) for call in calls]
    torch.testing.assert_close(both["weight"], apart[0]["weight"] + apart[1]["weight"])
    assert not layer_saliency(layer, displacement, [Call(X)])["weight"].any()  # the loss does not see it


# -- invariant 6: the pass leaves the network as it is ----------------------------------------------------------------


def test_the_saliency_pass_touches_neither_weights_nor_statistics_nor_mode(trial: Maker) -> None:
    made = trial("mad", set=FAST)
    network = made.model.module.train()
    network[1].eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    names = [full for name, layer in prunable_layers(network).items() for full in parameter_names(name, layer).values()]
    saliency = made.method.saliency(network, names, made.run)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert [layer.training for layer in network[:3]] == [True, False, True]
    assert all(p.requires_grad and p.grad is None for p in network.parameters())
    assert all(saliency[name].any() for name in names)
    again = made.method.saliency(network, names, made.run)
    assert all(torch.equal(saliency[name], again[name]) for name in names)


def test_an_interrupt_is_heeded_between_two_batches(trial: Maker) -> None:
    made = trial("mad", set=FAST)
    made.run.interrupts.signum = 2
    with pytest.raises(Interrupted):
        made.method.saliency(made.model.module, ["0.weight"], made.run)


class Steps(Quiet):
    """Keeps how many steps a phase has announced, and taken."""

    def __init__(self) -> None:
        self.phases: dict[str, list[int]] = {}

    def phase(self, name: str, steps: int, done: int = 0) -> None:
        self.phases[name] = [steps, 0]

    def step(self, loss: float | None = None) -> None:
        list(self.phases.values())[-1][1] += 1


@pytest.mark.parametrize(("asked", "scored"), [(None, 3), (2, 2), (9, 3)])
def test_an_epoch_or_a_few_batches_are_scored(trial: Maker, asked: int | None, scored: int) -> None:
    made = trial("mad", set=FAST | {"search_batches": asked})
    made.run.progress = Steps()
    made.execute()
    assert made.run.progress.phases["prune/saliency"] == [scored, scored]


# -- invariants 7 and 8: counts ---------------------------------------------------------------------------------------


def test_counts_of_a_run(trial: Maker) -> None:
    made = trial("mad", sparsity=0.7, set=FAST)
    plain = made.execute()
    masks = made.model.masks
    pool = torch.cat([masks[f"{layer}.weight"].flatten() for layer in ("0", "3")])
    assert int((~pool).sum()) == pruned_count(0.7, pool.numel())
    assert (~matrix(masks, "8")).sum(dim=1).tolist() == [pruned_count(0.7, 33)] * 3
    assert set(masks) == {"0.weight", "3.weight", "8.weight", "8.bias"}
    for name, mask in masks.items():
        assert torch.equal(plain.get_parameter(name) != 0, mask)


@pytest.mark.parametrize(
    ("arch", "pool", "removed"),
    [
        ("vgg16_bn_linear_avg", 14_710_464, (13_239_417, 13_974_940, 14_563_359)),
        ("resnet18", 11_159_232, (10_043_308, 10_601_270, 11_047_639)),
    ],
)
def test_counts_of_the_published_networks(arch: str, pool: int, removed: tuple[int, int, int]) -> None:
    with torch.device("meta"):
        network = build(arch, num_classes=10)
    *pooled, classifier = [network.get_parameter(name) for name in weight_names(network)]
    assert sum(weight.numel() for weight in pooled) == pool
    assert tuple(pruned_count(sparsity, pool) for sparsity in (0.9, 0.95, 0.99)) == removed
    assert classifier[0].numel() + 1 == 513
    assert [pruned_count(sparsity, 513) for sparsity in (0.9, 0.95, 0.99)] == [461, 487, 507]


POOLED = torch.tensor([[3, -1, 0, 2, 5, 4, 9, 8, 7], [1, 6, -2, 0.5, 0.1, 0.2, 0.3, 0.4, 0.6]])


def test_the_pooled_example() -> None:
    first = {"0.weight": POOLED[:1].clone(), "1.weight": POOLED[1:].clone()}
    for saliency in (first, {"0.weight": POOLED.clone()}):
        masks = masks_from_saliency(saliency, 0.5, None)
        removed = ~torch.cat(list(masks.values()))
        assert removed[0].nonzero()[:, 0].tolist() == [1, 2]
        assert removed[1].nonzero()[:, 0].tolist() == [2, 3, 4, 5, 6, 7, 8]


def test_a_hidden_linear_layer_competes_in_the_pool_with_its_bias() -> None:
    saliency = {
        "0.weight": torch.full((2, 3), 5.0),
        "0.bias": torch.tensor([-1.0, 9.0]),
        "1.weight": torch.tensor([[1.0, 2.0], [4.0, 3.0]]),
        "1.bias": torch.tensor([0.0, 9.0]),
    }
    masks = masks_from_saliency(saliency, 0.5, "1")
    assert masks["0.bias"].tolist() == [False, True]
    assert masks["0.weight"].tolist() == [[False] * 3, [True] * 3]  # of equal saliencies the first go
    assert masks["1.weight"].tolist() == [[True, True], [True, False]]
    assert masks["1.bias"].tolist() == [False, True]


def test_a_network_without_linear_layers_has_one_pool() -> None:
    saliency = {"0.weight": POOLED.clone()}
    assert torch.equal(
        masks_from_saliency(saliency, 0.5, None)["0.weight"], quantiles(saliency, None)["0.weight"] > 0.5
    )


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.9])
def test_one_threshold_on_the_exposed_scores_explains_all_masks(trial: Maker, sparsity: float) -> None:
    made = trial("mad", sparsity=sparsity, set=FAST | {"finetune.epochs": 0})
    made.execute()
    scores = made.method.scores(made.model)
    assert all(torch.equal(scores[name] > sparsity, mask) for name, mask in made.model.masks.items())


@pytest.mark.parametrize("removes", ["highest", "random"])
def test_controls_remove_as_many_and_others(trial: Maker, removes: str) -> None:
    masks = []
    for choice in ("lowest", removes):
        made = trial("mad", set=FAST | {"finetune.epochs": 0, "removes": choice})
        made.execute()
        masks.append(made.model.masks)
    counts = [sum(int((~m[name]).sum()) for name in m) for m in masks]
    assert counts[0] == counts[1]
    overlap = sum(int((~masks[0][name] & ~masks[1][name]).sum()) for name in masks[0]) / counts[0]
    assert overlap < (0.05 if removes == "highest" else 0.65)


# -- invariants 9 and 10: finetuning ----------------------------------------------------------------------------------


def test_the_worked_loss() -> None:
    z, y = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    assert float(mart_loss(z, torch.tensor([[1.0, 1.5, 0.0]]), y, 0.5)) == pytest.approx(1.938890, abs=1e-5)
    assert float(mart_loss(z, z, y, 0.5)) == pytest.approx(0.290992, abs=1e-5)


class Watching(Dynamics):
    """Looks at removed entries after each step: weight, gradient, momentum."""

    def __init__(self) -> None:
        self.alive: list[bool] = []

    def after_step(self, model: MaskedModel, optimizer: torch.optim.Optimizer, at: Position) -> None:
        for name, mask in model.masks.items():
            parameter = model.module.get_parameter(name)
            stored = (parameter, parameter.grad, optimizer.state[parameter]["momentum_buffer"])
            self.alive += [bool(tensor.detach()[~mask].any()) for tensor in stored if tensor is not None]


def test_removed_entries_stay_zero_with_gradient_and_momentum(trial: Maker, given_steps: Callable[..., Any]) -> None:
    made = trial("mad", set=FAST | {"finetune.epochs": 0})
    made.execute()
    assert made.model.storage == "inplace"
    watching = Watching()
    x = torch.rand(3, 8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    settings = {"lr": 0.1, "momentum": 0.9, "weight_decay": 2e-4}
    given_steps(made.model, x, torch.arange(24).view(3, 8) % 3, settings, dynamics=watching)
    assert len(watching.alive) == 3 * 4 * 3
    assert not any(watching.alive)


class Snapshots(Observer):
    """Keeps the order of the phases, and batch norm's state round the pruning phase."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.norms: dict[str, Tensor] = {}

    def phase_start(self, phase: str, model: MaskedModel) -> None:
        self.phases.append(phase)
        self.norms[f"{phase}:start"] = self._norm(model)

    def phase_end(self, phase: str, model: MaskedModel) -> None:
        self.norms[f"{phase}:end"] = self._norm(model)

    def _norm(self, model: MaskedModel) -> Tensor:
        return torch.cat([t.flatten().double() for n, t in model.module.state_dict().items() if n.startswith("1.")])


def test_pruning_leaves_batch_norm_alone(trial: Maker) -> None:
    seen = Snapshots()
    trial("mad", set=FAST, observers=[seen]).execute()
    assert torch.equal(seen.norms["prune:start"], seen.norms["prune:end"])
    assert not torch.equal(seen.norms["finetune:start"], seen.norms["finetune:end"])


# -- the natural phase and the dense cache ----------------------------------------------------------------------------


def test_natural_training_comes_first_and_makes_another_dense_network(trial: Maker) -> None:
    seen = Snapshots()
    made = trial("mad", set=FAST | {"natural.epochs": 1, "natural.batch_size": 8}, observers=[seen])
    made.run.determines = {"arch": "tiny"}
    made.method.execute(made.model, made.run)
    assert seen.phases[:3] == ["natural", "pretrain", "pretrain/train"]
    assert made.run.determines["natural"]["epochs"] == 1


def test_without_natural_training_the_dense_network_is_everybodys(trial: Maker) -> None:
    made = trial("mad", set=FAST)
    made.run.determines = {"arch": "tiny"}
    made.method.execute(made.model, made.run)
    assert made.run.determines == {"arch": "tiny"}


def test_a_given_dense_network_needs_no_natural_training(trial: Maker) -> None:
    seen = Snapshots()
    made = trial("mad", set=FAST | {"natural.epochs": 1}, observers=[seen])
    made.run.dense = {name: tensor.clone() for name, tensor in made.model.module.state_dict().items()}
    made.execute()
    assert "natural" not in seen.phases


# -- settings ---------------------------------------------------------------------------------------------------------


def test_paper_settings(trial: Maker) -> None:
    s = trial("mad", preset="paper", sparsity=0.9).method.settings
    assert [p.epochs for p in (s.natural, s.pretrain, s.finetune)] == [200, 60, 60]
    assert [p.objective for p in (s.natural, s.pretrain, s.finetune)] == ["nat", "pgd", "mart"]
    for phase in (s.natural, s.pretrain, s.finetune):
        assert (phase.lr, phase.momentum, phase.weight_decay, phase.batch_size) == (0.1, 0.9, 2e-4, 128)
        assert (phase.lr_schedule, phase.milestones) == ("step", (0.5, 0.75))
    for phase in (s.pretrain, s.finetune):
        assert (phase.eps, phase.steps, phase.attack_bn) == (8 / 255, 10, "eval")
        assert phase.alpha == pytest.approx(2.3 * phase.eps / phase.steps)
    assert s.finetune.beta == 0.5
    assert (s.search_batch_size, s.search_batches, s.search_steps, s.search_lr) == (128, None, 20, 0.1)
    assert s.normalise
