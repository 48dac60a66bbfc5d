"""Mutated records against `review`, `verify` and `merge`: what is refused, what gets through, what breaks.

    python benchmarks/fuzz_records.py [--count 10000] [--seed 0] [--folder DIR]

A run of somebody else is changed in one to three ways (bytes, JSON, scores, arrays, members of the npz,
files and links; tests/strangers.py) and reviewed. What the review accepts is imported into a copy of our
root and compared with the run as it was before the change, read without the suite's readers. Counted are
- crashes: anything raised but UserError and RecordError;
- lies: an accepted run whose stored scores or predictions are not the original's;
- writes: a file of the folder, of our root or beside them that was touched by a review or a `verify`, or
  by an import beside the one attempt that it makes.
Exit code 1 if there is one. `facts` are accepted runs whose record differs in what nobody can check
(times, host, curves, names of packages).
"""

import argparse
import contextlib
import json
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path.insert(0, str(TESTS))

from strangers import Stranger, catalog, lie, rows_of, tree  # noqa: E402

from suite.base.errors import RecordError, UserError  # noqa: E402
from suite.exchange.importing import accept  # noqa: E402
from suite.exchange.merge import merge  # noqa: E402
from suite.exchange.review.examine import review  # noqa: E402
from suite.exchange.verify import finished_in, verify  # noqa: E402
from suite.records.attempt import Attempt  # noqa: E402


class Fuzz:
    """One stranger's run, changed again and again. `counts` says what came of it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        made = Stranger(place / "original")
        self.theirs, self.root, self.run = made.folder, made.root, made.run
        self.rows, self.arrays = rows_of(made.run), made.run.predictions()
        self.record = json.loads((made.run.path / "record.json").read_bytes())
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []

    def example(self, seed: int) -> None:
        """Change, review, import where accepted."""
        folder, root = self.place / "theirs", self.place / "own"
        for path, source in {folder: self.theirs, root: self.root}.items():
            shutil.rmtree(path, ignore_errors=True)
            shutil.copytree(source, path)
        run = Attempt(folder, self.run.run_id, 1)
        what = lie(run, random.Random(seed))
        before = tree(self.place)
        try:
            found = review(folder, root, catalog())
            if tree(self.place) != before:
                self._fail("writes", seed, what, "by the review")
            if found.acceptable:
                self._accepted(found, root, seed, what)
            else:
                self.counts["refused"] += 1
            before = tree(self.place)
            with contextlib.suppress(UserError, RecordError):
                for attempt in finished_in(folder):
                    verify(attempt, catalog())
            if tree(self.place) != before:
                self._fail("writes", seed, what, "by verify")
            with contextlib.suppress(UserError, RecordError):
                merge(folder, self.place / "merged")
            shutil.rmtree(self.place / "merged", ignore_errors=True)
        except (UserError, RecordError):
            self.counts["refused at once"] += 1
        except Exception:
            self._fail("crashes", seed, what, traceback.format_exc())

    def _accepted(self, found, root: Path, seed: int, what: str) -> None:
        self.counts["accepted"] += 1
        here = {path for path in tree(self.place) if "/own/runs/" not in path}
        (made,) = accept(found, root, catalog())
        after = {path for path in tree(self.place) if "/own/runs/" not in path}
        if after != here or sorted(p.name for p in made.path.parent.iterdir()) != ["1", "lock"]:
            self._fail("writes", seed, what, "by the import")
        if not verify(made, catalog()).holds:
            self._fail("lies", seed, what, "the imported run does not verify")
        arrays, rows = made.predictions(), rows_of(made)
        same = arrays.keys() == self.arrays.keys() and all(
            arrays[name].keys() == held.keys()
            and all(np.array_equal(arrays[name][key], held[key]) for key in held)
            for name, held in self.arrays.items()
        )
        if not same:
            self._fail("lies", seed, what, "predictions")
        if rows != self.rows:
            self._fail("lies", seed, what, "imported scores")
        for task, stored in rows_of_mutated(found.runs[0].folder).items():
            if task in self.rows and stored != self.rows[task]:
                self._fail("lies", seed, what, "stored scores")
        record = json.loads((made.path / "record.json").read_bytes())
        for key in ("external", "flags"):
            record.pop(key, None)
        original = {
            key: value for key, value in self.record.items() if key not in ("external", "flags")
        }
        changed = [key for key in {**original, **record} if original.get(key) != record.get(key)]
        if changed:
            self.counts["facts"] += 1
            for key in changed:
                self.counts[f"  of {key}"] += 1

    def _fail(self, kind: str, seed: int, what: str, text: str) -> None:
        self.counts[kind] += 1
        self.failures.append(f"{kind}: example {seed} ({what}): {text}")


def rows_of_mutated(folder: Path):
    try:
        return rows_of(Attempt(folder.parents[2], folder.parent.name, int(folder.name)))
    except Exception:
        return {}  # an evaluation of another version, in another form


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="fuzz-", dir=arguments.folder))
    try:
        begun = time.monotonic()
        fuzz = Fuzz(place)
        for i in range(arguments.count):
            fuzz.example(arguments.seed + i)
        seconds = time.monotonic() - begun
    finally:
        shutil.rmtree(place, ignore_errors=True)
    for name, count in fuzz.counts.items():
        print(f"{count:8,} {name}")
    print(f"{arguments.count:,} examples from seed {arguments.seed} in {seconds:.0f} s")
    for failure in fuzz.failures[:20]:
        print(failure)
    return 1 if fuzz.failures else 0


if __name__ == "__main__":
    sys.exit(main())
