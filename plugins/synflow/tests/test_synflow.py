"""SynFlow keeps its entry's word, and the paper's invariants hold, with worked numbers."""

import copy
import math
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import nn

import apx
from apx import MaskedModel, Masks, Observer
from apx.architectures import Normalisation, normalise_inputs
from apx.masks import weight_names
from apx.specifics import criterion_of, masks_by
from apx.testing import Trial, TrialMaker, assert_conforms, tiny_net
from apx_synflow.flow import SynapticFlow, synaptic_flow
from apx_synflow.method import check_count
from apx_synflow.threshold import Threshold

UNTRAINED = {"init": "network", "train.epochs": 0}
DRAWN = {"init": "kaiming-normal", "train.epochs": 0}


class MaskLog(Observer):
    """Notes the masks at the end of each pruning phase and after each optimiser step."""

    def __init__(self) -> None:
        """Start empty."""
        self.pruned: list[Masks] = []
        self.stepped: list[str] = []

    def phase_end(self, phase: str, model: MaskedModel) -> None:
        """Keep the masks of a pruning phase."""
        if phase.endswith("prune"):
            self.pruned.append(model.current_masks())

    def step(self, phase: str, epoch: int, step: int, model: MaskedModel) -> None:
        """Keep the digest of the masks."""
        self.stepped.append(model.current_masks().digest())


def worked() -> nn.Sequential:
    """Return the worked example's two-layer net behind a pooling that hands ones on as ones(1, 2)."""
    net = nn.Sequential(
        nn.AdaptiveAvgPool2d((1, 2)), nn.Flatten(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)
    )
    with torch.no_grad():
        net.get_parameter("2.weight").copy_(torch.tensor([[1, -2], [3, 0.5]]))
        net.get_parameter("4.weight").copy_(torch.tensor([[-1, 0.25]]))
    return net


def chain() -> nn.Sequential:
    """Return a bias-free sequential net without batch norm or pooling, for images 1x8x8."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Conv2d(6, 8, 3, stride=2, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, 5, bias=False),
    )


def flow_of(net: nn.Module, **options: Any) -> dict[str, torch.Tensor]:
    """Return the synaptic flow of every weight, for images 1x8x8."""
    return synaptic_flow(MaskedModel(net), weight_names(net), (1, 8, 8), **options)


def masks_of(pruning: Trial) -> dict[str, list[Any]]:
    """Run to the end and return the masks as nested lists of 0 and 1."""
    pruning.execute()
    return {name: mask.int().tolist() for name, mask in pruning.model.current_masks().items()}


def kept(masks: Masks) -> int:
    """Return how many entries stay."""
    return sum(int(mask.sum()) for mask in masks.values())


def prunings(pruning: Trial, monkeypatch: pytest.MonkeyPatch) -> list[Masks]:
    """Run to the end and return the masks of every round (apx sets those of a phase once more at its end)."""
    rounds: list[Masks] = []
    into_force: Callable[[Masks], None] = pruning.model.set_masks

    def spy(masks: Masks) -> None:
        if not rounds or masks.digest() != rounds[-1].digest():
            rounds.append(masks)
        into_force(masks)

    monkeypatch.setattr(pruning.model, "set_masks", spy)
    pruning.execute()
    return rounds


def test_the_entry_keeps_its_word() -> None:
    """Each claim of `taxonomy.json` is what apx observes."""
    assert_conforms("synflow")


def test_the_entry_gives_the_values_of_the_paper_preset() -> None:
    """Each hyperparameter of the entry is the default of the setting."""
    settings = apx.load_method("synflow").Settings()
    listed = {row.setting: row.value for row in apx.entry("synflow").hyperparameters}
    for name, value in listed.items():
        actual: Any = settings
        for part in name.split("."):
            actual = getattr(actual, part)
        assert actual == pytest.approx(plain(value)) if isinstance(actual, float) else actual == plain(value), name
    own = set(type(settings).model_fields) - set(apx.MethodSettings.model_fields) | {"rounds"}
    assert {name.partition(".")[0] for name in listed} == own


def plain(value: Any) -> Any:
    """Return an entry's value as a settings class holds it: fractions as numbers, lists as tuples."""
    if isinstance(value, str) and "/" in value:
        return float(Fraction(value))
    return tuple(value) if isinstance(value, list) else value


