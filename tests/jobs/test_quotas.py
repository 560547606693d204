"""The operator's file of quotas."""

from __future__ import annotations

import pytest

from automata_svc.errors import SpecError
from automata_svc.jobs.admission import ANY, Quota, queue_key
from automata_svc.jobs.quotas import FILE_VARIABLE, read_quotas


def read(tmp_path, text: str):
    file = tmp_path / "quotas.yaml"
    file.write_text(text)
    return read_quotas({FILE_VARIABLE: str(file)})


def test_without_a_file_there_are_no_limits():
    assert read_quotas({}) == {}


def test_a_project_has_its_own_and_the_default_in_what_it_does_not_say(tmp_path):
    found = read(tmp_path, "default: {weight: 2, jobs: 3}\nprojects:\n  vision: {slots: 16}\n")
    assert found[ANY] == Quota(2.0, None, 3)
    assert found["vision"] == Quota(2.0, 16, 3)


def test_a_queue_has_limits_and_no_weight(tmp_path):
    found = read(tmp_path, "queues:\n  nightly: {slots: 8}\n")
    assert found[queue_key("nightly")] == Quota(slots=8)
    with pytest.raises(SpecError, match="unknown key 'weight'"):
        read(tmp_path, "queues:\n  nightly: {weight: 2}\n")


def test_all_mistakes_come_back_at_once(tmp_path):
    with pytest.raises(SpecError) as caught:
        read(tmp_path, "projects:\n  a: {weigth: 1, slots: -1}\n  b: {weight: 0}\n  c: 7\n")
    said = str(caught.value)
    assert "4 mistakes" in said and "weight" in said and "projects.a.slots" in said


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SpecError, match="nowhere"):
        read_quotas({FILE_VARIABLE: str(tmp_path / "nowhere.yaml")})
