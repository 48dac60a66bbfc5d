"""Whose word on infer counts."""

import pytest

from suite.base.errors import UserError
from suite.define.catalog import Catalog


def test_a_record_that_claims_an_infer_is_not_believed(tmp_path):
    from types import SimpleNamespace

    from suite.base.errors import RecordError
    from suite.runs.evaluate import trained

    catalog = Catalog.load()
    task = catalog.task("longtail-cls")
    spec = catalog.spec("ce", catalog.protocol(task, "smoke"))
    record = SimpleNamespace(
        infers=True, rows=[], spec=spec, digest=catalog.code.digests["ce"], class_counts=[1]
    )
    with pytest.raises(RecordError, match=r"'ce' has an infer\(\), which it has not"):
        trained(SimpleNamespace(path=tmp_path, root=tmp_path), record, {}, task, catalog)


def test_a_protocol_without_views_refuses_methods_that_adapt_to_them(tmp_path):
    from dataclasses import replace

    from suite.runs.worker import _require_inferring

    catalog = Catalog.load()
    protocol = catalog.protocol(catalog.task("longtail-cls"), "smoke")
    method = catalog.method(catalog.spec("sade", protocol))
    _require_inferring(method, catalog, protocol)
    with pytest.raises(UserError, match="'smoke' makes no views"):
        _require_inferring(method, catalog, replace(protocol, views=()))
    _require_inferring(
        catalog.method(catalog.spec("ce", protocol)), catalog, replace(protocol, views=())
    )
