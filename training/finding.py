"""Which of the tensors in a checkpoint are the network's: averaged ones before plain ones, wherever they lie.

Trainers keep state dicts under keys of their choice, and put prefixes before the names in them. So every state dict is
looked at, in dictionaries and lists at any place: where names end with those of a MIRNet, what comes before them is the
prefix. Averages are known by a word of their place (`params_ema`, `netG_EMA`, `ema_model` and so on), or by
the counter `n_averaged` of `torch.optim.swa_utils.AveragedModel`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mirnet_deploy.errors import CheckpointError
from mirnet_deploy.training.published import infer_config, infer_own_config, key_error
from mirnet_deploy.training.unpacking import Array

FIRST = "conv_in.weight"
"""The name that every state dict of a MIRNet has, ours and published ones."""
WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile and other wrappers of parts of a network leave within names."""
DEEPEST = 8
"""Dictionaries and lists within one another that are looked into."""
MOST = 1_000_000
"""Values that are looked at: those of a file whose parts hold one another would never end."""
_AVERAGED = re.compile(
    r"(?<![a-z])(ema|swa|avg|averaged?|shadow|polyak)(?![a-z])|(model|net|weights?|params)ema|ema(model|net|weights|params)"
)
_MOMENTS = re.compile(r"(?<![^.])(max_)?(exp|square|grad)_avg(_sq)?(?![^.])")
"""Averages of gradients, by the names that the optimizers of torch.optim give them."""
_OPTIMIZER = re.compile(r"(?<![a-z])optim(izers?)?(?![a-z])")
_ONLINE = re.compile(r"(?<![a-z])online(?![a-z])")
"""The plain network within a part that keeps both, as in the library ema-pytorch."""


@dataclass(frozen=True)
class Found:
    """The weights of a network, and where they lay."""

    state: dict[str, Tensor]
    """By names without prefix."""
    place: str
    """Keys and prefix, joined by dots; empty where the names lay at the top."""
    averaged: bool
    left: str | None = None
    """What was left out, in words, where it is like weights."""


def find_weights(content: Mapping[str, Any], source: str) -> Found:
    """The one network in the content of a checkpoint.

    Raises:
        CheckpointError: there is none, there are several, or there is no end to the parts.
    """
    groups = dict(_groups(content, source))
    found = [each for place, group in groups.items() for each in _networks(place, group)]
    # An optimizer in a form of its own has momenta under the names of weights; averages it may keep, too.
    found = [each for each in found if each.averaged or not _OPTIMIZER.search(_words(each.place))]
    if not found:
        largest = max(groups.values(), key=len, default={})
        raise key_error(source, [] if FIRST in largest else [FIRST], sorted(largest))
    networks = [each for each in found if infer_own_config(each.state) or infer_config(each.state)]
    plain, averaged = (_distinct([each for each in networks if each.averaged is wanted]) for wanted in (False, True))
    for alike in (plain, averaged):
        if len(alike) > 1:
            first, second = (each.place or "the names at the top" for each in alike[:2])
            raise CheckpointError(
                f"{source} holds different networks, in {first} and in {second}; save the wanted one by itself"
            )
    if not averaged and plain and (squeezed := _squeezed(groups, plain[0].state)):
        averaged = [squeezed]
    chosen = (averaged or plain or found)[0]
    return Found(chosen.state, chosen.place, chosen.averaged, _left(groups, chosen))


