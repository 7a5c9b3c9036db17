"""The simulation against the closed forms of queueing theory."""

from __future__ import annotations

import math
import random

import pytest

from mirnet_deploy.benchmarks.scale.queueing import Server, Visit, bound, simulate


def fixed(server: Server | None, seconds: float) -> Visit[None]:
    return Visit(server, lambda _: seconds)


def test_a_server_serves_in_the_order_of_coming() -> None:
    server = Server("", 2)
    assert [server.serve(0, 3), server.serve(0, 1), server.serve(0.5, 1), server.serve(9, 2)] == [3, 1, 2, 11]


def test_a_server_is_busy_from_begin_to_end_of_service() -> None:
    server = Server("")
    server.serve(1, 2)
    server.serve(2, 2)  # waits until 3
    assert [server.busy_s(now) for now in (2, 3, 4, 5, 9)] == [1, 2, 3, 4, 4]


@pytest.mark.parametrize("customers", [4, 7])
def test_a_line_of_fixed_stages_is_as_fast_as_its_slowest(customers: int) -> None:
    """One stage has two servers, and so half of its time counts."""
    a, b, c = Server("a"), Server("b", 2), Server("c")
    route = [fixed(a, 0.2), fixed(b, 0.5), fixed(c, 0.1)]
    steady = simulate([route] * customers, lambda: None)
    assert steady.rate == pytest.approx(min(1 / 0.2, 2 / 0.5, 1 / 0.1), rel=1e-3) == bound([route] * customers, [None])
    assert steady.utilisation == pytest.approx({"a": 0.8, "b": 1, "c": 0.4}, rel=1e-3)
    assert steady.converged


def test_few_customers_go_round_as_if_each_were_alone() -> None:
    route = [fixed(Server("a", 2), 0.2), fixed(None, 1.8)]
    steady = simulate([route] * 2, lambda: None)
    assert steady.rate == pytest.approx(2 / 2.0) == bound([route] * 2, [None])
    assert steady.residence_s == pytest.approx(2)


@pytest.mark.parametrize(("customers", "think"), [(4, 6.0), (12, 6.0)])
def test_one_exponential_server_and_a_delay_are_the_machine_repairman(customers: int, think: float) -> None:
    """M/M/1 with a finite source (Kleinrock, Queueing Systems I, 3.8): p(k) ~ N!/(N-k)! (service/think)^k."""
    numbers = random.Random(1)
    route = [
        Visit(Server("repairman"), lambda _: numbers.expovariate(1.0)),
        Visit(None, lambda _: numbers.expovariate(1 / think)),
    ]
    steady = simulate([route] * customers, lambda: None, rounds=15_000 // customers)
    weights = [math.perm(customers, failed) / think**failed for failed in range(customers + 1)]
    busy = 1 - weights[0] / sum(weights)
    assert steady.utilisation["repairman"] == pytest.approx(busy, rel=0.02)
    assert steady.rate == pytest.approx(busy, rel=0.02)
    assert steady.in_network == customers
    assert steady.rate * steady.residence_s == pytest.approx(customers, rel=0.005)  # Little's law


def test_pictures_that_differ_go_each_by_its_own_times() -> None:
    """Drawn in turn, 0.1 and 0.5 s: in the mean 0.3."""
    drawn = iter([0.1, 0.5] * 20_000)
    route: list[Visit[float]] = [Visit(Server("a"), lambda seconds: seconds)]
    steady = simulate([route] * 3, lambda: next(drawn))
    assert steady.rate == pytest.approx(1 / 0.3, rel=1e-3)
    assert bound([route] * 3, [0.1, 0.5]) == pytest.approx(1 / 0.3)


@pytest.mark.parametrize("customers", [40, 70])
def test_pictures_that_come_in_bursts_are_counted_as_well(customers: int) -> None:
    """Without anybody who waits they stay together as they are; near the limit they come together."""
    route = [fixed(Server("a", 50), 1.0), fixed(None, 0.2)]
    steady = simulate([route] * customers, lambda: None)
    assert steady.rate == pytest.approx(min(customers / 1.2, 50), rel=1e-3)
    assert steady.converged


def test_servers_of_one_name_are_counted_together() -> None:
    """Two lines with servers of their own, one half as fast."""
    routes = [[fixed(Server("a"), 1.0)], [fixed(Server("a"), 0.5), fixed(None, 0.5)]]
    steady = simulate(routes, lambda: None)
    assert steady.utilisation["a"] == pytest.approx(0.75, rel=1e-3)
    assert steady.rate == pytest.approx(2, rel=1e-3)


def test_a_rate_that_goes_on_changing_is_not_called_steady() -> None:
    """Every picture takes longer than the one before."""
    made = [0]

    def slower() -> float:
        made[0] += 1
        return 1e-4 * made[0]

    route: list[Visit[float]] = [Visit(Server("a"), lambda seconds: seconds)]
    assert not simulate([route], slower, rounds=50).converged


def test_batches_grow_until_their_rates_are_alike() -> None:
    """Times with a coefficient of variation of 1: rates of 1000 pictures differ by some 3 %, those of 16,000 by less
    than 1 %."""
    numbers = random.Random(5)
    route: list[Visit[float]] = [Visit(Server("a"), lambda seconds: seconds)]
    found = simulate([route], lambda: numbers.expovariate(1.0))
    assert found.converged
    assert found.pictures > 4000
    assert found.rate == pytest.approx(1, rel=0.02)
