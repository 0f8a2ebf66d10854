"""Profiles: all there is about one client, product, category, promotion or dimension value.

    kind, name  ->  key figures, daily series, tables and, of a client, the timeline and the scores, JSON-ready

A profile counts what is loaded now, in the indexes `orders` and `downloads`; what an analysis says is quoted from its
latest report, with its date. Days are those of BUSINESS_TIMEZONE, and the words are those of the analyses: an *order*
is a session with a purchase, *revenue* its payment amount, *product revenue* price x quantity of the basket lines of
orders, before discounts; several lines of one product in an order are one order of it.

Basket lines are not documents of their own, so units and product revenue are added up here from the newest
`BASKETS_READ` orders; where there are more, the profile says so. Distinct clients are exact up to `EXACT_CLIENTS`, of
one day up to `EXACT_CLIENTS_OF_A_DAY`, and within a few percent beyond.

Notes are pinned to the charts over days as on a dashboard. What a note is about there is `<kind>: <name>`, and of a
dimension value that value: so its profile shows what dashboards show of it, and the other way round.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from elasticsearch import Elasticsearch, NotFoundError

import configs
from include.dashboards.annotations import shown_with_notes
from include.dashboards.boards import SECONDS_TO_ANSWER
from include.dashboards.dashboard import dashboards, fields_of, placed_panels
from include.dashboards.notes import NOTES, Note, notes_found, search_for_notes
from include.dashboards.panel import Panel
from include.dashboards.search import KINDS, Kind, Search, ask
from include.dashboards.vega import Row, draw, title_of
from include.elastic.client import index_name, plainly
from include.elastic.documents import ALL
from include.elastic.indexes import REPORTS_LATEST
from include.elastic.load import DOWNLOADS, ORDERS
from include.schemas.indexes import KEYWORD, SCORE_FIELDS
from include.schemas.reports import SHARED_FIELDS, Field

SESSIONS_SHOWN = 200
BASKETS_READ = 20_000
BASKETS_AT_ONCE = 5_000
EXACT_CLIENTS = 40_000  # the most that Elasticsearch counts one by one
EXACT_CLIENTS_OF_A_DAY = 3_000  # each day of a profile keeps eight bytes for each of them
NAMES_SHOWN = 20
HORIZONS_DAYS = (7, 30, 90, 180)
KEEP_OPEN = "1m"
AS_OF = "_as_of"

FIELDS: dict[str, Field] = {
    **SHARED_FIELDS,
    "average_order_value": Field("double", "revenue / orders", "currency"),
    "discount_depth": Field("double", "discount / (revenue + discount)", "share"),
    "units": Field("double", "quantity of the basket lines", "units"),
    "product_revenue": Field("double", "price x quantity of the basket lines, before discounts", "currency"),
    "product": Field("keyword", "the product"),
    "promotion_id": Field("keyword", "the promotion"),
    "other_product": Field("keyword", "the product in the same orders"),
    "product_orders": Field("long", "orders with the product of this profile", "orders"),
    "confidence": Field("double", "orders with both / orders with the product of this profile", "share"),
    "confidence_ci_low": Field("double", "lower end of its interval", "share"),
    "confidence_ci_high": Field("double", "upper end of its interval", "share"),
    "lift": Field("double", "how much more often together than if independent; 1 is independence"),
    "lift_ci_low": Field("double", "lower end of the interval of the lift"),
    "lift_ci_high": Field("double", "upper end of the interval of the lift"),
    "moment": Field("keyword", "day and time in BUSINESS_TIMEZONE"),
    "event": Field("keyword", "what happened"),
    "details": Field("keyword", "more about it"),
    "payment_amount": Field("double", "payment amount", "currency"),
    "discount_amount": Field("double", "discount amount", "currency"),
    "score": Field("keyword", "what was scored or predicted"),
    "value": Field("keyword", "the score as a person reads it"),
    "unit": Field("keyword", "the unit of the value"),
    "as_of": Field("date", "the day it is for"),
    "meaning": Field("keyword", "what it says"),
    "horizon_days": Field("long", "days ahead", "days"),
    **{
        f"expected_{what}{end}": Field("double", f"expected {what}", unit)
        for what, unit in (("orders", "orders"), ("revenue", "currency"))
        for end in ("", "_low", "_high")
    },
}

SCORE_TITLES = {  # a score stands alone here, and not beside others of its analysis
    "probability_alive": "P(alive)",
    "clv": "Lifetime value",
    "clv_segment": "Lifetime value segment",
    "rfm_segment": "RFM segment",
    "is_overdue": "Overdue",
}
ORDERED: Search = {"term": {"has_purchased": True}}


class UnknownProfile(LookupError):
    """There is nothing of this kind and name; its text is for people."""


@dataclass(frozen=True)
class FilledPanel:
    """A panel and the rows that it shows; `reason` says why there are none, `notes` what to know about them.

    `twin` is the id of the dashboards' panel that draws the same series: what is pinned to one is pinned to the other.
    """

    panel: Panel
    rows: Sequence[Row]
    reason: str = ""
    notes: tuple[str, ...] = ()
    fields: Mapping[str, Field] | None = None
    twin: str = ""


def read_profile(client: Elasticsearch, kind: str, name: str) -> dict[str, Any]:
    """A profile as the page shows it.

    Raises `UnknownProfile`, and `ElasticsearchProblem` when Elasticsearch does not answer.
    """
    chosen = next((one for one in KINDS if one.name == kind), None)
    if chosen is None:
        known = ", ".join(one.name for one in KINDS)
        raise UnknownProfile(f"There are no profiles of the kind {kind!r}; there are those of {known}.")
    patient = client.options(request_timeout=SECONDS_TO_ANSWER, max_retries=1)
    name = name.encode("utf-8", "replace").decode()
    if len(name) > KEYWORD["ignore_above"]:  # too long to be searched, in the index or for it
        raise UnknownProfile(_gone(chosen, name))
    readers: dict[str, Callable[[Elasticsearch, Kind, str], tuple[str, list[FilledPanel]]]] = {
        "client": _client,
        "product": _item,
        "category": _item,
        "promotion": _promotion,
        "dimension": _dimension,
    }
    summary, shown = readers[kind](patient, chosen, name)
    placed = {f"profile.{kind}.{number}": one for number, one in enumerate(shown, start=1)}
    about = name if kind == "dimension" else f"{kind}: {name}"
    noted = search_for_notes([one.twin or id_ for id_, one in placed.items()], about)[1]
    (answer,) = ask(patient, [(NOTES, noted)], "reading the notes")
    pinned = notes_found(answer)
    return {
        "kind": kind,
        "kind_title": _called(chosen).capitalize(),
        "name": name,
        "summary": summary,
        "about": __doc__,
        "notes_about": about,
        "panels": [_drawn(id_, one, pinned) for id_, one in placed.items()],
        "links": _dashboards(patient, name) if kind == "dimension" else [],
    }


def _drawn(panel_id: str, shown: FilledPanel, pinned: tuple[list[Note], int]) -> dict[str, Any]:
    drawing = draw(shown.panel, shown.rows, shown.fields or FIELDS)
    drawing = replace(drawing, notes=(*drawing.notes, *shown.notes))
    return {
        "id": panel_id,
        "notes_panel": shown.twin or panel_id,
        "type": "profile",
        "report": "",
        "title": shown.panel.title,
        "how_to_read": shown.panel.how_to_read,
        "mark": shown.panel.mark,
        "width": shown.panel.width,
        **shown_with_notes(drawing, shown.twin or panel_id, *pinned, of="profile"),
        "tiles": [asdict(tile) for tile in drawing.tiles],
        "columns": [asdict(column) for column in drawing.columns],
        "rows": drawing.rows,
        "reason": drawing.only_zeros or (drawing.reason and (shown.reason or drawing.reason)),
    }


# ── Clients ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _client(client: Elasticsearch, kind: Kind, name: str) -> tuple[str, list[FilledPanel]]:
    about = {"query": {"term": {kind.field: name}}, "size": 1}
    newest = {"size": SESSIONS_SHOWN, "sort": [{"session_start_date": "desc"}], "track_total_hits": True}
    counted = {**_counted({"term": {"client": name}}), **newest}
    known, answer = ask(client, [(DOWNLOADS, about), (ORDERS, counted)], "reading the profile of a client")
    if not known["hits"]["hits"]:
        raise UnknownProfile(_gone(kind, name))
    customer = known["hits"]["hits"][0]["_source"]
    scores = {field: value for field, value in (customer.get("scores") or {}).items() if value is not None}
    totals = _totals(answer)
    sessions = answer["hits"]["hits"]
    notes: tuple[str, ...] = ()
    if totals["sessions"] > len(sessions):
        notes = (f"Shown are the newest {len(sessions):,} of {totals['sessions']:,} sessions.",)
    values = [value for value in customer.get("dimension", []) if value != ALL]
    told = [f"Downloaded on {_day(customer['download_date'])}", *values]
    return f"{'; '.join(told)}. {_first_and_last(answer)}", [
        _figures(("sessions", "orders", "revenue", "discount", "average_order_value"), totals, "of this client"),
        *_daily(answer, (("orders", "Daily orders"), ("revenue", "Daily revenue")), "of this client"),
        FilledPanel(
            Panel(
                title="Scores",
                mark="table",
                y="score",
                columns=("score", "value", "unit", "as_of", "meaning"),
                width=12,
                how_to_read="What the analyses say about this client, each as of its day.",
            ),
            _scores(scores),
            "No run has scored this client: only clients who ordered by the report date have scores.",
        ),
        *_predictions(scores),
        FilledPanel(
            Panel(
                title="Timeline",
                mark="table",
                y="event",
                columns=("moment", "event", "payment_amount", "discount_amount", "details"),
                width=12,
                how_to_read="What happened, newest first, and above it what is expected up to the days ahead; times "
                "are in the business time zone.",
            ),
            _timeline(customer, scores, sessions),
            notes=notes,
        ),
    ]


def _scores(scores: Row) -> list[Row]:
    days = _score_days(scores)
    return [
        {
            "score": _score_title(name),
            "value": _score_text(SCORE_FIELDS[name], value),
            "unit": SCORE_FIELDS[name].unit,
            "as_of": days.get(name),
            "meaning": SCORE_FIELDS[name].description,
            "number": value,
        }
        for name, value in ((name, scores.get(name)) for name in SCORE_FIELDS)
        if value is not None and not name.endswith(AS_OF) and not _is_predicted(name)
    ]


def _score_days(scores: Row) -> dict[str, str]:
    """The day that each score is for: that of the first `…_as_of` after it among the declared fields."""
    days: dict[str, str] = {}
    waiting: list[str] = []
    for name in SCORE_FIELDS:
        if not name.endswith(AS_OF):
            waiting.append(name)
            continue
        if name in scores:
            days |= dict.fromkeys(waiting, _day_only(scores[name]))
        waiting = []
    # P(alive) is written by two analyses, and the later one's stays.
    if f"clv_prediction{AS_OF}" in scores:
        days["probability_alive"] = _day_only(scores[f"clv_prediction{AS_OF}"])
    return days


def _is_predicted(name: str) -> bool:
    return any(f"_{days}_days" in name for days in HORIZONS_DAYS) and name.startswith("expected_")


def _score_title(name: str) -> str:
    return SCORE_TITLES.get(name) or title_of(name)


def _score_text(field: Field, value: Any) -> str:
    if field.type == "boolean":
        return "yes" if value else "no"
    if field.type == "long":
        return f"{value:,}"
    if field.type != "double":
        return str(value)
    return f"{value:.1%}" if field.unit == "share" else f"{value:,.2f}"


def _predictions(scores: Row) -> list[FilledPanel]:
    rows = [
        {
            "horizon_days": days,
            **{
                f"expected_{what}{end}": scores.get(f"expected_{what}_{days}_days{end}")
                for what in ("orders", "revenue")
                for end in ("", "_low", "_high")
            },
        }
        for days in HORIZONS_DAYS
    ]
    day = _day_only(scores.get(f"clv_prediction{AS_OF}", ""))
    reason = "No run has predicted for this client: predictions need an order, and the analysis clv_prediction."
    return [
        FilledPanel(
            Panel(
                title=f"Expected {what}",
                mark="line",
                x="horizon_days",
                y=f"expected_{what}",
                band=(f"expected_{what}_low", f"expected_{what}_high"),
                x_title="Days ahead",
                y_title=y_title,
                format=shape,  # type: ignore[arg-type]
                how_to_read=f"What this client is expected to bring in the days after {day or 'the report date'}, "
                "with its interval.",
            ),
            [row for row in rows if row[f"expected_{what}"] is not None],
            reason,
        )
        for what, y_title, shape in (("orders", "Orders", "decimal"), ("revenue", "Amount (currency)", "money"))
    ]


def _timeline(customer: Row, scores: Row, sessions: Iterable[Row]) -> list[Row]:
    rows = [_session(hit["_source"]) for hit in sessions]
    for name, event in (("download_date", "Download"), ("signup_date", "Sign-up")):
        if customer.get(name):
            rows.append({"moment": _local(customer[name]), "event": event})
    days = _score_days(scores)
    told: dict[str, list[str]] = defaultdict(list)
    for name in ("rfm_segment", "customer_segment", "clv_segment", "probability_alive", "is_overdue", "clv"):
        if name in scores and name in days:
            told[days[name]].append(f"{_score_title(name)} {_score_text(SCORE_FIELDS[name], scores[name])}")
    rows += [{"moment": day, "event": "Scored", "details": ", ".join(texts)} for day, texts in told.items()]
    rows += _expected(scores)
    # What holds at the end of a day comes after what happened on it.
    return sorted(rows, key=lambda row: row["moment"] + (" 24" if len(row["moment"]) == 10 else ""), reverse=True)


def _expected(scores: Row) -> Iterable[Row]:
    """What is predicted, at the end of each horizon: it is of all the days from the prediction until then."""
    as_of = _day_only(scores.get(f"clv_prediction{AS_OF}", ""))
    for days in HORIZONS_DAYS if as_of else ():
        told = []
        for what, text in (("orders", "{} orders"), ("revenue", "revenue {}")):
            ends = [scores.get(f"expected_{what}_{days}_days{end}") for end in ("", "_low", "_high")]
            if None not in ends:
                number, low, high = (f"{value:,.{1 if what == 'orders' else 0}f}" for value in ends)
                told.append(f"{text.format(number)} ({low}–{high})")
        if told:
            yield {
                "moment": (date.fromisoformat(as_of) + timedelta(days)).isoformat(),
                "event": "Expected",
                "details": f"in {days} days: {', '.join(told)}",
            }


def _session(session: Row) -> Row:
    ordered = bool(session.get("has_purchased"))
    lines = [f"{line.get('quantity', 1):g} x {line['product']}" for line in session.get("basket") or []]
    actions = [title_of(name) for name, value in (session.get("actions") or {}).items() if value]
    promotion = [f"promotion {session['promotion_id']}"] if session.get("promotion_id") else []
    return {
        "moment": _local(session["session_start_date"]),
        "event": "Order" if ordered else "Session",
        "payment_amount": session.get("payment_amount") if ordered else None,
        "discount_amount": session.get("discount_amount") if ordered else None,
        "details": ", ".join([*lines, *promotion, *actions]),
    }


# ── Products and categories ─────────────────────────────────────────────────────────────────────────────────────────


def _item(client: Elasticsearch, kind: Kind, name: str) -> tuple[str, list[FilledPanel]]:
    one = {"term": {kind.field: name}}
    promotions = {"terms": {"field": "promotion_id", "size": NAMES_SHOWN}}
    ours = {"query": {"bool": {"filter": [one, ORDERED]}}}
    searches = [
        (ORDERS, {"query": one, "size": 0, "track_total_hits": 1}),
        (ORDERS, {**_counted(ours["query"], promotions=promotions), "size": 0, "track_total_hits": True}),
        (ORDERS, {**_every_basket(), "size": 0, "track_total_hits": True}),
    ]
    anything, answer, baskets = ask(client, searches, f"reading the profile of a {kind.name}")
    if not anything["hits"]["total"]["value"]:
        raise UnknownProfile(_gone(kind, name))
    totals = _totals(answer)
    lines = _lines(client, ours["query"], kind.field.removeprefix("basket."), name)
    of_all = baskets["hits"]["total"]["value"]
    totals |= {"units": lines.units, "product_revenue": lines.revenue}
    totals |= {"numerator": totals["orders"], "denominator": of_all, "rate": _ratio(totals["orders"], of_all)}
    notes: tuple[str, ...] = ()
    if lines.read < totals["orders"]:
        notes = (f"Units and product revenue count the newest {lines.read:,} of {totals['orders']:,} orders.",)
    what = f"with the {kind.name}"
    names = ("orders", "customers", "units", "product_revenue", "discount", "rate")
    titles = {"rate": "Share of orders", "discount": "Discount of whole orders"}
    days = [row | lines.days.get(row["period"], {}) for row in _days(answer) if row["period"] >= lines.since]
    of_lines = (("product_revenue", "Daily product revenue"), ("units", "Daily units"))
    shown = [
        replace(
            _figures(names, totals, what, titles, "A discount is of a whole order, also of what else is in it."),
            notes=notes,
        ),
        *_daily(answer, (("orders", "Daily orders"),), what),
        *_drawn_daily(days, of_lines, what, notes=notes or _left_out(answer)),
        _sold_with("promotion_id", "Promotions it was sold with", answer, totals["orders"], "promotion"),
    ]
    if kind.name == "category":
        shown.append(
            FilledPanel(
                Panel(
                    title="Products of the category",
                    mark="table",
                    y="product_revenue",
                    columns=("product", "orders", "units", "product_revenue"),
                    how_to_read="What was ordered of this category, highest product revenue first.",
                ),
                sorted(lines.products, key=lambda row: (-row["product_revenue"], row["product"]))[:NAMES_SHOWN],
                "No order has a product of this category.",
                notes,
            )
        )
    else:
        shown.append(_bought_together(client, name))
    return _first_and_last(answer), shown


@dataclass(frozen=True)
class _Lines:
    """The basket lines of the newest orders with something: sums, and per day since the first that was read whole."""

    read: int
    since: str
    units: float
    revenue: float
    days: dict[str, Row]
    products: list[Row]


def _lines(client: Elasticsearch, query: Search, field: str, name: str) -> _Lines:
    days: dict[str, Row] = defaultdict(lambda: {"units": 0.0, "product_revenue": 0.0})
    products: dict[str, Row] = {}
    read, units, revenue, day, is_whole = 0, 0.0, 0.0, "", True
    for order in _newest(client, query):
        read += 1
        day = _day(order["session_start_date"])
        bought = [line for line in order["basket"] if line.get(field) == name]
        for line in bought:
            quantity = line.get("quantity") or 0.0
            amount = quantity * (line.get("price") or 0.0)
            own = products.setdefault(line["product"], {"orders": 0, "units": 0.0, "product_revenue": 0.0})
            for sums in (days[day], own):
                sums["units"] += quantity
                sums["product_revenue"] += amount
            units, revenue = units + quantity, revenue + amount
        for product in {line["product"] for line in bought}:
            products[product]["orders"] += 1
    if read >= BASKETS_READ:
        is_whole = False  # of the oldest day that was read, orders may be missing
    since = "" if is_whole else (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    return _Lines(read, since, units, revenue, days, [{"product": key, **row} for key, row in products.items()])


def _newest(client: Elasticsearch, query: Search) -> Iterable[Row]:
    """The newest orders, at most `BASKETS_READ`, from one state of the index."""
    with plainly(client, "reading baskets"):
        try:
            opened = client.open_point_in_time(index=index_name(ORDERS), keep_alive=KEEP_OPEN)["id"]
        except NotFoundError:  # gone since
            return
        try:
            after: list[Any] | None = None
            left = BASKETS_READ
            while left > 0:
                hits = client.search(
                    pit={"id": opened, "keep_alive": KEEP_OPEN},
                    query=query,
                    source={"includes": ["session_start_date", "basket"]},
                    sort=[{"session_start_date": "desc"}, {"_shard_doc": "asc"}],
                    search_after=after,
                    size=min(BASKETS_AT_ONCE, configs.MAX_RESULT_WINDOW, left),
                    track_total_hits=False,
                )["hits"]["hits"]
                if not hits:
                    return
                yield from (hit["_source"] for hit in hits)
                after, left = hits[-1]["sort"], left - len(hits)
        finally:
            client.close_point_in_time(id=opened)


def _every_basket() -> Search:
    return {"query": {"bool": {"filter": [ORDERED, {"exists": {"field": "basket.product"}}]}}}


def _bought_together(client: Elasticsearch, name: str) -> FilledPanel:
    either = [{"term": {field: name}} for field in ("product", "other_product")]
    pairs = {"bool": {"should": either, "minimum_should_match": 1}}
    found, notes, reason = _quoted(client, "product_analytics", "product_pairs", pairs)
    rows = []
    for row in found:
        first = row["product"] == name
        side = "" if first else "reverse_"
        rows.append(
            {
                "other_product": row["other_product" if first else "product"],
                "orders": row.get("orders"),
                "product_orders": row.get("product_orders" if first else "other_product_orders"),
                **{f"confidence{end}": row.get(f"{side}confidence{end}") for end in ("", "_ci_low", "_ci_high")},
                **{field: row.get(field) for field in ("lift", "lift_ci_low", "lift_ci_high")},
            }
        )
    rows.sort(key=lambda row: (-(row["orders"] or 0), row["other_product"]))
    return FilledPanel(
        Panel(
            title="Bought together",
            mark="table",
            y="orders",
            columns=(
                "other_product", "orders", "product_orders", "confidence", "confidence_ci_low", "confidence_ci_high",
                "lift", "lift_ci_low", "lift_ci_high",
            ),
            width=12,
            limit=NAMES_SHOWN,
            how_to_read="Confidence is the share of this product's orders that have the other one too; a lift whose "
            "interval includes 1 may be chance.",
        ),
        rows,
        reason or "product_analytics kept no pair with this product: too few orders have it and another one.",
        notes,
    )  # fmt: skip


# ── Promotions ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _promotion(client: Elasticsearch, kind: Kind, name: str) -> tuple[str, list[FilledPanel]]:
    one = {"term": {kind.field: name}}
    products = {"terms": {"field": "basket.product", "size": NAMES_SHOWN}}
    searches = [
        (ORDERS, {"query": one, "size": 0, "track_total_hits": 1}),
        (
            ORDERS,
            {
                **_counted({"bool": {"filter": [one, ORDERED]}}, products=products),
                "size": 0,
                "track_total_hits": True,
            },
        ),
    ]
    anything, answer = ask(client, searches, "reading the profile of a promotion")
    if not anything["hits"]["total"]["value"]:
        raise UnknownProfile(_gone(kind, name))
    totals = _totals(answer)
    what = "with the promotion"
    names = ("orders", "customers", "revenue", "discount", "discount_depth", "average_order_value")
    series = (("orders", "Daily orders"), ("revenue", "Daily revenue"), ("discount", "Daily discount"))
    analysis = "promotion_analytics"
    rows, notes, reason = _quoted(client, analysis, "promotions", {"term": {"promotion_id": name}})
    says = FilledPanel(
        Panel(
            title="What the analysis of promotions says",
            mark="table",
            y="orders",
            columns=(
                "customers", "orders", "revenue", "discount", "first_orders", "first_order_rate",
                "first_order_ci_low", "first_order_ci_high", "numerator", "denominator", "rate", "ci_low", "ci_high",
                "censored_customers", "break_even_rate", "break_even_orders", "first_used", "last_used",
            ),
            width=12,
            how_to_read=f"The rate is of customers who ordered again within {configs.PROMOTION_REPEAT_DAYS} days; "
            "break-even is the share of orders that must be additional.",
        ),
        rows,
        reason or "The latest report has no row of this promotion: it keeps those with most orders.",
        notes,
        fields_of(analysis),
    )  # fmt: skip
    return _first_and_last(answer), [
        _figures(names, totals, what),
        *_daily(answer, series, what),
        says,
        _sold_with("product", "Products in its orders", answer, totals["orders"], "product"),
    ]


# ── Dimension values ────────────────────────────────────────────────────────────────────────────────────────────────


def _dimension(client: Elasticsearch, kind: Kind, name: str) -> tuple[str, list[FilledPanel]]:
    of_a_day = {"customers": _distinct_clients(EXACT_CLIENTS_OF_A_DAY)}
    counted = {**_counted({"term": {kind.field: name}}, of_a_day), "size": 0, "track_total_hits": True}
    (answer,) = ask(client, [(ORDERS, counted)], "reading the profile of a dimension value")
    totals = _totals(answer)
    if not totals["sessions"] or name == ALL:
        raise UnknownProfile(_gone(kind, name))
    what = f"with {name}"
    names = ("sessions", "orders", "customers", "revenue", "discount", "average_order_value")
    series = (("orders", "Daily orders"), ("revenue", "Daily revenue"), ("customers", "Daily customers"))
    daily = [replace(one, twin=_twin(one.panel)) for one in _daily(answer, series, what)]
    return _first_and_last(answer), [_figures(names, totals, what), *daily]


def _twin(daily: Panel) -> str:
    """The id of the first panel of a dashboard that draws the same value per day; empty where there is none."""
    everything = (placed for one in dashboards() for placed in placed_panels(one))
    same = (daily.x, daily.y, None, {"granularity": "day"})
    return next(
        (one.id for one in everything if (one.panel.x, one.panel.y, one.panel.breakdown, one.panel.where) == same), ""
    )


def _dashboards(client: Elasticsearch, value: str) -> list[Row]:
    """The dashboards whose latest reports are broken down by a dimension value."""
    query = {"bool": {"filter": [{"term": {"is_header": True}}, {"term": {"dimension": value}}]}}
    types = {"types": {"terms": {"field": "type", "size": 1_000}}}
    by_report = {"reports": {"terms": {"field": "report_name", "size": 1_000}, "aggs": types}}
    body = {"query": query, "size": 0, "aggs": by_report}
    (answer,) = ask(client, [(REPORTS_LATEST, body)], "looking for the dashboards of a dimension value")
    buckets = answer.get("aggregations", {}).get("reports", {}).get("buckets", [])
    having = {(bucket["key"], one["key"]) for bucket in buckets for one in bucket["types"]["buckets"]}
    return [
        {"name": one.name, "title": one.title}
        for one in dashboards()
        if any((placed.report_name, placed.report_type.type) in having for placed in placed_panels(one))
    ]


# ── What several share ──────────────────────────────────────────────────────────────────────────────────────────────


def _gone(kind: Kind, name: str) -> str:
    known = name if len(name) <= 100 else f"{name[:100]}…"
    return f"Nothing that is loaded has the {_called(kind)} {known!r} (any more); search for it again."


def _called(kind: Kind) -> str:
    return "dimension value" if kind.name == "dimension" else kind.name


def _counted(query: Search, of_a_day: Mapping[str, Search] | None = None, **more: Search) -> Search:
    """A search that counts the sessions and orders of a query, in all and per day, and of each day what it is told."""
    money = {name: {"sum": {"field": f"{source}_amount"}} for name, source in MONEY.items()}
    moments = {name: {name: {"field": "session_start_date"}} for name in ("min", "max")}
    per_day = {
        "field": "session_start_date",
        "calendar_interval": "1d",
        "time_zone": configs.BUSINESS_TIMEZONE,
        "format": "yyyy-MM-dd",
        "min_doc_count": 0,
    }
    aggregations = {
        "ordered": {"filter": ORDERED, "aggs": {**money, **moments}},
        "customers": _distinct_clients(EXACT_CLIENTS),
        "days": {
            "date_histogram": per_day,
            "aggs": {"ordered": {"filter": ORDERED, "aggs": money}, **(of_a_day or {})},
        },
    }
    return {"query": query, "aggs": {**aggregations, **more}}


def _distinct_clients(exact_up_to: int) -> Search:
    return {"cardinality": {"field": "client", "precision_threshold": exact_up_to}}


MONEY = {"revenue": "payment", "discount": "discount"}


def _totals(answer: Row) -> Row:
    found = answer.get("aggregations", {})
    ordered = found.get("ordered", {"doc_count": 0})
    revenue, discount = (ordered.get(name, {}).get("value", 0.0) for name in MONEY)
    return {
        "sessions": answer["hits"]["total"]["value"],
        "orders": ordered["doc_count"],
        "customers": found.get("customers", {}).get("value", 0),
        "revenue": revenue,
        "discount": discount,
        "average_order_value": _ratio(revenue, ordered["doc_count"]),
        "discount_depth": _ratio(discount, revenue + discount),
    }


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _days(answer: Row) -> list[Row]:
    """Every day from the first session to the last, the newest ACTIVITY_KEPT_DAYS of them."""
    buckets = answer.get("aggregations", {}).get("days", {}).get("buckets", [])
    return [
        {
            "period": bucket["key_as_string"],
            "sessions": bucket["doc_count"],
            "orders": bucket["ordered"]["doc_count"],
            **{name: bucket["ordered"][name]["value"] for name in MONEY},
            **({"customers": bucket["customers"]["value"]} if "customers" in bucket else {}),
        }
        for bucket in buckets[-configs.ACTIVITY_KEPT_DAYS :]
    ]


def _figures(
    names: tuple[str, ...], totals: Row, what: str, titles: Mapping[str, str] | None = None, more: str = ""
) -> FilledPanel:
    panel = Panel(
        title="Key figures",
        mark="metric",
        y=names,
        width=12,
        series_titles=dict(titles or {}),
        how_to_read=f"All that is loaded {what}. {more}".rstrip(),
    )
    evidence = ("numerator", "denominator") if "rate" in names else ()
    return FilledPanel(panel, [{name: totals[name] for name in (*names, *evidence)}])


def _daily(answer: Row, series: Sequence[tuple[str, str]], what: str) -> list[FilledPanel]:
    return _drawn_daily(_days(answer), series, what, notes=_left_out(answer))


def _left_out(answer: Row) -> tuple[str, ...]:
    """A note where not every day is shown."""
    found = len(answer.get("aggregations", {}).get("days", {}).get("buckets", []))
    kept = configs.ACTIVITY_KEPT_DAYS
    return (f"Shown are the newest {kept:,} of {found:,} days.",) if found > kept else ()


def _drawn_daily(
    days: Sequence[Row], series: Sequence[tuple[str, str]], what: str, *, notes: tuple[str, ...]
) -> list[FilledPanel]:
    shown = []
    for name, title in series:
        is_money = FIELDS[name].unit == "currency"
        panel = Panel(
            title=title,
            mark="bar",
            x="period",
            y=name,
            x_title="Day",
            y_title="Amount (currency)" if is_money else title_of(name),
            format="money" if is_money else "number",
            columns=("period", name),
            how_to_read=f"{title_of(name)} {what} on each day of the business time zone.",
        )
        rows = [{"period": row["period"], name: row.get(name, 0)} for row in days]
        shown.append(FilledPanel(panel, rows, f"There are no orders {what}.", notes))
    return shown


def _sold_with(field: str, title: str, answer: Row, orders: int, what: str) -> FilledPanel:
    buckets = answer.get("aggregations", {}).get(f"{what}s", {}).get("buckets", [])
    rows = [
        {
            field: bucket["key"],
            "orders": bucket["doc_count"],
            "rate": _ratio(bucket["doc_count"], orders),
            "numerator": bucket["doc_count"],
            "denominator": orders,
        }
        for bucket in buckets
    ]
    panel = Panel(
        title=title,
        mark="table",
        y="orders",
        columns=(field, "orders", "denominator", "rate"),
        how_to_read=f"The {what}s in most of these orders; the rate is the share of all {orders:,} of them.",
    )
    return FilledPanel(panel, rows, f"None of these orders has a {what}.")


def _quoted(
    client: Elasticsearch, analysis: str, report_type: str, query: Search
) -> tuple[list[Row], tuple[str, ...], str]:
    """Rows of a latest report for `all`, a note of its date, and why there is no report (empty when there is one)."""
    ours = [{"term": {"report_name": analysis}}, {"term": {"type": report_type}}]
    header = {"query": {"bool": {"filter": [*ours, {"term": {"is_header": True}}]}}, "size": 1}
    wanted = [*ours, {"term": {"is_header": False}}, {"term": {"dimension": ALL}}, query]
    rows = {"query": {"bool": {"filter": wanted}}, "size": 1_000, "sort": [{"row": "asc"}]}
    told, found = ask(client, [(REPORTS_LATEST, header), (REPORTS_LATEST, rows)], f"reading the report of {analysis}")
    if not told["hits"]["hits"]:
        return [], (), f"No run has written a report of {analysis} yet."
    header_row = told["hits"]["hits"][0]["_source"]
    if header_row.get("skipped"):
        return [], (), f"Skipped: {header_row['skipped']}"
    quoted = [hit["_source"] for hit in found["hits"]["hits"]]
    return quoted, (f"From the report of {header_row['report_date']}, run {header_row['run_id']}.",), ""


def _first_and_last(answer: Row) -> str:
    ordered = answer.get("aggregations", {}).get("ordered", {})
    first, last = (ordered.get(name, {}).get("value_as_string") for name in ("min", "max"))
    if not first or not ordered["doc_count"]:
        return "No order yet."
    return f"First order on {_day(first)}, last on {_day(last)}."


def _zoned(instant: str) -> datetime:
    return datetime.fromisoformat(instant).astimezone(ZoneInfo(configs.BUSINESS_TIMEZONE))


def _day(instant: str) -> str:
    return _zoned(instant).date().isoformat()


def _local(instant: str) -> str:
    return _zoned(instant).strftime("%Y-%m-%d %H:%M")


def _day_only(text: str) -> str:
    return text[:10]
