"""All leaderboard methods and baselines under one budget, side by side: runs, evaluations and the table of results.

    uv run python tests/benchmarks/compare.py digits --seeds 0 1 2 --out runs/digits
    uv run python tests/benchmarks/compare.py reduced --data folder:cifar5k --out runs/reduced
    uv run python tests/benchmarks/compare.py gpu --data folder:cifar10 --out runs/gpu --jobs 16

`digits` takes the quick preset on the bundled digits: resnet18 (single weights) and vgg16 (structured) of width 16, so
that AutoAttack is affordable. `reduced` is the labelled CPU protocol for CIFAR-10 images: networks of width 16, PGD-3,
ten epochs of pretraining and ten of finetuning, or twenty of a method that trains once; what is in between is its own.
`gpu` is the same for a GPU and all training images: fifteen epochs and fifteen, or thirty, in batches of 256.
Structured rows ask for half of vgg16's filters or channels; the column of FLOPs left after physical removal shows how
well that matches them.

Whatever is finished already is not done again, and a run that was stopped goes on: the same command continues.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from typing import Any

from apx.runner.directory import RunDirectory
from apx.runner.plan import planned_phases
from apx.runner.request import Request, resolve
from apx.training.settings import TrainSettings


@dataclass(frozen=True)
class Row:
    """One line of the table: a method, its variant and what is set."""

    method: str
    variant: Mapping[str, Any] = field(default_factory=dict)
    set: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        changes = [f"{key}={value}" for key, value in self.set.items()]
        return "-".join([self.method, *map(str, self.variant.values()), *changes])


def structured(method: str, granularity: str, **changes: Any) -> Row:
    return Row(method, {"structure": "S", "granularity": granularity, "sparsity": 0.5}, changes)


US = [
    Row("flyingbird", {"schedule": "1S"}),
    Row("flyingbird", {"schedule": "IT"}),
    *(Row(method) for method in ("harp", "hydra", "li20", "mad", "pwoa", "radmm", "robustbird", "rst", "twinrep")),
    Row("pwoa", set={"mix": 0.0}),
    *(Row("magnitude", {"budget": budget}) for budget in ("uniform", "fixed-nonuniform", "global")),
    Row("random", {"budget": "uniform"}),
    Row("magnitude-before", {"budget": "global"}),  # the baselines of methods that prune before training
    Row("random-before", {"budget": "global"}),
]
S = [
    structured("harp", "channels"),
    structured("hydra", "filters"),
    structured("pwoa", "filters", mix=0.3),  # as for weights; the quick preset attacks more
    structured("radmm", "filters"),
    structured("twinrep", "filters"),
    structured("magnitude", "filters"),
    structured("random", "filters"),
]


@dataclass(frozen=True)
class Protocol:
    """What all rows share."""

    options: tuple[str, ...]
    phases: Mapping[str, int]  # epochs by phase, for the phases named
    steps: int | None
    evaluations: Mapping[str, int]  # attack -> images
    batch_size: int | None = None  # of training
    evaluation_batch: int = 128


PROTOCOLS = {
    "digits": Protocol(("--width", "16"), {}, None, {"pgd": 360, "autoattack": 64}),
    "reduced": Protocol(
        ("--width", "16", "--precision", "bf16"),
        {"pretrain": 10, "finetune": 10, "train": 10},
        3,
        {"pgd": 512, "autoattack": 64},
    ),
    "gpu": Protocol(
        ("--width", "16"),
        {"pretrain": 15, "finetune": 15, "train": 15},
        3,
        {"pgd": 10_000, "autoattack": 1000},
        batch_size=256,
        evaluation_batch=1000,
    ),
}


def phases_of(row: Row, arch: str, data: str) -> dict[str, TrainSettings]:
    """Return the training phases that a row will have, by name."""
    request = Request(row.method, arch=arch, dataset=data, preset="quick", eval="none", **row.variant)
    return {name: settings for name, settings, _ in planned_phases(resolve(request)) if settings.epochs}


def command(row: Row, protocol: Protocol, arch: str, data: str, seed: int, scale: float, out: Path) -> list[str]:
    """Return the `apx run` line of a row."""
    variant = [word for name, value in row.variant.items() for word in (f"--{name}", str(value))]
    words = ["run", row.method, *variant, "--arch", arch, "--dataset", data, "--seed", str(seed)]
    words += [*protocol.options, "--epochs-scale", str(scale), "--eval", "none", "--out", str(out)]
    planned = phases_of(row, arch, data)
    assignments: dict[str, Any] = {}
    for name, settings in planned.items():
        if name in protocol.phases:
            once = name == "train" and "pretrain" not in planned  # from random weights to the end: both budgets
            assignments[f"{name}.epochs"] = protocol.phases[name] + once * protocol.phases["pretrain"]
        if protocol.steps is not None and settings.objective != "nat":
            assignments[f"{name}.steps"] = protocol.steps
        if protocol.batch_size is not None:
            assignments[f"{name}.batch_size"] = protocol.batch_size
    for key, value in (assignments | dict(row.set)).items():
        words += ["--set", f"{key}={json.dumps(value)}"]
    return words


def apx(words: Sequence[str], log: Path) -> str:
    """Run `apx` on one thread; its output goes to the log, an error ends the whole comparison."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    program = Path(sys.executable).with_name("apx")
    with log.open("a") as file:
        file.write(f"$ apx {' '.join(words)}\n")
        file.flush()
        done = subprocess.run([program, *words], env=environment, stdout=subprocess.PIPE, stderr=file, text=True)
        file.write(done.stdout)
    if done.returncode:
        raise RuntimeError(f"apx {' '.join(words)} ended with status {done.returncode}; see {log}")
    return done.stdout


