"""Recipes: how a network is trained, whatever its size, the data and the number of steps. RESULTS.md compares them."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mirnet_deploy.errors import UsageError
from mirnet_deploy.training.config import SIZE_MULTIPLE
from mirnet_deploy.training.losses import LOSSES


@dataclass(frozen=True)
class Recipe:
    """The choices of a run; the defaults are the recipe `aligned`.

    Raises:
        UsageError: a value is out of its range.
    """

    loss: str = "aligned+ssim"
    """A key of `training.losses.LOSSES`."""
    sharing: float = 0.0
    """Weight of `training.losses.thumbnail_difference`; 0 leaves it out. One step in `training.step.SHARING_EVERY` has
    the term, at that many times this weight; clipping sees the sum. Logged losses leave it out."""
    lr: float = 3e-3
    """Peak learning rate. Adam wants a third of what Muon takes."""
    schedule: Literal["trapezoid", "plateau"] = "trapezoid"
    """`trapezoid`: warm-up, constant, then a cosine to zero over the last `decay` of the steps. `plateau`:
    ReduceLROnPlateau on the validation PSNR."""
    warmup: int = 50
    """Steps of linear warm-up (trapezoid)."""
    decay: float = 0.5
    """Share of the steps over which the rate falls (trapezoid)."""
    batch: int = 8
    """Crops per step and process."""
    crop: int = 128
    """Side of a crop in pixels, a multiple of 4."""
    large_from: float = 0.75
    """Share of the steps after which crops have twice the side and a batch has a quarter of the crops (at least one):
    what the pools measure is then closer to what they measure in whole pictures. 1 turns this off. Several processes
    train as one with all their batches together only where each batch is a multiple of 4."""
    small_until: float = 0.65
    """Share of the steps, from the first on, in which crops have half the side (rounded down to a multiple of 4, at
    least 16 pixels), and a batch has no more of them: four steps take the time of one."""
    optimizer: Literal["adam", "muon"] = "muon"
    """`muon`: orthogonal momentum for the convolutions (`training.muon`), Adam for the rest. `adam`: Adam(0.9, 0.999)
    for everything."""
    weight_decay: float = 0.0
    """Decoupled weight decay of the matrices that Muon steps; each step shrinks them by this times the rate."""
    mixup: float = 0.0
    """Probability that a crop is mixed with another one (MixUp, beta(1, 1))."""
    synthetic: float = 0.35
    """Probability that both crops are made anew from the target, by `training.degrade`: other cameras, less noise,
    exposures from nearly right downwards."""
    lamps: float = 0.3
    """Probability that lamps are painted into both crops (`training.lamps`)."""
    ema: float = 0.999
    """Decay of the averaged weights per step; 0 keeps none."""
    clip: float = 1.0
    """Largest L2 norm of the gradient; 0 does not clip."""

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise UsageError(f"loss {self.loss!r} is unknown; expected one of {', '.join(LOSSES)}")
        if self.schedule not in ("trapezoid", "plateau"):
            raise UsageError(f"schedule {self.schedule!r} is unknown; expected trapezoid or plateau")
        if self.optimizer not in ("adam", "muon"):
            raise UsageError(f"optimizer {self.optimizer!r} is unknown; expected adam or muon")
        if self.batch < 1 or self.warmup < 0:
            raise UsageError(f"batch is {self.batch} and warmup {self.warmup}; expected at least 1 and 0")
        if self.crop < 4 * SIZE_MULTIPLE or self.crop % SIZE_MULTIPLE:
            raise UsageError(
                f"crop is {self.crop}; expected a multiple of {SIZE_MULTIPLE}, at least {4 * SIZE_MULTIPLE}"
            )
        if not (self.lr > 0 and math.isfinite(self.lr)) or not self.clip >= 0:
            raise UsageError(f"lr is {self.lr} and clip {self.clip}; expected a positive rate and a clip of 0 or more")
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise UsageError(f"weight_decay is {self.weight_decay}; expected 0 or more")
        if not (self.sharing >= 0 and math.isfinite(self.sharing)):
            raise UsageError(f"sharing is {self.sharing}; expected 0 or more")
        if self.weight_decay and self.optimizer != "muon":
            raise UsageError(f"weight_decay is Muon's, and the optimizer is {self.optimizer}; expected 0")
        for name in ("decay", "small_until", "large_from", "mixup", "synthetic", "lamps"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} is {getattr(self, name)}; expected a share between 0 and 1")
        if not 0 <= self.ema < 1:
            raise UsageError(f"ema is {self.ema}; expected a decay of at least 0 and below 1")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored in checkpoints."""
        return asdict(self)

    def named(self, base: str) -> str:
        """`base`, the key of `RECIPES` that this recipe comes from, followed by what differs from it."""
        plain = RECIPES[base].to_dict()
        changed = ", ".join(f"{name} {value}" for name, value in self.to_dict().items() if value != plain[name])
        return base + (f" with {changed}" if changed else "")

    def learning_rate(self, step: int, steps: int) -> float:
        """The trapezoid's rate in `step`, counted from 0, of `steps`."""
        rate = self.lr * min(1.0, (step + 1) / max(self.warmup, 1))
        falling = self.decay * steps
        left = steps - step
        if left < falling:
            rate *= 0.5 * (1 - math.cos(math.pi * left / falling))
        return rate

    def crops(self, step: int, steps: int) -> tuple[int, int]:
        """How many crops each process takes in `step`, counted from 0, of `steps`, and their side in pixels.

        >>> recipe = Recipe(batch=8, crop=128, small_until=0.65, large_from=0.75)
        >>> [recipe.crops(step, steps=100) for step in (0, 65, 75)]
        [(8, 64), (8, 128), (2, 256)]
        """
        if step >= self.large_from * steps:
            return max(1, self.batch // 4), 2 * self.crop
        if step < self.small_until * steps:
            return self.batch, max(self.crop // 2 // SIZE_MULTIPLE, 4) * SIZE_MULTIPLE
        return self.batch, self.crop


RECIPES = {
    "aligned": Recipe(),
    "plateau": Recipe(
        loss="charbonnier",
        optimizer="adam",
        lr=1e-3,
        schedule="plateau",
        small_until=0.0,
        large_from=1.0,
        synthetic=0.0,
        lamps=0.0,
        ema=0.0,
        clip=0.0,
    ),
}
"""`plateau` is how many MIRNet repositories train, `aligned` is ours; RESULTS.md compares the two."""
