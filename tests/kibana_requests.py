"""What Kibana would ask Elasticsearch for, asked of a real one and held against the reports.

Lens turns its columns into one search. `_search_of` does so in the same way for what the panels use: buckets one in
another in their order, and in the innermost one metrics, those with a filter inside it.

Maps asks three things of a layer of documents: where they lie, with the values of the fields that style them; the box
around all of them, to move there; and what to tell of the one under the pointer.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import vl_convert
from elasticsearch import Elasticsearch

from include.dashboards.dashboard import Dashboard, fields_of, placed_panels
from include.dashboards.kibana_lens import attributes, lens_can_draw
from include.dashboards.kibana_maps import attributes as map_attributes
from include.dashboards.kibana_vega import CONTEXT, Pinned, fields_shown, specification
from include.dashboards.notes import EVERY, NOTES, ensure_notes
from include.dashboards.panel import Panel
from include.elastic.client import index_name
from include.elastic.indexes import REPORTS_LATEST
from include.elastic.reports import read_rows

Row = dict[str, Any]

CLAUSE = re.compile(r'"?(\w+)"?: ("(?:[^"\\]|\\.)*"|true|false|\d+|\*)(?: and |$)')


def _query_of(kuery: str) -> Row:
    """As Kibana translates `name: value and …`: a quoted value is a phrase."""
    clauses: list[Row] = []
    assert "".join(match.group() for match in CLAUSE.finditer(kuery)) == kuery != ""
    for name, text in CLAUSE.findall(kuery):
        if text == "*":
            clauses.append({"exists": {"field": name}})
        elif text.startswith('"'):
            clauses.append({"match_phrase": {name: re.sub(r"\\(.)", r"\1", text[1:-1])}})
        else:
            clauses.append({"match": {name: json.loads(text)}})
    return {"bool": {"filter": clauses}}


def _search_of(lens: Row, dimension: str) -> Row:
    (layer,) = lens["state"]["datasourceStates"]["formBased"]["layers"].values()
    columns = layer["columns"]
    metrics: Row = {}
    for name in layer["columnOrder"]:
        column = columns[name]
        if column["isBucketed"]:
            continue
        field = column["sourceField"]
        if column["operationType"] == "last_value":
            sort = [{column["params"]["sortField"]: {"order": "desc"}}]
            metric: Row = {"top_hits": {"size": 1, "sort": sort, "_source": [field]}}
        else:
            metric = {column["operationType"]: {"field": field}}
        if "filter" in column:
            metric = {"filter": _query_of(column["filter"]["query"]), "aggs": {"inner": metric}}
        metrics[name] = metric
    aggregations = metrics
    for name in reversed([name for name in layer["columnOrder"] if columns[name]["isBucketed"]]):
        aggregations = _bucket_of(name, columns[name], metrics, aggregations)
    query = _query_of(lens["state"]["query"]["query"])
    query["bool"]["filter"].append({"match_phrase": {"dimension": dimension}})  # the control's
    return {"size": 0, "query": query, "aggs": aggregations}


def _bucket_of(name: str, column: Row, metrics: Row, inner: Row) -> Row:
    given, field = column["params"], column["sourceField"]
    if column["operationType"] == "date_histogram":
        interval = {"calendar_interval": given["interval"], "min_doc_count": 1, "time_zone": "UTC"}
        return {name: {"date_histogram": {"field": field, **interval}, "aggs": inner}}
    order, extra = "_key", {}
    if given["orderBy"]["type"] == "custom":
        order = f"{name}-order"
        extra = {order: {given["orderAgg"]["operationType"]: {"field": given["orderAgg"]["sourceField"]}}}
    elif given["orderBy"]["type"] == "column":
        order = given["orderBy"]["columnId"]
        extra = {order: metrics[order]}
        assert "filter" not in metrics[order]
    terms = {"field": field, "size": given["size"], "order": {order: given["orderDirection"]}}
    return {name: {"terms": terms, "aggs": {**inner, **extra}}}


def _found(lens: Row, answer: Row) -> Iterator[tuple[dict[str, Any], Row, int]]:
    """The buckets of an answer: their keys, their values, how many documents they hold."""
    (layer,) = lens["state"]["datasourceStates"]["formBased"]["layers"].values()
    columns = layer["columns"]
    buckets = [name for name in layer["columnOrder"] if columns[name]["isBucketed"]]
    values = [name for name in layer["columnOrder"] if name not in buckets]

    def descend(part: Row, depth: int, keys: dict[str, Any], count: int) -> Iterator[tuple[dict[str, Any], Row, int]]:
        if depth == len(buckets):
            yield keys, {name: _value(part[name], columns[name]) for name in values}, count
            return
        name = buckets[depth]
        for bucket in part[name]["buckets"]:
            key = bucket.get("key_as_string", bucket["key"])
            yield from descend(bucket, depth + 1, {**keys, name: key}, bucket["doc_count"])

    yield from descend(answer["aggregations"], 0, {}, answer["hits"]["total"]["value"])


def _value(part: Row, column: Row) -> Any:
    inner = part["inner"] if "filter" in column else part
    if column["operationType"] == "last_value":
        hits = inner["hits"]["hits"]
        return hits[0]["_source"][column["sourceField"]] if hits else None
    return inner["value"]


def _key(row: Row, name: str | None, types: Mapping[str, str]) -> Any:
    """A row's value as the key of a bucket."""
    value = row[str(name)]
    if types[str(name)] == "date":
        return f"{value}T00:00:00.000Z"
    if types[str(name)] == "boolean":
        return "true" if value else "false"
    return value


