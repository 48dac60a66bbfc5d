"""One run with mmengine: config, training or resume, test, outcome."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import platform
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import get_dist_info
from mmengine.registry import HOOKS
from mmengine.utils import import_modules_from_strings

from suite.base.errors import (
    DataError,
    DeviceError,
    InputError,
    MethodWarning,
    RecordError,
    UserError,
)
from suite.define.metrics import MetricRow
from suite.define.protocol import Facts
from suite.engine import ranks, test_loop, weights
from suite.engine.hooks import JobHook, MonitorHook
from suite.engine.keys import BUDGET_KEYS, FIXED, PREDICTION_SET
from suite.engine.resume import RestoreGeneratorsHook, ResumeHook, bare_model
from suite.engine.runner import SuiteRunner, quiet_runner
from suite.engine.training_log import LogHook, say, warnings_once
from suite.records.files import Cost
from suite.runs.job import Job, NonFiniteLoss, Outcome

ENGINE_IMPORTS = (
    "suite.engine.data",
    "suite.engine.stages",
    "suite.engine.selection",
    "suite.engine.kept_weights",
)
"""Modules whose components a resolved config names, or that mmengine's tools need with it."""

Build = Callable[[Path], tuple[dict[str, Any], Facts]]
Configure = Callable[..., Config]


def resolve_config(
    build: Build,
    data: Path,
    configure: Configure,
    params: Mapping[str, Any],
    seed: int,
    imports: Sequence[str] = (),
    extra_budget: bool = False,
    fixed: Sequence[str] = FIXED,
) -> tuple[Config, Facts]:
    """The config of a run: the protocol's, changed by the method, with the suite's data seeding.

    mmengine's own tools accept it. `imports` are modules to be imported before it is built, besides
    the base config's own. `cfg.start_from`, which a method with input runs may set (weights, a path, and
    skip, beginnings of the names that keep their fresh values), is for `SuiteRunner`. Raises UserError if
    the method changes what the protocol fixes, the keys `fixed`; with `extra_budget` on its card, the
    budget is its own.
    """
    warnings.filterwarnings("ignore", module="mm(engine|seg|cv)")
    base, facts = build(data)
    named = base.get("custom_imports", {}).get("imports", [])
    modules = list(dict.fromkeys([*named, *ENGINE_IMPORTS, *imports]))
    with contextlib.redirect_stdout(io.StringIO()):  # mmseg announces what it lacks
        import_modules_from_strings(modules)
    cfg = Config(base)
    cfg.custom_imports = dict(imports=modules, allow_failed_imports=False)
    cfg.randomness = dict(seed=seed)
    before = _at(cfg, fixed)
    cfg = configure(cfg, facts, **params)
    if not isinstance(cfg, Config):
        raise UserError(f"configure() returned a {type(cfg).__name__}; return the cfg it was given")
    for name, value in _at(cfg, fixed).items():
        if value != before[name] and not (extra_budget and name in BUDGET_KEYS):
            raise UserError(f"configure() changed {name}, which the protocol fixes for all methods")
    cfg.custom_hooks = [*cfg.get("custom_hooks", []), dict(type="ProgressHook")]
    loader = cfg.train_dataloader
    loader.sampler = dict(type="PositionSampler", sampler=loader.sampler)
    loader.dataset = dict(type="SeededDataset", dataset=loader.dataset, seed=seed)
    return cfg, facts


def _at(cfg: Config, names: Sequence[str]) -> dict[str, Any]:
    """What the config holds at these keys, as plain data."""
    found = {}
    for name in names:
        value = cfg
        for key in name.split("."):
            value = value.get(key) if value is not None else None
        found[name] = value.to_dict() if isinstance(value, ConfigDict) else value
    return copy.deepcopy(found)


def train(job: Job, join: Callable[[], None]) -> Outcome:
    """Train (or resume) the job's run, test the last weights and hand back what is to be stored.

    `join` connects the other ranks, which wait until then: what is counted in the data once is in the
    cache for them.
    """
    _settle(job)
    with warnings_once():
        cfg, facts = _config(job)
        for text in job.warnings:
            say(f"warning: {text}")
        for role, attempt in job.inputs.items():
            if attempt.record().data != dict(facts.observed):
                raise InputError(
                    f"its {role} run {attempt.run_id} was trained on another copy of the data than this"
                )
        join()
        return _carry_out(job, cfg, facts)