def test_worked_scores() -> None:
    """(1) Both layers carry 3.875; what flows into a hidden unit flows out of it."""
    flow = flow_of(worked())
    first, second = flow["2.weight"], flow["4.weight"]
    assert first.tolist() == [[1, 2], [0.75, 0.125]]
    assert second.tolist() == [[3, 0.875]]
    assert float(first.sum()) == float(second.sum()) == 3.875
    assert first.sum(1).tolist() == second[0].tolist() == [3, 0.875]


@pytest.mark.parametrize("fidelity", ["paper", "official"])
@pytest.mark.parametrize(
    ("sparsity", "rounds", "first", "second"),
    [
        (1 / 2, 1, [[1, 1], [0, 0]], [[1, 0]]),
        (1 / 2, 2, [[1, 1], [0, 0]], [[1, 0]]),
        (2 / 3, 3, [[0, 1], [0, 0]], [[1, 0]]),
    ],
)
def test_worked_masks(
    trial: TrialMaker, fidelity: str, sparsity: float, rounds: int, first: list[list[int]], second: list[list[int]]
) -> None:
    """(2) The same masks by exact counts and by the official threshold."""
    schedule = "1S" if rounds == 1 else "IT"
    settings = {**UNTRAINED, "fidelity": fidelity, "rounds": max(rounds, 2)}
    pruning = trial("synflow", net=worked(), sparsity=sparsity, set=settings, schedule=schedule)
    assert masks_of(pruning) == {"2.weight": first, "4.weight": second}


def test_the_first_of_two_worked_rounds_removes_one_weight(trial: TrialMaker) -> None:
    """(2) rho_1 = .7071, q = 1: only the weight of score .125 goes."""
    log = MaskLog()
    trial("synflow", net=worked(), sparsity=0.5, set={**UNTRAINED, "rounds": 2}, observers=[log]).execute()
    assert log.pruned[0]["2.weight"].int().tolist() == [[1, 1], [1, 0]]
    assert kept(log.pruned[0]) == 5


@pytest.mark.parametrize("batch_norm", ["eval", "train", "identity"])
def test_scoring_leaves_the_network_bit_for_bit(batch_norm: Any) -> None:
    """(3) Signs, zeros of either sign, buffers, counters, gradients and modes."""
    net = tiny_net()
    first = net.get_parameter("0.weight")
    with torch.no_grad():
        first[0, 0, 0] = torch.tensor([0.0, -0.0, -1e-42])
    first.grad = torch.full_like(first, 3)
    net.train()
    net[1].eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [part.training for part in net.modules()]
    flow_of(net, batch_norm=batch_norm)
    for name, tensor in net.state_dict().items():
        assert tensor.numpy().tobytes() == before[name].numpy().tobytes(), name
    assert [part.training for part in net.modules()] == modes
    assert (first.grad == 3).all()
    assert net.get_parameter("3.weight").grad is None


def test_pruning_leaves_the_initial_weights(trial: TrialMaker) -> None:
    """(3) What is trained are the original values, neither rewound nor rescaled."""
    net = tiny_net()
    pruning = trial("synflow", net=copy.deepcopy(net), sparsity=0.5, set=UNTRAINED)
    pruning.execute()
    for name, tensor in pruning.model.module.state_dict().items():
        assert torch.equal(tensor, net.state_dict()[name])


def test_no_data_no_labels_no_loss() -> None:
    """(4) Other images, other labels, another objective and another attack: the same masks."""
    masks = []
    for seed, objective, steps in [(0, "pgd", 1), (1, "trades", 3), (2, "nat", 0)]:
        generator = torch.Generator().manual_seed(seed)
        images, labels = torch.rand(12, 1, 8, 8, generator=generator), torch.arange(12) % 3
        settings = {**UNTRAINED, "train.objective": objective, "train.steps": steps, "rounds": 5}
        data = ((images, labels.roll(seed)), (images, labels))
        pruned, _ = apx.prune(
            tiny_net(), method="synflow", data=data, sparsity=0.8, settings=settings, pretrained=False
        )
        masks.append([pruned.get_parameter(name) != 0 for name in weight_names(pruned)])
    for other in masks[1:]:
        assert all(torch.equal(a, b) for a, b in zip(masks[0], other, strict=True))


def test_the_same_seed_gives_the_same_mask_and_another_another(trial: TrialMaker) -> None:
    """(4) The one thing that is drawn is the initial network."""
    masks = [masks_of(trial("synflow", sparsity=0.5, seed=seed, set=DRAWN)) for seed in (0, 0, 1)]
    assert masks[0] == masks[1] != masks[2]