def _limited(panel: Panel, rows: list[Row]) -> list[Row]:
    if panel.sort != "report":
        known = [row for row in rows if row.get(panel.series[0]) is not None]
        rows = sorted(known, key=lambda row: row[panel.series[0]], reverse=panel.sort == "descending")
    return rows[: panel.limit]


def check_lens(client: Elasticsearch, dashboard: Dashboard, dimension: str) -> None:
    """Every panel of the dashboard that Lens draws has the report's numbers, each bucket those of one row."""
    placed = [one for one in placed_panels(dashboard) if lens_can_draw(one.panel)]
    if not placed:
        return
    drawn = [
        attributes(
            one.panel, one.report_name, one.report_type, fields_of(one.report_name), layer_id="layer", data_view="view"
        )
        for one in placed
    ]
    searches: list[Row] = []
    for lens in drawn:
        searches += [{}, _search_of(lens, dimension)]
    answers = client.msearch(index=index_name(REPORTS_LATEST), searches=searches)["responses"]
    for one, lens, answer in zip(placed, drawn, answers, strict=True):
        assert "error" not in answer, (one.id, answer)
        panel = one.panel
        types = {name: field.type for name, field in fields_of(one.report_name).items()}
        rows = read_rows(client, one.report_name, one.report_type.type, dimension, panel.where)
        found = list(_found(lens, answer))
        if panel.mark == "table" or (panel.mark == "metric" and len(panel.series) > 1):
            _check_table(panel, rows, found, one.id)
            continue
        keys = [name for name in (panel.breakdown, panel.x) if name]
        if panel.mark == "heatmap":
            keys.reverse()
        rows = [row for row in rows if all(name in row for name in keys)]
        rows = _limited(panel, rows)
        if keys:
            assert all(count == 1 for _, _, count in found), one.id
        expected = {tuple(_key(row, name, types) for name in keys): row for row in rows}
        assert len(expected) == len(rows), one.id
        by_key = {tuple(key.values()): values for key, values, _ in found}
        if not rows and not keys:
            assert set(by_key[()].values()) == {None}
            continue
        assert by_key.keys() == expected.keys(), one.id
        for key, row in expected.items():
            for name in (panel.color or panel.series[0],) if panel.mark == "heatmap" else panel.series:
                values = by_key[key]
                shown = values.get(name, values.get("value"))
                unfinished = values.get(f"{name}-unfinished")
                if row.get("is_complete") is False and f"{name}-unfinished" in values:
                    shown, unfinished = unfinished, shown
                assert (shown, unfinished) == (row.get(name), None), (one.id, key, name)
        if len(keys) == 1 and types[keys[0]] == "keyword":
            assert list(by_key) == list(expected) or panel.sort != "report", one.id
            if panel.sort != "report":
                by = panel.series[0]
                values_shown = [values.get(by, values.get("value")) for values in by_key.values()]
                assert values_shown == [row[by] for row in expected.values()], one.id


