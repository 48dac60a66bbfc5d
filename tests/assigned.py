"""One run of the fake task, planned and handed to a worker."""

import pytest

from suite.define.catalog import Catalog
from suite.runs.job import Assignment
from suite.runs.plan import make_plan


@pytest.fixture
def catalog():
    return Catalog.load()


def assign(catalog, root, *settings, **options):
    task = catalog.task("fake")
    plan = make_plan(
        root,
        catalog,
        task,
        catalog.protocol(task, "quick"),
        methods=["steady"],
        settings=[*(["steady.sleep=0.0"] * ("steady.sleep" not in str(settings))), *settings],
    )
    (item,) = plan.items
    return item, Assignment(
        spec=item.spec, attempt=item.attempt.number, digest=item.digest, root=str(root), **options
    )