@pytest.mark.parametrize("densities", ["exponential", "linear"])
def test_a_hundred_rounds_count_exactly_and_nest(
    trial: TrialMaker, monkeypatch: pytest.MonkeyPatch, densities: str
) -> None:
    """(5) Round k keeps N - int((1 - rho_k) N); no removed weight comes back."""
    total, rho, settings = 582, 0.1, {**UNTRAINED, "densities": densities}
    rounds = prunings(trial("synflow", net=tiny_net(), sparsity=1 - rho, set=settings), monkeypatch)
    shares = [rho ** (k / 100) if densities == "exponential" else 1 - (1 - rho) * k / 100 for k in range(1, 101)]
    assert [kept(masks) for masks in rounds] == [total - math.floor(round((1 - s) * total, 9)) for s in shares]
    for earlier, later in pairwise(rounds):
        assert all(bool((earlier[name] | ~later[name]).all()) for name in later)


def test_a_phase_is_a_quarter_of_the_rounds(trial: TrialMaker) -> None:
    """(5) A run directory holds four pruning checkpoints, not a hundred."""
    log = MaskLog()
    trial("synflow", sparsity=0.9, set={"train.epochs": 0}, observers=[log]).execute()
    assert [kept(m) for m in log.pruned] == [582 - int((1 - 0.1 ** (k / 100)) * 582) for k in (25, 50, 75, 100)]


def test_local_counts_are_each_layers_own(trial: TrialMaker) -> None:
    """Every tensor loses int((1 - rho) n) of its own."""
    pruning = trial("synflow", sparsity=0.8, locality="L", set={**UNTRAINED, "rounds": 5})
    pruning.execute()
    for mask in pruning.model.current_masks().values():
        assert int(mask.sum()) == mask.numel() - math.floor(round(0.8 * mask.numel(), 9))


def test_the_rescaling_symmetry_changes_nothing(trial: TrialMaker) -> None:
    """(6) theta_l -> c theta_l, theta_l+1 -> theta_l+1 / c."""
    net, scaled = chain(), chain()
    with torch.no_grad():
        scaled.get_parameter("2.weight").mul_(8)
        scaled.get_parameter("5.weight").div_(8)
    for name, flow in flow_of(net).items():
        torch.testing.assert_close(flow_of(scaled)[name], flow, rtol=1e-12, atol=0)
    masks = [masks_of(trial("synflow", net=n, sparsity=0.7, set={**UNTRAINED, "rounds": 5})) for n in (net, scaled)]
    assert masks[0] == masks[1]


def test_signs_do_not_matter(trial: TrialMaker) -> None:
    """(7) Any of them may be flipped."""
    net, flipped = tiny_net(), tiny_net()
    signs = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name in weight_names(flipped):
            weight = flipped.get_parameter(name)
            weight.mul_(2 * torch.randint(2, weight.shape, generator=signs) - 1)
    masks = [masks_of(trial("synflow", net=n, sparsity=0.7, set={**UNTRAINED, "rounds": 5})) for n in (net, flipped)]
    assert masks[0] == masks[1]


def test_each_layer_carries_the_whole_flow() -> None:
    """(8) In a bias-free chain all layers' sums are R_SF, to 1e-5 also in float32."""
    for dtype in (torch.float64, torch.float32):
        sums = torch.stack([flow.sum() for flow in flow_of(chain(), dtype=dtype).values()])
        torch.testing.assert_close(sums, sums[:1].expand(3), rtol=1e-5, atol=0)


def layers_kept(name: str, rounds: int, width: int | None) -> dict[str, int]:
    """Prune a Kaiming-normal network to 1 % in `rounds` rounds; return weight name -> how many stay."""
    torch.manual_seed(0)
    net = apx.build(name, num_classes=10, image_size=32, width=width)
    images, labels = torch.rand(10, 3, 32, 32), torch.arange(10)
    schedule = "1S" if rounds == 1 else "IT"
    pruned, _ = apx.prune(
        net,
        method="synflow",
        data=((images, labels), (images, labels)),
        sparsity=0.99,
        schedule=schedule,
        settings={**DRAWN, "rounds": max(rounds, 2)},
        pretrained=False,
    )
    return {weight: int(pruned.get_parameter(weight).count_nonzero()) for weight in weight_names(pruned)}


