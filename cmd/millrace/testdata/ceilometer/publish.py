"""Gives samples of instances to Ceilometer's own Gnocchi publisher.

    publish.py CONFIG PUBLISHER PROJECT...

PUBLISHER is the publisher's URL. Each project has an instance, vm-PROJECT. Four samples of two of its
metrics are published, two at a time, so that the second time finds what the first has made. The
publisher only logs its failures: to standard error.
"""
import datetime
import sys
import urllib.parse

from ceilometer import sample, service
from ceilometer.publisher import gnocchi

config, url, *projects = sys.argv[1:]
conf = service.prepare_service(["publish", "--config-file", config])
publisher = gnocchi.GnocchiPublisher(conf, urllib.parse.urlparse(url))
for minute in (30, 35):
    at = datetime.datetime(2026, 3, 6, 14, minute, tzinfo=datetime.timezone.utc).isoformat()
    publisher.publish_samples([
        sample.Sample(
            name=name, type=kind, unit=unit, volume=volume * minute, user_id="u1",
            project_id=project, resource_id=f"vm-{project}", timestamp=at,
            resource_metadata={"host": "h1", "display_name": "web", "flavor": {"id": "1", "name": "m1"}},
        )
        for name, kind, unit, volume in (("memory.usage", "gauge", "MB", 2), ("vcpus", "gauge", "vcpu", 1))
        for project in projects
    ])
