"""A job's own code, variables and secrets, from its file to its workers; and nobody else's."""

from __future__ import annotations

import json
import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from automata_svc.blobs.evicting import RECENT_S, cached
from automata_svc.errors import Damaged, NotFound, SpecError
from automata_svc.jobs.bundles import Bundles, cache_of, pack
from automata_svc.jobs.local import LocalService
from automata_svc.settings import Settings
from automata_svc.spec.bundle import bundle_key
from automata_svc.trials.templates import packaged_folder
from tests.jobs.build import RUNNER, job_text, trial

TEMPLATE = (packaged_folder() / "tabular_mlp.py").read_text()
ONE_TRIAL: dict[str, Any] = {
    "space": {"lr": [0.1]},
    "budget": {"trials": 1},
    "scheduler": {"type": "fifo"},
    "confirm": {"enabled": False},
}


def template(path: Path, *lines: str) -> str:
    """tabular_mlp with some lines at the start of its `train`; imports of their own in them."""
    head, mark, rest = TEMPLATE.partition("def train(trial: Trial[Params]) -> None:\n")
    assert mark
    path.write_text(head + mark + "".join(f"    {line}\n" for line in lines) + rest)
    return str(path)


def library(folder: Path, value: str, name: str = "helpers_of_mine") -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.py").write_text(f"VALUE = {value!r}\n")
    return str(folder)


def submit(service: LocalService, name: str = "with-code", **fields: Any) -> str:
    return service.submit(job_text(name, trial=trial(**fields), **ONE_TRIAL), "job.yaml")


def drive(service: LocalService, job: str, runner: str = RUNNER) -> Any:
    return service.drive(job, runner=runner)


def prints(service: LocalService, job: str) -> str:
    return (service.settings.home / "logs" / job / "trial-0.txt").read_text()


# ---- code ---------------------------------------------------------------------------------------

SAYS = ("import helpers_of_mine", "print('it says', helpers_of_mine.VALUE)")


def test_a_template_imports_from_its_jobs_folder_as_it_was_at_submit(service, tmp_path):
    code = library(tmp_path / "lib", "first")
    job = submit(service, template=template(tmp_path / "mine.py", *SAYS), code=code)
    library(tmp_path / "lib", "changed since")
    state = drive(service, job)
    assert state.state == "SUCCEEDED", state.move.reason
    assert prints(service, job) == "it says first\n"


def test_two_jobs_with_modules_and_templates_of_one_name_never_mix(service, tmp_path):
    """In one process, one after the other, then the first one again."""
    jobs = []
    for word in ("one", "two"):
        (tmp_path / word).mkdir()
        own = template(tmp_path / word / "mine.py", *SAYS, f"print('template {word}')")
        jobs.append(submit(service, template=own, code=library(tmp_path / word / "lib", word)))
    same = str(tmp_path / "one" / "mine.py")
    jobs.append(submit(service, template=same, code=library(tmp_path / "three" / "lib", "three")))
    jobs.append(submit(service, template=same, code=str(tmp_path / "one" / "lib")))
    for job in jobs:
        assert drive(service, job).state == "SUCCEEDED"
    assert [prints(service, job) for job in jobs] == [
        "it says one\ntemplate one\n",
        "it says two\ntemplate two\n",
        "it says three\ntemplate one\n",
        "it says one\ntemplate one\n",
    ]


def test_a_template_without_a_folder_finds_nothing_of_the_job_before(service, tmp_path):
    own = template(tmp_path / "mine.py", *SAYS)
    assert drive(
        service, submit(service, template=own, code=library(tmp_path / "lib", "x"))
    ).state == "SUCCEEDED"  # fmt: skip
    state = drive(service, submit(service, template=own))
    assert state.state == "FAILED"
    assert "No module named 'helpers_of_mine'" in state.trials[0].losses[-1].detail


def test_what_is_wrong_with_a_folder_is_said_at_submit_with_the_rest(service, tmp_path):
    library(tmp_path / "lib", "x", name="random")
    with pytest.raises(SpecError) as refused:
        submit(service, template="no_such", code=str(tmp_path / "lib"))
    assert {one.pointer for one in refused.value.problems} == {
        "spec.trial.template", "spec.trial.code",
    }  # fmt: skip
    with pytest.raises(SpecError, match="no such folder"):
        submit(service, code=str(tmp_path / "nothing"))


