"""Pictures that go round through servers: a closed queueing network, simulated until its state is steady.

A customer stands for a place that one picture has on its way: when a picture is done, the next one takes its place. So
the number under way is fixed, as it is with actors that hold so many pictures each. Servers take first who comes first.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Picture = TypeVar("Picture")

CONVERGED = 0.02
"""Rates of batches that differ by no more than this share are those of a steady state."""
BATCHES = 4
"""That are measured, one after the other."""
DOUBLINGS = 5
"""Of the batches' size, at most, where their rates are further apart."""


class Server:
    """`count` equal servers with one queue.

    Args:
        name: of the resource; servers of one name are counted together.
    """

    def __init__(self, name: str, count: int = 1) -> None:
        self.name, self.count = name, count
        self._free = [0.0] * count
        self._assigned = 0.0

    def serve(self, arrival: float, seconds: float) -> float:
        """When somebody who comes at `arrival`, not before the last one, is served and leaves."""
        end = max(arrival, self._free[0]) + seconds
        heapq.heapreplace(self._free, end)
        self._assigned += seconds
        return end

    def busy_s(self, now: float) -> float:
        """Seconds of service until `now`, of all servers together; nobody came after `now`."""
        # Whoever came by now and is not served yet waits for a server that is busy until then.
        return self._assigned - sum(max(0.0, free - now) for free in self._free)


@dataclass(frozen=True)
class Visit(Generic[Picture]):
    """One stage on the way of a picture."""

    server: Server | None
    """None: no server is needed, so that nobody waits for another; a network's latency, for example."""
    seconds: Callable[[Picture], float]


@dataclass(frozen=True)
class Simulated:
    """What was measured of a network."""

    rate: float
    """Pictures a second."""
    residence_s: float
    """From the begin to the end of a picture, mean."""
    in_network: int
    """Pictures under way; by Little's law that is `rate` x `residence_s`."""
    utilisation: dict[str, float]
    """Name of a resource -> the share of its time in which it is busy, over all servers of that name."""
    pictures: int
    """That were measured, after the warm-up."""
    converged: bool
    """Whether the batches' rates were within `CONVERGED` of each other."""


def simulate(
    routes: Sequence[Sequence[Visit[Picture]]], draw: Callable[[], Picture], rounds: int | None = None
) -> Simulated:
    """Lets one customer go round on each route, and measures when one batch is over: `BATCHES` of them, and as long as
    their rates are too far apart as many of twice the size in their place.

    Args:
        routes: one for each customer; at least one, and none without a visit that takes time.
        draw: makes the next picture, whenever one begins.
        rounds: of the first customer in a batch. By default 8, and as many as make about 1000 pictures.
    """
    network = _Network(routes, draw)
    size = rounds or max(8, -(-1000 // len(routes)))
    network.run(size)
    for doubling in range(DOUBLINGS + 1):
        begin, done, residence = network.now, network.done, network.residence_s
        busy = {server: server.busy_s(begin) for server in network.servers}
        rates = [network.run(size << doubling) for _ in range(BATCHES)]
        converged = max(rates) - min(rates) <= CONVERGED * max(rates)
        if converged:
            break
    seconds, pictures = network.now - begin, network.done - done
    shares: dict[str, list[tuple[float, int]]] = {}
    for server in network.servers:
        shares.setdefault(server.name, []).append((server.busy_s(network.now) - busy[server], server.count))
    used = {name: sum(each for each, _ in of) / sum(count for _, count in of) / seconds for name, of in shares.items()}
    return Simulated(
        rate=pictures / seconds,
        residence_s=(network.residence_s - residence) / pictures,
        in_network=len(routes),
        utilisation=used,
        pictures=pictures,
        converged=converged,
    )


def bound(routes: Sequence[Sequence[Visit[Picture]]], pictures: Sequence[Picture]) -> float:
    """The most pictures a second that the routes allow: no resource gives more than its whole time, and no customer
    goes round faster than alone (asymptotic bounds: Lazowska et al., Quantitative System Performance, 1984, chapter 5).

    Args:
        routes: all customers make equally many rounds.
        pictures: whose mean counts.
    """
    demand: dict[Server, float] = {}
    alone = 0.0
    for route in routes:
        for visit in route:
            seconds = sum(map(visit.seconds, pictures)) / len(pictures)
            alone += seconds / len(routes)
            if visit.server:
                demand[visit.server] = demand.get(visit.server, 0.0) + seconds / len(routes)
    limits = [server.count / seconds for server, seconds in demand.items() if seconds]
    return min([len(routes) / alone, *limits])


class _Network(Generic[Picture]):
    """Customers on their ways."""

    def __init__(self, routes: Sequence[Sequence[Visit[Picture]]], draw: Callable[[], Picture]) -> None:
        self._routes, self._draw = routes, draw
        self._place = [0] * len(routes)
        self._picture = [draw() for _ in routes]
        # They begin one after the other over a round of one alone: together they would go on to come in bursts.
        alone = [sum(visit.seconds(each) for visit in route) for route, each in zip(routes, self._picture, strict=True)]
        self._began = [seconds * customer / len(routes) for customer, seconds in enumerate(alone)]
        self._events = [(begin, customer) for customer, begin in enumerate(self._began)]
        heapq.heapify(self._events)
        self.now = self.residence_s = 0.0
        self.done = 0
        self.servers = list(dict.fromkeys(visit.server for route in routes for visit in route if visit.server))

    def run(self, rounds: int) -> float:
        """Goes on until the first customer has made so many more rounds. Returns the rate of pictures meanwhile.

        Not until so many pictures are done: where they come in bursts, how many bursts that takes is left to chance.
        """
        begin, before = self.now, self.done
        while rounds:
            now, customer = self._events[0]
            route, place = self._routes[customer], self._place[customer]
            if place == len(route):
                self.done += 1
                self.now = now
                self.residence_s += now - self._began[customer]
                self._began[customer], self._picture[customer], place = now, self._draw(), 0
                rounds -= customer == 0
            visit = route[place]
            seconds = visit.seconds(self._picture[customer])
            end = visit.server.serve(now, seconds) if visit.server else now + seconds
            self._place[customer] = place + 1
            heapq.heapreplace(self._events, (end, customer))
        return (self.done - before) / (self.now - begin)