@pytest.mark.parametrize("width", [16, pytest.param(None, marks=pytest.mark.slow)])
def test_rounds_save_vgg16_from_layer_collapse(width: int | None) -> None:
    """(9) At 99 % ten rounds keep every layer, one round empties some; full width is the slow case."""
    assert min(layers_kept("vgg16", 10, width).values()) >= 1
    assert min(layers_kept("vgg16", 1, width).values()) == 0


@pytest.mark.slow
def test_resnet18_loses_its_projection_shortcuts() -> None:
    """At 99 % and full width they are empty, the residual branches are not."""
    layers = layers_kept("resnet18", 10, None)
    assert {name for name, count in layers.items() if count == 0} == {name for name in layers if "shortcut" in name}


@pytest.mark.parametrize("objective", ["pgd", "trades", "nat"])
def test_training_keeps_the_masks_and_the_zeros(trial: TrialMaker, objective: str) -> None:
    """(10) One digest from the first step to the last; what is masked is exactly 0 in the export."""
    log = MaskLog()
    settings = {"rounds": 5, "train.epochs": 2, "train.objective": objective}
    pruning = trial("synflow", sparsity=0.7, set=settings, observers=[log])
    pruned = pruning.execute()
    assert set(log.stepped) == {log.pruned[-1].digest()}
    for name, mask in log.pruned[-1].items():
        assert torch.equal(pruned.get_parameter(name) != 0, mask)


def test_rho_one_is_plain_training(trial: TrialMaker) -> None:
    """(11) Nothing is removed, and the weights end as training alone leaves them."""
    settings = {"train.epochs": 2}
    pruning = trial("synflow", sparsity=0.0, net=tiny_net(), set=settings)
    pruned = pruning.execute()
    assert all(bool(mask.all()) for mask in pruning.model.current_masks().values())
    alone = trial("synflow", sparsity=0.0, net=tiny_net(), set=settings)
    phase = alone.method.dense_settings()
    alone.run.train("train", alone.model, phase)
    for name, tensor in alone.model.module.state_dict().items():
        assert torch.equal(tensor, pruned.state_dict()[name]), name


def test_exactly_half_of_the_filters_go_and_no_layer(trial: TrialMaker) -> None:
    """6 + 8 filters, the classifier stays; at 90 % each layer keeps one."""
    pruning = trial("synflow", sparsity=0.5, structure="S", set={"rounds": 5, "train.epochs": 0})
    assert pruning.own_sparsity(pruning.execute()) == 0.5
    pruning = trial("synflow", sparsity=0.85, structure="S", set={"rounds": 5, "train.epochs": 0})
    pruned = pruning.execute()
    convolutions = [name for name in weight_names(pruned) if pruned.get_parameter(name).dim() == 4]
    assert [int(pruned.get_parameter(name).flatten(1).any(1).sum()) >= 1 for name in convolutions] == [True, True]


def test_normalisation_inside_is_switched_off() -> None:
    """The first layer sees ones, to the last bit, whatever the network does before it."""
    plain, normalised = tiny_net(), tiny_net()
    normalise_inputs(normalised, Normalisation((0.4914,), (0.2023,)), 1)
    assert all(torch.equal(flow, flow_of(plain)[name]) for name, flow in flow_of(normalised).items())


def test_batch_norm_of_a_trained_network() -> None:
    """Running means would be subtracted from the flow; `identity` scores as at initialisation, but for eps."""
    fresh, trained = tiny_net(), tiny_net()
    with torch.no_grad():
        trained.get_buffer("1.running_mean").fill_(100)
    assert float(flow_of(trained)["0.weight"].sum()) == 0
    for name, flow in flow_of(trained, batch_norm="identity").items():
        torch.testing.assert_close(flow, flow_of(fresh, batch_norm="identity")[name])
        torch.testing.assert_close(flow, flow_of(fresh)[name], rtol=1e-4, atol=0)


def test_batch_statistics_of_one_value_are_refused() -> None:
    """A batch norm behind a global pooling sees 1x1 maps: a sentence, not a traceback."""
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(1, 2))
    with pytest.raises(apx.UserError, match="batch_norm=train cannot score this network"):
        flow_of(net, batch_norm="train")
    assert float(flow_of(net, batch_norm="eval")["3.weight"].sum()) > 0


