"""Start, resume and finish a run."""

import contextlib
import copy
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..architectures import build
from ..claim import claimed
from ..coupling import check_couplable
from ..errors import UserError
from ..masked_model import MaskedModel
from ..masks import unprunable_layers, weight_names
from ..memory_format import lay_out
from ..randomness import derive_seed
from ..training.processes import processes
from ..training.trainer import Environment
from .context import Run
from .directory import RunDirectory
from .interrupts import Interrupts
from .observer import Observer
from .progress import Progress, Quiet
from .record import run_record
from .report import build_report, evaluate_run
from .request import Request, Resolved, resolve


def start(
    request: Request,
    *,
    out: Path | None = None,
    progress: Progress | None = None,
    observers: list[Observer] | None = None,
) -> dict[str, Any]:
    """Run a method from a request and return its report (also written to the run directory).

    Args:
        request: what to run.
        out: the run directory to make; `runs/<method>-<arch>-<dataset>-<time>` where None.
        progress: what shows the work, in one process of several; nothing where None.
        observers: further listeners.

    Raises:
        UserError: a mistake in the request, or `out` exists; nothing has been trained or written then.
        Interrupted: Ctrl-C or SIGTERM; the directory can be resumed.
    """
    resolved = resolve(request)
    network = build_network(resolved)
    dense = given_dense(request, network)
    several = processes(resolved.device)
    if out is None and several.count > 1:
        raise UserError("several processes cannot agree on a run directory by themselves; give --out DIR")
    path = out or default_directory(request)
    directory = RunDirectory.create(path, run_record(resolved)) if several.main else RunDirectory(path)
    several.wait()
    return _carry_out(resolved, network, dense, directory, progress or Quiet(), observers or [])


def resume(path: Path, *, progress: Progress | None = None, observers: list[Observer] | None = None) -> dict[str, Any]:
    """Continue a run that was killed or interrupted; a finished one returns its report.

    Raises:
        UserError: `path` is not a run directory, or another process works in it.
        Interrupted: see `start`.
    """
    directory = RunDirectory.open(path)
    if (report := directory.report()) is not None:
        return report
    record = directory.record()
    request = Request.from_document(record["request"])
    if directory.has_finished("pretrain"):
        request = replace(request, from_checkpoint=None)  # its state is in the directory, the file may be gone
    resolved = resolve(replace(request, device=record["device"], precision=record["precision"]))
    torch.set_num_threads(record["threads"])  # sums in another order would end in other bits
    network = build_network(resolved)
    dense = given_dense(request, network)
    return _carry_out(resolved, network, dense, directory, progress or Quiet(), observers or [])


def default_directory(request: Request) -> Path:
    """Return `runs/<method>-<arch>-<dataset>-<UTC time>`."""
    dataset = request.dataset.split(":")[0]
    arch = request.arch.replace(":", "-").replace("/", "-")
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    return Path("runs") / f"{request.method}-{arch}-{dataset}-{stamp}"


def build_network(resolved: Resolved) -> nn.Module:
    """Build the untrained network on the run's device, initialised from the run's seed.

    Raises:
        UserError: architecture and data do not fit, or a structured variant meets a network it cannot couple.
    """
    request, data = resolved.request, resolved.data
    channels, height, _ = data.image_shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(request.seed, "init"))
        network = build(
            request.arch,
            num_classes=data.num_classes,
            in_channels=channels,
            image_size=height,
            width=request.width,
            normalisation=data.normalisation if resolved.settings.normalise else None,
        )
    check_network(network, resolved)
    return lay_out(network.to(resolved.device))


def check_network(network: nn.Module, resolved: Resolved) -> None:
    """Refuse a network that the chosen variant cannot prune, before anything trains.

    Raises:
        UserError: no prunable layer, or a structured variant meets layers that it cannot couple.
    """
    if not weight_names(network, resolved.variant.excluded_layers):
        raise UserError(f"{resolved.request.arch} has no convolution or linear layer that the variant may prune")
    if resolved.variant.structure == "S":
        check_couplable(network, resolved.request.arch)
    if reason := resolved.method.refuses(network):
        raise UserError(reason)


def make_run(resolved: Resolved, directory: RunDirectory | None, progress: Progress) -> Run:
    """Return the `Run` that a method works with; of several processes only the one that writes shows `progress`."""
    from ..registry import objectives

    request, data = resolved.request, resolved.data
    environment = Environment(data, request.seed, torch.device(resolved.device), resolved.precision)
    determines = {
        "arch": request.arch,
        "width": request.width,
        "classes": data.num_classes,
        "image": list(data.image_shape),
        "normalise": resolved.settings.normalise and data.normalisation is not None,
        "init": derive_seed(request.seed, "init"),
    }
    return Run(
        variant=resolved.variant,
        sparsity=resolved.settings.sparsity,
        rounds=resolved.settings.rounds,
        environment=environment,
        epochs_scale=request.epochs_scale,
        directory=directory,
        progress=progress if environment.processes.main else Quiet(),
        objectives=objectives(),
        full_size=request.full_size,
        determines=None if request.arch.startswith("py:") else determines,
    )


