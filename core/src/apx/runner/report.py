"""What a run ends with: results of dense and pruned network on the test set, sparsity, cost; the one table."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor, nn

from apx_taxonomy import validate

from ..collapse import collapsed
from ..cost import output_positions
from ..errors import ApxError
from ..evaluation import Target, evaluate
from ..masks import count_zeros, reported_sparsity, weight_names
from ..specifics import structure_of
from ..training.settings import TrainSettings
from .record import run_record
from .request import VARIANT_FIELDS, build_settings

if TYPE_CHECKING:
    from ..method import Variant
    from .context import Run
    from .request import Resolved


def evaluate_run(
    resolved: "Resolved", plain: nn.Module, dense: nn.Module | None, run: "Run"
) -> dict[str, dict[str, Any]]:
    """Evaluate the pruned network, and the dense one beside it, on the test set; nothing where `eval` is none.

    `quick` is PGD-20 on up to 1,000 test images, `standard` AutoAttack on all of them.

    Raises:
        Interrupted: a signal arrived; everything before the evaluation is kept.
    """
    if resolved.request.eval == "none":
        return {}
    quick = resolved.request.eval == "quick"
    n = min(1000, len(resolved.data.test)) if quick else None
    results = {}
    for name, network in (("dense", dense), ("pruned", plain)):
        if network is None:
            continue
        watched = _Watched(run, f"evaluate {name} ({'PGD-20' if quick else 'AutoAttack'})")
        results[name] = evaluate(
            network,
            resolved.data.test,
            attack="pgd" if quick else "autoattack",
            eps=resolved.data.threat_eps,
            steps=20,
            n=n,
            device=resolved.device,
            seed=resolved.request.seed,
            target=_target(resolved, name, network),
            progress=watched,
        )
    return results


class _Watched:
    """Shows an evaluation's passes as a phase of the run, and ends it where a signal asks for that."""

    def __init__(self, run: "Run", name: str) -> None:
        self._interrupts, self._progress = run.interrupts, run.progress
        self._name, self._done, self._announced = name, 0, False

    def __call__(self, done: int, total: int, robust: int) -> None:
        """Take the evaluation's counts: passes done, passes in all, samples still robust."""
        if self._interrupts.pending():
            self._interrupts.stop()
        if not self._announced:
            self._progress.phase(self._name, 100)
            self._announced = True
        percent = 100 * done // max(total, 1)
        while self._done < percent:
            self._done += 1
            self._progress.step()


def _target(resolved: "Resolved", name: str, network: nn.Module) -> Target:
    request = resolved.request
    pruned = name == "pruned"
    return {
        "target": f"{request.method} {request.arch} {request.dataset}" if pruned else f"dense {request.arch}",
        "method": request.method if pruned else None,
        "arch": request.arch,
        "dataset": request.dataset,
        "selected_on": selected_on(resolved),
        "sparsity": {
            "reported": reported_sparsity(network),
            "requested": resolved.settings.sparsity if pruned else None,
            "unit": resolved.variant.sparsity_unit if pruned else None,
        },
    }


def selected_on(resolved: "Resolved") -> Literal["val", "none"]:
    """Return `val` if any phase keeps its best epoch, else `none`; the test set never selects."""
    return "val" if any(phase.handover == "best" for _, phase in resolved.phases()) else "none"


def unit_sparsity(variant: "Variant", plain: nn.Module, example: Tensor) -> float:
    """Return the share removed in the variant's `sparsity_unit`, over the layers it may prune.

    A unit counts as removed when all its weights are zero; multiply-adds (`macs`) are non-zero weights times the
    output positions they serve.
    """
    unit = variant.sparsity_unit
    structure = structure_of("weights" if unit == "macs" else unit)
    positions = output_positions(plain, example) if unit == "macs" else {}
    removed = total = 0
    for name in weight_names(plain, variant.excluded_layers):
        weight = plain.get_parameter(name).detach()
        if weight.dim() < 2:
            continue
        dead = structure.reduce(weight.abs().double()) == 0
        removed += int(dead.sum()) * positions.get(name, 1)
        total += dead.numel() * positions.get(name, 1)
    return removed / total if total else 0.0


