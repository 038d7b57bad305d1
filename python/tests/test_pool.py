"""Pools as Arrow tables."""

import json
import subprocess
import sys

import pytest

import l4sllm
from l4sllm import _native

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def table():
    """Two episodes of three rows."""
    unsigned = pyarrow.uint8()
    columns = {
        "episode": pyarrow.array([0, 0, 0, 1, 1, 1], pyarrow.uint32()),
        "scenario": ["one"] * 3 + ["two"] * 3,
        "time_ns": pyarrow.array([1, 2, 3, 1, 2, 3], pyarrow.uint64()),
        "action": pyarrow.array([0, 1, 2, 0, 0, 1], unsigned),
        "base_action": pyarrow.array([0, 0, 2, 0, 1, 1], unsigned),
        "reason": pyarrow.array([0, 0, 0, 0, 0, 0], unsigned),
        "reward": [0.5, -1.0, 2.0, 0.0, 1e-3, 3.0],
        "done": [False, False, True, False, False, False],
        "queue_length": [0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
    }
    fields = [
        pyarrow.field(name, pyarrow.array(column).type, nullable=False)
        if not isinstance(column, pyarrow.Array)
        else pyarrow.field(name, column.type, nullable=False)
        for name, column in columns.items()
    ]
    arrays = [
        pyarrow.array(column) if not isinstance(column, pyarrow.Array) else column
        for column in columns.values()
    ]
    return pyarrow.Table.from_arrays(arrays, schema=pyarrow.schema(fields))


@pytest.fixture
def pool(tmp_path):
    path = tmp_path / "pool.parquet"
    parquet.write_table(table(), path)
    return path


def test_pool_equals_its_parquet_table(pool):
    assert l4sllm.read_pool(pool).equals(table())
    assert l4sllm.read_pool(str(pool)).schema.equals(table().schema)


def test_pool_is_an_arrow_stream_for_any_library(pool):
    native = _native.read_pool(pool)
    assert len(native) == 6 and native.columns == table().column_names
    # A stream is consumed; the pool is not.
    for _ in range(2):
        reader = pyarrow.RecordBatchReader.from_stream(native)
        assert reader.read_all().num_rows == 6
    with pytest.raises(NotImplementedError):
        native.__arrow_c_stream__(object())


def test_optional_columns_may_be_missing(tmp_path):
    path = tmp_path / "pool.parquet"
    parquet.write_table(table().drop_columns(["time_ns", "base_action", "reason"]), path)
    assert "time_ns" not in l4sllm.read_pool(path).column_names


def test_errors_have_the_commands_text(tmp_path):
    with pytest.raises(
        l4sllm.PoolError, match=f"cannot open {tmp_path}/none: No such file"
    ):
        l4sllm.read_pool(tmp_path / "none")
    text = tmp_path / "text"
    text.write_text("a,b\n1,2\n")
    with pytest.raises(
        l4sllm.PoolError, match=r"text:1: not a pool \(Parquet or JSON\) but"
    ):
        l4sllm.read_pool(text)
    bad = tmp_path / "bad.parquet"
    action = table().column_names.index("action")
    wrong = pyarrow.array([0, 1, 7, 0, 0, 1], pyarrow.uint8())
    parquet.write_table(table().set_column(action, "action", wrong), bad)
    with pytest.raises(l4sllm.PoolError, match=r"bad\.parquet.*action"):
        l4sllm.read_pool(bad)
    assert issubclass(l4sllm.PoolError, l4sllm.Error)


def test_pools_work_without_gymnasium(pool):
    code = f"""
import sys
for name in ("gymnasium", "numpy", "pyarrow"):
    sys.modules[name] = None
import l4sllm
from l4sllm import _native
print(len(_native.read_pool({json.dumps(str(pool))})))
try:
    l4sllm.register()
except ImportError:
    print("no gymnasium")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "6\nno gymnasium\n", done.stderr
