"""SQL over what Millrace stores, while it writes: with DuckDB, or as tables of pyarrow.

    python segments.py millrace-data/storage "select metric, count(*) from raw group by metric"
    python segments.py s3://bucket/prefix "select * from sealed where granularity = 60e9 limit 10"

A deployment's folder has more files than count: replaced ones, and some that are not
finished. What counts is in the manifests, so these are read first, and then the segments
that they name. Nothing is counted twice: of measures with the same time the later one
stays, and metrics that were deleted are left out. What the archive policies' timespans
would hide may still be there.

    raw     metric, archive_policy, timestamp, nanoseconds, value
    sealed  metric, granularity (ns), timestamp, nanoseconds, and a column per aggregation method

Aggregates are sealed when no measure can change them any more; younger buckets have their
measures in raw, all of them. A bucket that is in sealed need not have all in raw.

For S3, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and, off AWS, AWS_ENDPOINT_URL are
taken from the environment. A query that finds a segment gone (they stay five minutes after
they were replaced) is to be run again.
"""

import json
import os
import sys
import urllib.parse


def live(manifests):
    """The segments that count, of the texts of the manifests by their paths.

    Returns {kind: [path]}, oldest first, and the ids of deleted metrics."""
    segments, deleted = {"raw": [], "sealed": [], "state": []}, []
    for path, text in sorted(manifests.items()):
        manifest = json.loads(text)
        if manifest["format"] != 2:
            raise SystemExit(f"{path} has format {manifest['format']}, and this program knows 2")
        for s in manifest["segments"]:
            segments[s["kind"]].append(path.rsplit("/", 1)[0] + "/" + s["name"])
        for t in manifest.get("tombstones") or []:
            deleted += t["metrics"]
    return segments, deleted


def connect(storage):
    """A connection of DuckDB that has the views raw and sealed."""
    import duckdb

    db = duckdb.connect()
    if storage.startswith("s3://"):
        try:
            from duckdb_extensions import import_extension  # from PyPI, where there is no Internet

            import_extension("httpfs")
        except ImportError:
            db.execute("install httpfs")
        db.execute("load httpfs")
        env = os.environ
        options = {"key_id": env["AWS_ACCESS_KEY_ID"], "secret": env["AWS_SECRET_ACCESS_KEY"], "region": env.get("AWS_REGION", "us-east-1")}
        if env.get("AWS_ENDPOINT_URL"):
            url = urllib.parse.urlparse(env["AWS_ENDPOINT_URL"])
            options |= {"endpoint": url.netloc, "use_ssl": str(url.scheme == "https").lower(), "url_style": "path"}
        db.execute("create secret (type s3, " + ", ".join(f"{k} '{v}'" for k, v in options.items()) + ")")
    manifests = dict(db.execute(f"select filename, content from read_text('{storage}/sack/*/manifest.json')").fetchall())
    segments, deleted = live(manifests)
    db.execute("create table deleted (metric uuid)")
    if deleted:
        db.executemany("insert into deleted values (?)", [[d] for d in deleted])
    db.execute("create table segments (filename text, place integer)")
    for kind in ("raw", "sealed"):
        view(db, kind, segments[kind])
    return db


def view(db, kind, files):
    """Makes a view of the segments of one kind. Columns that no segment has are null."""
    if not files:
        columns = {"raw": "archive_policy text, value double", "sealed": "granularity bigint, mean double"}[kind]
        db.execute(f"create table {kind} (metric uuid, {columns}, timestamp timestamptz, nanoseconds integer)")
        return
    db.executemany("insert into segments values (?, ?)", [[f, i] for i, f in enumerate(files)])
    source = "read_parquet([" + ", ".join(f"'{f}'" for f in files) + "], union_by_name = true, filename = true)"
    columns = [c[0] for c in db.execute(f"describe select * from {source}").fetchall()]
    chosen = ["hex(metric)::uuid as metric"]
    chosen += [f'"{c}"' for c in columns if c not in ("metric", "filename", "mean", "nanoseconds")]
    chosen.append(("coalesce(nanoseconds, 0)" if "nanoseconds" in columns else "0") + " as nanoseconds")
    if kind == "sealed":  # a mean that is sum / count to the bit is left out of the file
        have = [c for c in ("mean", "sum / count") if set(c.split(" / ")) <= set(columns)]
        chosen.append(f"coalesce({', '.join(have) or 'null::double'}) as mean")
    latest = "qualify row_number() over (partition by metric, timestamp, nanoseconds order by place desc) = 1" if kind == "raw" else ""
    db.execute(
        f"create view {kind} as select * exclude (filename, place) from (select {', '.join(chosen)}, filename from {source})"
        f" join segments using (filename) where metric not in (select metric from deleted) {latest}"
    )


def table(storage, kind, filesystem=None):
    """The same as a table of pyarrow: "raw" or "sealed". The filesystem is pyarrow's; none: files."""
    import pyarrow as pa
    import pyarrow.fs
    import pyarrow.parquet as pq

    filesystem = filesystem or pyarrow.fs.LocalFileSystem()
    root = storage.removeprefix("s3://")
    found = filesystem.get_file_info(pyarrow.fs.FileSelector(root + "/sack", recursive=True))
    manifests = {f.path: filesystem.open_input_stream(f.path).read() for f in found if f.base_name == "manifest.json"}
    segments, deleted = live(manifests)
    tables = [pq.read_table(path, filesystem=filesystem, partitioning=None) for path in segments[kind]]
    rows = pa.concat_tables(tables, promote_options="default").to_pandas()
    if "nanoseconds" not in rows:
        rows["nanoseconds"] = 0
    rows["nanoseconds"] = rows["nanoseconds"].fillna(0)
    gone = {bytes.fromhex(d.replace("-", "")) for d in deleted}
    rows = rows[~rows["metric"].isin(gone)]
    if kind == "raw":
        rows = rows.drop_duplicates(["metric", "timestamp", "nanoseconds"], keep="last")
    elif {"sum", "count"} <= set(rows):
        quotient = rows["sum"] / rows["count"]
        rows["mean"] = rows["mean"].fillna(quotient) if "mean" in rows else quotient
    return pa.Table.from_pandas(rows, preserve_index=False)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    print(connect(sys.argv[1].rstrip("/")).sql(sys.argv[2]))
