"""The report of a study: one file with everything in it, which a browser opens without a network and takes none of its text for markup."""

import json
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dashboard.report import study_report
from dashboard.report_page import MARK
from nas.cli import app
from nas.errors import NasError
from searchspace.spaces import scaling_space, stacking_space
from studies.database import StoreError
from studies.records import TrialState
from studies.store import Store
from tests.browsing import chromium, wait_for
from tests.dashboard_views import HOSTILE, add, fill, open_study

FIT = {
    "metric": "error", "scale_metric": "params", "exponents": {"depth": 1.0, "width": 1.9953}, "base": "64,16,4,18", "base_model": {},
    "law": {"floor": 0.1, "amplitude": 0.4, "decay": 0.3, "curvature": 2.0, "share": 0.2}, "refused": None, "r2": 0.9, "noise": 0.01,
    "best": {"alpha": 1.1, "beta": 1.35, "share": 0.2, "low": {"alpha": 1.05, "beta": 1.38}, "high": {"alpha": 1.2, "beta": 1.29}},
    "tied": [{"alpha": 1.09, "beta": 1.36, "variant": "80,16,4,21"}], "noise_source": "seeds", "searched": {"alpha": [1.0, 1.4]},
    "predictions": [
        {"phi": phi, "cost": 3e7 * 2**phi, "value": 0.5 - phi / 20, "low": 0.4 - phi / 20, "high": 0.6 - phi / 20, "extrapolation": phi / 3}
        for phi in range(7)
    ],
    "points": [
        {"trials": [0], "variant": HOSTILE, "phi": 1.0, "share": 0.2, "alpha": 1.1, "beta": 1.3, "cost": 6e7, "value": 0.45, "std": 0.01,
         "seeds": 2, "predicted": 0.44}
    ],
}  # fmt: skip


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """Three studies: a stacking study of hostile texts with a failed trial, a scaling study with a fit, and one without trials."""
    store = Store(store_url)
    space = stacking_space(channels=[64, 80], group_channels=[16], l1=[3, 4, 5])
    study = fill(store, space, [0.5, 0.6, 0.4, 0.55], HOSTILE, proxy={"dataset": f"imagefolder:{HOSTILE}"})
    store.finish(
        add(store, study, space.feasible()[0], seed=1), TrialState.FAILED, reason=f"</script><img src=x onerror=alert(2)>{HOSTILE}"
    )
    with store.driving(study) as lease:
        store.ledger.add(study, {"training": 3600.0, "idle": 60.0}, driver=lease.id)
    scaled = fill(store, scaling_space(phi=(2,), pairs="paper"), [0.5, 0.6, 0.7], "scaled")
    store.fits.add(scaled, "error", FIT)
    open_study(store, space, "new")
    yield store
    store.close()