def given_dense(request: Request, network: nn.Module) -> dict[str, Tensor] | None:
    """Return the state dict of the checkpoint that the request starts from, or None where it names none.

    Raises:
        UserError: the file is no checkpoint, or not of this network.
    """
    if request.from_checkpoint is None:
        return None
    from ..export import load_checkpoint, misfit

    given = load_checkpoint(Path(request.from_checkpoint))
    if fault := misfit(network, given):
        raise UserError(
            f"the checkpoint {request.from_checkpoint} does not fit {request.arch}: {fault}; "
            "choose the --arch, --width and --dataset it was trained with"
        )
    return given


def _carry_out(
    resolved: Resolved,
    network: nn.Module,
    dense: dict[str, Tensor] | None,
    directory: RunDirectory,
    progress: Progress,
    observers: list[Observer],
) -> dict[str, Any]:
    run = make_run(resolved, directory, progress)
    run.observers.extend(observers)
    if dense is not None:
        run.dense, run.dense_origin = dense, f"from {resolved.request.from_checkpoint}"
    with claimed(directory.path) if run.writes else contextlib.nullcontext():
        _, report = carry_out(resolved, network, run)
        if run.writes:
            directory.finish_run(report)
    return report


def carry_out(resolved: Resolved, network: nn.Module, run: Run) -> tuple[nn.Module, dict[str, Any]]:
    """Run the method on `network` and return the plain pruned network, in eval mode, and the report.

    Raises:
        Interrupted: Ctrl-C or SIGTERM.
    """
    started = time.perf_counter()
    if left := unprunable_layers(network):
        run.progress.note(f"left dense, no method prunes them: {', '.join(left)}")
    if resolved.settings.normalise and resolved.data.normalisation is None:
        run.progress.note(f"{resolved.data.name} has no channel statistics: inputs are not normalised")
    run.interrupts = Interrupts()
    with run.interrupts.caught(), _determinism(resolved.request.deterministic):
        try:
            untrained = copy.deepcopy(network)
            model = MaskedModel(network)
            resolved.method.execute(model, run)
            plain = resolved.method.export(model, run).eval()
            if run.directory is not None and run.writes:
                _write_result(run.directory, model, plain, resolved)
            dense = _dense_baseline(resolved, untrained, run)
            measured = resolved.method.inference_model(model, plain).eval()
            results = evaluate_run(resolved, measured, dense, run)
        finally:
            run.progress.close()
    return plain, build_report(resolved, run, plain, results, time.perf_counter() - started + run.earlier)


def _dense_baseline(resolved: Resolved, untrained: nn.Module, run: Run) -> nn.Module | None:
    """Return the dense network beside which the result is shown; trained for it only where that is quick."""
    if resolved.request.eval == "none":
        return None
    if run.dense is None and resolved.request.preset != "quick":
        run.dense = run.cached_dense(resolved.method.dense_settings())
    if run.dense is None and resolved.request.preset != "quick":
        return None
    untrained.load_state_dict(run.dense_state(MaskedModel(untrained), resolved.method.dense_settings()))
    return untrained.eval()


def _write_result(directory: RunDirectory, model: MaskedModel, plain: nn.Module, resolved: Resolved) -> None:
    from ..export import export_state
    from ..state_file import save_tensors

    export_state(directory.path / "model.safetensors", plain, metadata=_provenance(resolved))
    masks: Mapping[str, Tensor] = model.current_masks()
    save_tensors(directory.path / "masks.safetensors", masks)


def _provenance(resolved: Resolved) -> dict[str, str]:
    request = resolved.request
    return {
        "method": request.method,
        "arch": request.arch,
        "width": "" if request.width is None else str(request.width),
        "dataset": request.dataset,
        "sparsity": str(resolved.settings.sparsity),
        "structure": resolved.variant.structure,
    }


@contextlib.contextmanager
def _determinism(wanted: bool) -> Iterator[None]:
    settings: Any = torch.utils.deterministic
    before, filled = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats its sums only with this
    torch.use_deterministic_algorithms(wanted, warn_only=False)
    settings.fill_uninitialized_memory = False  # nothing here reads what it has not written
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        settings.fill_uninitialized_memory = filled
