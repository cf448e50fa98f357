# SPDX-License-Identifier: Apache-2.0
"""One page that shows an evaluation: figures, pictures of the best and the worst, tables, calibration.

The page needs no other file and no network. Numbers are not made here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from edgepose.evaluation.calibration import Calibration
from edgepose.evaluation.cases import as_data_uri, draw_case
from edgepose.evaluation.charts import reliability_chart, spread_chart
from edgepose.evaluation.samples import Table

if TYPE_CHECKING:
    from edgepose.evaluation.results import Evaluation

__all__ = ["page"]

_TEMPLATE = Path(__file__).with_name("page.html")
_CALIBRATED = {"image": "In the image", "space": "In space"}


def page(evaluation: Evaluation) -> str:
    """The page as HTML.

    Raises:
        InvalidInputError: an image that is to be shown cannot be read any more.
    """
    dataset, system = evaluation.dataset, evaluation.system
    times = evaluation.milliseconds
    cards = {name: _figure(value) for name, value in evaluation.metrics.items()}
    if times:
        cards["ms a question, median"] = f"{times['median']:.0f}"
    score = evaluation.measures.score
    facts = {
        "data set": dataset.name,
        "annotations": f"{dataset.annotations}, SHA-256 {dataset.sha256}",
        **dict(dataset.options),
        **dict(system),
    }
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(f"{system.get('bundle', 'model')} on {dataset.name}"),
        subtitle=escape(
            f"{len(evaluation.samples)} of {len(dataset.samples)} questions of {dataset.annotations}"
        ),
        cards="".join(
            f'<div class="card"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
            for name, value in cards.items()
        ),
        best=_pictures(f"Best by {score}", evaluation, evaluation.best()),
        worst=_pictures(f"Worst by {score}", evaluation, evaluation.worst()),
        tables="".join(_table(table) for table in evaluation.measures.tables),
        calibration=_calibration(evaluation.calibration),
        system="".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in facts.items()),
        notes="".join(
            f"<li>{escape(note)}</li>" for note in (*dataset.notes, *evaluation.measures.notes, _LEGEND)
        ),
    )


_LEGEND = (
    "Pictures: the person's left is orange, the right blue; white rings are the annotated places and red "
    "lines lead from them to the answers; ellipses are two reported standard deviations."
)


def _pictures(title: str, evaluation: Evaluation, places: Sequence[int]) -> str:
    if not places:
        return ""
    figures = []
    for place in places:
        sample, answer = evaluation.samples[place], evaluation.answers[place]
        picture = draw_case(evaluation.dataset.images.load(sample.image), sample, answer)
        group = f", {sample.group.replace('_', ' ')}" if sample.group else ""
        caption = f"{_figure(evaluation.measures.scores[place])} &middot; {escape(sample.id)}{escape(group)}"
        figures.append(
            f'<figure><img alt="{escape(sample.id)}" src="{as_data_uri(picture)}">'
            f'<figcaption title="{escape(sample.image)}">{caption}</figcaption></figure>'
        )
    return f'<h2>{escape(title)}</h2><div class="pictures">{"".join(figures)}</div>'


def _table(table: Table) -> str:
    columns = list(dict.fromkeys(name for row in table.rows.values() for name in row))
    counts = {column for column in columns if _are_counts([row.get(column) for row in table.rows.values()])}
    head = "".join(f"<th>{escape(name)}</th>" for name in ("", *columns))
    body = "".join(
        f"<tr><th>{escape(name.replace('_', ' '))}</th>"
        + "".join(
            f"<td>{f'{row[column]:.0f}' if column in counts else _figure(row.get(column, math.nan))}</td>"
            for column in columns
        )
        + "</tr>"
        for name, row in table.rows.items()
    )
    return (
        f'<h2>{escape(table.title)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _calibration(found: Mapping[str, Calibration]) -> str:
    shown = {name: value for name, value in found.items() if value.count}
    if not shown:
        return ""
    rows = {
        _CALIBRATED.get(name, name): {
            "within 1 std (0.683)": value.within_1,
            "within 2 std (0.954)": value.within_2,
            "std should be times": value.factor,
            "gap": value.gap,
            "coordinates": float(value.count),
        }
        for name, value in shown.items()
    }
    charts = "".join(
        f"<figure>{chart(value, title)}<figcaption>{escape(title)}</figcaption></figure>"
        for name, value in shown.items()
        for chart, title in (
            (
                reliability_chart,
                f"{_CALIBRATED.get(name, name)}: reliability; on the diagonal the spread is right",
            ),
            (spread_chart, f"{_CALIBRATED.get(name, name)}: error by reported spread, a dot for each tenth"),
        )
    )
    table = _table(Table("Calibration of the reported standard deviations", rows))
    return f'{table}<div class="charts" style="margin-top:1rem">{charts}</div>'


def _are_counts(values: Sequence[float | None]) -> bool:
    """Whether a column holds whole numbers, and not shares that happen to be 0 or 1."""
    known = [value for value in values if value is not None and value == value // 1]
    return len(known) == len(values) and max(known) > 1


def _figure(value: float) -> str:
    """A number as people read it, with three or four digits."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞"
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"
