"""Who runs on what: shares by slot-seconds, priorities, quotas, and nobody forgotten."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automata_svc.jobs.admission import (
    Allotment,
    Cluster,
    Job,
    Ledger,
    Machine,
    Quota,
    Size,
    allot,
    fits_nowhere,
    queue_key,
)

ONE = Size(1.0, 0.0)
TWO_CPUS = Cluster((Machine(2.0, 0.0),), drivers=20)


def job(name: str, **fields: object) -> Job:
    given = {
        "project": "default", "priority": 50, "size": ONE, "most": None, "since": 0.0,
        "runs": False, **fields,
    }  # fmt: skip
    return Job(id=name, **given)  # type: ignore[arg-type]


def decide(
    jobs: Sequence[Job],
    cluster: Cluster = TWO_CPUS,
    quotas: Mapping[str, Quota] | None = None,
    now: float = 0.0,
) -> Allotment:
    return allot(jobs, cluster, quotas or {}, Ledger(), now, 1.0)


# ---- one look -----------------------------------------------------------------------------------


def test_a_job_alone_gets_every_slot_that_it_can_use():
    assert decide([job("a")]).slots == {"a": 2}
    assert decide([job("a", most=1)]).slots == {"a": 1}


def test_two_jobs_share_and_a_third_waits_and_says_for_what():
    found = decide([job("a", since=1.0), job("b", since=2.0), job("c", since=3.0)])
    assert found.admit == ("a", "b")
    assert found.slots == {"a": 1, "b": 1}
    assert found.waiting == {"c": "a slot: all are in use by jobs that came before it"}


def test_of_a_project_the_higher_priority_goes_first_and_age_brings_the_lower_up():
    one = Cluster((Machine(1.0, 0.0),), drivers=1)
    soon = [job("low", priority=10), job("high", priority=60, since=2900.0)]
    assert decide(soon, one, now=2900.0).admit == ("high",)
    late = [job("low", priority=10), job("high", priority=60, since=3100.0)]
    assert decide(late, one, now=3100.0).admit == ("low",)  # a point for each minute it waited


def test_a_job_that_matters_more_is_let_in_beside_those_that_run():
    runs = [job("a", runs=True, slots=1), job("b", runs=True, slots=1)]
    found = decide([*runs, job("urgent", priority=90)])
    assert found.admit == ("urgent",) and found.slots["urgent"] >= 1
    assert decide([*runs, job("also", priority=50)]).admit == ()


def test_another_project_gets_what_it_is_owed_though_every_slot_is_taken():
    runs = [job("a", runs=True, slots=1), job("b", runs=True, slots=1)]
    found = decide([*runs, job("c", project="other")])
    assert found.admit == ("c",)
    assert found.slots["c"] == 1 and sum(found.slots.values()) == 2


@pytest.mark.parametrize(
    "quota, said",
    [
        (Quota(jobs=1), "its project's quota: 1 jobs at a time"),
        (Quota(slots=1), "its project's quota: 1 slots"),
    ],
)
def test_a_quota_holds_jobs_back_and_says_so(quota, said):
    found = decide([job("a", since=1.0), job("b", since=2.0)], quotas={"default": quota})
    assert found.admit == ("a",) and found.waiting == {"b": said}
    assert found.slots["a"] == (2 if quota.slots is None else 1)


def test_a_queues_limits_are_those_of_all_projects_in_it_together():
    limits = {queue_key("nightly"): Quota(slots=1)}
    jobs = [
        job("a", project="p", queue="nightly", since=1.0),
        job("b", project="q", queue="nightly", since=2.0),
        job("c", project="q"),
    ]
    found = decide(jobs, Cluster((Machine(4.0, 0.0),), drivers=9), limits)
    assert found.waiting == {"b": "its queue's quota: 1 slots"}
    assert found.slots == {"a": 1, "c": 3}


def test_drivers_are_counted_too():
    found = decide([job("a"), job("b")], Cluster((Machine(8.0, 0.0),), drivers=1))
    assert len(found.admit) == 1
    assert list(found.waiting.values()) == ["a driver: 1 jobs run at a time"]


def test_what_returns_from_a_driver_that_died_keeps_its_place():
    one = Cluster((Machine(1.0, 0.0),), drivers=1)
    jobs = [job("urgent", priority=100), job("back", returns=True)]
    assert decide(jobs, one).admit == ("back",)


def test_a_slot_is_on_one_machine():
    two = Cluster((Machine(2.0, 0.0), Machine(2.0, 1.0)), drivers=9)
    assert two.slots(Size(1.0, 0.0)) == 4
    assert two.slots(Size(2.0, 0.0)) == 2
    assert two.slots(Size(1.0, 0.5)) == 2
    assert two.slots(Size(3.0, 0.0)) == 0
    said = fits_nowhere(Size(3.0, 0.0), two)
    assert said is not None and "3 CPUs" in said and "largest of 2" in said
    found = decide([job("big", size=Size(3.0, 0.0)), job("small")], two)
    assert found.admit == ("small",) and "a larger machine" in found.waiting["big"]


def test_jobs_that_need_no_gpu_leave_the_gpu_machine_to_those_that_do():
    cluster = Cluster((Machine(2.0, 1.0), Machine(2.0, 0.0)), drivers=9)
    found = decide([job("cpu", most=2), job("gpu", size=Size(2.0, 1.0))], cluster)
    assert found.slots == {"cpu": 2, "gpu": 1}


def test_without_machines_everybody_waits_for_one():
    found = decide([job("a")], Cluster((), drivers=9))
    assert found.admit == () and "none now" in found.waiting["a"]


# ---- whatever comes -----------------------------------------------------------------------------

sizes = st.sampled_from(
    [Size(1.0, 0.0), Size(2.0, 0.0), Size(0.5, 0.0), Size(1.0, 1.0), Size(2.0, 0.5)]
)
machines = st.builds(
    Machine, st.sampled_from([0.0, 1.0, 2.0, 4.0, 7.0]), st.sampled_from([0.0, 1.0, 2.0])
)
clusters = st.builds(Cluster, st.lists(machines, max_size=4).map(tuple), st.integers(0, 6))
quotas_ = st.dictionaries(
    st.sampled_from(["p", "q", "r"]),
    st.builds(
        Quota,
        st.sampled_from([0.5, 1.0, 3.0]),
        st.none() | st.integers(0, 4),
        st.none() | st.integers(0, 3),
    ),
)


@st.composite
def queues(draw: st.DrawFn) -> list[Job]:
    return [
        Job(
            id=f"job{index}",
            project=draw(st.sampled_from(["p", "q", "r"])),
            priority=draw(st.integers(0, 100)),
            size=draw(sizes),
            most=draw(st.none() | st.integers(1, 5)),
            since=draw(st.floats(0, 1e6)),
            runs=draw(st.booleans()),
            returns=draw(st.booleans()),
            slots=draw(st.integers(0, 3)),
        )
        for index in range(draw(st.integers(0, 9)))
    ]


@given(queues(), clusters, quotas_, st.floats(0, 1e6))
def test_what_is_granted_fits_and_everybody_has_a_slot_or_a_reason(jobs, cluster, quotas, now):
    found = decide(jobs, cluster, quotas, now)
    waits = [one for one in jobs if not one.runs]
    assert {*found.admit, *found.waiting} == {one.id for one in waits}
    assert not {*found.admit} & found.waiting.keys()
    active = [one for one in jobs if one.runs or one.id in found.admit]
    assert found.slots.keys() == {one.id for one in active}
    assert all(reason for reason in found.waiting.values())
    assert packs(active, found.slots, cluster)
    for one in active:
        assert 0 <= found.slots[one.id]
        assert one.most is None or found.slots[one.id] <= one.most
    for project, quota in quotas.items():
        own = [one for one in active if one.project == project]
        assert quota.slots is None or sum(found.slots[one.id] for one in own) <= quota.slots
        let_in = [one for one in own if not one.runs]
        assert quota.jobs is None or not let_in or len(own) <= quota.jobs
    let_in = [one for one in active if not one.runs]
    assert not let_in or len(active) <= cluster.drivers


@given(queues(), clusters, quotas_, st.floats(0, 1e6), st.randoms())
def test_the_order_in_which_jobs_are_listed_decides_nothing(jobs, cluster, quotas, now, rng):
    first = decide(jobs, cluster, quotas, now)
    shuffled = list(jobs)
    rng.shuffle(shuffled)
    assert decide(shuffled, cluster, quotas, now) == first


@given(queues(), machines, st.floats(0, 1e6))
def test_no_slot_that_somebody_could_use_is_left_over(jobs, machine, now):
    found = decide(jobs, Cluster((machine,), drivers=9), {}, now)
    active = [one for one in jobs if one.runs or one.id in found.admit]
    cpus = machine.cpus - sum(one.size.cpus * found.slots[one.id] for one in active)
    gpus = machine.gpus - sum(one.size.gpus * found.slots[one.id] for one in active)
    for one in active:
        if one.most is None or found.slots[one.id] < one.most:
            assert one.size.cpus > cpus or one.size.gpus > gpus


def packs(active: Sequence[Job], slots: Mapping[str, int], cluster: Cluster) -> bool:
    """Whether the slots fit into the machines some way: searched through, they are few."""
    wanted = sorted((one.size for one in active for _ in range(slots[one.id])), reverse=True)

    def place(index: int, left: tuple[tuple[float, float], ...]) -> bool:
        if index == len(wanted):
            return True
        size, tried = wanted[index], set()
        for at, (cpus, gpus) in enumerate(left):
            if (cpus, gpus) in tried or cpus < size.cpus - 1e-9 or gpus < size.gpus - 1e-9:
                continue
            tried.add((cpus, gpus))
            rest = (*left[:at], (cpus - size.cpus, gpus - size.gpus), *left[at + 1 :])
            if place(index + 1, tuple(sorted(rest))):
                return True
        return False

    return place(0, tuple(sorted((m.cpus, m.gpus) for m in cluster.machines)))


# ---- over time ----------------------------------------------------------------------------------


@dataclass
class World:
    """A cluster over simulated time: drivers shrink only when a segment of theirs ends."""

    cluster: Cluster
    quotas: Mapping[str, Quota] = field(default_factory=dict)
    segment_s: tuple[float, float] = (5.0, 40.0)
    seed: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.now = 0.0
        self.ledger = Ledger()
        self.jobs: dict[str, Job] = {}
        self.ends: dict[str, list[float]] = defaultdict(list)  # of the segments that run
        self.used: dict[str, float] = defaultdict(float)  # slot-seconds in fact
        self.began: dict[str, float] = {}
        self.work: dict[str, float] = {}  # slot-seconds until a job is over

    def add(self, one: Job, work: float = math.inf) -> None:
        self.jobs[one.id] = replace(one, since=self.now)
        self.work[one.id] = work

    def run(self, seconds: float, step: float = 1.0) -> None:
        end = self.now + seconds
        while self.now < end:
            found = allot(
                list(self.jobs.values()), self.cluster, self.quotas, self.ledger, self.now, step
            )
            self.ledger = found.ledger
            for name, slots in found.slots.items():
                self.jobs[name] = replace(self.jobs[name], runs=True, slots=slots)
                self.began.setdefault(name, self.now)
            self._segments()
            self.now += step
            for name in list(self.jobs):
                self.used[name] += step * len(self.ends[name])
                self.jobs[name] = replace(self.jobs[name], uses=len(self.ends[name]))
                if self.used[name] >= self.work[name]:
                    del self.jobs[name], self.ends[name]

    def _segments(self) -> None:
        for ends in self.ends.values():
            ends[:] = [at for at in ends if at > self.now]
        for name, one in self.jobs.items():
            busy = sum(len(ends) for ends in self.ends.values())
            while len(self.ends[name]) < one.slots and busy < self.cluster.slots(one.size):
                self.ends[name].append(self.now + self.rng.uniform(*self.segment_s))
                busy += 1


@pytest.mark.parametrize("jobs, cpus", [(2, 2), (3, 2), (3, 4), (5, 7), (2, 1)])
def test_equal_weights_get_equal_slot_seconds_within_five_percent(jobs, cpus):
    """Each of a project of its own; three hours, segments of 5 to 40 s."""
    world = World(Cluster((Machine(float(cpus), 0.0),), drivers=20))
    for index in range(jobs):
        world.add(job(f"job{index}", project=f"p{index}"))
    world.run(3 * 3600, step=3.0)
    used = [world.used[f"job{index}"] for index in range(jobs)]
    assert max(used) / min(used) < 1.05
    assert sum(used) > 0.97 * cpus * 3 * 3600  # and nothing is wasted on it


def test_jobs_of_one_project_share_equally_too():
    world = World(Cluster((Machine(3.0, 0.0),), drivers=20))
    for index in range(2):
        world.add(job(f"job{index}"))
    world.run(3 * 3600, step=3.0)
    assert max(world.used.values()) / min(world.used.values()) < 1.05


def test_a_project_of_twice_the_weight_gets_twice_as_much():
    world = World(
        Cluster((Machine(4.0, 0.0),), drivers=20),
        {"p": Quota(weight=2.0), "q": Quota(weight=1.0)},
    )
    for name, project in (("a", "p"), ("b", "p"), ("c", "q")):
        world.add(job(name, project=project))
    world.run(3 * 3600, step=3.0)
    mine, other = world.used["a"] + world.used["b"], world.used["c"]
    assert mine / other == pytest.approx(2.0, rel=0.05)


def test_ten_points_of_priority_are_worth_twice_the_slots():
    world = World(Cluster((Machine(3.0, 0.0),), drivers=20))
    world.add(job("usual", priority=50))
    world.add(job("more", priority=60))
    world.run(3 * 3600, step=3.0)
    assert world.used["more"] / world.used["usual"] == pytest.approx(2.0, rel=0.05)


def test_a_newcomer_is_owed_nothing_for_the_time_before_it_came():
    world = World(Cluster((Machine(2.0, 0.0),), drivers=20))
    world.add(job("old", project="p"))
    world.run(3600, step=3.0)
    before = world.used["old"]
    world.add(job("new", project="q"))
    world.run(3600, step=2.0)
    assert world.used["old"] - before == pytest.approx(world.used["new"], rel=0.08)


def test_nobody_starves_under_a_stream_of_higher_priorities():
    world = World(Cluster((Machine(2.0, 0.0),), drivers=4))
    for index in range(3):
        world.add(job(f"low{index}", priority=0), work=600)
    for minute in range(4 * 60):
        world.add(job(f"high{minute}", priority=100), work=110)
        world.run(60, step=3.0)
    assert all(f"low{index}" in world.began for index in range(3))
    assert all(world.used[f"low{index}"] > 0 for index in range(3))


def test_a_small_project_is_served_beside_one_with_a_long_queue():
    world = World(Cluster((Machine(2.0, 0.0),), drivers=6))
    for index in range(40):
        world.add(job(f"many{index:02}", project="p"), work=1200)
    world.run(600, step=2.0)
    world.add(job("few", project="q"), work=1200)
    world.run(3600, step=2.0)
    assert world.began["few"] - 600 < 10
    assert world.used["few"] >= 1200


def test_slots_do_not_change_hands_all_the_time():
    world = World(Cluster((Machine(3.0, 0.0),), drivers=20))
    for index in range(2):
        world.add(job(f"job{index}"))
    changes, before = 0, None
    for _ in range(1800):
        world.run(1.0)
        slots = {name: one.slots for name, one in world.jobs.items()}
        changes += slots != before
        before = slots
    assert changes <= 1800 / 60 + 2
