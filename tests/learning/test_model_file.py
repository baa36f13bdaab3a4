import hashlib
import io
import json
from collections.abc import Hashable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from simulators import rollout
from simulators.daily_balance import daily_balance

from retry_engine.decisioning import features, reasons
from retry_engine.decisioning.success_model import Floats, LearntModel, Matrix
from retry_engine.domain.errors import CannotLearn, InvalidInput
from retry_engine.learning import fingerprint, model_file, replay, training
from retry_engine.learning.log import validate
from retry_engine.learning.training import Trained

START = datetime(2025, 1, 6, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def log() -> pd.DataFrame:
    past, _, bank = daily_balance(11, 700, test=1, since=START)
    return validate(pd.DataFrame(rollout.mixed_history(past, bank, 11)))[0]


@pytest.fixture(scope="module")
def trained(log: pd.DataFrame) -> Trained:
    return training.train(log, seed=2)


def _read(content: bytes) -> LearntModel:
    return model_file.read(content, sha256=hashlib.sha256(content).hexdigest())


def _altered(content: bytes, **about: object) -> bytes:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = dict(archive)
    document = json.loads(arrays["about"].tobytes()) | about
    arrays["about"] = np.frombuffer(json.dumps(document).encode(), dtype=np.uint8)
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def test_a_model_that_was_written_and_read_says_the_same(
    trained: Trained, log: pd.DataFrame
) -> None:
    again = _read(model_file.write(trained.model))
    for retry in list(replay.walk(log))[-20:]:
        slots = retry.view.now.timestamp() + np.arange(0, 20, dtype=np.float64) * 10_800
        np.testing.assert_array_equal(
            trained.model.success_probability(retry.view, retry.method, slots),
            again.success_probability(retry.view, retry.method, slots),
        )


def test_a_file_that_was_altered_is_refused(trained: Trained) -> None:
    content = model_file.write(trained.model)
    with pytest.raises(InvalidInput, match="hash differs"):
        model_file.read(content + b" ", sha256=hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"made_with": {"scikit-learn": "1.0.0"}}, "made with scikit-learn 1.0.0"),
        ({"features": ["another"]}, "other features"),
        ({"format": 99}, "format 99"),
        ({"sizes": [1]}, "not readable"),
    ],
)
def test_a_model_of_another_make_is_refused_with_the_reason(
    trained: Trained, change: dict[str, object], told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        _read(_altered(model_file.write(trained.model), **change))


def test_trees_that_point_outside_themselves_are_refused(trained: Trained) -> None:
    content = model_file.write(trained.model)
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = {name: archive[name].copy() for name in archive.files}
    arrays["nodes"]["right_child"][0] = 10**6
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    with pytest.raises(InvalidInput, match="no tree"):
        _read(out.getvalue())


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(InvalidInput, match="not readable"):
        _read(b"cos\nsystem\n(S'true'\ntR.")


def test_points_add_up_to_the_gap_between_two_charges(trained: Trained, log: pd.DataFrame) -> None:
    told = 0
    for retry in list(replay.walk(log))[-30:]:
        now = retry.view.now
        moments = (now + timedelta(days=3), now)
        one, two = ((method, at) for method, at in zip([retry.method] * 2, moments, strict=True))
        slots = np.array([at.timestamp() for at in reversed(moments)])
        chance = trained.model.success_probability(retry.view, retry.method, slots)
        gap = 100 * (chance[1] - chance[0])
        points = reasons.contrast(trained.model, retry.view, one, two)
        if points:
            told += 1
            assert sum(r.points or 0.0 for r in points) == pytest.approx(gap, abs=1e-6)
            shown = reasons.of_charge(retry.view, *one, model=trained.model, other=two)
            # what is too small to be named is in the last of them, as "everything else"
            assert sum(r.points or 0.0 for r in shown) == pytest.approx(gap, abs=0.06)
    assert told > 10


def test_too_little_data_is_refused_with_what_is_missing(log: pd.DataFrame) -> None:
    with pytest.raises(CannotLearn, match="at least 200"):
        training.train(log.head(50))


def _version(log: pd.DataFrame, rows: training.Rows, seed: int = 0) -> str:
    return training.version_of(replace(rows, log=fingerprint.of_log(log)), seed, "")


def test_other_rows_of_any_kind_or_other_code_make_another_version(
    trained: Trained, log: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_it_is = _version(log, trained.rows)
    assert _version(log.copy(), trained.rows) == as_it_is
    end: dict[Hashable, Any] = log.iloc[-1].to_dict()
    end |= {"kind": "closed", "invoice_id": "in_new", "close_reason": "churned"}
    closed = pd.concat([log, pd.DataFrame([end])])
    changed = log.copy()
    changed.loc[changed.index[0], "customer_country"] = "XX"
    others = [_version(closed, trained.rows), _version(changed, trained.rows)]
    others.append(_version(log, trained.rows, seed=1))
    monkeypatch.setattr(fingerprint, "of_code", lambda: "another day's code")
    others.append(_version(log, trained.rows))
    assert len({as_it_is, *others}) == 5


def test_all_code_that_learns_and_decides_is_in_the_version() -> None:
    names = {name for name, _ in fingerprint.sources()}
    assert {
        "decisioning/success_model.py", "decisioning/features/timing.py", "learning/training.py",
        "domain/decline_codes.csv", "domain/network_rules/rules.py",
    } <= names  # fmt: skip


def test_features_are_found_by_name(
    trained: Trained, log: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    retry = next(iter(replay.walk(log)))
    slots = np.array([retry.attempt.at.timestamp()])
    thin = replace(trained.model, group_rows={}, trees=_Flat())
    before = thin.success_probability(retry.view, retry.method, slots)
    monkeypatch.setattr(features, "GROUPS", (_probe_group(), *features.GROUPS))
    assert np.array_equal(before, thin.success_probability(retry.view, retry.method, slots))


def _probe_group() -> features.Group:
    group = features.Group()

    @group.feature("a test", "what is always so")
    def _probe(_: features.FeatureContext) -> float:
        """Always 1."""
        return 1.0

    return group


def test_one_function_adds_a_feature(
    trained: Trained, log: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, stored = len(features.features()), model_file.write(trained.model)
    monkeypatch.setattr(features, "GROUPS", (*features.GROUPS, _probe_group()))
    retry = next(iter(replay.walk(log)))
    context = features.FeatureContext(
        retry.view, retry.method, np.array([retry.attempt.at.timestamp()] * 2)
    )
    block = features.matrix(context)
    assert features.column("probe") == before
    assert block.shape == (2, before + 1)
    assert block[:, before].tolist() == [1.0, 1.0]
    assert features.describe_all()[-1] == {
        "name": "probe", "type": "float32", "source": "a test", "doc": "Always 1."
    }  # fmt: skip
    # a model that was made without it is not read
    with pytest.raises(InvalidInput, match="other features"):
        _read(stored)


class _Flat:
    def log_hazard(self, rows: Matrix) -> Floats:
        return np.full(len(rows), -1.0)

    def contributions(self, row: Matrix, background: Matrix) -> Floats:
        return np.zeros(row.shape[1])