def _settle(job: Job) -> None:
    if job.device.startswith("cuda") and not torch.cuda.is_available():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        raise DeviceError(
            f"torch sees no GPU on {platform.node()} (CUDA_VISIBLE_DEVICES={visible!r}): `python -m suite "
            "doctor` there says why; --device cpu does without"
        )
    torch.set_num_threads(job.protocol.threads)


def follow(job: Job, rank: int, store: Any) -> None:
    """Do the part of rank `rank` of a job that another process carries out."""
    _settle(job)
    ranks.connect(rank, job.ranks, store, job.device)
    cfg, facts = _config(job)
    _carry_out(job, cfg, facts)


def _share(cfg: Config, job: Job) -> None:
    """Give this rank its part of each batch. Raises UserError where the run cannot be shared."""
    number = job.protocol.on(job.ranks)
    loader = cfg.train_dataloader
    if loader.batch_size % number:
        raise UserError(
            f"the method's batch of {loader.batch_size} does not divide by {number} ranks"
        )
    if cfg.get("val_dataloader") is not None or cfg.get("prediction_hooks"):
        raise UserError("what is validated in training, or looks at the model, takes one rank")
    loader.batch_size //= number
    cfg.join = job.protocol.join


def _carry_out(job: Job, cfg: Config, facts: Facts) -> Outcome:
    """Training and test, as the only rank or as one of several; what rank 0 returns counts."""
    batch = cfg.train_dataloader.batch_size
    samples_seen = batch * cfg.train_cfg.max_iters
    if job.ranks > 1:
        _share(cfg, job)
    on_gpu = job.device.startswith("cuda")
    _reset_peak_memory(on_gpu)
    with quiet_runner(job, cfg) as runner:
        resume = ResumeHook(
            job.attempt.checkpoint_dir, job.checkpoint_seconds, allowed=job.require_owner
        )
        monitor = MonitorHook()
        runner.resume_hook, runner.start_from = resume, cfg.get("start_from")
        restore = RestoreGeneratorsHook(resume)
        for hook in (monitor, restore, resume, LogHook(monitor), JobHook(job, resume)):
            runner.register_hook(hook)
        # before the training, not after it
        if not len(runner.test_loop.dataloader.dataset):
            raise DataError(
                f"the test set of protocol {job.protocol.name!r} holds no sample; complete the data set "
                f"({job.protocol.dataset.layout})"
            )
        begun = job.elapsed
        say(
            f"{job.method.name} under {job.protocol.name}, seed {job.spec.seed}, on {job.device}: "
            f"{runner.max_iters} iterations of {batch} samples"
        )
        if ranks.first():
            job.write("running", step=job.status.step, total=runner.max_iters)
        runner.train()
        if resume.changed is not None:
            odd = (
                f"resumed on {job.ranks} rank(s) from a checkpoint of {resume.changed}: random draws of "
                "the network and memory banks went on otherwise than undisturbed"
            )
            job.warn(odd)
            say(f"warning: {odd}")
        train_seconds = job.elapsed - begun
        if not all(bool(torch.isfinite(p).all()) for p in runner.model.parameters()):
            raise NonFiniteLoss(runner.max_iters, "a weight")
        begun = job.elapsed
        arrays, samples, rows = _test(runner)
        views = {name: _other_set(runner, cfg, name) for name in job.required}
        test_seconds = job.elapsed - begun
        say(f"trained in {train_seconds:.1f} s, tested in {test_seconds:.1f} s")
        model = bare_model(runner)
        gpu_seconds = job.elapsed * job.ranks if on_gpu else 0.0
        passes = getattr(runner.optim_wrapper, "passes_per_step", job.method.passes)
        peaks = ranks.numbers(_peak_memory(on_gpu))
        begun = job.elapsed
        sets = {name: _other_set(runner, cfg, name) for name in job.sets}
        # no rank leaves while another still waits for what it has said
        ranks.agree(0)
        return Outcome(
            facts=facts,
            cost=Cost(
                parameters=_parameters(model),
                passes_per_step=round(passes, 4),
                iterations=runner.max_iters,
                samples_seen=samples_seen,
                train_seconds=round(job.status.elapsed + train_seconds, 3),
                test_seconds=round(test_seconds, 3),
                gpu_hours=round(gpu_seconds / 3600, 5),
                # of one GPU, or of all processes
                peak_memory_bytes=max(peaks) if on_gpu else sum(peaks),
            ),
            predictions={"test": arrays, **views, **sets},
            curves=monitor.curves,
            save_weights=lambda path: weights.save(weights.model_weights(model), path),
            samples=samples,
            rows=rows,
            environment={
                **({"gpu": torch.cuda.get_device_name()} if on_gpu else {}),
                **({"ranks": job.ranks} if job.ranks > 1 else {}),
            },
            aside_seconds=job.elapsed - begun,
        )


