"""Hand work to a cluster: draft a batch, submit it with a copy of today's code, submit again."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.define.discover import OURS
from suite.define.protocol import Protocol
from suite.dispatch import sbatch, slurm
from suite.dispatch.batch import Batch, jobs_folder, new_id, user
from suite.dispatch.code_copy import copy_code, try_plugins
from suite.dispatch.packing import Measured, Packing, pack
from suite.dispatch.request import Site
from suite.records.environment import PACKAGES
from suite.runs.describe import measured
from suite.runs.job import Assignment
from suite.runs.slots import chains


@dataclass(frozen=True)
class Request:
    """How work goes to a cluster: what a job asks for and the profile that says so, runs at a time in a
    job (None: what fits), and the `--plugin` files."""

    site: Site
    site_name: str | None = None
    workers: int | None = None
    plugins: tuple[Path, ...] = ()


def draft(
    root: Path,
    catalog: Catalog,
    protocol: Protocol,
    work: Sequence[Assignment],
    request: Request,
    cluster: str,
) -> tuple[Batch, Packing]:
    """The batch that `submit` would submit, and how its runs are packed. Writes nothing.

    Raises UserError: a run needs more memory than a job asks for.
    """
    on_gpu = request.site.gpus > 0
    costs = measured(root, protocol, gpu=on_gpu)
    packing = pack(
        work,
        request.site,
        threads=protocol.threads,
        workers=request.workers,
        measured={method: Measured(*cost) for method, cost in costs.items()},
        rough_seconds=protocol.seconds,
    )
    now = time.time()
    batch = Batch(
        id=new_id(now),
        created=now,
        cluster=cluster,
        site=request.site,
        site_name=request.site_name,
        workers=request.workers,
        slots=packing.slots,
        threads=protocol.threads,
        code="",
        plugin_files=[str(plugin) for plugin in request.plugins],
        needs=sorted({*_installed(PACKAGES), *catalog.distributions}),
        jobs=[[msgspec.structs.replace(a, wanted=now) for a in job] for job in packing.jobs],
        uid=os.getuid(),
        user=user(),
        host=platform.node(),
    )
    return batch, packing


def submit(
    root: Path,
    catalog: Catalog,
    protocol: Protocol,
    work: Sequence[Assignment],
    request: Request,
) -> tuple[Batch, Packing]:
    """Submit the work, with a copy of today's code. Call it under `submission_lock`.

    Raises UserError: no SLURM, a plug-in that does not load from its copy, a root that sbatch cannot
    name, or sbatch refused; nothing is then left in the queue.
    """
    if bad := [sign for sign in "%:\\\n" if sign in str(root)]:
        raise UserError(f"--root {root}: with --on slurm its path cannot hold {bad[0]!r}")
    cluster = slurm.cluster()
    batch, packing = draft(root, catalog, protocol, work, request, cluster.name)
    others = catalog.distributions - {OURS}
    code = copy_code(jobs_folder(root) / "code", catalog.packages, request.plugins, others)
    try_plugins(code)
    batch = msgspec.structs.replace(
        batch,
        code=code.path.name,
        plugins=[str(plugin.relative_to(code.path)) for plugin in code.plugins],
    )
    return sbatch.submit(root, batch), packing


def renew(batch: Batch, work: Sequence[Assignment]) -> Batch:
    """A batch for runs that `batch` has lost: one job each, or with their input runs if those are lost
    too; the same request and the same code."""
    now = time.time()
    jobs = [[msgspec.structs.replace(a, wanted=now) for a in group] for group in chains(work)]
    return msgspec.structs.replace(
        batch, id=new_id(now), state="submitting", created=now, jobs=jobs, ids=[]
    )


def _installed(names: Iterable[str]) -> list[str]:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in names:
        try:
            version(name)
        except PackageNotFoundError:
            continue
        found.append(name)
    return found
