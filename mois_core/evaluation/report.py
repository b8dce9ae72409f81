"""Figures, tables and one page that shows them all, from a results folder."""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mois_core.evaluation.analysis import EvaluationResults
from mois_core.evaluation.figure_masks import agreement_figure, overlay_figure
from mois_core.evaluation.figure_style import save
from mois_core.evaluation.figures import (
    burden_figure,
    efficiency_figure,
    exemplars_figure,
    shift_figure,
)
from mois_core.evaluation.tables import Cell, Table, all_tables, write_tables
from mois_core.io.atomic import atomic_write

PAGE = "report.html"

_FIGURES: Mapping[str, tuple[Callable[[EvaluationResults], Figure | None], str, str]] = {
    "efficiency": (
        efficiency_figure,
        "Interaction efficiency",
        "Scan-wise DSC as the work goes on: mean, and a band of one standard deviation over scans. "
        "A scan with fewer lesions keeps the value it had with all of them.",
    ),
    "exemplars": (
        exemplars_figure,
        "All metrics as the work goes on",
        "All metrics of {reference} over the scans of all sets: mean, and a band of one standard "
        "deviation over scans.",
    ),
    "shift": (
        shift_figure,
        "Domain shift",
        "Scan-wise DSC on each set: quartiles, median, and every scan. p of the Mann-Whitney U "
        "test against the first set, not corrected.",
    ),
    "burden": (
        burden_figure,
        "Tumour burden",
        "Volume of all lesions, result minus truth, by their mean, after Bland and Altman: bias "
        "(line) and 95 % limits of agreement (dashes) over the scans of all sets.",
    ),
    "overlays": (
        overlay_figure,
        "What was right and what was wrong",
        "Of each set the scan with the median scan-wise DSC of {reference}, projected from front "
        "to back. Where voxels of several kinds lie behind one another, the most frequent kind "
        "is shown.",
    ),
    "agreement": (
        agreement_figure,
        "Agreement between readers and segmenters",
        "Scan-wise DSC of each pair, averaged over the scans that both have a mask of; components "
        "of every size count. Simulated readers are the truth with a person's errors.",
    ),
}


def write_report(folder: Path) -> Path:
    """Draw all figures, write all tables and the page; return the page's path."""
    results = EvaluationResults.read(folder)
    tables = all_tables(results)
    write_tables(tables, folder / "tables")
    figures = []
    for name, (draw, title, caption) in _FIGURES.items():
        figure = draw(results)
        if figure is not None:
            path = save(figure, folder / "figures", name)
            figures.append((path, title, caption.format(reference=results.reference)))
    page = folder / PAGE
    with atomic_write(page) as temporary:
        temporary.write_text(_page(results, tables, figures), encoding="utf-8")
    return page


# ---- the page ------------------------------------------------------------------------------

_STYLE = """
body { font: 15px/1.5 system-ui, "Segoe UI", sans-serif; color: #1b1f24; background: #fff;
       max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.4rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { padding: .28rem .8rem; text-align: left; white-space: nowrap; }
thead th { border-bottom: 1.5px solid #1b1f24; border-top: 1.5px solid #1b1f24; }
tbody tr:last-child td { border-bottom: 1.5px solid #1b1f24; }
tr.group th { padding-top: .8rem; border-bottom: 1px solid #c8cdd3; }
td.best { font-weight: 700; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
figcaption, .note { color: #5b6470; font-size: .85rem; }
details { margin: 1rem 0; } summary { cursor: pointer; }
nav a { margin-right: 1rem; }
.bad { background: #fff1e6; padding: .5rem .8rem; }
"""


def _page(
    results: EvaluationResults, tables: Sequence[Table], figures: Sequence[tuple[Path, str, str]]
) -> str:
    parts = [_summary(results)]
    if results.failures:
        parts.append(_failures(results))
    parts += [_table(table) for table in tables]
    parts += [_figure(*one) for one in figures]
    parts += [_every_scan(results), _how_made(results)]
    links = [(table.name, table.title) for table in tables]
    links += [(path.stem, title) for path, title, _ in figures]
    contents = " ".join(f'<a href="#{name}">{_text(title)}</a>' for name, title in links)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>MOISSAM2 evaluation</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>MOISSAM2 evaluation</h1>\n<nav>{contents}</nav>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _text(words: object) -> str:
    return html.escape(str(words))


def _summary(results: EvaluationResults) -> str:
    scans, sets = len(results.scans_of(None)), len(results.sets)
    counted = [
        f"{scans} scan{'s' * (scans > 1)} in {sets} set{'s' * (sets > 1)}",
        f"segmenters: {', '.join(results.segmenters)}",
        f"experiments: {', '.join(results.experiments)}",
    ]
    version = results.plan["mois_version"]
    return f'<p class="note">{_text("; ".join(counted))}. MOISSAM2 {_text(version)}.</p>'


def _failures(results: EvaluationResults) -> str:
    lines = "".join(
        f"<li>{_text(row['scan'])}, {_text(row['segmenter'])} ({_text(row['experiment'])}): "
        f"{_text(row['error'])}</li>"
        for row in results.failures
    )
    return (
        f'<div class="bad"><p>{len(results.failures)} runs failed and are in no table or '
        f"figure:</p><ul>{lines}</ul></div>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in ("", *table.columns))
    body = []
    for group, lines in table.groups:
        if group:
            span = len(table.columns) + 1
            body.append(f'<tr class="group"><th colspan="{span}">{_text(group)}</th></tr>')
        for label, cells in lines:
            body.append(f"<tr><td>{_text(label)}</td>{''.join(map(_cell, cells))}</tr>")
    notes = "".join(f'<p class="note">{_text(note)}</p>' for note in table.notes)
    return (
        f'<section id="{table.name}"><h2>{_text(table.title)}</h2><div class="wide"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
        f"{notes}</section>"
    )


def _cell(cell: Cell) -> str:
    kind = ' class="best"' if cell.is_best else ""
    return f"<td{kind}>{_text(cell.text)}{'*' * cell.is_different}</td>"


def _figure(path: Path, title: str, caption: str) -> str:
    """Return a figure with its picture in the page itself, so that it can be sent as one file."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return (
        f'<section id="{path.stem}"><h2>{_text(title)}</h2><figure>'
        f'<img alt="{_text(title)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{_text(caption)}</figcaption></figure></section>"
    )


def _every_scan(results: EvaluationResults) -> str:
    names = {**results.benchmark_names, **results.cost_names}
    columns = ("set", "scan", "segmenter", "fold", "clicks", *names)
    rows = [
        row
        for row in results.rows
        if row["is_last"] and row["experiment"] == results.final_experiment
    ]
    head = "".join(f"<th>{_text(names.get(name, name))}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_text(_value(row[name]))}</td>" for name in columns) + "</tr>"
        for row in map(results.with_costs, rows)
    )
    return (
        "<details><summary>Every scan</summary><div class='wide'><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></details>"
    )


def _value(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if value != value:
        return "\u2013"
    return f"{value:.0f}" if value == int(value) and value > 1 else f"{value:.3f}"


def _how_made(results: EvaluationResults) -> str:
    lines = []
    for what in ("experiments", "segmenters"):
        for name, content in results.plan[what].items():
            told = ", ".join(f"{key} {value}" for key, value in content.items())
            lines.append(f"<li><b>{_text(name)}</b>: {_text(told)}</li>")
    measuring = ", ".join(f"{key} {value}" for key, value in results.plan["measuring"].items())
    lines.append(f"<li><b>measuring</b>: {_text(measuring)}</li>")
    return f"<details><summary>How it was made</summary><ul>{''.join(lines)}</ul></details>"