def _groups(content: Mapping[str, Any], source: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(place, tensors by name) of every dictionary and list that holds tensors; the place ends with a dot."""
    waiting: list[tuple[str, Any, int]] = [("", content, 1)]
    seen = 0
    while waiting:
        place, part, depth = waiting.pop()
        items = list(part.items() if isinstance(part, Mapping) else enumerate(part))
        seen += len(items)
        if seen > MOST:
            raise CheckpointError(f"{source} holds more than {MOST} parts; expected a checkpoint of a network")
        values = {str(name): each.tensor() if isinstance(each, Array) else each for name, each in items}
        tensors = {name: value for name, value in values.items() if isinstance(value, Tensor)}
        if tensors:
            yield place, tensors
        if depth < DEEPEST:
            below = [(f"{place}{key}.", value, depth + 1) for key, value in values.items() if _holds(value)]
            waiting += reversed(below)


def _holds(value: object) -> bool:
    """Whether a value may hold weights. An optimizer's state, known by its form, has moments under their names."""
    if isinstance(value, Mapping):
        return not ({"state", "param_groups"} <= value.keys() or {"exp_avg", "exp_avg_sq"} <= value.keys())
    return isinstance(value, list | tuple)


def _networks(place: str, group: Mapping[str, Tensor]) -> Iterator[Found]:
    """Every network whose names end as a MIRNet's in the tensors of one dictionary."""
    prefixes = sorted(
        {name[: -len(FIRST)] for name in group if name == FIRST or name.endswith(f".{FIRST}")}, key=len, reverse=True
    )
    rest = dict(group)
    for prefix in prefixes:  # the longest first: what is under a longer one belongs to no shorter one
        names = [name for name in rest if name.startswith(prefix)]
        state = {_bare(name[len(prefix) :]): rest.pop(name) for name in names}
        whole = place + prefix
        # AveragedModel calls its network `module`; within that, DDP, torch.compile and others may come.
        counters = {f"{prefix[: word.start()]}n_averaged" for word in re.finditer(r"(?<![^.])module\.", prefix)}
        counted = [name for name in counters if name in group]
        for name in counted:
            rest.pop(name, None)
        yield Found(state, whole.removesuffix("."), bool(counted) or _is_averaged(whole))


def _bare(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name


def _is_averaged(place: str) -> bool:
    """Whether a place is one of averages.

    >>> [_is_averaged(place) for place in ("model_ema.", "netG_EMA.", "modelEma.", "ema.online_model.", "schema.")]
    [True, True, True, False, False]
    >>> [_is_averaged(place) for place in ("opt.state.1.exp_avg", "exp_avg_model.")]
    [False, True]
    """
    words = _MOMENTS.sub("", _words(place))
    return bool(_AVERAGED.search(words)) and not _ONLINE.search(words)


def _words(place: str) -> str:
    """A place in small letters, with "_" between the words of modelEma."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", place).lower()


def _distinct(found: Sequence[Found]) -> list[Found]:
    """Those of the networks that are not equal to one before them."""
    kept: list[Found] = []
    for each in found:
        if not any(_equal(each.state, other.state) for other in kept):
            kept.append(each)
    return kept


def _equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    try:
        return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
    except RuntimeError:  # of types or places that cannot be compared
        return False


def _squeezed(groups: Mapping[str, Mapping[str, Tensor]], plain: Mapping[str, Tensor]) -> Found | None:
    """Averages under the names of `plain` without their dots, as the LitEma of latent diffusion keeps them."""
    names = {name.replace(".", ""): name for name in plain}
    first = FIRST.replace(".", "")
    for place, group in groups.items():
        for name in group:
            prefix = name.removesuffix(first)
            if name.endswith(first) and _is_averaged(place + prefix):
                state = {names[each]: group[prefix + each] for each in names if prefix + each in group}
                return Found(state, (place + prefix).removesuffix("."), averaged=True)
    return None


def _left(groups: Mapping[str, Mapping[str, Tensor]], chosen: Found) -> str | None:
    """What was left out although it might be meant: averages in another form, or tensors beside the chosen prefix."""
    if not chosen.averaged:
        for place, group in groups.items():
            for name, tensor in group.items():
                if tensor.numel() > 1 and _is_averaged(place + name):
                    return f"averaged weights that have not the names of a MIRNet's ({place}{name}, …)"
    for place, group in groups.items():
        prefix = chosen.place[len(place) :]
        if prefix and f"{chosen.place}.".startswith(place):
            beside = [name for name in group if not name.startswith(f"{prefix}.") and group[name].numel() > 1]
            if any(name.startswith(f"{prefix}.") for name in group) and beside and not chosen.averaged:
                return f"{len(beside)} tensors of another network ({place}{beside[0]}, …)"
    return None
