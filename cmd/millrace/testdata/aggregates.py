"""Computes what the archive policy "high" keeps of CSV files, the obvious way.

    aggregates.py FOLDER ROWS_PER_REQUEST

Every *.csv below FOLDER is a metric: a header, then rows of timestamp (UTC) and value, which are
sent so many at a time. Prints metric, granularity, method, bucket (seconds) and value, tab
separated, of every bucket that is kept. Nothing here knows how Millrace does it.
"""
import csv
import datetime
import math
import os
import sys

DAY = 86400
KEPT = {1: 3600, 60: 7 * DAY, 3600: 365 * DAY}  # granularity: timespan, in seconds
COARSEST = max(KEPT)  # with a back window of 0: what is older than the newest one's bucket is late


def read(path):
    with open(path, newline="", encoding="ascii") as file:
        rows = csv.reader(file)
        assert next(rows) == ["timestamp", "value"], path
        for timestamp, value in rows:
            at = datetime.datetime.strptime(timestamp, "%Y-%m-%d %H:%M:%S").replace(tzinfo=datetime.timezone.utc)
            yield int(at.timestamp()), float(value)


def measures(rows, per_request):
    """The measures that stay, by time. A request is judged by what came before it; of equal times the later row counts."""
    kept, late = {}, 0
    for i in range(0, len(rows), per_request):
        horizon = max(kept) // COARSEST * COARSEST if kept else -math.inf
        for at, value in rows[i:i + per_request]:
            if at < horizon:
                late += 1
            else:
                kept[at] = value
    return sorted(kept.items()), late


def total(values):
    s = 0.0  # not sum(), which newer Pythons compensate
    for v in values:
        s += v
    return s


def deviation(values):
    """Of a sample; one value has none."""
    if len(values) < 2:
        return None
    mean = total(values) / len(values)
    return math.sqrt(total([(v - mean) ** 2 for v in values]) / (len(values) - 1))


METHODS = {
    "count": len, "sum": total, "min": min, "max": max, "std": deviation,
    "mean": lambda values: total(values) / len(values),
}


def main(folder, per_request):
    for directory, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            if not name.endswith(".csv"):
                continue
            path = os.path.join(directory, name)
            metric = os.path.relpath(path, folder)[:-len(".csv")].replace(os.sep, ".")
            series, late = measures(list(read(path)), per_request)
            print(metric, 0, "late", 0, late, sep="\t")
            for granularity, timespan in KEPT.items():
                buckets = {}
                for at, value in series:
                    buckets.setdefault(at // granularity * granularity, []).append(value)
                oldest = max(buckets) - timespan
                for bucket, values in sorted(buckets.items()):
                    if bucket <= oldest:
                        continue
                    for method, compute in METHODS.items():
                        result = compute(values)
                        if result is not None:
                            print(metric, granularity, method, bucket, repr(float(result)), sep="\t")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
