"""Words, numbers and the style sheet of a drawn report. Whatever comes from data passes through `text`."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

LONGEST = 80  # characters of a name that are shown; a report stays small even if a category is a whole document
# Control characters, lone surrogates and marks that turn the direction of writing: none can be shown as itself.
_UNSHOWABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

STYLE = """
:root{color-scheme:light dark;--page:#f4f6f8;--card:#fff;--ink:#1a1f26;--soft:#55606e;--line:#d5dbe2;
--old:#cdd6e0;--edge:#6b7c90;--new:#0b57b0;--critical:#b3261e;--warning:#7f5300;--badge:#fff}
@media(prefers-color-scheme:dark){:root{--page:#11151a;--card:#1a2027;--ink:#e8ebef;--soft:#a3aebb;--line:#35404c;
--old:#3c4957;--edge:#8b9aab;--new:#7cbcff;--critical:#ff9a92;--warning:#f2c261;--badge:#14181d}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
overflow-wrap:anywhere}
main{max-width:1080px;margin:0 auto;padding:24px 20px 48px}
h1{font-size:30px;line-height:1.2;margin:2px 0 12px;text-wrap:balance}
h2{font-size:20px;margin:36px 0 4px}
h3{font-size:20px;margin:0;line-height:1.3}
p{margin:6px 0}
.soft,.cap,caption,th{color:var(--soft)}
.cap{font-size:13px;margin:6px 0 0}
.facts{display:flex;flex-wrap:wrap;gap:8px 32px;margin:14px 0;padding:0;list-style:none}
.facts b{display:block;font-size:20px;font-variant-numeric:tabular-nums}
.facts li{font-size:14px;color:var(--soft)}.facts b{color:var(--ink)}
.rank{margin:14px 0;padding:0;list-style:none;border-top:1px solid var(--line)}
.rank a{display:grid;grid-template-columns:28px minmax(0,14em) 8.2em minmax(0,1fr);gap:10px;align-items:baseline;
padding:7px 4px;border-bottom:1px solid var(--line);color:inherit;text-decoration:none}
.rank a:hover,.rank a:focus{background:var(--card)}.rank b{text-decoration:underline;text-underline-offset:3px}
.badge{display:inline-block;justify-self:start;border-radius:4px;padding:1px 8px;font-size:13px;font-weight:600;
white-space:nowrap}
.critical .badge{background:var(--critical);color:var(--badge)}
.warning .badge,.info .badge{border:1px solid currentColor;color:var(--warning);padding:0 7px}
.card{background:var(--card);border:1px solid var(--line);border-left:6px solid var(--line);border-radius:8px;
padding:16px 20px;margin:14px 0;break-inside:avoid}
.card.critical{border-left-color:var(--critical)}
.card.warning{border-left-color:var(--warning);border-left-style:double}
.head{display:flex;flex-wrap:wrap;gap:6px 12px;align-items:center}
.said{margin:8px 0 12px;padding:0;list-style:none}
.body{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,300px);gap:12px 28px;align-items:start}
figure{margin:0 0 14px}figcaption{font-size:14px;font-weight:600;margin-bottom:6px}
.keys{display:inline-block}
.key{display:inline-block;width:18px;height:11px;margin:0 4px 0 12px;border:1px solid var(--edge);background:var(--old)}
.key.new{border:2px solid var(--new);background:none}
svg{display:block;width:100%;overflow:visible}
svg.wide{height:130px;margin-top:4px}svg.time{height:56px}svg.spark{height:26px;width:120px}
svg *{vector-effect:non-scaling-stroke}
.o{fill:var(--old);stroke:var(--edge);stroke-width:1}
.n{fill:none;stroke:var(--new);stroke-width:2}.spark .n{stroke-width:1.5}
.t{fill:var(--new);stroke:none}
.axis{display:flex;justify-content:space-between;border-top:1px solid var(--edge);font-size:13px;padding-top:2px;
color:var(--soft);font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%;font-size:14px;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:5px 6px;border-bottom:1px solid var(--line);font-weight:400;vertical-align:middle}
th:first-child,td:first-child{text-align:left}caption{text-align:left;font-size:13px}
.pairs th,.pairs td{border:0;padding:3px 6px}.pairs th:first-child{color:var(--ink);width:34%}
.pairs td{white-space:nowrap}.pairs .bars{width:40%;padding:3px 0}.pairs svg{height:20px}.pairs .n{stroke-width:2}
.facts-of{table-layout:fixed;overflow-wrap:break-word}.facts-of tr>:first-child{width:27%}
.keys,.list th[scope=col],.list td[data-label=nulls]{white-space:nowrap}
.fresh{font-size:12px;font-weight:600;border:1px solid currentColor;border-radius:3px;padding:0 4px;white-space:nowrap}
.card.list{border-left-width:1px}.list th,.list td{padding:2px 6px}
.list th[scope=row]{color:var(--ink);text-align:left;width:26%}.list .mid{text-align:left}
.beside th[scope=row]{text-align:left}.beside b{color:var(--ink)}.beside td{width:30%;text-align:left}.beside svg{height:10px}
.beside thead th{text-align:left}.card.beside{border-left-width:1px}
details{font-size:14px;margin-top:10px}summary{cursor:pointer;color:var(--soft)}
dt{font-weight:600;margin-top:8px}dd{margin:0}
@media(max-width:640px){main{padding:16px 12px 32px}h1{font-size:23px}.card{padding:14px}.facts{gap:6px 22px}
.body{grid-template-columns:minmax(0,1fr)}
.rank a{grid-template-columns:22px minmax(0,1fr) auto}.rank .why{grid-column:2/4;font-size:14px}
.long thead td:first-child{display:none}
.long tr{display:grid;grid-template-columns:minmax(0,1fr) 4em 4em;margin-bottom:6px}
.long th[scope=row]{width:auto;padding-left:0;grid-column:1/4}.long td.bars{width:auto;align-self:center}
.list table,.list tbody{display:block}
.list thead{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
.list tr{display:grid;grid-template-columns:minmax(0,1fr) 120px;gap:2px 12px;padding:10px 0;
border-bottom:1px solid var(--line)}
.list th[scope=row]{width:auto;font-weight:600}.list th,.list td{border:0;padding:0;text-align:left}
.list td[data-label=typical],.list td[data-label=state],.list td[data-label=columns]{grid-column:1/3}.list td[data-label=nulls]{grid-column:1}
.list td[data-label=difference]{grid-column:2}
.list td[data-label]::before{content:attr(data-label) ": ";color:var(--soft)}}
@media print{body{background:none}.card{border-color:#999}}
"""


def text(value: object, most: int = LONGEST) -> str:
    """Any text made harmless: cut, without characters that can't be shown, escaped for content and attributes.

    >>> text('<b onclick="x">')
    '&lt;b onclick=&quot;x&quot;&gt;'
    """
    said = str(value)
    said = said if len(said) <= most else said[: most - 1] + "…"
    return escape(_UNSHOWABLE.sub("\ufffd", said), quote=True)


def name(value: object) -> str:
    """A name from data, in an element of its own so that a right-to-left one leaves its neighbours in place."""
    return f"<bdi>{text(value)}</bdi>" if str(value).strip() else "<bdi>(blank)</bdi>"


def number(value: float) -> str:
    """Four digits that count, with separators; a dash where there is no number.

    >>> number(71.0600), number(12345.678), number(0.0000123), number(float("nan"))
    ('71.06', '12,346', '1.23e-05', '–')
    """
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if not 1e-3 <= abs(value) < 1e9:
        return f"{value:.3g}"
    shown = f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"
    return shown.rstrip("0").rstrip(".") if "." in shown else shown


def percent(share: float) -> str:
    """A share in percent that never rounds something to nothing, or almost all to all.

    >>> percent(0.0002), percent(0.394), percent(0.9999), percent(0.0)
    ('<0.1%', '39.4%', '>99.9%', '0%')
    """
    if not math.isfinite(share):
        return "–"
    if share in (0.0, 1.0):
        return f"{share:.0%}"
    return "<0.1%" if share < 0.0005 else ">99.9%" if share >= 0.9995 else f"{share:.1%}"


def count(n: int, noun: str, many: str | None = None) -> str:
    """A number with its noun.

    >>> count(1, "row"), count(2000, "row"), count(2, "category", "categories")
    ('1 row', '2,000 rows', '2 categories')
    """
    return f"{n:,} {noun if n == 1 else many or noun + 's'}"


def heading(labels: Sequence[tuple[str, str]]) -> str:
    """The cells at the head of a table: label and attributes of each."""
    return "".join(f'<th scope="col" role="columnheader"{kind}>{label}</th>' for label, kind in labels)


def listing(head: str, lines: str) -> str:
    """A table in a card, whose rows become blocks on a narrow screen."""
    return (
        f'<div class="card list"><table role="table"><thead><tr role="row">{head}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def moment(at: datetime) -> str:
    """A time to the minute; UTC if it knows its zone."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if at.tzinfo else f"{at:%Y-%m-%d %H:%M}"