def predict(job: Job, name: str) -> Mapping[str, Any]:
    """Arrays of the prediction set `name`, from the run's kept weights."""
    _settle(job)
    path = job.attempt.weights
    if not path.exists():
        raise RecordError(f"{path}: no kept weights; train the run again with --fresh")
    cfg, facts = _config(job)
    if dict(facts.observed) != job.attempt.record().data:
        raise UserError(f"run {job.spec.run_id} was trained on another copy of the data than this")
    with quiet_runner(job, cfg) as runner:
        weights.restore(runner.model, path)
        if name == "test":
            return _test(runner)[0]
        return _other_set(runner, cfg, name)


def _other_set(runner: SuiteRunner, cfg: Config, name: str) -> dict[str, Any]:
    """Arrays of a prediction set beside the test set, with the model as it is."""
    hooks = cfg.get("prediction_hooks") or {}
    if name in hooks:
        hook = HOOKS.build(hooks[name])
        hook.after_train(runner)
        arrays: dict[str, Any] = hook.arrays()
        return arrays
    loader = runner.build_dataloader(cfg.prediction_dataloaders[name], seed=runner.seed)
    loop = runner.test_loop
    kept = loop.dataloader, loop.evaluator
    # of its own: metrics go on counting where the test set's left off
    loop.dataloader, loop.evaluator = loader, runner.build_evaluator(cfg.test_evaluator)
    loop.evaluator.dataset_meta = {**(kept[1].dataset_meta or {}), PREDICTION_SET: name}
    try:
        return _test(runner)[0]
    finally:
        loop.dataloader, loop.evaluator = kept


def _config(job: Job) -> tuple[Config, Facts]:
    inputs = {role: attempt.weights for role, attempt in job.inputs.items()}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", MethodWarning)
        cfg, facts = resolve_config(
            job.protocol.build,
            job.data(),
            lambda cfg, facts: job.method.configure(cfg, facts, inputs),
            {},
            job.spec.seed,
            job.method.modules,
            extra_budget=job.method.extra_budget,
            fixed=job.protocol.fixed,
        )
    for warning in caught:
        if issubclass(warning.category, MethodWarning):
            job.warn(str(warning.message))
        else:
            # a method's configure too may warn as Python code does
            warnings.showwarning(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return cfg, facts


def _test(
    runner: SuiteRunner,
) -> tuple[dict[str, Any], dict[str, bytes], list[MetricRow]]:
    """Run the test loop; arrays, rendered samples and hook rows of the evaluator's sinks, of several
    ranks on the first one only."""
    arrays: dict[str, Any] = {}
    samples: dict[str, bytes] = {}
    if get_dist_info()[1] > 1:
        test_loop.run(runner.test_loop)
        if not ranks.first():
            return arrays, samples, []
    else:
        runner.test()
    for metric in runner.test_evaluator.metrics:
        arrays.update(metric.arrays())
        samples.update(metric.samples())
    rows = [row for hook in runner.hooks for row in getattr(hook, "metric_rows", list)()]
    return arrays, samples, rows


def _reset_peak_memory(on_gpu: bool) -> None:
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        return
    # a worker runs many runs: the kernel's high-water mark has to start anew (man 5 proc)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _parameters(model: torch.nn.Module) -> int:
    """Trained parameters; what a loss estimates of single training samples is none of the model's size."""
    single = weights.per_instance(model)
    named = model.named_parameters()
    return sum(p.numel() for name, p in named if p.requires_grad and name not in single)


def _peak_memory(on_gpu: bool) -> int:
    """Bytes: allocated on the GPU, or resident in this process on the CPU."""
    if on_gpu:
        return int(torch.cuda.max_memory_allocated())
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
