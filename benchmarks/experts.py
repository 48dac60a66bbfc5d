"""What the matrix form of DirMixE's loss, and aggregation from stored logits, save.

    python benchmarks/experts.py [--threads 1] [--rounds 5] [--images 2000] [--epochs 5]

1. DirMixE's loss (128 samples, 3 experts, 100 classes, 60 draws), forward and backward, against a plain
   loop of cross entropies over the draws.
2. Learning the experts' weights from stored logits of two views, against running the network (ResNet-8
   with three experts, 16x16 images) on both views in every step. `stored once` adds what it takes to make
   the stored logits: a pass over both views.

The two sides alternate in one process, so that both see the same machine; a ratio is the median over
rounds. What they return is compared: it must be the same.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS

from baselines.parts.aggregation import learn_weights
from baselines.test_agnostic.dirmixe import draw_losses
from suite.define.catalog import Catalog
from suite.engine import run as engine
from tasks.vision import protocols
from tasks.vision.data.arrays import ImageArrays, LongTailed
from tasks.vision.data.sources import Source

BATCH, EXPERTS, CLASSES, DRAWS = 128, 3, 100, 60
LR, DECAY = 0.1, 5e-4  # SADE's, at test time
Array = np.ndarray[Any, np.dtype[Any]]


def loop(scores: torch.Tensor, label: torch.Tensor, kind: Array, shift: Array) -> torch.Tensor:
    """What `draw_losses` computes, one draw after another, (M,)."""
    order = np.argsort(kind, kind="stable")
    shifts = torch.from_numpy(shift[order])
    found = [
        F.cross_entropy(scores[:, k] + a, label)
        for k, a in zip(kind[order].tolist(), shifts, strict=True)
    ]
    return torch.stack(found)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    made = work()
    return time.perf_counter() - start, made


def report(name: str, pairs: list[tuple[float, float]], repeats: int = 1) -> None:
    """`pairs` of (plain, ours) in seconds for `repeats` calls."""
    plain, ours = (1000 * statistics.median(side) / repeats for side in zip(*pairs, strict=True))
    ratios = [one / other for one, other in pairs]
    print(
        f"{name:32} {plain:9.2f} ms  ->  {ours:8.2f} ms, {statistics.median(ratios):.1f} times as fast "
        f"({min(ratios):.1f} to {max(ratios):.1f})"
    )


def loss_of_draws(rounds: int, block: int = 20) -> None:
    """The first comparison."""
    rng = np.random.default_rng(0)
    cosines = rng.uniform(-1, 1, (BATCH, EXPERTS, CLASSES)).astype(np.float32)
    scores = torch.from_numpy(30 * cosines)
    label = torch.from_numpy(rng.integers(CLASSES, size=BATCH))
    kind = rng.integers(EXPERTS, size=DRAWS)
    prior, test = rng.dirichlet(np.ones(CLASSES)), rng.dirichlet(np.ones(CLASSES), DRAWS)
    shift = (1.3 * np.log(prior / test + 1e-9)).astype(np.float32)

    def step(way: Callable[..., torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = scores.clone().requires_grad_()
        losses = way(leaf, label, kind, shift)
        losses.mean().backward()
        assert leaf.grad is not None
        return losses.detach(), leaf.grad

    pairs = []
    for _ in range(rounds + 1):
        sides = [
            timed(lambda w=way: [step(w) for _ in range(block)]) for way in (loop, draw_losses)
        ]
        (plain, expected), (ours, found) = sides
        pairs.append((plain, ours))
    report(f"DirMixE's loss, {DRAWS} draws", pairs[1:], block)  # the first one warms up
    differences = [(a - b).abs().max().item() for a, b in zip(expected[-1], found[-1], strict=True)]
    print(f"{'':32} largest difference: loss {differences[0]:.1e}, gradient {differences[1]:.1e}")


def no_images(source: Source, _: Path) -> LongTailed:
    """The counts of a data set without the data."""
    empty = ImageArrays(np.zeros((0, 3, 32, 32), np.uint8), np.zeros(0, np.int64))
    return LongTailed(
        train=empty, test=empty, class_counts=source.counts, observed={}, variant=False
    )


def network() -> Any:
    """SADE's under `cpu-cifar`, at its random start, in evaluation mode."""
    protocols.load = no_images
    catalog = Catalog.load()
    protocol = catalog.protocol(catalog.task("test-agnostic"), "cpu-cifar")
    made = catalog.method(catalog.spec("sade", protocol))
    cfg, _ = engine.resolve_config(protocol.build, Path(), made.configure, {}, 0, made.modules)
    torch.manual_seed(0)
    return MODELS.build(cfg.model).eval()


