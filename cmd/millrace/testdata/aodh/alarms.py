"""Runs Aodh's API, evaluator and notifier in one process, which needs no message broker.

    alarms.py CONFIG ROLE PROJECT

Standard input has a list of alarms in JSON, in one line: they are created through the API, by
somebody with that role in that project, and evaluated until the input ends.
"""
import json
import sys

import webob
from aodh import evaluator, notifier, service
from aodh.api import app

conf = service.prepare_service(["--config-file", sys.argv[1]])
api = app.load_app(conf)
for alarm in json.loads(sys.stdin.readline()):
    request = webob.Request.blank("/v2/alarms", method="POST", json=alarm, content_type="application/json", headers={
        "X-User-Id": "u1", "X-Project-Id": sys.argv[3], "X-Roles": sys.argv[2],
    })
    answer = request.get_response(api)
    if answer.status_code != 201:
        sys.exit(f"{alarm['name']}: {answer.status} {answer.text}")
services = [notifier.AlarmNotifierService(0, conf), evaluator.AlarmEvaluationService(0, conf)]
sys.stdin.read()
for running in reversed(services):
    running.terminate()
