"""mmseg's own `init_model` and `inference_model` on what the suite writes: pictures reach the network as at
the test."""

import mmcv
import numpy as np
import pytest
import torch
from camvid_files import tiny  # noqa: F401
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from PIL import Image
from segmentation_files import SETTINGS, _few, copy  # noqa: F401

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.engine import weights
from suite.engine.export import config_text
from suite.engine.kept_weights import load_from_safetensors
from suite.engine.run import resolve_config

CATALOG = Catalog.load()
TASK = CATALOG.task("longtail-seg")


def resolved(protocol, folder):
    configure = CATALOG.source("ce").load().configure
    return resolve_config(protocol.build, folder, configure, {}, 0)[0]


def through(steps, picture):
    with DefaultScope.overwrite_default_scope("mmseg"):
        return Compose(steps)({"img_path": str(picture)})["inputs"]


def at_test(cfg, index=0):
    from mmseg.registry import DATASETS

    with DefaultScope.overwrite_default_scope("mmseg"):
        return DATASETS.build(cfg.test_dataloader.dataset)[index]


@pytest.mark.parametrize("resolution", ["full", "half"])
def test_a_camvid_frame_is_read_as_at_the_test(tiny, resolution):
    protocol = CATALOG.protocol(TASK, f"camvid:{resolution},segformer-b0")
    frame = tiny / "test" / "v_test1.png"
    noise = np.random.default_rng(1).integers(0, 256, (360, 480, 3), dtype=np.uint8)
    Image.fromarray(noise).save(frame)
    cfg = resolved(protocol, tiny)
    sample = at_test(cfg, 1)
    assert sample["data_samples"].img_path == str(frame)
    assert torch.equal(through(cfg.test_pipeline, frame), sample["inputs"])


def test_a_picture_of_a_large_set_is_read_as_at_the_test(copy):
    spec, folder = copy
    protocol = CATALOG.protocol(TASK, f"{spec.name}:segformer-b0")
    cfg = resolved(protocol, folder)
    sample = at_test(cfg)
    read = through(cfg.test_pipeline, sample["data_samples"].img_path)
    assert read.shape == sample["inputs"].shape
    assert torch.equal(read, sample["inputs"])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """(config file, weights, picture) of a run under `smoke` with a bank, not trained."""
    from mmseg.apis import init_model

    from suite.define.data import find_data

    folder = tmp_path_factory.mktemp("written")
    protocol = CATALOG.protocol(TASK, "smoke")
    method = CATALOG.method(CATALOG.spec("aucseg", protocol))
    file = folder / "aucseg.py"
    file.write_text(config_text(method, protocol, 0, find_data(protocol, None)))
    torch.manual_seed(3)
    model = init_model(str(file), device="cpu")
    weights.save(weights.model_weights(model), folder / "weights.safetensors")
    noise = np.random.default_rng(1).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "picture.png")
    return file, folder / "weights.safetensors", folder / "picture.png"


def test_the_written_config_takes_weights_and_pictures(written):
    from mmseg.apis import inference_model, init_model

    file, path, picture = written
    torch.manual_seed(0)
    model = init_model(str(file), str(path), device="cpu")
    kept = weights.load(path)
    state = model.state_dict()
    assert all(torch.equal(state[key], value) for key, value in kept.items())
    of_file = inference_model(model, str(picture)).pred_sem_seg.data
    assert of_file.shape == (1, 50, 70) and int(of_file.max()) < 11
    several = inference_model(model, [str(picture)] * 2)
    assert all(torch.equal(one.pred_sem_seg.data, of_file) for one in several)
    in_memory = inference_model(model, mmcv.imread(str(picture)))
    assert torch.equal(in_memory.pred_sem_seg.data, of_file)


def test_mmengines_runner_begins_from_kept_weights(written, tmp_path):
    from mmengine.runner import load_checkpoint
    from mmseg.apis import init_model

    file, path, _ = written
    torch.manual_seed(0)
    model = init_model(str(file), device="cpu")
    before = model.state_dict()["decode_head.conv_seg.weight"].clone()
    load_checkpoint(model, str(path))
    after = model.state_dict()["decode_head.conv_seg.weight"]
    assert not torch.equal(after, before)
    assert torch.equal(after, weights.load(path)["decode_head.conv_seg.weight"])
    assert "suite.engine.kept_weights" in Config.fromfile(file).custom_imports.imports


def test_weights_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(UserError, match="no such weights file"):
        load_from_safetensors(str(tmp_path / "none.safetensors"))
    (tmp_path / "odd.safetensors").write_bytes(b"odd")
    with pytest.raises(UserError, match="damaged weights file"):
        load_from_safetensors(str(tmp_path / "odd.safetensors"))
