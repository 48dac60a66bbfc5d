"""`attest`: a change of a method's code changes nothing, so that its runs go on to count."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from suite.cli.completion import protocol_names
from suite.cli.options import DataRoot, each

if TYPE_CHECKING:
    from suite.upkeep.attest import Attester, Change


def attest(
    methods: Annotated[
        list[str], typer.Argument(metavar="METHOD...", help="Methods.", callback=each)
    ],
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="COMMIT",
            help="Commit that has the earlier code. Default: the newest at which the method's code was "
            "another.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        list[str],
        typer.Option(
            "--protocol",
            autocompletion=protocol_names,
            metavar="NAME",
            help="Protocol to train under; repeatable. Default: smoke, of each of the method's tasks.",
            show_default=False,
            callback=each,
        ),
    ] = [],  # noqa: B006 - typer copies defaults
    data_root: DataRoot = None,
) -> None:
    """Show that a change of methods' code changes nothing of what they compute.

    Each method is trained with the code of a commit and with today's, on the CPU; predictions, weights and
    scores are compared byte for byte. Where all are equal, a line in results/attested.toml makes runs of the
    earlier code count as today's: commit it with the change. What the protocols do not reach (other
    parameters, other data) is for its author to think of; --protocol adds to it. Exit code 1 where
    anything differs.

    \b
    Examples:
      python -m suite attest focal
      python -m suite attest sade dirmixe --since HEAD~3
      python -m suite attest ride --protocol smoke --protocol quick
    """
    from suite.base import settings
    from suite.base.errors import UserError
    from suite.define.catalog import Catalog
    from suite.upkeep.attest import Attester
    from suite.upkeep.checkout import Checkout

    catalog = Catalog.load()
    for method in methods:
        catalog.source(method)
    checkout = Checkout.of_this_code()
    changed = checkout.uncommitted()
    if changed:
        raise UserError(
            f"{checkout.top / changed} is not as it was committed: `git commit` first, so that what is "
            "attested has a name"
        )
    try:
        with tempfile.TemporaryDirectory(prefix="longtail-attest-") as folder:
            attester = Attester(checkout, catalog, Path(folder), settings.data_root(data_root))
            # all of them before the first training
            changes = [attester.change(method, since, protocol) for method in methods]
            good = list(_attest(attester, changes))
    except KeyboardInterrupt:
        sys.exit(130)
    if not all(good):
        sys.exit(1)


def _attest(attester: Attester, changes: Sequence[Change]) -> Iterator[bool]:
    """Hold both codes of the methods against each other; whether each has the one that it had."""
    todo = []
    for change in changes:
        name, commit = change.method, change.commit[:12]
        if change.before == change.after:
            where = f"at {commit} the same" if commit else "the same in all of the history"
            print(f"{name}: nothing to do: its code is {where} ({change.after})")
            yield True
        elif change.before in attester.catalog.history.before(name, change.after):
            print(f"{name}: attested already: {change.before} (at {commit}) -> {change.after}")
            yield True
        else:
            todo.append(change)

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    attester.train(todo, say)
    for change in todo:
        yield _compare(attester, change)


def _compare(attester: Attester, change: Change) -> bool:
    """Print what came of it, and write it down; False where they differ."""
    from suite.base.shipped import HERE
    from suite.base.text import clipped, plain
    from suite.define.history import ATTESTED, add_attested

    name, commit = change.method, change.commit[:12]
    verdict = attester.verdict(change)
    if verdict.attestation is None:
        print(
            f"{name}: not attested: {change.before} (at {commit}) is not {change.after}:",
            flush=True,
        )
        for line in verdict.differs:
            print(f"  {clipped(plain(line), 400)}", flush=True)
        return False
    # the checkout's own, also where there is none yet and an installed package has one
    path = HERE / ATTESTED
    add_attested(path, verdict.attestation)
    under = ", ".join(verdict.attestation.protocols)
    print(
        f"{name}: attested: {change.before} (at {commit}) -> {change.after}: equal under {under} "
        f"({verdict.compared}); commit {path}",
        flush=True,
    )
    return True
