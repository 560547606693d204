"""What a template finds around it is there for its segment, and gone after it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from automata_svc.blobs.evicting import evict
from automata_svc.spec.archive import pack_folder
from automata_svc.trials.errors import TemplateError
from automata_svc.trials.surroundings import HIDDEN, Surroundings, importable, variables


def folder(path: Path, **files: str) -> Path:
    for name, text in files.items():
        file = path / f"{name.replace('__SLASH__', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def nothing(sha256: str) -> bytes:
    raise AssertionError("asked for code")


# ---- modules ------------------------------------------------------------------------------------


def test_two_folders_with_modules_of_one_name_never_mix(tmp_path: Path):
    folders = [
        folder(
            tmp_path / str(number),
            helpers=f"VALUE = {number}\n",
            pkg__SLASH__inner=f"from helpers import VALUE\nTWICE = 2 * VALUE + {number}\n",
        )
        for number in (1, 2)
    ]
    before = set(sys.modules)
    for round_ in range(2):
        for number, one in zip((1, 2), folders, strict=True):
            with importable(one):
                import helpers
                import pkg.inner

                assert (helpers.VALUE, pkg.inner.TWICE) == (number, 3 * number), round_
            assert str(one) not in sys.path
            with pytest.raises(ImportError):
                import helpers
    assert {name for name in set(sys.modules) - before if name.partition(".")[0] in
            ("helpers", "pkg")} == set()  # fmt: skip


def test_code_is_not_taken_away_under_trials_that_may_still_import_of_it(tmp_path: Path):
    packed = pack_folder(folder(tmp_path / "lib", late_of_mine="VALUE = 7\n"))
    around = Surroundings(code=packed.sha256, cache=str(tmp_path / "cache"), cache_bytes=0)
    entry = tmp_path / "cache" / packed.sha256
    with around.in_place(lambda sha256: packed.data):
        assert not evict(entry, recent_s=0.0)
        import late_of_mine

        assert late_of_mine.VALUE == 7
    assert evict(entry, recent_s=0.0)
    assert not entry.exists()


def test_modules_are_run_anew_each_time(tmp_path: Path):
    one = folder(tmp_path, counting_of_mine="COUNT = []\n")
    for _ in range(2):
        with importable(one):
            import counting_of_mine

            counting_of_mine.COUNT.append(1)
            assert counting_of_mine.COUNT == [1]


def test_what_was_loaded_under_a_name_before_is_back_afterwards(tmp_path: Path):
    theirs = folder(tmp_path / "theirs", shared_name="WHO = 'theirs'\n")
    mine = folder(tmp_path / "mine", shared_name="WHO = 'mine'\n")
    sys.path.insert(0, str(theirs))
    try:
        import shared_name as loaded

        with importable(mine):
            import shared_name

            assert shared_name.WHO == "mine"
        assert sys.modules["shared_name"] is loaded
    finally:
        sys.path.remove(str(theirs))
        sys.modules.pop("shared_name", None)


def test_an_error_in_the_block_takes_everything_away_too(tmp_path: Path):
    one = folder(tmp_path, failing_of_mine="raise ValueError('no')\n", other_of_mine="")
    with pytest.raises(ValueError, match="no"), importable(one):
        import other_of_mine  # noqa: F401

        __import__("failing_of_mine")
    assert "other_of_mine" not in sys.modules and str(one) not in sys.path


def test_code_is_fetched_once_and_a_job_whose_code_is_gone_is_told(tmp_path: Path):
    packed = pack_folder(folder(tmp_path / "code", fetched_of_mine="X = 1\n"))
    around = Surroundings(code=packed.sha256, cache=str(tmp_path / "cache"))
    asked: list[str] = []

    def read(sha256: str) -> bytes:
        asked.append(sha256)
        return packed.data

    for _ in range(2):
        with around.in_place(read):
            import fetched_of_mine

            assert fetched_of_mine.X == 1
    assert asked == [packed.sha256]
    other = Surroundings(code="0" * 64, cache=str(tmp_path / "cache"))
    with pytest.raises(TemplateError, match="code cannot be had"), other.in_place(read):
        raise AssertionError


# ---- variables and secrets ----------------------------------------------------------------------


def test_variables_are_there_for_the_block_and_then_as_before(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OLD_ONE", "before")
    monkeypatch.delenv("NEW_ONE", raising=False)
    before = dict(os.environ)
    with variables({"OLD_ONE": "within", "NEW_ONE": "1"}):
        assert (os.environ["OLD_ONE"], os.environ["NEW_ONE"]) == ("within", "1")
        os.environ["MADE_BY_THE_BLOCK"] = "1"
        del os.environ["PATH"]
    assert dict(os.environ) == before


@pytest.fixture
def secretive(tmp_path: Path) -> Surroundings:
    (tmp_path / "HUB_TOKEN").write_text("hf_supersecret\n")
    (tmp_path / "KEY").write_text("-----BEGIN-----\nabcdefgh\nijklmnop\n-----END-----\n")
    return Surroundings(secrets=("HUB_TOKEN", "KEY"), secrets_dir=str(tmp_path))


def test_a_secret_is_a_variable_within_and_is_in_nothing_that_is_pickled(secretive: Surroundings):
    import pickle

    with secretive.in_place(nothing):
        assert os.environ["HUB_TOKEN"] == "hf_supersecret"
    assert "HUB_TOKEN" not in os.environ
    assert b"supersecret" not in pickle.dumps(secretive)


def test_what_is_printed_goes_out_without_secrets(
    secretive: Surroundings, capsys: pytest.CaptureFixture[str]
):
    with secretive.in_place(nothing):
        print("token:", os.environ["HUB_TOKEN"], repr(os.environ["KEY"]))
        print("a line of it: ijklmnop", file=sys.stderr)
    out, err = capsys.readouterr()
    assert out == f"token: {HIDDEN} '{HIDDEN}'\n" and err == f"a line of it: {HIDDEN}\n"


def test_what_is_raised_comes_out_without_secrets(secretive: Surroundings):
    def fails() -> None:
        with secretive.in_place(nothing):
            try:
                raise KeyError(os.environ["HUB_TOKEN"])
            except KeyError as error:
                raise RuntimeError("401 for " + os.environ["HUB_TOKEN"]) from error

    with pytest.raises(TemplateError) as caught:
        fails()
    import traceback

    said = "".join(traceback.format_exception(caught.value))
    assert "supersecret" not in said and f"401 for {HIDDEN}" in said and "line" in said
    with pytest.raises(ZeroDivisionError), secretive.in_place(nothing):
        print(1 / 0)


def test_a_secret_that_is_not_on_the_worker_is_named(tmp_path: Path):
    for around in (
        Surroundings(secrets=("ABSENT",), secrets_dir=str(tmp_path)),
        Surroundings(secrets=("ABSENT",)),
    ):
        with pytest.raises(TemplateError, match="'ABSENT'"), around.in_place(nothing):
            raise AssertionError