class Seen(HTMLParser):
    """What a browser makes of a file: its tags and text, the JSON of its figures, and every address in it."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.figures: list[Mapping[str, Any]] = []
        self._within: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self._within.append("json" if ("type", "application/json") in attrs else tag)
        self.addresses += [str(value) for name, value in attrs if name in ("src", "href", "data", "action", "srcset")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]

    def handle_endtag(self, tag: str) -> None:
        self._within.pop()

    def handle_data(self, data: str) -> None:
        if self._within and self._within[-1] == "json":
            self.figures.append(json.loads(data))
        elif self._within and self._within[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.words)


def test_the_file_holds_plotly_once_and_no_address(store: Store) -> None:
    text = study_report(store, HOSTILE)
    seen = Seen(text)
    assert text.startswith(f"<!DOCTYPE html>\n{MARK}\n")
    assert seen.addresses == []
    assert text.count("plotly.js v") == 1
    assert seen.tags.count("script") == 2 + len(seen.figures)
    assert "default-src 'none'" in text
    assert len(text) < 6e6


def test_every_text_of_the_store_stays_text(store: Store) -> None:
    text = study_report(store, HOSTILE)
    seen = Seen(text)
    assert {"img", "b"} & set(seen.tags) == {"b"}  # the numbers' own
    assert seen.handlers == []
    assert "alert(1)</script>" not in text
    assert seen.words[0] == f"{HOSTILE} – study report"
    assert HOSTILE in seen.words[1:]
    assert f"</script><img src=x onerror=alert(2)>{HOSTILE}" in seen.text  # the reason of the failed trial
    drawn = json.dumps([figure["figure"] for figure in seen.figures])
    assert "<script" not in drawn
    assert "&lt;script&gt;" in drawn  # the study's name on the ledger's axis
    assert all(figure["config"]["showSendToCloud"] is False for figure in seen.figures)


def test_a_stacking_study_has_its_front_map_curves_trials_reasons_ledger_and_provenance(store: Store) -> None:
    seen = Seen(study_report(store, HOSTILE))
    titles = re.findall(r"<h2>(.+?)</h2>", study_report(store, HOSTILE))
    assert titles == [
        "Pareto front", "Stacking map", "Learning curves of the front", "Trials", "Left out, and why", "Device time", "Provenance"
    ]  # fmt: skip
    assert len(seen.figures) == 3 + 2 + 1 + 1 + 1  # front and hypervolume, two widths with their scale, curves, ledger
    assert {"best top-1", "60.0%", "1.02\u202fh"} <= set(seen.words)
    study = store.study(HOSTILE)
    for trial in store.trials(study):
        if trial.state is TrialState.COMPLETE:
            assert f"{trial.metrics['top1'] * 100:.1f}" in seen.words
    assert "98.4%" in seen.words  # of the time went into training
    assert f'"dataset": {json.dumps(f"imagefolder:{HOSTILE}")}' in seen.text


def test_a_scaling_study_has_its_plane_law_and_family_and_no_stacking_map(store: Store) -> None:
    text = study_report(store, "scaled")
    seen = Seen(text)
    assert "<h2>Scaling</h2>" in text
    assert "<h2>Stacking map</h2>" not in text
    assert "Best pair of the fit: α = 1.100, β = 1.350." in seen.words
    assert "The family by the fitted pair" in seen.words
    assert "φ = 6" in seen.words
    assert "alert(1)</script>" not in text


def test_a_study_without_trials_says_so(store: Store) -> None:
    seen = Seen(study_report(store, "new"))
    assert "No trial is complete yet." in seen.words
    assert seen.figures == []
    with pytest.raises(StoreError, match="no study 'gone'"):
        study_report(store, "gone")


def written(store: Store, out: Path, *words: str) -> Any:
    return CliRunner().invoke(app, ["report", "new", "--out", str(out), "--store", store.url, *words])


def test_the_command_writes_a_report_and_replaces_reports_alone(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "below" / "report.html"
    done = written(store, out)
    assert done.exit_code == 0, done.output
    assert done.output.startswith(f"wrote {out} (")
    first = out.read_text()
    assert written(store, out).exit_code == 0
    out.write_text("<!DOCTYPE html><p>my notes")
    refused = written(store, out)
    assert isinstance(refused.exception, NasError)
    assert str(refused.exception).endswith("--force replaces it")
    assert out.read_text() == "<!DOCTYPE html><p>my notes"
    assert written(store, out, "--force").exit_code == 0
    assert out.read_text()[:100] == first[:100]
    assert list(out.parent.iterdir()) == [out]


def test_a_report_is_written_whole_or_not_at_all(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "report.html"
    assert written(store, out).exit_code == 0
    before = out.read_bytes()

    def cut(path: Path, text: str, encoding: str) -> None:
        path.write_bytes(text.encode(encoding)[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", cut)
    failed = written(store, out)
    assert isinstance(failed.exception, ValueError)
    assert str(failed.exception) == f"cannot write {out}: No space left on device"
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if "nas.db" not in path.name] == ["report.html"]


@pytest.mark.browser
def test_chromium_opens_it_offline_in_either_colours_without_a_request_or_complaint(store: Store, tmp_path: Path) -> None:
    for name, study in (("one.html", HOSTILE), ("two.html", "scaled")):
        (tmp_path / name).write_text(study_report(store, study), encoding="utf-8")
    with chromium() as browser:
        for name, study, width, scheme in (("one.html", HOSTILE, 1280, "light"), ("two.html", "scaled", 390, "dark")):
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
            tab = context.new_page()
            told: list[str] = []
            tab.on("console", lambda message, told=told: told.append(f"{message.type}: {message.text}"))
            tab.on("pageerror", lambda error, told=told: told.append(str(error)))
            tab.on("dialog", lambda dialog, told=told: told.append(dialog.message))
            requests: list[str] = []
            tab.on("request", lambda request, requests=requests: requests.append(request.url))
            tab.goto((tmp_path / name).as_uri())
            figures = tab.locator("figure").count()
            wait_for(lambda tab=tab, figures=figures: tab.evaluate(DRAWN) == figures, what="the figures")
            assert tab.locator("h1").text_content() == study
            assert tab.title() == f"{study} – study report"
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            assert tab.evaluate(INKS) == [tab.evaluate("getComputedStyle(document.body).color")]
            tab.emulate_media(color_scheme={"light": "dark", "dark": "light"}[scheme])
            wait_for(lambda tab=tab: tab.evaluate(INKS) == [tab.evaluate("getComputedStyle(document.body).color")], what="other colours")
            assert requests == [(tmp_path / name).as_uri()]
            assert told == []
            context.close()


DRAWN = "[...document.querySelectorAll('figure .js-plotly-plot')].filter((plot) => plot.querySelector('.main-svg .bglayer')).length"
INKS = "[...new Set([...document.querySelectorAll('figure .js-plotly-plot')].map((plot) => plot._fullLayout.font.color))]"