def test_flow_beyond_float32() -> None:
    """Float32 says that it is not enough; float64 ranks."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64, bias=False), nn.Linear(64, 2, bias=False))
    with torch.no_grad():
        for name in weight_names(net):
            net.get_parameter(name).fill_(1e25)
    with pytest.raises(apx.ApxError, match="score it in float64"):
        flow_of(net, dtype=torch.float32)
    assert float(flow_of(net)["1.weight"].sum()) == pytest.approx(64 * 64 * 2 * 1e50)


def test_a_weight_that_is_cut_off_goes_before_any_that_carries_flow(trial: TrialMaker) -> None:
    """Its score is 0 as a removed weight's; the criterion keeps the two apart, so that none comes back."""
    net = worked()
    pruning = trial("synflow", net=net, sparsity=0.5, set=UNTRAINED)
    removed = {"2.weight": torch.ones(2, 2, dtype=torch.bool), "4.weight": torch.tensor([[True, False]])}
    pruning.model.set_masks(Masks(removed))
    scores = SynapticFlow().scores(pruning.model, ["2.weight", "4.weight"], pruning.run)
    assert scores["4.weight"][0, 1] == 0
    assert (scores["2.weight"][1] > 0).all()
    assert (scores["2.weight"][1] < 1e-300).all()


def test_the_official_threshold_fails_loudly_on_ties(trial: TrialMaker) -> None:
    """|sum m - rho N| < 5 is checked; all scores of this layer are equal."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False))
    nn.init.ones_(net.get_parameter("1.weight"))
    with pytest.raises(apx.ApxError, match="keeps 0 of 128 weights"):
        trial("synflow", net=net, sparsity=0.5, schedule="1S", set={**UNTRAINED, "fidelity": "official"}).execute()
    check_count(Masks({"w": torch.tensor([True, False])}), 0.5)


def test_the_official_threshold_is_strict() -> None:
    """Keep S > t: what ties at t goes too; local means each tensor's own t."""
    scores = {"a": torch.tensor([1.0, 2.0, 2.0, 3.0]), "b": torch.tensor([5.0, 6.0])}
    across, inside = Threshold(True), Threshold(False)
    select: dict[str, Any] = {"shapes": {}, "sparsity": 0.5, "structure": None}
    assert {k: v.tolist() for k, v in across.select(scores, **select).items()} == {
        "a": [False, False, False, True],
        "b": [True, True],
    }
    assert inside.select(scores, **select)["b"].tolist() == [False, True]


def test_the_official_code_has_no_filters(trial: TrialMaker) -> None:
    """What cannot be reproduced is refused in a sentence."""
    pruning = trial("synflow", structure="S", set={"fidelity": "official"})
    refusal = pruning.method.refuses(pruning.model.module)
    assert refusal is not None
    assert "fidelity=official" in refusal


def test_dense_classifier(trial: TrialMaker) -> None:
    """The last linear layer has no mask, and does not count in N."""
    pruning = trial("synflow", sparsity=0.5, set={**UNTRAINED, "dense_classifier": True, "rounds": 2})
    pruning.execute()
    masks = pruning.model.current_masks()
    assert set(masks) == set(weight_names(pruning.model.module, exclude=("classifier",)))
    total = sum(mask.numel() for mask in masks.values())
    assert kept(masks) == total - total // 2


def test_initialisation_is_kaiming_normal_by_fan_in(trial: TrialMaker) -> None:
    """N(0, 2 / fan_in) and biases 0; `network` leaves the given weights alone; reinitialise draws others."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 400), nn.ReLU(), nn.Linear(400, 5))
    weights = []
    for extra in (DRAWN, UNTRAINED, {**DRAWN, "reinitialise": True}):
        settings = {"rounds": 2, **extra}
        pruning = trial("synflow", net=copy.deepcopy(net), sparsity=0.5, set=settings)
        pruning.execute()
        weights.append({name: t.clone() for name, t in pruning.model.module.state_dict().items()})
    drawn, given, again = weights
    assert float(drawn["1.weight"].std()) == pytest.approx(math.sqrt(2 / 64), rel=0.02)
    assert not drawn["1.bias"].any()
    assert torch.equal(given["1.weight"], net.get_parameter("1.weight"))
    assert not torch.equal(drawn["1.weight"], again["1.weight"])


def test_any_method_can_rank_by_synaptic_flow(trial: TrialMaker) -> None:
    """The hook offers the score by name."""
    assert isinstance(criterion_of("synaptic-flow"), SynapticFlow)
    pruning = trial("synflow", net=worked(), sparsity=0.5, schedule="1S", set=UNTRAINED)
    with pruning.run.targeting(0.5):
        masks = masks_by("synaptic-flow", pruning.model, pruning.run)
    assert masks["2.weight"].int().tolist() == [[1, 1], [0, 0]]