def two_views(images: int) -> torch.Tensor:
    """(2, M, 3, 16, 16) uint8: patterns under noise of two draws."""
    generator = torch.Generator().manual_seed(0)
    patterns = torch.randint(256, (10, 3, 16, 16), generator=generator).float()
    shown = patterns[torch.randint(10, (images,), generator=generator)]
    noise = 40 * torch.randn(2, *shown.shape, generator=generator)
    return (shown + noise).clamp(0, 255).to(torch.uint8)


@torch.no_grad()
def logits_of(model: Any, images: torch.Tensor) -> torch.Tensor:
    """(B, E, C)."""
    data = {"inputs": images, "label": torch.zeros(len(images), dtype=torch.long)}
    data = model.data_preprocessor(data, False)
    (sample,) = model(**data, mode="predict")
    logits: torch.Tensor = sample["logits"]
    return logits


def stored(model: Any, views: torch.Tensor) -> Array:
    """Logits (E, 2, M, C)."""
    made = [torch.cat([logits_of(model, part) for part in view.split(500)]) for view in views]
    logits: Array = torch.stack(made).permute(2, 0, 1, 3).numpy()
    return logits


def rerun(model: Any, views: torch.Tensor, epochs: int) -> Array:
    """Weights (E,) learnt with the network run on both views of every batch."""
    raw = torch.full((EXPERTS,), 1 / EXPERTS, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.SGD([raw], LR, momentum=0.9, weight_decay=DECAY, nesterov=True)
    drawn = np.random.default_rng(0)
    for _ in range(epochs):
        order = torch.from_numpy(drawn.permutation(views.shape[1]))
        for places in order.split(BATCH):
            shares = raw.softmax(0)
            p, q = (
                torch.einsum("e,bec->bc", shares, logits_of(model, view[places]).double()).softmax(
                    1
                )
                for view in views
            )
            optimiser.zero_grad()
            (-F.cosine_similarity(p, q, dim=1).mean()).backward()
            optimiser.step()
        if raw.detach().softmax(0).numpy().round(2).min() < 0.05:
            break
    weights: Array = raw.detach().softmax(0).numpy()
    return weights


def aggregation(rounds: int, images: int, epochs: int) -> None:
    """The second comparison."""
    model, views = network(), two_views(images)
    about = {"lr": LR, "decay": DECAY}
    learning, with_storing = [], []
    for _ in range(rounds):
        plain, expected = timed(lambda: rerun(model, views, epochs))
        storing, logits = timed(lambda: stored(model, views))
        ours, found = timed(
            lambda kept=logits: learn_weights(kept, **about, batch=BATCH, epochs=epochs)
        )
        learning.append((plain, ours))
        with_storing.append((plain, storing + ours))
    report(f"aggregation, {images} images", learning)
    report(f"{'':13}stored once", with_storing)
    for name, weights in (("network run", expected), ("stored logits", found)):
        print(f"{name:>32} weights {' '.join(f'{w:.6f}' for w in weights)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    print(f"{given.threads} thread(s), {given.rounds} rounds")
    loss_of_draws(given.rounds)
    aggregation(given.rounds, given.images, given.epochs)


if __name__ == "__main__":
    main()
