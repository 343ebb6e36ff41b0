"""Reads segments with DuckDB, pyarrow and pandas, and prints what it finds as JSON.

    python read_segments.py FILE...

One line per file and reader: rows, distinct metrics, the first and the last metric,
the sum of the timestamps in microseconds (DuckDB has no finer ones with a time zone),
and per column of doubles how many values there are but NaN (which pandas takes for
nulls) and the sum of those below 1e100.
"""

import json
import math
import sys
import uuid

import duckdb
import pandas
import pyarrow.parquet


def summary(rows, metrics, times, doubles):
    return {
        "rows": rows,
        "metrics": len(set(metrics)),
        "first": metrics[0] if metrics else "",
        "last": metrics[-1] if metrics else "",
        "micros": sum(t // 1000 for t in times),
        "counts": {name: sum(not math.isnan(v) for v in values) for name, values in doubles.items()},
        "sums": {name: math.fsum(v for v in values if abs(v) < 1e100) for name, values in doubles.items()},
    }


def time_column(names):
    return "newest" if "newest" in names else "timestamp"


def with_duckdb(path):
    table = duckdb.sql(f"select * from read_parquet('{path}')")
    types = dict(zip(table.columns, map(str, table.types)))
    assert types["metric"] == "UUID", types
    time = time_column(types)
    assert types[time] in ("TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS"), types
    column = lambda name: [r[0] for r in duckdb.sql(f"select \"{name}\" from read_parquet('{path}')").fetchall()]
    times = [r[0] for r in duckdb.sql(
        f"select epoch_ns({time}) from read_parquet('{path}')").fetchall()]
    doubles = {n: [v for v in column(n) if v is not None] for n, t in types.items() if t == "DOUBLE"}
    return summary(len(times), [str(v) for v in column("metric")], times, doubles)


def with_pyarrow(path):
    table = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True).read()
    metrics = [str(v if isinstance(v, uuid.UUID) else uuid.UUID(bytes=v)) for v in table["metric"].to_pylist()]
    times = table[time_column(table.column_names)].cast("int64").to_pylist()
    doubles = {f.name: table[f.name].drop_null().to_pylist() for f in table.schema if str(f.type) == "double"}
    return summary(table.num_rows, metrics, times, doubles)


def with_pandas(path):
    frame = pandas.read_parquet(path)
    metrics = [str(v if isinstance(v, uuid.UUID) else uuid.UUID(bytes=v)) for v in frame["metric"]]
    times = [t.value for t in frame[time_column(frame.columns)]]
    doubles = {n: list(frame[n].dropna()) for n in frame.columns if str(frame[n].dtype) == "float64"}
    return summary(len(frame), metrics, times, doubles)


for path in sys.argv[1:]:
    for reader in (with_duckdb, with_pyarrow, with_pandas):
        print(json.dumps({"file": path, "reader": reader.__name__, **reader(path)}))