def folder_of(row: Row, arch: str, seed: int, scale: float, out: Path) -> Path:
    """Return the run directory of a row with one seed."""
    return out / "-".join([row.name, arch, str(seed), *([f"x{scale:g}"] if scale != 1 else [])])


@dataclass(frozen=True)
class Job:
    """A run with its evaluations, and the job that trains the dense network which this one finds in the cache."""

    words: Sequence[str]
    run: Path
    protocol: Protocol
    leader: "Job | None" = None
    ended: Event = field(default_factory=Event)

    def done(self) -> bool:
        """Say whether run and evaluations have ended."""
        files = [self.run.parent / f"{self.run.name}.{attack}.json" for attack in self.protocol.evaluations]
        return all(file.exists() for file in [self.run / "report.json", *files])

    def wait(self) -> None:
        """Return once the dense network is there, or will not be."""
        if self.leader is not None:
            while not (RunDirectory(self.leader.run).has_finished("pretrain") or self.leader.ended.wait(1)):
                pass


def jobs_of(row: Row, protocol: Protocol, arch: str, asked: argparse.Namespace, leaders: dict[Any, Job]) -> list[Job]:
    """Return a row's jobs, one per seed; the first that pretrains a network leads the others that need it."""
    jobs = []
    for seed in asked.seeds:
        run = folder_of(row, arch, seed, asked.scale, asked.out)
        words = command(row, protocol, arch, asked.data, seed, asked.scale, run)
        if "pretrain" in phases_of(row, arch, asked.data):
            jobs.append(Job(words, run, protocol, leaders.get((arch, seed))))
            leaders.setdefault((arch, seed), jobs[-1])
        else:
            jobs.append(Job(words, run, protocol))
    return jobs


def perform(job: Job) -> None:
    """Do a job, as far as that has not been done."""
    try:
        job.wait()
        _perform(job.words, job.run, job.protocol)
    finally:
        job.ended.set()


def _perform(words: Sequence[str], run: Path, protocol: Protocol) -> None:
    log = run.parent / f"{run.name}.log"
    if not (run / "report.json").exists():
        apx(["run", "--resume", str(run)] if run.exists() else words, log)
    for attack, n in protocol.evaluations.items():
        evaluate(run, attack, n, protocol.evaluation_batch, log)
    print(f"done: {run.name}", flush=True)


def evaluate(run: Path, attack: str, n: int, batch_size: int, log: Path) -> dict[str, Any]:
    result = run.parent / f"{run.name}.{attack}.json"
    if not result.exists():
        words = ["evaluate", str(run), "--attack", attack, "--n", str(n), "--batch-size", str(batch_size)]
        apx([*words, "--out", str(result)], log)
    document: dict[str, Any] = json.loads(result.read_text())
    return document


