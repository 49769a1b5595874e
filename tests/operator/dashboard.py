"""Reads a Grafana dashboard with Grafana's Python types and prints unknown fields and changed values.

Usage: dashboard.py FILE. Prints nothing for a valid dashboard. Grafana generates the types from its schema. Serialising
the parsed dashboard omits unknown fields, and the comparison with the file finds them.
"""

import json
import sys

from grafana_foundation_sdk.cog import runtime
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

COLUMNS = 24


def differences(ours, theirs, path):
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key in ours:
            if key in theirs:
                yield from differences(ours[key], theirs[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} is no part of Grafana's schema"
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, pair in enumerate(zip(ours, theirs)):
            yield from differences(*pair, f"{path}[{index}]")
    elif ours != theirs or type(ours) is not type(theirs):
        yield f"{path}: {ours!r} is read as {theirs!r}"


def cells(panel):
    position = panel["gridPos"]
    for x in range(position["x"], position["x"] + position["w"]):
        for y in range(position["y"], position["y"] + position["h"]):
            yield x, y


def arrangement(panels):
    taken, ids = {}, set()
    for panel in panels:
        title = panel["title"]
        if runtime.panelcfg_config(panel["type"]) is None:
            yield f"{title}: Grafana has no panel {panel['type']!r}"
        if panel["id"] in ids:
            yield f"{title}: another panel has its id"
        ids.add(panel["id"])
        for cell in cells(panel):
            if cell[0] >= COLUMNS:
                yield f"{title}: wider than the page"
            if cell in taken:
                yield f"{title}: lies on {taken[cell]}"
            taken[cell] = title


def main():
    register_default_plugins()
    with open(sys.argv[1], encoding="utf-8") as file:
        ours = json.load(file)
    theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
    for problem in [*differences(ours, theirs, ""), *arrangement(ours["panels"])]:
        print(problem)


main()
