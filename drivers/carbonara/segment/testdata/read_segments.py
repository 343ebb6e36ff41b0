"""Reads segments as other software does, and prints what it finds as JSON.

    python read_segments.py READER,... FILE...

Readers: duckdb, pyarrow, polars, pandas, spark. One line per file and
reader: rows, distinct metrics, the first and the last metric, the sum of the timestamps
in nanoseconds, and per column of doubles how many values there are but NaN (which pandas
takes for nulls) and the sum of those below 1e100. Each reader that has filters is asked
for the rows of the first metric too, which have to be as many as those it read.
"""

import json
import math
import sys


def summary(metrics, micros, rest, doubles):
    """metrics: the bytes of each row's. micros, rest: of each row's timestamp; rest may be None."""
    metrics = [bytes(m).hex() for m in metrics]
    return {
        "rows": len(metrics),
        "metrics": len(set(metrics)),
        "first": metrics[0] if metrics else "",
        "last": metrics[-1] if metrics else "",
        "nanos": sum(micros) * 1000 + sum(rest or []),
        "counts": {name: sum(not math.isnan(v) for v in values) for name, values in doubles.items()},
        "sums": {name: math.fsum(v for v in values if abs(v) < 1e100) for name, values in doubles.items()},
    }


def time_column(names):
    return "newest" if "newest" in names else "timestamp"


def check_first(metrics, found):
    want = sum(m == metrics[0] for m in metrics)
    assert want == found, f"{found} rows of the first metric, not {want}"


def with_duckdb(path):
    import duckdb

    table = duckdb.sql(f"select * from read_parquet('{path}')")
    types = dict(zip(table.columns, map(str, table.types)))
    assert types["metric"] == "BLOB" and types[time_column(types)] == "TIMESTAMP WITH TIME ZONE", types
    column = lambda what: [r[0] for r in duckdb.sql(f"select {what} from read_parquet('{path}')").fetchall()]
    metrics = column("metric")
    first = duckdb.sql(f"select 1 from read_parquet('{path}') where metric = unhex('{metrics[0].hex()}')").fetchall()
    check_first(metrics, len(first))
    doubles = {n: [v for v in column(f'"{n}"') if v is not None] for n, t in types.items() if t == "DOUBLE"}
    rest = column("nanoseconds") if "nanoseconds" in types else None
    return summary(metrics, column(f"epoch_us({time_column(types)})"), rest, doubles)


def with_pyarrow(path):
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(path, page_checksum_verification=True).read()
    metrics = table["metric"].to_pylist()
    check_first(metrics, pyarrow.parquet.read_table(path, filters=[("metric", "=", metrics[0])]).num_rows)
    micros = table[time_column(table.column_names)].cast("int64").to_pylist()
    rest = table["nanoseconds"].to_pylist() if "nanoseconds" in table.column_names else None
    doubles = {f.name: table[f.name].drop_null().to_pylist() for f in table.schema if str(f.type) == "double"}
    return summary(metrics, micros, rest, doubles)


def with_polars(path):
    import polars

    frame = polars.read_parquet(path)
    metrics = frame["metric"].to_list()
    first = polars.scan_parquet(path).filter(polars.col("metric") == polars.lit(metrics[0])).collect()
    check_first(metrics, first.height)
    micros = frame[time_column(frame.columns)].dt.epoch("us").to_list()
    rest = frame["nanoseconds"].to_list() if "nanoseconds" in frame.columns else None
    doubles = {n: frame[n].drop_nulls().to_list() for n, t in frame.schema.items() if t == polars.Float64}
    return summary(metrics, micros, rest, doubles)


def with_pandas(path):
    import pandas

    frame = pandas.read_parquet(path)
    time = frame[time_column(frame.columns)]
    rest = [int(n) for n in frame["nanoseconds"]] if "nanoseconds" in frame.columns else None
    doubles = {n: list(frame[n].dropna()) for n in frame.columns if str(frame[n].dtype) == "float64"}
    return summary(list(frame["metric"]), [t.value // 1000 for t in time], rest, doubles)


def spark_reader():
    """One session reads all files: it takes seconds to start."""
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    session = (builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
               .config("spark.sql.session.timeZone", "UTC").getOrCreate())
    session.sparkContext.setLogLevel("ERROR")

    def with_spark(path):
        frame = session.read.parquet(path)
        types = dict(frame.dtypes)
        time = time_column(types)
        assert types["metric"] == "binary" and types[time] == "timestamp", types
        doubles = [n for n, t in types.items() if t == "double"]
        others = [n for n in types if n not in ("metric", time, "nanoseconds", *doubles)]  # can be read, at least
        rest = "nanoseconds" if "nanoseconds" in types else "0"
        names = [f"`{n}`" for n in doubles + others]
        rows = frame.selectExpr("metric", f"unix_micros({time})", rest, *names).collect()
        metrics = [r[0] for r in rows]
        check_first(metrics, frame.where(f"metric = X'{bytes(metrics[0]).hex()}'").count())
        columns = {n: [r[3 + i] for r in rows if r[3 + i] is not None] for i, n in enumerate(doubles)}
        return summary(metrics, [r[1] for r in rows], [r[2] for r in rows], columns)

    return with_spark


def main(names, paths):
    readers = {name: spark_reader() if name == "spark" else globals()["with_" + name] for name in names.split(",")}
    for path in paths:
        for name, read in readers.items():
            print(json.dumps({"file": path, "reader": name, **read(path)}), flush=True)


main(sys.argv[1], sys.argv[2:])
