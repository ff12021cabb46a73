from collections.abc import Iterator

import pytest

from dashboard.charts.curves import compared_curves_figure
from dashboard.comparison import DIFFERS, MARK, WHAT, architecture_table, costs_table, fidelities, measured_table, of_preset, of_trial
from searchspace.cost import cost
from searchspace.presets import PRESETS
from searchspace.spaces import stacking_space
from studies.frames import reports_frame
from studies.records import Report, TrialState
from studies.store import Store
from tests.dashboard_views import HOSTILE, add, fill, show, train

SMALL = stacking_space(channels=[64], group_channels=[16, 32], l1=[4, 5])  # the first of its four is T
T, BEST = 0, 2


@pytest.fixture
def store(store_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("NAS_STORE", store_url)
    store = Store(store_url)
    fill(store, SMALL, [0.5, 0.6, 0.7, 0.4])
    yield store
    store.close()


def compared(store: Store, *numbers: int):
    return [of_trial(store.trial(store.study("s"), number)) for number in numbers]


def test_what_differs_is_marked_and_nothing_else(store):
    columns = [*compared(store, T, BEST), of_preset("H")]
    for table in (architecture_table(columns), costs_table(columns), measured_table(columns)):
        for row in table.to_dict("records"):
            values = {row[each.heading] for each in columns} - {"–"}
            assert (row[DIFFERS] == MARK) == (len(values) > 1), row[WHAT]


def test_a_variant_differs_from_itself_in_nothing(store):
    columns = [*compared(store, T), of_preset("T")]
    assert not any(architecture_table(columns)[DIFFERS])
    assert not any(costs_table(columns)[DIFFERS])
    assert "dw kernel size" not in set(architecture_table(columns)[WHAT])


def test_switches_are_told_as_soon_as_one_variant_has_turned_them():
    table = architecture_table([of_preset("T"), of_preset("H")]).set_index(WHAT)
    assert tuple(table.loc["dw kernel size"]) == (MARK, "3", "5")
    assert tuple(table.loc["clip projector"]) == (MARK, "no", "yes")
    assert tuple(table.loc["depths"]) == (MARK, "4, 4, 18, 4", "6, 6, 32, 6")


def test_costs_are_exact_and_their_ratios_are_to_the_first():
    table = costs_table([of_preset(name) for name in ("T", "B")]).set_index(WHAT)
    ratio = cost(PRESETS["B"].config).params / cost(PRESETS["T"].config).params
    assert tuple(table.loc["params"])[1:] == ("29.92M", f"97.46M  (× {ratio:.2f})")
    assert "×" in table.loc["memory", "InternImage-B"]


def test_an_image_that_a_head_does_not_take_leaves_its_costs_open():
    table = costs_table([of_preset("T"), of_preset("H")], image_size=100).set_index(WHAT)
    assert table.loc["params", "InternImage-H"] == "–"
    assert table.loc["params", "InternImage-T"] == "29.92M"


def test_measurements_are_compared_with_the_first_trial_at_their_fidelity(store):
    columns = [of_preset("S"), *compared(store, T, BEST)]
    table = measured_table(columns).set_index(WHAT)
    assert tuple(table.loc["top-1"]) == (MARK, "–", "50.0%", "70.0%  (+20.0)")
    assert table.loc["published top-1", "InternImage-S"] == "84.2% at 224 px"
    assert fidelities(columns).startswith("Measured on digits (synthetic), 32 px, 3 epochs, channels / 4.")
    early = add(store, store.study("s"), SMALL.feasible()[0], seed=5)
    train(store, early, 0.3, epochs=1, state=TrialState.PRUNED)
    told = fidelities(compared(store, T, early.number))
    assert told.startswith("Measured at different fidelities: trial 0 on")
    assert "1 epoch," in told


def test_curves_are_told_apart_without_colour_and_their_names_are_no_markup():
    reports = reports_frame({number: [Report(epoch, {"top1": 0.1 * epoch}) for epoch in (1, 2)] for number in range(4)})
    figure = compared_curves_figure(reports, {number: f"{number} {HOSTILE}" for number in (3, 1, 0, 2)}, metric="top1")
    assert [trace.name[0] for trace in figure.data] == ["3", "1", "0", "2"]
    assert len({(trace.line.dash) for trace in figure.data}) == len({trace.marker.symbol for trace in figure.data}) == 4
    for text in [text for trace in figure.data for text in (trace.name, *trace.hovertext)]:
        assert "&lt;script&gt;" in text
        assert "<b>x" not in text


def test_the_address_names_who_is_compared(store, monkeypatch):
    shown = show(monkeypatch, "compare", compare="2,0,T,gone,2")
    assert shown.app.multiselect[0].value == ["2", "0", "T"]
    tables = [frame.value for frame in shown.app.dataframe]
    assert list(tables[0].columns) == [DIFFERS, WHAT, "trial 2 · 64,32,4,21", "trial 0 · 64,16,4,18", "InternImage-T"]
    assert len([key for key in shown.figures if key.startswith("compare-stages")]) == 3
    assert [trace.name for trace in shown.figures["compare-curves"].data] == ["trial 2 · 64,32,4,21", "trial 0 · 64,16,4,18"]


def test_a_choice_is_written_into_the_address(store, monkeypatch):
    shown = show(monkeypatch, "compare", trial="1")
    assert shown.app.query_params["compare"] == "1,2"  # the selected trial and the best
    shown.app.multiselect[0].set_value(["3", "XL"])
    shown.again()
    assert shown.app.query_params["compare"] == "3,XL"
    assert "InternImage-XL" in shown.app.dataframe[0].value
    shown.app.multiselect[0].set_value(["3"])
    shown.again()
    assert "Choose 2 to 4" in shown.words
    assert not shown.figures


def test_more_than_four_are_cut_and_presets_alone_have_no_curves(store, monkeypatch):
    assert show(monkeypatch, "compare", compare="0,1,2,3,T").app.multiselect[0].value == ["0", "1", "2", "3"]
    presets = show(monkeypatch, "compare", compare="T,S,H")
    assert "compare-curves" not in presets.figures
    assert not any("fidelit" in caption.value for caption in presets.app.caption)


def test_a_study_without_trials_compares_published_variants(store, monkeypatch):
    store.open("empty", {"objectives": [{"metric": "top1", "direction": "maximize"}]})
    assert show(monkeypatch, "compare", study="empty").app.multiselect[0].value == ["T", "S"]
