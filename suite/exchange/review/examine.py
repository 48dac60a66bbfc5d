"""A stranger's results: examined in full before anything of them is taken in.

Everything in the folder is taken for hostile. It is read through `suite.base.bounded`'s readers, links
are not followed, nothing is executed or unpickled, and nothing is written, neither there nor here. What is
imported afterwards (`suite.exchange.importing`) is made from what was examined: JSON is written anew from the validated
structures, arrays are packed anew, and scores are those computed here.

What cannot be found out: whether the training behind consistent predictions was what the spec says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from suite.base.bounded import MAX_FILE, parse_arrays, read_file
from suite.base.errors import RecordError, UserError
from suite.define import variants
from suite.define.catalog import Catalog
from suite.define.protocol import CARVED, Protocol
from suite.define.spec import RunSpec
from suite.exchange.attempt_files import read_attempt
from suite.exchange.consistency import record_problems
from suite.exchange.reference import Reference
from suite.exchange.review.attestations import mention_attestations
from suite.exchange.review.duplicates import check_duplicates, check_presence
from suite.exchange.review.findings import ExaminedRun, Review, shortened
from suite.exchange.review.folder import find_runs
from suite.exchange.review.means import mean_lines
from suite.exchange.review.predictions import (
    WatchedArrays,
    check_metrics,
    check_predictions,
    leave_out_unread,
)
from suite.exchange.review.record import oddities, read_record
from suite.exchange.review.training import (
    budget_problems,
    check_data,
    check_inputs,
    check_method,
    known_method,
)
from suite.records.files import Record
from suite.records.fingerprint import fingerprint


def review(folder: Path, root: Path, catalog: Catalog, data_root: Path | None = None) -> Review:
    """Examine the runs in `folder` against what is below `root`. Writes nothing.

    Raises UserError where there is no such folder; whatever is wrong inside of it is a finding.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    if folder.resolve() == root.resolve():
        raise UserError(f"{folder}: is the results root itself; `verify` checks your own runs")
    result = Review(folder.absolute())
    result.runs = find_runs(result)
    for run in result.runs:
        read_record(run)
    specs = {run.run_id: run.record.spec for run in result.runs if run.record is not None}
    result.protocols, problems = _protocols(folder, specs.values(), catalog)
    reference = Reference(root, catalog.having(result.protocols, problems), data_root)
    for run in result.runs:
        if run.record is not None:
            _examine(run, run.record, result, specs, reference)
    check_duplicates(result.runs, reference)
    result.comparison = list(mean_lines(result.runs, reference))
    mention_attestations(result, catalog)
    return result


def _protocols(
    folder: Path, specs: Iterable[RunSpec], catalog: Catalog
) -> tuple[dict[str, tuple[variants.Variant, Protocol]], list[str]]:
    """The protocols of these runs that the folder brings, and a line on every file that is none. Links are
    not followed: what they lead to is not the sender's."""
    place = folder / "protocols"
    hashes = {spec.protocol_hash: spec.protocol for spec in specs}
    # the file of a carved one is its whole's, whose hash no spec tells
    every = any(name.endswith(CARVED) for name in hashes.values())
    names = () if place.is_symlink() else variants.listing(folder)
    kept = tuple(
        name
        for name in names
        if (every or name.removesuffix(".json") in hashes) and not (place / name).is_symlink()
    )
    made, problems = variants.found(folder, kept, catalog.tasks(), catalog.variants)
    return {
        hash_: one for hash_, one in made.items() if not hashes.keys().isdisjoint(_hashes(one[1]))
    }, problems


def _hashes(protocol: Protocol) -> set[str]:
    """Of a protocol, and of what it is carved to."""
    carved = protocol.carved
    return {protocol.hash} | ({carved.hash} if carved is not None else set())


def _examine(
    run: ExaminedRun,
    record: Record,
    result: Review,
    specs: Mapping[str, RunSpec],
    reference: Reference,
) -> None:
    catalog, runs = reference.catalog, result.runs
    spec = record.spec
    protocol = catalog.protocol_with(spec.protocol_hash, spec.protocol)
    if protocol is None:
        named = any(t.protocols.get(spec.protocol) for t in catalog.tasks().values())
        why = "here it is another one of that name" if named else "not known here"
        file = f"{spec.protocol_hash}.json"
        why = "; ".join([why, *(line for line in catalog.problems if file in line)])
        run.say("protocol", "problem", f"{spec.protocol!r} ({spec.protocol_hash}): {why}")
        return
    if spec.protocol != protocol.name:
        run.say("protocol", "problem", f"calls {protocol.name!r} {spec.protocol!r}")
        return
    if any(protocol.hash in _hashes(brought) for _, brought in result.protocols.values()):
        brought = (
            f"{protocol.name!r} ({protocol.summary}) comes with the folder, as a board of its own"
        )
        run.say("protocol", "note", brought)
    else:
        run.say("protocol", "ok")
    method = known_method(catalog, spec)
    run.judge("record", [*record_problems(record, protocol, catalog), *oddities(record)])
    check_method(run, record, protocol, method, specs, reference)
    check_inputs(run, record, runs, reference)
    run.judge("budget", budget_problems(record, protocol, method, runs, reference))
    check_data(run, record, protocol, reference)
    try:
        files = read_attempt(run.folder)
        content = read_file(run.folder / "predictions.npz", MAX_FILE)
        predictions = parse_arrays(content, Path("predictions.npz"))
    except (RecordError, FileNotFoundError) as error:
        run.say("predictions", "problem", shortened(error, run.folder))
        return
    run.sha["predictions.npz"] = hashlib.sha256(content).hexdigest()
    del content
    run.prints = fingerprint(predictions)
    check_predictions(run, record, protocol, predictions, reference)
    watched = {name: WatchedArrays(arrays) for name, arrays in predictions.items()}
    check_metrics(run, files, watched, protocol, reference)
    leave_out_unread(run, watched, protocol)
    check_presence(run, record, reference)
