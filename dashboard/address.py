"""What the reader chose, kept in the address, so that a view can be shared; nothing else is remembered."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

T = TypeVar("T")
VIEW, STUDY, TRIAL = "view", "study", "trial"
WRITTEN = "address"  # in the session: the address as it was last written or followed


def follow() -> None:
    """Take what is chosen from the address; at the beginning of every run, whole or of a fragment.

    The browser sends its address with every click, and it may not yet have heard of what the click before has written. So the address that
    comes is believed when a session begins and when the reader goes back or forward; otherwise what this session wrote last stands.
    """
    _replace(_chosen())


def write(name: str, value: str | list[str] | None) -> None:
    """Write a choice into the address, or take it out with None."""
    _replace({**_chosen(), name: value})


def select_trial(number: int | None) -> None:
    """Put a trial, or none, into the address; in a callback, so that all of the page follows."""
    write(TRIAL, None if number is None else str(number))


def open_trial(number: int) -> None:
    """Select a trial and open its view; for callbacks, such as the `on_click` of a figure."""
    _replace({**_chosen(), TRIAL: str(number), VIEW: "trial"})


def open_study(name: str) -> None:
    """Turn to another study; what was chosen about the one before is forgotten. For callbacks."""
    _replace({STUDY: name, VIEW: _chosen().get(VIEW)})


def open_view(name: str) -> None:
    """Open a view of the chosen study; for callbacks."""
    write(VIEW, name)


def choice(
    name: str,
    options: Sequence[T],
    default: T,
    *,
    label: str,
    show: Callable[[T], str] = str,
    kind: Literal["segments", "list"] = "segments",
    labelled: bool = True,
) -> T:
    """The option that the reader chose, kept in the address as `name`; `default`, which the address leaves out, until then.

    `str(option)` stands in the address, `show(option)` on the page: beside each other as "segments", below each other as a "list". What
    stands in the address and is no option counts as not chosen.
    """
    asked = st.query_params.get(name)
    chosen = next((option for option in options if str(option) == asked), default)
    key = _seed(name, chosen)
    told: dict[str, Any] = {"key": key, "format_func": show, "on_change": _keep, "args": (name, key, default)}
    told["label_visibility"] = "visible" if labelled else "collapsed"
    if kind == "segments":
        return st.segmented_control(label, options, required=True, wrap=True, **told)
    return st.selectbox(label, options, **told)


def choices(
    name: str,
    options: Sequence[T],
    default: Sequence[T],
    *,
    label: str,
    show: Callable[[T], str] = str,
    kind: Literal["pills", "list"] = "pills",
    most: int | None = None,
) -> list[T]:
    """The options that the reader chose, `most` of them as a "list", in the address as `name`; as "pills" in the order of `options`."""
    asked = st.query_params.get_all(name)
    chosen = list(default) if not asked else [option for text in asked for option in options if str(option) == text][:most]
    key = _seed(name, chosen)
    told: dict[str, Any] = {"key": key, "format_func": show, "on_change": _keep, "args": (name, key, list(default))}
    if kind == "pills":
        kept = st.pills(label, options, selection_mode="multi", wrap=True, **told)
        return [option for option in options if option in kept]
    return st.multiselect(label, options, max_selections=most, **told)


def flag(name: str, label: str, default: bool = False, *, help: str | None = None) -> bool:
    """Whether the reader switched something on, kept in the address as `name`."""
    asked = st.query_params.get(name)
    key = _seed(name, default if asked is None else asked == str(True))
    return st.toggle(label, key=key, help=help, on_change=_keep, args=(name, key, default))


def _seed(name: str, value: object) -> str:
    """The key of a widget that shows what the address says."""
    key = f"choose-{name}"
    if key not in st.session_state or st.session_state[key] != value:
        st.session_state[key] = value
    return key


def _keep(name: str, key: str, default: object) -> None:
    """Write what a widget was set to into the address, which alone is read."""
    value = st.session_state[key]
    if value == default:
        write(name, None)
    elif isinstance(value, list):
        write(name, [str(option) for option in value] or "")
    else:
        write(name, str(value))


def _chosen() -> dict[str, str | list[str] | None]:
    """All that the address holds, or holds as soon as the browser has heard of it."""
    context = get_script_run_ctx()
    asked = context is not None and context.is_history_navigation
    if not asked and (written := st.session_state.get(WRITTEN)) is not None:
        return dict(written)
    return _held()


def _held() -> dict[str, str | list[str] | None]:
    return {name: st.query_params.get_all(name) for name in st.query_params}


def _replace(chosen: dict[str, str | list[str] | None]) -> None:
    told = {name: [value] if isinstance(value, str) else value for name, value in chosen.items() if value is not None}
    if told != _held():
        st.query_params.from_dict(told)
    st.session_state[WRITTEN] = told
