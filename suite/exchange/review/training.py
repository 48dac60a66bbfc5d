"""What a run says of its training, held against card, protocol, input runs and data here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.define.flags import DATA_VARIANT, EXTRA_BUDGET
from suite.define.method import Method
from suite.define.protocol import Protocol
from suite.define.spec import RunSpec
from suite.exchange.reference import Reference
from suite.exchange.review.findings import ExaminedRun, shortened
from suite.records.files import Record
from suite.records.inputs import digest_of


def known_method(catalog: Catalog, spec: RunSpec) -> Method | None:
    try:
        return catalog.method(spec)
    except UserError:
        return None


def check_method(
    run: ExaminedRun,
    record: Record,
    protocol: Protocol,
    method: Method | None,
    specs: Mapping[str, RunSpec],
    reference: Reference,
) -> None:
    """Parameters by the card, code digest, and the flags that follow from the card."""
    catalog, spec = reference.catalog, record.spec
    if method is None:
        try:
            catalog.method(spec)
        except UserError as error:
            unknown = not _named(catalog, spec.method)
            run.say("method", "note" if unknown else "problem", shortened(error, run.folder))
        return
    params = {
        f"{part.key}.{key}" if part.key else key: value
        for part in method.parts
        for key, value in part.params.items()
    }
    try:
        links = {
            k: spec.params.get(k, _default(catalog, spec.method, k)) for k in _links(catalog, spec)
        }
        again = catalog.spec(spec.method, protocol, spec.seed, {**params, **links}, spec.inputs)
        problems = [] if again.run_id == spec.run_id else ["its parameters are not in their form"]
    except (UserError, TypeError) as error:
        problems = [shortened(error, run.folder)]
    if set(spec.inputs) != set(catalog.card(spec.method).needs.inputs):
        problems.append("its input runs are not those that its method needs")
    try:
        today = digest_of(reference.root, catalog, spec, specs)
        code = "same" if catalog.code.same(record.digest, today) else "other"
    except UserError:
        today, code = "", "unknown"
    # earlier digests were made of files of another layout, which are not here any more
    files = set(filter(None, record.files.values()))
    if record.digest == today and files != set(filter(None, method.files.values())):
        problems.append("the digests of its files are not those of its code digest")
    missing = method.flags - set(record.flags)
    if code == "same" and missing:
        problems.append(f"lacks the flag {sorted(missing)[0]!r}, which its method has")
    run.judge("method", problems)
    if code != "same":
        text = "another version of its code than here: its rows will be shown as stale"
        run.say("code", "note", text if code == "other" else "its code cannot be compared")
    else:
        run.say("code", "ok")


def _named(catalog: Catalog, method: str) -> bool:
    try:
        catalog.source(method)
    except UserError:
        return False
    return True


def _links(catalog: Catalog, spec: RunSpec) -> Sequence[str]:
    return tuple(catalog.card(spec.method).built_on)


def _default(catalog: Catalog, method: str, key: str) -> Any:
    return catalog.card(method).params[key].neutral


def check_inputs(
    run: ExaminedRun, record: Record, runs: Sequence[ExaminedRun], reference: Reference
) -> None:
    """Every input run is in the folder or here, as it was when the run took it."""
    if not record.inputs:
        return
    theirs = {other.run_id: other for other in runs}
    problems = []
    for role, named in record.inputs.items():
        beside = theirs.get(named.run_id)
        if beside is not None and beside.record is not None:
            there = beside.record.attempt, beside.record.digest, beside.record.spec.method
            if there != (named.attempt, named.digest, named.method):
                problems.append(f"its {role} run is another attempt than the one in the folder")
        elif reference.finished(named.run_id, named.digest) is None:
            problems.append(f"its {role} run {named.run_id[:40]} is neither in the folder nor here")
    run.judge("inputs", problems)


def budget_problems(
    record: Record,
    protocol: Protocol,
    method: Method | None,
    runs: Sequence[ExaminedRun],
    reference: Reference,
) -> list[str]:
    """Iterations and samples are the protocol's, those of input runs added."""
    budget, cost = protocol.budget, record.cost
    extra = EXTRA_BUDGET in record.flags
    if method is not None and extra and not (method.extra_budget or EXTRA_BUDGET in method.flags):
        return [f"has the flag {EXTRA_BUDGET}, which its method has not"]
    if budget is None or extra:
        return []
    if cost.iterations != budget.iterations:
        return [f"{cost.iterations:,} iterations, the protocol has {budget.iterations:,}"]
    samples = budget.iterations * budget.batch
    theirs = {other.run_id: other.record for other in runs}
    for named in record.inputs.values():
        before = theirs.get(named.run_id) or reference.finished(named.run_id, named.digest)
        samples += before.cost.samples_seen if before else 0
    if cost.samples_seen != samples:
        return [f"{cost.samples_seen:,} samples seen, the protocol has {samples:,}"]
    return []


def check_data(run: ExaminedRun, record: Record, protocol: Protocol, reference: Reference) -> None:
    """Checksums and class counts of the training data, against our runs or our copy of the data."""
    known = reference.data(protocol)
    variant = DATA_VARIANT in record.flags
    alike = [copy for copy in known if copy.data == record.data]
    if alike:
        mine = record.class_counts, record.classes
        if all(copy.variant != variant for copy in alike):
            text = f"the same copy of the data here has the flag {DATA_VARIANT}: so should it"
            run.say("data", "problem", f"has a false flag {DATA_VARIANT}" if variant else text)
        elif mine not in [(copy.counts, copy.classes) for copy in alike]:
            run.say("data", "problem", "class counts or names are not those of the data here")
        elif not record.data:
            run.say("data", "note", "class counts agree; the protocol records no checksums")
        else:
            run.say("data", "ok")
    elif variant:
        run.say("data", "note", "says that it was trained on another copy of the data")
    elif all(copy.variant for copy in known):
        why = "our own copy is a variant" if known else "no run and no data of this protocol here"
        run.say("data", "note", f"cannot be checked: {why}")
    else:
        (first, *_) = (copy for copy in known if not copy.variant)
        both = {*record.data, *first.data}
        odd = sorted(name for name in both if record.data.get(name) != first.data.get(name))
        run.say("data", "problem", f"checksum of {odd[0][:60]!r} is not that of the data here")