def line(row: Row, runs: Sequence[Path], protocol: Protocol) -> str:
    """Return a row of the table: means over seeds with their range, or the interval of a single run."""
    reports = [json.loads((run / "report.json").read_text()) for run in runs]
    cells = [row.name]
    cells.append(_mean([100 * report["sparsity"]["reported"] for report in reports]))
    cells.append(_mean([100 * report["sparsity"]["own"] for report in reports]))
    cells.append(_operations(reports))
    for number, attack in enumerate(protocol.evaluations):
        found = [json.loads((run.parent / f"{run.name}.{attack}.json").read_text()) for run in runs]
        if number == 0:
            cells.append(_accuracy([document["clean_accuracy"] for document in found]))
        cells.append(_accuracy([document["robust_accuracy"] for document in found]))
    cells.append(f"{statistics.mean(_seconds(report) for report in reports):.0f}")
    return "| " + " | ".join(cells) + " |"


def _seconds(report: Mapping[str, Any]) -> float:
    """Return a run's seconds without the dense network's training, which the cache may have spared it."""
    taken: float = report["seconds"]["total"] - report["seconds"]["phases"].get("pretrain", 0.0)
    return taken


def _mean(values: Sequence[float]) -> str:
    return f"{statistics.mean(values):.2f}"


def _accuracy(found: Sequence[Mapping[str, float]]) -> str:
    values = [100 * one["value"] for one in found]
    low, high = (min(values), max(values)) if len(found) > 1 else (100 * found[0]["low"], 100 * found[0]["high"])
    return f"{statistics.mean(values):.1f} [{low:.1f}, {high:.1f}]"


def _operations(reports: Sequence[Mapping[str, Any]]) -> str:
    shrunk = [report.get("shrunk") for report in reports]
    if any(one is None or "refused" in one for one in shrunk):
        return ""
    return _mean([100 * one["flops_after"] / one["flops_before"] for one in shrunk if one])


def work(jobs: Sequence[Job], at_a_time: int) -> None:
    """Do the jobs: those that others wait for first, then those that wait for none."""
    waited_for = {id(job.leader) for job in jobs}
    order = sorted(jobs, key=lambda job: (id(job) not in waited_for, job.leader is not None))
    with ThreadPoolExecutor(at_a_time) as pool:
        try:
            for ended in as_completed([pool.submit(perform, job) for job in order]):
                ended.result()
        except BaseException:  # what has begun goes on to its end, nothing else begins
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("protocol", choices=PROTOCOLS)
    parser.add_argument("--data", default="digits", help="the data set, such as folder:PATH")
    parser.add_argument("--out", type=Path, required=True, help="a folder for runs, logs and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", help="methods to run; all where absent")
    parser.add_argument("--structure", choices=("US", "S"), nargs="+", default=["US", "S"])
    parser.add_argument("--scale", type=float, default=1.0, help="times the epochs: the curve over budget")
    parser.add_argument("--attacks", choices=("pgd", "autoattack"), nargs="+", help="evaluations; both where absent")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each on one thread")
    parser.add_argument("--show", action="store_true", help="print the table of what is finished, run nothing")
    asked = parser.parse_args()
    protocol = PROTOCOLS[asked.protocol]
    if asked.attacks is not None:
        wanted = {attack: n for attack, n in protocol.evaluations.items() if attack in asked.attacks}
        protocol = replace(protocol, evaluations=wanted)
    asked.out.mkdir(parents=True, exist_ok=True)
    tables = {"US": ("resnet18", US), "S": ("vgg16", S)}
    chosen = {
        structure: (arch, [row for row in rows if asked.only is None or row.method in asked.only])
        for structure, (arch, rows) in tables.items()
        if structure in asked.structure
    }
    leaders: dict[Any, Job] = {}
    jobs = {
        (structure, row.name): jobs_of(row, protocol, arch, asked, leaders)
        for structure, (arch, rows) in chosen.items()
        for row in rows
    }
    if not asked.show:
        work(list(itertools.chain.from_iterable(jobs.values())), asked.jobs)
    for structure, (arch, rows) in chosen.items():
        brackets = "range over seeds" if len(asked.seeds) > 1 else "95 % Wilson interval"
        print(f"\n{arch}, {structure}, seeds {asked.seeds}, epochs x{asked.scale:g}; in brackets the {brackets}\n")
        attacks = " | ".join(f"{attack} ({n})" for attack, n in protocol.evaluations.items())
        print(f"| method | reported % | own % | FLOPs left % | clean | {attacks} | seconds |")
        print("|---" * (6 + len(protocol.evaluations)) + "|")
        for row in rows:
            runs = [job.run for job in jobs[structure, row.name] if job.done()]
            if runs:
                print(line(row, runs, protocol))


if __name__ == "__main__":
    main()