def test_the_plan_says_what_of_a_folder_is_left_out(service, tmp_path):
    code = Path(library(tmp_path / "lib", "x"))
    (code / ".git").mkdir()
    text = job_text(trial=trial(code=str(code)), **ONE_TRIAL)
    said = service.plan(text, "job.yaml").chosen["spec.trial.code"]
    assert said.value == str(code) and "1 files" in said.reason and "left out: .git/" in said.reason


def test_code_is_kept_once_for_its_project_and_stays_its_own(service, tmp_path):
    code = library(tmp_path / "lib", "x")
    job = submit(service, code=code)
    kept = service.template(job)["code"]
    ref = f"{kept['name']}@{kept['sha256']}"
    assert service.store.exists(bundle_key(kept["sha256"]))
    submit(service, code=ref)  # named as it would be against a server
    submit(service, code=code)
    assert len(service.store.keys("bundles")) == 1
    with pytest.raises(NotFound, match="was pushed to project 'other'"):
        service.bundles.of("other").code(ref)
    data = json.loads(job_text(trial=trial(code=ref), **ONE_TRIAL))
    data["metadata"]["project"] = "other"
    with pytest.raises(SpecError, match="no code lib@"):
        service.submit(json.dumps(data), "job.yaml")


def test_code_that_was_damaged_in_the_store_fails_the_trial_and_says_so(service, tmp_path):
    job = submit(service, template=template(tmp_path / "mine.py", *SAYS),
                 code=library(tmp_path / "lib", "x"))  # fmt: skip
    key = bundle_key(service.template(job)["code"]["sha256"])
    service.store.put(key, b"something else")
    state = drive(service, job)
    assert state.state == "FAILED" and "code cannot be had" in state.trials[0].losses[-1].detail


def test_a_damaged_template_in_the_store_is_said(service):
    data = TEMPLATE.encode()
    import hashlib

    digest = hashlib.sha256(data).hexdigest()
    service.store.put(bundle_key(digest), data + b"#")
    service.bundles.keep("default", "template", "mine", digest, len(data), {})
    with pytest.raises(Damaged, match="push it again"):
        service.bundles.of("default").template(f"mine@{digest}")


def test_the_winner_brings_the_code_along(service, tmp_path):
    own = template(tmp_path / "mine.py", *SAYS)
    text = job_text(
        "winner", **{**ONE_TRIAL, "confirm": {"enabled": True}},
        trial=trial(template=own, code=library(tmp_path / "lib", "x")),
    )  # fmt: skip
    job = service.submit(text, "job.yaml")
    assert drive(service, job).state == "SUCCEEDED"
    service.save_best(job, tmp_path / "best")
    assert (tmp_path / "best" / "code" / "helpers_of_mine.py").is_file()
    import subprocess
    import sys

    run = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path / "best", capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert "weights" in run.stdout


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_workers_that_are_kept_from_segment_to_segment_find_the_code_each_time(service, tmp_path):
    own = template(
        tmp_path / "mine.py",
        "import helpers_of_mine, os",
        "assert helpers_of_mine.VALUE == os.environ['WHICH'] == 'ray'",
        "assert not hasattr(helpers_of_mine, 'seen')",
        "helpers_of_mine.seen = True",
    )
    text = job_text(
        "on-ray",
        trial=trial(
            template=own,
            code=library(tmp_path / "lib", "ray"),
            runtime_env={"env_vars": {"WHICH": "ray"}},
        ),
        parallelism=1,
    )
    job = service.submit(text, "job.yaml")
    state = drive(service, job, "ray")
    assert state.state == "SUCCEEDED", state.move.reason
    assert sum(trial.segment for trial in state.trials) > 6


# ---- runtime_env --------------------------------------------------------------------------------


def test_variables_are_set_around_the_program_and_gone_after_it(service, tmp_path):
    own = template(tmp_path / "mine.py", "import os", "print(os.environ['MY_FLAG'])")
    job = submit(service, template=own, runtime_env={"env_vars": {"MY_FLAG": "on"}})
    assert drive(service, job).state == "SUCCEEDED"
    assert prints(service, job) == "on\n" and "MY_FLAG" not in os.environ