def build_report(
    resolved: "Resolved",
    run: "Run",
    plain: nn.Module,
    results: Mapping[str, Mapping[str, Any]],
    seconds: float,
) -> dict[str, Any]:
    """Return the contents of report.json."""
    zeros, total = count_zeros(plain)
    report: dict[str, Any] = {
        "apx_report": 1,
        "run": None if run.directory is None else str(run.directory.path),
        "record": run_record(resolved) if run.directory is None else run.directory.record(),
        "sparsity": {
            "reported": zeros / total if total else 0.0,
            "requested": resolved.settings.sparsity,
            "unit": resolved.variant.sparsity_unit,
            "own": unit_sparsity(resolved.variant, plain, run.example),
        },
        "selected_on": selected_on(resolved),
        "dense_origin": run.dense_origin,
        "results": dict(results),
        "seconds": {"total": seconds, "phases": dict(run.seconds)},
        "deviations": deviations(resolved),
        "collapsed": collapsed(plain),
        "paper_command": paper_command(resolved),
    }
    if resolved.variant.structure == "S":
        from ..shrinking import shrink_summary

        report["shrunk"] = shrink_summary(plain, run.example)
    _check(report)
    return report


def _check(report: Mapping[str, Any]) -> None:
    """Hold the report and its results against their schemas; a fault is a bug of apx, not of the user."""
    problems = [*validate(report, "report")]
    for name, document in report["results"].items():
        problems += [
            replace(problem, pointer=f"/results/{name}{problem.pointer}") for problem in validate(document, "results")
        ]
    if problems:
        raise ApxError(f"the report breaks its schema: {problems[0]}")


def deviations(resolved: "Resolved") -> list[str]:
    """Return in plain sentences how the run departs from the setting of `paper_command`; phases as they really ran."""
    arch, dataset = _paper_target(resolved)
    asked = replace(resolved.request, preset="paper", arch=arch, dataset=dataset, set={})
    paper = build_settings(type(resolved.method), asked, resolved.variant)
    ran = dict(resolved.phases())
    sentences = []
    for name in type(paper).model_fields:
        if name == "sparsity":
            continue
        own, published = ran.get(name, getattr(resolved.settings, name)), getattr(paper, name)
        if own != published:
            show = _phase_in_words if name in ran else str
            sentences.append(f"{name}: {show(own)}; paper: {show(published)}")
    return sentences


def _phase_in_words(phase: TrainSettings) -> str:
    attack = "" if phase.objective == "nat" else f"-{phase.steps}"
    radius = (
        "" if phase.objective == "nat" else f" at eps {'of the dataset' if phase.eps is None else f'{phase.eps:g}'}"
    )
    return (
        f"{phase.epochs} epochs of {phase.objective}{attack}{radius}, batch {phase.batch_size}, "
        f"{phase.optimizer} lr {phase.lr:g} ({phase.lr_schedule}), weight decay {phase.weight_decay:g}"
    )


def paper_command(resolved: "Resolved") -> str:
    """Return the command line of the paper's full setting for this method, variant and architecture."""
    request = resolved.request
    arch, dataset = _paper_target(resolved)
    asked = [name for name in VARIANT_FIELDS if name == "structure" or getattr(request, name) is not None]
    chosen = " ".join(f"--{name} {getattr(resolved.variant, name)}" for name in asked)
    return (
        f"apx run {request.method} --arch {arch} --dataset {dataset} {chosen} "
        f"--sparsity {resolved.settings.sparsity:g} --preset paper --eval standard"
    )


def _paper_target(resolved: "Resolved") -> tuple[str, str]:
    """Return the published network and data set nearest to the request's."""
    arch, dataset = resolved.request.arch, resolved.request.dataset
    return (arch if arch in ("resnet18", "vgg16") else "resnet18"), (dataset if dataset == "svhn" else "cifar10")
