"""What losses keep of single training samples is the same on every rank, and that of one process."""

import os
import socket
from multiprocessing import get_context

import pytest
import torch

pytestmark = [pytest.mark.ddp, pytest.mark.slow]

RANKS, SAMPLES, LABELS, BATCH, STEPS = 2, 12, 5, 6, 4
LOSSES = {"role": {"type": "OnlineLabelEstimation", "k": 2.0, "class_counts": []}}
LOSSES["ll-cp"] = {
    "type": "LargeLoss",
    "scheme": "flip",
    "delta": 20.0,
    "iterations": STEPS,
    "batch": BATCH,
}


class Network(torch.nn.Module):
    """Logits of all ranks' samples, and their loss, as a task's `join` makes it."""

    def __init__(self, loss):
        from mmengine.registry import DATASETS, MODELS

        import baselines.multilabel.large_loss
        import baselines.multilabel.role  # noqa: F401 - registers

        super().__init__()
        DATASETS.register_module(name="Observed", module=Observed, force=True)
        self.fc = torch.nn.Linear(3, LABELS)
        self.loss_module = MODELS.build({**LOSSES[loss], "dataset": {"type": "Observed"}})

    def forward(self, inputs, targets, index):
        from suite.engine import ranks

        scores = ranks.joined(self.fc(inputs))
        return self.loss_module(scores, ranks.whole(targets), index=ranks.whole(index))


class Observed:
    def __init__(self):
        self.labels = torch.eye(LABELS, dtype=torch.bool).repeat(3, 1)[:SAMPLES]

    def __len__(self):
        return SAMPLES


def trained(loss, rank=None):
    """Weights, buffers and losses of `STEPS` steps on samples 0-5, 6-11, 0-5, ...; of a rank on every second."""
    from suite.engine import ranks

    torch.manual_seed(5 if not rank else 77)  # what another rank draws does not count
    model = Network(loss).double()
    shared = ranks.wrapped(model, torch.device("cpu"), False) if rank is not None else model
    adam = torch.optim.Adam(model.parameters(), lr=0.05)
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(SAMPLES, 3, generator=generator, dtype=torch.float64)
    targets = Observed().labels.double()
    losses = []
    for step in range(STEPS):
        if hasattr(model.loss_module, "set_progress"):
            model.loss_module.set_progress(step / STEPS)
        index = (torch.arange(BATCH) + step * BATCH) % SAMPLES
        own = index if rank is None else index[rank::RANKS]
        adam.zero_grad()
        value = shared(inputs[own], targets[own], own)
        value.backward()
        adam.step()
        losses.append(value.item())
    return {**model.state_dict(), "losses": torch.tensor(losses)}


def one_of_two(rank, port, folder):
    from torch.distributed import TCPStore

    from suite.engine import ranks

    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = TCPStore("127.0.0.1", port, RANKS, is_master=rank == 0, wait_for_workers=False)
    ranks.connect(rank, RANKS, store, "cpu")
    torch.save({loss: trained(loss, rank) for loss in LOSSES}, folder / f"{rank}.pth")
    ranks.agree(0)
    ranks.disconnect()


def test_state_of_samples_is_that_of_one_process(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = get_context("spawn")
    processes = [
        context.Process(target=one_of_two, args=(rank, port, tmp_path)) for rank in range(RANKS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    found = [torch.load(tmp_path / f"{rank}.pth") for rank in range(RANKS)]
    for loss in LOSSES:
        alone = trained(loss)
        if loss == "ll-cp":
            assert 3 <= alone["loss_module.flipped"].sum() < SAMPLES * LABELS / 2
        for rank in range(RANKS):
            assert found[rank][loss].keys() == alone.keys()
            for name, value in alone.items():
                torch.testing.assert_close(found[rank][loss][name], value, rtol=1e-10, atol=1e-12)