@pytest.mark.parametrize(
    ("env", "pointer", "said"),
    [
        ({"env_vars": {"1X": "a"}}, "env_vars.1X", "no name of a variable"),
        ({"env_vars": {"AUTOMATA_HOME": "a"}}, "env_vars.AUTOMATA_HOME", "the service's own"),
        ({"env_vars": {"RAY_AUTH_TOKEN": "a"}}, "env_vars.RAY_AUTH_TOKEN", "the service's own"),
        ({"env_vars": {"X": "a" * 40_000}}, "env_vars.X", "no process can have"),
        ({"pip": ["--index-url=https://example.org"]}, "pip[0]", "an option of pip"),
        ({"pip": ["x @ https://user:pw@example.org/x.whl"]}, "pip[0]", "credentials"),
        ({"secrets": ["HUB_TOKEN"]}, "secrets[0]", "AUTOMATA_SECRETS_DIR is not set"),
    ],
)
def test_what_no_worker_can_have_is_refused_at_submit(service, env, pointer, said):
    with pytest.raises(SpecError) as refused:
        submit(service, runtime_env=env)
    (problem,) = refused.value.problems
    assert problem.pointer == f"spec.trial.runtime_env.{pointer}" and said in problem.message


def test_packages_are_a_services_affair_and_the_plan_says_so(service):
    text = job_text(trial=trial(runtime_env={"pip": ["timm==1.0.9"]}), **ONE_TRIAL)
    assert any("runtime_env.pip" in one for one in service.plan(text, "job.yaml").warnings)


@pytest.fixture
def secretive(home, tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "HUB_TOKEN").write_text("hf_supersecret\n")
    (folder / ".hidden").write_text("x")
    one = LocalService(replace(home, secrets_dir=folder))
    yield one
    one.database.close()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["HUB_TOKE"], "did you mean 'HUB_TOKEN'"),
        (["../HUB_TOKEN"], "no name of a variable"),
        ([".hidden"], "no name of a variable"),
        (["HUB_TOKEN", "HUB_TOKEN"], "listed twice"),
    ],
)
def test_a_secret_that_is_not_on_the_operators_list_is_refused(secretive, names, said):
    with pytest.raises(SpecError, match=said):
        submit(secretive, runtime_env={"secrets": names})


def test_a_secrets_value_is_nowhere_but_in_the_program(secretive, tmp_path):
    """Printed, raised, and all the same in no row, no blob and no file."""
    own = template(
        tmp_path / "mine.py",
        "import os",
        "print('the token is', os.environ['HUB_TOKEN'])",
        "raise RuntimeError('401 for ' + os.environ['HUB_TOKEN'])",
    )
    job = submit(secretive, template=own, runtime_env={"secrets": ["HUB_TOKEN"]})
    state = drive(secretive, job)
    assert state.state == "FAILED" and "401 for •••" in state.trials[0].losses[-1].detail
    assert prints(secretive, job) == "the token is •••\n"
    home = secretive.settings.home
    with sqlite3.connect(home / "automata.db") as connection:
        dump = "\n".join(connection.iterdump())
    connection.close()
    assert "HUB_TOKEN" in dump and "supersecret" not in dump
    for path in home.rglob("*"):
        if path.is_file():
            assert b"supersecret" not in path.read_bytes(), path


# ---- room ---------------------------------------------------------------------------------------


def test_what_is_unpacked_stays_within_its_room_and_comes_back_when_it_is_wanted(service, tmp_path):
    settings = replace(service.settings, cache_bytes=30)
    bundles = Bundles(service.database, service.store, settings)
    kept = []
    for word in ("first", "second"):
        folder = Path(library(tmp_path / word / "lib", word))
        kept.append(bundles.keep_code("default", folder, pack(str(folder))))
    own = bundles.of("default")
    for code in (kept[0], kept[1], kept[0]):
        assert len(own.files_of(code)) == 1
        (entry,) = cached(cache_of(settings))
        assert entry.path.name == code.sha256
        long_ago = entry.used_at - RECENT_S
        os.utime(entry.path / "index.json", (long_ago, long_ago))


@pytest.mark.parametrize("size", ["50GB", "-1", "1.5", "²"])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(SpecError, match="AUTOMATA_CACHE_BYTES: .* is no number of bytes"):
        Settings.from_env({"AUTOMATA_CACHE_BYTES": size})
