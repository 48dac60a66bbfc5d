"""Several ranks give what one process gives: losses, gradients, weights, scores; and survive the same."""

import json
import os
import signal
import socket
import threading
import time
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from suite.base.errors import UserError
from suite.define.catalog import Catalog
from suite.define.spec import RunSpec
from suite.dispatch import here as local
from suite.dispatch.carry_out import assignments
from suite.dispatch.here import LocalDispatch
from suite.dispatch.packing import pack
from suite.dispatch.request import Site, checked_site
from suite.records.attempt import attempts
from suite.records.files import Status, read
from suite.runs import slots as places
from suite.runs.job import Assignment
from suite.runs.plan import make_plan
from suite.runs.slots import Slot, make_slots
from suite.runs.worker import execute

pytestmark = pytest.mark.ddp

RANKS = 2
CLASSES, SIZE, BATCH = 5, 12, 4
LOSSES = ("square", "hinge", "exp", "whole")
"""The AUC risk's surrogates, each beside cross entropy, and a loss that takes the outputs of all ranks."""


# -- what a pair of ranks computes, and one process for comparison
def batch(dtype):
    """Images, labels (BATCH, SIZE, SIZE): of rank 1's samples (1 and 3) few pixels are labelled, and
    these with one class, so that its own part has neither the same mean nor any pair of classes."""
    generator = torch.Generator().manual_seed(5)
    images = torch.randn(BATCH, 3, SIZE, SIZE, generator=generator, dtype=torch.float64)
    label = torch.randint(CLASSES, (BATCH, SIZE, SIZE), generator=generator)
    label[1], label[3] = 255, 255
    label[1, 0, :5] = 2
    return images.to(dtype), label


def segmentor(losses):
    from mmseg.registry import MODELS

    import baselines.segmentation.aucseg  # noqa: F401 - registers
    import tasks.vision.data.segmentation  # noqa: F401 - mmseg without its prints

    torch.manual_seed(11)
    norm = {"type": "BN", "requires_grad": True}
    return MODELS.build(
        {
            "type": "mmseg.EncoderDecoder",
            "data_preprocessor": None,
            "backbone": {
                "type": "mmseg.ResNet",
                "depth": 18,
                "num_stages": 1,
                "strides": (1,),
                "dilations": (1,),
                "out_indices": (0,),
                "stem_channels": 4,
                "base_channels": 4,
                "norm_cfg": norm,
            },
            "decode_head": {
                "type": "mmseg.FCNHead",
                "in_channels": 4,
                "channels": 6,
                "num_convs": 1,
                "dropout_ratio": 0.0,
                "num_classes": CLASSES,
                "norm_cfg": norm,
                "loss_decode": losses,
            },
            "train_cfg": {},
            "test_cfg": {"mode": "whole"},
        }
    )


def losses_of(surrogate):
    entropy = {"type": "mmseg.CrossEntropyLoss", "avg_non_ignore": True}
    if surrogate == "whole":
        auc = {"type": "mmseg.PixelAUCLoss", "num_classes": CLASSES}
        weighted = {"class_weight": [1.0, 2.0, 3.0, 4.0, 5.0], "loss_name": "loss_weighted"}
        return [entropy, auc, {"type": "mmseg.CrossEntropyLoss", **weighted}]
    return [
        entropy,
        {"type": "mmseg.PixelAUCLoss", "num_classes": CLASSES, "surrogate": surrogate},
    ]