def _check_table(panel: Panel, rows: list[Row], found: list[tuple[dict[str, Any], Row, int]], id_: str) -> None:
    expected = _limited(panel, rows)
    names = panel.columns or panel.series
    shown = [{name: values[name] for name in names} for _, values, _ in found]
    wanted = [{name: row.get(name) for name in names} for row in expected]
    if panel.sort == "report":
        assert shown == wanted[: len(shown)], id_
        assert len(shown) == min(len(wanted), 1_000), id_
        return
    by = panel.series[0]
    order = [values[by] for _, values, _ in found]
    assert order[: len(expected)] == [row[by] for row in expected], id_
    assert set(order[len(expected) :]) <= {None}, id_
    known = [row for row in rows if row.get(by) is not None]
    columns = tuple(dict.fromkeys((by, *names)))
    told = [{name: values[name] for name in columns if values[name] is not None} for _, values, _ in found]
    cut = [{name: row[name] for name in columns if row.get(name) is not None} for row in known]
    check_sorted(told[: len(expected)], cut, panel)


def check_sorted(shown: list[Row], rows: list[Row], panel: Panel) -> None:
    """Rows in the order of the panel's value, cut at its limit: any of the rows that tie may be first, or cut."""
    by = (panel.color or panel.series[0]) if panel.mark == "heatmap" else panel.series[0]
    known = [row for row in rows if row.get(by) is not None]
    values = sorted((row[by] for row in known), reverse=panel.sort == "descending")
    values += [None] * (len(rows) - len(known))
    assert [row.get(by) for row in shown] == values[: panel.limit], panel.title
    for value in dict.fromkeys(values):
        there = Counter(_whole(row) for row in shown if row.get(by) == value)
        wanted = Counter(_whole(row) for row in rows if row.get(by) == value)
        is_cut = len(shown) < len(rows) and value == shown[-1].get(by) if shown else True
        assert there <= wanted if is_cut else there in (wanted, Counter()), (panel.title, value)


def _whole(row: Row) -> frozenset[tuple[str, Any]]:
    return frozenset(row.items())


def check_vega(client: Elasticsearch, dashboard: Dashboard, dimension: str) -> None:
    """Every panel of the dashboard that Vega draws finds the report's rows and notes, and can be drawn with them."""
    for one in placed_panels(dashboard):
        if lens_can_draw(one.panel) or one.panel.mark == "map":
            continue
        index = index_name(REPORTS_LATEST)
        fields = fields_of(one.report_name)
        pinned = Pinned(index_name(NOTES), one.id)
        spec = specification(one.panel, one.report_name, one.report_type, fields, index=index, pinned=pinned)
        body = spec["data"]["url"]["body"]
        parts = body["query"]["bool"]
        # What Kibana puts for its placeholders: the control's filter, and nothing for the others.
        parts["filter"] = [
            {"match_phrase": {"dimension": dimension}} if part == CONTEXT["filter"] else part
            for part in parts["filter"]
        ]
        assert (parts.pop("must"), parts.pop("must_not")) == ([CONTEXT["must"]], [CONTEXT["must_not"]])
        hits = client.search(
            index=spec["data"]["url"]["index"],
            **{"source" if key == "_source" else key: value for key, value in body.items()},
        )["hits"]["hits"]
        names = fields_shown(one.panel, one.report_type)
        rows = read_rows(client, one.report_name, one.report_type.type, dimension, one.panel.where)
        assert [hit["_source"] for hit in hits] == [
            {name: row[name] for name in names if name in row} for row in rows
        ], one.id
        values = [{"_source": hit["_source"]} for hit in hits]
        drawn = {**spec, "data": {"name": spec["data"]["name"], "values": values}, "width": 500, "height": 260}
        svg = vl_convert.vegalite_to_svg(drawn)
        assert svg.startswith("<svg")
        assert not re.search(r' d="[^"]*NaN', svg), one.id
        is_over_days = fields[str(one.panel.x)].type == "date"
        assert ("data" in spec["layer"][-1]) == is_over_days, one.id
        if is_over_days and rows:
            _check_notes(client, one.id, drawn, rows[-1][str(one.panel.x)])


