"""The hyper-parameters of a MIRNet, and what follows from them without building it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from mirnet_deploy.errors import UsageError

SIZE_MULTIPLE = 4
"""Height and width must be multiples of this: the coarsest level has a quarter of the resolution."""

LEVELS = 3
"""Resolutions in a multi-scale residual block: 1, 1/2 and 1/4."""

REDUCTION = 8
"""Factor by which the squeeze convolutions in DAU and SKFF reduce the channels; an SKFF keeps at least 4."""


@dataclass(frozen=True)
class MIRNetConfig:
    """Hyper-parameters of a MIRNet; the defaults are the paper's.

    Raises:
        UsageError: a value is not a positive whole number, or `n_feat` is not a multiple of 8.
    """

    n_feat: int = 64
    """Channels at full resolution."""
    n_rrg: int = 3
    """Recursive residual groups."""
    n_msrb: int = 2
    """Multi-scale residual blocks in each group."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(f"{name} is {value!r}; expected a whole number of at least 1")
        if self.n_feat % REDUCTION:
            raise UsageError(f"n_feat is {self.n_feat}; expected a multiple of {REDUCTION} (the channel reduction)")

    @property
    def context_size(self) -> int:
        """K, the number of means that all global pools take together in one forward pass.

        Every MSRB takes 22 per channel of `n_feat`: 14 in its DAUs, which run once in each of two columns at 1, 2 and 4
        times the channels, and 8 in its SKFFs, one at each of these widths and a last one at full resolution.

        >>> MIRNetConfig(n_feat=16, n_rrg=1, n_msrb=2).context_size
        704
        """
        return 22 * self.n_feat * self.n_msrb * self.n_rrg

    @property
    def pool_stages(self) -> int:
        """Length of the longest chain of pools each of which depends on the one before it.

        Every MSRB adds 6: the three DAUs of the first column, one after the other; the SKFFs of the mesh; the DAUs of
        the second column; the last SKFF.
        """
        return 6 * self.n_msrb * self.n_rrg

    @classmethod
    def preset(cls, name: str) -> MIRNetConfig:
        """The configuration called `name`.

        Raises:
            UsageError: there is no such preset.
        """
        if name not in PRESETS:
            raise UsageError(f"no preset {name!r}; expected one of {', '.join(PRESETS)}")
        return PRESETS[name]

    def to_dict(self) -> dict[str, int]:
        """Plain values, as stored in checkpoints and artifact metadata."""
        return asdict(self)


PRESETS = {
    "paper": MIRNetConfig(64, 3, 2),
    "base": MIRNetConfig(32, 2, 2),
    "lite": MIRNetConfig(16, 1, 2),
}