def step(model, images, label, dtype):
    """Losses, gradients and buffers after one forward and backward in training mode."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    samples = [SegDataSample(gt_sem_seg=PixelData(data=one[None])) for one in label]
    losses = model(images, samples, mode="loss")
    sum(value for name, value in losses.items() if "loss" in name).backward()
    bare = getattr(model, "module", model)
    found = {f"loss/{name}": value.detach() for name, value in losses.items()}
    found.update({f"grad/{name}": p.grad for name, p in bare.named_parameters()})
    found.update({f"state/{name}": b for name, b in bare.named_buffers()})
    return {name: value.double().clone() for name, value in found.items()}


IMAGES = 11


def sketch():
    """A sketch whose AUC chooses its bins after three of the images, and what it is fed."""
    from tasks.longtail_seg.pixel_auc import PixelAUC
    from tasks.longtail_seg.sketch import SegSketch

    made = SegSketch(
        classes=CLASSES, palette=[[9 * c] * 3 for c in range(CLASSES)], shown=[0, 5, 10]
    )
    made._auc = PixelAUC(CLASSES, bins=64, buffer_bytes=3 * SIZE * SIZE * (4 * CLASSES + 8))
    return made


class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return IMAGES

    def __getitem__(self, i):
        generator = torch.Generator().manual_seed(i)
        return {
            "inputs": torch.randint(256, (3, SIZE, SIZE), generator=generator, dtype=torch.uint8),
            "logits": torch.randn(CLASSES, SIZE, SIZE, generator=generator),
            "label": torch.randint(CLASSES, (1, SIZE, SIZE), generator=generator),
        }


def after(test, metric):
    """Arrays and rendered samples of `metric` after `test(loop)` over the pictures, two at a time."""
    seen = []

    def run_iter(_, data):
        seen.append(len(data))
        samples = [
            {"seg_logits": {"data": one["logits"]}, "gt_sem_seg": {"data": one["label"]}}
            for one in data
        ]
        metric.process({"inputs": [one["inputs"] for one in data]}, samples)

    loop = SimpleNamespace(
        runner=SimpleNamespace(
            call_hook=lambda *_, **__: None, model=SimpleNamespace(eval=lambda: None)
        ),
        dataloader=torch.utils.data.DataLoader(Pictures(), batch_size=2, collate_fn=list),
        evaluator=SimpleNamespace(metrics=[metric]),
        run_iter=run_iter,
    )
    test(loop)
    return sum(seen), metric.arrays(), metric.samples()


def pair(rank, port, folder):
    """Everything that takes two ranks, in one go; the results go to `folder`."""
    from torch.distributed import TCPStore

    from suite.engine import ranks, test_loop

    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = TCPStore("127.0.0.1", port, RANKS, is_master=rank == 0, wait_for_workers=False)
    ranks.connect(rank, RANKS, store, "cpu")
    found = {}
    for dtype in (torch.float64, torch.float32):
        images, label = batch(dtype)
        for surrogate in LOSSES:
            model = ranks.prepared(segmentor(losses_of(surrogate)), "tasks.longtail_seg.ranks")
            model = ranks.wrapped(model.to(dtype), torch.device("cpu"), unused=False)
            own = slice(rank, None, RANKS)
            found[f"{surrogate} {dtype}"] = step(model, images[own], label[own], dtype)
    ranks.own_generators(3, rank)
    found["drawn"] = torch.rand(3)
    found["agreed"] = ranks.agree(10 + rank)
    found["numbers"] = ranks.numbers(10 + rank)
    metric = sketch()
    counted, arrays, samples = after(test_loop.run, metric)
    found["counted"] = counted
    if rank == 0:
        np.savez(folder / "arrays.npz", **arrays)
        found["samples"] = samples
    torch.save(found, folder / f"{rank}.pth")
    ranks.agree(0)
    ranks.disconnect()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each rank of a pair found."""
    folder = tmp_path_factory.mktemp("pair")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = get_context("spawn")
    processes = [context.Process(target=pair, args=(rank, port, folder)) for rank in range(RANKS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    found = [torch.load(folder / f"{rank}.pth") for rank in range(RANKS)]
    with np.load(folder / "arrays.npz") as file:
        found[0]["arrays"] = dict(file)
    return found


@pytest.mark.parametrize("surrogate", LOSSES)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_loss_gradient_and_batch_norm_are_those_of_the_whole_batch(both, surrogate, dtype, bound):
    images, label = batch(dtype)
    alone = step(segmentor(losses_of(surrogate)).to(dtype), images, label, dtype)
    assert alone["loss/decode.loss_auc"] > 0.01
    for rank in both:
        shared = rank[f"{surrogate} {dtype}"]
        assert shared.keys() == alone.keys()
        for name, value in alone.items():
            scale = max(1.0, float(value.abs().max()))
            # mmseg's accuracy is float32, in percent
            allowed = 1e-6 if "acc_seg" in name else bound
            assert float((shared[name] - value).abs().max()) <= allowed * scale, name


def test_without_joining_the_loss_would_be_another(both):
    images, label = batch(torch.float64)
    whole = both[0]["square torch.float64"]["loss/decode.loss_ce"]
    parts = [
        step(segmentor(losses_of("square")).double(), images[r::2], label[r::2], torch.float64)
        for r in range(RANKS)
    ]
    mean = sum(part["loss/decode.loss_ce"] for part in parts) / RANKS
    assert abs(mean - whole) > 1e-3
    # rank 1's own part shows one class only
    assert parts[1]["loss/decode.loss_auc"] == 0


def test_ranks_draw_for_themselves_and_agree_on_rank_0(both):
    assert not torch.equal(both[0]["drawn"], both[1]["drawn"])
    assert [rank["agreed"] for rank in both] == [10, 10]
    assert [rank["numbers"] for rank in both] == [[10, 11], [10, 11]]


def test_scores_of_a_shared_test_are_those_of_one_process(both):
    def alone(loop):
        for i, data in enumerate(loop.dataloader):
            loop.run_iter(i, data)

    counted, arrays, samples = after(alone, sketch())
    assert counted == IMAGES
    # two batches of two until the bins are chosen; of the other four batches, the last one short, two each
    assert [rank["counted"] for rank in both] == [4 + 4, 4 + 3]
    assert both[0]["arrays"].keys() == arrays.keys()
    for name, array in arrays.items():
        assert both[0]["arrays"][name].dtype == array.dtype
        np.testing.assert_array_equal(both[0]["arrays"][name], array, err_msg=name)
    assert both[0]["samples"] == samples


# -- whole runs
def smoke(root, method, ranks, plugins=(), **options):
    catalog = Catalog.load(plugins)
    task = catalog.task("longtail-seg")
    plan = make_plan(root, catalog, task, catalog.protocol(task, "smoke"), methods=[method])
    return assignments(plan.items, root, None, ranks=ranks, **options)


def carried_out(root, method, ranks, **options):
    (report,) = (
        LocalDispatch([Slot("cpu", "", 1)]).run(smoke(root, method, ranks, **options)).values()
    )
    assert report.state == "done", report
    return finished(root)


def finished(root):
    from suite.engine.weights import load

    (run,) = (root / "runs").iterdir()
    (attempt,) = [a for a in attempts(root, run.name) if a.finished]
    return attempt, load(attempt.weights), attempt.predictions()["test"]


def worst(one, other):
    assert one.keys() == other.keys()
    return max(float((one[k].double() - other[k].double()).abs().max()) for k in one)


def test_a_run_on_two_ranks_is_the_run_on_one(tmp_path):
    (alone,) = smoke(tmp_path / "one", "aucseg-nobank", 1, sets=["train"])
    assert execute(alone, Catalog.load()).state == "done"
    one, weights, arrays = finished(tmp_path / "one")
    two, shared, shared_arrays = carried_out(tmp_path / "two", "aucseg-nobank", 2, sets=["train"])
    assert worst(weights, shared) < 1e-4
    assert one.run_id == two.run_id
    first, second = one.record(), two.record()
    assert second.environment["ranks"] == 2
    assert "ranks" not in first.environment
    assert first.cost.samples_seen == second.cost.samples_seen
    curves = [dict(map(tuple, record.curves["loss"])) for record in (first, second)]
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)
    assert {k: (v.shape, v.dtype.kind) for k, v in arrays.items()} == {
        k: (v.shape, v.dtype.kind) for k, v in shared_arrays.items()
    }
    # from the same weights one process predicts the same to the last count
    from suite.runs.predict import prediction_job

    again = Catalog.load()
    job = prediction_job(two, again, None)
    for split, stored in two.predictions().items():
        made = job.protocol.predict(job, split)
        assert len(stored["confusion"]) == 64
        for name, array in stored.items():
            np.testing.assert_array_equal(np.asarray(made[name]), array, err_msg=f"{split} {name}")
    assert set(two.predictions()) == set(one.predictions()) == {"test", "train"}
    assert len(one.predictions()["train"]["confusion"]) == 64


def members(parent=None):
    """pid -> parent of the processes of ranks, those of `parent` only if it is given."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes()
            status = (path / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if b"suite.engine.member" in command and status[0] != "Z":
            found[int(path.name)] = int(status[1])
    return {pid: above for pid, above in found.items() if parent in (None, above)}


def step_of(root):
    numbers = [int(p.stem) for p in root.glob("runs/*/*/checkpoint*/*.pth")]
    return max(numbers, default=0)


def until(what, seconds=90):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return found


@pytest.mark.fault
def test_stopped_and_killed_runs_go_on_as_if_undisturbed(tmp_path, monkeypatch):
    """A bank on every rank, stopped in order, then rank 1 killed, then rank 0."""
    monkeypatch.setattr(local, "BACKOFF_SECONDS", 0.05)
    calm, rough = tmp_path / "calm", tmp_path / "rough"
    _, weights, arrays = carried_out(calm, "aucseg", 2)
    todo = smoke(rough, "aucseg", 2, checkpoint_seconds=0.1)
    slots = [Slot("cpu", "", 1)]
    (report,) = LocalDispatch(slots, stopping=lambda: step_of(rough) >= 3).run(todo).values()
    assert report.state == "stopped"
    assert step_of(rough) < 20
    messages, gone = [], []

    def status():
        (path,) = rough.glob("runs/*/*/status.json")
        return read(Status, path)

    def kill():
        seen = step_of(rough)
        until(lambda: step_of(rough) >= seen + 2)
        worker = status().pid
        (rank,) = members(worker)
        os.kill(rank, signal.SIGKILL)
        messages.append(until(lambda: status().failure))
        until(lambda: status().pid != worker)
        seen = step_of(rough)
        until(lambda: step_of(rough) >= seen + 2)
        worker = status().pid
        (rank,) = members(worker)
        os.kill(worker, signal.SIGKILL)
        until(lambda: rank not in members())
        gone.append(rank)

    killer = threading.Thread(target=kill)
    killer.start()
    (report,) = LocalDispatch(slots).run(todo).values()
    killer.join()
    assert report.state == "done", report
    assert (messages[0].kind, messages[0].message) == ("killed", "rank 1 of 2 died by signal 9")
    assert len(gone) == 1
    attempt, other, other_arrays = finished(rough)
    assert attempt.status().restarts == 3
    assert worst(weights, other) == 0
    for name, array in arrays.items():
        np.testing.assert_array_equal(other_arrays[name], array, err_msg=name)
    assert not attempt.checkpoint_dir.exists()
    assert not attempt.record().warnings


PLUGIN = """
CARD = {
    "title": "t", "tasks": ["longtail-seg"], "names": {"odd": {"summary": "s"}}, "needs": {"passes": 1}
}
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class Odd(Hook):
    def after_train_iter(self, runner, *args, **kwargs):
        if get_rank() == 1 and runner.iter == 2:
            raise ValueError("odd one out")


def configure(cfg, facts):
    cfg.custom_hooks = [dict(type="Odd")]
    return cfg
"""


@pytest.mark.fault
def test_a_rank_that_fails_is_the_runs_failure_with_its_own_message(tmp_path, inside):
    plugin = tmp_path / "odd.py"
    plugin.write_text(PLUGIN)
    todo = smoke(tmp_path, "odd", 2, plugins=[plugin])
    (report,) = LocalDispatch([Slot("cpu", "", 1)], [plugin]).run(todo).values()
    assert (report.state, report.failure.kind) == ("failed", "code")
    assert report.failure.message.startswith("rank 1 of 2: ValueError: odd one out (odd.py:")
    assert not members()
    # tried again on as many as before, unless others are asked for
    again = ("retry", "--kind", "code", "--plugin", str(plugin), "--root", str(tmp_path))
    assert "2 ranks share each run's batch" in inside(*again, "--dry-run").stdout
    assert "4 ranks" in inside(*again, "--dry-run", "--ranks", "4").stdout
    assert "ranks" not in inside(*again, "--dry-run", "--ranks", "1").stdout
    refused = inside(*again, "--ranks", "3")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert refused.stderr.startswith("Error: --ranks 3: the batch of 'smoke', 8, does not divide")


# -- what is asked for
def test_ranks_that_cannot_be(inside, tmp_path):
    refused = {
        ("longtail-seg", "3"): "--ranks 3: the batch of 'smoke', 8, does not divide by it; "
        "use 1, 2, 4, 8",
        ("longtail-seg", "0"): "--ranks 0: at least 1",
        ("longtail-cls", "2"): "--ranks 2: a run of 'smoke' cannot be shared by several processes",
    }
    for (task, number), words in refused.items():
        for verb in ("run", "plan"):
            done = inside(verb, "--task", task, "--protocol", "smoke", "--ranks", number)
            assert done.returncode == 2
            assert words in done.stderr
            assert done.stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_the_plan_shows_them(inside):
    asked = ("plan", "--task", "longtail-seg", "--protocol", "smoke", "--device", "cpu")
    assert json.loads(inside(*asked, "--format", "json").stdout)["ranks"] == 1
    assert json.loads(inside(*asked, "--ranks", "2", "--format", "json").stdout)["ranks"] == 2
    assert "2 ranks share each run's batch" in inside(*asked, "--ranks", "2").stdout
    assert "ranks" not in inside(*asked).stdout


def test_slots_of_several_gpus(monkeypatch):
    monkeypatch.setattr(places, "gpus", lambda: ["0", "1", "4", "5"])
    assert [slot.visible for slot in make_slots("auto", None, 1, 2)] == ["0,1", "4,5"]
    assert [slot.visible for slot in make_slots("auto", 3, 1, 2)] == ["0,1", "4,5", "0,1"]
    assert [slot.visible for slot in make_slots("auto", None, 1, 3)] == ["0,1,4"]
    with pytest.raises(UserError, match=r"there are 4; use --ranks 4 or fewer"):
        make_slots("auto", None, 1, 8)
    monkeypatch.setattr(places, "usable_cores", lambda: 8)
    assert len(make_slots("cpu", None, 2, 2)) == 2
    assert len(make_slots("cpu", None, 8, 2)) == 1


def test_jobs_of_several_gpus():
    def packing(ranks, **site):
        spec = RunSpec(protocol="p", protocol_hash="h", method="m", seed=0)
        work = [Assignment(spec=spec, attempt=1, digest="d", root="/r", ranks=ranks)]
        given = checked_site(site, "site")
        return pack(work, given, threads=2, workers=None, measured={}, rough_seconds=None)

    assert packing(1, gpus_per_node=4).slots == 4
    assert packing(2, gpus_per_node=4).slots == 2
    assert packing(4, gpus_per_node="a100:4").slots == 1
    assert "4 ranks a run" in packing(4, gpus_per_node=4).why
    assert packing(2).slots == 1
    assert packing(2, cpus_per_task=8).slots == 2
    with pytest.raises(UserError, match="ask for --gpus-per-node 4"):
        packing(4, gpus_per_node=2)
    assert checked_site({"ranks": 2}, "site").ranks == 2
    with pytest.raises(UserError, match="ranks is 0; at least 1"):
        checked_site({"ranks": 0}, "site")
    assert Site().ranks is None