def _check_notes(client: Elasticsearch, panel_id: str, spec: Row, day: str) -> None:
    """Of three notes those on the panel are found, and of these the one on a day of the chart is drawn."""
    *layers, layer = spec["layer"]
    long_ago = "1990-01-01"
    notes = {
        "pinned-to-it": {"panel": panel_id, "dimension": EVERY, "day": day},
        "of-long-ago": {"panel": EVERY, "dimension": EVERY, "day": long_ago},
        "on-another": {"panel": f"{panel_id}0", "dimension": EVERY, "day": day},
    }
    ensure_notes(client)
    operations: list[Row] = []
    for name, note in notes.items():
        operations += [{"index": {"_id": name}}, {**note, "text": name, "author": "ada"}]
    client.bulk(index=index_name(NOTES), operations=operations, refresh=True)
    try:
        url = layer["data"]["url"]
        body = {"source" if key == "_source" else key: value for key, value in url["body"].items()}
        hits = client.search(index=url["index"], **body)["hits"]["hits"]
    finally:
        gone = [{"delete": {"_id": name}} for name in notes]
        client.bulk(index=index_name(NOTES), operations=gone, refresh=True)
    found = [{"_source": hit["_source"]} for hit in hits if hit["_id"] in notes]
    assert found == [
        {"_source": {"day": day, "text": "pinned-to-it", "author": "ada", "dimension": EVERY}},
        {"_source": {"day": long_ago, "text": "of-long-ago", "author": "ada", "dimension": EVERY}},
    ], panel_id
    svg = vl_convert.vegalite_to_svg({**spec, "layer": [*layers, {**layer, "data": {"values": found}}]})
    assert ("pinned-to-it" in svg, "of-long-ago" in svg) == (True, False), panel_id


def check_maps(client: Elasticsearch, dashboard: Dashboard, dimension: str) -> dict[str, int]:
    """Every map of the dashboard has the report's rows where the report says they lie; how many, by panel id."""
    points: dict[str, int] = {}
    index = index_name(REPORTS_LATEST)
    for one in placed_panels(dashboard):
        if one.panel.mark != "map":
            continue
        state = map_attributes(one.panel, one.report_name, one.report_type, layer_id="layer")
        (layer,) = (found for found in json.loads(state["layerListJSON"]) if "query" in found)
        source = layer["sourceDescriptor"]
        geo = source["geoField"]
        styles = layer["style"]["properties"].values()
        styled = [style["options"]["field"]["name"] for style in styles if style.get("type") == "DYNAMIC"]
        query = _query_of(layer["query"]["query"])
        assert source["applyGlobalQuery"]
        query["bool"]["filter"].append({"match_phrase": {"dimension": dimension}})  # the control's
        found = client.search(
            index=index,
            query=query,
            size=10_000,
            track_total_hits=10_001,
            source=False,
            docvalue_fields=[geo, *styled],
            fields=[geo, *source["tooltipProperties"]],
            sort=[{source["sortField"]: {"order": source["sortOrder"]}}],
            aggs={"fitToBounds": {"geo_bounds": {"field": geo}}},
        )
        hits = found["hits"]["hits"]
        rows = read_rows(client, one.report_name, one.report_type.type, dimension, one.panel.where)
        assert found["hits"]["total"]["value"] == len(hits) == len(rows), one.id
        placed = [row for row in rows if geo in row]
        for hit, row in zip(hits, rows, strict=True):
            fields = dict(hit.get("fields", {}))
            where = fields.pop(geo, None)
            assert (where is None) == (geo not in row), one.id
            if where is not None:
                # A layer's points are those of the page, which draws the longitude and the latitude.
                (drawn,) = where
                assert drawn["type"] == "Point"
                x, y = str(one.panel.x), one.panel.series[0]
                assert drawn["coordinates"] == pytest.approx([row[x], row[y]], abs=1e-9), one.id
            told = {name: values[0] for name, values in fields.items()}
            names = (*styled, *source["tooltipProperties"])
            assert told == {name: row[name] for name in names if name in row}, one.id
        bounds = found["aggregations"]["fitToBounds"].get("bounds")
        assert (bounds is None) == (not placed), one.id
        if bounds:
            x, y = ([row[name] for row in placed] for name in (str(one.panel.x), one.panel.series[0]))
            expected = {"top_left": {"lat": max(y), "lon": min(x)}, "bottom_right": {"lat": min(y), "lon": max(x)}}
            for corner, ends in expected.items():
                assert bounds[corner] == pytest.approx(ends, abs=1e-6), one.id
        points[one.id] = len(placed)
    return points
